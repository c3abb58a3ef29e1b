//! MPNet (Song et al. 2020): RoBERTa with a bias of attention scores by distance, which all layers share, and one type of text.

use crate::decoder::Decoder;
use crate::encoder::{Encoder, bert_names};
use crate::facts::Facts;
use crate::names::{Name, hf, name};
use crate::{Error, Page};
use argand_graph::{Buckets, Graph, ScoreBias};

/// The architecture.
pub const PAGE: Page = Page { name: "MPNet", gguf: &[], hf: &["mpnet"], names: NAMES, graph };

/// Beyond this distance all are alike (`MPNetEncoder.relative_position_bucket`).
const MAX_DISTANCE: usize = 128;

const NAMES: &[Name] = bert_names!(
    "mpnet",
    name("attn_q", "", "mpnet.encoder.layer.{}.attention.attn.q"),
    name("attn_k", "", "mpnet.encoder.layer.{}.attention.attn.k"),
    name("attn_v", "", "mpnet.encoder.layer.{}.attention.attn.v"),
    name("attn_out", "", "mpnet.encoder.layer.{}.attention.attn.o"),
    name("attn_out_norm", "", "mpnet.encoder.layer.{}.attention.LayerNorm"),
    name("attn_bias", "", "mpnet.encoder.relative_attention_bias"),
    name("head_dense", "", "lm_head.dense|classifier.dense"),
    name("head_norm", "", "lm_head.layer_norm"),
    name("output", "", "lm_head.decoder|lm_head|mpnet.embeddings.word_embeddings"),
);

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Encoder::after_padding(f)?;
    let count = f.maybe_usize(hf("relative_attention_num_buckets"))?.unwrap_or(32);
    let buckets = Buckets { count, max_distance: MAX_DISTANCE, both_ways: true };
    let body = Decoder { score_bias: Some(ScoreBias::Buckets(buckets)), ..c.body };
    Encoder { types: None, body, ..c }.post_norm_graph(f)
}
