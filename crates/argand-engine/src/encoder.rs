//! Encoders: sequences in, rows out, nothing kept.
//!
//! Sequences are sorted by length and laid end to end in ragged steps, so that no row is padding. What comes out for one
//! does not depend on the others.

use crate::load::{CpuRunner, Does, LoadError, LoadOptions, Loading, folder, name, tokenizer};
use crate::runner::{Limits, RunError, Runner};
use argand_cpu::kv::{KvType, PAGE_TOKENS};
use argand_cpu::{Batch, Seq};
use argand_graph::Graph;
use argand_models::encoder::{Head, label_names};
use argand_models::names::hf;
use argand_text::{Sequence, Tokenizer};
use std::path::Path;
use std::sync::Arc;

/// Pages that a step may take: with short sequences most of a page stays empty, and its memory is not touched.
const STEP_PAGES: usize = 64;

/// A loaded encoder with its text side.
pub struct Encoder {
    name: String,
    graph: Graph,
    head: Head,
    labels: Vec<String>,
    exclusive: bool,
    tokenizer: Tokenizer,
    runner: CpuRunner,
    file_bytes: u64,
}

impl Encoder {
    /// Loads a directory or a file with its configuration beside it. [`LoadOptions::head`] says what is wanted; without, the
    /// head that the checkpoint was made for.
    ///
    /// # Errors
    /// Anything that is wrong with the files, a model that is no encoder, or too little memory.
    pub fn load(path: &Path, options: &LoadOptions, progress: &mut dyn FnMut(Loading)) -> Result<Encoder, LoadError> {
        let checkpoint = Arc::new(options.open(path)?);
        let file = || path.display().to_string();
        let model = crate::load::open(&checkpoint, None, options)?;
        if !both_ways(&model.graph) {
            let does = Does::of(&model);
            return Err(LoadError::NoEncoder { file: file(), page: model.page.name, does });
        }
        let (head, labels) = (model.head()?, label_names(model.facts())?);
        let exclusive = model.facts().str(hf("problem_type"))? != Some("multi_label_classification");
        if let Some(missing) = head.weight().filter(|weight| model.facts().has(weight) == Some(false)) {
            let weight = model.locate(missing)?.tensor;
            return Err(LoadError::NoHead { file: file(), wanted: head.wanted(), weight });
        }
        let longest = match checkpoint.sidecar_json("sentence_bert_config.json")? {
            Some(config) => config.get("max_seq_length").and_then(|n| n.as_u64()).map_or(usize::MAX, |n| n as usize),
            None => usize::MAX,
        };
        let context = options.context.map_or_else(|| model.context(), Ok)?.min(longest).max(1);
        let pages = context.div_ceil(PAGE_TOKENS);
        let options = LoadOptions {
            context: Some(context),
            max_rows: options.max_rows.max(context),
            sequences: STEP_PAGES.div_ceil(pages),
            head: Some(head.clone()),
            kv: if options.exact { KvType::F32 } else { options.kv },
            ..options.clone()
        };
        drop(model);
        let tokenizer = tokenizer(&checkpoint)
            .map_err(|error| LoadError::Tokenizer { file: folder(&checkpoint).display().to_string(), error })?;
        let (graph, runner) = CpuRunner::load(&checkpoint, &options, progress)?;
        let (name, file_bytes) = (name(&checkpoint), checkpoint.file_bytes());
        Ok(Encoder { name, graph, head, labels, exclusive, tokenizer, runner, file_bytes })
    }

    /// Name that the file gives itself, or the file's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is wanted of the encoder's states.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Names of the labels that a classifier tells apart, in the order of its logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether one label only is true of a text, rather than any number of them (`problem_type` of the configuration).
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// From text to tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Longest sequence in tokens.
    pub fn longest(&self) -> usize {
        self.runner.limits().context
    }

    /// Values in a row of the output.
    pub fn width(&self) -> usize {
        self.runner.executor().vocab()
    }

    /// Bytes of the checkpoint's files.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of weights and cache.
    pub fn bytes(&self) -> usize {
        self.runner.bytes()
    }

    /// Runs sequences. Of each come, flat, the rows that the head gives: one, or one for each token, or of [`Head::Words`] one
    /// for each token that is `wanted`. `done` hears after each step how many sequences are finished.
    ///
    /// # Errors
    /// An empty sequence, one that is too long, a token outside the vocabulary, or too little memory.
    pub fn run(
        &mut self,
        sequences: &[Sequence],
        wanted: u32,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let limits = self.runner.limits();
        let lengths: Vec<usize> = sequences.iter().map(|s| s.tokens.len()).collect();
        if let Some(i) = lengths.iter().position(|n| *n == 0 || *n > limits.context) {
            let what = format!("text {i} has {} tokens, expected 1 to {}", lengths[i], limits.context);
            return Err(RunError::Batch { what });
        }
        let mut all = vec![Vec::new(); sequences.len()];
        let mut finished = 0;
        for step in pack(&lengths, &limits) {
            let chosen: Vec<&Sequence> = step.iter().map(|i| &sequences[*i]).collect();
            let (values, counts) = self.step(&chosen, wanted)?;
            let mut rest = values.as_slice();
            for (i, count) in step.iter().zip(counts) {
                let (own, others) = rest.split_at(count);
                (all[*i], rest) = (own.to_vec(), others);
            }
            finished += step.len();
            done(finished);
        }
        Ok(all)
    }

    /// Runs sequences that fit in one step; all rows, and the number of values of each sequence.
    fn step(&mut self, sequences: &[&Sequence], wanted: u32) -> Result<(Vec<f32>, Vec<usize>), RunError> {
        let tokens: Vec<u32> = sequences.iter().flat_map(|s| s.tokens.iter().copied()).collect();
        let positions: Vec<u32> = sequences.iter().flat_map(|s| 0..s.tokens.len() as u32).collect();
        let typed = sequences.iter().any(|s| !s.types.is_empty());
        let types = |s: &&Sequence| if s.types.is_empty() { vec![0; s.tokens.len()] } else { s.types.clone() };
        let types: Vec<u32> = if typed { sequences.iter().flat_map(types).collect() } else { Vec::new() };
        let pages: Vec<u32> = (0..self.runner.limits().pages as u32).collect();
        let (mut row, mut page) = (0, 0);
        let seqs = sequences.iter().map(|s| {
            let (rows, own) = (row..row + s.tokens.len(), page..page + s.tokens.len().div_ceil(PAGE_TOKENS));
            (row, page) = (rows.end, own.end);
            Seq { rows, past: 0, pages: &pages[own] }
        });
        let seqs: Vec<Seq<'_>> = seqs.collect();
        let words = self.head == Head::Words;
        let is_wanted = |row: &u32| words && tokens[*row as usize] == wanted;
        let logit_rows: Vec<u32> = (0..tokens.len() as u32).filter(is_wanted).collect();
        let rows = |s: &&Sequence| match self.head {
            Head::Words => s.tokens.iter().filter(|t| **t == wanted).count(),
            Head::States | Head::Tokens => s.tokens.len(),
            Head::Pooler | Head::Sequence | Head::Sentence(_) => 1,
        };
        let counts: Vec<usize> = sequences.iter().map(|s| rows(s) * self.width()).collect();
        let batch = Batch {
            tokens: &tokens,
            positions: &positions,
            types: &types,
            seqs: &seqs,
            logit_rows: &logit_rows,
            ..Batch::default()
        };
        let values = self.runner.executor_mut().step(&batch).map_err(|e| RunError::Executor(Box::new(e)))?;
        Ok((values.to_vec(), counts))
    }
}

/// Which sequences go together: the longest first, each step as full as its rows and pages allow.
fn pack(lengths: &[usize], limits: &Limits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
    let mut steps: Vec<Vec<usize>> = Vec::new();
    let (mut rows, mut pages) = (limits.max_rows, limits.pages);
    for i in order {
        let (own_rows, own_pages) = (lengths[i], limits.pages_for(lengths[i]));
        if rows + own_rows > limits.max_rows || pages + own_pages > limits.pages {
            steps.push(Vec::new());
            (rows, pages) = (0, 0);
        }
        rows += own_rows;
        pages += own_pages;
        steps.last_mut().into_iter().for_each(|step| step.push(i));
    }
    steps
}

/// Whether a model is an encoder: its rows see those behind them.
pub fn both_ways(graph: &Graph) -> bool {
    use argand_graph::{AttentionSpec, Mask, Op};
    let full = |op: &Op| matches!(op, Op::Attention(AttentionSpec { mask: Mask::Full, kv, .. }) if !kv.memory);
    graph.repeats().flat_map(|(_, bodies, _)| bodies).any(|body| body.iter().any(|(_, node)| full(&node.op)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_full_and_hold_every_sequence_once() {
        let limits = Limits { vocab: 1, page_tokens: 64, pages: 10, context: 300, max_rows: 300, source: 0 };
        let lengths = [300, 1, 1, 7, 150, 150, 65, 64, 1, 1, 1, 1, 1, 1];
        let steps = pack(&lengths, &limits);
        let mut all = steps.concat();
        all.sort_unstable();
        assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        for step in &steps {
            assert!(step.iter().map(|i| lengths[*i]).sum::<usize>() <= limits.max_rows, "{steps:?}");
            assert!(step.iter().map(|i| limits.pages_for(lengths[*i])).sum::<usize>() <= limits.pages, "{steps:?}");
        }
        assert_eq!(&steps[..2], [vec![0], vec![4, 5]]);
        assert_eq!(steps.len(), 4);
        assert!(pack(&[], &limits).is_empty());
    }
}
