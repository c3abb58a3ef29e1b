//! The generator of DCGAN (Radford et al. 2015): noise grows to a picture between -1 and 1.

use crate::cnn::Act;
use crate::facts::Facts;
use crate::names::{Name, hf, kernel};
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Unary, Walk};

/// The architecture.
pub const PAGE: Page = Page { name: "DCGAN", gguf: &[], hf: &["dcgan"], names: NAMES, graph };

/// Numbers of a convolution and of the norm behind it; the last one has none.
const NAMES: &[Name] = &[
    kernel("main.{}.{}", "netG_state_dict.main.{}|main.{}").transposed().normed("netG_state_dict.main.{1}|main.{1}", 1e-5),
    kernel("main.{}", "netG_state_dict.main.{}|main.{}").transposed(),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let widths = f.usizes(hf("widths"))?;
    let g = Builder::new("dcgan");
    let mut x = g.pictures([1, 1], f.positive(hf("latent"))?);
    let walk = |i: usize| if i == 0 { Walk::square(4) } else { Walk::square(4).stride(2).pad(1) };
    for (i, width) in widths.iter().enumerate() {
        x = x.transposed(&format!("main.{}.{}", 3 * i, 3 * i + 1), *width, walk(i), true);
        x = Act::Unary(Unary::Relu).on(x).named(&format!("layers.{i}"));
    }
    let x = x.transposed(&format!("main.{}", 3 * widths.len()), 3, walk(widths.len()), false);
    let output = x.pixels.tanh().named("output").value();
    Ok(g.finish(output)?)
}
