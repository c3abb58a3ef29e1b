//! Gemma 3, text (Gemma Team 2025): Gemma 2 with normed queries and keys instead of capped scores, five layers with a window
//! to one without, and another base of rotation for those.

use super::gemma2::{NORMS, block, read};
use crate::decoder::{Decoder, Layer};
use crate::facts::{Fact, Facts};
use crate::names::hf;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Gemma 3", gguf: &["gemma3"], hf: &["gemma3_text"], names: NORMS, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder { qk_norm: true, ..read(f)? };
    let local = RopeConfig::of_layers(f, c.head_dim, "sliding_attention")?;
    let base = match f.maybe_f64(Fact("rope.freq_base_swa", "rope_local_base_freq"))? {
        None => f.maybe_f64(hf("rope_parameters.sliding_attention.rope_theta"))?,
        base => base,
    };
    let local = local.unscaled(base.unwrap_or(10_000.0)).rope()?;
    let global = RopeConfig::read(f, c.head_dim)?.rope()?;
    let window = f.window()?;
    let period = f.maybe_usize(hf("sliding_window_pattern"))?.unwrap_or(6).max(1);
    let listed = f.sliding_layers(c.layers)?;
    let slides = |i: usize| listed.as_ref().map_or(!(i + 1).is_multiple_of(period), |all| all[i]);
    let layer = |i: usize| match slides(i) {
        true => Layer { window, rope: Some(local.clone()) },
        false => Layer { window: None, rope: Some(global.clone()) },
    };
    let layers: Vec<Layer> = (0..c.layers).map(layer).collect();
    c.graph("gemma3", &layers, |x, l| block(&c, x, l))
}
