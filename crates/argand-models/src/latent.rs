//! Attention to a latent (DeepSeek-AI 2024): the cache holds one short vector for each token, from which keys and values of
//! all heads follow. The matrix that would make keys of it is multiplied into the queries, and that of the values comes behind
//! the sum, so that nothing is ever expanded.

use crate::Error;
use crate::decoder::{Decoder, LARGEST_HEAD};
use crate::facts::{Fact, Facts};
use argand_graph::{AttentionSpec, KvSpec, Rope, T};

const KEY: Fact<'static> = Fact("attention.key_length_mla|attention.key_length", "");
const NOPE: Fact<'static> = Fact("", "qk_nope_head_dim");
const TURNED: Fact<'static> = Fact("rope.dimension_count", "qk_rope_head_dim");
const VALUE: Fact<'static> = Fact("attention.value_length_mla|attention.value_length", "v_head_dim");

/// Sizes of latent attention.
#[derive(Clone, Copy, Debug)]
pub struct Latent {
    /// Width of the latent of queries, if they have one.
    pub query_rank: Option<usize>,
    /// Width of the latent of keys and values.
    pub rank: usize,
    /// Components of a head's key that follow from the latent.
    pub nope: usize,
    /// Components that turn with the position, the same for all heads.
    pub turned: usize,
    /// Components of a head's value.
    pub value: usize,
}

impl Latent {
    /// Reads the sizes.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read(f: &Facts<'_>) -> Result<Latent, Error> {
        let turned = f.positive(TURNED)?;
        let nope = match f.is_gguf() {
            true => f.positive(KEY)?.checked_sub(turned).filter(|nope| *nope > 0).ok_or_else(|| {
                f.unsupported(format!("keys that are no longer than the {turned} components that turn"))
            })?,
            false => f.positive(NOPE)?,
        };
        if f.bool(Fact("", "attention_bias"))? == Some(true) {
            return Err(f.unsupported("latent attention with biases (`attention_bias`)"));
        }
        let query_rank = f.maybe_usize(Fact("attention.q_lora_rank", "q_lora_rank"))?.filter(|rank| *rank > 0);
        let rank = f.positive(Fact("attention.kv_lora_rank", "kv_lora_rank"))?;
        let value = f.positive(VALUE)?;
        for size in [turned, nope, rank, value] {
            if size > LARGEST_HEAD {
                return Err(f.unsupported(format!("latent attention of {size} components")));
            }
        }
        Ok(Latent { query_rank, rank, nope, turned, value })
    }

    /// Attention from the normed input to the output projection.
    #[track_caller]
    pub fn attention<'g>(&self, c: &Decoder, h: T<'g>, rope: &Rope, scale: f32) -> T<'g> {
        let width = c.heads * (self.nope + self.turned);
        let q = match self.query_rank {
            Some(rank) => h.linear("attn_q_a", rank).rms_norm("attn_q_a_norm", c.eps).linear("attn_q_b", width),
            None => h.linear("attn_q", width),
        };
        let q = q.heads(c.heads);
        let kv = h.linear("attn_kv_a_mqa", self.rank + self.turned);
        let latent = kv.slice(0, self.rank).rms_norm("attn_kv_a_norm", c.eps).heads(1);
        let key = latent.concat(kv.slice(self.rank, self.turned).heads(1).rope(rope));
        let turned = q.slice(self.nope, self.turned).rope(rope);
        let q = q.slice(0, self.nope).linear_each("attn_k_b", self.rank).concat(turned);
        let kv = KvSpec { heads: 1, dim_k: self.rank + self.turned, dim_v: self.rank, window: None, memory: false };
        let seen = q.attend(key, latent, &AttentionSpec::new(c.heads, kv, scale)).named("attn_latent");
        let values = seen.heads(c.heads).linear_each("attn_v_b", self.value);
        values.named("attn").merge().linear("attn_out", c.dim)
    }
}
