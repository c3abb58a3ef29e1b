//! Names and layouts of weights as a table: canonical name, GGUF name, Hugging Face name, and what has to be done.

use crate::facts::{Fact, Facts};
use crate::{Error, Page};

/// How a stored weight differs from the canonical one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fix {
    /// Not at all.
    None,
    /// GGUF files of this family store the rows of each head in pairs (`2i`, `2i + 1`); canonical are halves.
    UnpairRows(Heads),
    /// Hugging Face files store the weight minus one.
    PlusOne,
    /// The weight is some of the rows of a bigger one.
    Rows(Part),
    /// As [`Fix::Rows`], but Hugging Face files join queries, keys and values key head by key head: the queries of its group,
    /// the key, the value.
    HeadRows(Part),
    /// As [`Fix::Rows`], in Hugging Face files only.
    HfRows(Part),
    /// The member of a stack is one head's part of the matrix that makes keys or values of a latent (DeepSeek-AI 2024), keys
    /// being multiplied into the queries instead: transposed.
    LatentHead(Heads),
    /// The weight is this third of the rows of a joined one: queries, keys, values.
    Third(usize),
    /// All dimensions behind the first are one, in their order.
    Flat,
    /// ONNX files stack the directions of a recurrent network: this is one of them. Biases of the input and of the state lie
    /// behind each other.
    OnnxSide(usize),
}

/// Whose heads a weight makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
}

/// Which part of a joined weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Queries of a joined query, key and value weight.
    Q,
    /// Keys of it.
    K,
    /// Values of it.
    V,
    /// First half.
    First,
    /// Second half.
    Second,
    /// Every second row from the first on.
    Even,
    /// Every second row from the second on.
    Odd,
}

/// Batch norm behind a convolution (Ioffe and Szegedy 2015), which is folded into it at loading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Name of the norm in Hugging Face checkpoints, without `.weight`, in the order of the names of the convolution.
    pub hf: &'static str,
    /// Its epsilon, unless the configuration says.
    pub eps: f32,
}

/// A row of the table. `{}` stands for the number of the layer, `{e}` for that of the expert where each has a tensor of its own.
/// Where the canonical name has `{}` itself, each stands for a number that is put into the other names in order, `{1}` there for
/// the second; such a canonical name begins with the layer.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Canonical name, without the layer.
    pub canonical: &'static str,
    /// Name in GGUF files, without `.weight`.
    pub gguf: &'static str,
    /// Name in Hugging Face checkpoints, without `.weight`.
    pub hf: &'static str,
    /// What has to be done.
    pub fix: Fix,
    /// Hugging Face files store the matrix transposed: a row for each input.
    pub transposed: bool,
    /// It is the kernel of a convolution, stored channel by channel, `[out, in, height, width]` (of a transposed one `[in, out, ..]`),
    /// or with one dimension for its window.
    pub kernel: bool,
    /// The norm that is folded into it and its bias.
    pub norm: Option<BatchNorm>,
}

/// A row without a fix. Where files of a family disagree about a name, `|` stands between the names.
pub const fn name(canonical: &'static str, gguf: &'static str, hf: &'static str) -> Name {
    Name { canonical, gguf, hf, fix: Fix::None, transposed: false, kernel: false, norm: None }
}

/// A kernel of a convolution in Hugging Face checkpoints.
pub const fn kernel(canonical: &'static str, hf: &'static str) -> Name {
    Name { kernel: true, ..name(canonical, "", hf) }
}

impl Name {
    /// The same row with something to be done.
    pub const fn fixed(self, fix: Fix) -> Name {
        Name { fix, ..self }
    }

    /// The same row with a batch norm behind it.
    pub const fn normed(self, hf: &'static str, eps: f32) -> Name {
        Name { norm: Some(BatchNorm { hf, eps }), ..self }
    }

    /// The same row for a matrix that Hugging Face files store transposed.
    pub const fn transposed(self) -> Name {
        Name { transposed: true, ..self }
    }
}

/// The usual names of a decoder.
pub const DECODER: &[Name] = &[
    name("token_embd", "token_embd", "model.embed_tokens"),
    name("output_norm", "output_norm", "model.norm"),
    name("output", "output", "lm_head"),
    name("attn_norm", "blk.{}.attn_norm", "model.layers.{}.input_layernorm"),
    name("attn_q", "blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"),
    name("attn_k", "blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"),
    name("attn_v", "blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"),
    name("attn_q_norm", "blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm"),
    name("attn_k_norm", "blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm"),
    name("attn_out", "blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"),
    name("ffn_norm", "blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
    name("ffn_gate", "blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"),
    name("ffn_up", "blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"),
    name("ffn_down", "blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"),
    name("ffn_gate_inp", "blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate"),
    name("ffn_gate_exps", "blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.{e}.gate_proj"),
    name("ffn_up_exps", "blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.{e}.up_proj"),
    name("ffn_down_exps", "blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.{e}.down_proj"),
];

/// Where a weight lies in its checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Name of the tensor.
    pub tensor: String,
    /// Rows of the tensor to take; `None` for all.
    pub rows: Option<Rows>,
    /// The tensor has a row for each column of the weight; a vector has not.
    pub transposed: bool,
    /// Of a transposed tensor, the rows that are the columns of the weight; `None` for all.
    pub columns: Option<Rows>,
    /// All dimensions behind the first are one.
    pub flat: bool,
    /// Which part along the first dimension of a stack it is.
    pub part: Option<usize>,
    /// Heads whose rows lie in pairs and have to be put in halves.
    pub unpair: Option<usize>,
    /// To be added to each value.
    pub offset: f32,
    /// It is the kernel of a convolution, stored channel by channel.
    pub kernel: bool,
    /// Name and epsilon of the batch norm that is folded into it.
    pub norm: Option<(String, f32)>,
}

/// Some rows of a tensor: blocks of `block` rows, `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The first row.
    pub first: usize,
    /// How many in all.
    pub count: usize,
    /// Rows that follow one another.
    pub block: usize,
    /// From the first row of a block to that of the next.
    pub stride: usize,
}

impl Rows {
    /// Rows that follow one another.
    pub const fn run(first: usize, count: usize) -> Rows {
        Rows { first, count, block: count, stride: count }
    }

    /// The row of the tensor that is row `i` of these.
    pub fn at(&self, i: usize) -> usize {
        let block = self.block.max(1);
        self.first + i / block * self.stride + i % block
    }

    /// One more than the last row.
    pub fn end(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.at(last) + 1)
    }
}

impl Located {
    /// All of a tensor as it is.
    fn whole(tensor: String) -> Located {
        Located {
            tensor,
            rows: None,
            unpair: None,
            offset: 0.0,
            transposed: false,
            columns: None,
            flat: false,
            part: None,
            kernel: false,
            norm: None,
        }
    }

    /// The row of the tensor that holds row `i` of a weight of `rows` rows.
    pub fn source_row(&self, i: usize, rows: usize) -> usize {
        let i = self.unpair.map_or(i, |heads| {
            let dim = rows / heads.max(1);
            let (head, within) = (i / dim, i % dim);
            let half = dim / 2;
            head * dim + if within < half { 2 * within } else { 2 * (within - half) + 1 }
        });
        self.rows.map_or(i, |rows| rows.at(i))
    }
}

/// The name that a weight has in this checkpoint, without `.weight`. Checkpoints of a model without its head often leave out
/// the first part of names, which says that there is one.
pub(crate) fn stored(name: &Name, facts: &Facts<'_>, numbers: &[&str], member: &str, suffix: &str) -> String {
    find(if facts.is_gguf() { name.gguf } else { name.hf }, facts, numbers, member, suffix).1
}

/// The number among its alternatives, and the name.
fn find(patterns: &str, facts: &Facts<'_>, numbers: &[&str], member: &str, suffix: &str) -> (usize, String) {
    let full = patterns.split('|').enumerate().flat_map(|(i, pattern)| {
        let base = fill(pattern, numbers).replace("{e}", member);
        // Parameters that are no module of their own have no suffix.
        let alone = if suffix == "weight" { base.clone() } else { format!("{base}_{suffix}") };
        [(i, format!("{base}.{suffix}")), (i, alone)]
    });
    let bare = full.clone().filter_map(|(i, name)| Some((i, name.split_once('.')?.1.to_string())));
    // Where the language model of a larger one lies, in older and newer files.
    let inside = full.clone().filter(|_| facts.is_part()).flat_map(|(i, name)| {
        let inner = name.strip_prefix("model.").unwrap_or(&name);
        let around = ["model.language_model", "model.text_model"].map(|part| (i, format!("{part}.{inner}")));
        [(i, format!("language_model.{name}"))].into_iter().chain(around)
    });
    let mut all = full.clone().chain(inside).chain(bare);
    let there = all.find(|(_, name)| facts.has_tensor(name) == Some(true));
    there.or_else(|| full.clone().next()).unwrap_or_default()
}

/// A name with numbers in its places.
fn fill(pattern: &str, numbers: &[&str]) -> String {
    let mut parts = pattern.split("{}");
    let mut out = parts.next().unwrap_or_default().to_string();
    for (i, part) in parts.enumerate() {
        out += numbers.get(i).or(numbers.last()).unwrap_or(&"");
        out += part;
    }
    numbers.get(1).map_or(out.clone(), |second| out.replace("{1}", second))
}

/// The numbers that stand in the places of a pattern.
fn numbers<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let mut parts = pattern.split("{}");
    let mut rest = name.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    for part in parts {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        found.push(number);
        rest = behind.strip_prefix(part)?;
    }
    (rest.is_empty() && found.iter().all(|n| !n.is_empty())).then_some(found)
}

/// The row of a canonical name without its layer.
pub(crate) fn row(page: &Page, base: &str) -> Option<&'static Name> {
    page.names.iter().chain(DECODER).find(|n| n.canonical == base)
}

/// The row of a canonical name, the numbers in it, and which of its parameters it is.
fn look_up<'n>(
    page: &Page,
    usual: &'static [Name],
    full: &'n str,
) -> Option<(&'static Name, Vec<&'n str>, &'static str)> {
    let suffixed = |name: &'n str| match name.strip_suffix(".bias") {
        Some(base) => [Some((name, "weight")), Some((base, "bias"))],
        None => [Some((name, "weight")), None],
    };
    let numbered = suffixed(full).into_iter().flatten().find_map(|(name, suffix)| {
        let mut rows = page.names.iter().filter(|n| n.canonical.contains("{}"));
        rows.find_map(|row| Some((row, numbers(row.canonical, name)?, suffix)))
    });
    let (layer, rest) = match full.strip_prefix("layers.").and_then(|r| r.split_once('.')) {
        Some((layer, rest)) => (layer, rest),
        None => ("", full),
    };
    let plain = || {
        let row = |name| page.names.iter().chain(usual).find(|n| n.canonical == name);
        suffixed(rest).into_iter().flatten().find_map(|(name, suffix)| Some((row(name)?, vec![layer], suffix)))
    };
    numbered.or_else(plain)
}

/// Finds a weight by its canonical name, such as `layers.3.attn_q` or `layers.3.attn_q.bias`; members of stacks are numbered,
/// as in `layers.3.ffn_up_exps#7`.
pub(crate) fn locate(page: &Page, facts: &Facts<'_>, canonical: &str) -> Result<Located, Error> {
    // A weight of a module in a folder of its own is called as its file calls it.
    if canonical.contains('/') {
        let tensor = match canonical.strip_suffix(".bias") {
            Some(_) => canonical.to_string(),
            None => format!("{canonical}.weight"),
        };
        return Ok(Located::whole(tensor));
    }
    if let Some(located) = given(page, facts, canonical)? {
        return Ok(located);
    }
    let (whole, member) = canonical.split_once('#').map_or((canonical, None), |(name, i)| (name, i.parse().ok()));
    // What a model that sees does not name itself belongs to the language model in it.
    if let Some(text) = facts.text().filter(|_| look_up(page, &[], whole).is_none()) {
        return locate(text.page()?, &text, canonical);
    }
    let unknown = || Error::NoSuchName { file: facts.file().to_string(), name: canonical.to_string() };
    let (name, numbers, suffix) = look_up(page, DECODER, whole).ok_or_else(unknown)?;
    let tensor = stored(name, facts, &numbers, &member.unwrap_or(0usize).to_string(), suffix);
    // A tensor for each member has its number in the name; without, it is a part of a stack.
    let own = (if facts.is_gguf() { name.gguf } else { name.hf }).contains("{e}");
    let (transposed, part) = (name.transposed && !facts.is_gguf(), member.filter(|_| !own));
    let norm = match name.norm {
        Some(norm) => {
            let at = find(norm.hf, facts, &numbers, "", "running_var").1;
            let eps = facts.maybe_f64(hf("layer_norm_eps"))?.map_or(norm.eps, |eps| eps as f32);
            Some((at.trim_end_matches(".running_var").to_string(), eps))
        }
        None => None,
    };
    let kernel = name.kernel && suffix == "weight";
    let mut located = Located { transposed, part, kernel, norm, ..Located::whole(tensor) };
    match name.fix {
        Fix::UnpairRows(whose) if facts.is_gguf() => {
            let c = crate::decoder::Decoder::read(facts)?;
            if c.head_dim % 2 != 0 || crate::rope::RopeConfig::read(facts, c.head_dim)?.rot() != c.head_dim {
                return Err(facts.unsupported(format!("`{canonical}`: rows of heads of {} in pairs", c.head_dim)));
            }
            located.unpair = Some(if whose == Heads::Query { c.heads } else { c.kv_heads });
        }
        Fix::PlusOne if !facts.is_gguf() => located.offset = 1.0,
        Fix::Rows(part) => located.rows = Some(rows_of(part, facts)?),
        Fix::HeadRows(part) if facts.is_gguf() => located.rows = Some(rows_of(part, facts)?),
        Fix::HeadRows(part) => located.rows = Some(head_rows(part, facts)?),
        Fix::HfRows(part) if !facts.is_gguf() => located.rows = Some(rows_of(part, facts)?),
        Fix::LatentHead(whose) if located.tensor.contains("kv_b") => {
            let (l, head) = (crate::latent::Latent::read(facts)?, located.part.take().unwrap_or(0));
            let first = head * (l.nope + l.value);
            match whose {
                Heads::Value => located.rows = Some(Rows::run(first + l.nope, l.value)),
                _ => (located.transposed, located.columns) = (true, Some(Rows::run(first, l.nope))),
            }
        }
        Fix::Third(part) => {
            let third = facts.tensor_rows(&located.tensor).unwrap_or(0) / 3;
            located.rows = Some(Rows::run(part * third, third));
        }
        Fix::Flat => located.flat = suffix == "weight",
        Fix::OnnxSide(side) if facts.str(hf("layout"))? == Some("onnx") => {
            located.part = Some(side);
            let half = facts.usize(hf("hidden_size"))? * crate::pages::recurrent::gates(facts);
            let behind = usize::from(canonical.contains("again"));
            located.rows = canonical.ends_with("bias").then(|| Rows::run(behind * half, half));
        }
        Fix::None | Fix::OnnxSide(_) | Fix::UnpairRows(_) | Fix::PlusOne | Fix::HfRows(_) | Fix::LatentHead(_) => {}
    }
    Ok(located)
}

/// Where a weight lies by the configuration's own table of names, `tensor_names`: for files whose names no page knows. Its keys are
/// canonical names, `{}` in them any number, which stands in the same place of the stored name; norms are taken to be folded in.
/// `{ "tensor": NAME, "transposed": true }` names a matrix with a row for each input.
fn given(page: &Page, facts: &Facts<'_>, canonical: &str) -> Result<Option<Located>, Error> {
    const TABLE: Fact<'_> = hf("tensor_names");
    let Some(table) = facts.object(TABLE)? else { return Ok(None) };
    let Some((stored, numbers)) = table.iter().find_map(|(key, stored)| Some((stored, numbers(key, canonical)?)))
    else {
        return Ok(None);
    };
    let tensor = stored.as_str().or_else(|| stored.get("tensor")?.as_str());
    let tensor = tensor.ok_or_else(|| facts.unsupported(format!("`{}` of {stored} for `{canonical}`", TABLE.1)))?;
    let transposed = stored.get("transposed").and_then(|t| t.as_bool()).unwrap_or(false);
    let kernel = look_up(page, &[], canonical).is_some_and(|(name, _, suffix)| name.kernel && suffix == "weight");
    Ok(Some(Located { transposed, kernel, ..Located::whole(fill(tensor, &numbers)) }))
}

fn rows_of(part: Part, facts: &Facts<'_>) -> Result<Rows, Error> {
    let c = crate::decoder::Decoder::read(facts)?;
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    Ok(match part {
        Part::Q => Rows::run(0, q),
        Part::K => Rows::run(q, kv),
        Part::V => Rows::run(q + kv, kv),
        Part::First => Rows::run(0, c.ffn),
        Part::Second => Rows::run(c.ffn, c.ffn),
        Part::Even => Rows { first: 0, count: c.ffn, block: 1, stride: 2 },
        Part::Odd => Rows { first: 1, count: c.ffn, block: 1, stride: 2 },
    })
}

fn head_rows(part: Part, facts: &Facts<'_>) -> Result<Rows, Error> {
    let c = crate::decoder::Decoder::read(facts)?;
    let (group, head) = (c.heads / c.kv_heads, c.head_dim);
    let (first, heads) = match part {
        Part::Q => (0, group),
        Part::K => (group, 1),
        Part::V => (group + 1, 1),
        _ => return rows_of(part, facts),
    };
    let block = heads * head;
    Ok(Rows { first: first * head, count: c.kv_heads * block, block, stride: (group + 2) * head })
}

/// A fact that only says something in Hugging Face configurations.
pub const fn hf(path: &str) -> Fact<'_> {
    Fact("", path)
}
