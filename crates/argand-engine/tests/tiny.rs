//! Every page against transformers: tiny random checkpoints with golden activations by name (see `parity/`).

mod sight;

use argand_cpu::kv::KvType;
use argand_cpu::tier::Tier;
use argand_cpu::{Batch, Memory, Seq};
use argand_engine::{CpuRunner, Engine, EngineOptions, Event, LoadOptions, Request, Sampling, StopRules};
use argand_weights::Checkpoint;
use argand_weights::safetensors::{TensorSpec, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Values in a row, and the rows.
type Values = (usize, Vec<f32>);

fn tiny() -> Vec<PathBuf> {
    let folders =
        [("tiny", 39), ("tiny_encoders", 19), ("tiny_seq2seq", 2), ("tiny_vision", 6)].map(|(folder, least)| {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests").join(folder);
            let mut all: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
            all.sort();
            assert!(all.len() >= least, "{folder}: fixtures are missing");
            all
        });
    folders.concat()
}

fn golden(dir: &Path) -> BTreeMap<String, Values> {
    let file = Checkpoint::open(dir.join("golden.safetensors")).unwrap();
    let values = |t: &argand_weights::TensorInfo| {
        let mut out = vec![0.0; t.elements()];
        t.codec.decode(file.tensor(&t.name).unwrap().bytes, &mut out).unwrap();
        (t.name.clone(), (*t.shape.last().unwrap(), out))
    };
    routes(file.tensors().map(values).collect())
}

/// The weights of experts as graphs have them: a row of all, zero for those that were not chosen. Keys and values of heads
/// that follow from a latent are never made.
fn routes(mut golden: BTreeMap<String, Values>) -> BTreeMap<String, Values> {
    golden.retain(|name, _| !name.ends_with(".attn_kv_b"));
    let chosen: Vec<String> = golden.keys().filter(|k| k.ends_with(".ffn_moe_topk")).cloned().collect();
    for name in chosen {
        let layer = name.strip_suffix("ffn_moe_topk").unwrap();
        let (slots, experts) = golden.remove(&name).unwrap();
        let (_, weights) = golden.remove(&format!("{layer}ffn_moe_weights")).unwrap();
        let count = golden[&format!("{layer}ffn_gate_inp")].0;
        let mut all = vec![0.0; experts.len() / slots * count];
        for (i, (expert, weight)) in experts.iter().zip(weights).enumerate() {
            all[i / slots * count + *expert as usize] = weight;
        }
        golden.insert(format!("{layer}ffn_moe_routes"), (count, all));
    }
    golden
}

fn ids(golden: &BTreeMap<String, Values>, name: &str) -> Option<Vec<u32>> {
    golden.get(name).map(|(_, v)| v.iter().map(|x| *x as u32).collect())
}

struct Step {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    types: Vec<u32>,
    /// Where an encoder reads `tokens`: what the decoder is given.
    decoded: Option<Vec<u32>>,
}

impl Step {
    fn of(golden: &BTreeMap<String, Values>, run: &str) -> Option<Step> {
        let tokens = ids(golden, &format!("tokens_{run}"))?;
        let positions = ids(golden, &format!("positions_{run}"));
        let positions = positions.unwrap_or_else(|| (0..tokens.len() as u32).collect());
        let types = ids(golden, &format!("segments_{run}")).unwrap_or_default();
        Some(Step { tokens, positions, types, decoded: ids(golden, &format!("decoder_tokens_{run}")) })
    }

    fn context(&self) -> usize {
        *self.positions.iter().max().unwrap() as usize + 1
    }

    /// All named values of the step, and the logits of all rows.
    fn run(&self, path: &Path, options: &LoadOptions) -> BTreeMap<String, Values> {
        let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
        let options = LoadOptions { context: Some(self.context()), ..options.clone() };
        let (_, mut runner) = CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap();
        let rows = |of: &[u32]| (0..of.len() as u32).collect::<Vec<u32>>();
        let seq = |of: &[u32], page| [Seq { rows: 0..of.len(), past: 0, pages: page }];
        let mut seen = BTreeMap::new();
        let mut observe = |name: &str, values: &[f32], len: usize| {
            seen.insert(name.to_string(), (len, values.to_vec()));
        };
        let tokens = self.decoded.as_ref().unwrap_or(&self.tokens);
        let (whole, memory) = (rows(tokens), [Memory { tokens: self.tokens.len(), pages: &[1] }]);
        let (seqs, read) = (seq(tokens, &[0]), seq(&self.tokens, &[1]));
        let mut batch = Batch {
            tokens,
            positions: &self.positions,
            types: &self.types,
            seqs: &seqs,
            memories: &memory,
            logit_rows: &whole,
            ..Batch::default()
        };
        let executor = runner.executor_mut();
        if self.decoded.is_some() {
            let text = Batch { tokens: &self.tokens, seqs: &read, logit_rows: &[], ..batch };
            executor.encode(&text, Some(&mut observe)).unwrap();
            batch.positions = &whole;
        }
        executor.observed_step(&batch, Some(&mut observe)).unwrap();
        seen
    }
}

/// Largest difference relative to the largest magnitude of the tensor.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    // `max` would pass over what is no number.
    let off = |a: f32, b: f32| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max(off(*a, *b))) / scale
}

#[test]
fn what_is_no_number_differs() {
    assert_eq!(difference(&[1.0, f32::NAN], &[1.0, 1.0]), f32::INFINITY);
    assert_eq!(difference(&[1.0, 1.0], &[f32::NAN, 1.0]), f32::INFINITY);
    assert_eq!(difference(&[1.5, 2.0], &[1.0, 2.0]), 0.25);
}

/// What may differ. Both sides add up in f32 in different orders: a few units in the last place per layer over sums of
/// some dozen terms, amplified by norms and softmax. Transformers multiplies positions and frequencies in f32, so its
/// angles are off by up to the largest position times half a unit in the last place.
fn tolerance(context: usize, layers: usize) -> f32 {
    let unit = f32::EPSILON;
    64.0 * (layers as f32 + 1.0) * unit + 2.0 * context as f32 * unit
}

/// Compares all runs of a fixture; tells how many values were compared and the first of each run that is off.
fn compare(path: &Path, options: &LoadOptions, goldens: &BTreeMap<String, Values>) -> (usize, Vec<String>) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for run in ["a", "b", "c", "d", "e", "f", "g"] {
        let (seen, context) = match Step::of(goldens, run) {
            _ if goldens.contains_key(&format!("pixels_{run}")) => sight::run(path, goldens, run, options),
            Some(step) => (step.run(path, options), step.context()),
            None => continue,
        };
        let layers = seen.keys().filter(|k| k.ends_with(".attn")).count();
        let bound = tolerance(context, layers);
        for (name, (_, expected)) in goldens.iter().filter_map(|(k, v)| Some((k.strip_prefix(&format!("{run}/"))?, v)))
        {
            let Some((_, found)) = seen.get(name) else {
                // What is computed of a pair of vectors is no part of a graph; layers behind those that are looked at are left out.
                let outside = name == "logits_per_image" || name == "v.layers.1" && goldens.contains_key("a/mm");
                compared += usize::from(outside && !options.fused);
                assert!(
                    outside || options.fused,
                    "{}: run {run}: no value is called {name}: {:?}",
                    path.display(),
                    seen.keys()
                );
                continue;
            };
            let off = difference(found, expected);
            compared += 1;
            if off > bound {
                wrong.push(format!("{}: run {run}: {name} is off by {off:e}, allowed {bound:e}", path.display()));
                break;
            }
        }
        // Encoders without a task end with their pooler or their last layer.
        let end =
            ["logits", "pooler", "image_embd"].into_iter().find(|end| goldens.contains_key(&format!("{run}/{end}")));
        assert!(seen.contains_key(end.unwrap()), "{}: {end:?} was not made", path.display());
    }
    let values = goldens.keys().filter(|k| k.contains('/')).count();
    assert!(
        compared > 0 && (options.fused || !wrong.is_empty() || compared == values),
        "{}: {compared} of {values}",
        path.display()
    );
    (compared, wrong)
}

/// Fails with everything that is wrong.
fn all_right(results: impl Iterator<Item = (usize, Vec<String>)>) -> usize {
    let (compared, wrong) = results.fold((0, Vec::new()), |(n, mut all), (m, wrong)| {
        all.extend(wrong);
        (n + m, all)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    compared
}

fn exact(tier: Tier, fused: bool, threads: usize) -> LoadOptions {
    let kv = KvType::F32;
    LoadOptions { tier: Some(tier), threads: Some(threads), exact: true, fused, kv, ..LoadOptions::default() }
}

#[test]
fn every_named_value_agrees_with_transformers() {
    let options = exact(Tier::Scalar, false, 1);
    let compared = all_right(tiny().iter().map(|dir| compare(dir, &options, &golden(dir))));
    assert!(compared > 400, "only {compared} values were compared");
}

#[test]
fn decomposed_graphs_mean_the_same() {
    let options = LoadOptions { decomposed: true, ..exact(Tier::Scalar, false, 1) };
    all_right(tiny().iter().map(|dir| compare(dir, &options, &golden(dir))));
}

#[test]
fn fused_plans_on_every_tier_agree_with_transformers() {
    let ways = Tier::supported().flat_map(|tier| [1, 3].map(|threads| exact(tier, true, threads)));
    let ways: Vec<_> = ways.collect();
    all_right(tiny().iter().flat_map(|dir| {
        let goldens = golden(dir);
        ways.iter().map(move |options| compare(dir, options, &goldens)).collect::<Vec<_>>()
    }));
}

/// Encoder-decoders write what transformers' `generate` does, texts of several lengths side by side, and so that each text is read
/// once.
#[test]
fn encoder_decoders_write_what_transformers_writes() {
    let mut written = 0;
    for dir in tiny().into_iter().filter(|dir| dir.parent().unwrap().ends_with("tiny_seq2seq")) {
        let goldens = golden(&dir);
        let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
        let start = argand_models::Model::open(&checkpoint, None).unwrap().start().unwrap();
        for (options, max_sequences) in
            Tier::supported().flat_map(|tier| [(exact(tier, true, 2), 1), (exact(tier, true, 2), 8)])
        {
            let options = LoadOptions { context: Some(64), sequences: 8, ..options };
            let (_, runner) = CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap();
            let mut engine = Engine::new(runner, EngineOptions { max_sequences, ..EngineOptions::default() });
            let mut wanted = BTreeMap::new();
            for run in ["a", "b", "a"] {
                let generated = ids(&goldens, &format!("generated_{run}")).unwrap();
                assert_eq!(generated[0], start);
                let stop = StopRules { max_tokens: Some(generated.len() - 1), ..StopRules::default() };
                let source = ids(&goldens, &format!("tokens_{run}")).unwrap();
                let request = Request { source, sampling: Sampling::greedy(), stop, ..Request::new(vec![start]) };
                wanted.insert(engine.add(request).unwrap(), (generated[1..].to_vec(), vec![]));
            }
            while !engine.is_idle() {
                for event in engine.step().unwrap() {
                    if let Event::Token { seq, id, .. } = event {
                        wanted.get_mut(&seq).unwrap().1.push(id);
                    }
                }
            }
            for (expected, found) in wanted.into_values() {
                assert_eq!(found, expected, "{}, {max_sequences} at once", dir.display());
                written += 1;
            }
        }
    }
    assert!(written >= 24, "only {written} texts were written");
}

/// A checkpoint that says to be the encoder alone is one.
#[test]
fn encoders_of_encoder_decoders_run_alone() {
    for dir in tiny().into_iter().filter(|dir| dir.parent().unwrap().ends_with("tiny_seq2seq")) {
        let (goldens, made) = (golden(&dir), tempfile::tempdir().unwrap());
        let mut config = Checkpoint::open(&dir).unwrap().config().unwrap().clone();
        config["architectures"] = serde_json::json!(["T5EncoderModel"]);
        std::fs::write(made.path().join("config.json"), config.to_string()).unwrap();
        std::fs::copy(dir.join("model.safetensors"), made.path().join("model.safetensors")).unwrap();
        let step = Step { decoded: None, ..Step::of(&goldens, "a").unwrap() };
        let seen = step.run(made.path(), &exact(Tier::Scalar, true, 1));
        let off = difference(&seen["enc.output_norm"].1, &goldens["a/enc.output_norm"].1);
        assert!(off <= tolerance(step.context(), 2), "{} is off by {off:e}", dir.display());
        assert!(!seen.contains_key("logits"));
    }
}

#[test]
fn gguf_files_give_the_same_values() {
    let twins: Vec<_> = tiny().into_iter().filter(|d| d.join("model.gguf").exists()).collect();
    assert!(twins.len() >= 10, "only {} twins", twins.len());
    let options = exact(Tier::Scalar, false, 1);
    all_right(twins.iter().map(|dir| compare(&dir.join("model.gguf"), &options, &golden(dir))));
}

/// The language model of one that joins text and image runs alone, under both ways to name its weights.
#[test]
fn the_text_part_of_a_larger_model_is_found() {
    let dir = tiny().into_iter().find(|dir| dir.ends_with("gemma3")).unwrap();
    let source = Checkpoint::open(&dir).unwrap();
    let config = serde_json::json!({ "model_type": "gemma3", "text_config": source.config().unwrap() });
    let older = |name: &str| format!("language_model.{name}");
    let newer = |name: &str| name.replacen("model.", "model.language_model.", 1);
    for inside in [older as fn(&str) -> String, newer] {
        let made = tempfile::tempdir().unwrap();
        std::fs::write(made.path().join("config.json"), config.to_string()).unwrap();
        let spec = |t: &argand_weights::TensorInfo| TensorSpec {
            name: inside(&t.name),
            shape: t.shape.clone(),
            dtype: t.codec.name().to_string(),
        };
        let specs: Vec<TensorSpec> = source.tensors().map(spec).collect();
        let mut writer = Writer::create(made.path().join("model.safetensors"), &[], &specs).unwrap();
        for t in source.tensors() {
            writer.write(&inside(&t.name), source.tensor(&t.name).unwrap().bytes).unwrap();
        }
        writer.finish().unwrap();
        all_right([compare(made.path(), &exact(Tier::Scalar, true, 1), &golden(&dir))].into_iter());
    }
}

/// A picture in a prompt is read by the engine as transformers reads it, however the prompt is cut.
#[test]
fn prompts_with_pictures_go_on_as_transformers_says() {
    let mut compared = 0;
    for dir in tiny() {
        let goldens = golden(&dir);
        for run in ["a", "b"].into_iter().filter(|run| goldens.contains_key(&format!("{run}/mm"))) {
            let (width, logits) = &goldens[&format!("{run}/logits")];
            let last = &logits[logits.len() - width..];
            let total = last.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            let mut order: Vec<usize> = (0..*width).collect();
            order.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
            for (fused, chunk) in [(true, 512), (true, 3), (false, 5)] {
                let options = LoadOptions { context: Some(64), ..exact(Tier::Scalar, fused, 2) };
                let found = sight::next(&dir, &goldens, run, &options, chunk);
                for ((token, logprob), expected) in found.iter().zip(&order) {
                    let wanted = f64::from(last[*expected]) - total;
                    assert_eq!(*token as usize, *expected, "{}: run {run}", dir.display());
                    assert!((f64::from(*logprob) - wanted).abs() < 1e-4, "{}: {logprob} for {wanted}", dir.display());
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 3 * 2 * 3 * 5);
}
