//! Qwen2-VL (Wang et al. 2024): patches of pictures of any size, positions by line and column in the tower, by time, line and column
//! in the language model.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::names::{Fix, Name, hf, name};
use crate::vision::language;
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Mask, Rope, RopeFreqs, RopeStyle, Sym, Unary};
use std::sync::Arc;

/// The architecture. Its graph is the language model.
pub const PAGE: Page = Page { name: "Qwen2-VL", gguf: &[], hf: &["qwen2_vl"], names: NAMES, graph };

/// A name below the tower, wherever checkpoints have it.
macro_rules! seen {
    ($name:literal) => {
        concat!("visual.", $name, "|model.visual.", $name)
    };
}

const NAMES: &[Name] = &[
    name("v.patch_embd", "", seen!("patch_embed.proj")).fixed(Fix::Flat),
    name("v.layers.{}.attn_norm", "", seen!("blocks.{}.norm1")),
    name("v.layers.{}.attn_q", "", seen!("blocks.{}.attn.qkv")).fixed(Fix::Third(0)),
    name("v.layers.{}.attn_k", "", seen!("blocks.{}.attn.qkv")).fixed(Fix::Third(1)),
    name("v.layers.{}.attn_v", "", seen!("blocks.{}.attn.qkv")).fixed(Fix::Third(2)),
    name("v.layers.{}.attn_out", "", seen!("blocks.{}.attn.proj")),
    name("v.layers.{}.ffn_norm", "", seen!("blocks.{}.norm2")),
    name("v.layers.{}.ffn_up", "", seen!("blocks.{}.mlp.fc1")),
    name("v.layers.{}.ffn_down", "", seen!("blocks.{}.mlp.fc2")),
    name("mm_norm", "", seen!("merger.ln_q")),
    name("mm_up", "", seen!("merger.mlp.0")),
    name("mm", "", seen!("merger.mlp.2")),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    if !f.looks() {
        return language(f);
    }
    let f = f.within("vision_config", &[("vocab_size", 1.0), ("layer_norm_eps", 1e-6)])?;
    let number = |field, usual| Ok::<_, Error>(f.maybe_usize(hf(field))?.unwrap_or(usual));
    let (dim, out) = (f.positive(hf("embed_dim"))?, f.positive(hf("hidden_size"))?);
    let heads = f.positive(hf("num_heads"))?;
    let head_dim = dim / heads;
    if dim % heads != 0 || head_dim % 4 != 0 {
        return Err(f.unsupported(format!("{heads} heads over a width of {dim}")));
    }
    let c = Decoder::read(&f)?.classical(&f, Unary::GeluQuick)?;
    let (ffn, scale) = (dim * number("mlp_ratio", 4)?, 1.0 / (head_dim as f32).sqrt());
    let c = Decoder { dim, ffn, head_dim, scale, heads, kv_heads: heads, mask: Mask::Full, ..c };

    let channels = number("in_channels|in_chans", 3)?;
    let (patch, frames) = (number("patch_size", 14)?, number("temporal_patch_size", 2)?);
    let side = number("spatial_merge_size", 2)?;
    // Half of the pairs turn by the line, the others alike by the column.
    let inv_freq: Vec<f64> = (0..head_dim / 4).map(|i| 1e4f64.powf(-4.0 * i as f64 / head_dim as f64)).collect();
    let freqs = RopeFreqs { inv_freq: inv_freq.repeat(2), magnitude: 1.0 };
    let rope = Rope { style: RopeStyle::Half, freqs: Arc::new(freqs), sections: vec![0, head_dim / 4, head_dim / 4] };

    let g = Builder::new("qwen2_vl");
    let patches = g.given("patches", Sym::N.into(), channels * frames * patch * patch);
    let layers = vec![Layer { window: None, rope: Some(rope) }; c.layers];
    let x = patches.linear("v.patch_embd", dim).repeat("v.layers", &layers, |x, layer| pre_norm_block(&c, x, layer));
    let squares: Vec<usize> = (0..side * side).collect();
    let x = c.norm(x, "mm_norm").rows_behind(&squares).linear_bias("mm_up", dim * squares.len(), true);
    let output = x.unary(Unary::GeluErf).linear_bias("mm", out, true).value();
    Ok(g.finish(output)?)
}
