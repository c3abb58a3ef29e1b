//! The count reading: what a step costs, symbolic in tokens, rows of logits and visible context.

use crate::dim::Type;
use crate::graph::{Body, Graph};
use crate::op::{Op, elems};
use crate::poly::{At, Poly};
use std::collections::BTreeMap;

/// Cost of one kind of work over the whole model: a row of the table that `argand count` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CountRow {
    /// Name of the weight or op, without the layer.
    pub name: String,
    /// How many times it is done in a step.
    pub times: usize,
    /// Parameters of all layers together.
    pub params: usize,
    /// Bytes that these parameters take as they are stored.
    pub stored_bytes: usize,
    /// Bytes of them that a step reads if each look-up reads other rows, and each row of a step meets other experts.
    pub weight_bytes: Poly,
    /// Floating-point operations of all layers together, a multiply-add counted as two.
    pub flops: Poly,
    /// f32 activations read and written, bytes.
    pub activation_bytes: Poly,
    /// Elements of cached state read and written.
    pub state_elems: Poly,
}

/// The cost of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// One row for each weight or op name, in the order of first use.
    pub rows: Vec<CountRow>,
    /// Parameters; a tied table counts once.
    pub params: usize,
    /// Elements of state that one token adds to the cache, its memory's included.
    pub state_per_token: usize,
    /// The same of the encoder, which runs once for each sequence and not in a step.
    pub encoder: Option<Box<Count>>,
}

impl CountRow {
    /// Bytes of stored parameters that a step reads: at most all of them.
    pub fn read_bytes(&self, at: &At) -> f64 {
        self.weight_bytes.at(at).min(self.stored_bytes as f64)
    }
}

impl Count {
    /// Sum of a column.
    pub fn total(&self, column: impl Fn(&CountRow) -> &Poly) -> Poly {
        self.rows.iter().fold(Poly::default(), |mut acc, r| {
            acc += column(r);
            acc
        })
    }

    /// Bytes of stored parameters that a step reads.
    pub fn read_bytes(&self, at: &At) -> f64 {
        self.rows.iter().map(|r| r.read_bytes(at)).sum()
    }

    /// Bytes moved by a step when an element of state takes `state_bytes`: weights once, activations, state.
    pub fn bytes(&self, at: &At, state_bytes: f64) -> f64 {
        self.read_bytes(at)
            + self.total(|r| &r.activation_bytes).at(at)
            + self.total(|r| &r.state_elems).at(at) * state_bytes
    }
}

/// Counts a graph. `stored` says how many bytes a weight of that full name and number of elements takes; `f32` would be
/// `|_, n| 4 * n`.
pub fn count(graph: &Graph, stored: impl Fn(&str, usize) -> usize) -> Count {
    count_in(graph, &stored)
}

fn count_in(graph: &Graph, stored: &dyn Fn(&str, usize) -> usize) -> Count {
    let mut rows: Vec<CountRow> = Vec::new();
    let mut index = BTreeMap::new();
    for (prefix, body) in layers(graph) {
        for (v, node) in body.iter() {
            let ins: Vec<Type> = node.ins.iter().map(|v| body.node(*v).ty.clone()).collect();
            let cost = (node.op.row().cost)(&node.op, &ins, &node.ty);
            let weights = node.ins.iter().filter_map(|v| match &body.node(*v).op {
                Op::Weight { name } => {
                    let ty = &body.node(*v).ty;
                    let rows = ty.rows().and_then(|d| d.known()).unwrap_or(1).max(1);
                    Some((format!("{prefix}{name}"), elems(ty).constant() as usize, rows))
                }
                _ => None,
            });
            let weights: Vec<(String, usize, usize)> = weights.collect();
            if cost == Default::default() && weights.is_empty() {
                continue;
            }
            let name = node.name.clone().unwrap_or_else(|| named_by_user(body, v, &node.op));
            let at = *index.entry(name.clone()).or_insert(rows.len());
            if at == rows.len() {
                rows.push(CountRow { name, ..CountRow::default() });
            }
            let row = &mut rows[at];
            row.times += 1;
            row.flops += &cost.flops;
            row.activation_bytes += &cost.activation_bytes;
            row.state_elems += &cost.state_elems;
            for (weight, n, rows_of_table) in weights {
                row.params += n;
                let bytes = stored(&weight, n);
                row.stored_bytes += bytes;
                row.weight_bytes += &match (&cost.table_rows, n) {
                    (Some(read), 1..) => read.clone() * (bytes / rows_of_table),
                    _ => Poly::from(bytes),
                };
            }
        }
    }
    let params = graph.weights().iter().map(|w| w.shape.iter().product::<usize>()).sum();
    let state_per_token = graph.states().iter().map(|kv| kv.heads * (kv.dim_k + kv.dim_v)).sum();
    let encoder = graph.encoder.as_deref().map(|encoder| Box::new(count_in(encoder, stored)));
    Count { rows, params, state_per_token, encoder }
}

/// An unnamed op is told by its op name, and by what it is done to when that has a name.
fn named_by_user(body: &Body, v: crate::Value, op: &Op) -> String {
    let first = body.node(v).ins.iter().find_map(|i| body.node(*i).name.as_deref());
    match (op, first) {
        (Op::Attention(_), _) => "attention".into(),
        (Op::Write(_), _) => "cache write".into(),
        (_, _) => match (op.row().print)(op).split(',').next() {
            Some(f) if matches!(op, Op::Unary(_) | Op::Binary(_)) => f.to_string(),
            _ => op.row().name.to_string(),
        },
    }
}

/// Each node list with the prefix of its names, in execution order; a body once for each layer.
fn layers(graph: &Graph) -> Vec<(String, &Body)> {
    let mut all = vec![(String::new(), &graph.body)];
    for (prefix, bodies, order) in graph.repeats() {
        let each = order.iter().enumerate();
        all.extend(each.map(|(i, b)| (crate::layer_prefix(prefix, i), bodies[*b].as_ref())));
    }
    all
}

impl At {
    /// A step of `n` tokens of one sequence after `past` tokens, with logits of the last row.
    pub fn step(n: usize, past: usize) -> At {
        At { n, r: 1, b: 1, p: 0, s: past + n.div_ceil(2) }
    }
}
