//! SigLIP (Zhai et al. 2023): a tower for pictures and one for captions, whose vectors are compared; each pair is told by itself.

use crate::decoder::Layer;
use crate::facts::Facts;
use crate::names::hf;
use crate::vision::{NAMES, SIGLIP_TEXT, SIGLIP_VISION, Tower, captions};
use crate::{Error, Page};
use argand_graph::{BatchInput, Builder, Graph, Mask, Pool, T, Unary};

/// The architecture. Its graph is the tower for captions.
pub const PAGE: Page = Page { name: "SigLIP", gguf: &[], hf: &["siglip"], names: NAMES, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    if !f.looks() {
        let text = f.within("text_config", SIGLIP_TEXT)?;
        let out = text.maybe_usize(hf("projection_size|hidden_size"))?.unwrap_or(0);
        return captions(&text, Mask::Full, Unary::GeluTanh, out, true);
    }
    let t = tower(f)?;
    let g = Builder::new("siglip");
    let output = pooled(&t, t.states(&g)).l2_norm().named("image_embd").value();
    Ok(g.finish(output)?)
}

/// The tower for pictures.
pub(super) fn tower(f: &Facts<'_>) -> Result<Tower, Error> {
    Tower::read(&f.within("vision_config", SIGLIP_VISION)?, "v.", Unary::GeluTanh)
}

/// A learned row asks all rows of a picture. Every row asks the same, because queries have as many rows as keys; the first answer
/// is kept.
fn pooled<'g>(t: &Tower, x: T<'g>) -> T<'g> {
    let c = &t.body;
    let x = x.repeat("v.pool", &[()], |x, ()| {
        let probe = x.builder().look_up("probe", 1, c.dim, BatchInput::Tokens, 0);
        c.attention_of(probe, x, &Layer { window: None, rope: None })
    });
    let x = x.pool(Pool::First).named("v.pool_attn");
    let h = c.norm(x, "v.pool_norm").linear_bias("v.pool_up", c.ffn, true).unary(c.act);
    x + h.linear_bias("v.pool_down", c.dim, true)
}
