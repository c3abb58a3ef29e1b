//! What decoders have in common: their sizes, attention, gated feed-forward, and the frame around the layers.

use crate::Error;
use crate::facts::{self, Facts};
use crate::names::hf;
use argand_graph::{AttentionSpec, Builder, F, Graph, KvSpec, Rope, T, Unary};

/// More layers than this are a damaged file: the deepest models have some hundreds.
const MOST_LAYERS: usize = 4096;
/// A head with more components than this is a damaged file.
const LARGEST_HEAD: usize = 1 << 16;

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
    pub eps: f32,
    /// The output head is the embedding table.
    pub tied: bool,
    /// Activation of the gate.
    pub act: Unary,
    /// Factor of the attention scores.
    pub scale: f32,
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
        let (dim, heads) = (f.positive(facts::DIM)?, f.positive(facts::HEADS)?);
        let kv_heads = f.maybe_usize(facts::KV_HEADS)?.unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(f.unsupported(format!("{heads} query heads are no multiple of {kv_heads} key heads")));
        }
        let head_dim = f.maybe_usize(facts::HEAD_DIM)?.unwrap_or(dim / heads);
        if head_dim == 0 || head_dim > LARGEST_HEAD {
            return Err(f.unsupported(format!("heads of {head_dim} values, {heads} of them over a width of {dim}")));
        }
        let layers = f.positive(facts::LAYERS)?;
        if layers > MOST_LAYERS {
            return Err(f.unsupported(format!("{layers} layers; at most {MOST_LAYERS} are believed")));
        }
        // GGUF files say by their tensors what Hugging Face configurations say in words.
        let bias = |tensor: &str, word| match f.is_gguf() {
            true => f.has_tensor(tensor).unwrap_or(false),
            false => f.bool(hf(word)).unwrap_or(false),
        };
        let (embed, output) = if f.is_gguf() {
            ("token_embd.weight", "output.weight")
        } else {
            ("model.embed_tokens.weight", "lm_head.weight")
        };
        let vocab = match f.tensor_rows(embed) {
            Some(rows) => rows,
            None => f.positive(facts::VOCAB)?,
        };
        let said = f.bool(hf("tie_word_embeddings")).unwrap_or(false);
        Ok(Decoder {
            vocab,
            layers,
            dim,
            ffn: f.positive(facts::FFN)?,
            heads,
            kv_heads,
            head_dim,
            eps: f.f64(facts::EPS)? as f32,
            tied: f.has_tensor(output).map_or(said, |has| !has),
            act: activation(f)?,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            qkv_bias: bias("blk.0.attn_q.bias", "attention_bias"),
            out_bias: bias("blk.0.attn_output.bias", "attention_bias"),
            ffn_bias: bias("blk.0.ffn_down.bias", "mlp_bias"),
            qk_norm: false,
            embed_scale: None,
            logit_softcap: None,
        })
    }

    /// Attention with all that belongs to it, from the normed input to the output projection.
    #[track_caller]
    pub fn attention<'g>(&self, h: T<'g>, layer: &Layer) -> T<'g> {
        let head = |name: &str, heads: usize| h.linear_bias(name, heads * self.head_dim, self.qkv_bias).heads(heads);
        let (mut q, mut k) = (head("attn_q", self.heads), head("attn_k", self.kv_heads));
        let v = head("attn_v", self.kv_heads);
        if self.qk_norm {
            (q, k) = (q.rms_norm("attn_q_norm", self.eps), k.rms_norm("attn_k_norm", self.eps));
        }
        if let Some(rope) = &layer.rope {
            (q, k) = (q.rope(rope).named("attn_q_rope"), k.rope(rope).named("attn_k_rope"));
        }
        let kv = KvSpec { heads: self.kv_heads, dim_k: self.head_dim, dim_v: self.head_dim, window: layer.window };
        let spec = AttentionSpec { heads: self.heads, kv, scale: F(self.scale), softcap: self.softcap.map(F) };
        q.attend(k, v, &spec).linear_bias("attn_out", self.dim, self.out_bias)
    }

    /// Gated feed-forward (Shazeer 2020), from the normed input.
    #[track_caller]
    pub fn feed_forward<'g>(&self, h: T<'g>) -> T<'g> {
        let gate = h.linear_bias("ffn_gate", self.ffn, self.ffn_bias);
        let up = h.linear_bias("ffn_up", self.ffn, self.ffn_bias);
        (gate.unary(self.act) * up).linear_bias("ffn_down", self.dim, self.ffn_bias)
    }

    /// The frame: embedding, layers, norm, head.
    ///
    /// # Errors
    /// The first mistake in the graph.
    pub fn graph(
        &self,
        name: &str,
        layers: &[Layer],
        block: impl for<'b> Fn(T<'b>, &Layer) -> T<'b>,
    ) -> Result<Graph, Error> {
        let g = Builder::new(name);
        let x = g.embed("token_embd", self.vocab, self.dim);
        let x = self.embed_scale.map_or(x, |k| x.scale(k)).named("embed");
        let x = x.repeat("layers", layers, block).logit_rows().rms_norm("output_norm", self.eps);
        let head = if self.tied { "token_embd" } else { "output" };
        let logits = x.linear(head, self.vocab).named("output").softcap(self.logit_softcap).named("logits");
        let output = logits.value();
        Ok(g.finish(output)?)
    }
}

/// The block that most decoders share: norm before attention, norm before feed-forward, residual around both.
pub fn pre_norm_block<'g>(c: &Decoder, x: T<'g>, layer: &Layer) -> T<'g> {
    let x = x + c.attention(x.rms_norm("attn_norm", c.eps), layer);
    x + c.feed_forward(x.rms_norm("ffn_norm", c.eps))
}

fn activation(f: &Facts<'_>) -> Result<Unary, Error> {
    match f.str(hf("hidden_activation")).or(f.str(hf("hidden_act"))).unwrap_or("silu") {
        "silu" | "swish" => Ok(Unary::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Unary::GeluTanh),
        "gelu" => Ok(Unary::GeluErf),
        "relu" => Ok(Unary::Relu),
        other => Err(f.unsupported(format!("activation `{other}` is not known"))),
    }
}
