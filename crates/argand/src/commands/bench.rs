//! `argand bench`: how fast a model runs, and how close that is to this machine's limits.

use crate::args::LoadArgs;
use crate::measure::Opened;
use crate::ui::{self, human_bytes, human_count};
use crate::{interrupt, models};
use anyhow::{Context, Result};
use argand::machine::Machine;
use argand_cpu::ceilings::{self, Pages};
use argand_engine::{CpuRunner, Limits, Runner, SeqRows, StepBatch};
use argand_graph::{At, Count};
use serde_json::json;
use std::time::Instant;

/// Measure speed, and how close it comes to this machine's limits
#[derive(clap::Args)]
#[command(
    after_help = "Tests are named as in llama-bench: pp512 is a prompt of 512 tokens, tg128 generates 128 tokens one by one,
tg128x8 does so for 8 sequences together (their tokens are added up). Each is run once to warm up, then --reps times.

Examples:
  argand bench smollm2
  argand bench model.gguf --pp 128,512 --tg 64 --batch 1,8,32 --reps 3
  argand bench model.gguf --plain | awk '/^tg/ {print $2}'"
)]
pub struct Bench {
    /// Model: a catalogue name, a path, or OWNER/NAME of the hub
    model: String,
    /// Lengths of prompts; 0 for none
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "512")]
    pp: Vec<usize>,
    /// Numbers of tokens to generate; 0 for none
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "128")]
    tg: Vec<usize>,
    /// Numbers of sequences that generate together
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// How often each test is measured
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Write a line for each test: its kind, its median speed, its name
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Most rows of a step.
const ROWS: usize = 512;
/// Memory that bandwidth is measured on.
const BUFFER: usize = 256 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Test {
    Prompt(usize),
    Generate { tokens: usize, sequences: usize },
}

impl Test {
    fn name(self) -> String {
        match self {
            Self::Prompt(n) => format!("pp{n}"),
            Self::Generate { tokens, sequences: 1 } => format!("tg{tokens}"),
            Self::Generate { tokens, sequences } => format!("tg{tokens}x{sequences}"),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Prompt(_) => "pp",
            Self::Generate { .. } => "tg",
        }
    }

    fn tokens(self) -> usize {
        match self {
            Self::Prompt(n) => n,
            Self::Generate { tokens, sequences } => tokens * sequences,
        }
    }

    /// Sequences, rows of a step, steps.
    fn steps(self) -> (usize, usize, usize) {
        match self {
            Self::Prompt(n) => (1, n.min(ROWS), n.div_ceil(ROWS)),
            Self::Generate { tokens, sequences } => (sequences, 1, tokens),
        }
    }
}

/// Limits of the machine with the threads of the run.
struct Ceilings {
    bandwidth: f64,
    f32_peak: f64,
    integer_peak: f64,
}

/// Speeds of a test in tokens per second, ascending.
struct Measured {
    test: Test,
    rates: Vec<f64>,
    /// Fraction of the limit: of read bandwidth for generation, of the peak of the arithmetic for prompts.
    reached: f64,
}

impl Measured {
    fn median(&self) -> f64 {
        let n = self.rates.len();
        (self.rates[n / 2] + self.rates[(n - 1) / 2]) / 2.0
    }

    fn mean_and_deviation(&self) -> (f64, f64) {
        let n = self.rates.len() as f64;
        let mean = self.rates.iter().sum::<f64>() / n;
        let variance = self.rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        (mean, variance.sqrt())
    }
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let tests = self.tests();
        let path = models::ready(&self.model)?.path;
        let opened = Opened::at(&path)?;
        let counted = opened.count(None)?;
        let sequences = self.batch.iter().copied().max().unwrap_or(1).max(1);
        let longest = tests.iter().map(|t| if let Test::Prompt(n) = t { *n } else { t.steps().2 }).max();
        let mut options = self.load.options()?.load;
        options.context = Some(options.context.unwrap_or(0).max(longest.unwrap_or(1)));
        options.sequences = sequences;
        options.max_rows = ROWS.max(sequences);
        let mut model = models::load_bare(&path, &options)?;
        let (threads, tier) = {
            let options = model.runner().executor().options();
            (options.threads, options.tier)
        };
        let ceilings = Ceilings {
            bandwidth: ceilings::read_bandwidth(tier, threads, BUFFER, Pages::Huge)?,
            f32_peak: ceilings::f32_peak(tier, threads)?,
            integer_peak: ceilings::integer_peak(tier, threads)?,
        };
        let mut measured = Vec::new();
        for test in tests {
            let rates = self.measure(model.runner_mut(), test)?;
            let mut one = Measured { test, rates, reached: 0.0 };
            one.reached = reached(&one, &counted, &ceilings, options.exact);
            if self.plain {
                ui::out(&format!("{} {:.2} {}\n", test.kind(), one.median(), test.name()))?;
            }
            measured.push(one);
        }
        if self.json {
            return Ok(ui::out_json(&self.as_json(&model, &counted, &ceilings, &measured))?);
        }
        if !self.plain {
            ui::out(&table(&model, &counted, &ceilings, &measured))?;
        }
        Ok(())
    }

    fn tests(&self) -> Vec<Test> {
        let prompts = self.pp.iter().filter(|n| **n > 0).map(|n| Test::Prompt(*n));
        let generate = self.batch.iter().filter(|n| **n > 0).flat_map(|sequences| {
            let one = |tokens: &usize| Test::Generate { tokens: *tokens, sequences: *sequences };
            self.tg.iter().filter(|n| **n > 0).map(one)
        });
        prompts.chain(generate).collect()
    }

    fn measure(&self, runner: &mut CpuRunner, test: Test) -> Result<Vec<f64>> {
        let bar = ui::bar(&test.name(), None);
        let mut rates = Vec::new();
        for rep in 0..=self.reps {
            interrupt::check()?;
            let start = Instant::now();
            once(runner, test)?;
            // The first one warms caches, memory and clock.
            if rep > 0 {
                rates.push(test.tokens() as f64 / start.elapsed().as_secs_f64());
            }
        }
        bar.finish_and_clear();
        rates.sort_by(f64::total_cmp);
        Ok(rates)
    }

    fn as_json(
        &self,
        model: &argand_engine::Model,
        counted: &Count,
        ceilings: &Ceilings,
        measured: &[Measured],
    ) -> serde_json::Value {
        let options = model.runner().executor().options();
        json!({
            "model": model.name(), "bytes": model.file_bytes(), "parameters": counted.params,
            "threads": options.threads, "tier": options.tier.name(), "exact": options.exact,
            "resident_weight_bytes": model.runner().executor().weight_bytes(),
            "peak_resident_bytes": Machine::peak_resident(),
            "bytes_per_token": counted.total(|r| &r.weight_bytes).at(&At::step(1, 0)),
            "ceilings": {
                "read_bytes_per_s": ceilings.bandwidth, "f32_flops": ceilings.f32_peak,
                "integer_ops": ceilings.integer_peak,
            },
            "tests": measured.iter().map(|m| json!({
                "test": m.test.name(), "tokens_per_s": m.rates, "median": m.median(),
                "mean": m.mean_and_deviation().0, "deviation": m.mean_and_deviation().1, "reached": m.reached,
            })).collect::<Vec<_>>(),
        })
    }
}

/// Runs a test once, from an empty cache.
fn once(runner: &mut CpuRunner, test: Test) -> Result<()> {
    let limits = runner.limits();
    let (sequences, rows, steps) = test.steps();
    let pages = page_tables(&limits, sequences);
    let most = test.tokens() / sequences;
    for step in 0..steps {
        let past = step * rows;
        let rows = rows.min(most - past);
        // Ordinary tokens in no order: what they are changes no speed, as long as they differ.
        let token = |i: usize| ((i * 2_654_435_761) % limits.vocab) as u32;
        let tokens: Vec<u32> = (0..sequences * rows).map(|i| token(i + past * sequences)).collect();
        let positions: Vec<u32> = (0..sequences).flat_map(|_| (past..past + rows).map(|p| p as u32)).collect();
        let seqs: Vec<SeqRows<'_>> = pages
            .iter()
            .enumerate()
            .map(|(i, pages)| SeqRows { rows: (i * rows) as u32..((i + 1) * rows) as u32, past: past as u32, pages })
            .collect();
        let logit_rows: Vec<u32> = seqs.iter().map(|s| s.rows.end - 1).collect();
        let batch = StepBatch { tokens: &tokens, positions: &positions, seqs: &seqs, logit_rows: &logit_rows };
        runner.step(&batch).context("a step of the test failed")?;
    }
    Ok(())
}

/// Pages of sequences of full length, each its own.
fn page_tables(limits: &Limits, sequences: usize) -> Vec<Vec<u32>> {
    let each = limits.pages_for(limits.context);
    (0..sequences).map(|s| (s * each..(s + 1) * each).map(|p| p as u32).collect()).collect()
}

fn reached(m: &Measured, counted: &Count, ceilings: &Ceilings, exact: bool) -> f64 {
    let steps_per_second = m.median() / m.test.tokens() as f64 * m.test.steps().2 as f64;
    match m.test {
        Test::Generate { tokens, sequences } => {
            let at = At { n: sequences, r: sequences, s: tokens / 2 };
            let bytes = counted.total(|r| &r.weight_bytes).at(&at) + counted.total(|r| &r.state_elems).at(&at) * 2.0;
            steps_per_second * bytes / ceilings.bandwidth
        }
        Test::Prompt(n) => {
            let flops = counted.total(|r| &r.flops).at(&At::step(n, 0));
            m.median() / n as f64 * flops / if exact { ceilings.f32_peak } else { ceilings.integer_peak }
        }
    }
}

fn table(model: &argand_engine::Model, counted: &Count, ceilings: &Ceilings, measured: &[Measured]) -> String {
    let options = model.runner().executor().options();
    let rows = measured.iter().map(|m| {
        let (mean, deviation) = m.mean_and_deviation();
        let limit = if matches!(m.test, Test::Prompt(_)) { "arithmetic" } else { "bandwidth" };
        vec![
            model.name().to_string(),
            human_bytes(model.file_bytes() as f64),
            human_count(counted.params as f64),
            options.threads.to_string(),
            options.tier.to_string(),
            m.test.name(),
            format!("{mean:.2} ± {deviation:.2}"),
            format!("{:.0} % of {limit}", m.reached * 100.0),
        ]
    });
    let head = ["model", "size", "params", "threads", "tier", "test", "tok/s", "reached"];
    let bytes = counted.total(|r| &r.weight_bytes).at(&At::step(1, 0));
    format!(
        "{}\nread bandwidth {}/s; a token reads {} of weights, so at most {:.1} tok/s for one sequence\n\
         peak {}OP/s in 8-bit integers, {}FLOP/s in f32; most memory held {}\n",
        ui::table(&head, &rows.collect::<Vec<_>>()),
        human_bytes(ceilings.bandwidth),
        human_bytes(bytes),
        ceilings.bandwidth / bytes,
        human_count(ceilings.integer_peak),
        human_count(ceilings.f32_peak),
        Machine::peak_resident().map_or("unknown".into(), |b| human_bytes(b as f64)),
    )
}
