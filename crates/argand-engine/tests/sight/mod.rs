//! Fixtures of models that see: the tower, then captions or the language model with the tower's rows in the places of tokens.

use super::{Values, ids};
use argand_cpu::{Batch, Seq};
use argand_engine::{
    CpuRunner, Engine, EngineOptions, Event, Input, LoadOptions, Network, PictureRows, Request, Sampling, Seen,
    StopRules, Vision,
};
use argand_models::Model;
use argand_models::vision::Sight;
use argand_weights::Checkpoint;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

type Golden = BTreeMap<String, Values>;

/// All named values of a run, and the longest sequence.
pub fn run(path: &Path, golden: &Golden, run: &str, options: &LoadOptions) -> (Golden, usize) {
    let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
    let mut seen = Golden::new();
    let mut observe = |name: &str, values: &[f32], len: usize| {
        seen.insert(name.to_string(), (len, values.to_vec()));
    };
    let mut vision = Vision::load(&checkpoint, options, &mut |_| {}).unwrap();
    let (pictures, grid) = pictures(&vision, golden, run);
    let shown: Vec<Seen> = pictures.iter().map(|values| Seen { values, grid }).collect();
    let mut longest = match vision.sight() {
        Sight::Whole { rows, .. } => *rows,
        Sight::Patches { len, .. } => pictures[0].len() / len,
    };
    let rows = vision.step(&shown, Some(&mut observe)).unwrap();
    let Some(tokens) = ids(golden, &format!("tokens_{run}")) else { return (seen, longest) };
    longest = longest.max(tokens.len());
    let positions: Vec<u32> = (0..tokens.len() as u32).collect();
    if golden.contains_key(&format!("{run}/text_embd")) {
        let model = Model::open(&checkpoint, None).unwrap();
        let mut network = Network::load(&checkpoint, &model, &model.graph, options, &mut |_| {}).unwrap();
        let input = Input { tokens: &tokens, positions: &positions, ..Input::default() };
        network.run(&[tokens.len()], &input, Some(&mut observe)).unwrap();
        return (seen, longest);
    }
    let options = LoadOptions { context: Some(tokens.len()), ..options.clone() };
    let (_, mut runner) = CpuRunner::load(&checkpoint, &options, &mut |_| {}).unwrap();
    let picture = picture_token(&checkpoint);
    let mut next = 0;
    let mut place = |token: &u32| {
        next += u32::from(*token == picture);
        if *token == picture { next } else { 0 }
    };
    let placed: Vec<u32> = tokens.iter().map(&mut place).collect();
    let coordinates = ids(golden, &format!("positions_{run}")).unwrap_or_default();
    let coordinates: Vec<[u32; 3]> = match coordinates.len() {
        0 => vec![],
        n => (0..n / 3).map(|i| [0, 1, 2].map(|axis| coordinates[axis * n / 3 + i])).collect(),
    };
    let batch = Batch {
        tokens: &tokens,
        positions: &positions,
        coordinates: &coordinates,
        placed: &placed,
        seqs: &[Seq { rows: 0..tokens.len(), past: 0, pages: &[0] }],
        logit_rows: &positions,
        given: &[("pictures", &rows)],
        ..Batch::default()
    };
    runner.executor_mut().observed_step(&batch, Some(&mut observe)).unwrap();
    (seen, longest)
}

/// The token in whose places pictures stand.
fn picture_token(checkpoint: &Checkpoint) -> u32 {
    let field = |name: &str| checkpoint.config().unwrap().get(name).and_then(|id| id.as_u64());
    field("image_token_id").or(field("image_token_index")).unwrap() as u32
}

/// What a run looks at, picture by picture, and the grid of patches where it is free.
fn pictures(vision: &Vision, golden: &Golden, run: &str) -> (Vec<Vec<f32>>, Option<[u32; 3]>) {
    let pixels = &golden[&format!("pixels_{run}")].1;
    match vision.sight() {
        Sight::Whole { size, .. } => {
            let each = pixels.chunks(size.iter().product());
            (each.map(|picture| channels_last(picture, size[2])).collect(), None)
        }
        Sight::Patches { .. } => {
            let grid = ids(golden, &format!("grid_{run}")).unwrap();
            (vec![pixels.clone()], Some([grid[0], grid[1], grid[2]]))
        }
    }
}

/// What the engine says behind the prompt of a run, its picture being read in chunks of `prefill_chunk` rows: the likeliest tokens with
/// their log-probabilities.
pub fn next(path: &Path, golden: &Golden, run: &str, options: &LoadOptions, prefill_chunk: usize) -> Vec<(u32, f32)> {
    let checkpoint = Arc::new(Checkpoint::open(path).unwrap());
    let mut vision = Vision::load(&checkpoint, options, &mut |_| {}).unwrap();
    let (pictures, grid) = pictures(&vision, golden, run);
    let shown: Vec<Seen> = pictures.iter().map(|values| Seen { values, grid }).collect();
    let count = shown.iter().map(|picture| vision.rows(picture)).sum();
    let rows = vision.look(&shown, &mut |_| {}).unwrap().concat();
    let picture = Arc::new(PictureRows::new(rows, count, grid.map(|[t, h, w]| [t, h / 2, w / 2])).unwrap());
    let (mut marks, token) = (picture.marks(), picture_token(&checkpoint));
    let tokens = ids(golden, &format!("tokens_{run}")).unwrap();
    let prompt = tokens.into_iter().map(|t| if t == token { marks.next().unwrap() } else { t }).collect();
    let (_, runner) = CpuRunner::load(&checkpoint, options, &mut |_| {}).unwrap();
    let mut engine = Engine::new(runner, EngineOptions { prefill_chunk, ..EngineOptions::default() });
    let stop = StopRules { max_tokens: Some(1), ..StopRules::default() };
    let sampling = Sampling::greedy();
    let request = Request { pictures: vec![picture], stop, sampling, logprobs: Some(5), ..Request::new(prompt) };
    engine.add(request).unwrap();
    loop {
        for event in engine.step().unwrap() {
            if let Event::Token { logprobs, .. } = event {
                return logprobs.unwrap().top;
            }
        }
    }
}

/// `[channels, height, width]` with the channels last.
fn channels_last(values: &[f32], channels: usize) -> Vec<f32> {
    let pixels = values.len() / channels;
    (0..values.len()).map(|i| values[i % channels * pixels + i / channels]).collect()
}
