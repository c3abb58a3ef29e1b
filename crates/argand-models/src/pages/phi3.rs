//! Phi-3 and 3.5 mini (Abdin et al. 2024): Llama with joined weights in its files.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::Facts;
use crate::names::{Fix, Name, Part, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "Phi-3", gguf: &["phi3"], hf: &["phi3"], names: JOINED, graph };

const QKV: [&str; 2] = ["blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj"];
const GATE_UP: [&str; 2] = ["blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj"];

const JOINED: &[Name] = &[
    name("attn_q", QKV[0], QKV[1]).fixed(Fix::Rows(Part::Q)),
    name("attn_k", QKV[0], QKV[1]).fixed(Fix::Rows(Part::K)),
    name("attn_v", QKV[0], QKV[1]).fixed(Fix::Rows(Part::V)),
    name("ffn_gate", GATE_UP[0], GATE_UP[1]).fixed(Fix::Rows(Part::First)),
    name("ffn_up", GATE_UP[0], GATE_UP[1]).fixed(Fix::Rows(Part::Second)),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder { qkv_bias: false, out_bias: false, ..Decoder::read(f)? };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: f.window()?, rope: Some(rope) }; c.layers];
    c.graph("phi3", &layers, |x, l| pre_norm_block(&c, x, l))
}
