//! BERT (Devlin et al. 2018), and the many encoders of its shape: MiniLM, BGE, E5, GTE.

use crate::encoder::{Encoder, bert_names};
use crate::facts::Facts;
use crate::names::{Name, name};
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "BERT", gguf: &[], hf: &["bert"], names: NAMES, graph };

const NAMES: &[Name] = bert_names!(
    "bert",
    name("head_dense", "", "cls.predictions.transform.dense"),
    name("head_norm", "", "cls.predictions.transform.LayerNorm"),
    name("output", "", "cls.predictions.decoder|cls.predictions|bert.embeddings.word_embeddings"),
);

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    Encoder::read(f)?.post_norm_graph(f)
}
