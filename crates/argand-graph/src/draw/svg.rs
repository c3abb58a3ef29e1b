//! A layered picture (Sugiyama, Tagawa and Toda 1981): an op stands below everything it uses, edges that pass layers
//! keep a lane of their own, and crossings are reduced by ordering each layer by the mean place of its neighbours.

use super::{Drawn, body_title, drawn, parameters, part_title};
use crate::graph::{Body, Graph, Value};
use crate::op::Op;
use std::collections::HashMap;
use std::fmt::Write as _;

const CHAR: f32 = 6.7;
const LINE: f32 = 15.0;
const PAD: f32 = 8.0;
/// Between neighbours of a layer, and between layers.
const GAP: (f32, f32) = (22.0, 30.0);
/// Width of the lane of an edge that passes a layer.
const LANE: f32 = 10.0;
/// Room around the content of a frame, and for its title.
const FRAME: (f32, f32) = (16.0, 24.0);
/// How often layers are reordered.
const SWEEPS: usize = 8;

/// Something with a size, drawn at a place.
struct Item {
    width: f32,
    height: f32,
    what: What,
}

enum What {
    /// Lines of text; the first is bold.
    Op(Vec<String>),
    /// Bodies of a repetition with their titles, side by side.
    Frames(Vec<(String, Layout)>),
    /// An edge that passes.
    Lane,
}

/// A body laid out: items with the place of their upper left corner.
struct Layout {
    items: Vec<(Item, f32, f32)>,
    /// Items in the order in which each edge passes them.
    edges: Vec<Vec<usize>>,
    width: f32,
    height: f32,
}

pub(super) fn svg(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let (w, h) = (layout.width + 2.0 * FRAME.0, layout.height + 2.0 * FRAME.0 + FRAME.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"11\" fill=\"#1b1f24\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" \
         orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#57606a\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let title = format!("{}, {} parameters", graph.name, parameters(graph));
    text(&mut out, FRAME.0, FRAME.1, &title, true);
    layout.write(FRAME.0, FRAME.0 + FRAME.1, &mut out);
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, x: f32, y: f32, line: &str, bold: bool) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let line = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"{weight}>{line}</text>");
}

impl Item {
    fn lane() -> Self {
        Item { width: LANE, height: 0.0, what: What::Lane }
    }

    fn new(d: &Drawn, body: &Body) -> Self {
        let Op::Repeat { prefix, bodies, order } = &body.node(d.value).op else {
            let lines = [&d.name, &d.op].into_iter().chain(&d.reads).chain([&d.ty]).cloned().collect::<Vec<_>>();
            let longest = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
            let (width, height) = (longest as f32 * CHAR + 2.0 * PAD, lines.len() as f32 * LINE + PAD);
            return Item { width, height, what: What::Op(lines) };
        };
        let titles = (0..bodies.len()).map(|b| body_title(prefix, order, bodies.len(), b));
        Self::frames(titles.zip(bodies.iter().map(|b| Layout::new(b))).collect())
    }

    fn frames(frames: Vec<(String, Layout)>) -> Self {
        let width: f32 = frames.iter().map(|(_, l)| l.width + 2.0 * FRAME.0).sum();
        let height = frames.iter().map(|(_, l)| l.height).fold(0.0, f32::max) + FRAME.0 + FRAME.1;
        Item { width: width + GAP.0 * (frames.len() - 1) as f32, height, what: What::Frames(frames) }
    }
}

impl Layout {
    /// A model of one part is drawn bare, several stand side by side.
    fn of(graph: &Graph) -> Self {
        if graph.encoder.is_none() {
            return Layout::new(&graph.body);
        }
        let item = Item::frames(graph.parts().map(|part| (part_title(graph, part), Layout::new(&part.body))).collect());
        let (width, height) = (item.width, item.height);
        Layout { items: vec![(item, 0.0, 0.0)], edges: Vec::new(), width, height }
    }

    fn new(body: &Body) -> Self {
        let ops = drawn(body);
        let index: HashMap<Value, usize> = ops.iter().enumerate().map(|(i, d)| (d.value, i)).collect();
        let mut level = vec![0usize; ops.len()];
        for (i, d) in ops.iter().enumerate() {
            level[i] = d.ins.iter().map(|v| level[index[v]] + 1).max().unwrap_or(0);
        }
        let mut items: Vec<Item> = ops.iter().map(|d| Item::new(d, body)).collect();
        let mut layers: Vec<Vec<usize>> = vec![Vec::new(); level.iter().max().map_or(0, |l| l + 1)];
        level.iter().enumerate().for_each(|(i, l)| layers[*l].push(i));
        let mut edges = Vec::new();
        for (i, d) in ops.iter().enumerate() {
            for from in d.ins.iter().map(|v| index[v]) {
                let mut edge = vec![from];
                for passed in &mut layers[level[from] + 1..level[i]] {
                    edge.push(items.len());
                    passed.push(items.len());
                    items.push(Item::lane());
                }
                edge.push(i);
                edges.push(edge);
            }
        }
        order(&mut layers, &edges, items.len());
        place(items, &layers, edges)
    }

    fn write(&self, x0: f32, y0: f32, out: &mut String) {
        for edge in &self.edges {
            self.write_edge(edge, x0, y0, out);
        }
        for (item, x, y) in &self.items {
            let (x, y) = (x0 + x, y0 + y);
            match &item.what {
                What::Lane => {}
                What::Op(lines) => {
                    rect(out, x, y, item.width, item.height, "#f6f8fa", "#57606a");
                    for (i, line) in lines.iter().enumerate() {
                        text(out, x + PAD, y + LINE * (i as f32 + 1.0), line, i == 0);
                    }
                }
                What::Frames(frames) => {
                    let mut x = x;
                    for (title, layout) in frames {
                        let width = layout.width + 2.0 * FRAME.0;
                        rect(out, x, y, width, item.height, "#fff8e6", "#b58105");
                        text(out, x + PAD, y + LINE, title, true);
                        layout.write(x + FRAME.0, y + FRAME.1, out);
                        x += width + GAP.0;
                    }
                }
            }
        }
    }

    /// A curve from the lower edge of the first item through the lanes to the upper edge of the last.
    fn write_edge(&self, edge: &[usize], x0: f32, y0: f32, out: &mut String) {
        let middle = |i: usize| x0 + self.items[i].1 + self.items[i].0.width / 2.0;
        let (from, _, top) = &self.items[edge[0]];
        let (mut x, mut y) = (middle(edge[0]), y0 + top + from.height);
        let mut path = format!("M{x:.1},{y:.1}");
        for i in &edge[1..] {
            let (item, _, top) = &self.items[*i];
            let (nx, ny) = (middle(*i), y0 + top);
            let half = (y + ny) / 2.0;
            let _ = write!(path, " C{x:.1},{half:.1} {nx:.1},{half:.1} {nx:.1},{ny:.1}");
            (x, y) = (nx, ny + item.height);
            if matches!(item.what, What::Lane) {
                let _ = write!(path, " L{x:.1},{y:.1}");
            }
        }
        let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"#57606a\" marker-end=\"url(#tip)\"/>");
    }
}

fn rect(out: &mut String, x: f32, y: f32, w: f32, h: f32, fill: &str, stroke: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"5\" fill=\"{fill}\" stroke=\"{stroke}\"/>"
    );
}

/// Orders each layer by the mean place of what it is joined to, downwards and upwards in turn.
fn order(layers: &mut [Vec<usize>], edges: &[Vec<usize>], items: usize) {
    let (mut above, mut below) = (vec![Vec::new(); items], vec![Vec::new(); items]);
    for pair in edges.iter().flat_map(|e| e.windows(2)) {
        above[pair[1]].push(pair[0]);
        below[pair[0]].push(pair[1]);
    }
    let mut place = vec![0.0f32; items];
    let count = layers.len();
    for sweep in 0..SWEEPS {
        let near = if sweep % 2 == 0 { &above } else { &below };
        for step in 0..count {
            let layer = &mut layers[if sweep % 2 == 0 { step } else { count - 1 - step }];
            let mean = |i: &usize| match near[*i].as_slice() {
                [] => place[*i],
                all => all.iter().map(|n| place[*n]).sum::<f32>() / all.len() as f32,
            };
            let means: HashMap<usize, f32> = layer.iter().map(|i| (*i, mean(i))).collect();
            layer.sort_by(|a, b| means[a].total_cmp(&means[b]));
            let middle = (layer.len() as f32 - 1.0) / 2.0;
            layer.iter().enumerate().for_each(|(at, i)| place[*i] = at as f32 - middle);
        }
    }
}

/// Gives every item its place: layers below each other and centred, the items of a layer side by side.
fn place(items: Vec<Item>, layers: &[Vec<usize>], edges: Vec<Vec<usize>>) -> Layout {
    let row_width =
        |l: &Vec<usize>| l.iter().map(|i| items[*i].width).sum::<f32>() + GAP.0 * l.len().saturating_sub(1) as f32;
    let width = layers.iter().map(row_width).fold(0.0, f32::max);
    let mut places = vec![(0.0, 0.0); items.len()];
    let mut y = 0.0;
    for layer in layers {
        let height = layer.iter().map(|i| items[*i].height).fold(0.0, f32::max);
        let mut x = (width - row_width(layer)) / 2.0;
        for i in layer {
            // A lane is as high as its layer, so that edges pass it straight.
            let free = height - items[*i].height;
            places[*i] = (x, if matches!(items[*i].what, What::Lane) { y } else { y + free / 2.0 });
            x += items[*i].width + GAP.0;
        }
        y += height + GAP.1;
    }
    let heights: HashMap<usize, f32> = layers
        .iter()
        .flat_map(|l| {
            let height = l.iter().map(|i| items[*i].height).fold(0.0, f32::max);
            l.iter().map(move |i| (*i, height))
        })
        .collect();
    let placed = items.into_iter().zip(places).enumerate().map(|(i, (mut item, (x, y)))| {
        if matches!(item.what, What::Lane) {
            item.height = heights[&i];
        }
        (item, x, y)
    });
    Layout { items: placed.collect(), edges, width, height: (y - GAP.1).max(0.0) }
}
