//! Vision Transformer (Dosovitskiy et al. 2020), and DeiT in its shape: classes told by the first row.

use crate::facts::Facts;
use crate::names::{Name, kernel, name};
use crate::vision::Tower;
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Pool, Unary};

/// The architecture.
pub const PAGE: Page = Page { name: "ViT", gguf: &[], hf: &["vit"], names: NAMES, graph };

const NAMES: &[Name] = &[
    kernel("patch_embd", "vit.embeddings.patch_embeddings.projection"),
    name("class_embd", "", "vit.embeddings.cls_token"),
    name("pos_embd", "", "vit.embeddings.position_embeddings"),
    name("attn_norm", "", "vit.encoder.layer.{}.layernorm_before"),
    name("attn_q", "", "vit.encoder.layer.{}.attention.attention.query"),
    name("attn_k", "", "vit.encoder.layer.{}.attention.attention.key"),
    name("attn_v", "", "vit.encoder.layer.{}.attention.attention.value"),
    name("attn_out", "", "vit.encoder.layer.{}.attention.output.dense"),
    name("ffn_norm", "", "vit.encoder.layer.{}.layernorm_after"),
    name("ffn_up", "", "vit.encoder.layer.{}.intermediate.dense"),
    name("ffn_down", "", "vit.encoder.layer.{}.output.dense"),
    name("output_norm", "", "vit.layernorm"),
    name("classifier", "", "classifier"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let t = Tower::read(&f.within("", &[("vocab_size", 1.0), ("layer_norm_eps", 1e-12)])?, "", Unary::GeluErf)?;
    let t = t.with_class(true);
    let g = Builder::new("vit");
    let x = t.layers(t.embed(&g).named("embed"), t.body.layers);
    let x = t.body.norm(x, "output_norm").pool(Pool::First);
    let output = x.linear_bias("classifier", f.labels()?, true).named("logits").value();
    Ok(g.finish(output)?)
}
