//! Falcon (Almazrouei et al. 2023) in its three forms: one key for all heads (7B), groups of heads with two norms (40B and
//! later), and ALiBi with one part after the other (RW).

use crate::decoder::{Decoder, Layer, Residual, alibi, pre_norm_block};
use crate::facts::Facts;
use super::bloom::QKV;
use crate::names::{Fix, Name, Part, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "Falcon", gguf: &["falcon"], hf: &["falcon"], names: NAMES, graph };

/// GGUF files call the norm of the feed-forward part that of attention, and number the latter.
const NAMES: &[Name] = &[
    name("token_embd", "token_embd", "transformer.word_embeddings"),
    name("output_norm", "output_norm", "transformer.ln_f"),
    name("attn_norm", "blk.{}.attn_norm_2|blk.{}.attn_norm", "transformer.h.{}.input_layernorm|transformer.h.{}.ln_attn"),
    name("attn_q", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::Q)),
    name("attn_k", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::K)),
    name("attn_v", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::V)),
    name("attn_out", "blk.{}.attn_output", "transformer.h.{}.self_attention.dense"),
    name("ffn_norm", "blk.{}.attn_norm", "transformer.h.{}.post_attention_layernorm|transformer.h.{}.ln_mlp"),
    name("ffn_up", "blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h"),
    name("ffn_down", "blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluErf)?;
    let said = |word| f.bool(hf(word));
    let grouped = said("new_decoder_architecture")?.unwrap_or(false) || f.has_tensor("blk.0.attn_norm_2.weight") == Some(true);
    let norms = f.maybe_usize(hf("num_ln_in_parallel_attn"))?.unwrap_or(2);
    let residual = match grouped {
        true if norms == 2 => Residual::Parallel,
        false if said("parallel_attn")? == Some(false) => Residual::Serial,
        _ => Residual::ParallelOneNorm,
    };
    let bias = said("bias")?.unwrap_or(false);
    let c = Decoder { residual, qkv_bias: bias, out_bias: bias, ffn_bias: bias, ..c };
    let c = Decoder { tied: said("tie_word_embeddings")?.unwrap_or(true) && c.tied, ..c };
    let layers = |rope| vec![Layer { window: None, rope }; c.layers];
    if said("alibi")?.unwrap_or(false) {
        let c = Decoder { score_bias: Some(alibi(c.heads, f64::from(c.scale))), ..c.clone() };
        return c.graph("falcon", &layers(None), |x, l| pre_norm_block(&c, x, l));
    }
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    c.graph("falcon", &layers(Some(rope)), |x, l| pre_norm_block(&c, x, l))
}
