//! MobileNetV2 (Sandler et al. 2018): inverted bottlenecks, widths by a multiplier.

use crate::cnn::{Act, Inverted, conv, inverted};
use crate::facts::Facts;
use crate::names::{Name, hf, kernel, name};
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Walk};

/// The architecture.
pub const PAGE: Page = Page { name: "MobileNetV2", gguf: &[], hf: &["mobilenet_v2"], names: NAMES, graph };

const EPS: f32 = 1e-3;

const NAMES: &[Name] = &[
    layer("expand", "mobilenet_v2.layer.{}.expand_1x1.convolution", "mobilenet_v2.layer.{}.expand_1x1.normalization"),
    layer("depthwise", "mobilenet_v2.layer.{}.conv_3x3.convolution", "mobilenet_v2.layer.{}.conv_3x3.normalization"),
    layer("project", "mobilenet_v2.layer.{}.reduce_1x1.convolution", "mobilenet_v2.layer.{}.reduce_1x1.normalization"),
    layer("stem", "mobilenet_v2.conv_stem.first_conv.convolution", "mobilenet_v2.conv_stem.first_conv.normalization"),
    layer("wide", "mobilenet_v2.conv_stem.expand_1x1.convolution", "mobilenet_v2.conv_stem.expand_1x1.normalization"),
    layer("mix", "mobilenet_v2.conv_stem.conv_3x3.convolution", "mobilenet_v2.conv_stem.conv_3x3.normalization"),
    layer("narrow", "mobilenet_v2.conv_stem.reduce_1x1.convolution", "mobilenet_v2.conv_stem.reduce_1x1.normalization"),
    layer("head", "mobilenet_v2.conv_1x1.convolution", "mobilenet_v2.conv_1x1.normalization"),
    name("output", "", "classifier"),
];

const fn layer(canonical: &'static str, convolution: &'static str, norm: &'static str) -> Name {
    kernel(canonical, convolution).normed(norm, EPS)
}

/// Widths of the layers, the stem's first, before they are multiplied.
const WIDTHS: [f64; 17] =
    [16., 24., 24., 32., 32., 32., 64., 64., 64., 64., 96., 96., 96., 160., 160., 160., 320.];
const STRIDES: [usize; 16] = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let number = |key, usual: f64| Ok::<_, Error>(f.maybe_f64(hf(key))?.unwrap_or(usual));
    let (by, least) = (number("depth_divisible_by", 8.0)?, number("min_depth", 8.0)?);
    let (multiplier, expand) = (number("depth_multiplier", 1.0)?, number("expand_ratio", 6.0)?);
    let width = |width: f64| divisible(width.round_ties_even(), by, least);
    let same = f.bool(hf("tf_padding"))?.unwrap_or(true);
    let padded = |walk: Walk, reach: usize| if same { walk.same() } else { walk.pad(reach) };
    let least_size = f.maybe_usize(hf("output_stride"))?.unwrap_or(32);

    let g = Builder::new("mobilenet_v2");
    let x = g.pictures(f.picture()?, f.maybe_usize(hf("num_channels"))?.unwrap_or(3));
    let inner = width(32.0 * multiplier);
    let mut x = conv(x, "stem", Some(inner), padded(Walk::square(3).stride(2), 1), Act::Relu6);
    if f.bool(hf("first_layer_is_expansion"))? == Some(false) {
        x = conv(x, "wide", Some(inner), Walk::square(1), Act::Relu6);
    }
    x = conv(x, "mix", None, padded(Walk::square(3), 1), Act::Relu6);
    x = conv(x, "narrow", Some(width(WIDTHS[0] * multiplier)), Walk::square(1), Act::None).named("embd");
    // Once pictures are small enough, windows grow instead.
    let (mut reached, mut dilation) = (2, 1);
    for (i, wanted) in STRIDES.into_iter().enumerate() {
        let (stride, gap) = if reached == least_size { (1, dilation) } else { (wanted, 1) };
        if reached == least_size { dilation *= wanted } else { reached *= stride }
        let walk = padded(Walk::square(3).stride(stride).dilation(gap), gap);
        let inner = Some(width(x.channels() as f64 * expand));
        let out = width(WIDTHS[i + 1] * multiplier);
        x = inverted(x, i, &Inverted { inner, out, walk, residual: stride == 1 });
    }
    let fine = f.bool(hf("finegrained_output"))?.unwrap_or(true) && multiplier < 1.0;
    let head = if fine { 1280 } else { width(1280.0 * multiplier) };
    let pooled = conv(x, "head", Some(head), Walk::square(1), Act::Relu6).mean().named("pooled");
    let output = pooled.linear_bias("output", f.labels()?, true).value();
    Ok(g.finish(output)?)
}

/// The next multiple of `by` that is at least `least` and not a tenth smaller.
fn divisible(value: f64, by: f64, least: f64) -> usize {
    let near = ((value + by / 2.0) as usize / by as usize * by as usize).max(least as usize);
    if (near as f64) < 0.9 * value { near + by as usize } else { near }
}
