//! Whole models through the executor: against an `f64` interpreter, and against themselves in other batches and threads.

mod common;

use argand_codec::Codec;
use argand_cpu::kv::{KvType, PAGE_TOKENS};
use argand_cpu::tier::Tier;
use argand_cpu::{Error, Executor, Options};
use argand_graph::Pool;
use common::Random;
use common::driver::{Attempt, Cut, MAX_ROWS, PAGES, Sequence, load, options, read, run, run_alone, write};
use common::models::{Model, VOCAB, around, encoder, gated, gemma, layers, legacy, llama, mixed, models, pair};
use common::reference::{Expected, expect, expect_after};

/// Fails unless all logits are equal, bit for bit.
fn assert_same(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differ = |i: &usize| a[*i].to_bits() != b[*i].to_bits();
    let count = (0..a.len()).filter(differ).count();
    if let Some(i) = (0..a.len()).find(differ) {
        let (row, column) = (i / VOCAB, i % VOCAB);
        panic!("{what}: {count} of {} differ, first row {row}, logit {column}: {} and {}", a.len(), a[i], b[i]);
    }
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    Random(seed).tokens(n, VOCAB)
}

/// Both kinds of products.
fn modes() -> [(bool, &'static str); 2] {
    [(true, "exact"), (false, "integer")]
}

/// A prefill, a chunk across a page border, and steps of few tokens: what every kernel for few and many rows meets.
const CUTS: [usize; 6] = [40, 30, 1, 2, 1, 6];

#[test]
fn programs_compute_what_the_graph_means() {
    for model in models() {
        let tokens = tokens(CUTS.iter().sum(), 1);
        for (exact, mode) in modes() {
            let expected = expect(&model.graph, &model.weights, &tokens, !exact, KvType::F32);
            for tier in Tier::supported() {
                let [naive, fused] = [false, true].map(|fused| {
                    let what = format!("{}, {mode}, {tier}, fused: {fused}", model.name);
                    let mut executor = load(&model, Options { tier, exact, fused, ..options() });
                    let found = run_alone(&mut executor, &tokens, &CUTS);
                    expected.assert_near(&found, &what);
                    found
                });
                assert_same(&naive, &fused, &format!("{}, {mode}, {tier}: naive and fused", model.name));
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for model in models() {
        let tokens = tokens(CUTS.iter().sum(), 2);
        for (exact, mode) in modes() {
            let [one, two, three] = [1, 2, 3].map(|threads| {
                let mut executor = load(&model, Options { threads, exact, kv: KvType::F16, ..options() });
                run_alone(&mut executor, &tokens, &CUTS)
            });
            assert_same(&one, &two, &format!("{}, {mode}: 1 and 2 threads", model.name));
            assert_same(&one, &three, &format!("{}, {mode}: 1 and 3 threads", model.name));
        }
    }
}

/// Four sequences on scattered pages, and steps that mix their prefills and decode rows.
fn ragged() -> (Vec<Sequence>, Vec<Cut>) {
    let sequence = |n, seed, pages: &[u32]| Sequence { tokens: tokens(n, seed), pages: pages.to_vec() };
    let sequences = vec![
        sequence(141, 3, &[17, 2, 11]),
        sequence(70, 4, &[9, 0]),
        sequence(6, 5, &[23]),
        sequence(133, 6, &[5, 14, 1]),
    ];
    let steps = vec![
        vec![(0, 50), (2, 1)],
        vec![(2, 1), (0, 33), (1, 64)],
        vec![(1, 1), (0, 50), (2, 1), (3, 100)],
        vec![(0, 1), (1, 1), (2, 1), (3, 1)],
        vec![(3, 29), (0, 7), (1, 4), (2, 2)],
        vec![(3, 3)],
    ];
    (sequences, steps)
}

#[test]
fn sequences_do_not_see_their_batch() {
    let (sequences, steps) = ragged();
    for model in models() {
        for (exact, mode) in modes() {
            for kv in [KvType::F32, KvType::F16] {
                let mut executor = load(&model, Options { exact, kv, ..options() });
                let together = run(&mut executor, &sequences, &steps);
                for (i, (s, found)) in sequences.iter().zip(&together).enumerate() {
                    let alone = run_alone(&mut executor, &s.tokens, &[s.tokens.len()]);
                    assert_same(found, &alone, &format!("{}, {mode}, {kv:?}, sequence {i}", model.name));
                }
            }
        }
    }
}

/// Quantised pages are widened to floats for many rows only, so that sums round differently and a level may flip.
#[test]
fn quantised_caches_see_their_batch_within_their_rounding() {
    let (sequences, steps) = ragged();
    for model in models() {
        for (exact, mode) in modes() {
            let mut executor = load(&model, Options { exact, kv: KvType::Q8_0, ..options() });
            let together = run(&mut executor, &sequences, &steps);
            for (i, (s, found)) in sequences.iter().zip(&together).enumerate().skip(1).take(2) {
                let what = format!("{}, {mode}, sequence {i}", model.name);
                let expected = expect(&model.graph, &model.weights, &s.tokens, !exact, KvType::Q8_0);
                expected.assert_near(found, &what);
                let alone = run_alone(&mut executor, &s.tokens, &[s.tokens.len()]);
                let around = Expected { logits: found.iter().map(|x| f64::from(*x)).collect(), ..expected };
                around.assert_near(&alone, &what);
            }
        }
    }
}

#[test]
fn one_token_at_a_time_is_the_same_as_all_at_once() {
    let tokens = tokens(75, 7);
    for model in models() {
        for (exact, mode) in modes() {
            for tier in Tier::supported() {
                let mut executor = load(&model, Options { tier, exact, kv: KvType::F16, ..options() });
                let at_once = run_alone(&mut executor, &tokens, &[tokens.len()]);
                let one_by_one = run_alone(&mut executor, &tokens, &vec![1; tokens.len()]);
                assert_same(&at_once, &one_by_one, &format!("{}, {mode}, {tier}", model.name));
            }
        }
    }
}

/// Sequences may read the same page, and go on from a copy of one that is not full.
#[test]
fn pages_are_shared_and_copied() {
    for model in models() {
        let mut executor = load(&model, Options { kv: KvType::F16, ..options() });
        let prefix = tokens(PAGE_TOKENS + 10, 8);
        let [a, b] = [9, 10].map(|seed| [prefix.clone(), tokens(4, seed)].concat());
        let [alone_a, alone_b] = [&a, &b].map(|t| run_alone(&mut executor, t, &[t.len()]));

        let first = Sequence { tokens: prefix.clone(), pages: vec![7, 3] };
        run(&mut executor, &[first], &[vec![(0, prefix.len())]]);
        executor.copy_page(3, 19);
        for offset in 0..4 {
            let past = prefix.len() + offset;
            let step = Attempt {
                tokens: vec![b[past], a[past]],
                positions: vec![past as u32; 2],
                seqs: vec![(0..1, past, vec![7, 19]), (1..2, past, vec![7, 3])],
                logit_rows: vec![1, 0],
            };
            let found = step.run(&mut executor).unwrap();
            let range = past * VOCAB..(past + 1) * VOCAB;
            assert_same(&found[..VOCAB], &alone_a[range.clone()], model.name);
            assert_same(&found[VOCAB..], &alone_b[range], model.name);
        }
    }
}

#[test]
fn steps_without_logits_fill_the_cache() {
    for model in models() {
        for (exact, mode) in modes() {
            let mut executor = load(&model, Options { exact, ..options() });
            let tokens = tokens(71, 11);
            let alone = run_alone(&mut executor, &tokens, &[tokens.len()]);
            let step = |range: std::ops::Range<usize>, logit_rows| Attempt {
                tokens: tokens[range.clone()].to_vec(),
                positions: range.clone().map(|p| p as u32).collect(),
                seqs: vec![(0..range.len(), range.start, vec![12, 8])],
                logit_rows,
            };
            for quiet in [0..60, 60..69, 69..70] {
                assert!(step(quiet, vec![]).run(&mut executor).unwrap().is_empty(), "{}", model.name);
            }
            let last = step(70..71, vec![0]).run(&mut executor).unwrap();
            assert_same(&last, &alone[70 * VOCAB..], &format!("{}, {mode}", model.name));
        }
    }
}

#[test]
fn logits_come_in_the_order_asked() {
    let mut executor = load(&gemma(), options());
    let mut step = Attempt::sound();
    let in_order = step.run(&mut executor).unwrap();
    step.logit_rows = vec![3, 1, 3];
    let other = step.run(&mut executor).unwrap();
    assert_same(&other, &[&in_order[VOCAB..], &in_order[..VOCAB], &in_order[VOCAB..]].concat(), "rows 3, 1, 3");
}

/// What breaks a promise is refused by name, and the executor still works.
#[test]
fn malformed_steps_are_refused() {
    let mut executor = load(&llama(|_| Codec::F32), options());
    let sound = Attempt::sound().run(&mut executor).unwrap();
    let too_many = MAX_ROWS + 1;
    type Change = Box<dyn Fn(&mut Attempt)>;
    let changes: Vec<(&str, Change)> = vec![
        (
            "no tokens",
            Box::new(|s| *s = Attempt { tokens: vec![], positions: vec![], seqs: vec![], logit_rows: vec![] }),
        ),
        (
            "more rows than promised",
            Box::new(move |s| {
                s.tokens = vec![0; too_many];
                s.positions = (0..too_many as u32).collect();
                s.seqs = vec![(0..too_many, 0, (0..PAGES as u32).collect())];
            }),
        ),
        ("too few positions", Box::new(|s| s.positions.truncate(3))),
        ("a token past the vocabulary", Box::new(|s| s.tokens[2] = VOCAB as u32)),
        ("the largest token", Box::new(|s| s.tokens[0] = u32::MAX)),
        ("the largest position", Box::new(|s| s.positions[1] = u32::MAX)),
        ("a gap between sequences", Box::new(|s| s.seqs[1].0 = 3..4)),
        ("overlapping sequences", Box::new(|s| s.seqs[1].0 = 1..4)),
        ("rows of no sequence", Box::new(|s| s.seqs[1].0 = 2..3)),
        ("rows past the end", Box::new(|s| s.seqs[1].0 = 2..5)),
        ("a sequence without rows", Box::new(|s| s.seqs.insert(1, (2..2, 0, vec![4])))),
        ("rows that run backwards", Box::new(|s| s.seqs[1].0 = std::ops::Range { start: 2, end: 1 })),
        ("a page outside of the pool", Box::new(|s| s.seqs[0].2 = vec![PAGES as u32])),
        ("the largest page", Box::new(|s| s.seqs[0].2 = vec![u32::MAX])),
        ("no page", Box::new(|s| s.seqs[0].2.clear())),
        ("a page too few", Box::new(|s| s.seqs[0].1 = PAGE_TOKENS - 1)),
        (
            "a past page outside of the pool",
            Box::new(|s| {
                s.seqs[0].1 = PAGE_TOKENS;
                s.seqs[0].2 = vec![PAGES as u32, 3];
            }),
        ),
        ("the largest past", Box::new(|s| s.seqs[0].1 = usize::MAX)),
        ("two sequences on one page", Box::new(|s| s.seqs[1].2 = vec![3])),
        (
            "a sequence that meets itself",
            Box::new(|s| {
                s.tokens = vec![0; PAGE_TOKENS + 1];
                s.positions = (0..PAGE_TOKENS as u32 + 1).collect();
                s.seqs = vec![(0..PAGE_TOKENS + 1, 0, vec![3, 3])];
            }),
        ),
        ("logits of no row", Box::new(|s| s.logit_rows.push(4))),
    ];
    let mut wrong = vec![];
    for (what, change) in changes {
        let mut step = Attempt::sound();
        change(&mut step);
        // A panic would be a refusal without a reason.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step.run(&mut executor)));
        match result {
            Ok(Err(Error::Batch(_))) => {}
            Ok(Err(other)) => wrong.push(format!("{what}: refused as {other:?}")),
            Ok(Ok(_)) => wrong.push(format!("{what}: accepted")),
            Err(_) => wrong.push(format!("{what}: panicked")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_same(&Attempt::sound().run(&mut executor).unwrap(), &sound, "after all refusals");
}

/// Pieces of a gated product are cut by one weight and shared by the other, whose rows may be larger or smaller.
#[test]
fn gates_of_another_codec() {
    let tokens = tokens(18, 12);
    for (gate, up) in [(Codec::Q8_0, Codec::Q4_0), (Codec::Q4_0, Codec::Q8_0)] {
        let model = gated(gate, up);
        for (exact, mode) in modes() {
            let expected = expect(&model.graph, &model.weights, &tokens, !exact, KvType::F32);
            for tier in Tier::supported() {
                let run = |fused, threads| {
                    let mut executor = load(&model, Options { tier, exact, fused, threads, ..options() });
                    run_alone(&mut executor, &tokens, &[8, 1, 9])
                };
                let what = format!("{gate}, {up}, {mode}, {tier}");
                let naive = run(false, 2);
                expected.assert_near(&naive, &what);
                for threads in [1, 3] {
                    assert_same(&naive, &run(true, threads), &what);
                }
            }
        }
    }
}

/// Encoders see a whole sequence at once, and give a row for each sequence, whatever else is in the step.
#[test]
fn encoders_give_a_row_for_each_sequence() {
    let texts = [tokens(70, 14), tokens(1, 15), tokens(33, 16)];
    for (pool, (exact, mode)) in
        [Pool::Mean, Pool::Max, Pool::First, Pool::Last].into_iter().flat_map(|p| modes().map(|m| (p, m)))
    {
        let model = encoder(pool);
        for (tier, fused) in Tier::supported().flat_map(|tier| [(tier, false), (tier, true)]) {
            let what = format!("{pool:?}, {mode}, {tier}, fused: {fused}");
            let mut executor = load(&model, Options { tier, exact, fused, threads: 3, ..options() });
            let mut step = |texts: &[Vec<u32>]| {
                let (mut seqs, mut page, mut row) = (vec![], 0, 0);
                for text in texts {
                    let pages = page..page + text.len().div_ceil(PAGE_TOKENS) as u32;
                    page = pages.end;
                    seqs.push((row..row + text.len(), 0, pages.collect()));
                    row += text.len();
                }
                let positions = texts.iter().flat_map(|t| 0..t.len() as u32).collect();
                Attempt { tokens: texts.concat(), positions, seqs, logit_rows: vec![] }.run(&mut executor).unwrap()
            };
            let together = step(&texts);
            for (text, found) in texts.iter().zip(together.chunks(VOCAB)) {
                assert_same(found, &step(std::slice::from_ref(text)), &what);
                expect(&model.graph, &model.weights, text, !exact, KvType::F32).assert_near(found, &what);
            }
        }
    }
}

/// What a decoder writes follows from the whole text that was read for its sequence, however long, and from nothing else of the
/// batch; the text is read once and recalled at every step.
#[test]
fn decoders_recall_what_was_read_for_their_sequence() {
    let on = |tokens: Vec<u32>, pages: &[u32]| Sequence { tokens, pages: pages.to_vec() };
    let texts = [
        on(tokens(141, 20), &[17, 2, 11]),
        on(tokens(1, 21), &[0]),
        on(tokens(64, 22), &[5]),
        on(tokens(65, 23), &[7, 3]),
    ];
    let all = [
        on(tokens(70, 24), &[1, 4]),
        on(tokens(70, 25), &[6, 8]),
        on(tokens(70, 26), &[9, 10]),
        on(tokens(70, 27), &[12, 13]),
    ];
    for ((exact, mode), kv) in modes().into_iter().flat_map(|m| [KvType::F32, KvType::F16].map(|kv| (m, kv))) {
        let model = if exact { pair(|_| Codec::F32) } else { pair(legacy) };
        for tier in Tier::supported() {
            let ways = [(false, 1), (true, 1), (true, 2), (true, 3)];
            let mut same: Option<Vec<Vec<f32>>> = None;
            for (fused, threads) in ways {
                let what = format!("{mode}, {kv:?}, {tier}, fused: {fused}, {threads} threads");
                let mut executor = load(&model, Options { tier, exact, fused, threads, kv, ..options() });
                read(&mut executor, &texts).unwrap();
                let mut found = vec![vec![]; all.len()];
                let mut past = 0;
                for rows in [40, 1, 1, 28] {
                    let logits = write(&mut executor, &all, &texts, past, rows).unwrap();
                    found.iter_mut().zip(logits.chunks(rows * VOCAB)).for_each(|(all, own)| all.extend_from_slice(own));
                    past += rows;
                }
                match &same {
                    None => same = Some(found),
                    Some(same) => same.iter().zip(&found).for_each(|(a, b)| assert_same(a, b, &what)),
                }
            }
            let found = same.unwrap();
            for (i, (text, s)) in texts.iter().zip(&all).enumerate() {
                let what = format!("{mode}, {kv:?}, {tier}, sequence {i}");
                expect_after(&model.graph, &model.weights, &text.tokens, &s.tokens, !exact, kv)
                    .assert_near(&found[i], &what);
                let mut executor = load(&model, Options { tier, exact, kv, ..options() });
                let (text, s) = ([text.clone()], [s.clone()]);
                read(&mut executor, &text).unwrap();
                assert_same(&write(&mut executor, &s, &text, 0, 70).unwrap(), &found[i], &format!("{what} alone"));
            }
        }
    }
}

#[test]
fn memories_are_checked() {
    let model = pair(|_| Codec::F32);
    let mut executor = load(&model, options());
    let refused = |result: Result<Vec<f32>, Error>, what: &str| match result {
        Err(Error::Batch(told)) => assert!(told.contains(what), "{what}: {told}"),
        other => panic!("{what}: {other:?}"),
    };
    let on = |n, pages: &[u32]| Sequence { tokens: tokens(n, 30), pages: pages.to_vec() };
    let (text, s) = (on(70, &[2, 3]), [on(4, &[1])]);
    read(&mut executor, std::slice::from_ref(&text)).unwrap();
    let sound = write(&mut executor, &s, std::slice::from_ref(&text), 0, 4).unwrap();
    refused(write(&mut executor, &s, &[], 0, 4), "1 sequences, 0 memories");
    refused(write(&mut executor, &s, &[on(0, &[])], 0, 4), "0 tokens");
    refused(write(&mut executor, &s, &[on(70, &[2])], 0, 4), "70 tokens on pages [2]");
    refused(write(&mut executor, &s, &[on(1, &[PAGES as u32])], 0, 4), "of 24");
    assert!(read(&mut executor, &[on(MAX_ROWS + 1, &(0..9).collect::<Vec<_>>())]).is_err());
    assert!(read(&mut executor, &[on(70, &[2])]).is_err());
    assert_same(&write(&mut executor, &s, &[text], 0, 4).unwrap(), &sound, "after all refusals");
    let mut none = load(&llama(|_| Codec::F32), options());
    assert!(read(&mut none, &[on(4, &[1])]).is_err_and(|e| e.to_string().contains("no encoder")));
}

fn describe(model: &Model, fused: bool) -> (String, usize) {
    let executor: Executor = load(model, Options { fused, ..options() });
    (executor.program().describe(), executor.program().phases())
}

#[test]
fn a_fused_layer_has_six_phases() {
    let (text, phases) = describe(&llama(|_| Codec::F32), true);
    let expected = "\
rows[N] embed()->token_embd
repeat 0
linear[R] {gather(token_embd)->%2; rmsnorm(%2)->output_norm} output_norm x output -> output
layers: 2 layers [0, 0]
body 0:
  linear[N] {rmsnorm(%0)->attn_norm} attn_norm x attn_q + attn_k + attn_v -> attn_q, attn_k, attn_v
  rows[N] rope(attn_q)->%5; rope(attn_k)->%6; write(%6, attn_v)->cache
  attend %5 -> attn
  linear[N] attn x attn_out + %0 -> %9
  linear[N] {rmsnorm(%9)->ffn_norm} ffn_norm x ffn_gate + ffn_up glu silu -> %14
  linear[N] %14 x ffn_down + %9 -> %16
";
    assert_eq!(text, expected);
    // The embedding, two layers, the head.
    assert_eq!(phases, 1 + 2 * 6 + 1);
    let (_, naive) = describe(&llama(|_| Codec::F32), false);
    // Embedding; 2 norms, 7 products, 2 rotations, write, attention, activation, gate, 2 sums; rows, norm, head.
    assert_eq!(naive, 1 + 2 * 17 + 3);
}

/// What is made before layers can be used behind them, whatever memory they run in.
#[test]
fn values_live_across_layers() {
    let tokens = tokens(20, 13);
    let models = [
        around("input of one layer", |x, _| x + layers(x, 1)),
        around("input of two layers", |x, _| x + layers(x, 2)),
        around("product of the input", |x, before| layers(x, 2) + before),
        around("product of the input, other order", |x, before| before + layers(x, 1)),
        around("products before and behind one layer", |x, before| before + layers(x, 1).linear("behind", 64)),
        around("products before and behind two layers", |x, before| before + layers(x, 2).linear("behind", 64)),
        around("input of layers that is a product", |x, before| layers(before, 2) + x),
        around("no layers", |x, before| layers(x, 0) + before),
    ];
    let mut wrong = vec![];
    for model in models {
        let expected = expect(&model.graph, &model.weights, &tokens, false, KvType::F32);
        for fused in [false, true] {
            let mut executor = load(&model, Options { fused, ..options() });
            let found = run_alone(&mut executor, &tokens, &[8, 1, 11]);
            wrong.extend(expected.off(&found).map(|off| format!("{}, fused: {fused}: {off}", model.name)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A layer without a state among others would have none to skip.
#[test]
fn layers_without_state_mix_with_others() {
    let (model, tokens) = (mixed(), tokens(70, 14));
    let expected = expect(&model.graph, &model.weights, &tokens, false, KvType::F32);
    expected.assert_near(&run_alone(&mut load(&model, options()), &tokens, &[64, 1, 5]), model.name);
}
