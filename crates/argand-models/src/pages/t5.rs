//! T5 (Raffel et al. 2019), its version 1.1 with gates (Shazeer 2020), and Flan (Chung et al. 2022): an encoder reads a text whole, a
//! decoder writes another one. Distances are learned biases of the scores, which the layers of a side share; scores are not scaled.

use crate::decoder::{self, Decoder, Layer, pre_norm_block};
use crate::encoder::Head;
use crate::facts::{self, Fact, Facts};
use crate::names::{Name, hf, name};
use crate::{Error, Page};
use argand_graph::{AttentionSpec, Buckets, Builder, Graph, KvSpec, Mask, ScoreBias, T, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "T5", gguf: &["t5"], hf: &["t5"], names: NAMES, graph };

/// The names of each side, `enc` and `dec`: its layers have parts that follow one another, one or two kinds of attention and a
/// feed-forward part, each with the number that it has in Hugging Face files.
macro_rules! names {
    ($($side:literal $hf:literal [$($attn:literal $part:literal $module:literal)+] $ffn:literal)+) => { &[
        name("token_embd", "token_embd", "shared|encoder.embed_tokens|decoder.embed_tokens"),
        $(names!(@$side ".output_norm", ".output_norm", $hf ".final_layer_norm"),
        names!(@$side ".layers.{}.attn_bias", ".blk.0.attn_rel_b",
            $hf ".block.0.layer.0.SelfAttention.relative_attention_bias"),
        $(names!(@$side ".layers.{}." $attn "_norm", ".blk.{}." $attn "_norm", $hf ".block.{}.layer." $part ".layer_norm"),
        names!(@$side ".layers.{}." $attn "_q", ".blk.{}." $attn "_q", $hf ".block.{}.layer." $part $module "q"),
        names!(@$side ".layers.{}." $attn "_k", ".blk.{}." $attn "_k", $hf ".block.{}.layer." $part $module "k"),
        names!(@$side ".layers.{}." $attn "_v", ".blk.{}." $attn "_v", $hf ".block.{}.layer." $part $module "v"),
        names!(@$side ".layers.{}." $attn "_out", ".blk.{}." $attn "_o", $hf ".block.{}.layer." $part $module "o"),)+
        names!(@$side ".layers.{}.ffn_norm", ".blk.{}.ffn_norm", $hf ".block.{}.layer." $ffn ".layer_norm"),
        names!(@$side ".layers.{}.ffn_gate", ".blk.{}.ffn_gate", $hf ".block.{}.layer." $ffn ".DenseReluDense.wi_0"),
        names!(@$side ".layers.{}.ffn_up", ".blk.{}.ffn_up", $hf ".block.{}.layer." $ffn ".DenseReluDense.wi_1|"
            $hf ".block.{}.layer." $ffn ".DenseReluDense.wi"),
        names!(@$side ".layers.{}.ffn_down", ".blk.{}.ffn_down", $hf ".block.{}.layer." $ffn ".DenseReluDense.wo"),)+
    ] };
    (@$side:literal $($canonical:literal)+, $($gguf:literal)+, $($hf:literal)+) => {
        name(concat!($side $(, $canonical)+), concat!($side $(, $gguf)+), concat!($($hf),+))
    };
}

const NAMES: &[Name] = names! {
    "enc" "encoder" ["attn" 0 ".SelfAttention."] 1
    "dec" "decoder" ["attn" 0 ".SelfAttention." "cross_attn" 1 ".EncDecAttention."] 2
};

/// Layers of the decoder, where they are not as many as those of the encoder.
const DECODER_LAYERS: Fact<'static> = Fact("decoder_block_count", "num_decoder_layers");
const BUCKETS: Fact<'static> = Fact("attention.relative_buckets_count", "relative_attention_num_buckets");
const FARTHEST: Fact<'static> = hf("relative_attention_max_distance");

/// Neither has a window or turns.
const PLAIN: Layer = Layer { window: None, rope: None };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let (gated, act) = feed_forward(f)?;
    // Before version 1.1 the head is the table of embeddings, scaled. Configurations say so by this word, GGUF files by no head.
    let head = f.has("output");
    let own = if f.is_gguf() { head == Some(true) } else { f.bool(hf("tie_word_embeddings"))? == Some(false) };
    let c = Decoder { gated, act, scale: 1.0, tied: head.map_or(!own, |has| !has), ..Decoder::read(f)? };
    let rows = decoder::layers(f, if f.maybe_usize(DECODER_LAYERS)?.is_some() { DECODER_LAYERS } else { facts::LAYERS })?;
    let memory = KvSpec { heads: c.heads, dim_k: c.head_dim, dim_v: c.head_dim, window: None, memory: true };

    let side = Decoder { mask: Mask::Full, score_bias: Some(buckets(f, true)?), ..c.clone() };
    let g = Builder::new("T5 encoder");
    let x = g.embed("token_embd", c.vocab, c.dim);
    let x = x.repeat("enc.layers", &vec![(); c.layers], |x, ()| pre_norm_block(&side, x, &PLAIN));
    let x = c.norm(x, "enc.output_norm");
    if f.words(hf("architectures"))?.is_some_and(|classes| classes == ["T5EncoderModel"]) {
        let output = match f.head()? {
            Head::Sentence(sentence) => sentence.apply(x),
            _ => x,
        };
        let output = output.value();
        return Ok(g.finish(output)?);
    }
    let read = x.repeat("dec.layers", &vec![(); rows], |x, ()| {
        x.remember(heads(&c, x, "cross_attn_k"), heads(&c, x, "cross_attn_v"), memory)
    });
    let read = read.value();
    let encoder = g.finish(read)?;

    let side = Decoder { score_bias: Some(buckets(f, false)?), ..c.clone() };
    let spec = AttentionSpec { mask: Mask::Full, ..AttentionSpec::new(c.heads, memory, c.scale) };
    let g = Builder::new("T5 decoder");
    let x = g.embed("token_embd", c.vocab, c.dim).repeat("dec.layers", &vec![(); rows], |x, ()| {
        let x = x + side.attention(c.norm(x, "attn_norm"), &PLAIN);
        let x = x + heads(&c, c.norm(x, "cross_attn_norm"), "cross_attn_q").recall(&spec).linear("cross_attn_out", c.dim);
        x + c.feed_forward(c.norm(x, "ffn_norm"))
    });
    let x = c.norm(x.logit_rows(), "dec.output_norm");
    let x = if own { x } else { x.scale((c.dim as f32).sqrt().recip()) };
    let logits = x.linear(if c.tied { "token_embd" } else { "output" }, c.vocab).named("logits").value();
    Ok(g.finish(logits)?.with_encoder(encoder))
}

fn heads<'g>(c: &Decoder, x: T<'g>, name: &str) -> T<'g> {
    x.linear(name, c.heads * c.head_dim).heads(c.heads)
}

/// Whether the feed-forward part has a gate, and its function.
fn feed_forward(f: &Facts<'_>) -> Result<(bool, Unary), Error> {
    match f.str(hf("feed_forward_proj"))? {
        Some("relu") => Ok((false, Unary::Relu)),
        // The name says another function than was trained with (`T5Config`).
        Some("gated-gelu") => Ok((true, Unary::GeluTanh)),
        Some("gated-silu") => Ok((true, Unary::Silu)),
        Some(other) => Err(f.unsupported(format!("`feed_forward_proj` of `{other}` is not known"))),
        None if f.has("enc.layers.{}.ffn_gate") == Some(true) => Ok((true, Unary::GeluTanh)),
        None => Ok((false, Unary::Relu)),
    }
}

/// More buckets or a farther distance than this are a damaged file.
const MOST_BUCKETS: usize = 1 << 16;

fn buckets(f: &Facts<'_>, both_ways: bool) -> Result<ScoreBias, Error> {
    let [count, max_distance] = [(BUCKETS, 32), (FARTHEST, 128)].map(|(fact, usual)| match f.maybe_usize(fact) {
        Ok(Some(n)) if n == 0 || n > MOST_BUCKETS => Err(f.unsupported(format!("{n} buckets or distances of them"))),
        found => Ok(found?.unwrap_or(usual)),
    });
    Ok(ScoreBias::Buckets(Buckets { count: count?, max_distance: max_distance?, both_ways }))
}
