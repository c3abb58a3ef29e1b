//! Runs sequences through an executor in steps of any cut.

use super::models::Model;
use argand_cpu::kv::{KvType, PAGE_TOKENS};
use argand_cpu::tier::Tier;
use argand_cpu::{Batch, Error, Executor, Memory, Options, Seq, WeightSource};
use std::sync::Arc;

pub const PAGES: usize = 24;
pub const MAX_ROWS: usize = 512;

/// A sequence and the pages that it was given.
#[derive(Clone)]
pub struct Sequence {
    pub tokens: Vec<u32>,
    pub pages: Vec<u32>,
}

impl Sequence {
    /// On the first pages of the pool.
    pub fn alone(tokens: &[u32]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), pages: (0..tokens.len().div_ceil(PAGE_TOKENS) as u32).collect() }
    }
}

/// One step: for each sequence in it, in order, how many tokens.
pub type Cut = Vec<(usize, usize)>;

/// As people run models, but exact.
pub fn options() -> Options {
    Options {
        tier: Tier::detect(),
        threads: 2,
        exact: true,
        fused: true,
        kv: KvType::F32,
        pages: PAGES,
        max_rows: MAX_ROWS,
    }
}

pub fn load(model: &Model, options: Options) -> Executor {
    let source: Arc<dyn WeightSource> = model.weights.clone();
    Executor::load(&model.graph, source, options, &mut |_| {}).unwrap()
}

/// Runs all steps and returns the logits of every token of each sequence.
pub fn run(executor: &mut Executor, sequences: &[Sequence], steps: &[Cut]) -> Vec<Vec<f32>> {
    let vocab = executor.vocab();
    let mut logits: Vec<Vec<f32>> = sequences.iter().map(|s| vec![f32::NAN; s.tokens.len() * vocab]).collect();
    let mut past = vec![0; sequences.len()];
    for cut in steps {
        let (mut tokens, mut positions, mut seqs, mut origins) = (vec![], vec![], vec![], vec![]);
        for &(i, count) in cut {
            let s = &sequences[i];
            let range = past[i]..past[i] + count;
            let rows = tokens.len()..tokens.len() + count;
            seqs.push(Seq { rows, past: past[i], pages: &s.pages[..range.end.div_ceil(PAGE_TOKENS)] });
            tokens.extend(&s.tokens[range.clone()]);
            positions.extend(range.clone().map(|p| p as u32));
            origins.extend(range.clone().map(|p| (i, p)));
            past[i] = range.end;
        }
        // Backwards, because any order may be asked for.
        let logit_rows: Vec<u32> = (0..tokens.len() as u32).rev().collect();
        let batch =
            Batch { tokens: &tokens, positions: &positions, seqs: &seqs, logit_rows: &logit_rows, ..Batch::default() };
        let found = executor.step(&batch).unwrap();
        assert_eq!(found.len(), tokens.len() * vocab);
        for (row, (i, p)) in found.chunks(vocab).rev().zip(origins) {
            logits[i][p * vocab..][..vocab].copy_from_slice(row);
        }
    }
    logits
}

/// The logits of a sequence that runs alone, in steps of these lengths.
pub fn run_alone(executor: &mut Executor, tokens: &[u32], lengths: &[usize]) -> Vec<f32> {
    let steps: Vec<Cut> = lengths.iter().map(|n| vec![(0, *n)]).collect();
    run(executor, &[Sequence::alone(tokens)], &steps).swap_remove(0)
}

/// Reads texts on pages of their own, all in one step.
pub fn read(executor: &mut Executor, texts: &[Sequence]) -> Result<(), Error> {
    let tokens: Vec<u32> = texts.iter().flat_map(|t| t.tokens.iter().copied()).collect();
    let positions: Vec<u32> = texts.iter().flat_map(|t| 0..t.tokens.len() as u32).collect();
    let mut end = 0;
    let seqs = texts.iter().map(|t| {
        let rows = end..end + t.tokens.len();
        end = rows.end;
        Seq { rows, past: 0, pages: &t.pages }
    });
    let seqs: Vec<Seq> = seqs.collect();
    executor.encode(&Batch { tokens: &tokens, positions: &positions, seqs: &seqs, ..Batch::default() }, None).map(drop)
}

/// A step of as many tokens of each sequence as `rows` says, from `past` on, after what was read for them: logits of all rows.
pub fn write(
    executor: &mut Executor,
    sequences: &[Sequence],
    texts: &[Sequence],
    past: usize,
    rows: usize,
) -> Result<Vec<f32>, Error> {
    let tokens: Vec<u32> = sequences.iter().flat_map(|s| s.tokens[past..past + rows].to_vec()).collect();
    let positions: Vec<u32> = sequences.iter().flat_map(|_| past as u32..(past + rows) as u32).collect();
    let seqs: Vec<Seq> = sequences
        .iter()
        .enumerate()
        .map(|(i, s)| Seq { rows: i * rows..(i + 1) * rows, past, pages: &s.pages })
        .collect();
    let memories: Vec<Memory> = texts.iter().map(|t| Memory { tokens: t.tokens.len(), pages: &t.pages }).collect();
    let logit_rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let batch = Batch {
        tokens: &tokens,
        positions: &positions,
        seqs: &seqs,
        memories: &memories,
        logit_rows: &logit_rows,
        ..Batch::default()
    };
    executor.step(&batch).map(<[f32]>::to_vec)
}

/// A step whose parts can be changed one by one.
pub struct Attempt {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    /// Rows, past, pages.
    pub seqs: Vec<(std::ops::Range<usize>, usize, Vec<u32>)>,
    pub logit_rows: Vec<u32>,
}

impl Attempt {
    /// Four tokens in two sequences on pages 3 and 1.
    pub fn sound() -> Attempt {
        Attempt {
            tokens: vec![1, 2, 3, 4],
            positions: vec![0, 1, 0, 1],
            seqs: vec![(0..2, 0, vec![3]), (2..4, 0, vec![1])],
            logit_rows: vec![1, 3],
        }
    }

    pub fn run(&self, executor: &mut Executor) -> Result<Vec<f32>, Error> {
        let seqs = self.seqs.iter().map(|(rows, past, pages)| Seq { rows: rows.clone(), past: *past, pages });
        let seqs: Vec<Seq> = seqs.collect();
        let Attempt { tokens, positions, logit_rows, .. } = self;
        executor.step(&Batch { tokens, positions, seqs: &seqs, logit_rows, ..Batch::default() }).map(<[f32]>::to_vec)
    }
}
