//! DistilBERT (Sanh et al. 2019): BERT with half the layers, one type of text and no pooler.

use crate::encoder::{Encoder, Summary};
use crate::facts::Facts;
use crate::names::{Name, name};
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "DistilBERT", gguf: &[], hf: &["distilbert"], names: NAMES, graph };

const NAMES: &[Name] = &[
    name("token_embd", "", "distilbert.embeddings.word_embeddings"),
    name("pos_embd", "", "distilbert.embeddings.position_embeddings"),
    name("token_embd_norm", "", "distilbert.embeddings.LayerNorm"),
    name("attn_q", "", "distilbert.transformer.layer.{}.attention.q_lin"),
    name("attn_k", "", "distilbert.transformer.layer.{}.attention.k_lin"),
    name("attn_v", "", "distilbert.transformer.layer.{}.attention.v_lin"),
    name("attn_out", "", "distilbert.transformer.layer.{}.attention.out_lin"),
    name("attn_out_norm", "", "distilbert.transformer.layer.{}.sa_layer_norm"),
    name("ffn_up", "", "distilbert.transformer.layer.{}.ffn.lin1"),
    name("ffn_down", "", "distilbert.transformer.layer.{}.ffn.lin2"),
    name("layer_out_norm", "", "distilbert.transformer.layer.{}.output_layer_norm"),
    name("head_dense", "", "vocab_transform|pre_classifier"),
    name("head_norm", "", "vocab_layer_norm"),
    name("output", "", "vocab_projector|distilbert.embeddings.word_embeddings"),
    name("classifier", "", "classifier"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Encoder::read(f)?;
    Encoder { types: None, summary: Summary::Dense(Unary::Relu), ..c }.post_norm_graph(f)
}
