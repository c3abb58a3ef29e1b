//! ResNet (He et al. 2015): two convolutions around which the input goes, or three of which the middle one is narrow.

use crate::cnn::{Act, conv};
use crate::facts::Facts;
use crate::names::{Name, hf, kernel, name};
use crate::{Error, Page};
use argand_graph::{Builder, Graph, Picture, Walk, WindowPool};

/// The architecture.
pub const PAGE: Page = Page { name: "ResNet", gguf: &[], hf: &["resnet"], names: NAMES, graph };

const EPS: f32 = 1e-5;

const NAMES: &[Name] = &[
    kernel("stem", "resnet.embedder.embedder.convolution").normed("resnet.embedder.embedder.normalization", EPS),
    kernel("stages.{}.layers.{}.short", "resnet.encoder.stages.{}.layers.{}.shortcut.convolution")
        .normed("resnet.encoder.stages.{}.layers.{}.shortcut.normalization", EPS),
    kernel("stages.{}.layers.{}.conv.{}", "resnet.encoder.stages.{}.layers.{}.layer.{}.convolution")
        .normed("resnet.encoder.stages.{}.layers.{}.layer.{}.normalization", EPS),
    name("output", "", "classifier.1"),
];

/// What all layers share.
struct Config {
    act: Act,
    /// A bottleneck, and whether it makes pictures smaller on the way in.
    narrow: Option<bool>,
}

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let act = f.str(hf("hidden_act"))?.unwrap_or("relu");
    let act = Act::of(act).ok_or_else(|| f.unsupported(format!("activation `{act}`")))?;
    let early = f.bool(hf("downsample_in_bottleneck"))?.unwrap_or(false);
    let c = Config { act, narrow: (f.str(hf("layer_type"))? != Some("basic")).then_some(early) };
    let first = if f.bool(hf("downsample_in_first_stage"))?.unwrap_or(false) { 2 } else { 1 };

    let g = Builder::new("resnet");
    let x = g.pictures(f.picture()?, f.maybe_usize(hf("num_channels"))?.unwrap_or(3));
    let x = conv(x, "stem", Some(f.positive(hf("embedding_size"))?), Walk::square(7).stride(2).pad(3), act);
    let pool = Walk::square(3).stride(2);
    let pool = match f.str(hf("pool_padding"))? {
        None => pool.pad(1),
        // As TensorFlow has it.
        Some("same") => pool.same(),
        Some(other) => return Err(f.unsupported(format!("pool_padding `{other}`; known is same"))),
    };
    let mut x = x.window(WindowPool::Max, pool).named("embd");
    for (stage, (width, depth)) in f.usizes(hf("hidden_sizes"))?.into_iter().zip(f.usizes(hf("depths"))?).enumerate() {
        for layer in 0..depth {
            let stride = match (stage, layer) {
                (0, 0) => first,
                (_, 0) => 2,
                _ => 1,
            };
            x = block(x, &format!("stages.{stage}.layers.{layer}"), width, stride, &c);
        }
    }
    let output = x.mean().named("pooled").linear_bias("output", f.labels()?, true).value();
    Ok(g.finish(output)?)
}

fn block<'g>(x: Picture<'g>, name: &str, width: usize, stride: usize, c: &Config) -> Picture<'g> {
    let part = |i: usize| format!("{name}.conv.{i}");
    let (one, three) = (Walk::square(1), Walk::square(3).pad(1));
    let y = match c.narrow {
        None => {
            let y = conv(x, &part(0), Some(width), three.stride(stride), c.act);
            conv(y, &part(1), Some(width), three, Act::None)
        }
        Some(early) => {
            let (first, second) = if early { (stride, 1) } else { (1, stride) };
            let y = conv(x, &part(0), Some(width / 4), one.stride(first), c.act);
            let y = conv(y, &part(1), Some(width / 4), three.stride(second), c.act);
            conv(y, &part(2), Some(width), one, Act::None)
        }
    };
    let same = stride == 1 && x.channels() == width;
    let short = if same { x } else { conv(x, &format!("{name}.short"), Some(width), one.stride(stride), Act::None) };
    c.act.on(y + short).named(name)
}
