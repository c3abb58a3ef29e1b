//! Falcon (Almazrouei et al. 2023) in its three forms: one key for all heads (7B), groups of heads with two norms (40B and
//! later), and ALiBi with one part after the other (RW).

use crate::decoder::{Decoder, Layer, Residual, alibi, pre_norm_block};
use crate::facts::Facts;
use crate::names::hf;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "Falcon", gguf: &["falcon"], hf: &["falcon"], names: super::bloom::NAMES, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluErf)?;
    let said = |word| f.bool(hf(word));
    let grouped = said("new_decoder_architecture").unwrap_or(false) || f.has_tensor("blk.0.attn_norm_2.weight") == Some(true);
    let norms = f.maybe_usize(hf("num_ln_in_parallel_attn"))?.unwrap_or(2);
    let residual = match grouped {
        true if norms == 2 => Residual::Parallel,
        false if said("parallel_attn") == Some(false) => Residual::Serial,
        _ => Residual::ParallelOneNorm,
    };
    let bias = said("bias").unwrap_or(false);
    let c = Decoder { residual, qkv_bias: bias, out_bias: bias, ffn_bias: bias, ..c };
    let c = Decoder { tied: said("tie_word_embeddings").unwrap_or(true) && c.tied, ..c };
    let layers = |rope| vec![Layer { window: None, rope }; c.layers];
    if said("alibi").unwrap_or(false) {
        let c = Decoder { score_bias: Some(alibi(c.heads, f64::from(c.scale))), ..c.clone() };
        return c.graph("falcon", &layers(None), |x, l| pre_norm_block(&c, x, l));
    }
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    c.graph("falcon", &layers(Some(rope)), |x, l| pre_norm_block(&c, x, l))
}
