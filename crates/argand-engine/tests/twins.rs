//! GGUF files of Hugging Face checkpoints: each computes what its checkpoint does, or is refused.

use argand_cpu::{Batch, Seq};
use argand_engine::twin::{Twin, TwinError};
use argand_engine::{CpuRunner, LoadOptions};
use argand_weights::{Checkpoint, gguf};
use std::path::Path;
use std::sync::Arc;

/// Fixtures that GGUF has no words for, and a word of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("bloom_heads", "Binary(Add)"),
    ("deepseek_v2", "key_length_mla"),
    ("deepseek_v2_groups", "key_length_mla"),
    ("deepseek_v3", "key_length_mla"),
    ("deepseek_v3_flat", "key_length_mla"),
    ("falcon", "ops instead of"),
    ("falcon_alibi", "ops instead of"),
    ("falcon_one_norm", "ops instead of"),
    ("gemma2_scalar", "ops instead of"),
    ("gemma3_linear", "Repeat"),
    ("gpt2_inner", "Repeat"),
    ("gpt_oss", "Clamp"),
    ("gpt_oss_mxfp4", "Clamp"),
    ("llama_dynamic", "Rope"),
    ("mistral", "State"),
    ("phi_qk_norm", "ops instead of"),
    ("qwen2_window", "Repeat"),
    ("qwen3_moe_raw", "Repeat"),
];

/// Logits of a few tokens.
fn logits(path: &Path, context: usize) -> Vec<f32> {
    let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
    let options = LoadOptions { context: Some(context), exact: true, threads: Some(1), ..LoadOptions::default() };
    let (_, mut runner) = CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap();
    let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let seqs = [Seq { rows: 0..tokens.len(), past: 0, pages: &[0] }];
    let batch = Batch { tokens: &tokens, positions: &rows, seqs: &seqs, logit_rows: &rows, ..Batch::default() };
    runner.executor_mut().step(&batch).unwrap().to_vec()
}

fn write(twin: &Twin, path: &Path) {
    let mut writer = gguf::Writer::create(path, twin.metadata(), twin.specs()).unwrap();
    twin.write::<Box<dyn std::error::Error>>(&mut |name, piece| Ok(writer.write(name, piece)?)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_twin_computes_the_same_or_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny");
    let out = tempfile::tempdir().unwrap();
    let (mut twins, mut wrong) = (0, Vec::new());
    let mut fixtures: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    fixtures.sort();
    for fixture in fixtures {
        let name = fixture.file_name().unwrap().to_str().unwrap();
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        let twin = match (Twin::of(&Arc::new(Checkpoint::open(&fixture).unwrap())), refused) {
            (Ok(twin), None) => twin,
            // What is in the way is for those who know the graph, and not in the message.
            (Err(error), Some((_, word))) if format!("{error:?}").contains(word) => continue,
            (Err(error), _) => {
                wrong.push(format!("{name}: {error:?}"));
                continue;
            }
            (Ok(_), Some(_)) => {
                wrong.push(format!("{name} was to be refused"));
                continue;
            }
        };
        let path = out.path().join(format!("{name}.gguf"));
        write(&twin, &path);
        twins += 1;
        // Frequencies of scaled rotations are f32 in GGUF.
        let (one, other) = (logits(&fixture, 32), logits(&path, 32));
        let most = one.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let apart = |a: f32, b: f32| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
        let off = one.iter().zip(&other).fold(0.0f32, |off, (a, b)| off.max(apart(*a, *b)));
        if one.len() != other.len() || off > 256.0 * f32::EPSILON * most {
            wrong.push(format!("{name}: logits are off by {off:e} of {most:e}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(twins >= 21, "only {twins} twins");
}

#[test]
fn mistral_without_a_window_is_a_llama() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny/mistral");
    let out = tempfile::tempdir().unwrap();
    std::fs::copy(fixture.join("model.safetensors"), out.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(fixture.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["sliding_window"] = serde_json::Value::Null;
    std::fs::write(out.path().join("config.json"), config.to_string()).unwrap();
    let twin = Twin::of(&Arc::new(Checkpoint::open(out.path()).unwrap())).unwrap();
    assert_eq!(twin.metadata().get_str("general.architecture"), Some("llama"));
    assert!(twin.left_out().is_empty() && !twin.has_vocabulary());
    let path = out.path().join("model.gguf");
    write(&twin, &path);
    assert_eq!(logits(out.path(), 32), logits(&path, 32));
}

#[test]
fn a_model_without_a_name_in_gguf_is_refused() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny_encoders/modernbert_mlm");
    let found = Twin::of(&Arc::new(Checkpoint::open(&fixture).unwrap())).err().unwrap();
    assert!(matches!(found, TwinError::NoArchitecture { .. }), "{found}");
}
