//! The draw reading: a model as text, Graphviz DOT, SVG or JSON.
//!
//! A repetition is drawn once, with the number of its layers; weights and inputs of the step are drawn at the op that
//! uses them. Drawing never looks at weights' values and knows nothing of files.

mod svg;

use crate::graph::{Body, Graph, Value};
use crate::op::Op;
use std::fmt::Write as _;

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A tree for terminals.
    Text,
    /// A digraph for Graphviz.
    Dot,
    /// A picture for browsers.
    Svg,
    /// Every node, for programs.
    Json,
}

/// Draws a graph.
pub fn draw(graph: &Graph, format: Format) -> String {
    match format {
        Format::Text => text(graph),
        Format::Dot => dot(graph),
        Format::Svg => svg::svg(graph),
        Format::Json => json(graph),
    }
}

/// An op as it is drawn: sources are told as arguments.
struct Drawn {
    value: Value,
    /// Its name, or a number that is unique in the body.
    name: String,
    /// The op with its fields, without those of its inputs.
    op: String,
    /// Weights, inputs of the step and states that it reads.
    reads: Vec<String>,
    /// Drawn ops whose results it uses.
    ins: Vec<Value>,
    /// Type of the result.
    ty: String,
}

impl Drawn {
    /// `op x, y, weight [..]`
    fn call(&self, body: &Body) -> String {
        let ins = self.ins.iter().map(|v| name(body, *v));
        let args: Vec<String> = ins.chain(self.reads.iter().cloned()).collect();
        format!("{} {}", self.op, args.join(", ")).trim_end().to_string()
    }
}

/// Whether a node is told as an argument of its users.
fn is_source(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Given { .. } | Op::Weight { .. } | Op::State(_))
}

fn name(body: &Body, v: Value) -> String {
    match (&body.node(v).name, &body.node(v).op) {
        (Some(name), _) => name.clone(),
        (None, Op::Carry) => "x".into(),
        (None, Op::Repeat { prefix, .. }) => prefix.clone(),
        (None, _) => format!("%{}", v.index()),
    }
}

/// The drawn ops of a body, in execution order.
fn drawn(body: &Body) -> Vec<Drawn> {
    let ops = body.iter().filter(|(_, node)| !is_source(&node.op));
    let drawn = ops.map(|(value, node)| {
        let (sources, ins): (Vec<&Value>, Vec<&Value>) = node.ins.iter().partition(|v| is_source(&body.node(**v).op));
        let reads = sources.into_iter().map(|v| {
            let source = body.node(*v);
            match &source.op {
                Op::Weight { name } => format!("{name} {}", source.ty),
                Op::State(_) => source.op.to_string(),
                op => (op.row().print)(op),
            }
        });
        let op = match &node.op {
            // The state that is written has been said to be the argument; repeating its sizes says nothing.
            Op::Write(_) => "write".into(),
            Op::Unary(_) | Op::Binary(_) => (node.op.row().print)(&node.op),
            op => op.to_string(),
        };
        let (reads, ins) = (reads.collect(), ins.into_iter().copied().collect());
        Drawn { value, name: name(body, value), op, reads, ins, ty: node.ty.to_string() }
    });
    drawn.collect()
}

/// Parameters of all weights.
fn parameters(graph: &Graph) -> usize {
    graph.weights().iter().map(|w| w.shape.iter().product::<usize>()).sum()
}

/// The layers that a body stands for: `0-4, 6`.
fn layers_of(order: &[usize], body: usize) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for layer in (0..order.len()).filter(|l| order[*l] == body) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == layer => *end = layer,
            _ => ranges.push((layer, layer)),
        }
    }
    let range = |(a, b): &(usize, usize)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// `layers × 30`, and for one of several bodies which of them.
fn body_title(prefix: &str, order: &[usize], bodies: usize, body: usize) -> String {
    let times = order.iter().filter(|b| **b == body).count();
    match bodies {
        1 => format!("{prefix} ×{times}"),
        _ => format!("{prefix} {} ×{times}", layers_of(order, body)),
    }
}

/// When a part of a model runs.
fn part_title(graph: &Graph, part: &Graph) -> String {
    let when = if std::ptr::eq(graph, part) { "at every step" } else { "once for each sequence, writes the memory" };
    format!("{}, {when}", part.name)
}

fn text(graph: &Graph) -> String {
    let mut out = format!("{}: {} parameters\n", graph.name, parameters(graph));
    for part in graph.parts() {
        if graph.encoder.is_some() {
            let _ = writeln!(out, "{}", part_title(graph, part));
        }
        text_body(&part.body, "", &mut out);
    }
    out
}

fn text_body(body: &Body, indent: &str, out: &mut String) {
    let ops = drawn(body);
    let width = ops.iter().map(|d| d.name.chars().count()).max().unwrap_or(0);
    for (i, d) in ops.iter().enumerate() {
        let last = i + 1 == ops.len();
        let (branch, deeper) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        if let Op::Repeat { prefix, bodies, order } = &body.node(d.value).op {
            for (b, inner) in bodies.iter().enumerate() {
                let title = body_title(prefix, order, bodies.len(), b);
                let _ = writeln!(out, "{indent}{branch}{title}: x = {}", name(body, d.ins[0]));
                text_body(inner, &format!("{indent}{deeper}"), out);
            }
        } else if body.node(d.value).op != Op::Carry {
            let _ = writeln!(out, "{indent}{branch}{:width$} = {}: {}", d.name, d.call(body), d.ty);
        }
    }
}

/// Text in double quotes of DOT, lines joined.
fn quoted(lines: &[&str]) -> String {
    let escaped = lines.iter().filter(|l| !l.is_empty()).map(|l| l.replace('\\', "\\\\").replace('"', "\\\""));
    format!("\"{}\"", escaped.collect::<Vec<_>>().join("\\n"))
}

fn dot(graph: &Graph) -> String {
    let mut out =
        String::from("digraph model {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=monospace];\n");
    let _ = writeln!(out, "  label={};\n  labelloc=t;", quoted(&[&graph.name]));
    if let Some(encoder) = &graph.encoder {
        let title = quoted(&[&part_title(graph, encoder)]);
        let _ = writeln!(out, "  subgraph cluster_e {{\n    label={title};");
        dot_body(&encoder.body, "e", "    ", &mut out);
        out.push_str("  }\n");
    }
    dot_body(&graph.body, "m", "  ", &mut out);
    out.push_str("}\n");
    out
}

/// The ids of nodes that give a value to others: for a repetition, the results of its bodies.
fn dot_ends(body: &Body, v: Value, path: &str) -> Vec<String> {
    match &body.node(v).op {
        Op::Repeat { bodies, .. } => bodies
            .iter()
            .enumerate()
            .map(|(b, inner)| format!("{path}_{}_{b}_{}", v.index(), inner.output.index()))
            .collect(),
        _ => vec![format!("{path}_{}", v.index())],
    }
}

fn dot_body(body: &Body, path: &str, indent: &str, out: &mut String) {
    for d in drawn(body) {
        let id = format!("{path}_{}", d.value.index());
        let mut heads = vec![id.clone()];
        if let Op::Repeat { prefix, bodies, order } = &body.node(d.value).op {
            heads.clear();
            for (b, inner) in bodies.iter().enumerate() {
                let inner_path = format!("{id}_{b}");
                let title = body_title(prefix, order, bodies.len(), b);
                let _ =
                    writeln!(out, "{indent}subgraph cluster_{inner_path} {{\n{indent}  label={};", quoted(&[&title]));
                dot_body(inner, &inner_path, &format!("{indent}  "), out);
                let _ = writeln!(out, "{indent}}}");
                let carry = inner.iter().find(|(_, n)| n.op == Op::Carry).map(|(v, _)| v.index());
                heads.extend(carry.map(|c| format!("{inner_path}_{c}")));
            }
        } else {
            let label = quoted(&[&d.name, &d.op, &d.reads.join(", "), &d.ty]);
            let _ = writeln!(out, "{indent}{id} [label={label}];");
        }
        for from in d.ins.iter().flat_map(|v| dot_ends(body, *v, path)) {
            heads.iter().for_each(|to| {
                let _ = writeln!(out, "{indent}{from} -> {to};");
            });
        }
    }
}

fn json(graph: &Graph) -> String {
    let mut value = serde_json::json!({
        "name": graph.name,
        "parameters": parameters(graph),
        "body": json_body(&graph.body),
    });
    if let Some(encoder) = &graph.encoder {
        value["encoder"] = serde_json::json!({ "name": encoder.name, "body": json_body(&encoder.body) });
    }
    format!("{value:#}\n")
}

fn json_body(body: &Body) -> serde_json::Value {
    let nodes = body.iter().map(|(v, node)| {
        let mut json = serde_json::json!({
            "id": v.index(),
            "name": node.name,
            "op": node.op.row().name,
            "fields": (node.op.row().print)(&node.op),
            "inputs": node.ins.iter().map(|i| i.index()).collect::<Vec<_>>(),
            "type": node.ty.to_string(),
        });
        if let Op::Repeat { prefix, bodies, order } = &node.op {
            json["prefix"] = prefix.as_str().into();
            json["order"] = order.as_slice().into();
            json["bodies"] = bodies.iter().map(|b| json_body(b)).collect();
        }
        json
    });
    serde_json::json!({ "nodes": nodes.collect::<Vec<_>>(), "output": body.output.index() })
}
