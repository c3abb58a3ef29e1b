//! Mistral (Jiang et al. 2023): Llama with a sliding window in all layers.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture. GGUF files call it `llama` and have no window.
pub const PAGE: Page = Page { name: "Mistral", gguf: &[], hf: &["mistral"], names: &[], graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::read(f)?;
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: f.window()?, rope: Some(rope) }; c.layers];
    c.graph("mistral", &layers, |x, l| pre_norm_block(&c, x, l))
}
