//! Mixtral (Jiang et al. 2024): Mistral with a mixture of experts in every layer. GGUF files call it `llama`.

use crate::decoder::{Decoder, Layer};
use crate::facts::Facts;
use crate::moe::Experts;
use crate::names::{Name, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Mixtral", gguf: &[], hf: &["mixtral"], names: NAMES, graph };

const NAMES: &[Name] = &[
    name("ffn_gate_inp", "", "model.layers.{}.block_sparse_moe.gate"),
    name("ffn_gate_exps", "", "model.layers.{}.block_sparse_moe.experts.{e}.w1"),
    name("ffn_up_exps", "", "model.layers.{}.block_sparse_moe.experts.{e}.w3"),
    name("ffn_down_exps", "", "model.layers.{}.block_sparse_moe.experts.{e}.w2"),
];

/// Also for Llama with experts, as GGUF files call this family.
pub(super) fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::read(f)?;
    let experts = Experts::read(f, &c)?;
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: f.window()?, rope: Some(rope) }; c.layers];
    c.graph("mixtral", &layers, |x, l| {
        let x = x + c.attention(c.norm(x, "attn_norm"), l);
        x + experts.feed_forward(&c, c.norm(x, "ffn_norm"))
    })
}
