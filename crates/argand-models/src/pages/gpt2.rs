//! GPT-2 (Radford et al. 2019): learned positions, layer norms before each part, one product on each side of the activation.

use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::{self, Facts};
use crate::names::{Fix, Name, Part, hf, name};
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "GPT-2", gguf: &["gpt2"], hf: &["gpt2"], names: NAMES, graph };

const QKV: [&str; 2] = ["blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn"];

const NAMES: &[Name] = &[
    name("token_embd", "token_embd", "transformer.wte"),
    name("pos_embd", "position_embd", "transformer.wpe"),
    name("output_norm", "output_norm", "transformer.ln_f"),
    name("attn_norm", "blk.{}.attn_norm", "transformer.h.{}.ln_1"),
    name("attn_q", QKV[0], QKV[1]).fixed(Fix::Rows(Part::Q)).transposed(),
    name("attn_k", QKV[0], QKV[1]).fixed(Fix::Rows(Part::K)).transposed(),
    name("attn_v", QKV[0], QKV[1]).fixed(Fix::Rows(Part::V)).transposed(),
    name("attn_out", "blk.{}.attn_output", "transformer.h.{}.attn.c_proj").transposed(),
    name("ffn_norm", "blk.{}.ffn_norm", "transformer.h.{}.ln_2"),
    name("ffn_up", "blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc").transposed(),
    name("ffn_down", "blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj").transposed(),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluTanh)?;
    let positions = f.rows("pos_embd").map_or_else(|| f.positive(facts::CONTEXT), Ok)?;
    let scale = if f.bool(hf("scale_attn_weights"))?.unwrap_or(true) { c.scale } else { 1.0 };
    let deeper = f.bool(hf("scale_attn_by_inverse_layer_idx"))?.unwrap_or(false);
    let c = Decoder { positions: Some(positions), tied: f.has("output") != Some(true), ..c };
    let layers: Vec<f32> = (0..c.layers).map(|i| if deeper { scale / (i + 1) as f32 } else { scale }).collect();
    let plain = Layer { window: None, rope: None };
    c.graph("gpt2", &layers, |x, scale| pre_norm_block(&Decoder { scale: *scale, ..c.clone() }, x, &plain))
}
