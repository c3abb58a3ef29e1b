//! Gemma 2 (Gemma Team 2024): norms before and after each part, capped scores and logits, every other layer with a window.

use crate::decoder::{Decoder, Layer};
use crate::facts::{Fact, Facts};
use crate::names::{Fix, Name, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{Graph, T, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "Gemma 2", gguf: &["gemma2"], hf: &["gemma2"], names: NORMS, graph };

/// Hugging Face checkpoints of this family store the weights of norms minus one.
pub(super) const NORMS: &[Name] = &[
    name("output_norm", "output_norm", "model.norm").fixed(Fix::PlusOne),
    name("attn_norm", "blk.{}.attn_norm", "model.layers.{}.input_layernorm").fixed(Fix::PlusOne),
    name("attn_q_norm", "blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm").fixed(Fix::PlusOne),
    name("attn_k_norm", "blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm").fixed(Fix::PlusOne),
    name("attn_post_norm", "blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm")
        .fixed(Fix::PlusOne),
    name("ffn_norm", "blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm").fixed(Fix::PlusOne),
    name("ffn_post_norm", "blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm").fixed(Fix::PlusOne),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = read(f)?;
    // The first GGUF files of this family left out what the paper says.
    let said = |value: Option<f32>, paper: f32| value.or_else(|| f.is_gguf().then_some(paper));
    let c = Decoder { softcap: said(c.softcap, 50.0), logit_softcap: said(c.logit_softcap, 30.0), ..c };
    let rope = RopeConfig::read(f, c.head_dim)?.rope()?;
    let window = f.window()?.or_else(|| f.is_gguf().then_some(4096));
    let layer = |i: usize| Layer { window: window.filter(|_| i.is_multiple_of(2)), rope: Some(rope.clone()) };
    let layers: Vec<Layer> = (0..c.layers).map(layer).collect();
    c.graph("gemma2", &layers, |x, l| block(&c, x, l))
}

/// What Gemma 2 and 3 have in common.
pub(super) fn read(f: &Facts<'_>) -> Result<Decoder, Error> {
    let c = Decoder::read(f)?;
    let cap = |gguf, name| f.maybe_f64(Fact(gguf, name)).map(|cap| cap.map(|c| c as f32));
    // GGUF files leave the scale out: it is the head's, but for the 27B models, where it is the width over the heads.
    let wide = if c.layers == 46 || c.layers == 62 { c.dim / c.heads } else { c.head_dim };
    let scalar = f.maybe_f64(hf("query_pre_attn_scalar"))?.unwrap_or(wide as f64);
    Ok(Decoder {
        // Without an output tensor or a word about it, the head is the embedding.
        tied: f.bool(hf("tie_word_embeddings"))?.unwrap_or(true) && c.tied || f.has_tensor("lm_head.weight").is_none(),
        act: Unary::GeluTanh,
        scale: (1.0 / scalar.sqrt()) as f32,
        softcap: cap("attn_logit_softcapping", "attn_logit_softcapping")?,
        logit_softcap: cap("final_logit_softcapping", "final_logit_softcapping")?,
        embed_scale: Some((c.dim as f32).sqrt()),
        ..c
    })
}

/// Norms before and after attention and feed-forward.
pub(super) fn block<'g>(c: &Decoder, x: T<'g>, layer: &Layer) -> T<'g> {
    let h = c.attention(x.rms_norm("attn_norm", c.eps), layer);
    let x = x + h.rms_norm("attn_post_norm", c.eps);
    let h = c.feed_forward(x.rms_norm("ffn_norm", c.eps));
    x + h.rms_norm("ffn_post_norm", c.eps)
}
