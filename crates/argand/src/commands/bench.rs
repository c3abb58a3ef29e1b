//! `argand bench`: how fast a model runs, and how close that is to this machine's limits.

mod encoder;
mod items;
mod network;

use crate::args::{BadValue, LoadArgs};
use crate::opened::Opened;
use crate::ui::{self, human_bytes, human_count};
use crate::{interrupt, models};
use anyhow::{Context, Result, bail};
use argand::machine::Machine;
use argand_cpu::Executor;
use argand_cpu::ceilings::{self, Pages};
use argand_engine::{CpuRunner, Limits, Memory, Runner, SeqRows, StepBatch};
use argand_graph::{At, Count};
use clap::builder::RangedU64ValueParser;
use serde_json::json;
use std::time::Instant;

/// Measure speed, and how close it comes to this machine's limits
#[derive(clap::Args)]
#[command(
    after_help = "Tests are named as in llama-bench: pp512 is a prompt of 512 tokens, tg128 generates 128 tokens one
by one, tg128x8 does so for 8 sequences together (their tokens are added up). Of an encoder enc128x32
is 32 texts of 128 tokens, of a network pic8 is 8 pictures together and seq100x16 16 sequences of 100
frames. Each is run once to warm up, then --reps times.

Examples:
  argand bench smollm2
  argand bench model.gguf --pp 128,512 --tg 64 --batch 1,8,32 --reps 3
  argand bench ./resnet-50 --pic 1,32
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
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch: Vec<usize>,
    /// Of an encoder, numbers of tokens and of texts that are read together
    #[arg(long, value_name = "TOKENSxTEXTS", value_delimiter = ',', default_value = "128x32,16x1")]
    enc: Vec<encoder::Shape>,
    /// Of a network that sees, numbers of pictures that are looked at together
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pic: Vec<usize>,
    /// Of a recurrent network, numbers of frames and of sequences that go together
    #[arg(long, value_name = "FRAMESxSEQUENCES", value_delimiter = ',', default_value = "100x1,100x16")]
    seq: Vec<encoder::Shape>,
    /// How often each test is measured
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Write a line for each test: its kind, its median speed, its name; do not measure the machine
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

/// Bytes of an element of the cache, about: half floats.
const CACHE_BYTES: f64 = 2.0;

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
}

impl Measured {
    fn median(&self) -> f64 {
        median(&self.rates)
    }

    fn mean_and_deviation(&self) -> (f64, f64) {
        let n = self.rates.len() as f64;
        let mean = self.rates.iter().sum::<f64>() / n;
        let variance = self.rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        (mean, variance.sqrt())
    }
}

/// The middle of sorted speeds.
fn median(rates: &[f64]) -> f64 {
    let n = rates.len();
    (rates[n / 2] + rates[(n - 1) / 2]) / 2.0
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let tests = self.tests();
        if let Some(others @ 1..) = Machine::others_running() {
            eprintln!("{others} other threads are running on this machine; speeds will be lower than it can do");
        }
        let found = models::ready(&self.model)?;
        let mut options = self.load.options()?.load;
        let opened = Opened::at(&found.path, options.config.as_ref())?;
        let graph = opened.model(None)?.graph;
        if argand_engine::both_ways(&graph) {
            return encoder::run(&self, &found.path);
        }
        if network::given(&graph) {
            return network::run(&self, &found.path);
        }
        let wanted = "a measure of that is not there yet; `argand run --stats` tells its speed";
        models::continues(&found.path, &options, wanted)?;
        if tests.is_empty() {
            bail!(BadValue("--pp and --tg are 0, so there is nothing to measure; give one of them a length".into()));
        }
        let sequences = self.batch.iter().copied().max().unwrap_or(1);
        let longest = tests.iter().map(|t| if let Test::Prompt(n) = t { *n } else { t.steps().2 }).max();
        options.context = Some(options.context.unwrap_or(0).max(longest.unwrap_or(1)));
        options.sequences = sequences;
        options.max_rows = ROWS.max(sequences);
        let mut runner = models::load_runner(&found.path, &options)?;
        let mut measured = Vec::new();
        for test in tests {
            let one = Measured { test, rates: self.measure(&mut runner, test)? };
            if self.plain {
                ui::out(&format!("{} {:.2} {}\n", test.kind(), one.median(), test.name()))?;
            }
            measured.push(one);
        }
        if self.plain {
            return Ok(());
        }
        let executor = runner.executor();
        let (threads, tier) = (executor.options().threads, executor.options().tier);
        let report = Report {
            name: found.name,
            file_bytes: opened.file_bytes(),
            executor,
            counted: opened.count(&opened.model(None)?, None),
            // Before the ceilings, whose memory is not the model's.
            peak_resident: Machine::peak_resident(),
            ceilings: Ceilings {
                bandwidth: ceilings::read_bandwidth(tier, threads, BUFFER, Pages::Huge)?,
                f32_peak: ceilings::f32_peak(tier, threads)?,
                integer_peak: ceilings::integer_peak(tier, threads)?,
            },
            measured,
        };
        match self.json {
            true => Ok(ui::out_json(&report.as_json())?),
            false => Ok(ui::out(&report.as_text())?),
        }
    }

    fn tests(&self) -> Vec<Test> {
        let prompts = self.pp.iter().filter(|n| **n > 0).map(|n| Test::Prompt(*n));
        let generate = self.batch.iter().flat_map(|sequences| {
            let one = |tokens: &usize| Test::Generate { tokens: *tokens, sequences: *sequences };
            self.tg.iter().filter(|n| **n > 0).map(one)
        });
        prompts.chain(generate).collect()
    }

    fn measure(&self, runner: &mut CpuRunner, test: Test) -> Result<Vec<f64>> {
        let bar = ui::status(&test.name());
        let mut rates = Vec::new();
        for rep in 0..=self.reps {
            interrupt::check()?;
            bar.set_message(format!("{}: {rep} of {}", test.name(), self.reps));
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
            .map(|(i, pages)| SeqRows {
                rows: (i * rows) as u32..((i + 1) * rows) as u32,
                past: past as u32,
                pages,
                memory: Memory::default(),
            })
            .collect();
        let logit_rows: Vec<u32> = seqs.iter().map(|s| s.rows.end - 1).collect();
        let batch = StepBatch {
            tokens: &tokens,
            positions: &positions,
            seqs: &seqs,
            logit_rows: &logit_rows,
            ..StepBatch::default()
        };
        runner.step(&batch).context("a step of the test failed")?;
    }
    Ok(())
}

/// Pages of sequences of full length, each its own.
fn page_tables(limits: &Limits, sequences: usize) -> Vec<Vec<u32>> {
    let each = limits.pages_for(limits.context);
    (0..sequences).map(|s| (s * each..(s + 1) * each).map(|p| p as u32).collect()).collect()
}

/// All that is told about a run.
struct Report<'m> {
    name: String,
    file_bytes: u64,
    executor: &'m Executor,
    counted: Count,
    peak_resident: Option<u64>,
    ceilings: Ceilings,
    measured: Vec<Measured>,
}

impl Report<'_> {
    /// Bytes of weights that one sequence reads for a token.
    fn bytes_per_token(&self) -> f64 {
        self.counted.read_bytes(&At::step(1, 0))
    }

    /// The fraction of the limit: of read bandwidth for generation, of the peak of the arithmetic for prompts.
    fn reached(&self, m: &Measured) -> f64 {
        let (counted, ceilings) = (&self.counted, &self.ceilings);
        match m.test {
            Test::Generate { tokens, sequences } => {
                let at = At { n: sequences, r: sequences, b: sequences, p: 0, s: tokens / 2 };
                let cache = counted.total(|r| &r.state_elems).at(&at) * CACHE_BYTES;
                let bytes = counted.read_bytes(&at) + cache;
                m.median() / sequences as f64 * bytes / ceilings.bandwidth
            }
            Test::Prompt(n) => {
                let flops = counted.total(|r| &r.flops).at(&At::step(n, 0));
                let exact = self.executor.options().exact;
                m.median() / n as f64 * flops / if exact { ceilings.f32_peak } else { ceilings.integer_peak }
            }
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let options = self.executor.options();
        json!({
            "model": self.name, "bytes": self.file_bytes, "parameters": self.counted.params,
            "threads": options.threads, "tier": options.tier.name(), "exact": options.exact,
            "resident_weight_bytes": self.executor.weight_bytes(), "peak_resident_bytes": self.peak_resident,
            "bytes_per_token": self.bytes_per_token(),
            "ceilings": {
                "read_bytes_per_s": self.ceilings.bandwidth, "f32_flops": self.ceilings.f32_peak,
                "integer_ops": self.ceilings.integer_peak,
            },
            "tests": self.measured.iter().map(|m| json!({
                "test": m.test.name(), "tokens_per_s": m.rates, "median": m.median(),
                "mean": m.mean_and_deviation().0, "deviation": m.mean_and_deviation().1, "reached": self.reached(m),
            })).collect::<Vec<_>>(),
        })
    }

    fn as_text(&self) -> String {
        let options = self.executor.options();
        let rows = self.measured.iter().map(|m| {
            let (mean, deviation) = m.mean_and_deviation();
            let limit = if matches!(m.test, Test::Prompt(_)) { "arithmetic" } else { "bandwidth" };
            vec![
                self.name.clone(),
                human_bytes(self.file_bytes as f64),
                human_count(self.counted.params as f64),
                options.threads.to_string(),
                options.tier.to_string(),
                m.test.name(),
                format!("{mean:.2} ± {deviation:.2}"),
                format!("{:.0} % of {limit}", self.reached(m) * 100.0),
            ]
        });
        let head = ["model", "size", "params", "threads", "tier", "test", "tok/s", "reached"];
        format!(
            "{}\nread bandwidth {}/s; a token reads {} of weights, so at most {:.1} tok/s for one sequence\n\
             peak {}OP/s in 8-bit integers, {}FLOP/s in f32; most memory held {}\n",
            ui::table(&head, &rows.collect::<Vec<_>>()),
            human_bytes(self.ceilings.bandwidth),
            human_bytes(self.bytes_per_token()),
            self.ceilings.bandwidth / self.bytes_per_token(),
            human_count(self.ceilings.integer_peak),
            human_count(self.ceilings.f32_peak),
            self.peak_resident.map_or("unknown".into(), |b| human_bytes(b as f64)),
        )
    }
}
