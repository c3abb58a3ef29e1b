//! CRNN (Shi et al. 2015) as EasyOCR's second generation has it: convolutions see the columns of a line of text, two LSTMs read them in
//! both directions, and a class for each column goes out, the first of them for none (CTC).

use crate::cnn::{Act, conv};
use crate::facts::Facts;
use crate::names::{Name, hf, kernel, name};
use crate::{Error, Page};
use argand_graph::{Builder, Cell, GateOrder, Graph, Picture, Scan, T, Unary, Walk, WindowPool};

/// The architecture.
pub const PAGE: Page = Page { name: "CRNN", gguf: &[], hf: &["crnn"], names: NAMES, graph };

/// Numbers of a convolution and of the norm behind it, if there is one. `module` is what torch's `DataParallel` puts in front.
const NAMES: &[Name] = &[
    kernel("conv.{}.{}", "module.FeatureExtraction.ConvNet.{}").normed("module.FeatureExtraction.ConvNet.{1}", 1e-5),
    kernel("conv.{}", "module.FeatureExtraction.ConvNet.{}"),
    name("rnn.{}.on.in", "", "module.SequenceModeling.{}.rnn.weight_ih_l0"),
    name("rnn.{}.on.in.bias", "", "module.SequenceModeling.{}.rnn.bias_ih_l0"),
    name("rnn.{}.on.again", "", "module.SequenceModeling.{}.rnn.weight_hh_l0"),
    name("rnn.{}.on.again.bias", "", "module.SequenceModeling.{}.rnn.bias_hh_l0"),
    name("rnn.{}.back.in", "", "module.SequenceModeling.{}.rnn.weight_ih_l0_reverse"),
    name("rnn.{}.back.in.bias", "", "module.SequenceModeling.{}.rnn.bias_ih_l0_reverse"),
    name("rnn.{}.back.again", "", "module.SequenceModeling.{}.rnn.weight_hh_l0_reverse"),
    name("rnn.{}.back.again.bias", "", "module.SequenceModeling.{}.rnn.bias_hh_l0_reverse"),
    name("rnn.{}.out", "", "module.SequenceModeling.{}.linear"),
    name("output", "", "module.Prediction"),
];

const RELU: Act = Act::Unary(Unary::Relu);

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let width = f.positive(hf("network_params.output_channel"))?;
    let hidden = f.positive(hf("network_params.hidden_size"))?;
    let classes = characters(f)?.len() + 1;
    let three = Walk::square(3).pad(1);

    let g = Builder::new("crnn");
    let x = g.pictures(f.picture()?, f.positive(hf("network_params.input_channel"))?);
    let x = shrink(conv(x, "conv.0", Some(width / 8), three, RELU), 2);
    let x = shrink(conv(x, "conv.3", Some(width / 4), three, RELU), 2);
    let x = conv(x, "conv.6", Some(width / 2), three, RELU);
    let x = shrink(conv(x, "conv.8", Some(width / 2), three, RELU), 1);
    let x = conv(x, "conv.11.12", Some(width), three, RELU);
    let x = shrink(conv(x, "conv.14.15", Some(width), three, RELU), 1);
    let x = conv(x, "conv.18", Some(width), Walk::square(2), RELU);
    let columns = x.window(WindowPool::Mean, Walk::of([x.size[0], 1])).named("columns").pixels;
    let x = both_ways(both_ways(columns, 0, hidden), 1, hidden);
    let output = x.linear_bias("output", classes, true).value();
    Ok(g.finish(output)?)
}

/// Half the height, and the width divided by `across`: what will be read keeps more of it.
fn shrink(x: Picture<'_>, across: usize) -> Picture<'_> {
    x.window(WindowPool::Max, Walk::of([2, across]).strides([2, across]))
}

/// An LSTM from left to right, one from right to left, and a projection of both.
fn both_ways(x: T<'_>, layer: usize, hidden: usize) -> T<'_> {
    let side = |reverse: bool| {
        let scan = Scan { cell: Cell::Lstm, order: GateOrder::Torch, hidden, reverse, bias: true, start: false };
        let at = format!("rnn.{layer}.{}", if reverse { "back" } else { "on" });
        let gates = x.linear_bias(&format!("{at}.in"), scan.gates() * hidden, true);
        gates.scan(&format!("{at}.again"), &scan, None).slice(0, hidden)
    };
    side(false).concat(side(true)).linear_bias(&format!("rnn.{layer}.out"), hidden, true).named(&format!("rnn.{layer}"))
}

/// The characters that the model knows, in the order of its classes from the second on.
///
/// # Errors
/// When the configuration does not list them.
pub fn characters(f: &Facts<'_>) -> Result<Vec<char>, Error> {
    let missing = || Error::Missing { file: f.file().to_string(), field: "character_list".into() };
    Ok(f.str(hf("character_list"))?.ok_or_else(missing)?.chars().collect())
}

/// Height that a line is brought to, in pixels.
///
/// # Errors
/// When the configuration says none that the convolutions can make columns of.
pub fn height(f: &Facts<'_>) -> Result<usize, Error> {
    match f.usize(hf("imgH"))? {
        height @ 32..=1024 => Ok(height),
        height => Err(f.unsupported(format!("lines {height} pixels high; 32 to 1024 are supported"))),
    }
}
