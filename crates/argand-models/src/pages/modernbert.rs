//! ModernBERT (Warner et al. 2024): norms before each part, gates, rotary positions, and a window in two of three layers.

use crate::decoder::{Decoder, Layer, activation};
use crate::encoder::{Encoder, Summary};
use crate::facts::Facts;
use crate::names::{Fix, Name, Part, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, Mask, NormKind, Pool, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "ModernBERT", gguf: &[], hf: &["modernbert"], names: NAMES, graph };

const QKV: &str = "model.layers.{}.attn.Wqkv";
const GATED: &str = "model.layers.{}.mlp.Wi";

const NAMES: &[Name] = &[
    name("token_embd", "", "model.embeddings.tok_embeddings"),
    name("token_embd_norm", "", "model.embeddings.norm"),
    name("attn_norm", "", "model.layers.{}.attn_norm"),
    name("attn_q", "", QKV).fixed(Fix::Rows(Part::Q)),
    name("attn_k", "", QKV).fixed(Fix::Rows(Part::K)),
    name("attn_v", "", QKV).fixed(Fix::Rows(Part::V)),
    name("attn_out", "", "model.layers.{}.attn.Wo"),
    name("ffn_norm", "", "model.layers.{}.mlp_norm"),
    name("ffn_gate", "", GATED).fixed(Fix::Rows(Part::First)),
    name("ffn_up", "", GATED).fixed(Fix::Rows(Part::Second)),
    name("ffn_down", "", "model.layers.{}.mlp.Wo"),
    name("output_norm", "", "model.final_norm"),
    name("head_dense", "", "head.dense"),
    name("head_norm", "", "head.norm"),
    name("output", "", "decoder|model.embeddings.tok_embeddings"),
    name("classifier", "", "classifier"),
];

/// What distinguishes layers: the first has no norm before attention, for the embedding has one.
#[derive(Clone, PartialEq)]
struct Kind {
    first: bool,
    layer: Layer,
}

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let says = |word| Ok::<_, Error>(f.bool(hf(word))?.unwrap_or(false));
    let act = activation(f, Unary::GeluErf)?;
    let body = Decoder { norm: NormKind::Layer, norm_bias: says("norm_bias")?, mask: Mask::Full, act, ..Decoder::read(f)? };
    let pool = if f.str(hf("classifier_pooling"))? == Some("mean") { Pool::Mean } else { Pool::First };
    let c = Encoder {
        width: body.dim,
        first_position: 0,
        types: None,
        output_norm: true,
        head_bias: says("classifier_bias")?,
        head_act: Unary::GeluErf,
        summary: Summary::Transform(pool),
        body,
    };
    c.graph(f, &layers(f, &c.body)?, |x, kind| {
        let h = if kind.first { x } else { c.body.norm(x, "attn_norm") };
        let x = x + c.body.attention(h, &kind.layer);
        x + c.body.feed_forward(c.body.norm(x, "ffn_norm"))
    })
}

fn layers(f: &Facts<'_>, c: &Decoder) -> Result<Vec<Kind>, Error> {
    let rope = |kind: &str, word, usual| {
        let base = f.maybe_f64(hf(&format!("{word}|rope_parameters.{kind}.rope_theta")))?.unwrap_or(usual);
        RopeConfig::of_layers(f, c.head_dim, kind)?.unscaled(base).rope()
    };
    let global = rope("full_attention", "global_rope_theta", 160_000.0)?;
    let local = rope("sliding_attention", "local_rope_theta", 10_000.0)?;
    let period = f.maybe_usize(hf("global_attn_every_n_layers"))?.unwrap_or(3).max(1);
    // Half of the width to each side, and the token itself.
    let window = f.maybe_usize(hf("local_attention"))?.unwrap_or(128) / 2 + 1;
    let types = f.words(hf("layer_types"))?;
    let sees_all = |i: usize| match types.as_ref().and_then(|t| t.get(i)) {
        Some(kind) => kind == "full_attention",
        None => i.is_multiple_of(period),
    };
    let kind = |i: usize| match sees_all(i) {
        true => Kind { first: i == 0, layer: Layer { window: None, rope: Some(global.clone()) } },
        false => Kind { first: i == 0, layer: Layer { window: Some(window), rope: Some(local.clone()) } },
    };
    Ok((0..c.layers).map(kind).collect())
}
