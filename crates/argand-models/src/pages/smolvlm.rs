//! Idefics 3 (Laurençon et al. 2024) and SmolVLM (Marafioti et al. 2025): squares of rows of SigLIP's tower go side by side through
//! one product into the places of tokens.

use crate::facts::Facts;
use crate::names::hf;
use crate::vision::{IDEFICS_VISION, NAMES, Tower, language};
use crate::{Error, Page, facts};
use argand_graph::{Builder, Graph, Unary};

/// The architecture. Its graph is the language model.
pub const PAGE: Page = Page { name: "SmolVLM", gguf: &[], hf: &["smolvlm", "idefics3"], names: NAMES, graph };

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    if !f.looks() {
        return language(f);
    }
    let t = Tower::read(&f.within("vision_config", IDEFICS_VISION)?, "v.", Unary::GeluTanh)?;
    let side = f.maybe_usize(hf("scale_factor"))?.unwrap_or(2);
    let [lines, columns] = t.grid();
    if side == 0 || lines % side != 0 || columns % side != 0 {
        return Err(f.unsupported(format!("squares of {side} patches in pictures of {lines} x {columns}")));
    }
    let dim = f.text().map_or_else(|| f.positive(facts::DIM), |text| text.positive(facts::DIM))?;
    let square: Vec<usize> = (0..side * side).map(|i| i / side * columns + i % side).collect();
    let g = Builder::new("smolvlm");
    let output = t.states(&g).rows_behind(&square).linear("mm", dim).value();
    Ok(g.finish(output)?)
}
