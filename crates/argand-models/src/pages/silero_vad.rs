//! Voice activity as silero has it (Silero Team 2021): convolutions see the spectra of a chunk of samples, an LSTM goes over the chunks.

use crate::cnn::{Act, conv};
use crate::facts::Facts;
use crate::names::{Name, hf, kernel, name};
use crate::{Error, Page};
use argand_graph::{Builder, Cell, GateOrder, Graph, Scan, Sym, Unary, Walk};

/// The architecture. Its graph sees chunks, one row each; [`listener`] goes over them.
pub const PAGE: Page = Page { name: "silero VAD", gguf: &[], hf: &["silero_vad"], names: NAMES, graph };

const NAMES: &[Name] = &[
    kernel("stft", "stft_conv"),
    kernel("conv.{}", "conv{}"),
    name("lstm.in", "", "lstm_cell.weight_ih"),
    name("lstm.in.bias", "", "lstm_cell.bias_ih"),
    name("lstm.again", "", "lstm_cell.weight_hh"),
    name("lstm.again.bias", "", "lstm_cell.bias_hh"),
    kernel("output", "final_conv"),
];

/// What keeps the root of no energy finite, far below what samples can have.
const LEAST_ENERGY: f32 = 1e-30;

/// How sound is cut, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// New ones in each chunk.
    pub chunk: usize,
    /// Those before them, which are seen again.
    pub context: usize,
    /// Those behind them, which are the last ones mirrored.
    pub mirrored: usize,
}

impl Cut {
    /// Samples that the graph sees of a chunk.
    pub fn seen(&self) -> usize {
        self.context + self.chunk + self.mirrored
    }
}

/// How the model wants sound to be cut.
///
/// # Errors
/// A missing or odd fact.
pub fn cut(f: &Facts<'_>) -> Result<Cut, Error> {
    let number = |name| match f.positive(hf(name))? {
        samples @ 1..=65536 => Ok(samples),
        samples => Err(f.unsupported(format!("`{name}` of {samples} samples; at most 65536 are supported"))),
    };
    let cut = Cut { chunk: number("chunk_samples")?, context: number("context_samples")?, mirrored: number("n_fft")? / 4 };
    match cut.mirrored < cut.chunk {
        true => Ok(cut),
        false => Err(f.unsupported(format!("{} samples mirrored of a chunk of {}", cut.mirrored, cut.chunk))),
    }
}

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let (window, hop) = (f.positive(hf("n_fft"))?, f.positive(hf("hop_length"))?);
    let (widths, strides) = (f.usizes(hf("widths"))?, f.usizes(hf("strides"))?);
    let bins = window / 2 + 1;

    let g = Builder::new("silero_vad");
    let x = g.pictures([1, cut(f)?.seen()], 1);
    let x = x.conv("stft", 2 * bins, Walk::of([1, window]).strides([1, hop]), false);
    let energy = x.map(|x| {
        let (re, im) = (x.slice(0, bins), x.slice(bins, bins));
        re * re + im * im
    });
    let mut x = energy.map(|e| e * e.offset(LEAST_ENERGY).unary(Unary::Rsqrt)).named("spectrum");
    for (i, (width, stride)) in widths.into_iter().zip(strides).enumerate() {
        let walk = Walk::of([1, 3]).strides([1, stride]).pads([0, 1]);
        x = conv(x, &format!("conv.{}", i + 1), Some(width), walk, Act::Unary(Unary::Relu));
    }
    let output = x.named("output").pixels.value();
    Ok(g.finish(output)?)
}

/// From the rows of chunks, brought in as `chunks`, to the probability that each is speech.
///
/// # Errors
/// A missing or odd fact.
pub fn listener(f: &Facts<'_>) -> Result<Graph, Error> {
    let hidden = f.positive(hf("hidden_size"))?;
    let width = f.usizes(hf("widths"))?.last().copied().unwrap_or(hidden);
    let scan = Scan { cell: Cell::Lstm, order: GateOrder::Torch, hidden, reverse: false, bias: true, start: false };

    let g = Builder::new("silero_vad listener");
    let gates = g.given("chunks", Sym::N.into(), width).linear_bias("lstm.in", scan.gates() * hidden, true);
    let state = gates.scan("lstm.again", &scan, None).slice(0, hidden);
    let output = state.unary(Unary::Relu).linear_bias("output", 1, true).unary(Unary::Sigmoid).value();
    Ok(g.finish(output)?)
}
