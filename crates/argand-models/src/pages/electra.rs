//! ELECTRA (Clark et al. 2020): BERT with embeddings that may be narrower than the layers, and no pooler.

use crate::encoder::{Encoder, Summary, bert_names};
use crate::facts::Facts;
use crate::names::{Name, name};
use crate::{Error, Page};
use argand_graph::{Graph, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "ELECTRA", gguf: &[], hf: &["electra"], names: NAMES, graph };

const NAMES: &[Name] = bert_names!(
    "electra",
    name("embd_proj", "", "electra.embeddings_project"),
    name("head_dense", "", "generator_predictions.dense|classifier.dense"),
    name("head_norm", "", "generator_predictions.LayerNorm"),
    name("output", "", "generator_lm_head|electra.embeddings.word_embeddings"),
);

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let c = Encoder::read(f)?;
    Encoder { summary: Summary::Dense(Unary::GeluErf), ..c }.post_norm_graph(f)
}
