//! From a graph to the naive program: one call for each op, nothing fused.

use crate::program::{
    Buf, BufId, Call, Conv, Domain, Grouped, Layers, Linear, Part, Program, Recur, Segment, Step, WeightId,
};
use crate::route;
use crate::window::Phase;
use argand_graph::{
    AttentionSpec, BatchInput, Binary, Body, Graph, KvSpec, NormKind, Op, Reduce, Rope, ScoreBias, Sym, Type, Unary,
    Value,
};
use argand_kernels::rows;
use std::sync::Arc;

/// An op that this executor has no call for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU executor cannot run {op} over {ins}: {reason}")]
pub struct LowerError {
    /// The op.
    pub op: String,
    /// Types of its inputs.
    pub ins: String,
    /// Why not.
    pub reason: String,
}

/// Lowers a graph.
///
/// # Errors
/// When an op or a type of input is not supported.
pub fn lower(graph: &Graph) -> Result<Program, LowerError> {
    let mut program = Program::default();
    let main = Lowering::new(&graph.body, &mut program).run()?;
    program.main = main;
    Ok(program)
}

/// What a graph value has become.
#[derive(Clone, Copy, Debug)]
enum Place {
    Buf(BufId),
    Weight(WeightId),
    /// Tokens, positions, row numbers: known to the executor.
    Input,
    State(KvSpec),
}

struct Lowering<'a> {
    body: &'a Body,
    program: &'a mut Program,
    segment: Segment,
    places: Vec<Place>,
    /// The state of the layer's own and that of a memory.
    states: [Option<KvSpec>; 2],
    /// Which of them it has written.
    written: [bool; 2],
}

impl<'a> Lowering<'a> {
    fn new(body: &'a Body, program: &'a mut Program) -> Self {
        Lowering {
            body,
            program,
            segment: Segment::default(),
            places: Vec::new(),
            states: [None; 2],
            written: [false; 2],
        }
    }

    fn run(mut self) -> Result<Segment, LowerError> {
        for (v, node) in self.body.iter() {
            let place = self.node(v, &node.op).map_err(|reason| LowerError {
                op: node.op.to_string(),
                ins: node.ins.iter().map(|i| self.ty(*i).to_string()).collect::<Vec<_>>().join(", "),
                reason,
            })?;
            if let (Place::Buf(b), Some(name)) = (place, &node.name) {
                self.segment.bufs[b].name.get_or_insert_with(|| name.clone());
            }
            self.places.push(place);
        }
        let output = self.body.output;
        let Place::Buf(mut buf) = self.places[output.index()] else {
            return Err(LowerError { op: "output".into(), ins: String::new(), reason: "it is not a tensor".into() });
        };
        if self.segment.input == Some(buf) {
            // A layer that changes nothing still has to hand its value on.
            let x = buf;
            buf = self.new_buf(output).map_err(|reason| LowerError {
                op: "output".into(),
                ins: String::new(),
                reason,
            })?;
            self.rows(Domain::N, Step::Unary { f: rows::Unary::Scale(1.0), x, out: buf });
        }
        self.segment.output = buf;
        Ok(self.segment)
    }

    fn ty(&self, v: Value) -> &Type {
        &self.body.node(v).ty
    }

    fn ins(&self, v: Value) -> &'a [Value] {
        &self.body.node(v).ins
    }

    fn in_buf(&self, v: Value, i: usize) -> Result<BufId, String> {
        match self.places[self.ins(v)[i].index()] {
            Place::Buf(b) => Ok(b),
            other => Err(format!("input {i} is no buffer but {other:?}")),
        }
    }

    /// An input whose rows are the tokens of the step: what knows positions, slots or row numbers needs it.
    fn in_tokens(&self, v: Value, i: usize) -> Result<BufId, String> {
        let buf = self.in_buf(v, i)?;
        match self.segment.bufs[buf].domain {
            Domain::N => Ok(buf),
            Domain::R | Domain::B(_) | Domain::P => {
                Err(format!("the rows of input {i} are not the tokens of the step"))
            }
        }
    }

    fn in_weight(&self, v: Value, i: usize) -> Result<WeightId, String> {
        match self.places[self.ins(v)[i].index()] {
            Place::Weight(w) => Ok(w),
            other => Err(format!("input {i} is no weight but {other:?}")),
        }
    }

    /// An optional weight.
    fn maybe_weight(&self, v: Value, i: usize) -> Result<Option<WeightId>, String> {
        (i < self.ins(v).len()).then(|| self.in_weight(v, i)).transpose()
    }

    fn domain(&self, v: Value) -> Result<Domain, String> {
        match self.ty(v).rows() {
            Some(d) if d == Sym::N.into() => Ok(Domain::N),
            Some(d) if d == Sym::R.into() => Ok(Domain::R),
            Some(d) if d == Sym::P.into() => Ok(Domain::P),
            Some(d) => match d.of_each(Sym::B) {
                Some(each) => Ok(Domain::B(each)),
                None => Err(format!("rows of {} are neither tokens, rows of logits nor sequences", self.ty(v))),
            },
            None => Err(format!("{} has no rows", self.ty(v))),
        }
    }

    fn new_buf(&mut self, v: Value) -> Result<BufId, String> {
        let domain = self.domain(v)?;
        let len = self.ty(v).row_len().ok_or("the length of a row is not known")?;
        self.segment.bufs.push(Buf { len, domain, name: None });
        Ok(self.segment.bufs.len() - 1)
    }

    fn rows(&mut self, domain: Domain, step: Step) {
        self.segment.calls.push(Call::Rows { domain, steps: vec![step] });
    }

    /// A call of a single step whose output is a new buffer.
    fn step(&mut self, v: Value, make: impl FnOnce(&Self, BufId) -> Result<Step, String>) -> Result<Place, String> {
        let out = self.new_buf(v)?;
        let step = make(self, out)?;
        self.rows(self.domain(v)?, step);
        Ok(Place::Buf(out))
    }

    /// An input with rows for each sequence.
    fn in_sequences(&self, v: Value, i: usize) -> Result<BufId, String> {
        let buf = self.in_buf(v, i)?;
        match self.segment.bufs[buf].domain {
            Domain::N | Domain::B(_) => Ok(buf),
            Domain::R | Domain::P => Err(format!("the rows of input {i} are not those of sequences")),
        }
    }

    /// The last dimension of an input.
    fn last(&self, v: Value, i: usize) -> usize {
        self.ty(self.ins(v)[i]).shape().last().and_then(|d| d.known()).unwrap_or(1).max(1)
    }

    /// The number of what the step brings in by that name.
    fn given(&mut self, name: &str, domain: Domain, len: usize) -> Result<usize, String> {
        let given = &mut self.program.given;
        match given.iter().position(|g| g.0 == name) {
            Some(i) if given[i] != (name.to_string(), domain, len) => Err(format!("`{name}` is two things")),
            Some(i) => Ok(i),
            None => {
                given.push((name.to_string(), domain, len));
                Ok(given.len() - 1)
            }
        }
    }

    fn rope(&mut self, rope: &Rope) -> usize {
        let ropes = &mut self.program.ropes;
        ropes.iter().position(|r| r == rope).unwrap_or_else(|| {
            ropes.push(rope.clone());
            ropes.len() - 1
        })
    }

    fn node(&mut self, v: Value, op: &Op) -> Result<Place, String> {
        match op {
            Op::Input(_) => Ok(Place::Input),
            Op::Given { name, len, .. } => {
                let number = self.given(name, self.domain(v)?, *len)?;
                let (domain, out) = (self.domain(v)?, self.new_buf(v)?);
                // It waits for nothing, and what reads it need not wait for what lies between.
                self.segment.calls.insert(0, Call::Rows { domain, steps: vec![Step::Given { number, out }] });
                Ok(Place::Buf(out))
            }
            Op::State(_) if self.segment.input.is_none() => Err("only layers keep a state".into()),
            Op::State(kv) => match self.states[usize::from(kv.memory)].replace(*kv) {
                None => Ok(Place::State(*kv)),
                Some(_) => Err("a layer has room for one state of its own and one of a memory".into()),
            },
            Op::Weight { name } => {
                let shape = self.ty(v).shape().iter().filter_map(|d| d.known()).collect();
                self.segment.weights.push((name.clone(), shape));
                Ok(Place::Weight(self.segment.weights.len() - 1))
            }
            Op::Carry => {
                let buf = self.new_buf(v)?;
                self.segment.input = Some(buf);
                Ok(Place::Buf(buf))
            }
            Op::Heads(_) | Op::Merge => self.in_buf(v, 0).map(Place::Buf),
            Op::Embed { first } => match self.body.node(self.ins(v)[1]).op {
                Op::Input(index @ (BatchInput::Tokens | BatchInput::Positions | BatchInput::TokenTypes)) => {
                    let (table, first) = (self.in_weight(v, 0)?, *first);
                    self.step(v, |_, out| Ok(Step::Embed { table, index, first, out }))
                }
                _ => Err("only tokens, positions and types of the step can be looked up".into()),
            },
            Op::Pool(pool) => self.step(v, |s, out| Ok(Step::Pool { x: s.in_sequences(v, 0)?, pool: *pool, out })),
            Op::GatherRows { .. } | Op::Place if self.segment.input.is_some() => {
                Err("only outside of layers are rows moved".into())
            }
            Op::GatherRows { behind } => match self.body.node(self.ins(v)[1]).op {
                Op::Input(BatchInput::LogitRows) => {
                    let behind = behind.clone();
                    self.step(v, |s, out| Ok(Step::Gather { x: s.in_tokens(v, 0)?, behind, out }))
                }
                _ => Err("only the rows of logits can be gathered".into()),
            },
            Op::Place => match self.body.node(self.ins(v)[1]).op {
                Op::Input(BatchInput::Placed) => self.step(v, |s, out| {
                    let x = (s.ins(v).len() > 2).then(|| s.in_tokens(v, 2)).transpose()?;
                    Ok(Step::Place { rows: s.in_buf(v, 0)?, x, out })
                }),
                _ => Err("only the step says where rows stand".into()),
            },
            Op::Norm { kind: NormKind::Rms, eps } => {
                let eps = eps.0;
                self.step(v, |s, out| {
                    let w = s.maybe_weight(v, 1)?;
                    Ok(Step::RmsNorm { x: s.in_buf(v, 0)?, w, eps, dim: s.last(v, 0), out })
                })
            }
            Op::Norm { kind: NormKind::Layer, eps } => {
                let eps = eps.0;
                self.step(v, |s, out| {
                    let (w, b) = (s.maybe_weight(v, 1)?, s.maybe_weight(v, 2)?);
                    Ok(Step::LayerNorm { x: s.in_buf(v, 0)?, w, b, eps, dim: s.last(v, 0), out })
                })
            }
            Op::Softmax => self.step(v, |s, out| Ok(Step::Softmax { x: s.in_buf(v, 0)?, dim: s.last(v, 0), out })),
            Op::Slice { from, len } => {
                let (from, len) = (*from, *len);
                self.step(v, |s, out| Ok(Step::Slice { x: s.in_buf(v, 0)?, dim: s.last(v, 0), from, len, out }))
            }
            Op::Concat => self.step(v, |s, out| {
                let dims = [s.last(v, 0), s.last(v, 1)];
                Ok(Step::Concat { a: s.in_buf(v, 0)?, b: s.in_buf(v, 1)?, dims, out })
            }),
            Op::Route(_) if self.last(v, 0) > route::MOST_EXPERTS => {
                Err(format!("at most {} experts are supported", route::MOST_EXPERTS))
            }
            Op::Route(routing) => self.step(v, |s, out| {
                let correction = s.maybe_weight(v, 1)?;
                Ok(Step::Route { x: s.in_buf(v, 0)?, correction, routing: *routing, out })
            }),
            Op::Combine => {
                self.step(v, |s, out| Ok(Step::Combine { y: s.in_buf(v, 0)?, weights: s.in_buf(v, 1)?, out }))
            }
            Op::GroupedLinear { slots, routed } => {
                let (x, w, slots) = (self.in_tokens(v, 0)?, self.in_weight(v, 1)?, *slots);
                let routes = routed.then(|| self.in_buf(v, 2)).transpose()?;
                let bias = self.maybe_weight(v, 2 + usize::from(*routed))?;
                let (each, out) = (self.ty(self.ins(v)[0]).shape().len() == 3, self.new_buf(v)?);
                let parts = vec![Part { w, bias, out }];
                self.segment.calls.push(Call::Grouped(Grouped { x, each, slots, routes, parts, glu: None }));
                Ok(Place::Buf(out))
            }
            Op::Unary(_) | Op::Clamp { .. } | Op::Scale(_) | Op::Offset(_) | Op::Softcap(_) => {
                let f = unary(op).ok_or("it is no function of one value")?;
                self.step(v, |s, out| Ok(Step::Unary { f, x: s.in_buf(v, 0)?, out }))
            }
            Op::Reduce(Reduce::Mean) => {
                self.step(v, |s, out| Ok(Step::Mean { x: s.in_buf(v, 0)?, dim: s.last(v, 0), out }))
            }
            Op::Binary(f) => self.step(v, |s, out| s.binary(v, *f, out)),
            Op::Rope(rope) => {
                let table = self.rope(rope);
                let style = rope.style;
                self.step(v, |s, out| {
                    Ok(Step::Rope { x: s.in_tokens(v, 0)?, rope: table, style, dim: s.last(v, 0), out })
                })
            }
            Op::Linear => {
                let (x, w, bias) = (self.in_buf(v, 0)?, self.in_weight(v, 1)?, self.maybe_weight(v, 2)?);
                let (domain, out) = (self.domain(v)?, self.new_buf(v)?);
                let parts = vec![Part { w, bias, out }];
                let linear = Linear { domain, prologue: vec![], x, parts, glu: None, tail: vec![] };
                self.segment.calls.push(Call::Linear(linear));
                Ok(Place::Buf(out))
            }
            Op::Conv { window, groups } => {
                let (x, w, bias) = (self.in_buf(v, 0)?, self.in_weight(v, 1)?, self.maybe_weight(v, 2)?);
                let depthwise = *groups == self.last(v, 0) && Some(*groups) == self.ty(v).row_len();
                let (part, phases) = (Part { w, bias, out: self.new_buf(v)? }, Phase::all(window));
                let (window, groups) = (*window, *groups);
                let out = part.out;
                self.segment.calls.push(Call::Conv(Conv { x, part, window, phases, groups, depthwise, tail: vec![] }));
                Ok(Place::Buf(out))
            }
            Op::Window { window, pool } => {
                let (x, out) = (self.in_buf(v, 0)?, self.new_buf(v)?);
                self.segment.calls.push(Call::Window { x, window: *window, pool: *pool, out });
                Ok(Place::Buf(out))
            }
            Op::Scan(scan) => {
                let (gates, w) = (self.in_sequences(v, 0)?, self.in_weight(v, 1)?);
                let bias = scan.bias.then(|| self.in_weight(v, 2)).transpose()?;
                let start = scan.start.then(|| self.in_buf(v, 2 + usize::from(scan.bias))).transpose()?;
                let out = self.new_buf(v)?;
                self.segment.calls.push(Call::Recur(vec![Recur { gates, w, bias, start, scan: *scan, out }]));
                Ok(Place::Buf(out))
            }
            Op::Write(kv) => {
                let (k, v) = (self.in_tokens(v, 1)?, self.in_tokens(v, 2)?);
                if std::mem::replace(&mut self.written[usize::from(kv.memory)], true) {
                    return Err("a layer writes a state once".into());
                }
                self.rows(Domain::N, Step::Write { k, v, memory: kv.memory });
                Ok(Place::State(*kv))
            }
            Op::Attention(spec) => self.attention(v, spec),
            Op::Repeat { prefix, bodies, order } => self.repeat(v, prefix, bodies, order),
        }
    }

    fn attention(&mut self, v: Value, spec: &AttentionSpec) -> Result<Place, String> {
        let (q, out) = (self.in_tokens(v, 0)?, self.new_buf(v)?);
        match self.places[self.ins(v)[1].index()] {
            Place::State(kv) if kv == spec.kv => {}
            other => return Err(format!("it reads {other:?}")),
        }
        let sinks = spec.sinks.then(|| self.in_weight(v, 2)).transpose()?;
        let bias = match &spec.bias {
            Some(ScoreBias::Buckets(_)) => Some(self.in_weight(v, 2 + usize::from(spec.sinks))?),
            _ => None,
        };
        let slopes = match &spec.bias {
            Some(ScoreBias::Slopes(slopes)) => slopes.iter().map(|s| s.0).collect(),
            _ => vec![],
        };
        self.segment.calls.push(Call::Attend { q, out, spec: spec.clone(), sinks, bias, slopes });
        Ok(Place::Buf(out))
    }

    fn binary(&self, v: Value, f: Binary, out: BufId) -> Result<Step, String> {
        let a = self.in_buf(v, 0)?;
        match self.places[self.ins(v)[1].index()] {
            Place::Weight(w) => Ok(Step::BinaryWeight { f, a, w, out }),
            Place::Buf(b) if self.segment.bufs[b].len == self.segment.bufs[a].len => Ok(Step::Binary { f, a, b, out }),
            Place::Buf(b) => Ok(Step::BinaryEach { f, a, b, dim: self.last(v, 0), out }),
            other => Err(format!("the second input is {other:?}")),
        }
    }

    fn repeat(&mut self, v: Value, prefix: &str, bodies: &[Arc<Body>], order: &[usize]) -> Result<Place, String> {
        let mut input = self.in_buf(v, 0)?;
        let used = self.body.nodes.iter().flat_map(|n| &n.ins).filter(|i| **i == self.ins(v)[0]).count();
        if used > 1 || self.segment.input == Some(input) {
            // Layers overwrite their input, which is needed again.
            let copy = self.new_buf(v)?;
            self.rows(self.domain(v)?, Step::Unary { f: rows::Unary::Scale(1.0), x: input, out: copy });
            input = copy;
        }
        let other = self.new_buf(v)?;
        let mut segments = Vec::new();
        for body in bodies {
            segments.push(Lowering::new(body, self.program).run().map_err(|e| format!("in {prefix}: {e}"))?);
        }
        let carry = [input, other];
        self.segment.calls.push(Call::Repeat(self.program.layers.len()));
        self.program.layers.push(Layers { prefix: prefix.to_string(), bodies: segments, order: order.to_vec(), carry });
        // Layers read and write the two buffers in turn.
        Ok(Place::Buf(carry[order.len() % 2]))
    }
}

/// The kernel's name for a function of one value.
fn unary(op: &Op) -> Option<rows::Unary> {
    Some(match op {
        Op::Scale(k) => rows::Unary::Scale(k.0),
        Op::Offset(k) => rows::Unary::Offset(k.0),
        Op::Softcap(cap) => rows::Unary::Softcap(cap.0),
        Op::Clamp { least, most } => rows::Unary::Clamp(least.0, most.0),
        Op::Unary(Unary::Silu) => rows::Unary::Silu,
        Op::Unary(Unary::GeluTanh) => rows::Unary::GeluTanh,
        Op::Unary(Unary::GeluErf) => rows::Unary::GeluErf,
        Op::Unary(Unary::GeluQuick) => rows::Unary::GeluQuick,
        Op::Unary(Unary::Relu) => rows::Unary::Relu,
        Op::Unary(Unary::Relu2) => rows::Unary::Relu2,
        Op::Unary(Unary::Sigmoid) => rows::Unary::Sigmoid,
        Op::Unary(Unary::Tanh) => rows::Unary::Tanh,
        Op::Unary(Unary::Rsqrt) => rows::Unary::Rsqrt,
        _ => return None,
    })
}
