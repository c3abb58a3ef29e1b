//! Qwen 2 and 2.5 (Yang et al. 2024): queries, keys and values have biases; the upper layers may have a sliding window.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::names::hf;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Qwen2", gguf: &["qwen2"], hf: &["qwen2", "qwen2_vl_text"], names: &[], graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder { qkv_bias: true, ..Decoder::read(f)? };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = windowed_layers(f, c.layers)?.into_iter().map(|window| Layer { window, rope: Some(rope.clone()) });
    c.graph("qwen2", &layers.collect::<Vec<_>>(), |x, l| pre_norm_block(&c, x, l))
}

/// The window of each layer: with `use_sliding_window`, from `max_window_layers` on, or as `layer_types` says.
pub(super) fn windowed_layers(f: &Facts<'_>, layers: usize) -> Result<Vec<Option<usize>>, Error> {
    let slides = f.bool(hf("use_sliding_window"))?.unwrap_or(false);
    let window = f.window()?.filter(|_| slides);
    let first = f.maybe_usize(hf("max_window_layers"))?.unwrap_or(layers);
    let listed = f.sliding_layers(layers)?;
    let slides = |i: usize| listed.as_ref().map_or(i >= first, |all| all[i]);
    Ok((0..layers).map(|i| window.filter(|_| slides(i))).collect())
}
