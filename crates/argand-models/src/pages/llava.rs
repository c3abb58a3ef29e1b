//! LLaVA 1.5 and 1.6 in its shape (Liu et al. 2023): rows of CLIP's tower go through two products into the places of tokens.

use super::{clip, siglip};
use crate::decoder::named_activation;
use crate::facts::Facts;
use crate::names::hf;
use crate::vision::{NAMES, language};
use crate::{Error, Page, facts};
use argand_graph::{Builder, Graph, Unary};

/// The architecture. Its graph is the language model.
pub const PAGE: Page = Page { name: "LLaVA", gguf: &[], hf: &["llava"], names: NAMES, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    if !f.looks() {
        return language(f);
    }
    let clip = f.str(hf("vision_config.model_type"))? != Some("siglip_vision_model");
    let t = if clip { clip::tower(f)? } else { siglip::tower(f)? };
    // The class token's row is left out, which goes without saying where there is none.
    let select = f.str(hf("vision_feature_select_strategy"))?.unwrap_or("default");
    if select != if clip { "default" } else { "full" } {
        return Err(f.unsupported(format!("`vision_feature_select_strategy` is `{select}`")));
    }
    let layers = t.body.layers as f64;
    let from = f.maybe_f64(hf("vision_feature_layer"))?.unwrap_or(-2.0);
    // States are counted from what enters the first layer.
    let count = if from < 0.0 { layers + 1.0 + from } else { from };
    if !(1.0..=layers).contains(&count) || count.fract() != 0.0 {
        return Err(f.unsupported(format!("`vision_feature_layer` is {from}, of {layers} layers")));
    }
    let act = named_activation(f, f.str(hf("projector_hidden_act"))?, Unary::GeluErf)?;
    let bias = f.bool(hf("multimodal_projector_bias"))?.unwrap_or(true);
    let dim = match f.text() {
        Some(text) => text.positive(facts::DIM)?,
        None => f.positive(facts::DIM)?,
    };
    let g = Builder::new("llava");
    let x = t.embed(&g);
    let x = if clip { t.body.norm(x, "v.pre_norm") } else { x };
    let x = t.layers(x, count as usize).logit_rows();
    let output = x.linear_bias("mm_up", dim, bias).unary(act).linear_bias("mm", dim, bias).value();
    Ok(g.finish(output)?)
}
