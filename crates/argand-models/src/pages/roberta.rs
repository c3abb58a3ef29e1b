//! RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020) and CamemBERT: BERT with positions counted from behind the
//! padding token.

use crate::encoder::{Encoder, bert_names};
use crate::facts::Facts;
use crate::names::{Name, name};
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page =
    Page { name: "RoBERTa", gguf: &[], hf: &["roberta", "xlm-roberta", "camembert"], names: NAMES, graph };

const NAMES: &[Name] = bert_names!(
    "roberta",
    name("head_dense", "", "lm_head.dense|classifier.dense"),
    name("head_norm", "", "lm_head.layer_norm"),
    name("output", "", "lm_head.decoder|lm_head|roberta.embeddings.word_embeddings"),
);

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    Encoder::after_padding(f)?.post_norm_graph(f)
}
