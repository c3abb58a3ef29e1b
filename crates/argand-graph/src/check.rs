//! The rules of the IR as code: every pass must leave a graph that passes.

use crate::graph::{Body, Graph, Node};
use crate::op::Op;
use std::collections::HashSet;

/// Checks a graph and all bodies.
///
/// # Errors
/// The first rule that does not hold, with its place.
pub fn check(graph: &Graph) -> Result<(), String> {
    list(&graph.body).map_err(|e| format!("{}: {e}", graph.name))?;
    for (prefix, bodies, order) in graph.repeats() {
        if order.iter().any(|b| *b >= bodies.len()) {
            return Err(format!("{prefix}: a layer names a body that is not there"));
        }
        for (i, body) in bodies.iter().enumerate() {
            list(body).map_err(|e| format!("{prefix}, body {i}: {e}"))?;
            let carry = body.nodes.iter().find(|n| n.op == Op::Carry).map(|n| &n.ty);
            if carry != Some(&body.node(body.output).ty) {
                return Err(format!("{prefix}, body {i}: comes in as {carry:?}, goes out as another type"));
            }
        }
    }
    Ok(())
}

fn list(body: &Body) -> Result<(), String> {
    let mut names = HashSet::new();
    for (v, node) in body.iter() {
        let fail = |why: String| Err(format!("node {} ({}): {why}", v.index(), node.op));
        if node.ins.iter().any(|i| *i >= v) {
            return fail("an input is not an earlier node".into());
        }
        if let Some(name) = &node.name
            && !names.insert(name)
        {
            return fail(format!("the name {name} is taken"));
        }
        if let Err(why) = agrees(node, body) {
            return fail(why);
        }
    }
    match body.output.index() < body.nodes.len() {
        true => Ok(()),
        false => Err("the output is not a node".into()),
    }
}

/// A node's stored type is what its row computes; sources are typed by the builder.
fn agrees(node: &Node, body: &Body) -> Result<(), String> {
    if matches!(node.op, Op::Carry | Op::Weight { .. }) {
        return Ok(());
    }
    let types: Vec<_> = node.ins.iter().map(|v| body.node(*v).ty.clone()).collect();
    let ty = (node.op.row().shape)(&node.op, &types)?;
    if ty == node.ty { Ok(()) } else { Err(format!("typed {} but its row says {ty}", node.ty)) }
}
