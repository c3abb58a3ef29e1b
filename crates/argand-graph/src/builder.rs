//! Builds graphs with method chains. A page needs no `?`: the first error is kept with its place and [`Builder::finish`]
//! returns it.

use crate::dim::{Dim, Shape, Type};
use crate::graph::{Body, Graph, GraphError, Node, Value};
use crate::op::{
    AttentionSpec, BatchInput, Binary, F, KvSpec, NormKind, Op, Pool, Reduce, Rope, Routing, Scan, ScoreBias, Unary,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

#[derive(Default)]
struct Inner {
    body: Body,
    seen: HashMap<(Op, Vec<Value>), Value>,
    error: Option<GraphError>,
}

/// Collects the nodes of one graph or of one layer's body.
pub struct Builder {
    graph: String,
    path: String,
    inner: RefCell<Inner>,
}

/// A value under construction: `x + y`, `x * y`, and the ops as methods.
#[derive(Clone, Copy)]
pub struct T<'g> {
    g: &'g Builder,
    v: Value,
}

impl Builder {
    /// An empty graph of that name.
    pub fn new(name: &str) -> Self {
        Builder { graph: name.to_string(), path: "model".to_string(), inner: RefCell::default() }
    }

    /// Ends the graph with its output.
    ///
    /// # Errors
    /// The first mistake that was made while building.
    pub fn finish(self, output: Value) -> Result<Graph, GraphError> {
        let name = self.graph.clone();
        Ok(Graph { name, body: self.into_body(output)?, encoder: None })
    }

    fn into_body(self, output: Value) -> Result<Body, GraphError> {
        let Inner { mut body, error, .. } = self.inner.into_inner();
        body.output = output;
        match error {
            Some(error) => Err(error),
            None => Ok(body),
        }
    }

    /// `[N, dim]`: the rows of table `name` (`[vocab, dim]`) for the tokens of the step.
    #[track_caller]
    pub fn embed(&self, name: &str, vocab: usize, dim: usize) -> T<'_> {
        self.look_up(name, vocab, dim, BatchInput::Tokens, 0)
    }

    /// `[N, dim]`: row `index + first` of table `name` (`[rows, dim]`) for each index that the step brings in: tokens,
    /// positions or types of tokens.
    #[track_caller]
    pub fn look_up(&self, name: &str, rows: usize, dim: usize, indexes: BatchInput, first: usize) -> T<'_> {
        let table = self.weight(name, vec![rows.into(), dim.into()]);
        let indexes = self.input(indexes);
        self.push(Op::Embed { first }, &[table, indexes]).named(name)
    }

    /// A value that the step brings in.
    #[track_caller]
    pub fn input(&self, input: BatchInput) -> T<'_> {
        self.push(Op::Input(input), &[])
    }

    /// `[rows, len]` values that the step brings in under that name.
    #[track_caller]
    pub fn given(&self, name: &str, rows: Dim, len: usize) -> T<'_> {
        self.push(Op::Given { name: name.to_string(), rows, len }, &[]).named(name)
    }

    /// A stored parameter.
    #[track_caller]
    pub fn weight(&self, name: &str, shape: Shape) -> T<'_> {
        self.source(Op::Weight { name: name.to_string() }, Type::Tensor(shape))
    }

    pub(crate) fn source(&self, op: Op, ty: Type) -> T<'_> {
        let mut inner = self.inner.borrow_mut();
        if let Some(v) = inner.seen.get(&(op.clone(), vec![])) {
            return T { g: self, v: *v };
        }
        let v = Value(inner.body.nodes.len() as u32);
        inner.seen.insert((op.clone(), vec![]), v);
        inner.body.nodes.push(Node { op, ins: vec![], ty, name: None });
        T { g: self, v }
    }

    /// Adds an op, or finds the equal one that is there already.
    #[track_caller]
    pub fn push(&self, op: Op, ins: &[T<'_>]) -> T<'_> {
        let ins: Vec<Value> = ins.iter().map(|t| t.v).collect();
        let mut inner = self.inner.borrow_mut();
        let types: Vec<Type> = ins.iter().map(|v| inner.body.node(*v).ty.clone()).collect();
        let key = (op, ins);
        if let Some(v) = inner.seen.get(&key) {
            return T { g: self, v: *v };
        }
        // Inside of the closure the caller would be this place.
        let at = Location::caller();
        let ty = (key.0.row().shape)(&key.0, &types).unwrap_or_else(|reason| {
            inner.error.get_or_insert(GraphError {
                graph: self.graph.clone(),
                path: self.path.clone(),
                op: key.0.to_string(),
                reason,
                file: at.file(),
                line: at.line(),
            });
            // Any type will do: the graph is lost, and only the first error is told.
            types.into_iter().next().unwrap_or(Type::State)
        });
        let v = Value(inner.body.nodes.len() as u32);
        inner.body.nodes.push(Node { op: key.0.clone(), ins: key.1.clone(), ty, name: None });
        inner.seen.insert(key, v);
        T { g: self, v }
    }
}

impl<'g> T<'g> {
    /// The value, to end the graph with.
    pub fn value(self) -> Value {
        self.v
    }

    /// What it is built with.
    pub fn builder(self) -> &'g Builder {
        self.g
    }

    /// What it is.
    pub fn ty(self) -> Type {
        self.g.inner.borrow().body.node(self.v).ty.clone()
    }

    /// Values in a row; 0 after an error.
    fn row_len(self) -> usize {
        self.ty().row_len().unwrap_or(0)
    }

    /// Names the value; names are how activations are compared, placed and adapted.
    pub fn named(self, name: &str) -> Self {
        self.g.inner.borrow_mut().body.nodes[self.v.index()].name = Some(name.to_string());
        self
    }

    /// `x wᵀ` with weight `name` of shape `[out, K]`.
    #[track_caller]
    pub fn linear(self, name: &str, out: usize) -> Self {
        self.linear_bias(name, out, false)
    }

    /// `x wᵀ`, and with `bias` the vector `name.bias` of `out` values is added.
    #[track_caller]
    pub fn linear_bias(self, name: &str, out: usize, bias: bool) -> Self {
        let w = self.g.weight(name, vec![out.into(), self.row_len().into()]);
        let b = bias.then(|| self.g.weight(&format!("{name}.bias"), vec![out.into()]));
        let ins: Vec<T> = [self, w].into_iter().chain(b).collect();
        self.g.push(Op::Linear, &ins).named(name)
    }

    /// Slot `s` of each row, `[N, S, K]`, meets its own weight, number `s` of the stack `name` (`[S, out, K]`): `[N, S, out]`.
    #[track_caller]
    pub fn linear_each(self, name: &str, out: usize) -> Self {
        let (slots, k) = self.slots();
        let w = self.g.weight(name, vec![slots.into(), out.into(), k.into()]);
        self.g.push(Op::GroupedLinear { slots, routed: false }, &[self, w]).named(name)
    }

    /// Each row meets the weights of its own experts (see [`T::route`]) in the stack `name` (`[E, out, K]`), with `bias` also
    /// the vectors of `name.bias` (`[E, out]`): `[N, slots, out]`. A row `[N, K]` meets all its experts, of `[N, slots, K]` each
    /// slot meets its own.
    #[track_caller]
    pub fn linear_routed(self, name: &str, routes: Self, slots: usize, out: usize, bias: bool) -> Self {
        let (_, k) = self.slots();
        let experts = routes.row_len();
        let w = self.g.weight(name, vec![experts.into(), out.into(), k.into()]);
        let b = bias.then(|| self.g.weight(&format!("{name}.bias"), vec![experts.into(), out.into()]));
        let ins: Vec<T> = [self, w, routes].into_iter().chain(b).collect();
        self.g.push(Op::GroupedLinear { slots, routed: true }, &ins).named(name)
    }

    /// Slots of a row and values in one.
    fn slots(self) -> (usize, usize) {
        match self.ty().shape() {
            [_, s, k] => (s.known().unwrap_or(0), k.known().unwrap_or(0)),
            _ => (1, self.row_len()),
        }
    }

    /// From the logits of a router, `[N, E]`, to the weights of the chosen experts; `correction` names a weight `[E]` that
    /// moves the choice.
    #[track_caller]
    pub fn route(self, routing: &Routing, correction: Option<&str>) -> Self {
        let correction = correction.map(|name| self.g.weight(name, vec![self.row_len().into()]));
        let ins: Vec<T> = [self].into_iter().chain(correction).collect();
        self.g.push(Op::Route(*routing), &ins)
    }

    /// Sums what the experts made of a row, `[N, slots, D]`, with their weights: `[N, D]`.
    #[track_caller]
    pub fn combine(self, routes: Self) -> Self {
        self.g.push(Op::Combine, &[self, routes])
    }

    /// `len` values from `from` on of the last dimension.
    #[track_caller]
    pub fn slice(self, from: usize, len: usize) -> Self {
        self.g.push(Op::Slice { from, len }, &[self])
    }

    /// Joins the last dimensions.
    #[track_caller]
    pub fn concat(self, other: Self) -> Self {
        self.g.push(Op::Concat, &[self, other])
    }

    /// `min(max(x, least), most)`
    #[track_caller]
    pub fn clamp(self, least: f32, most: f32) -> Self {
        self.g.push(Op::Clamp { least: F(least), most: F(most) }, &[self])
    }

    /// Root-mean-square norm over the last dimension with weight `name`.
    #[track_caller]
    pub fn rms_norm(self, name: &str, eps: f32) -> Self {
        self.norm(NormKind::Rms, name, eps, false)
    }

    /// Layer norm over the last dimension with weight `name`, and with `bias` the vector `name.bias`.
    #[track_caller]
    pub fn layer_norm(self, name: &str, eps: f32, bias: bool) -> Self {
        self.norm(NormKind::Layer, name, eps, bias)
    }

    /// Either norm.
    #[track_caller]
    pub fn norm(self, kind: NormKind, name: &str, eps: f32, bias: bool) -> Self {
        let last = self.ty().shape().last().copied().unwrap_or(Dim::from(0));
        let w = self.g.weight(name, vec![last]);
        let b = bias.then(|| self.g.weight(&format!("{name}.bias"), vec![last]));
        let ins: Vec<T> = [self, w].into_iter().chain(b).collect();
        self.g.push(Op::Norm { kind, eps: F(eps) }, &ins).named(name)
    }

    /// `x / |x|` over the last dimension: vectors of length 1.
    #[track_caller]
    pub fn l2_norm(self) -> Self {
        let len = self.ty().shape().last().and_then(|d| d.known()).unwrap_or(1).max(1) as f32;
        // A vector of zeros stays one.
        self.g.push(Op::Norm { kind: NormKind::Rms, eps: F(1e-24 / len) }, &[self]).scale(len.sqrt().recip())
    }

    /// Softmax over the last dimension.
    #[track_caller]
    pub fn softmax(self) -> Self {
        self.g.push(Op::Softmax, &[self])
    }

    /// `[M, H*D]` cut into heads: `[M, H, D]`.
    #[track_caller]
    pub fn heads(self, heads: usize) -> Self {
        self.g.push(Op::Heads(heads), &[self])
    }

    /// `[M, H, D]` joined: `[M, H*D]`.
    #[track_caller]
    pub fn merge(self) -> Self {
        self.g.push(Op::Merge, &[self])
    }

    /// Rotary embedding of heads `[N, H, D]` at the positions of the step, or at its coordinates.
    #[track_caller]
    pub fn rope(self, rope: &Rope) -> Self {
        let by = if rope.sections.is_empty() { BatchInput::Positions } else { BatchInput::Coordinates };
        let positions = self.g.input(by);
        self.g.push(Op::Rope(rope.clone()), &[self, positions])
    }

    /// Writes keys and values to the layer's state and attends to it: `[N, heads*dim_v]`. Sinks are the weight
    /// `attn_sinks`, a table of biases is `attn_bias`.
    #[track_caller]
    pub fn attend(self, k: Self, v: Self, spec: &AttentionSpec) -> Self {
        let state = self.g.push(Op::State(spec.kv), &[]);
        let state = self.g.push(Op::Write(spec.kv), &[state, k, v]);
        let sinks = spec.sinks.then(|| self.g.weight("attn_sinks", vec![spec.heads.into()]));
        let table = match &spec.bias {
            Some(ScoreBias::Buckets(b)) => Some(self.g.weight("attn_bias", vec![b.count.into(), spec.heads.into()])),
            _ => None,
        };
        let ins: Vec<T> = [self, state].into_iter().chain(sinks).chain(table).collect();
        self.g.push(Op::Attention(spec.clone()), &ins).merge().named("attn")
    }

    /// Writes keys and values of the step's rows to the memory of their sequences; the value itself goes on as it is.
    #[track_caller]
    pub fn remember(self, k: Self, v: Self, kv: KvSpec) -> Self {
        let state = self.g.push(Op::State(kv), &[]);
        self.g.push(Op::Write(kv), &[state, k, v]);
        self
    }

    /// Attends to the memory that an encoder has written: `[N, heads*dim_v]`.
    #[track_caller]
    pub fn recall(self, spec: &AttentionSpec) -> Self {
        let state = self.g.push(Op::State(spec.kv), &[]);
        self.g.push(Op::Attention(spec.clone()), &[self, state]).merge().named("cross_attn")
    }

    /// The rows whose logits are wanted: `[R, D]`.
    #[track_caller]
    pub fn logit_rows(self) -> Self {
        self.rows_behind(&[0])
    }

    /// For each wanted row those that lie so far behind it, side by side: `[R, behind D]`.
    #[track_caller]
    pub fn rows_behind(self, behind: &[usize]) -> Self {
        let rows = self.g.input(BatchInput::LogitRows);
        self.g.push(Op::GatherRows { behind: behind.to_vec() }, &[self, rows])
    }

    /// Rows of pictures, `[M, D]`, in the places of tokens that the step says: `[N, D]`. Other tokens have their row of `x`, or
    /// zeros.
    #[track_caller]
    pub fn placed(self, x: Option<Self>) -> Self {
        let at = self.g.input(BatchInput::Placed);
        let ins: Vec<T> = [self, at].into_iter().chain(x).collect();
        self.g.push(Op::Place, &ins)
    }

    /// A row of each sequence: `[B, D]`.
    #[track_caller]
    pub fn pool(self, pool: Pool) -> Self {
        self.g.push(Op::Pool(pool), &[self])
    }

    /// A recurrent network over the rows of each sequence, which are products with its input weights already. The recurrent
    /// weight is `name`, its bias `name.bias`. The state after each row: `[N, S]`.
    #[track_caller]
    pub fn scan(self, name: &str, scan: &Scan, start: Option<Self>) -> Self {
        let scan = Scan { start: start.is_some(), ..*scan };
        let gates = Dim::from(scan.gates() * scan.hidden);
        let w = self.g.weight(name, vec![gates, scan.hidden.into()]);
        let b = scan.bias.then(|| self.g.weight(&format!("{name}.bias"), vec![gates]));
        let ins: Vec<T> = [self, w].into_iter().chain(b).chain(start).collect();
        self.g.push(Op::Scan(scan), &ins)
    }

    /// A layer for each of `kinds`; layers of equal kind share one body. Names inside get the prefix `prefix.i.`.
    #[track_caller]
    pub fn repeat<K: PartialEq>(self, prefix: &str, kinds: &[K], layer: impl for<'b> Fn(T<'b>, &K) -> T<'b>) -> Self {
        let mut firsts: Vec<&K> = Vec::new();
        let order = kinds.iter().map(|kind| {
            firsts.iter().position(|k| *k == kind).unwrap_or_else(|| {
                firsts.push(kind);
                firsts.len() - 1
            })
        });
        let order: Vec<usize> = order.collect();
        let mut bodies = Vec::new();
        for (i, kind) in firsts.into_iter().enumerate() {
            let sub =
                Builder { graph: self.g.graph.clone(), path: format!("{prefix}, body {i}"), inner: RefCell::default() };
            let carry = sub.source(Op::Carry, self.ty());
            let out = layer(carry, kind).v;
            match sub.into_body(out) {
                Ok(body) => bodies.push(Arc::new(body)),
                Err(error) => {
                    self.g.inner.borrow_mut().error.get_or_insert(error);
                    return self;
                }
            }
        }
        self.g.push(Op::Repeat { prefix: prefix.to_string(), bodies, order }, &[self])
    }

    /// Any function of one value.
    #[track_caller]
    pub fn unary(self, f: Unary) -> Self {
        self.g.push(Op::Unary(f), &[self])
    }

    /// Any function of two values.
    #[track_caller]
    pub fn binary(self, f: Binary, other: Self) -> Self {
        self.g.push(Op::Binary(f), &[self, other])
    }

    /// Reduction over the last dimension.
    #[track_caller]
    pub fn reduce(self, f: Reduce) -> Self {
        self.g.push(Op::Reduce(f), &[self])
    }

    /// Hyperbolic tangent.
    #[track_caller]
    pub fn tanh(self) -> Self {
        self.unary(Unary::Tanh)
    }

    /// `x * k`
    #[track_caller]
    pub fn scale(self, k: f32) -> Self {
        self.g.push(Op::Scale(F(k)), &[self])
    }

    /// `x + k`
    #[track_caller]
    pub fn offset(self, k: f32) -> Self {
        self.g.push(Op::Offset(F(k)), &[self])
    }

    /// `cap * tanh(x / cap)`, or nothing.
    #[track_caller]
    pub fn softcap(self, cap: Option<f32>) -> Self {
        cap.map_or(self, |cap| self.g.push(Op::Softcap(F(cap)), &[self]))
    }
}

impl std::ops::Add for T<'_> {
    type Output = Self;
    #[track_caller]
    fn add(self, other: Self) -> Self {
        self.binary(Binary::Add, other)
    }
}

impl std::ops::Mul for T<'_> {
    type Output = Self;
    #[track_caller]
    fn mul(self, other: Self) -> Self {
        self.binary(Binary::Mul, other)
    }
}
