//! LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014) networks as PyTorch or ONNX store them: layers on top of each other,
//! in one direction or both.

use crate::facts::{Fact, Facts};
use crate::names::{Fix, Name, hf, name};
use crate::{Error, Page};
use argand_graph::{Builder, Cell, GateOrder, Graph, Scan, Sym};

/// The architecture.
pub const PAGE: Page = Page { name: "LSTM and GRU", gguf: &[], hf: &["lstm", "gru"], names: NAMES, graph };

const NAMES: &[Name] = &[
    name("on.in", "", "weight_ih_l{}|W").fixed(Fix::OnnxSide(0)),
    name("on.again", "", "weight_hh_l{}|R").fixed(Fix::OnnxSide(0)),
    name("on.in.bias", "", "bias_ih_l{}|B").fixed(Fix::OnnxSide(0)),
    name("on.again.bias", "", "bias_hh_l{}|B").fixed(Fix::OnnxSide(0)),
    name("back.in", "", "weight_ih_l{}_reverse|W").fixed(Fix::OnnxSide(1)),
    name("back.again", "", "weight_hh_l{}_reverse|R").fixed(Fix::OnnxSide(1)),
    name("back.in.bias", "", "bias_ih_l{}_reverse|B").fixed(Fix::OnnxSide(1)),
    name("back.again.bias", "", "bias_hh_l{}_reverse|B").fixed(Fix::OnnxSide(1)),
];

const HIDDEN: Fact<'static> = hf("hidden_size");

fn is_lstm(f: &Facts<'_>) -> bool {
    f.architecture() == "lstm"
}

/// Gates of the cell.
pub(crate) fn gates(f: &Facts<'_>) -> usize {
    if is_lstm(f) { 4 } else { 3 }
}

/// Frames and the first states come in, `state.{layer}.{on or back}`; the states after each frame are the values
/// `states.{layer}.{on or back}`.
fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let order = match f.str(hf("layout"))? {
        None | Some("torch") => GateOrder::Torch,
        Some("onnx") => GateOrder::Onnx,
        Some(other) => return Err(f.unsupported(format!("layout `{other}`; known are torch and onnx"))),
    };
    let reset_after = f.bool(hf("linear_before_reset"))?.unwrap_or(true);
    let cell = if is_lstm(f) { Cell::Lstm } else { Cell::Gru { reset_after } };
    let (hidden, bias) = (f.positive(HIDDEN)?, f.bool(hf("bias"))?.unwrap_or(true));
    let sides = if f.bool(hf("bidirectional"))?.unwrap_or(false) { vec![false, true] } else { vec![false] };

    let g = Builder::new("recurrent");
    let mut x = g.given("frames", Sym::N.into(), f.positive(hf("input_size"))?);
    for layer in 0..f.maybe_usize(hf("num_layers"))?.unwrap_or(1) {
        let side = |reverse: &bool| {
            let scan = Scan { cell, order, hidden, reverse: *reverse, bias, start: true };
            let at = format!("{layer}.{}", if *reverse { "back" } else { "on" });
            let start = g.given(&format!("state.{at}"), Sym::B.into(), scan.state());
            let gates = x.linear_bias(&format!("layers.{at}.in"), scan.gates() * hidden, bias);
            gates.scan(&format!("layers.{at}.again"), &scan, Some(start)).named(&format!("states.{at}"))
        };
        let outs: Vec<_> = sides.iter().map(|reverse| side(reverse).slice(0, hidden)).collect();
        x = outs.into_iter().reduce(|on, back| on.concat(back)).unwrap_or(x).named(&format!("layers.{layer}"));
    }
    let output = x.value();
    Ok(g.finish(output)?)
}
