//! Letters to phonemes by two GRU cells (Park and Kim 2019, after Cho et al. 2014): one reads a word, the other spells it from the state that
//! is left.

use crate::facts::Facts;
use crate::names::{Name, hf, name};
use crate::{Error, Page};
use argand_graph::{Builder, Cell, GateOrder, Graph, Pool, Scan, Sym, T};

/// The architecture. Its graph is the cell that reads, which gives the state of each word.
pub const PAGE: Page = Page { name: "g2p GRU", gguf: &[], hf: &["g2p_gru"], names: NAMES, graph };

const NAMES: &[Name] = &[
    name("enc_embd", "", "enc_emb"),
    name("enc.in", "", "enc_w_ih"),
    name("enc.in.bias", "", "enc_b_ih"),
    name("enc.again", "", "enc_w_hh"),
    name("enc.again.bias", "", "enc_b_hh"),
    name("dec_embd", "", "dec_emb"),
    name("dec.in", "", "dec_w_ih"),
    name("dec.in.bias", "", "dec_b_ih"),
    name("dec.again", "", "dec_w_hh"),
    name("dec.again.bias", "", "dec_b_hh"),
    name("output", "", "fc_w"),
    name("output.bias", "", "fc_b"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let g = Builder::new("g2p_gru reader");
    let letters = g.embed("enc_embd", f.positive(hf("graphemes"))?, f.positive(hf("width"))?);
    let states = cell(letters, "enc", f.positive(hf("hidden"))?, None).named("enc");
    let output = states.pool(Pool::Last).named("state").value();
    Ok(g.finish(output)?)
}

/// The cell that spells: phonemes so far and the `state` before them come in, and for each the logits of the next one and behind them
/// the state go out.
///
/// # Errors
/// A missing or odd fact.
pub fn speller(f: &Facts<'_>) -> Result<Graph, Error> {
    let (hidden, phonemes) = (f.positive(hf("hidden"))?, f.positive(hf("phonemes"))?);
    let g = Builder::new("g2p_gru speller");
    let start = g.given("state", Sym::B.into(), hidden);
    let states = cell(g.embed("dec_embd", phonemes, f.positive(hf("width"))?), "dec", hidden, Some(start));
    let logits = states.linear_bias("output", phonemes, true).named("logits");
    let output = logits.concat(states).value();
    Ok(g.finish(output)?)
}

/// A GRU over rows of embeddings.
fn cell<'g>(x: T<'g>, side: &str, hidden: usize, start: Option<T<'g>>) -> T<'g> {
    let scan = Scan {
        cell: Cell::Gru { reset_after: true },
        order: GateOrder::Torch,
        hidden,
        reverse: false,
        bias: true,
        start: start.is_some(),
    };
    x.linear_bias(&format!("{side}.in"), 3 * hidden, true).scan(&format!("{side}.again"), &scan, start)
}
