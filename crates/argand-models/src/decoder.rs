//! What decoders have in common: their sizes, attention, gated feed-forward, and the frame around the layers.

use crate::Error;
use crate::facts::{self, Fact, Facts};
use crate::names::hf;
use argand_graph::{
    AttentionSpec, BatchInput, Builder, F, Graph, KvSpec, Mask, NormKind, Rope, ScoreBias, Sym, T, Unary,
};
use argand_weights::Value;

/// More layers than this are a damaged file: the deepest models have some hundreds.
const MOST_LAYERS: usize = 1024;
/// More heads than this are a damaged file: the largest models have some hundreds.
const MOST_HEADS: usize = 4096;
/// A head with more components than this is a damaged file.
pub(crate) const LARGEST_HEAD: usize = 1 << 16;

/// Sizes of a decoder.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Decoder {
    pub vocab: usize,
    pub layers: usize,
    pub dim: usize,
    pub ffn: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Kind of all norms.
    pub norm: NormKind,
    /// Layer norms have biases.
    pub norm_bias: bool,
    pub eps: f32,
    /// What is added to what.
    pub residual: Residual,
    /// The feed-forward part has a gate.
    pub gated: bool,
    /// Learned positions: rows of their table.
    pub positions: Option<usize>,
    /// Rows of pictures may stand in the places of tokens; the step brings them in as `pictures`.
    pub sees: bool,
    /// The embedding is normed.
    pub embed_norm: bool,
    /// The output head has a bias.
    pub head_bias: bool,
    /// The output head is the embedding table.
    pub tied: bool,
    /// Activation of the gate.
    pub act: Unary,
    /// Factor of the attention scores.
    pub scale: f32,
    /// Which rows a row sees.
    pub mask: Mask,
    /// What is added to the attention scores by distance.
    pub score_bias: Option<ScoreBias>,
    /// Attention has sinks.
    pub sinks: bool,
    /// Cap of the attention scores.
    pub softcap: Option<f32>,
    /// Queries, keys and values have biases.
    pub qkv_bias: bool,
    /// The output projection of attention has a bias.
    pub out_bias: bool,
    /// The feed-forward products have biases.
    pub ffn_bias: bool,
    /// Queries and keys are normalised head by head.
    pub qk_norm: bool,
    /// The embedding is scaled by this.
    pub embed_scale: Option<f32>,
    /// Cap of the logits.
    pub logit_softcap: Option<f32>,
}

/// Where attention and the feed-forward part get their input, and what their results are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// One after the other, a norm before each.
    Serial,
    /// Both from the layer's input, each with its own norm.
    Parallel,
    /// Both from the same normed input.
    ParallelOneNorm,
}

/// What distinguishes one layer from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Sliding window of attention in tokens.
    pub window: Option<usize>,
    /// Rotary embedding, if the layer has one.
    pub rope: Option<Rope>,
}

impl Decoder {
    /// Reads the sizes that every decoder has.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read(f: &Facts<'_>) -> Result<Decoder, Error> {
        Self::with_eps(f, f.f64(facts::EPS)?)
    }

    /// The same for families that do not always name the epsilon of their norms.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn with_eps(f: &Facts<'_>, eps: f64) -> Result<Decoder, Error> {
        let (dim, heads) = (f.positive(facts::DIM)?, f.positive(facts::HEADS)?);
        // Before there were groups of heads, one word told whether all share one key.
        let newer = f.bool(hf("new_decoder_architecture"))? == Some(true);
        let kv_heads = match f.bool(hf("multi_query"))?.filter(|_| !newer) {
            Some(true) => 1,
            Some(false) => heads,
            None => f.maybe_usize(facts::KV_HEADS)?.unwrap_or(heads),
        };
        if heads > MOST_HEADS {
            return Err(f.unsupported(format!("{heads} query heads; at most {MOST_HEADS} are believed")));
        }
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(f.unsupported(format!("{heads} query heads are no multiple of {kv_heads} key heads")));
        }
        let head_dim = f.maybe_usize(facts::HEAD_DIM)?.unwrap_or(dim / heads);
        if head_dim == 0 || head_dim > LARGEST_HEAD {
            return Err(f.unsupported(format!("heads of {head_dim} values, {heads} of them over a width of {dim}")));
        }
        // GGUF files say by their tensors what Hugging Face configurations say in words.
        let bias = |tensor: &str, word| match f.is_gguf() {
            true => Ok::<_, Error>(f.has_tensor(tensor).unwrap_or(false)),
            false => Ok(f.bool(hf(word))?.unwrap_or(false)),
        };
        let vocab = match f.rows("token_embd") {
            Some(rows) => f.agreed(facts::VOCAB, rows, "token_embd")?,
            None => f.positive(facts::VOCAB)?,
        };
        // Older families leave out the usual width of the feed-forward part (Vaswani et al. 2017).
        let ffn = if f.is_gguf() || f.maybe_usize(facts::FFN)?.is_some() { f.positive(facts::FFN)? } else { 4 * dim };
        let said = f.bool(hf("tie_word_embeddings"))?.unwrap_or(false);
        for (fact, value) in [(facts::VOCAB, vocab), (facts::FFN, ffn), (facts::KV_HEADS, kv_heads)] {
            f.tell(fact, Value::U32(value as u32));
        }
        Ok(Decoder {
            vocab,
            layers: layers(f, facts::LAYERS)?,
            dim,
            ffn,
            heads,
            kv_heads,
            head_dim,
            norm: NormKind::Rms,
            norm_bias: false,
            eps: eps as f32,
            residual: Residual::Serial,
            gated: true,
            positions: None,
            sees: f.sees(),
            embed_norm: false,
            head_bias: false,
            tied: f.has("output").map_or(said, |has| !has),
            act: activation(f, Unary::Silu)?,
            scale: 1.0 / (head_dim as f32).sqrt(),
            mask: Mask::Causal,
            score_bias: None,
            sinks: false,
            softcap: None,
            qkv_bias: bias("blk.0.attn_q.bias", "attention_bias")?,
            out_bias: bias("blk.0.attn_output.bias", "attention_bias")?,
            ffn_bias: bias("blk.0.ffn_down.bias", "mlp_bias")?,
            qk_norm: false,
            embed_scale: None,
            logit_softcap: None,
        })
    }

    /// What families before Llama have in common (Radford et al. 2019): layer norms and biases everywhere, no gate. Without a
    /// word in the file the activation is `act`.
    ///
    /// # Errors
    /// As [`Decoder::read`].
    pub fn classic(f: &Facts<'_>, act: Unary) -> Result<Decoder, Error> {
        Decoder::read(f)?.classical(f, act)
    }

    /// The same of sizes that were read.
    ///
    /// # Errors
    /// An activation that is not known.
    pub fn classical(self, f: &Facts<'_>, act: Unary) -> Result<Decoder, Error> {
        let c = Decoder { norm: NormKind::Layer, norm_bias: true, gated: false, ..self };
        Ok(Decoder { qkv_bias: true, out_bias: true, ffn_bias: true, act: activation(f, act)?, ..c })
    }

    /// The norm of this model.
    #[track_caller]
    pub fn norm<'g>(&self, x: T<'g>, name: &str) -> T<'g> {
        x.norm(self.norm, name, self.eps, self.norm_bias)
    }

    /// Attention with all that belongs to it, from the normed input to the output projection.
    #[track_caller]
    pub fn attention<'g>(&self, h: T<'g>, layer: &Layer) -> T<'g> {
        self.attention_of(h, h, layer)
    }

    /// The same where others than those that are seen ask.
    #[track_caller]
    pub fn attention_of<'g>(&self, asking: T<'g>, seen: T<'g>, layer: &Layer) -> T<'g> {
        let head =
            |h: T<'g>, name: &str, heads: usize| h.linear_bias(name, heads * self.head_dim, self.qkv_bias).heads(heads);
        let (mut q, mut k) = (head(asking, "attn_q", self.heads), head(seen, "attn_k", self.kv_heads));
        let v = head(seen, "attn_v", self.kv_heads);
        if self.qk_norm {
            (q, k) = (self.norm(q, "attn_q_norm"), self.norm(k, "attn_k_norm"));
        }
        if let Some(rope) = &layer.rope {
            (q, k) = (q.rope(rope).named("attn_q_rope"), k.rope(rope).named("attn_k_rope"));
        }
        let kv = KvSpec {
            heads: self.kv_heads,
            dim_k: self.head_dim,
            dim_v: self.head_dim,
            window: layer.window,
            memory: false,
        };
        let spec = AttentionSpec::new(self.heads, kv, self.scale);
        let (softcap, bias) = (self.softcap.map(F), self.score_bias.clone());
        let spec = AttentionSpec { mask: self.mask, softcap, bias, sinks: self.sinks, ..spec };
        q.attend(k, v, &spec).linear_bias("attn_out", self.dim, self.out_bias)
    }

    /// Feed-forward, gated (Shazeer 2020) or not, from the normed input.
    #[track_caller]
    pub fn feed_forward<'g>(&self, h: T<'g>) -> T<'g> {
        let up = |name| h.linear_bias(name, self.ffn, self.ffn_bias);
        let h = match self.gated {
            true => up("ffn_gate").unary(self.act) * up("ffn_up"),
            false => up("ffn_up").unary(self.act),
        };
        h.linear_bias("ffn_down", self.dim, self.ffn_bias)
    }

    /// The frame: embedding, layers, norm, head.
    ///
    /// # Errors
    /// The first mistake in the graph.
    pub fn graph<L: PartialEq>(
        &self,
        name: &str,
        layers: &[L],
        block: impl for<'b> Fn(T<'b>, &L) -> T<'b>,
    ) -> Result<Graph, Error> {
        let g = Builder::new(name);
        let x = g.embed("token_embd", self.vocab, self.dim);
        let x = self.embed_scale.map_or(x, |k| x.scale(k));
        let positions = |rows| g.look_up("pos_embd", rows, self.dim, BatchInput::Positions, 0);
        let x = self.positions.map_or(x, |rows| x + positions(rows));
        let x = if self.embed_norm { self.norm(x, "embd_norm") } else { x };
        let pictures = self.sees.then(|| g.given("pictures", Sym::P.into(), self.dim));
        let x = pictures.map_or(x, |rows| rows.placed(Some(x))).named("embed");
        let x = self.norm(x.repeat("layers", layers, block).logit_rows(), "output_norm");
        let head = if self.tied { "token_embd" } else { "output" };
        let logits =
            x.linear_bias(head, self.vocab, self.head_bias).named("output").softcap(self.logit_softcap).named("logits");
        let output = logits.value();
        Ok(g.finish(output)?)
    }
}

/// How many layers a fact says.
///
/// # Errors
/// None, or more than any model has.
pub(crate) fn layers(f: &Facts<'_>, fact: Fact<'_>) -> Result<usize, Error> {
    match f.positive(fact)? {
        layers if layers > MOST_LAYERS => {
            Err(f.unsupported(format!("{layers} layers; at most {MOST_LAYERS} are believed")))
        }
        layers => Ok(layers),
    }
}

/// The block that most decoders share: norm before attention, norm before feed-forward, residual around both.
pub fn pre_norm_block<'g>(c: &Decoder, x: T<'g>, layer: &Layer) -> T<'g> {
    let h = c.norm(x, "attn_norm");
    let y = x + c.attention(h, layer);
    y + c.feed_forward(match c.residual {
        Residual::Serial => c.norm(y, "ffn_norm"),
        Residual::Parallel => c.norm(x, "ffn_norm"),
        Residual::ParallelOneNorm => h,
    })
}

/// Slopes of ALiBi (Press et al. 2021) times a factor: powers of two, and for other numbers of heads every second one of the
/// finer series.
pub fn alibi(heads: usize, factor: f64) -> ScoreBias {
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let slope = |of: usize, i: usize| (-8.0 * i as f64 / of as f64).exp2();
    let all = (1..=power).map(|i| slope(power, i)).chain((0..).map(|i| slope(2 * power, 2 * i + 1)));
    ScoreBias::Slopes(all.take(heads).map(|s| F((s * factor) as f32)).collect())
}

/// The activation that the configuration names, or `usual` without a word.
///
/// # Errors
/// A name that is not known.
pub fn activation(f: &Facts<'_>, usual: Unary) -> Result<Unary, Error> {
    named_activation(f, f.str(hf("hidden_activation|hidden_act|activation_function|activation"))?, usual)
}

/// The activation of a name, or `usual` without one.
///
/// # Errors
/// A name that is not known.
pub(crate) fn named_activation(f: &Facts<'_>, name: Option<&str>, usual: Unary) -> Result<Unary, Error> {
    let Some(name) = name else { return Ok(usual) };
    match name {
        "silu" | "swish" => Ok(Unary::Silu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Unary::GeluTanh),
        "gelu" => Ok(Unary::GeluErf),
        "quick_gelu" => Ok(Unary::GeluQuick),
        "relu" => Ok(Unary::Relu),
        "relu2" => Ok(Unary::Relu2),
        other => Err(f.unsupported(format!("activation `{other}` is not known"))),
    }
}
