//! Passes: a graph in, an equal graph out.

use crate::builder::{Builder, T};
use crate::graph::{Body, Graph, GraphError, Node, Value};
use crate::op::Op;
use std::sync::Arc;

/// Drops the nodes that nothing needs.
pub fn prune(graph: &Graph) -> Graph {
    map_bodies(graph, &|body| Ok(prune_body(body))).unwrap_or_else(|_| graph.clone())
}

/// Replaces every op for which `lacks` holds by its decomposition, until none is left that has one.
///
/// # Errors
/// When a decomposition does not fit its inputs, which is a mistake in its row.
pub fn decompose(graph: &Graph, lacks: impl Fn(&Op) -> bool) -> Result<Graph, GraphError> {
    map_bodies(graph, &|body| decompose_body(&graph.name, body, &lacks)).map(|g| prune(&g))
}

fn map_bodies(graph: &Graph, f: &dyn Fn(&Body) -> Result<Body, GraphError>) -> Result<Graph, GraphError> {
    let mut body = f(&graph.body)?;
    for node in &mut body.nodes {
        if let Op::Repeat { bodies, .. } = &mut node.op {
            for b in bodies {
                *b = Arc::new(f(b)?);
            }
        }
    }
    let encoder = graph.encoder.as_deref().map(|encoder| map_bodies(encoder, f)).transpose()?;
    Ok(Graph { name: graph.name.clone(), body, encoder: encoder.map(Box::new) })
}

fn prune_body(body: &Body) -> Body {
    let mut live = vec![false; body.nodes.len()];
    live[body.output.index()] = true;
    for (v, node) in body.iter().collect::<Vec<_>>().into_iter().rev() {
        // The carried value stays: it is what types the body. What is written stays: a later step may read it.
        live[v.index()] |= matches!(node.op, Op::Carry | Op::Write(_));
        if live[v.index()] {
            node.ins.iter().for_each(|i| live[i.index()] = true);
        }
    }
    let mut to = vec![Value::default(); body.nodes.len()];
    let mut nodes: Vec<Node> = Vec::new();
    for (v, node) in body.iter().filter(|(v, _)| live[v.index()]) {
        to[v.index()] = Value(nodes.len() as u32);
        nodes.push(Node { ins: node.ins.iter().map(|i| to[i.index()]).collect(), ..node.clone() });
    }
    Body { nodes, output: to[body.output.index()] }
}

fn decompose_body(name: &str, body: &Body, lacks: &impl Fn(&Op) -> bool) -> Result<Body, GraphError> {
    let b = Builder::new(name);
    let mut to: Vec<T> = Vec::with_capacity(body.nodes.len());
    for node in &body.nodes {
        let ins: Vec<T> = node.ins.iter().map(|v| to[v.index()]).collect();
        let t = match (&node.op, node.op.row().decompose) {
            (Op::Carry | Op::Weight { .. }, _) => b.source(node.op.clone(), node.ty.clone()),
            (op, Some(rule)) if lacks(op) => rule(op, &ins),
            (op, _) => b.push(op.clone(), &ins),
        };
        debug_assert_eq!(t.ty(), node.ty, "{}", node.op);
        to.push(node.name.as_ref().map_or(t, |n| t.named(n)));
    }
    let output = to[body.output.index()].value();
    Ok(b.finish(output)?.body)
}
