//! Pictures or sequences per second of a network to which everything is given by name.

use super::Bench;
use super::encoder::Shape;
use super::items::{self, Unit};
use anyhow::{Context, Result, bail};
use argand::machine::Machine;
use argand_cpu::ceilings;
use argand_cpu::tier::Tier;
use argand_engine::{Input, Network};
use argand_graph::{At, Graph, Op, Sym};
use argand_models::Model;
use argand_weights::Checkpoint;
use std::path::Path;
use std::sync::Arc;

const PICTURES: Unit = Unit { kind: "pic", one: "picture", many: "pictures" };
const SEQUENCES: Unit = Unit { kind: "seq", one: "sequence", many: "sequences" };

/// Whether a graph is one of those: it reads no tokens, and nothing is kept between steps.
pub fn given(graph: &Graph) -> bool {
    let any = |f: fn(&Op) -> bool| graph.body.iter().any(|(_, node)| f(&node.op));
    let tokens = any(|op| matches!(op, Op::Input(_)));
    any(|op| matches!(op, Op::Given { .. })) && graph.states().is_empty() && !tokens
}

/// Names of what is given, with the rows of a run and the values in one.
fn wanted(graph: &Graph, at: At) -> Vec<(String, usize)> {
    let sym = |sym| match sym {
        Sym::N => at.n,
        Sym::B => at.b,
        _ => 0,
    };
    let one = |op: &Op| match op {
        Op::Given { name, rows, len } => Some((name.clone(), rows.eval(&sym) * len)),
        _ => None,
    };
    graph.body.iter().filter_map(|(_, node)| one(&node.op)).collect()
}

/// Measures every test, and writes it.
pub fn run(bench: &Bench, path: &Path) -> Result<()> {
    let mut options = bench.load.options()?.load;
    options.threads = options.threads.or_else(|| Some(Machine::read().threads().count));
    let checkpoint = Arc::new(options.open(path)?);
    let mut model = Model::open(&checkpoint, None)?;
    if let Some(size) = picture_size(&checkpoint, &model) {
        model = Model::for_pictures(&checkpoint, size)?;
    }
    let rows_are_frames = model.graph.body.iter().any(|(_, node)| node.ty.rows() == Some(Sym::N.into()));
    let (unit, tests) = match rows_are_frames {
        true => (SEQUENCES, bench.seq.clone()),
        false => (PICTURES, bench.pic.iter().map(|count| Shape { rows: 0, count: *count }).collect()),
    };
    if tests.is_empty() {
        bail!("there is nothing to measure");
    }
    options.max_rows = tests.iter().map(|test| test.rows * test.count).max().unwrap_or(0).max(1);
    let mut network = Network::load(&checkpoint, &model, &model.graph, &options, &mut |_| {})?;
    let counted = argand_graph::count(&model.graph, |_, elements| elements * size_of::<f32>());
    let peak = match bench.plain {
        true => None,
        false => {
            let tier = options.tier.map_or_else(Tier::from_env_or_detect, Ok)?;
            let threads = options.threads.context("the number of threads")?;
            Some(match options.quantize.is_some() && !options.exact {
                true => ceilings::integer_peak(tier, threads)?,
                false => ceilings::f32_peak(tier, threads)?,
            })
        }
    };
    let mut all = Vec::new();
    for test in tests {
        let at = At { n: test.rows * test.count, r: 0, b: test.count, p: 0, s: 0 };
        // Ordinary numbers in no order, from -1 to 1.
        let value = |i: usize| (i.wrapping_mul(2_654_435_761) % 8191) as f32 / 4095.0 - 1.0;
        let values: Vec<(String, Vec<f32>)> =
            wanted(&model.graph, at).into_iter().map(|(name, n)| (name, (0..n).map(value).collect())).collect();
        let given: Vec<(&str, &[f32])> = values.iter().map(|(name, v)| (name.as_str(), v.as_slice())).collect();
        let rows = vec![test.rows; test.count];
        let name = match unit.kind {
            "pic" => format!("pic{}", test.count),
            kind => test.name(kind),
        };
        let once = || network.run(&rows, &Input { given: &given, ..Input::default() }, None).map(drop);
        let mut one = items::measure(bench, unit, name, test.count, once)?;
        let flops = counted.total(|row| &row.flops).at(&at) / test.count as f64;
        one.reached = peak.map(|peak| one.median() * flops / peak);
        all.push(one);
    }
    if bench.plain { Ok(()) } else { items::tell(bench, unit, &all) }
}

/// The size of the pictures that a processor makes for a model, if it looks at any and has one.
fn picture_size(checkpoint: &Checkpoint, model: &Model<'_>) -> Option<[usize; 2]> {
    argand_engine::sees(&model.graph).then(|| argand::processor(checkpoint).ok()?.size())?
}
