//! CLIP (Radford et al. 2021): a tower for pictures and one for captions, whose vectors are compared.

use crate::facts::Facts;
use crate::names::hf;
use crate::vision::{CLIP_TEXT, CLIP_VISION, NAMES, Tower, captions};
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Mask, Pool, Unary};

/// The architecture. Its graph is the tower for captions.
pub const PAGE: Page = Page { name: "CLIP", gguf: &[], hf: &["clip"], names: NAMES, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let out = f.maybe_usize(hf("projection_dim"))?.unwrap_or(512);
    if !f.looks() {
        return captions(&f.within("text_config", CLIP_TEXT)?, Mask::Causal, Unary::GeluQuick, out, false);
    }
    let t = tower(f)?;
    let g = Builder::new("clip");
    let x = t.layers(t.body.norm(t.embed(&g), "v.pre_norm"), t.body.layers);
    let x = t.body.norm(x.pool(Pool::First), "v.output_norm").linear("v.projection", out);
    let output = x.l2_norm().named("image_embd").value();
    Ok(g.finish(output)?)
}

/// The tower for pictures.
pub(super) fn tower(f: &Facts<'_>) -> Result<Tower, Error> {
    let t = Tower::read(&f.within("vision_config", CLIP_VISION)?, "v.", Unary::GeluQuick)?;
    Ok(Tower { patch_bias: false, ..t.with_class(true) })
}
