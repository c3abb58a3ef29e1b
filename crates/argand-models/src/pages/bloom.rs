//! BLOOM (BigScience 2022): ALiBi instead of positions, a norm behind the embedding.

use crate::decoder::{Decoder, Layer, alibi, pre_norm_block};
use crate::facts::Facts;
use crate::names::{Fix, Name, Part, hf, name};
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "BLOOM", gguf: &["bloom"], hf: &["bloom"], names: NAMES, graph };

/// Falcon has it too.
pub(super) const QKV: [&str; 2] = ["blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value"];

const NAMES: &[Name] = &[
    name("token_embd", "token_embd", "transformer.word_embeddings"),
    name("embd_norm", "token_embd_norm", "transformer.word_embeddings_layernorm"),
    name("output_norm", "output_norm", "transformer.ln_f"),
    name("attn_norm", "blk.{}.attn_norm", "transformer.h.{}.input_layernorm"),
    name("attn_q", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::Q)),
    name("attn_k", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::K)),
    name("attn_v", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::V)),
    name("attn_out", "blk.{}.attn_output", "transformer.h.{}.self_attention.dense"),
    name("ffn_norm", "blk.{}.ffn_norm", "transformer.h.{}.post_attention_layernorm"),
    name("ffn_up", "blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"),
    name("ffn_down", "blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluTanh)?;
    let score_bias = Some(alibi(c.heads, 1.0));
    let c = Decoder { score_bias, embed_norm: true, tied: f.has("output") != Some(true), ..c };
    let layers = vec![Layer { window: None, rope: None }; c.layers];
    if !f.bool(hf("apply_residual_connection_post_layernorm"))?.unwrap_or(false) {
        return c.graph("bloom", &layers, |x, l| pre_norm_block(&c, x, l));
    }
    c.graph("bloom", &layers, |x, l| {
        let h = c.norm(x, "attn_norm");
        let h = c.norm(h + c.attention(h, l), "ffn_norm");
        h + c.feed_forward(h)
    })
}
