//! Qwen 3 (Yang et al. 2025): Qwen 2 with normed queries and keys instead of biases.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Qwen3", gguf: &["qwen3"], hf: &["qwen3"], names: &[], graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder { qk_norm: true, ..Decoder::read(f)? };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let windows = super::qwen2::windowed_layers(f, c.layers)?.into_iter();
    let layers: Vec<Layer> = windows.map(|window| Layer { window, rope: Some(rope.clone()) }).collect();
    c.graph("qwen3", &layers, |x, l| pre_norm_block(&c, x, l))
}
