//! The graph: an arena of plain nodes.

use crate::dim::Type;
use crate::op::{KvSpec, Op};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A node's output, valid in the node list that it was made in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    /// The position of the node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An op, its inputs and what comes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Outputs of earlier nodes.
    pub ins: Vec<Value>,
    /// Type of the output.
    pub ty: Type,
    /// Name of the output, unique in its node list; a body's names are prefixed with the layer.
    pub name: Option<String>,
}

/// A node list with one output: what a layer does.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Nodes in execution order.
    pub nodes: Vec<Node>,
    /// The output of the layer.
    pub output: Value,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.output == other.output && self.nodes == other.nodes
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.hash(state);
        self.output.hash(state);
    }
}

impl Body {
    /// The node of a value.
    pub fn node(&self, v: Value) -> &Node {
        &self.nodes[v.index()]
    }

    /// Every value with its node, in execution order.
    pub fn iter(&self) -> impl Iterator<Item = (Value, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (Value(i as u32), n))
    }

    /// The state of the layer, if it keeps one.
    pub fn state(&self) -> Option<&KvSpec> {
        self.nodes.iter().find_map(|n| match &n.op {
            Op::State(kv) => Some(kv),
            _ => None,
        })
    }
}

/// A whole model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    /// Name of the architecture.
    pub name: String,
    /// The nodes outside of all layers; its output is the logits.
    pub body: Body,
}

/// A weight that a graph reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightRef {
    /// Canonical name with the layer, such as `layers.3.attn_q`.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
}

impl Graph {
    /// The repetitions, in order.
    pub fn repeats(&self) -> impl Iterator<Item = (&str, &[Arc<Body>], &[usize])> {
        self.body.nodes.iter().filter_map(|n| match &n.op {
            Op::Repeat { prefix, bodies, order } => Some((prefix.as_str(), bodies.as_slice(), order.as_slice())),
            _ => None,
        })
    }

    /// What each layer keeps per token, in layer order.
    pub fn states(&self) -> Vec<KvSpec> {
        self.repeats().flat_map(|(_, bodies, order)| order.iter().filter_map(|b| bodies[*b].state().copied())).collect()
    }

    /// Every weight, once, in the order of first use.
    pub fn weights(&self) -> Vec<WeightRef> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        let mut push = |node: &Node, prefix: &str| {
            if let Op::Weight { name } = &node.op {
                let shape = node.ty.shape().iter().filter_map(|d| d.known()).collect();
                let weight = WeightRef { name: format!("{prefix}{name}"), shape };
                if seen.insert(weight.name.clone()) {
                    all.push(weight);
                }
            }
        };
        for node in &self.body.nodes {
            if let Op::Repeat { prefix, bodies, order } = &node.op {
                for (layer, body) in order.iter().enumerate() {
                    bodies[*body].nodes.iter().for_each(|n| push(n, &layer_prefix(prefix, layer)));
                }
            }
            push(node, "");
        }
        all
    }
}

/// The prefix of names in a layer, such as `layers.3.`.
pub fn layer_prefix(prefix: &str, layer: usize) -> String {
    format!("{prefix}.{layer}.")
}

/// What is wrong with a graph, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{graph}: {path}: {op}: {reason} (in {file}:{line})")]
pub struct GraphError {
    /// Name of the graph.
    pub graph: String,
    /// Where in the model, such as `layers, body 0`.
    pub path: String,
    /// The op that was asked for.
    pub op: String,
    /// What is wrong.
    pub reason: String,
    /// Source file of the model page.
    pub file: &'static str,
    /// Line of the model page.
    pub line: u32,
}
