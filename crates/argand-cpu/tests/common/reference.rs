//! What a graph means: an interpreter in `f64` that runs one whole sequence, without cache, batches, fusion or plans.
//!
//! It can add noise as large as the rounding of an `f32` executor (and of quantised activations and caches) to every
//! result. How far the logits move then says how far those of a correct executor may be off, with all amplification that
//! the model has.

use super::Random;
use super::weights::{Tensor, Weights};
use argand_cpu::kv::KvType;
use argand_graph::{
    AttentionSpec, BatchInput, Binary, Body, Cell, Graph, Mask, NormKind, Op, Pool, Rope, RopeStyle, Routing, Scan,
    Score, ScoreBias, Unary, Value, Window, WindowPool, layer_prefix,
};

/// Half the distance of 1 to the next `f32`.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;
/// The same for half floats.
const HALF_ROUNDING: f64 = 1.0 / 2048.0;
/// Roundings of an elementwise function: a polynomial and a division.
const FUNCTION: f64 = 4.0;
/// Largest deviation of an executor, in units of the root mean square of the noise.
const SIGMAS: f64 = 8.0;
const TRIALS: u64 = 3;

/// Logits of every token, and how far off each may be.
pub struct Expected {
    pub vocab: usize,
    pub logits: Vec<f64>,
    /// For each row.
    pub bounds: Vec<f64>,
}

impl Expected {
    /// Fails unless all logits are within their bounds.
    pub fn assert_near(&self, found: &[f32], what: &str) {
        assert_eq!(self.off(found), None, "{what}");
    }

    /// The first logit beyond its bound.
    pub fn off(&self, found: &[f32]) -> Option<String> {
        assert_eq!(found.len(), self.logits.len());
        let off = |i: usize| (self.logits[i] - f64::from(found[i])).abs();
        // Not a number is in no range.
        let beyond = |i: &usize| !(0.0..=self.bounds[i / self.vocab]).contains(&off(*i));
        let i = (0..found.len()).find(beyond)?;
        let (row, column) = (i / self.vocab, i % self.vocab);
        let (expected, bound) = (self.logits[i], self.bounds[row]);
        Some(format!("row {row}, logit {column}: {} for {expected}, bound {bound:e}", found[i]))
    }
}

/// Runs a sequence whose encoder has read `text`, and of that the memory; `integer` allows as for [`expect`].
pub fn expect_after(
    graph: &Graph,
    weights: &Weights,
    text: &[u32],
    tokens: &[u32],
    integer: bool,
    kv: KvType,
) -> Expected {
    expect_of(graph, |noise| {
        let mut reader = Interpreter::new(weights, text, noise, integer, kv);
        reader.body(&graph.encoder.as_ref().unwrap().body, "", None);
        let memory = reader.memory;
        Interpreter { memory, ..Interpreter::new(weights, tokens, reader.noise, integer, kv) }
    })
}

/// Runs a sequence; `integer` allows for products on quantised activations, `kv` for the number format of the cache.
pub fn expect(graph: &Graph, weights: &Weights, tokens: &[u32], integer: bool, kv: KvType) -> Expected {
    expect_of(graph, |noise| Interpreter::new(weights, tokens, noise, integer, kv))
}

/// Where the tokens of a sequence are, which of them are rows of pictures, and which rows are wanted; without, all are.
#[derive(Clone, Copy, Default)]
pub struct Places<'a> {
    pub coordinates: &'a [[u32; 3]],
    pub placed: &'a [u32],
    pub wanted: &'a [u32],
}

/// Runs one sequence with rows of pictures among its tokens.
pub fn expect_placed(
    graph: &Graph,
    weights: &Weights,
    tokens: &[u32],
    given: &[(&str, &[f32])],
    places: Places<'_>,
) -> Expected {
    let new = |noise| Interpreter { given, places, ..Interpreter::new(weights, tokens, noise, false, KvType::F32) };
    expect_of(graph, new)
}

/// Runs one sequence of frames, or one picture.
pub fn expect_given(graph: &Graph, weights: &Weights, given: &[(&str, &[f32])]) -> Expected {
    let new = |noise| Interpreter { given, ..Interpreter::new(weights, &[], noise, false, KvType::F32) };
    expect_of(graph, new)
}

fn expect_of<'a>(graph: &Graph, new: impl Fn(Option<Random>) -> Interpreter<'a>) -> Expected {
    let run = |noise| new(noise).body(&graph.body, "", None);
    let logits = run(None);
    let vocab = graph.body.node(graph.body.output).ty.row_len().unwrap();
    let mut squares = vec![0.0; logits.len() / vocab];
    for trial in 0..TRIALS {
        let noisy = run(Some(Random(trial)));
        for ((sum, a), b) in squares.iter_mut().zip(logits.chunks(vocab)).zip(noisy.chunks(vocab)) {
            *sum += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        }
    }
    let rms = |sum: &f64| (sum / (TRIALS as usize * vocab) as f64).sqrt();
    Expected { vocab, logits, bounds: squares.iter().map(|s| SIGMAS * rms(s)).collect() }
}

struct Interpreter<'a> {
    weights: &'a Weights,
    tokens: &'a [u32],
    given: &'a [(&'a str, &'a [f32])],
    places: Places<'a>,
    noise: Option<Random>,
    integer: bool,
    kv: KvType,
    /// Keys and values of a memory, layer by layer.
    memory: Vec<[Vec<f64>; 2]>,
    /// Layers that have recalled theirs.
    recalled: usize,
}

impl<'a> Interpreter<'a> {
    fn new(weights: &'a Weights, tokens: &'a [u32], noise: Option<Random>, integer: bool, kv: KvType) -> Self {
        Interpreter {
            weights,
            tokens,
            given: &[],
            places: Places::default(),
            noise,
            integer,
            kv,
            memory: vec![],
            recalled: 0,
        }
    }
}

impl Interpreter<'_> {
    /// Something of at most `scale`.
    fn noise(&mut self, scale: f64) -> f64 {
        self.noise.as_mut().map_or(0.0, |random| scale * random.unit())
    }

    /// A value of that many roundings.
    fn rounded(&mut self, value: f64, roundings: f64) -> f64 {
        value + self.noise(value.abs() * roundings * ROUNDING)
    }

    /// A sum in any order: partial sums grow like random walks, and each is rounded.
    fn sum(&mut self, terms: impl Iterator<Item = f64>) -> f64 {
        let (count, sum, squares) =
            terms.fold((0u32, 0.0, 0.0), |(n, sum, squares), t| (n + 1, sum + t, squares + t * t));
        sum + self.noise((f64::from(count) * squares).sqrt() * ROUNDING)
    }

    /// Half a step of signed bytes with a scale for each 32 values.
    fn quantise(&mut self, x: &mut [f64]) {
        for block in x.chunks_mut(32) {
            let peak = block.iter().fold(0.0, |peak: f64, x| peak.max(x.abs()));
            block.iter_mut().for_each(|x| *x += self.noise(peak / 254.0));
        }
    }

    /// What the cache gives back for heads of `dim` values.
    fn cached(&mut self, x: &[f64], dim: usize) -> Vec<f64> {
        let mut x = x.to_vec();
        match self.kv {
            KvType::F32 => {}
            KvType::F16 => x.iter_mut().for_each(|x| *x += self.noise(x.abs() * HALF_ROUNDING)),
            KvType::Q8_0 => x.chunks_mut(dim).for_each(|head| {
                self.quantise(head);
                head.iter_mut().for_each(|x| *x += self.noise(x.abs() * HALF_ROUNDING));
            }),
        }
        x
    }

    /// Rows of the output, one after another.
    fn body(&mut self, body: &Body, prefix: &str, carry: Option<&[f64]>) -> Vec<f64> {
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (v, node) in body.iter() {
            let value = match &node.op {
                Op::Carry => carry.unwrap().to_vec(),
                op => self.op(op, v, body, prefix, &values),
            };
            values.push(value);
        }
        values.swap_remove(body.output.index())
    }

    fn op(&mut self, op: &Op, v: Value, body: &Body, prefix: &str, values: &[Vec<f64>]) -> Vec<f64> {
        let ins = &body.node(v).ins;
        let input = |i: usize| values[ins[i].index()].as_slice();
        let (weights, places) = (self.weights, self.places);
        let weight = |i: usize| match &body.node(*ins.get(i)?).op {
            Op::Weight { name } => Some(&weights.0[&format!("{prefix}{name}")]),
            _ => None,
        };
        let last = |v: Value| body.node(v).ty.shape().last().and_then(|d| d.known()).unwrap();
        let mut map =
            |f: &dyn Fn(f64) -> f64| -> Vec<f64> { input(0).iter().map(|x| self.rounded(f(*x), FUNCTION)).collect() };
        match op {
            Op::Write(kv) if kv.memory => {
                self.memory.push([1, 2].map(|i| input(i).to_vec()));
                vec![]
            }
            Op::Input(_) | Op::Weight { .. } | Op::State(_) | Op::Write(_) | Op::Carry => vec![],
            Op::Given { name, .. } => {
                let given = self.given.iter().find(|g| g.0 == name).unwrap();
                given.1.iter().map(|x| f64::from(*x)).collect()
            }
            Op::Conv { window, groups } => self.conv(window, *groups, input(0), weight(1).unwrap(), weight(2)),
            Op::Window { window, pool } => self.window(window, *pool, input(0), last(v)),
            Op::Scan(scan) => {
                let bias = weight(2).filter(|_| scan.bias);
                let start = scan.start.then(|| input(2 + usize::from(scan.bias)));
                self.scan(scan, input(0), weight(1).unwrap(), bias, start)
            }
            Op::Heads(_) | Op::Merge => input(0).to_vec(),
            Op::GatherRows { .. } if places.wanted.is_empty() => input(0).to_vec(),
            Op::GatherRows { behind } => {
                let rows: Vec<&[f64]> = input(0).chunks(last(ins[0])).collect();
                let wanted = places.wanted.iter();
                wanted.flat_map(|row| behind.iter().flat_map(|b| rows[*row as usize + b]).copied()).collect()
            }
            Op::Place => {
                let (d, x) = (last(v), (ins.len() > 2).then(|| input(2)));
                let row = |(i, placed): (usize, &u32)| match (*placed as usize, x) {
                    (0, Some(x)) => x[i * d..][..d].to_vec(),
                    (0, None) => vec![0.0; d],
                    (placed, _) => input(0)[(placed - 1) * d..][..d].to_vec(),
                };
                places.placed.iter().enumerate().flat_map(row).collect()
            }
            Op::Scale(k) => map(&|x| x * f64::from(k.0)),
            Op::Offset(k) => map(&|x| x + f64::from(k.0)),
            Op::Softcap(cap) => map(&|x| f64::from(cap.0) * (x / f64::from(cap.0)).tanh()),
            Op::Unary(f) => map(&|x| unary(*f, x)),
            Op::Embed { first } => {
                let table = weight(0).unwrap();
                let index = |(position, token): (usize, &u32)| match body.node(ins[1]).op {
                    Op::Input(BatchInput::Tokens) => *token as usize,
                    Op::Input(BatchInput::Positions) => position,
                    _ => 0,
                };
                self.tokens.iter().enumerate().flat_map(|t| row(table, first + index(t))).copied().collect()
            }
            Op::Pool(pool) => {
                let rows: Vec<&[f64]> = input(0).chunks(last(v)).collect();
                match pool {
                    Pool::First => rows[0].to_vec(),
                    Pool::Last => rows[rows.len() - 1].to_vec(),
                    Pool::Max => (0..last(v)).map(|i| rows.iter().map(|r| r[i]).fold(f64::MIN, f64::max)).collect(),
                    Pool::Mean => {
                        (0..last(v)).map(|i| self.sum(rows.iter().map(|r| r[i])) / rows.len() as f64).collect()
                    }
                }
            }
            Op::Slice { from, len } => {
                input(0).chunks(last(ins[0])).flat_map(|x| &x[*from..from + len]).copied().collect()
            }
            Op::Concat => {
                let pairs = input(0).chunks(last(ins[0])).zip(input(1).chunks(last(ins[1])));
                pairs.flat_map(|(a, b)| [a, b].concat()).collect()
            }
            Op::Route(r) => input(0).chunks(last(v)).flat_map(|logits| self.route(r, logits, weight(1))).collect(),
            Op::GroupedLinear { slots, routed } => {
                let bias = weight(2 + usize::from(*routed));
                let each = body.node(ins[0]).ty.shape().len() == 3;
                let routes = routed.then(|| input(2).chunks(last(ins[2])));
                self.grouped(input(0), weight(1).unwrap(), bias, routes, *slots, each)
            }
            Op::Combine => {
                let (d, weights) = (last(v), input(1).chunks(last(ins[1])));
                let slots = input(0).len() / weights.len() / d;
                let rows = input(0).chunks(slots * d).zip(weights);
                rows.flat_map(|(y, weights)| {
                    let met: Vec<_> = y.chunks(d).zip(weights.iter().filter(|w| **w != 0.0)).collect();
                    (0..d).map(|i| self.sum(met.iter().map(|(y, w)| y[i] * **w))).collect::<Vec<_>>()
                })
                .collect()
            }
            Op::Clamp { least, most } => map(&|x| x.max(f64::from(least.0)).min(f64::from(most.0))),
            Op::Softmax => input(0).chunks(last(v)).flat_map(|x| self.softmax(x, None)).collect(),
            Op::Linear => self.linear(input(0), weight(1).unwrap(), weight(2)),
            Op::Norm { kind, eps } => self.norm(*kind, input(0), last(v), f64::from(eps.0), [weight(1), weight(2)]),
            Op::Reduce(_) => {
                let d = last(ins[0]);
                input(0).chunks(d).map(|x| self.sum(x.iter().copied()) / d as f64).collect()
            }
            Op::Binary(f) => {
                let b = weight(1).map_or(input(1), |w| w.values.as_slice());
                // The second input has all values, one for each group, or those of one group.
                let d = last(v);
                let at = |i: usize| match b.len() {
                    len if len == input(0).len() => i,
                    len if len == d => i % d,
                    _ => i / d,
                };
                let pairs = input(0).iter().enumerate().map(|(i, a)| (a, b[at(i)]));
                pairs.map(|(a, b)| self.rounded(if *f == Binary::Add { a + b } else { a * b }, 1.0)).collect()
            }
            Op::Rope(rope) => self.rope(input(0), last(v), rope),
            Op::Attention(spec) if spec.kv.memory => {
                let [k, v] = self.memory[self.recalled].clone();
                self.recalled += 1;
                self.attention(spec, input(0), &k, &v, None, None)
            }
            Op::Attention(spec) => {
                let written = &body.node(ins[1]).ins;
                let (sinks, table) = (weight(2), weight(2 + usize::from(spec.sinks)));
                let (k, v) = (&values[written[1].index()], &values[written[2].index()]);
                self.attention(spec, input(0), k, v, sinks.filter(|_| spec.sinks), table)
            }
            Op::Repeat { prefix, bodies, order } => {
                let layers = order.iter().enumerate();
                layers.fold(input(0).to_vec(), |x, (i, b)| self.body(&bodies[*b], &layer_prefix(prefix, i), Some(&x)))
            }
        }
    }

    fn linear(&mut self, x: &[f64], w: &Tensor, bias: Option<&Tensor>) -> Vec<f64> {
        let mut out = Vec::new();
        for x in x.chunks(w.cols) {
            let mut x = x.to_vec();
            if self.integer && w.codec.block_len() > 1 {
                self.quantise(&mut x);
            }
            for o in 0..w.rows {
                let sum = self.sum(row(w, o).iter().zip(&x).map(|(w, x)| w * x));
                out.push(bias.map_or(sum, |b| self.rounded(sum + b.values[o], 1.0)));
            }
        }
        out
    }

    /// The pixels under the window at every outgoing pixel, line by line: `None` where it reaches over the edge.
    fn under(window: &Window) -> impl Iterator<Item = Vec<Option<usize>>> {
        let ([height, width], window) = (window.out().unwrap(), *window);
        let places = move |y: usize, x: usize| {
            let taps = (0..window.kernel[0]).flat_map(move |l| (0..window.kernel[1]).map(move |c| (l, c)));
            let pixel = move |(l, c)| Some(window.under(0, y, l)? * window.size[1] + window.under(1, x, c)?);
            taps.map(pixel).collect()
        };
        (0..height).flat_map(move |y| (0..width).map(move |x| places(y, x)))
    }

    fn conv(&mut self, window: &Window, groups: usize, x: &[f64], w: &Tensor, bias: Option<&Tensor>) -> Vec<f64> {
        let channels = x.len() / (window.size[0] * window.size[1]);
        let (ins, outs) = (channels / groups, w.rows / groups);
        let mut out = Vec::new();
        for under in Self::under(window) {
            for o in 0..w.rows {
                let first = o / outs * ins;
                let taps = under.iter().zip(row(w, o).chunks(ins)).filter_map(|(pixel, w)| Some(((*pixel)?, w)));
                let terms =
                    taps.flat_map(|(pixel, w)| w.iter().zip(&x[pixel * channels + first..]).map(|(w, x)| w * x));
                let sum = self.sum(terms);
                out.push(bias.map_or(sum, |b| self.rounded(sum + b.values[o], 1.0)));
            }
        }
        out
    }

    fn window(&mut self, window: &Window, pool: WindowPool, x: &[f64], channels: usize) -> Vec<f64> {
        let mut out = Vec::new();
        for under in Self::under(window) {
            for c in 0..channels {
                let met: Vec<f64> = under.iter().flatten().map(|pixel| x[pixel * channels + c]).collect();
                out.push(match pool {
                    WindowPool::Max => met.into_iter().fold(f64::NEG_INFINITY, f64::max),
                    WindowPool::Mean => self.sum(met.iter().copied()) / met.len() as f64,
                });
            }
        }
        out
    }

    fn scan(
        &mut self,
        scan: &Scan,
        gates: &[f64],
        w: &Tensor,
        bias: Option<&Tensor>,
        start: Option<&[f64]>,
    ) -> Vec<f64> {
        let (h, places) = (scan.hidden, scan.places());
        let mut rows: Vec<&[f64]> = gates.chunks(scan.gates() * h).collect();
        if scan.reverse {
            rows.reverse();
        }
        let mut state = start.map_or(vec![0.0; scan.state()], <[f64]>::to_vec);
        let mut out = Vec::new();
        for gates in rows {
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let mut recurrent = self.linear(&state[..h], w, bias);
            let mut next = state.clone();
            if scan.cell == (Cell::Gru { reset_after: false }) {
                let part = |k: usize| places[0] * h + k;
                let reset: Vec<f64> = (0..h).map(|k| sigmoid(gates[part(k)] + recurrent[part(k)]) * state[k]).collect();
                recurrent.splice(2 * h.., self.linear(&reset, w, bias).split_off(2 * h));
            }
            for k in 0..h {
                let [a, b, c, d] = places.map(|place| place * h + k);
                let gate = |i: usize| gates[i] + recurrent[i];
                match scan.cell {
                    Cell::Lstm => {
                        let cell = sigmoid(gate(b)) * state[h + k] + sigmoid(gate(a)) * gate(c).tanh();
                        next[h + k] = self.rounded(cell, FUNCTION);
                        next[k] = self.rounded(sigmoid(gate(d)) * cell.tanh(), FUNCTION);
                    }
                    Cell::Gru { reset_after } => {
                        let factor = if reset_after { sigmoid(gate(a)) } else { 1.0 };
                        let (new, update) = ((gates[c] + factor * recurrent[c]).tanh(), sigmoid(gate(b)));
                        next[k] = self.rounded((1.0 - update) * new + update * state[k], 2.0 * FUNCTION);
                    }
                }
            }
            state = next;
            out.push(state.clone());
        }
        if scan.reverse {
            out.reverse();
        }
        out.concat()
    }

    fn norm(&mut self, kind: NormKind, x: &[f64], dim: usize, eps: f64, wb: [Option<&Tensor>; 2]) -> Vec<f64> {
        let at = |t: Option<&Tensor>, i: usize, none: f64| t.map_or(none, |t| t.values[i]);
        let mut out = Vec::new();
        for x in x.chunks(dim) {
            let centre = match kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => self.sum(x.iter().copied()) / dim as f64,
            };
            let squares = self.sum(x.iter().map(|x| (x - centre) * (x - centre))) / dim as f64;
            for (i, x) in x.iter().enumerate() {
                let y = (x - centre) / (squares + eps).sqrt() * at(wb[0], i, 1.0);
                let y = self.rounded(y, FUNCTION);
                out.push(self.rounded(y + at(wb[1], i, 0.0), 1.0));
            }
        }
        out
    }

    /// Groups of experts are tested with the kernel.
    fn route(&mut self, r: &Routing, logits: &[f64], correction: Option<&Tensor>) -> Vec<f64> {
        assert_eq!(r.groups, None);
        let scores = match r.score {
            Score::Softmax => self.softmax(logits, None),
            Score::Sigmoid => logits.iter().map(|x| self.rounded(1.0 / (1.0 + (-x).exp()), FUNCTION)).collect(),
        };
        let choice = |e: usize| scores[e] + correction.map_or(0.0, |c| c.values[e]);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| choice(*b).total_cmp(&choice(*a)));
        let total: f64 = order[..r.chosen].iter().map(|e| scores[*e]).sum();
        let factor = f64::from(r.scale.0) / if r.normalised { total } else { 1.0 };
        let mut weights = vec![0.0; scores.len()];
        order[..r.chosen].iter().for_each(|e| weights[*e] = scores[*e] * factor);
        weights
    }

    fn grouped<'r>(
        &mut self,
        x: &[f64],
        w: &Tensor,
        bias: Option<&Tensor>,
        mut routes: Option<impl Iterator<Item = &'r [f64]>>,
        slots: usize,
        each: bool,
    ) -> Vec<f64> {
        let rows = w.rows / w.members;
        let mut out = Vec::new();
        for x in x.chunks(w.cols * if each { slots } else { 1 }) {
            let members: Vec<usize> = match &mut routes {
                None => (0..slots).collect(),
                Some(routes) => {
                    let weights = routes.next().unwrap();
                    (0..weights.len()).filter(|e| weights[*e] != 0.0).collect()
                }
            };
            for (slot, member) in members.into_iter().enumerate() {
                let x = &x[if each { slot * w.cols } else { 0 }..][..w.cols];
                let made = self.linear(x, &w.member(member), None);
                let bias = |o: usize| bias.map_or(0.0, |b| b.values[member * rows + o]);
                out.extend(made.iter().enumerate().map(|(o, y)| y + bias(o)));
            }
        }
        out
    }

    /// Exponentials over their sum, and over that of a sink.
    fn softmax(&mut self, scores: &[f64], sink: Option<f64>) -> Vec<f64> {
        let most = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| self.rounded((s - most).exp(), FUNCTION)).collect();
        let total = self.sum(weights.iter().copied().chain(sink.map(|s| (s - most).exp())));
        weights.iter().map(|w| w / total).collect()
    }

    fn rope(&mut self, x: &[f64], dim: usize, rope: &Rope) -> Vec<f64> {
        let mut out = x.to_vec();
        let (freqs, width) = (&rope.freqs.inv_freq, x.len() / self.tokens.len());
        let axes: Vec<usize> = rope.sections.iter().enumerate().flat_map(|(axis, n)| vec![axis; *n]).collect();
        for (row, x) in out.chunks_mut(width).enumerate() {
            for head in x.chunks_mut(dim) {
                for (i, freq) in freqs.iter().enumerate() {
                    let position = axes.get(i).map_or(row, |axis| self.places.coordinates[row][*axis] as usize);
                    let (low, high) = match rope.style {
                        RopeStyle::Half => (i, i + freqs.len()),
                        RopeStyle::Pairs => (2 * i, 2 * i + 1),
                    };
                    let (a, b, size) = (head[low], head[high], (head[low].abs() + head[high].abs()) * 2.0 * ROUNDING);
                    let (sin, cos) = (position as f64 * freq).sin_cos();
                    head[low] = a * cos - b * sin + self.noise(size);
                    head[high] = a * sin + b * cos + self.noise(size);
                }
            }
        }
        out
    }

    fn attention(
        &mut self,
        spec: &AttentionSpec,
        q: &[f64],
        k: &[f64],
        v: &[f64],
        sinks: Option<&Tensor>,
        table: Option<&Tensor>,
    ) -> Vec<f64> {
        let tokens = k.len() / (spec.kv.heads * spec.kv.dim_k);
        let (kv, group) = (&spec.kv, spec.heads / spec.kv.heads);
        let (k, v) = (self.cached(k, kv.dim_k), self.cached(v, kv.dim_v));
        let mut out = Vec::new();
        for (position, q) in q.chunks(spec.heads * kv.dim_k).enumerate() {
            let first = kv.window.map_or(0, |w| (position + 1).saturating_sub(w));
            let seen = match spec.mask {
                Mask::Causal => first..position + 1,
                Mask::Full => first..kv.window.map_or(tokens, |w| tokens.min(position + w)),
            };
            for (head, q) in q.chunks(kv.dim_k).enumerate() {
                let at = |t: usize| t * kv.heads + head / group;
                let mut scores: Vec<f64> = Vec::new();
                for t in seen.clone() {
                    let score = self.sum(q.iter().zip(&k[at(t) * kv.dim_k..][..kv.dim_k]).map(|(q, k)| q * k));
                    let distance = t as isize - position as isize;
                    let bias = match &spec.bias {
                        None => 0.0,
                        Some(ScoreBias::Slopes(slopes)) => f64::from(slopes[head].0) * distance as f64,
                        Some(ScoreBias::Buckets(b)) => table.unwrap().values[b.of(distance) * spec.heads + head],
                    };
                    let score = self.rounded(score * f64::from(spec.scale.0) + bias, 1.0);
                    let capped = spec.softcap.map_or(score, |c| f64::from(c.0) * (score / f64::from(c.0)).tanh());
                    scores.push(self.rounded(capped, FUNCTION));
                }
                let weights = self.softmax(&scores, sinks.map(|s| s.values[head]));
                for d in 0..kv.dim_v {
                    let terms = weights.iter().zip(seen.clone()).map(|(w, t)| w * v[at(t) * kv.dim_v + d]);
                    out.push(self.sum(terms));
                }
            }
        }
        out
    }
}

fn row(t: &Tensor, row: usize) -> &[f64] {
    &t.values[row * t.cols..][..t.cols]
}

fn unary(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Silu => x / (1.0 + (-x).exp()),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Unary::Relu => x.max(0.0),
        Unary::Relu2 => x.max(0.0).powi(2),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::GeluQuick => x / (1.0 + (-1.702 * x).exp()),
        Unary::Tanh => x.tanh(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::GeluErf => panic!("std has no error function; no test graph uses it"),
    }
}
