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
}

/// Whose heads a weight makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Queries.
    Query,
    /// Keys.
    Key,
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
}

/// A row of the table. In layers, `{}` stands for the number of the layer.
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
}

/// A row without a fix.
pub const fn name(canonical: &'static str, gguf: &'static str, hf: &'static str) -> Name {
    Name { canonical, gguf, hf, fix: Fix::None }
}

impl Name {
    /// The same row with something to be done.
    pub const fn fixed(self, fix: Fix) -> Name {
        Name { fix, ..self }
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
];

/// Where a weight lies in its checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Name of the tensor.
    pub tensor: String,
    /// Rows of the tensor to take: first and number; `None` for all.
    pub rows: Option<(usize, usize)>,
    /// Heads whose rows lie in pairs and have to be put in halves.
    pub unpair: Option<usize>,
    /// To be added to each value.
    pub offset: f32,
}

impl Located {
    /// The row of the tensor that holds row `i` of a weight of `rows` rows.
    pub fn source_row(&self, i: usize, rows: usize) -> usize {
        let first = self.rows.map_or(0, |(first, _)| first);
        let Some(heads) = self.unpair else { return first + i };
        let dim = rows / heads.max(1);
        let (head, within) = (i / dim, i % dim);
        let half = dim / 2;
        first + head * dim + if within < half { 2 * within } else { 2 * (within - half) + 1 }
    }
}

/// Finds a weight by its canonical name, such as `layers.3.attn_q` or `layers.3.attn_q.bias`.
pub(crate) fn locate(page: &Page, facts: &Facts<'_>, canonical: &str) -> Result<Located, Error> {
    let unknown = || Error::NoSuchName { file: facts.file().to_string(), name: canonical.to_string() };
    let (layer, rest) = match canonical.strip_prefix("layers.").and_then(|r| r.split_once('.')) {
        Some((layer, rest)) => (layer, rest),
        None => ("", canonical),
    };
    let (base, suffix) = rest.strip_suffix(".bias").map_or((rest, "weight"), |base| (base, "bias"));
    let name = page.names.iter().chain(DECODER).find(|n| n.canonical == base).ok_or_else(unknown)?;
    let pattern = if facts.is_gguf() { name.gguf } else { name.hf };
    let mut located =
        Located { tensor: format!("{}.{suffix}", pattern.replace("{}", layer)), rows: None, unpair: None, offset: 0.0 };
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
        Fix::None | Fix::UnpairRows(_) | Fix::PlusOne => {}
    }
    Ok(located)
}

fn rows_of(part: Part, facts: &Facts<'_>) -> Result<(usize, usize), Error> {
    let c = crate::decoder::Decoder::read(facts)?;
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    Ok(match part {
        Part::Q => (0, q),
        Part::K => (q, kv),
        Part::V => (q + kv, kv),
        Part::First => (0, c.ffn),
        Part::Second => (c.ffn, c.ffn),
    })
}

/// A fact that only says something in Hugging Face configurations.
pub const fn hf(path: &str) -> Fact<'_> {
    Fact("", path)
}
