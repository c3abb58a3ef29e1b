//! SmolLM 3: Llama in which every fourth layer has no position embedding (NoPE, Yang et al. 2025).

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::names::hf;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page =
    Page { name: "SmolLM3", gguf: &["smollm3"], hf: &["smollm3"], names: super::llama::PAIRED, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::read(f)?;
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let every = f.maybe_usize(hf("no_rope_layer_interval"))?.unwrap_or(4).max(1);
    // A list in the configuration says 1 where a layer turns its heads, against the name of the field.
    let listed = f.words(hf("no_rope_layers"))?;
    let turns = |i: usize| match listed.as_ref().and_then(|l| l.get(i)) {
        Some(word) => word != "0",
        None => !(i + 1).is_multiple_of(every),
    };
    let windows = super::qwen2::windowed_layers(f, c.layers)?;
    let layer = |(i, window)| Layer { window, rope: turns(i).then(|| rope.clone()) };
    let layers: Vec<Layer> = windows.into_iter().enumerate().map(layer).collect();
    c.graph("smollm3", &layers, |x, l| pre_norm_block(&c, x, l))
}
