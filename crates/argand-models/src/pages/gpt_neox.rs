//! GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023): part of each head turns, attention and feed-forward side by
//! side.

use crate::decoder::{Decoder, Layer, Residual, pre_norm_block};
use crate::facts::{Fact, Facts};
use crate::names::{Fix, Name, Part, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_weights::Value;
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "GPT-NeoX", gguf: &["gptneox"], hf: &["gpt_neox"], names: NAMES, graph };

const QKV: [&str; 2] = ["blk.{}.attn_qkv", "gpt_neox.layers.{}.attention.query_key_value"];

const NAMES: &[Name] = &[
    name("token_embd", "token_embd", "gpt_neox.embed_in"),
    name("output_norm", "output_norm", "gpt_neox.final_layer_norm"),
    name("output", "output", "embed_out"),
    name("attn_norm", "blk.{}.attn_norm", "gpt_neox.layers.{}.input_layernorm"),
    name("attn_q", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::Q)),
    name("attn_k", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::K)),
    name("attn_v", QKV[0], QKV[1]).fixed(Fix::HeadRows(Part::V)),
    name("attn_out", "blk.{}.attn_output", "gpt_neox.layers.{}.attention.dense"),
    name("ffn_norm", "blk.{}.ffn_norm", "gpt_neox.layers.{}.post_attention_layernorm"),
    name("ffn_up", "blk.{}.ffn_up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
    name("ffn_down", "blk.{}.ffn_down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Decoder::classic(f, Unary::GeluErf)?;
    const PARALLEL: Fact<'_> = Fact("use_parallel_residual", "use_parallel_residual");
    let parallel = f.bool(PARALLEL)?.unwrap_or(true);
    f.tell(PARALLEL, Value::Bool(parallel));
    let bias = f.bool(hf("attention_bias"))?.unwrap_or(true);
    let residual = if parallel { Residual::Parallel } else { Residual::Serial };
    let c = Decoder { residual, qkv_bias: bias, out_bias: bias, ..c };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let layers = vec![Layer { window: None, rope: Some(rope) }; c.layers];
    c.graph("gpt_neox", &layers, |x, l| pre_norm_block(&c, x, l))
}
