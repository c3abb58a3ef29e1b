//! Phi-1, 1.5 and 2 (Li et al. 2023): attention and feed-forward side by side from one norm, part of each head turns.

use crate::decoder::{Decoder, Layer, Residual, pre_norm_block};
use crate::facts::Facts;
use crate::names::{Name, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "Phi", gguf: &["phi2"], hf: &["phi"], names: NAMES, graph };

const NAMES: &[Name] = &[
    name("output_norm", "output_norm", "model.final_layernorm"),
    name("attn_q_norm", "blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_layernorm"),
    name("attn_k_norm", "blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_layernorm"),
    name("attn_out", "blk.{}.attn_output", "model.layers.{}.self_attn.dense"),
    name("ffn_up", "blk.{}.ffn_up", "model.layers.{}.mlp.fc1"),
    name("ffn_down", "blk.{}.ffn_down", "model.layers.{}.mlp.fc2"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluTanh)?;
    let qk_norm = f.bool(hf("qk_layernorm"))?.unwrap_or(false);
    let c = Decoder { residual: Residual::ParallelOneNorm, head_bias: true, qk_norm, ..c };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: None, rope: Some(rope) }; c.layers];
    c.graph("phi", &layers, |x, l| pre_norm_block(&c, x, l))
}
