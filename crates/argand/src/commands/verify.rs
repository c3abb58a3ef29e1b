//! `argand verify`: the ladder of ways to run a model, each compared with the plainest.

use crate::args::{ConfigArgs, ThreadArgs};
use crate::opened::Opened;
use crate::{interrupt, models, ui};
use anyhow::{Result, bail};
use argand::LoadOptions;
use argand_cpu::tier::Tier;
use argand_cpu::{Batch, Memory, Seq};
use argand_engine::Runner;
use argand_graph::Op;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Check that every way to run a model gives the same values
///
/// The reference runs every op decomposed and by itself in plain scalar f32. Each rung of the ladder (whole ops, fused
/// plan, every instruction tier of this processor, integer products) must agree with it at every named value. Integer
/// products round their inputs, so only the scalar ones are compared with the reference, and the other tiers with those.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand verify smollm2
  argand verify model.gguf --tokens 64 --json")]
pub struct Verify {
    /// Model: a catalogue name, a path, or OWNER/NAME of the hub
    model: String,
    /// Tokens of the prompt, enough to average the rounding of single rows; a step for one more token follows
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(8..=512))]
    tokens: u32,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// A way to run the model.
#[derive(Clone, Copy, Debug)]
struct Rung {
    plan: Plan,
    tier: Tier,
    exact: bool,
}

/// What the calls of a way are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    /// One for each op, the ops in their simplest terms.
    Decomposed,
    /// One for each op.
    Naive,
    /// Several ops each.
    Fused,
}

impl Rung {
    fn name(self) -> String {
        let plan = match self.plan {
            Plan::Decomposed => "decomposed plan",
            Plan::Naive => "naive plan",
            Plan::Fused => "fused plan",
        };
        let products = if self.exact { "f32 products" } else { "integer products" };
        format!("{plan}, {}, {products}", self.tier)
    }

    /// What it is compared with and how far it may be from that.
    fn kin(self) -> Kin {
        match (self.exact, self.tier) {
            (true, _) => Kin::Exact,
            (false, Tier::Scalar) => Kin::Rounded,
            (false, _) => Kin::SameIntegers,
        }
    }
}

/// How a rung is related to what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kin {
    /// With the reference: the same sums in f32, in another order.
    Exact,
    /// With the reference: inputs of products are rounded to bytes.
    Rounded,
    /// With scalar integer products: the same bytes, but f32 sums in another order.
    SameIntegers,
}

/// A named value of one step.
struct Named {
    name: String,
    values: Vec<f32>,
}

/// How far a rung is from the reference.
struct Outcome {
    rung: Rung,
    compared: usize,
    /// Largest relative difference and where it is.
    most: (f64, String),
    /// The first value beyond its tolerance, with difference and tolerance.
    first_wrong: Option<(String, f64, f64)>,
}

impl Verify {
    pub fn run(self) -> Result<()> {
        let path = models::ready(&self.model)?.path;
        let config = self.config.read()?;
        let opened = Opened::at(&path, config.as_ref())?;
        let model = opened.model(None)?;
        // Pictures in a prompt may be missing; what else is given beside tokens may not.
        let given = |op: &Op| matches!(op, Op::Given { name, .. } if name != "pictures");
        let reads = model.graph.body.iter().any(|(_, node)| matches!(node.op, Op::Embed { .. }));
        if !reads || model.graph.body.iter().any(|(_, node)| given(&node.op)) {
            bail!(
                "{} is {}, which does not read texts alone; verify runs a text, and checks models that do",
                path.display(),
                model.page.name
            );
        }
        let reference_rung = Rung { plan: Plan::Decomposed, tier: Tier::Scalar, exact: true };
        let naive = Rung { plan: Plan::Naive, ..reference_rung };
        let threads = self.threads.count();
        let reference = self.observe(&path, config.as_ref(), reference_rung, threads)?;
        let tiers: Vec<Tier> = Tier::supported().collect();
        let exact = tiers.iter().map(|tier| Rung { plan: Plan::Fused, tier: *tier, exact: true });
        let integer = tiers.iter().map(|tier| Rung { plan: Plan::Fused, tier: *tier, exact: false });
        if !self.json {
            ui::out(&format!("reference: {}, {} named values\n", reference_rung.name(), reference.len()))?;
        }
        let mut outcomes = Vec::new();
        let mut integers: Option<Vec<Named>> = None;
        for rung in std::iter::once(naive).chain(exact).chain(integer) {
            interrupt::check()?;
            let found = self.observe(&path, config.as_ref(), rung, threads)?;
            let outcome = match &integers {
                Some(integers) if rung.kin() == Kin::SameIntegers => compare(rung, integers, &found),
                _ => compare(rung, &reference, &found),
            };
            if rung.kin() == Kin::Rounded {
                integers = Some(found);
            }
            if !self.json {
                ui::out(&line(&outcome))?;
            }
            outcomes.push(outcome);
        }
        if self.json {
            ui::out_json(&outcomes.iter().map(as_json).collect())?;
        }
        let wrong = outcomes.iter().filter(|o| o.first_wrong.is_some()).count();
        if wrong > 0 {
            bail!(
                "{wrong} of {} rungs differ from the reference; run it again with another --tokens: what differs every time at \
                 the same value is a fault of that rung, and `--tier` of other commands avoids it",
                outcomes.len()
            );
        }
        Ok(())
    }

    /// Every named value of a prompt and of one more token, in execution order.
    fn observe(&self, path: &Path, config: Option<&Value>, rung: Rung, threads: usize) -> Result<Vec<Named>> {
        let tokens = self.tokens as usize;
        let options = LoadOptions {
            tier: Some(rung.tier),
            threads: Some(threads),
            exact: rung.exact,
            fused: rung.plan == Plan::Fused,
            decomposed: rung.plan == Plan::Decomposed,
            context: Some(tokens + 1),
            config: config.cloned(),
            ..LoadOptions::default()
        };
        let mut runner = models::load_runner(path, &options)?;
        let limits = runner.limits();
        let each = limits.pages_for(tokens + 1) as u32;
        let [pages, read] = [0, each].map(|first| (first..first + each).collect::<Vec<u32>>());
        let all: Vec<u32> = (0..=tokens).map(|i| ((i * 7919 + 1) % limits.vocab) as u32).collect();
        let mut named = Vec::new();
        let memory = Memory { tokens: if limits.source > 0 { tokens } else { 0 }, pages: &read };
        if memory.tokens > 0 {
            let positions: Vec<u32> = (0..tokens as u32).collect();
            let seqs = [Seq { rows: 0..tokens, past: 0, pages: &read }];
            let batch = Batch { tokens: &all[..tokens], positions: &positions, seqs: &seqs, ..Batch::default() };
            let mut observer = |name: &str, values: &[f32], _: usize| {
                named.push(Named { name: format!("text: {name}"), values: values.to_vec() });
            };
            runner.executor_mut().encode(&batch, Some(&mut observer))?;
        }
        for (step, range) in [0..tokens, tokens..tokens + 1].into_iter().enumerate() {
            let positions: Vec<u32> = range.clone().map(|p| p as u32).collect();
            let seqs = [Seq { rows: 0..range.len(), past: range.start, pages: &pages }];
            let last = [range.len() as u32 - 1];
            let batch = Batch {
                tokens: &all[range.clone()],
                positions: &positions,
                seqs: &seqs,
                memories: &[memory],
                logit_rows: &last,
                ..Batch::default()
            };
            let what = if step == 0 { "prompt" } else { "next token" };
            let mut observer = |name: &str, values: &[f32], _: usize| {
                named.push(Named { name: format!("{what}: {name}"), values: values.to_vec() });
            };
            let logits = runner.executor_mut().observed_step(&batch, Some(&mut observer))?.to_vec();
            named.push(Named { name: format!("{what}: logits"), values: logits });
        }
        Ok(named)
    }
}

/// `|a - b| / |b|` in the Euclidean norm.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(f64::from(*a), f64::from(*b))).sum::<f64>();
    let (difference, norm) = (sum(&|a, b| (a - b).powi(2)).sqrt(), sum(&|_, b| b * b).sqrt());
    if a.len() != b.len() || !difference.is_finite() { f64::INFINITY } else { difference / norm.max(f64::MIN_POSITIVE) }
}

/// What the `depth`-th value may differ: roundings of one value add up like a random walk over those before it.
///
/// - [`Kin::Exact`]: keys and values are cached as half floats. Where an f32 difference flips such a rounding, the element
///   moves by `2^-11`; that happens to few elements, so their norm moves by a fraction of it.
/// - [`Kin::Rounded`]: products round inputs to 127 levels of the largest of 32 values, which is about 2.5 times their
///   root mean square: errors of a level over the root of 12, times 4 for rows with outliers. Values that have nothing to
///   do with each other differ by about the root of 2 of their norm, and one that is all zero by 1; both are wrong at any
///   depth, so half of the norm is the most.
/// - [`Kin::SameIntegers`]: an f32 difference flips the rounding of few inputs, each by a whole level; like the half
///   floats, by a fraction of it. When so many have flipped that two tiers are as good as rounded independently, they
///   differ by the root of 2 of one rounding error and stay there, as the residual stream carries most of a value
///   unrounded; the most is a fourth of the norm.
fn tolerance(kin: Kin, depth: usize) -> f64 {
    let level = 2.5 / 127.0;
    let (step, most) = match kin {
        Kin::Exact => (0.25 * 2f64.powi(-11), f64::INFINITY),
        Kin::Rounded => (4.0 * level / 12f64.sqrt(), 0.5),
        Kin::SameIntegers => (0.25 * level, 0.25),
    };
    (step * (depth as f64).sqrt()).min(most)
}

fn compare(rung: Rung, reference: &[Named], found: &[Named]) -> Outcome {
    let index: HashMap<&str, usize> = reference.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let mut outcome = Outcome { rung, compared: 0, most: (0.0, String::new()), first_wrong: None };
    for value in found {
        let Some(depth) = index.get(value.name.as_str()) else { continue };
        outcome.compared += 1;
        let difference = relative(&value.values, &reference[*depth].values);
        if difference > outcome.most.0 {
            outcome.most = (difference, value.name.clone());
        }
        let allowed = tolerance(rung.kin(), depth + 1);
        if difference > allowed && outcome.first_wrong.is_none() {
            outcome.first_wrong = Some((value.name.clone(), difference, allowed));
        }
    }
    outcome
}

fn line(o: &Outcome) -> String {
    let verdict = match &o.first_wrong {
        None if o.most.0 == 0.0 => format!("the same at all {} values", o.compared),
        None => format!("agrees at {} values; largest difference {:.1e} at {}", o.compared, o.most.0, o.most.1),
        Some((name, found, allowed)) => {
            format!(
                "DIFFERS first at {name}: {found:.1e} where {allowed:.1e} is allowed; largest {:.1e} at {}",
                o.most.0, o.most.1
            )
        }
    };
    format!("{:<44}{verdict}\n", o.rung.name())
}

fn as_json(o: &Outcome) -> serde_json::Value {
    json!({
        "rung": o.rung.name(), "compared": o.compared, "largest_difference": o.most.0, "at": o.most.1,
        "first_wrong": o.first_wrong.as_ref().map(|(name, found, allowed)| json!({
            "name": name, "difference": found, "allowed": allowed,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_found_and_the_first_is_named() {
        let named = |name: &str, values: &[f32]| Named { name: name.into(), values: values.to_vec() };
        let reference = [named("a", &[1.0, 2.0]), named("b", &[3.0]), named("c", &[4.0])];
        let rung = Rung { plan: Plan::Fused, tier: Tier::Scalar, exact: true };
        let good = compare(rung, &reference, &[named("a", &[1.0, 2.0]), named("c", &[4.000_001])]);
        assert!(good.first_wrong.is_none() && good.compared == 2);
        let bad = compare(rung, &reference, &[named("a", &[1.0, 2.0]), named("b", &[3.1]), named("c", &[f32::NAN])]);
        assert_eq!(bad.first_wrong.map(|w| w.0), Some("b".into()));
        assert_eq!(bad.most.1, "c");
    }

    #[test]
    fn a_late_value_of_integer_products_can_be_wrong() {
        let step = |i: usize, x: f32| Named { name: i.to_string(), values: vec![1.0, x] };
        let reference: Vec<Named> = (0..5000).map(|i| step(i, 1.0)).collect();
        for (tier, good, bad) in [(Tier::Scalar, 1.5, -1.0), (Tier::Scalar16, 1.2, 1.5)] {
            let rung = Rung { plan: Plan::Fused, tier, exact: false };
            assert!(compare(rung, &reference, &[step(4999, good)]).first_wrong.is_none());
            assert!(compare(rung, &reference, &[step(4999, bad)]).first_wrong.is_some());
            assert!(compare(rung, &reference, &[step(0, good)]).first_wrong.is_some(), "early values are held tighter");
        }
    }
}
