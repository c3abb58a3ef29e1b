//! Qwen 3 with experts (Yang et al. 2025): Qwen 3 with a mixture instead of the feed-forward part in all or some layers.

use crate::decoder::{Decoder, Layer};
use crate::facts::{Fact, Facts};
use crate::moe::Experts;
use crate::names::hf;
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Routing};

/// The architecture.
pub const PAGE: Page = Page { name: "Qwen3 MoE", gguf: &["qwen3moe"], hf: &["qwen3_moe"], names: &[], graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder { qk_norm: true, ..Decoder::read(f)? };
    let experts = Experts::read(f, &c)?;
    // GGUF files of this family say nothing, and all have it.
    let normalised = f.bool(Fact("expert_weights_norm", "norm_topk_prob"))?.unwrap_or(f.is_gguf());
    let experts = Experts { routing: Routing { normalised, ..experts.routing }, ..experts };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let period = f.maybe_usize(hf("decoder_sparse_step"))?.unwrap_or(1).max(1);
    let plain = f.words(hf("mlp_only_layers"))?.unwrap_or_default();
    let mixed = |i: usize| (i + 1).is_multiple_of(period) && !plain.contains(&i.to_string());
    let windows = super::qwen2::windowed_layers(f, c.layers)?.into_iter().enumerate();
    let layers = windows.map(|(i, window)| (Layer { window, rope: Some(rope.clone()) }, mixed(i)));
    c.graph("qwen3_moe", &layers.collect::<Vec<_>>(), |x, (layer, mixed)| {
        let x = x + c.attention(c.norm(x, "attn_norm"), layer);
        let h = c.norm(x, "ffn_norm");
        x + if *mixed { experts.feed_forward(&c, h) } else { c.feed_forward(h) }
    })
}
