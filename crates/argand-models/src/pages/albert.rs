//! ALBERT (Lan et al. 2020): all layers have the same weights, and embeddings are narrower than they are.

use crate::encoder::Encoder;
use crate::facts::Facts;
use crate::names::{Name, hf, name};
use crate::{Error, Page};
use argand_graph::Graph;

/// The architecture.
pub const PAGE: Page = Page { name: "ALBERT", gguf: &[], hf: &["albert"], names: NAMES, graph };

/// A name below the only layer.
macro_rules! shared {
    ($name:literal) => {
        concat!("albert.encoder.albert_layer_groups.0.albert_layers.0.", $name)
    };
}

const NAMES: &[Name] = &[
    name("token_embd", "", "albert.embeddings.word_embeddings"),
    name("pos_embd", "", "albert.embeddings.position_embeddings"),
    name("type_embd", "", "albert.embeddings.token_type_embeddings"),
    name("token_embd_norm", "", "albert.embeddings.LayerNorm"),
    name("embd_proj", "", "albert.encoder.embedding_hidden_mapping_in"),
    name("attn_q", "", shared!("attention.query")),
    name("attn_k", "", shared!("attention.key")),
    name("attn_v", "", shared!("attention.value")),
    name("attn_out", "", shared!("attention.dense")),
    name("attn_out_norm", "", shared!("attention.LayerNorm")),
    name("ffn_up", "", shared!("ffn")),
    name("ffn_down", "", shared!("ffn_output")),
    name("layer_out_norm", "", shared!("full_layer_layer_norm")),
    name("pooler", "", "albert.pooler"),
    name("head_dense", "", "predictions.dense"),
    name("head_norm", "", "predictions.LayerNorm"),
    name("output", "", "predictions.decoder|predictions|albert.embeddings.word_embeddings"),
    name("classifier", "", "classifier"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    for field in ["num_hidden_groups", "inner_group_num"] {
        if let Some(n) = f.maybe_usize(hf(field))?.filter(|n| *n != 1) {
            return Err(f.unsupported(format!("`{field}` is {n}; only layers that all share their weights are known")));
        }
    }
    Encoder::read(f)?.post_norm_graph(f)
}
