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

    /// What the layer keeps or reads: at most one state of its own and one of a memory.
    pub fn states(&self) -> impl Iterator<Item = &KvSpec> {
        self.nodes.iter().filter_map(|n| match &n.op {
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
    /// What reads a text whole, once for each sequence, and writes the memory that this graph recalls at every step (Vaswani et
    /// al. 2017).
    pub encoder: Option<Box<Graph>>,
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

    /// The same graph over the memory that `encoder` writes.
    pub fn with_encoder(self, encoder: Graph) -> Graph {
        Graph { encoder: Some(Box::new(encoder)), ..self }
    }

    /// The graphs of the model in the order in which they run: the encoder if there is one, and this one.
    pub fn parts(&self) -> impl Iterator<Item = &Graph> {
        self.encoder.as_deref().into_iter().chain([self])
    }

    /// What each layer keeps or reads per token, in layer order; of the encoder only the memory stays.
    pub fn states(&self) -> Vec<KvSpec> {
        let of_layer = |body: &Arc<Body>| body.states().copied().collect::<Vec<_>>();
        self.repeats().flat_map(|(_, bodies, order)| order.iter().flat_map(|b| of_layer(&bodies[*b]))).collect()
    }

    /// The states of a memory that layers write or recall, in layer order.
    pub fn memory(&self) -> Vec<KvSpec> {
        self.states().into_iter().filter(|kv| kv.memory).collect()
    }

    /// Every weight of all parts, once, in the order of first use.
    pub fn weights(&self) -> Vec<WeightRef> {
        let mut seen = HashSet::new();
        let all = self.parts().flat_map(Graph::own_weights);
        all.filter(|weight| seen.insert(weight.name.clone())).collect()
    }

    fn own_weights(&self) -> Vec<WeightRef> {
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
