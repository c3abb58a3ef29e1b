//! `argand eval`: how well a model predicts a text.

use crate::args::LoadArgs;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand_engine::{CpuRunner, Memory, Runner, SeqRows, StepBatch};
use argand_text::Tokenizer;
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

/// Measure how well a model predicts a text
#[derive(Subcommand)]
#[command(after_help = "Examples:
  argand eval perplexity smollm2 wiki.txt
  argand eval kl model.gguf wiki.txt --chunks 4")]
pub enum Eval {
    /// Perplexity of a text: the exponential of the mean surprise per token
    Perplexity(Perplexity),
    /// Distance of the fast integer products from exact ones, on a text
    Kl(Kl),
}

impl Eval {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Perplexity(c) => c.run(),
            Self::Kl(c) => c.run(),
        }
    }
}

/// Which text, and how it is cut.
#[derive(clap::Args)]
struct TextArgs {
    /// Model: a catalogue name, a path, or OWNER/NAME of the hub
    model: String,
    /// Text in UTF-8
    file: PathBuf,
    /// Tokens of a chunk; the second half of each is scored
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    chunk: u32,
    /// Score at most this many chunks
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Perplexity of a text, by llama.cpp's method
///
/// The text is cut into chunks; each begins with the BOS token if the model wants one, and the tokens of its second half
/// are scored.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand eval perplexity smollm2 wiki.txt
  argand eval perplexity model.gguf wiki.txt --chunks 20 --exact --json")]
pub struct Perplexity {
    #[command(flatten)]
    text: TextArgs,
}

/// What a run is compared with.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Against {
    /// Products in f32 with decoded weights
    Exact,
}

/// Mean Kullback-Leibler divergence of the fast products from exact ones; the model is loaded twice
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand eval kl smollm2 wiki.txt
  argand eval kl model.gguf wiki.txt --chunks 4 --json")]
pub struct Kl {
    #[command(flatten)]
    text: TextArgs,
    /// What the fast products are compared with
    #[arg(long, default_value = "exact")]
    against: Against,
}

/// Rows whose logits are computed at once: bounds the memory that large vocabularies take.
const ROWS: usize = 64;

/// A mean with its standard error.
#[derive(Default)]
struct Mean {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        self.sum += x;
        self.squares += x * x;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n
    }

    fn error(&self) -> f64 {
        let variance = (self.squares / self.n - self.mean().powi(2)).max(0.0);
        (variance / (self.n - 1.0).max(1.0)).sqrt()
    }
}

/// A text as chunks of tokens.
struct Chunks {
    chunks: Vec<Vec<u32>>,
    /// First position of a chunk whose prediction counts.
    first: usize,
}

impl TextArgs {
    fn load(&self, exact: bool) -> Result<argand_engine::Model> {
        let mut options = self.load.options()?.load;
        options.exact |= exact;
        options.context = Some(self.chunk as usize);
        options.max_rows = (self.chunk as usize).max(ROWS);
        let path = models::ready(&self.model)?.path;
        models::continues(&path, &options, "how well it continues one means nothing")?;
        models::load_bare(&path, &options)
    }

    fn cut(&self, tokenizer: &Tokenizer) -> Result<Chunks> {
        let bytes = std::fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let text = String::from_utf8(bytes).with_context(|| format!("{} is no UTF-8", self.file.display()))?;
        let tokens = tokenizer.encode(&text, true, false)?;
        let length = self.chunk as usize;
        let mut chunks: Vec<Vec<u32>> = tokens.chunks_exact(length).map(<[u32]>::to_vec).collect();
        chunks.truncate(self.chunks.unwrap_or(usize::MAX));
        if chunks.is_empty() {
            bail!("{} has {} tokens, fewer than one chunk of {length}", self.file.display(), tokens.len());
        }
        if let (true, Some(bos)) = (tokenizer.add_bos(), tokenizer.bos()) {
            chunks.iter_mut().for_each(|c| c[0] = bos);
        }
        Ok(Chunks { chunks, first: length / 2 })
    }
}

/// Runs a chunk from an empty cache; `hear` gets each scored position, its logits, and the token that follows.
fn run_chunk(
    runner: &mut CpuRunner,
    chunk: &[u32],
    first: usize,
    hear: &mut dyn FnMut(usize, &[f32], u32),
) -> Result<()> {
    let limits = runner.limits();
    let pages: Vec<u32> = (0..limits.pages_for(chunk.len()) as u32).collect();
    // The last token predicts nothing that is known.
    let mut cuts = vec![0];
    cuts.extend((first..chunk.len() - 1).step_by(ROWS));
    cuts.push(chunk.len() - 1);
    for (step, cut) in cuts.windows(2).enumerate() {
        let (from, to) = (cut[0], cut[1]);
        let rows = (to - from) as u32;
        let positions: Vec<u32> = (from as u32..to as u32).collect();
        let seqs = [SeqRows { rows: 0..rows, past: from as u32, pages: &pages, memory: Memory::default() }];
        let scored = step > 0;
        let logit_rows: Vec<u32> = if scored { (0..rows).collect() } else { vec![rows - 1] };
        let tokens = &chunk[from..to];
        let batch =
            StepBatch { tokens, positions: &positions, seqs: &seqs, logit_rows: &logit_rows, ..StepBatch::default() };
        let logits = runner.step(&batch)?;
        for (i, row) in logits.chunks_exact(limits.vocab).enumerate().filter(|_| scored) {
            hear(from + i, row, chunk[from + i + 1]);
        }
    }
    Ok(())
}

/// `ln(sum(exp(x)))`
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(max) + logits.iter().map(|x| f64::from(x - max).exp()).sum::<f64>().ln()
}

/// Surprise of a token in nats.
fn surprise(logits: &[f32], token: u32) -> f64 {
    log_sum_exp(logits) - f64::from(logits[token as usize])
}

impl Perplexity {
    pub fn run(self) -> Result<()> {
        let text = &self.text;
        let mut model = text.load(false)?;
        let cut = text.cut(model.tokenizer())?;
        let bar = ui::status("scoring");
        let mut mean = Mean::default();
        for (i, chunk) in cut.chunks.iter().enumerate() {
            interrupt::check()?;
            run_chunk(model.runner_mut(), chunk, cut.first, &mut |_, row, next| mean.add(surprise(row, next)))?;
            bar.set_message(format!("chunk {} of {}: {:.4}", i + 1, cut.chunks.len(), mean.mean().exp()));
        }
        bar.finish_and_clear();
        let perplexity = mean.mean().exp();
        let error = mean.error() * perplexity;
        if text.json {
            return Ok(ui::out_json(&json!({
                "perplexity": perplexity, "error": error, "nats_per_token": mean.mean(), "tokens": mean.n,
                "chunks": cut.chunks.len(), "chunk_tokens": text.chunk,
            }))?);
        }
        let chunks = cut.chunks.len();
        Ok(ui::out(&format!("perplexity {perplexity:.4} ± {error:.4} ({} tokens, {chunks} chunks)\n", mean.n))?)
    }
}

impl Kl {
    pub fn run(self) -> Result<()> {
        let text = &self.text;
        let Against::Exact = self.against;
        let mut exact = text.load(true)?;
        let mut fast = text.load(false)?;
        if fast.runner().executor().options().exact {
            bail!("--exact would compare exact products with themselves; leave it out");
        }
        let cut = text.cut(exact.tokenizer())?;
        let vocab = exact.runner().limits().vocab;
        let bar = ui::status("comparing");
        let (mut kl, mut surprises, mut same) = (Mean::default(), (Mean::default(), Mean::default()), Mean::default());
        let mut most = 0.0f64;
        for (i, chunk) in cut.chunks.iter().enumerate() {
            interrupt::check()?;
            let mut rows: Vec<f32> = Vec::with_capacity((chunk.len() - cut.first) * vocab);
            run_chunk(exact.runner_mut(), chunk, cut.first, &mut |_, row, _| rows.extend_from_slice(row))?;
            run_chunk(fast.runner_mut(), chunk, cut.first, &mut |position, row, next| {
                let reference = &rows[(position - cut.first) * vocab..][..vocab];
                let distance = divergence(reference, row);
                most = most.max(distance);
                kl.add(distance);
                surprises.0.add(surprise(reference, next));
                surprises.1.add(surprise(row, next));
                same.add(f64::from(u8::from(likeliest(reference) == likeliest(row))));
            })?;
            bar.set_message(format!("chunk {} of {}: {:.6}", i + 1, cut.chunks.len(), kl.mean()));
        }
        bar.finish_and_clear();
        let perplexities = (surprises.0.mean().exp(), surprises.1.mean().exp());
        if text.json {
            return Ok(ui::out_json(&json!({
                "kl_nats": kl.mean(), "error": kl.error(), "most": most, "same_top": same.mean(),
                "perplexity_exact": perplexities.0, "perplexity_fast": perplexities.1,
                "tokens": kl.n, "chunks": cut.chunks.len(),
            }))?);
        }
        Ok(ui::out(&format!(
            "KL divergence {:.6} ± {:.6} nats, at most {most:.4}; same likeliest token {:.2} %\n\
             perplexity {:.4} exact, {:.4} fast ({} tokens)\n",
            kl.mean(),
            kl.error(),
            same.mean() * 100.0,
            perplexities.0,
            perplexities.1,
            kl.n,
        ))?)
    }
}

/// Kullback-Leibler divergence of the distribution of `q` from that of `p`, in nats.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (zp, zq) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - zp, f64::from(*q) - zq);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

fn likeliest(logits: &[f32]) -> usize {
    logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, x)| if *x > best.1 { (i, *x) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_two_coins() {
        let logits = |p: f64| [p.ln() as f32 + 3.0, (1.0 - p).ln() as f32 + 3.0];
        let expected = 0.5 * (0.5f64 / 0.25).ln() + 0.5 * (0.5f64 / 0.75).ln();
        assert!((divergence(&logits(0.5), &logits(0.25)) - expected).abs() < 1e-6);
        assert_eq!(divergence(&logits(0.5), &logits(0.5)), 0.0);
        assert!((surprise(&logits(0.25), 0) - 4f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn mean_and_error() {
        let mut mean = Mean::default();
        [1.0, 2.0, 3.0].into_iter().for_each(|x| mean.add(x));
        assert!((mean.mean() - 2.0).abs() < 1e-12 && (mean.error() - (2.0f64 / 3.0 / 2.0).sqrt()).abs() < 1e-12);
    }
}
