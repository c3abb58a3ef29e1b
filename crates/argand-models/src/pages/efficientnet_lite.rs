//! EfficientNet-Lite (Liu 2020, after Tan and Le 2019): inverted bottlenecks without squeeze and excitation, ReLU6.

use crate::cnn::{Act, Inverted, conv, inverted};
use crate::facts::Facts;
use crate::names::{Name, hf, kernel, name};
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Walk};

/// The architecture.
pub const PAGE: Page =
    Page { name: "EfficientNet-Lite", gguf: &[], hf: &["efficientnet_lite"], names: NAMES, graph };

const EPS: f32 = 1e-3;

const NAMES: &[Name] = &[
    kernel("stem", "stem.1|_conv_stem").normed("stem.2|_bn0", EPS),
    kernel("expand", "blocks.{}.expand.1|_blocks.{}._expand_conv").normed("blocks.{}.expand.2|_blocks.{}._bn0", EPS),
    kernel("depthwise", "blocks.{}.depthwise.1|_blocks.{}._depthwise_conv")
        .normed("blocks.{}.depthwise.2|_blocks.{}._bn1", EPS),
    kernel("project", "blocks.{}.project.1|_blocks.{}._project_conv").normed("blocks.{}.project.2|_blocks.{}._bn2", EPS),
    kernel("head", "head.1|_conv_head").normed("head.2|_bn1", EPS),
    name("output", "", "classifier|_fc"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let g = Builder::new("efficientnet_lite");
    let mut x = g.pictures(f.picture()?, 3);
    x = conv(x, "stem", Some(f.positive(hf("stem"))?), Walk::square(3).stride(2).same(), Act::Relu6).named("embd");
    let mut layer = 0;
    for stage in f.list(hf("stages"))? {
        let [out, expand] = [stage.positive(hf("width"))?, stage.positive(hf("expand"))?];
        let [kernel, stride] = [stage.positive(hf("kernel"))?, stage.positive(hf("stride"))?];
        for i in 0..stage.positive(hf("depth"))? {
            let walk = Walk::square(kernel).stride(if i == 0 { stride } else { 1 }).same();
            let inner = (expand > 1).then(|| x.channels() * expand);
            // A block that changes the resolution starts anew, even where one pixel is left.
            let residual = i > 0 || stride == 1;
            x = inverted(x, layer, &Inverted { inner, out, walk, residual });
            layer += 1;
        }
    }
    let x = conv(x, "head", Some(f.positive(hf("head"))?), Walk::square(1), Act::Relu6);
    let output = x.mean().named("pooled").linear_bias("output", f.labels()?, true).value();
    Ok(g.finish(output)?)
}
