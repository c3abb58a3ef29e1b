//! The ops. Each is one variant of [`Op`] and one [`Row`]; the rows of a family stand together in a file.

mod attention;
mod basic;
mod conv;
mod linear;
mod moe;
mod norm;
mod rope;
mod scan;
mod structure;

use crate::builder::T;
use crate::dim::{Dim, Type};
use crate::graph::Body;
use crate::poly::Poly;
pub use conv::{Window, WindowPool};
pub use moe::{Groups, Routing, Score};
pub use scan::{Cell, GateOrder, Scan};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An f32 constant that can be compared and hashed: by its bits.
#[derive(Clone, Copy, Debug)]
pub struct F(pub f32);

impl PartialEq for F {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for F {}

impl Hash for F {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// What one step brings in beside the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchInput {
    /// Token ids, `[N]`.
    Tokens,
    /// Position of each token in its sequence, `[N]`.
    Positions,
    /// Time, height and width of each token in its sequence, all three its position unless the step says, `[N]`.
    Coordinates,
    /// One more than the row that stands in the place of each token, 0 for none, `[N]`.
    Placed,
    /// Which of the texts that were joined to one sequence each token belongs to, `[N]` (Devlin et al. 2018).
    TokenTypes,
    /// Rows whose logits are wanted, `[R]`.
    LogitRows,
}

/// Functions of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `x * sigmoid(x)` (Elfwing et al. 2017).
    Silu,
    /// The tanh approximation of GELU (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// GELU with the error function.
    GeluErf,
    /// `x * sigmoid(1.702 x)` (Hendrycks and Gimpel 2016), as in CLIP.
    GeluQuick,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²` (So et al. 2021).
    Relu2,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / sqrt(x)`.
    Rsqrt,
}

/// Functions of two values of the same shape; the second may have a last dimension of 1, or be a weight of the last
/// dimension, and is then repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a * b`
    Mul,
}

/// Reductions over the last dimension, which becomes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Arithmetic mean.
    Mean,
}

/// Which normalisation over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + eps) * w` (Zhang and Sennrich 2019).
    Rms,
    /// `(x - mean(x)) / sqrt(variance(x) + eps) * w + b` (Ba et al. 2016).
    Layer,
}

/// What becomes of the rows of a sequence when one row is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Their mean.
    Mean,
    /// The largest value of each component.
    Max,
    /// The first one, where encoders have their `[CLS]` token.
    First,
    /// The last one, which in a causal model has seen all others.
    Last,
}

/// Which components a rotary embedding pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Component `i` with `i + rot/2`, as Hugging Face checkpoints store heads.
    Half,
    /// Component `2i` with `2i + 1`, as in the paper.
    Pairs,
}

/// The angles per position of a rotary embedding, after whatever scaling the model asks for.
#[derive(Clone, Debug)]
pub struct RopeFreqs {
    /// Angle per position of each pair, radians; `rot / 2` values.
    pub inv_freq: Vec<f64>,
    /// Factor of both cosine and sine (YaRN's and LongRoPE's attention factor), else 1.
    pub magnitude: f32,
}

impl RopeFreqs {
    fn bits(&self) -> (impl Iterator<Item = u64>, u32) {
        (self.inv_freq.iter().map(|f| f.to_bits()), self.magnitude.to_bits())
    }
}

impl PartialEq for RopeFreqs {
    fn eq(&self, other: &Self) -> bool {
        let ((a, m), (b, n)) = (self.bits(), other.bits());
        m == n && a.eq(b)
    }
}

impl Eq for RopeFreqs {}

impl Hash for RopeFreqs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (freqs, magnitude) = self.bits();
        magnitude.hash(state);
        freqs.for_each(|f| f.hash(state));
    }
}

/// A rotary position embedding (Su et al. 2021) of the first `rot` components of each head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rope {
    /// Which components form a pair.
    pub style: RopeStyle,
    /// The angles; twice its length is the number of components that turn.
    pub freqs: Arc<RopeFreqs>,
    /// How many pairs turn by each coordinate of a token, in order (Wang et al. 2024); empty when all turn by its position.
    pub sections: Vec<usize>,
}

impl Rope {
    /// How many components of a head turn.
    pub fn rot(&self) -> usize {
        2 * self.freqs.inv_freq.len()
    }
}

/// What a layer keeps of each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvSpec {
    /// Heads of keys and values.
    pub heads: usize,
    /// Components of a key.
    pub dim_k: usize,
    /// Components of a value.
    pub dim_v: usize,
    /// How many of the last tokens can ever be read again; `None` for all.
    pub window: Option<usize>,
    /// Whether it is of the sequence's memory: of a text that an encoder has read for it, instead of its own tokens. Layer `i` of
    /// those that have one reads what layer `i` of those in the encoder's graph has written.
    pub memory: bool,
}

/// Which tokens of its own sequence a row sees, within the window if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Itself and what came before; a window `w` counts the row itself.
    #[default]
    Causal,
    /// All that the sequence has so far, so that the whole sequence has to come in one step; with a window `w` those
    /// fewer than `w` tokens away.
    Full,
}

/// What is added to the scaled scores, by head and by distance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScoreBias {
    /// ALiBi (Press et al. 2021): a slope for each head times the distance, which is negative for what came before.
    Slopes(Arc<[F]>),
    /// A learned table `[buckets, heads]`, the last input, of ranges of distances (Raffel et al. 2019).
    Buckets(Buckets),
}

/// Distances in buckets: near ones each have their own, farther ones share them by logarithm (Raffel et al. 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buckets {
    /// How many.
    pub count: usize,
    /// From this distance on all share the last.
    pub max_distance: usize,
    /// Whether half of them are for tokens that come after the row; without, those count as distance zero.
    pub both_ways: bool,
}

impl Buckets {
    /// The bucket of a token that lies `distance` behind the row (negative: before it).
    pub fn of(&self, distance: isize) -> usize {
        let half = if self.both_ways { self.count / 2 } else { self.count };
        let (first, away) = match distance {
            d if d > 0 && self.both_ways => (half, d as usize),
            d if d > 0 => (0, 0),
            d => (0, d.unsigned_abs()),
        };
        let exact = half / 2;
        if away < exact || exact == 0 {
            return first + away.min(half.saturating_sub(1));
        }
        // In f32 as the reference does, so that both cut at the same distance.
        let grown = (away as f32 / exact as f32).ln() / (self.max_distance as f32 / exact as f32).ln();
        first + (exact + (grown * (half - exact) as f32) as usize).min(half - 1)
    }
}

/// Attention of rows to the cache of their own sequence (Vaswani et al. 2017), grouped when there are fewer key heads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionSpec {
    /// Query heads; a multiple of the key heads.
    pub heads: usize,
    /// The cache that is read.
    pub kv: KvSpec,
    /// Factor of the scores.
    pub scale: F,
    /// `cap * tanh(score / cap)` of the scaled scores (Gemma 2).
    pub softcap: Option<F>,
    /// Which tokens are seen.
    pub mask: Mask,
    /// What is added to the scores.
    pub bias: Option<ScoreBias>,
    /// Whether a weight `[heads]` follows the state: a logit for each head that takes part in the softmax and has no value
    /// (Agarwal et al. 2025).
    pub sinks: bool,
}

impl AttentionSpec {
    /// Causal attention without anything special.
    pub fn new(heads: usize, kv: KvSpec, scale: f32) -> Self {
        AttentionSpec { heads, kv, scale: F(scale), softcap: None, mask: Mask::Causal, bias: None, sinks: false }
    }
}

/// One operation. Plain data: it can be compared, hashed and printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Op {
    /// What the step brings in.
    Input(BatchInput),
    /// Values that the step brings in by name, `[rows, len]`: pixels, frames of sound, states.
    Given { name: String, rows: Dim, len: usize },
    /// The carried value of a [`Body`].
    Carry,
    /// A stored parameter, by canonical name; inside a body the name is prefixed with the layer.
    Weight { name: String },
    /// A layer's state at the start of the step.
    State(KvSpec),
    /// `(table [V, D], indexes [N]) -> [N, D]`: row `index + first` of the table
    Embed { first: usize },
    /// `(x [M, K], w [O, K], bias [O]?) -> [M, O]`, `x wᵀ + bias`
    Linear,
    /// `(x [.., D], w [D]?, b [D]?) -> [.., D]`; only a layer norm has a `b`
    Norm { kind: NormKind, eps: F },
    /// Element by element.
    Unary(Unary),
    /// Element by element.
    Binary(Binary),
    /// `x * factor`
    Scale(F),
    /// `x + constant`
    Offset(F),
    /// `min(max(x, least), most)`
    Clamp { least: F, most: F },
    /// Over the last dimension.
    Reduce(Reduce),
    /// `cap * tanh(x / cap)`
    Softcap(F),
    /// `e^x` over the sum of all, over the last dimension
    Softmax,
    /// `[M, H*D] -> [M, H, D]`
    Heads(usize),
    /// `[M, H, D] -> [M, H*D]`
    Merge,
    /// `[.., D] -> [.., len]`: the values from `from` on
    Slice { from: usize, len: usize },
    /// `([.., D], [.., E]) -> [.., D+E]`
    Concat,
    /// `(x [N, H, D], positions or coordinates [N]) -> [N, H, D]`
    Rope(Rope),
    /// `(state, k [N, H, Dk], v [N, H, Dv]) -> state`
    Write(KvSpec),
    /// `(q [N, H, Dk], state, sinks [H]?, bias table [buckets, H]?) -> [N, H, Dv]`
    Attention(AttentionSpec),
    /// `(x [N, D], rows [R]) -> [R, behind D]`: for each wanted row those that lie so far behind it, side by side
    GatherRows { behind: Vec<usize> },
    /// `(rows [M, D], placed [N], x [N, D]?) -> [N, D]`: the row that stands in the place of a token, else that of `x`, else
    /// zeros
    Place,
    /// `(logits [N, E], correction [E]?) -> [N, E]`: the weights of the chosen experts, zero for all others
    Route(Routing),
    /// `(x [N, K] or [N, S, K], w [E, O, K], weights [N, E] if routed, bias [E, O]?) -> [N, S, O]`. Routed: slot `s` of a row
    /// meets the row's `s`-th expert of a weight that is not zero; what stands in slots beyond the last means nothing. Not
    /// routed: slot `s` meets weight `s`.
    GroupedLinear { slots: usize, routed: bool },
    /// `(y [N, S, D], weights [N, E]) -> [N, D]`: the sum of what routed slots hold times their experts' weights
    Combine,
    /// `x [N, D] -> [B, D]`: a row of each sequence, or of each picture whose pixels are the rows
    Pool(Pool),
    /// `(x [B h w, C], kernel [O, taps * C / groups], bias [O]?) -> [B h' w', O]`: correlation, as deep learning has it. A row of
    /// the kernel has for each tap, line by line, its channels; group `g` of the outputs sees group `g` of the channels.
    Conv { window: Window, groups: usize },
    /// `x [B h w, C] -> [B h' w', C]`: one value of those under a window
    Window { window: Window, pool: WindowPool },
    /// `(gates [N, G H], recurrent weight [G H, H], bias [G H]?, start [B, S]?) -> [N, S]`: the state after each row; `gates` are
    /// the products of the row with the input weights
    Scan(Scan),
    /// `x -> x`: a body for each layer, `order[i]` says which.
    Repeat { prefix: String, bodies: Vec<Arc<Body>>, order: Vec<usize> },
}

/// What an op costs, symbolic in the step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: Poly,
    /// Bytes of f32 activations read and written.
    pub activation_bytes: Poly,
    /// Elements of cached state read and written.
    pub state_elems: Poly,
    /// Rows of a table that are read instead of the whole weight, if so.
    pub table_rows: Option<Poly>,
}

/// A gradient rule: given the inputs, the output and the gradient of the output, the gradient of each input.
pub type GradRule = for<'g> fn(&Op, &[T<'g>], T<'g>, T<'g>) -> Vec<Option<T<'g>>>;

/// One op's answers to every reading.
pub struct Row {
    /// Name in print-outs.
    pub name: &'static str,
    /// Type of the output, or what is wrong with the inputs.
    pub shape: fn(&Op, &[Type]) -> Result<Type, String>,
    /// What it costs.
    pub cost: fn(&Op, &[Type], &Type) -> Cost,
    /// How a gradient flows through it. `None`: no rule, and training fails at the op by name.
    pub gradient: Option<GradRule>,
    /// The same value in simpler ops: executable meaning and test oracle. `None`: it is simple already.
    pub decompose: Option<for<'g> fn(&Op, &[T<'g>]) -> T<'g>>,
    /// Its fields, for print-outs.
    pub print: fn(&Op) -> String,
}

impl Op {
    /// The row of this op.
    pub fn row(&self) -> &'static Row {
        match self {
            Op::Input(_) => &structure::INPUT,
            Op::Given { .. } => &structure::GIVEN,
            Op::Carry => &structure::CARRY,
            Op::Weight { .. } => &structure::WEIGHT,
            Op::State(_) => &attention::STATE,
            Op::Embed { .. } => &linear::EMBED,
            Op::Linear => &linear::LINEAR,
            Op::Norm { .. } => &norm::NORM,
            Op::Unary(_) => &basic::UNARY,
            Op::Binary(_) => &basic::BINARY,
            Op::Scale(_) => &basic::SCALE,
            Op::Offset(_) => &basic::OFFSET,
            Op::Clamp { .. } => &basic::CLAMP,
            Op::Reduce(_) => &basic::REDUCE,
            Op::Softcap(_) => &basic::SOFTCAP,
            Op::Softmax => &norm::SOFTMAX,
            Op::Heads(_) => &structure::HEADS,
            Op::Merge => &structure::MERGE,
            Op::Slice { .. } => &structure::SLICE,
            Op::Concat => &structure::CONCAT,
            Op::Route(_) => &moe::ROUTE,
            Op::GroupedLinear { .. } => &moe::GROUPED_LINEAR,
            Op::Combine => &moe::COMBINE,
            Op::Rope(_) => &rope::ROPE,
            Op::Write(_) => &attention::WRITE,
            Op::Attention(_) => &attention::ATTENTION,
            Op::GatherRows { .. } => &structure::GATHER_ROWS,
            Op::Place => &structure::PLACE,
            Op::Pool(_) => &structure::POOL,
            Op::Conv { .. } => &conv::CONV,
            Op::Window { .. } => &conv::WINDOW,
            Op::Scan(_) => &scan::SCAN,
            Op::Repeat { .. } => &structure::REPEAT,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        let fields = (row.print)(self);
        f.write_str(row.name)?;
        if fields.is_empty() { Ok(()) } else { write!(f, "({fields})") }
    }
}

/// Fails unless there are between `least` and `most` inputs.
fn arity(ins: &[Type], least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&ins.len()) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    Err(format!("{} inputs given, {wanted} expected", ins.len()))
}

fn last(t: &Type) -> Result<crate::Dim, String> {
    t.shape().last().copied().ok_or_else(|| format!("a tensor was expected, found {t}"))
}

/// Elements of a tensor or index.
pub(crate) fn elems(t: &Type) -> Poly {
    match t {
        Type::Tensor(shape) => shape.iter().fold(Poly::from(1), |acc, d| &acc * &Poly::from(*d)),
        Type::Index(dim) => Poly::from(*dim),
        Type::State => Poly::default(),
    }
}

/// Cost of an op that touches each element of its output with `flops` operations and streams its tensors once.
fn elementwise(ins: &[Type], out: &Type, flops: usize) -> Cost {
    let moved = ins.iter().chain([out]).fold(Poly::default(), |acc, t| acc + elems(t) * 4);
    Cost { flops: elems(out) * flops, activation_bytes: moved, ..Cost::default() }
}

fn no_fields(_: &Op) -> String {
    String::new()
}

fn free(_: &Op, _: &[Type], _: &Type) -> Cost {
    Cost::default()
}
