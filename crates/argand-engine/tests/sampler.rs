//! The sampling chain against distributions made by `parity/sampler_golden.py`, and against itself by counting draws.

use argand_engine::Sampling;
use argand_engine::sampler::{SampleContext, SampleError, Sampler, Stage, StageTrace};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    sampling: Sampling,
    history: Vec<u32>,
    prompt: usize,
    logits: Vec<f32>,
    stages: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    stage: Stage,
    p: Vec<(u32, f64)>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("golden/sampler.json")).expect("goldens parse")
}

fn context(case: &Case, stream: u64) -> SampleContext<'_> {
    SampleContext { history: &case.history, prompt: case.prompt, seed: 5, stream }
}

#[test]
fn every_stage_has_the_reference_distribution() {
    let mut sampler = Sampler::new();
    for case in cases() {
        case.sampling.check(case.logits.len()).expect("valid");
        let stages = sampler.trace(&case.sampling, &case.logits, &context(&case, 0)).expect("finite");
        assert_eq!(stages.len(), case.stages.len(), "{}", case.name);
        // A logit of magnitude m carries f32 rounding of m * eps per operation into the exponent; four operations touch it.
        let largest = case.logits.iter().fold(1.0f32, |m, l| m.max(l.abs()));
        let tolerance = f64::from(8.0 * largest * f32::EPSILON);
        for (StageTrace { stage, tokens: found }, golden) in stages.iter().zip(&case.stages) {
            let at = format!("{}: {stage:?}", case.name);
            assert_eq!(*stage, golden.stage, "{at}");
            let ids = |p: &[(u32, f64)]| p.iter().map(|(id, _)| *id).collect::<Vec<_>>();
            assert_eq!(ids(found), ids(&golden.p), "{at}");
            for ((id, a), (_, b)) in found.iter().zip(&golden.p) {
                assert!((a - b).abs() <= tolerance * b + 1e-12, "{at}: token {id} has {a}, reference {b}");
            }
        }
    }
}

#[test]
fn draws_follow_the_last_distribution() {
    let mut sampler = Sampler::new();
    for case in cases() {
        let expected = &case.stages.last().expect("a stage").p;
        let draws = 4000;
        let mut counts = vec![0.0; case.logits.len()];
        for stream in 0..draws {
            let id = sampler.sample(&case.sampling, &case.logits, &context(&case, stream)).expect("a token");
            counts[id as usize] += 1.0;
        }
        // Pearson's statistic over cells of at least five expected draws; the rest is one cell.
        let (mut statistic, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
        for (id, p) in expected {
            let (want, got) = (p * draws as f64, std::mem::take(&mut counts[*id as usize]));
            if want >= 5.0 {
                statistic += (got - want) * (got - want) / want;
                cells += 1.0;
            } else {
                rest = (rest.0 + want, rest.1 + got);
            }
        }
        if rest.0 >= 5.0 {
            statistic += (rest.1 - rest.0) * (rest.1 - rest.0) / rest.0;
        }
        assert_eq!(counts.iter().sum::<f64>(), 0.0, "{}: drew a removed token", case.name);
        // Mean and standard deviation of chi-square are n and sqrt(2 n); five deviations above.
        assert!(statistic <= cells + 5.0 * (2.0f64 * cells).sqrt(), "{}: {statistic} over {cells} cells", case.name);
    }
}

#[test]
fn large_vocabularies_are_selected_like_small_ones() {
    // Enough tokens that selection runs in many blocks; many equal logits, so that ties decide.
    let logits: Vec<f32> =
        (0..50_000u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 20) % 977) as f32 / 100.0).collect();
    let mut ranked: Vec<u32> = (0..50_000).collect();
    ranked.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
    let weight = |id: &u32| f64::from(logits[*id as usize]).exp();
    let total: f64 = ranked.iter().map(weight).sum();
    let mut sampler = Sampler::new();
    let context = SampleContext { history: &[], prompt: 0, seed: 0, stream: 0 };
    let mut survivors = |sampling: &Sampling| {
        let trace = sampler.trace(sampling, &logits, &context).expect("finite");
        trace[0].tokens.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    for k in [1, 2, 40, 63, 64, 1000, 49_999] {
        let mut expected = ranked[..k].to_vec();
        expected.sort_unstable();
        assert_eq!(survivors(&Sampling { top_k: k, ..Sampling::default() }), expected, "top-k {k}");
    }
    for p in [0.001f32, 0.1, 0.5, 0.9, 0.999] {
        let mut sum = 0.0;
        let n = ranked.iter().position(|id| {
            sum += weight(id);
            sum >= f64::from(p) * total
        });
        let mut expected = ranked[..=n.expect("reached")].to_vec();
        expected.sort_unstable();
        let found = survivors(&Sampling { top_p: p, ..Sampling::default() });
        // The reference sums f64 exponentials, the sampler f32 ones: the cut may move by one token.
        assert!(found.len().abs_diff(expected.len()) <= 1, "top-p {p}: {} for {}", found.len(), expected.len());
    }
}

#[test]
fn greedy_takes_the_lowest_of_equals_after_penalties() {
    let mut sampler = Sampler::new();
    let mut pick = |sampling: &Sampling, logits: &[f32], history: &[u32]| {
        sampler.sample(sampling, logits, &SampleContext { history, prompt: 0, seed: 1, stream: 0 })
    };
    assert_eq!(pick(&Sampling::greedy(), &[1.0, 3.0, 3.0, 2.0], &[]), Ok(1));
    let penalised = Sampling { repetition_penalty: 2.0, ..Sampling::greedy() };
    assert_eq!(pick(&penalised, &[1.0, 3.0, 2.9, 2.0], &[1, 1]), Ok(2));
    assert_eq!(pick(&penalised, &[-1.0, -3.0, -1.5], &[0]), Ok(2));
    let windowed = Sampling { penalty_window: 1, ..penalised };
    assert_eq!(pick(&windowed, &[1.0, 3.0, 2.9, 2.0], &[1, 0]), Ok(1));
    let only = Sampling { logit_bias: [(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)].into(), ..Sampling::default() };
    assert_eq!(pick(&only, &[9.0, 9.0, 0.0], &[]), Ok(2));
    assert_eq!(pick(&only, &[9.0, 9.0], &[7, 7]), Err(SampleError::Nothing { position: 2 }));
    assert_eq!(pick(&only, &[9.0, f32::NAN], &[7]), Err(SampleError::NotFinite { token: 1, position: 1 }));
}

#[test]
fn logprobs_are_those_of_the_model() {
    let logits = [0.0f32, 1.0, 2.0, 1.0];
    let sum: f32 = logits.iter().map(|l| l.exp()).sum();
    let found = Sampler::new().logprobs(&logits, 0, 3, 0).expect("finite");
    assert!((found.chosen + sum.ln()).abs() < 4.0 * f32::EPSILON * sum.ln());
    assert_eq!(found.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 3]);
    assert!((found.top[0].1 - (2.0 - sum.ln())).abs() < 1e-6);
}

#[test]
fn the_draw_depends_on_what_is_in_play_and_not_on_how_it_was_selected() {
    let mut sampler = Sampler::new();
    let logits: Vec<f32> = (0..300).map(|i| ((i * 37) % 300) as f32 / 60.0).collect();
    let top = Sampling { top_k: 9, ..Sampling::default() };
    // The same nine tokens, left by forbidding all others: these stay in the order of the vocabulary.
    let best = |id: &u32| logits[*id as usize] > 290.5 / 60.0;
    let forbidden = (0..300).filter(|id| !best(id)).map(|id| (id, f32::NEG_INFINITY)).collect();
    let only = Sampling { logit_bias: forbidden, ..Sampling::default() };
    let history = [0; 200];
    let mut drawn = Vec::new();
    for n in 0..history.len() {
        let context = SampleContext { history: &history[..n], prompt: 0, seed: 3, stream: 0 };
        let id = sampler.sample(&top, &logits, &context).expect("a token");
        assert_eq!(sampler.sample(&only, &logits, &context), Ok(id), "position {n}");
        drawn.push(id);
    }
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn.len(), 9, "every position draws anew");
}
