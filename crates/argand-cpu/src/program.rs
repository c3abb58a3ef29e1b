//! The calls that a graph becomes: plain data, printed by [`Program::describe`], fused by `fuse`, run by `exec`.
//!
//! A buffer holds a row of `len` f32 for each row of its domain. A call is a phase: all threads share its work, and a
//! barrier stands behind it. What is in one call of kind [`Call::Rows`] is done row by row, so it needs no barrier inside.

use crate::window::Phase;
use argand_graph::{AttentionSpec, BatchInput, Binary, Pool, Rope, RopeStyle, Routing, Scan, Window, WindowPool};
use argand_kernels::rows::Unary;
use std::fmt::{self, Write as _};

/// A buffer of a segment.
pub type BufId = usize;
/// A weight of a segment.
pub type WeightId = usize;

/// What the rows of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Tokens of the step.
    N,
    /// Rows whose logits are wanted.
    R,
    /// So many for each sequence of the step, or for each picture.
    B(usize),
    /// Rows of pictures that the step brings in.
    P,
}

/// A buffer: rows of f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Buf {
    /// Values in a row.
    pub len: usize,
    /// How many rows.
    pub domain: Domain,
    /// Name of the graph value that it holds.
    pub name: Option<String>,
}

/// Something done to each row on its own.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Step {
    /// The row of a table for the token, its position or its type, from row `first` on.
    Embed { table: WeightId, index: BatchInput, first: usize, out: BufId },
    /// A row of what the step brings in by the name of that number.
    Given { number: usize, out: BufId },
    /// The rows that lie so far behind a wanted one, side by side.
    Gather { x: BufId, behind: Vec<usize>, out: BufId },
    /// The row of `rows` that stands in the place of the token, else that of `x`, else zeros.
    Place { rows: BufId, x: Option<BufId>, out: BufId },
    /// A row made of those of a sequence.
    Pool { x: BufId, pool: Pool, out: BufId },
    /// Root-mean-square norm of each group of `dim` values.
    RmsNorm { x: BufId, w: Option<WeightId>, eps: f32, dim: usize, out: BufId },
    /// Layer norm of each group of `dim` values.
    LayerNorm { x: BufId, w: Option<WeightId>, b: Option<WeightId>, eps: f32, dim: usize, out: BufId },
    /// Softmax of each group of `dim` values.
    Softmax { x: BufId, dim: usize, out: BufId },
    /// The values from `from` on of each group of `dim`.
    Slice { x: BufId, dim: usize, from: usize, len: usize, out: BufId },
    /// Groups of `dims[0]` and of `dims[1]` values in turn.
    Concat { a: BufId, b: BufId, dims: [usize; 2], out: BufId },
    /// From logits of experts to the weights of those that are chosen.
    Route { x: BufId, correction: Option<WeightId>, routing: Routing, out: BufId },
    /// The slots of `y` times the weights that are not zero.
    Combine { y: BufId, weights: BufId, out: BufId },
    /// A function of one value, constants included.
    Unary { f: Unary, x: BufId, out: BufId },
    /// Both rows of equal length.
    Binary { f: Binary, a: BufId, b: BufId, out: BufId },
    /// `b` has one value for each group of `dim` values of `a`.
    BinaryEach { f: Binary, a: BufId, b: BufId, dim: usize, out: BufId },
    /// A weight of `dim` values meets each group.
    BinaryWeight { f: Binary, a: BufId, w: WeightId, out: BufId },
    /// Mean of each group of `dim` values.
    Mean { x: BufId, dim: usize, out: BufId },
    /// Rotary embedding of heads of `dim` values by angle table `rope`.
    Rope { x: BufId, rope: usize, style: RopeStyle, dim: usize, out: BufId },
    /// Into the cache of the row's sequence, as its own or as the memory that another program recalls.
    Write { k: BufId, v: BufId, memory: bool },
}

/// One weight of a [`Linear`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The matrix.
    pub w: WeightId,
    /// Added to each row of the result.
    pub bias: Option<WeightId>,
    /// The result.
    pub out: BufId,
}

/// What is done to a result while it is still near.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    /// Another buffer is added.
    Add(BufId),
    /// A function of one value, constants included.
    Unary(Unary),
}

/// Products of one input with several weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Rows of input and results.
    pub domain: Domain,
    /// Steps that make the input; when there are few rows every thread does them for itself.
    pub prologue: Vec<Step>,
    /// The input.
    pub x: BufId,
    /// The weights.
    pub parts: Vec<Part>,
    /// `f(first part) * second part` goes to the first part's result.
    pub glu: Option<Unary>,
    /// Done to the result in order.
    pub tail: Vec<Tail>,
}

/// Products with stacks of weights, of which each row meets some: tokens only.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// The input: a row for all weights that it meets, or one for each slot.
    pub x: BufId,
    /// Whether each slot has its own input.
    pub each: bool,
    /// Weights that a row meets.
    pub slots: usize,
    /// Weights of experts: those that are not zero say which ones a row meets. Without, slot `s` meets number `s`.
    pub routes: Option<BufId>,
    /// The stacks.
    pub parts: Vec<Part>,
    /// `f(first part) * second part` goes to the first part's result.
    pub glu: Option<Unary>,
}

/// A convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// The picture.
    pub x: BufId,
    /// The kernel, and its bias.
    pub part: Part,
    /// How it walks.
    pub window: Window,
    /// Which taps meet which pixels.
    pub phases: Vec<Phase>,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether each channel is a group, in and out.
    pub depthwise: bool,
    /// Done to the result in order.
    pub tail: Vec<Tail>,
}

/// A recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Recur {
    /// What each row brings to the gates.
    pub gates: BufId,
    /// The recurrent weight.
    pub w: WeightId,
    /// Its bias.
    pub bias: Option<WeightId>,
    /// The first state of each sequence.
    pub start: Option<BufId>,
    /// The cell.
    pub scan: Scan,
    /// The state after each row.
    pub out: BufId,
}

/// A phase.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Call {
    /// Steps for each row.
    Rows { domain: Domain, steps: Vec<Step> },
    /// Matrix products.
    Linear(Linear),
    /// Products with stacks of weights.
    Grouped(Grouped),
    /// Attention of all rows to the cache of their sequences.
    Attend {
        q: BufId,
        out: BufId,
        spec: AttentionSpec,
        sinks: Option<WeightId>,
        bias: Option<WeightId>,
        slopes: Vec<f32>,
    },
    /// A convolution.
    Conv(Conv),
    /// One value of those under a window.
    Window { x: BufId, window: Window, pool: WindowPool, out: BufId },
    /// Recurrences that do not wait for each other.
    Recur(Vec<Recur>),
    /// All layers.
    Repeat(usize),
}

/// Calls over one set of buffers: the main part of a model, or a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Buffers by number.
    pub bufs: Vec<Buf>,
    /// Names of weights, without the layer, with their shapes.
    pub weights: Vec<(String, Vec<usize>)>,
    /// Phases in order.
    pub calls: Vec<Call>,
    /// Where the carried value comes in (layers only).
    pub input: Option<BufId>,
    /// Where the result is.
    pub output: BufId,
}

/// A repetition of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// Prefix of names.
    pub prefix: String,
    /// The distinct layers.
    pub bodies: Vec<Segment>,
    /// Which body each layer is.
    pub order: Vec<usize>,
    /// The main part's buffers that layers read and write in turn; the first holds the input.
    pub carry: [BufId; 2],
}

/// A lowered model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// What is outside of layers.
    pub main: Segment,
    /// The repetitions that the main part calls.
    pub layers: Vec<Layers>,
    /// Names of what the step brings in, with the domain and the values of a row.
    pub given: Vec<(String, Domain, usize)>,
    /// Rotary embeddings whose tables of angles steps refer to.
    pub ropes: Vec<Rope>,
}

impl Step {
    /// The buffers that it reads.
    pub fn reads(&self) -> impl Iterator<Item = BufId> {
        let (a, b) = match *self {
            Step::Embed { .. } | Step::Given { .. } => (None, None),
            Step::Gather { x, .. }
            | Step::Pool { x, .. }
            | Step::RmsNorm { x, .. }
            | Step::LayerNorm { x, .. }
            | Step::Softmax { x, .. }
            | Step::Slice { x, .. }
            | Step::Route { x, .. }
            | Step::Unary { x, .. }
            | Step::Mean { x, .. }
            | Step::Rope { x, .. } => (Some(x), None),
            Step::Binary { a, b, .. } | Step::BinaryEach { a, b, .. } | Step::Concat { a, b, .. } => (Some(a), Some(b)),
            Step::Combine { y, weights, .. } => (Some(y), Some(weights)),
            Step::BinaryWeight { a, .. } => (Some(a), None),
            Step::Place { rows, x, .. } => (Some(rows), x),
            Step::Write { k, v, .. } => (Some(k), Some(v)),
        };
        a.into_iter().chain(b)
    }

    /// The buffer that it writes.
    pub fn out(&self) -> Option<BufId> {
        match *self {
            Step::Embed { out, .. }
            | Step::Given { out, .. }
            | Step::Gather { out, .. }
            | Step::Place { out, .. }
            | Step::Pool { out, .. }
            | Step::RmsNorm { out, .. }
            | Step::LayerNorm { out, .. }
            | Step::Softmax { out, .. }
            | Step::Slice { out, .. }
            | Step::Concat { out, .. }
            | Step::Route { out, .. }
            | Step::Combine { out, .. }
            | Step::Unary { out, .. }
            | Step::Binary { out, .. }
            | Step::BinaryEach { out, .. }
            | Step::BinaryWeight { out, .. }
            | Step::Mean { out, .. }
            | Step::Rope { out, .. } => Some(out),
            Step::Write { .. } => None,
        }
    }
}

impl Linear {
    /// The results that are kept.
    pub fn outs(&self) -> impl Iterator<Item = BufId> {
        kept(&self.parts, self.glu)
    }
}

impl Grouped {
    /// The results that are kept.
    pub fn outs(&self) -> impl Iterator<Item = BufId> {
        kept(&self.parts, self.glu)
    }
}

/// Results of the parts: with a gate the second part goes into the first.
fn kept(parts: &[Part], glu: Option<Unary>) -> impl Iterator<Item = BufId> {
    let kept = if glu.is_some() { 1 } else { parts.len() };
    parts[..kept].iter().map(|p| p.out)
}

/// The buffers that are added at the end.
fn added(tail: &[Tail]) -> impl Iterator<Item = BufId> {
    tail.iter().filter_map(|t| match t {
        Tail::Add(b) => Some(*b),
        Tail::Unary(_) => None,
    })
}

impl Call {
    /// The buffers that it reads, those it makes itself included.
    pub fn reads(&self) -> Vec<BufId> {
        match self {
            Call::Rows { steps, .. } => steps.iter().flat_map(Step::reads).collect(),
            Call::Linear(l) => l.prologue.iter().flat_map(Step::reads).chain([l.x]).chain(added(&l.tail)).collect(),
            Call::Grouped(g) => [g.x].into_iter().chain(g.routes).collect(),
            Call::Attend { q, .. } => vec![*q],
            Call::Conv(c) => [c.x].into_iter().chain(added(&c.tail)).collect(),
            Call::Window { x, .. } => vec![*x],
            Call::Recur(all) => all.iter().flat_map(|r| [r.gates].into_iter().chain(r.start)).collect(),
            Call::Repeat(_) => vec![],
        }
    }

    /// The buffers that it writes.
    pub fn writes(&self) -> Vec<BufId> {
        match self {
            Call::Rows { steps, .. } => steps.iter().filter_map(Step::out).collect(),
            Call::Linear(l) => l.prologue.iter().filter_map(Step::out).chain(l.outs()).collect(),
            Call::Grouped(g) => g.outs().collect(),
            Call::Attend { out, .. } | Call::Window { out, .. } => vec![*out],
            Call::Conv(c) => vec![c.part.out],
            Call::Recur(all) => all.iter().map(|r| r.out).collect(),
            Call::Repeat(_) => vec![],
        }
    }
}

impl Program {
    /// The calls as text, a line each: what a snapshot test compares and `argand draw --plan` prints.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        self.main.describe("", &mut out);
        for layers in &self.layers {
            let _ = writeln!(out, "{}: {} layers {:?}", layers.prefix, layers.order.len(), layers.order);
            for (i, body) in layers.bodies.iter().enumerate() {
                let _ = writeln!(out, "body {i}:");
                body.describe("  ", &mut out);
            }
        }
        out
    }

    /// One more than the largest value of `of` that is in all tables which are looked up by it.
    pub fn table_rows(&self, of: BatchInput) -> usize {
        let steps = |call: &Call| match call {
            Call::Rows { steps, .. } => steps.clone(),
            Call::Linear(l) => l.prologue.clone(),
            _ => vec![],
        };
        let rows = |s: &Segment| {
            let tables = s.calls.iter().flat_map(steps).filter_map(|step| match step {
                Step::Embed { table, index, first, .. } if index == of => {
                    s.weights[table].1.first().map(|rows| rows.saturating_sub(first))
                }
                _ => None,
            });
            tables.min().unwrap_or(usize::MAX)
        };
        let bodies = self.layers.iter().flat_map(|l| &l.bodies);
        bodies.chain([&self.main]).map(rows).min().unwrap_or(usize::MAX)
    }

    /// Whether a buffer has rows for each sequence.
    pub fn pools(&self) -> bool {
        self.main.bufs.iter().any(|b| matches!(b.domain, Domain::B(_)))
    }

    /// Whether a buffer has a row for each token or frame.
    pub fn has_tokens(&self) -> bool {
        self.main.bufs.iter().any(|b| b.domain == Domain::N)
    }

    /// The steps of the main part.
    pub fn main_steps(&self) -> impl Iterator<Item = &Step> {
        self.main.calls.iter().flat_map(|call| match call {
            Call::Rows { steps, .. } => steps.as_slice(),
            Call::Linear(l) => &l.prologue,
            _ => &[],
        })
    }

    /// Whether a layer attends to a memory.
    pub fn recalls(&self) -> bool {
        let recalls = |call: &Call| matches!(call, Call::Attend { spec, .. } if spec.kv.memory);
        self.layers.iter().flat_map(|l| &l.bodies).any(|body| body.calls.iter().any(recalls))
    }

    /// Phases of one step: calls of all layers, each followed by a barrier.
    pub fn phases(&self) -> usize {
        let layers = |l: &Layers| l.order.iter().map(|b| l.bodies[*b].calls.len()).sum::<usize>();
        self.main.calls.len() - self.layers.len() + self.layers.iter().map(layers).sum::<usize>()
    }
}

impl Segment {
    fn buf(&self, b: BufId) -> String {
        self.bufs[b].name.clone().unwrap_or_else(|| format!("%{b}"))
    }

    fn describe(&self, indent: &str, out: &mut String) {
        for call in &self.calls {
            let _ = writeln!(out, "{indent}{}", Show(self, call));
        }
    }

    fn tails(&self, tail: &[Tail]) -> String {
        let one = |tail: &Tail| match tail {
            Tail::Add(b) => format!(" + {}", self.buf(*b)),
            Tail::Unary(g) => format!(" {}", format!("{g:?}").to_lowercase()),
        };
        tail.iter().map(one).collect()
    }

    fn steps(&self, steps: &[Step]) -> String {
        let one = |s: &Step| {
            let ins: Vec<String> = s.reads().map(|b| self.buf(b)).collect();
            let name = match s {
                Step::Unary { f, .. } => format!("{f:?}"),
                Step::Binary { f, .. } | Step::BinaryEach { f, .. } | Step::BinaryWeight { f, .. } => format!("{f:?}"),
                other => format!("{other:?}").split([' ', '{']).next().unwrap_or("").to_string(),
            };
            let kept = if matches!(s, Step::Write { memory: true, .. }) { "memory" } else { "cache" };
            let to = s.out().map_or(kept.to_string(), |o| self.buf(o));
            format!("{}({})->{to}", name.to_lowercase(), ins.join(", "))
        };
        steps.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

struct Show<'a>(&'a Segment, &'a Call);

impl fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Show(s, call) = self;
        match call {
            Call::Rows { domain, steps } => write!(f, "rows[{domain:?}] {}", s.steps(steps)),
            Call::Linear(l) => {
                let parts: Vec<&str> = l.parts.iter().map(|p| s.weights[p.w].0.as_str()).collect();
                write!(f, "linear[{:?}] ", l.domain)?;
                if !l.prologue.is_empty() {
                    write!(f, "{{{}}} ", s.steps(&l.prologue))?;
                }
                write!(f, "{} x {}", s.buf(l.x), parts.join(" + "))?;
                if let Some(act) = l.glu {
                    write!(f, " glu {}", format!("{act:?}").to_lowercase())?;
                }
                f.write_str(&s.tails(&l.tail))?;
                let outs: Vec<String> = l.outs().map(|b| s.buf(b)).collect();
                write!(f, " -> {}", outs.join(", "))
            }
            Call::Grouped(g) => {
                let parts: Vec<&str> = g.parts.iter().map(|p| s.weights[p.w].0.as_str()).collect();
                write!(f, "grouped[{}] {} x {}", g.slots, s.buf(g.x), parts.join(" + "))?;
                if let Some(routes) = g.routes {
                    write!(f, " by {}", s.buf(routes))?;
                }
                if let Some(act) = g.glu {
                    write!(f, " glu {}", format!("{act:?}").to_lowercase())?;
                }
                let outs: Vec<String> = g.outs().map(|b| s.buf(b)).collect();
                write!(f, " -> {}", outs.join(", "))
            }
            Call::Attend { q, out, spec, .. } => {
                let memory = if spec.kv.memory { "memory " } else { "" };
                write!(f, "attend {memory}{} -> {}", s.buf(*q), s.buf(*out))
            }
            Call::Conv(c) => {
                let (x, w, tail) = (s.buf(c.x), &s.weights[c.part.w].0, s.tails(&c.tail));
                write!(f, "{} {x} x {w}{tail} -> {}", if c.depthwise { "depthwise" } else { "conv" }, s.buf(c.part.out))
            }
            Call::Window { x, pool, out, .. } => {
                write!(f, "window {}({}) -> {}", format!("{pool:?}").to_lowercase(), s.buf(*x), s.buf(*out))
            }
            Call::Recur(all) => {
                let one = |r: &Recur| format!("{} x {} -> {}", s.buf(r.gates), s.weights[r.w].0, s.buf(r.out));
                write!(f, "recur {}", all.iter().map(one).collect::<Vec<_>>().join("; "))
            }
            Call::Repeat(i) => write!(f, "repeat {i}"),
        }
    }
}
