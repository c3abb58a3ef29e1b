//! Llama 1 to 3.x (Touvron et al. 2023, Dubey et al. 2024), and what took over its architecture: SmolLM 2, Yi, and Mistral
//! in GGUF files.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::{Fact, Facts};
use crate::moe;
use crate::names::{Fix, Heads, Name, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Llama", gguf: &["llama"], hf: &["llama"], names: PAIRED, graph };

/// GGUF files of this family store the rows of queries and keys in pairs.
pub(super) const PAIRED: &[Name] = &[
    name("attn_q", "blk.{}.attn_q", "model.layers.{}.self_attn.q_proj").fixed(Fix::UnpairRows(Heads::Query)),
    name("attn_k", "blk.{}.attn_k", "model.layers.{}.self_attn.k_proj").fixed(Fix::UnpairRows(Heads::Key)),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    if f.maybe_usize(Fact(moe::EXPERTS.0, ""))?.is_some_and(|experts| experts > 0) {
        return super::mixtral::graph(f);
    }
    let c = Decoder::read(f)?;
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: None, rope: Some(rope) }; c.layers];
    c.graph("llama", &layers, |x, l| pre_norm_block(&c, x, l))
}
