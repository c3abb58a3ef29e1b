//! Speeds of models that take what they look at whole: so many items a second.

use super::Bench;
use crate::{interrupt, ui};
use anyhow::{Context, Error, Result};
use serde_json::json;
use std::time::Instant;

/// What is counted.
#[derive(Clone, Copy)]
pub struct Unit {
    /// First word of a plain line.
    pub kind: &'static str,
    pub one: &'static str,
    pub many: &'static str,
}

/// Speeds of one test.
pub struct Items {
    pub name: String,
    /// Items per second, ascending.
    rates: Vec<f64>,
    /// The fraction of the arithmetic peak, where it is known.
    pub reached: Option<f64>,
}

impl Items {
    pub fn median(&self) -> f64 {
        super::median(&self.rates)
    }
}

/// Measures a test of `count` items, and writes its plain line.
pub fn measure<E: Into<Error>>(
    bench: &Bench,
    unit: Unit,
    name: String,
    count: usize,
    mut once: impl FnMut() -> Result<(), E>,
) -> Result<Items> {
    let bar = ui::status(&name);
    let mut rates = Vec::new();
    for rep in 0..=bench.reps {
        interrupt::check()?;
        let start = Instant::now();
        once().map_err(Into::into).context("a step of the test failed")?;
        // The first one warms caches, memory and clock.
        if rep > 0 {
            rates.push(count as f64 / start.elapsed().as_secs_f64());
        }
    }
    bar.finish_and_clear();
    rates.sort_by(f64::total_cmp);
    let items = Items { name, rates, reached: None };
    if bench.plain {
        ui::out(&format!("{} {:.2} {}\n", unit.kind, items.median(), items.name))?;
    }
    Ok(items)
}

/// Writes the report of all tests.
pub fn tell(bench: &Bench, unit: Unit, all: &[Items]) -> Result<()> {
    if bench.json {
        let rate = format!("{}_per_s", unit.many);
        let one = |i: &Items| {
            let mut told = json!({ "test": i.name, &rate: i.median(), "samples": i.rates });
            i.reached.inspect(|reached| told["reached"] = (*reached).into());
            told
        };
        return Ok(ui::out_json(&json!({ "tests": all.iter().map(one).collect::<Vec<_>>() }))?);
    }
    let row = |i: &Items| {
        let reached = i.reached.map(|r| format!("{:.0} % of arithmetic", r * 100.0));
        let told = [i.name.clone(), format!("{:.1}", i.median()), format!("{:.2}", 1e3 / i.median())];
        told.into_iter().chain(reached).collect()
    };
    let (rate, time) = (format!("{}/s", unit.many), format!("ms per {}", unit.one));
    let mut head = vec!["test", &rate, &time];
    head.extend(all.iter().any(|i| i.reached.is_some()).then_some("reached"));
    Ok(ui::out(&ui::table(&head, &all.iter().map(row).collect::<Vec<_>>()))?)
}
