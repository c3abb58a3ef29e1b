//! Convolutional and recurrent pages against torch, and decoding against all paths (see `parity/`).

use argand_cpu::kv::KvType;
use argand_cpu::tier::Tier;
use argand_engine::labels::{crf::Crf, ctc};
use argand_engine::{Input, LoadOptions, Network, SpeechDetector, Speller};
use argand_models::Model;
use argand_weights::Checkpoint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shape and its values.
type Tensor = (Vec<usize>, Vec<f32>);
type Tensors = BTreeMap<String, Tensor>;

fn fixtures(folder: &str, least: usize) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests").join(folder);
    let mut all: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= least, "fixtures of {folder} are missing");
    all
}

fn tensors(path: PathBuf) -> Tensors {
    let file = Checkpoint::open(path).unwrap();
    let read = |info: &argand_weights::TensorInfo| {
        let mut values = vec![0.0; info.elements()];
        info.codec.decode(file.tensor(&info.name).unwrap().bytes, &mut values).unwrap();
        (info.name.clone(), (info.shape.clone(), values))
    };
    file.tensors().map(read).collect()
}

/// Naive and fused plans, every tier, one thread and several.
fn ways() -> Vec<LoadOptions> {
    let way = |tier, fused, threads| LoadOptions {
        tier: Some(tier),
        threads: Some(threads),
        exact: true,
        fused,
        kv: KvType::F32,
        ..LoadOptions::default()
    };
    Tier::supported().flat_map(|tier| [way(tier, false, 1), way(tier, true, 1), way(tier, true, 3)]).collect()
}

/// Both sides add up in f32 in different orders: units in the last place of the largest value, over `depth` layers of sums of some
/// dozen terms.
fn assert_near(found: &[f32], expected: &[f32], depth: usize, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    let off = found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
    let bound = 16.0 * (depth + 1) as f32 * f32::EPSILON;
    assert!(off <= bound, "{what} is off by {off:e}, allowed {bound:e}");
}

/// `[images, channels, height, width]` with the channels last.
fn channels_last((shape, values): &Tensor) -> Vec<f32> {
    let &[n, c, h, w] = shape.as_slice() else { panic!("{shape:?}") };
    let at = |i: usize| (i / (h * w * c) * c + i % c) * h * w + i / c % (h * w);
    (0..n * c * h * w).map(|i| values[at(i)]).collect()
}

fn seen(network: &mut Network, rows: &[usize], input: &Input<'_>) -> (BTreeMap<String, Vec<f32>>, Vec<f32>) {
    let mut seen = BTreeMap::new();
    let mut observe = |name: &str, values: &[f32], _: usize| drop(seen.insert(name.to_string(), values.to_vec()));
    let output = network.run(rows, input, Some(&mut observe)).unwrap().to_vec();
    (seen, output)
}

#[test]
fn convolutional_networks_agree_with_torch() {
    let mut compared = 0;
    for dir in fixtures("tiny_cnn", 7) {
        let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
        let golden = tensors(dir.join("golden.safetensors"));
        let input = &golden["input_a"];
        let model = Model::for_pictures(&checkpoint, [input.0[2], input.0[3]]).unwrap();
        let pixels = channels_last(input);
        for options in ways() {
            let mut network = Network::load(&checkpoint, &model, &model.graph, &options, &mut |_| {}).unwrap();
            let depth = model.graph.body.nodes.len();
            let given = [("pixels", pixels.as_slice())];
            let (seen, output) = seen(&mut network, &vec![0; input.0[0]], &Input { given: &given, ..Input::default() });
            assert_near(&output, &golden["a/output"].1, depth, &format!("{}: output", dir.display()));
            for (name, (_, expected)) in golden.iter().filter_map(|(k, v)| Some((k.strip_prefix("a/")?, v))) {
                // The last part of a block without a residual is the block.
                let found = seen.get(name).or_else(|| seen.get(name.strip_suffix(".project")?));
                match found {
                    Some(found) => assert_near(found, expected, depth, &format!("{}: {name}", dir.display())),
                    None => assert!(options.fused, "{}: no value is called {name}: {:?}", dir.display(), seen.keys()),
                }
                compared += usize::from(found.is_some());
            }
        }
    }
    assert!(compared > 200, "only {compared} values were compared");
}

/// States `[layers x directions, hidden]` of all parts as the graph wants them, a value for each layer and direction.
fn states(golden: &Tensors, run: &str, sides: usize) -> Vec<(String, Vec<f32>)> {
    let part = |letter: &str| golden.get(&format!("{letter}_0_{run}"));
    let Some((shape, h)) = part("h") else { return vec![("state.0.on".into(), vec![0.0; golden["a/output"].0[1]])] };
    let (hidden, c) = (shape[1], part("c").map(|c| &c.1));
    let state = |i: usize| {
        let rows = i * hidden..(i + 1) * hidden;
        let values = [&h[rows.clone()], c.map_or(&[], |c| &c[rows])].concat();
        (format!("state.{}.{}", i / sides, ["on", "back"][i % sides]), values)
    };
    (0..shape[0]).map(state).collect()
}

#[test]
fn recurrent_networks_agree_with_torch_and_onnx() {
    let networks = fixtures("tiny_rnn", 12).into_iter().filter(|d| {
        let name = d.file_name().unwrap().to_str().unwrap();
        name.starts_with("lstm") || name.starts_with("gru")
    });
    let mut compared = 0;
    for dir in networks {
        let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
        let golden = tensors(dir.join("golden.safetensors"));
        let model = Model::open(&checkpoint, None).unwrap();
        let sides = 1 + usize::from(checkpoint.config().unwrap()["bidirectional"].as_bool().unwrap());
        let hidden = golden["a/output"].0[1] / sides;
        for (options, run) in ways().iter().flat_map(|o| ["a", "b"].map(|run| (o, run))) {
            let Some((shape, frames)) = golden.get(&format!("input_{run}")) else { continue };
            let what = format!("{}, run {run}", dir.display());
            let mut network = Network::load(&checkpoint, &model, &model.graph, options, &mut |_| {}).unwrap();
            let states = states(&golden, run, sides);
            let mut given: Vec<(&str, &[f32])> = states.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            given.push(("frames", frames));
            let (seen, output) = seen(&mut network, &shape[..1], &Input { given: &given, ..Input::default() });
            assert_near(&output, &golden[&format!("{run}/output")].1, shape[0], &what);
            for (letter, part) in [("h", 0), ("c", 1)] {
                let Some((_, expected)) = golden.get(&format!("{run}/{letter}_n")) else { continue };
                for (i, expected) in expected.chunks(hidden).enumerate() {
                    let values = &seen[&format!("states.{}.{}", i / sides, ["on", "back"][i % sides])];
                    let row = values.len() / shape[0];
                    let last = if i % sides == 1 { &values[..row] } else { &values[values.len() - row..] };
                    assert_near(&last[part * hidden..][..hidden], expected, shape[0], &format!("{what}: {letter}_n"));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 100, "only {compared} states were compared");
}

#[test]
fn words_are_spelled_as_torch_spells_them() {
    let dir = fixtures("tiny_rnn", 12).into_iter().find(|d| d.ends_with("g2p_gru")).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
    let golden = tensors(dir.join("golden.safetensors"));
    let model = Model::open(&checkpoint, None).unwrap();
    let ids = |name: &str| golden[name].1.iter().map(|x| *x as u32).collect::<Vec<_>>();
    for (options, run) in ways().iter().flat_map(|o| ["a", "b"].map(|run| (o, run))) {
        let letters = ids(&format!("tokens_{run}"));
        let mut reader = Network::load(&checkpoint, &model, &model.graph, options, &mut |_| {}).unwrap();
        let (seen, _) = seen(&mut reader, &[letters.len()], &Input { tokens: &letters, ..Input::default() });
        assert_near(&seen["enc"], &golden[&format!("{run}/enc")].1, letters.len(), &format!("run {run}: enc"));
        let mut speller = Speller::load(&checkpoint, &model, options).unwrap();
        assert_eq!(speller.spell(&letters).unwrap(), ids(&format!("generated_{run}")), "run {run}");
    }
}

#[test]
fn speech_is_told_as_torch_tells_it() {
    let dir = fixtures("tiny_cnn", 7).into_iter().find(|d| d.ends_with("silero_vad")).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
    let golden = tensors(dir.join("golden.safetensors"));
    let model = Model::open(&checkpoint, None).unwrap();
    let rows = &golden["a/output"].1;
    let listener = model.read(argand_models::pages::silero_vad::listener).unwrap();
    for options in ways() {
        let mut ear = Network::load(&checkpoint, &model, &listener, &options, &mut |_| {}).unwrap();
        let given = [("chunks", rows.as_slice())];
        let found = ear.run(&[5], &Input { given: &given, ..Input::default() }, None).unwrap();
        assert_near(found, &golden["speech"].1, 5, "speech");
        // A whole number of chunks, and some samples more: the end is filled up with silence.
        let samples: Vec<f32> = (0..16 * 70 + 3).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut detector = SpeechDetector::load(&checkpoint, &model, &options).unwrap();
        let all = detector.probabilities(&samples).unwrap();
        assert_eq!((all.len(), detector.chunk()), (71, 16));
        assert_eq!(detector.probabilities(&samples[..16 * 70]).unwrap(), all[..70]);
        assert!(detector.probabilities(&[]).unwrap().is_empty());
    }
}

/// What rows attend to lies on pages that the sequences of a run share out, more than one for some.
#[test]
fn sequences_of_a_run_have_pages_of_their_own() {
    let dir = fixtures("tiny", 39).into_iter().find(|d| d.ends_with("llama")).unwrap();
    let checkpoint = Arc::new(Checkpoint::open(&dir).unwrap());
    let model = Model::open(&checkpoint, None).unwrap();
    let options = LoadOptions { sequences: 3, max_rows: 300, ..ways()[1].clone() };
    let mut network = Network::load(&checkpoint, &model, &model.graph, &options, &mut |_| {}).unwrap();
    let lengths = [70, 3, 130];
    let tokens = |seed: usize, n: usize| (0..n).map(|i| ((i * i + seed * 5) % 29) as u32).collect::<Vec<_>>();
    let mut run = |seeds: &[usize]| {
        let rows: Vec<usize> = seeds.iter().map(|seed| lengths[*seed]).collect();
        let all: Vec<u32> = seeds.iter().flat_map(|seed| tokens(*seed, lengths[*seed])).collect();
        let positions: Vec<u32> = rows.iter().flat_map(|n| 0..*n as u32).collect();
        let ends = rows.iter().scan(0, |end, n| {
            *end += *n as u32;
            Some(*end - 1)
        });
        let wanted: Vec<u32> = ends.collect();
        let input = Input { tokens: &all, positions: &positions, wanted: &wanted, ..Input::default() };
        network.run(&rows, &input, None).map(<[f32]>::to_vec)
    };
    let alone: Vec<f32> = (0..3).flat_map(|seed| run(&[seed]).unwrap()).collect();
    assert_eq!(run(&[0, 1, 2]).unwrap(), alone);
    assert!(run(&[0, 1, 2, 2]).is_err(), "there are rows and pages for so many only");
}

#[test]
fn ctc_finds_the_likeliest_labels() {
    let dir = fixtures("tiny_rnn", 12).into_iter().find(|d| d.ends_with("ctc")).unwrap();
    let golden = tensors(dir.join("golden.safetensors"));
    let labels = |values: &[f32]| values.iter().filter(|v| **v >= 0.0).map(|v| *v as usize).collect::<Vec<_>>();
    for run in ["a", "b", "c"] {
        let (shape, log_probs) = &golden[&format!("log_probs_{run}")];
        assert_eq!(ctc::greedy(log_probs, shape[1], 0), labels(&golden[&format!("{run}/greedy")].1));
        // Wide enough to keep every beginning: the search is exact.
        let found = ctc::beam(log_probs, shape[1], 0, 5000);
        let (width, best) = &golden[&format!("{run}/labels")];
        for ((expected, score), found) in best.chunks(width[1]).zip(&golden[&format!("{run}/scores")].1).zip(&found) {
            assert_eq!(found.0, labels(expected), "run {run}");
            assert!((found.1 - f64::from(*score)).abs() < 1e-5, "run {run}: {} for {score}", found.1);
        }
        let total: f64 = found.iter().map(|f| f.1.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "run {run}: all labels have the probability {total}");
        let narrow = ctc::beam(log_probs, shape[1], 0, 3);
        assert!(narrow.len() == 3 && narrow[0].1 <= found[0].1 + 1e-12, "run {run}");
    }
    assert_eq!(ctc::greedy(&[], 4, 0), Vec::<usize>::new());
    assert_eq!(ctc::beam(&[], 4, 0, 2), vec![(vec![], 0.0)]);
}

#[test]
fn crf_finds_the_best_tags_and_the_sum_of_all() {
    let dir = fixtures("tiny_rnn", 12).into_iter().find(|d| d.ends_with("crf")).unwrap();
    let (weights, golden) = (tensors(dir.join("model.safetensors")), tensors(dir.join("golden.safetensors")));
    let part = |name: &str| weights[name].1.clone();
    let crf = Crf { start: part("start_transitions"), step: part("transitions"), end: part("end_transitions") };
    for run in ["a", "b", "c"] {
        let emissions = &golden[&format!("emissions_{run}")].1;
        let (tags, score) = crf.best(emissions);
        let expected: Vec<usize> = golden[&format!("{run}/tags")].1.iter().map(|t| *t as usize).collect();
        assert_eq!(tags, expected, "run {run}");
        for (found, name) in [(score, "score"), (crf.partition(emissions), "partition")] {
            let expected = f64::from(golden[&format!("{run}/{name}")].1[0]);
            assert!(
                (found - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                "run {run}: {name} {found} for {expected}"
            );
        }
    }
    assert_eq!(crf.best(&[]), (vec![], 0.0));
}
