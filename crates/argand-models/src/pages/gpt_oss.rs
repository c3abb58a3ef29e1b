//! gpt-oss (Agarwal et al. 2025): experts in four bits, a window in every other layer, sinks in all.

use crate::decoder::{Decoder, Layer};
use crate::facts::Facts;
use crate::moe::Experts;
use crate::names::{Fix, Name, Part, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "gpt-oss", gguf: &["gpt-oss"], hf: &["gpt_oss"], names: NAMES, graph };

const GATE_UP: &str = "model.layers.{}.mlp.experts.gate_up_proj|model.layers.{}.mlp.experts.gate_up_proj_blocks";
const DOWN: &str = "model.layers.{}.mlp.experts.down_proj|model.layers.{}.mlp.experts.down_proj_blocks";

const NAMES: &[Name] = &[
    name("attn_sinks", "blk.{}.attn_sinks", "model.layers.{}.self_attn.sinks"),
    name("ffn_norm", "blk.{}.post_attention_norm|blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"),
    name("ffn_gate_inp", "blk.{}.ffn_gate_inp", "model.layers.{}.mlp.router"),
    name("ffn_gate_exps", "blk.{}.ffn_gate_exps", GATE_UP).fixed(Fix::HfRows(Part::Even)).transposed(),
    name("ffn_up_exps", "blk.{}.ffn_up_exps", GATE_UP).fixed(Fix::HfRows(Part::Odd)).transposed(),
    name("ffn_down_exps", "blk.{}.ffn_down_exps", DOWN).transposed(),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::read(f)?;
    // The gate is `x * sigmoid(alpha * x)` with the alpha of the quick GELU.
    if f.maybe_f64(hf("swiglu_alpha"))?.is_some_and(|alpha| alpha != 1.702) {
        return Err(f.unsupported("a `swiglu_alpha` other than 1.702"));
    }
    let c = Decoder { qkv_bias: true, out_bias: true, sinks: true, act: Unary::GeluQuick, ..c };
    let limit = f.maybe_f64(hf("swiglu_limit"))?.unwrap_or(7.0) as f32;
    let experts = Experts { bias: true, limit: Some(limit), ..Experts::read(f, &c)? };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let (window, listed) = (f.window()?, f.sliding_layers(c.layers)?);
    let slides = |i: usize| listed.as_ref().map_or(i.is_multiple_of(2), |all| all[i]);
    let layer = |i| Layer { window: window.filter(|_| slides(i)), rope: Some(rope.clone()) };
    c.graph("gpt_oss", &(0..c.layers).map(layer).collect::<Vec<_>>(), |x, l| {
        let x = x + c.attention(c.norm(x, "attn_norm"), l);
        x + experts.feed_forward(&c, c.norm(x, "ffn_norm"))
    })
}
