//! The rules of the IR as code: every pass must leave a graph that passes.

use crate::graph::{Body, Graph, Node};
use crate::op::Op;
use std::collections::HashSet;

/// Checks a graph and all bodies.
///
/// # Errors
/// The first rule that does not hold, with its place.
pub fn check(graph: &Graph) -> Result<(), String> {
    if let Some(encoder) = &graph.encoder {
        check(encoder)?;
        let (written, recalled) = (encoder.memory(), graph.memory());
        if written != recalled {
            let [written, recalled] = [written, recalled].map(|all| all.len());
            return Err(format!(
                "{}: {recalled} layers recall a memory that the encoder writes otherwise, for {written}",
                graph.name
            ));
        }
    } else if recalls(graph) {
        return Err(format!("{}: a layer recalls a memory, and no encoder writes one", graph.name));
    }
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

/// Whether a layer attends to a memory.
pub fn recalls(graph: &Graph) -> bool {
    let memory = |node: &Node| matches!(&node.op, Op::Attention(spec) if spec.kv.memory);
    graph.repeats().any(|(_, bodies, _)| bodies.iter().any(|body| body.nodes.iter().any(memory)))
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
