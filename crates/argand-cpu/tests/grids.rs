//! Pictures and sequences of frames through the executor: against an `f64` interpreter, and against themselves in other
//! batches and threads.

mod common;

use argand_codec::Codec;
use argand_cpu::tier::Tier;
use argand_cpu::{Batch, Error, Executor, Options, Seq};
use argand_graph::{
    AttentionSpec, BatchInput, Builder, Cell, GateOrder, Graph, KvSpec, Mask, Pool, Rope, RopeFreqs, RopeStyle, Scan,
    Sym, Walk, WindowPool,
};
use common::Random;
use common::driver::{load, options};
use common::models::Model;
use common::reference::{Places, expect_given, expect_placed};
use std::sync::Arc;

const SIZE: [usize; 2] = [13, 9];
const FRAME: usize = 5;

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed * 31 + 7);
    (0..n).map(|_| random.unit() as f32).collect()
}

fn model(name: &'static str, graph: Graph) -> Model {
    Model::new(name, graph, |_| Codec::F32)
}

/// Every kind of window: over edges, with steps and gaps, of groups and of single channels, and growing.
fn picture_models() -> Vec<Model> {
    let plain = || {
        let g = Builder::new("plain");
        let x = g.pictures(SIZE, 3).conv("stem", 10, Walk::square(3).stride(2).same(), true).map(|x| x.clamp(0.0, 6.0));
        let y = x.conv("expand", 20, Walk::square(1), true).depthwise("depthwise", Walk::square(5).pad(2), true);
        let y = y.map(|x| x.clamp(0.0, 6.0)).conv("project", 10, Walk::square(1), false);
        let output = (x + y).mean().linear_bias("output", 7, true).value();
        model("plain", g.finish(output).unwrap())
    };
    let odd = || {
        let g = Builder::new("odd");
        let x = g.pictures(SIZE, 4).conv("a", 12, Walk::of([2, 5]).strides([1, 2]).pads([1, 2]), false);
        let x = x.window(WindowPool::Max, Walk::square(3).stride(2).pad(1));
        let x = x.grouped("b", 18, Walk::square(3).dilation(2).pad(2), 3, true).map(|x| x.tanh());
        let x = x.grouped("d", 12, Walk::square(3).pad(1), 2, true);
        let short = x.conv("short", 6, Walk::square(1).stride(2), true);
        let x = x.window(WindowPool::Mean, Walk::square(2).stride(2).same()).conv("c", 6, Walk::square(3).pad(1), true);
        let output = (x + short).pixels.value();
        model("odd", g.finish(output).unwrap())
    };
    let growing = || {
        let g = Builder::new("growing");
        let x = g.pictures([3, 2], 6).transposed("a", 9, Walk::square(4).stride(2).pad(1), true).map(|x| x.tanh());
        // Pixels with nothing under the window, and phases of different size.
        let x = x.transposed("b", 5, Walk::of([2, 3]).strides([3, 2]), false);
        let output = x.pixels.value();
        model("growing", g.finish(output).unwrap())
    };
    vec![plain(), odd(), growing()]
}

fn rnn(name: &'static str, cell: Cell, order: GateOrder, given: bool, bias: bool) -> Model {
    let g = Builder::new(name);
    let scan = |hidden, reverse| Scan { cell, order, hidden, reverse, bias, start: false };
    let mut x = g.given("frames", Sym::N.into(), FRAME);
    for (layer, hidden) in [11, 8].into_iter().enumerate() {
        let side = |reverse: bool| {
            let (s, end) = (scan(hidden, reverse), if reverse { "back" } else { "on" });
            let start = given.then(|| g.given(&format!("start.{layer}.{end}"), Sym::B.into(), s.state()));
            let gates = x.linear_bias(&format!("in.{layer}.{end}"), s.gates() * hidden, bias);
            gates.scan(&format!("again.{layer}.{end}"), &s, start).slice(0, hidden)
        };
        x = side(false).concat(side(true)).named(&format!("layers.{layer}"));
    }
    let output = (if given { x } else { x.pool(Pool::Last) }).value();
    model(name, g.finish(output).unwrap())
}

/// One recurrence, whose states all threads make together.
fn wide(name: &'static str, cell: Cell, given: bool) -> Model {
    let g = Builder::new(name);
    let scan = Scan { cell, order: GateOrder::Torch, hidden: 160, reverse: given, bias: true, start: given };
    let start = given.then(|| g.given("start", Sym::B.into(), scan.state()));
    let gates = g.given("frames", Sym::N.into(), FRAME).linear_bias("in", scan.gates() * scan.hidden, true);
    let output = gates.scan("again", &scan, start).slice(0, scan.hidden).value();
    model(name, g.finish(output).unwrap())
}

fn frame_models() -> Vec<Model> {
    let (after, before) = (Cell::Gru { reset_after: true }, Cell::Gru { reset_after: false });
    vec![
        rnn("lstm", Cell::Lstm, GateOrder::Torch, true, true),
        rnn("lstm of onnx", Cell::Lstm, GateOrder::Onnx, false, false),
        rnn("gru", after, GateOrder::Torch, false, true),
        rnn("gru of onnx", after, GateOrder::Onnx, true, false),
        rnn("gru, reset first", before, GateOrder::Onnx, true, true),
        wide("wide lstm", Cell::Lstm, true),
        wide("wide gru", after, false),
        wide("wide gru, reset first", before, false),
    ]
}

/// What each sequence or picture brings in, in the order of the program.
type Given = Vec<Vec<f32>>;

/// One value of what is given for a sequence with so many rows.
fn given(executor: &Executor, rows: usize, seed: u64) -> Given {
    let each = executor.program().given.iter().zip(seed * 10..).map(|((_, domain, len), seed)| {
        let rows = argand_cpu::layout::Rows { n: rows, r: 0, b: 1, p: 0 }.of(*domain);
        values(rows * len, seed)
    });
    each.collect()
}

fn run(executor: &mut Executor, rows: &[usize], given: &[Given]) -> Result<Vec<f32>, Error> {
    let names: Vec<String> = executor.program().given.iter().map(|g| g.0.clone()).collect();
    let joined: Vec<Vec<f32>> = (0..names.len()).map(|i| given.iter().flat_map(|g| &g[i]).copied().collect()).collect();
    let given: Vec<(&str, &[f32])> = names.iter().map(String::as_str).zip(joined.iter().map(Vec::as_slice)).collect();
    let mut first = 0;
    let seqs = rows.iter().map(|n| {
        first += n;
        Seq { rows: first - n..first, past: 0, pages: &[] }
    });
    let seqs: Vec<Seq> = seqs.collect();
    executor.step(&Batch { seqs: &seqs, given: &given, ..Batch::default() }).map(<[f32]>::to_vec)
}

fn hold(models: Vec<Model>, rows: &[usize]) {
    for model in models {
        for (tier, fused, threads) in Tier::supported().flat_map(|t| [(t, false, 1), (t, true, 1), (t, true, 3)]) {
            let what = format!("{}, {tier}, fused: {fused}, {threads} threads", model.name);
            let mut executor = load(&model, Options { tier, fused, threads, ..options() });
            let all: Vec<Given> = rows.iter().zip(1..).map(|(n, seed)| given(&executor, *n, seed)).collect();
            let together = run(&mut executor, rows, &all).unwrap();
            let mut at = 0;
            for (n, given) in rows.iter().zip(&all) {
                let alone = run(&mut executor, &[*n], std::slice::from_ref(given)).unwrap();
                let names = executor.program().given.iter().map(|g| g.0.as_str());
                let named: Vec<(&str, &[f32])> = names.zip(given.iter().map(Vec::as_slice)).collect();
                expect_given(&model.graph, &model.weights, &named).assert_near(&alone, &what);
                let same = together[at..at + alone.len()].iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{what}: another result in a batch");
                at += alone.len();
            }
            assert_eq!(at, together.len(), "{what}");
        }
    }
}

/// Six patches behind a class token, which turn by line and column and see each other; squares of two patches go out.
fn tower() -> Model {
    let g = Builder::new("tower");
    let (dim, heads) = (32, 2);
    let patches = g.pictures([4, 6], 3).conv("patches", dim, Walk::square(2).stride(2), true).pixels;
    let class = g.look_up("class", 1, dim, BatchInput::Tokens, 0);
    let x = patches.placed(Some(class)) + g.look_up("places", 7, dim, BatchInput::Positions, 0);
    let freqs = RopeFreqs { inv_freq: vec![1.0, 0.3, 1.0, 0.3], magnitude: 1.0 };
    let rope = Rope { style: RopeStyle::Half, freqs: Arc::new(freqs), sections: vec![0, 2, 2] };
    let kv = KvSpec { heads, dim_k: 16, dim_v: 16, window: None, memory: false };
    let spec = AttentionSpec { mask: Mask::Full, ..AttentionSpec::new(heads, kv, 0.25) };
    let x = x.repeat("layers", &[(); 2], |x, ()| {
        let head = |name| x.linear_bias(name, dim, true).heads(heads);
        x + head("attn_q").rope(&rope).attend(head("attn_k").rope(&rope), head("attn_v"), &spec).linear("attn_out", dim)
    });
    let output = x.rows_behind(&[0, 3]).linear_bias("output", 9, true).value();
    model("tower", g.finish(output).unwrap())
}

/// Words and rows of pictures in one sequence, without a row of their own where nothing is placed.
fn reader() -> Model {
    let g = Builder::new("reader");
    let words = g.embed("words", 11, 16);
    let pictures = g.given("pictures", Sym::P.into(), 16);
    let x = pictures.placed(Some(words)) + pictures.placed(None).tanh();
    let output = x.logit_rows().linear("output", 9).value();
    model("reader", g.finish(output).unwrap())
}

#[test]
fn rows_of_pictures_are_tokens() {
    let model = tower();
    let coordinates = [[0; 3], [0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]];
    let (tokens, positions, placed) = ([0; 7], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]);
    let places = Places { coordinates: &coordinates, placed: &placed, wanted: &[1, 2, 3] };
    let pixels = [1, 2].map(|seed| values(4 * 6 * 3, seed));
    let later = |of: &[u32], more: u32| of.iter().map(|x| if *x > 0 { x + more } else { 0 }).collect::<Vec<_>>();
    for (tier, fused, threads) in Tier::supported().flat_map(|t| [(t, false, 1), (t, true, 1), (t, true, 3)]) {
        let what = format!("{tier}, fused: {fused}, {threads} threads");
        let mut executor = load(&model, Options { tier, fused, threads, ..options() });
        let mut step = |pictures: &[&Vec<f32>], placed: &[u32], wanted: &[u32]| {
            let n = pictures.len();
            let seqs = (0..n).map(|i| Seq { rows: 7 * i..7 * i + 7, past: 0, pages: &[3, 1][i..=i] });
            let batch = Batch {
                tokens: &tokens.repeat(n),
                positions: &positions.repeat(n),
                coordinates: &coordinates.repeat(n),
                placed,
                seqs: &seqs.collect::<Vec<_>>(),
                logit_rows: wanted,
                given: &[("pixels", &pictures.iter().flat_map(|p| p.iter().copied()).collect::<Vec<_>>())],
                ..Batch::default()
            };
            executor.step(&batch).map(<[f32]>::to_vec)
        };
        let alone = [0, 1].map(|i| step(&[&pixels[i]], &placed, &[1, 2, 3]).unwrap());
        for (pixels, alone) in pixels.iter().zip(&alone) {
            let expected = expect_placed(&model.graph, &model.weights, &tokens, &[("pixels", pixels)], places);
            expected.assert_near(alone, &what);
        }
        let both = [&placed[..], &later(&placed, 6)].concat();
        let together = step(&[&pixels[0], &pixels[1]], &both, &[1, 2, 3, 8, 9, 10]).unwrap();
        assert_eq!(together, alone.concat(), "{what}: another result in a batch");
        for (placed, wanted, told) in [
            (vec![0, 1, 2, 3, 4, 5, 7], vec![1], "row 7 of pictures is placed, there are 6"),
            (placed.to_vec(), vec![4], "row 7 of 7 is wanted"),
            (placed[1..].to_vec(), vec![1], "7 tokens, 6 places"),
        ] {
            let error = step(&[&pixels[0]], &placed, &wanted).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}

#[test]
fn words_need_no_pictures() {
    let model = reader();
    let rows = values(3 * 16, 5);
    for (fused, threads) in [(false, 1), (true, 1), (true, 3)] {
        let mut executor = load(&model, Options { fused, threads, ..options() });
        for (placed, given) in [(vec![0, 2, 0, 1, 3], rows.as_slice()), (vec![], &[])] {
            let tokens = [4, 0, 10, 0, 7];
            let batch = Batch {
                tokens: &tokens,
                placed: &placed,
                seqs: &[Seq { rows: 0..5, past: 0, pages: &[] }],
                logit_rows: &[0, 1, 2, 3, 4],
                given: &[("pictures", given)],
                ..Batch::default()
            };
            let found = executor.step(&batch).unwrap().to_vec();
            let placed = if placed.is_empty() { vec![0; 5] } else { placed };
            let places = Places { placed: &placed, ..Places::default() };
            let expected = expect_placed(&model.graph, &model.weights, &tokens, &[("pictures", given)], places);
            expected.assert_near(&found, &format!("fused: {fused}, {threads} threads"));
        }
    }
    let mut words = load(&common::models::llama(|_| Codec::F32), options());
    let seqs = [Seq { rows: 0..1, past: 0, pages: &[0] }];
    let batch = Batch { tokens: &[1], positions: &[0], placed: &[1], seqs: &seqs, ..Batch::default() };
    let error = words.step(&batch).unwrap_err().to_string();
    assert!(error.contains("sees no pictures"), "{error}");
}

#[test]
fn pictures_are_what_the_graph_means() {
    hold(picture_models(), &[0, 0, 0]);
}

#[test]
fn recurrences_are_what_the_graph_means() {
    hold(frame_models(), &[7, 1, 12, 3, 3, 9, 1, 4, 20, 6, 2]);
}

#[test]
fn what_follows_a_convolution_is_done_with_it() {
    let executor = load(&picture_models()[0], options());
    let expected = "\
rows[B(117)] given()->pixels
conv pixels x stem clamp(0.0, 6.0) -> %2
linear[B(35)] %2 x expand -> expand
depthwise expand x depthwise clamp(0.0, 6.0) -> %5
linear[B(35)] %5 x project + %2 -> %7
linear[B(1)] {pool(%7)->%8} %8 x output -> output
";
    assert_eq!(executor.program().describe(), expected);
}

#[test]
fn directions_of_a_layer_run_at_once() {
    let executor = load(&frame_models()[0], options());
    let text = executor.program().describe();
    assert_eq!(text.matches("recur").count(), 2, "{text}");
}

/// What is missing or of another size is refused by name, and the executor still works.
#[test]
fn malformed_steps_are_refused() {
    let mut pictures = load(&picture_models()[0], options());
    let one = given(&pictures, 0, 1);
    let sound = run(&mut pictures, &[0], std::slice::from_ref(&one)).unwrap();
    let short = vec![one[0][1..].to_vec()];
    for (rows, given) in
        [(vec![0], vec![short]), (vec![0, 0], vec![one.clone()]), (vec![], vec![]), (vec![1], vec![one])]
    {
        assert!(matches!(run(&mut pictures, &rows, &given), Err(Error::Batch(_))), "{rows:?}");
    }
    assert!(matches!(pictures.step(&Batch::default()), Err(Error::Batch(_))));
    let seqs = [Seq { rows: 0..0, past: 0, pages: &[] }];
    let error = pictures.step(&Batch { seqs: &seqs, ..Batch::default() }).unwrap_err();
    assert!(error.to_string().contains("`pixels` is wanted"), "{error}");
    let again = given(&pictures, 0, 1);
    assert_eq!(run(&mut pictures, &[0], &[again]).unwrap(), sound);

    let mut frames = load(&frame_models()[1], options());
    let four = given(&frames, 4, 1);
    for rows in [vec![0], vec![3], vec![5], vec![4, 0], vec![]] {
        assert!(matches!(run(&mut frames, &rows, std::slice::from_ref(&four)), Err(Error::Batch(_))), "{rows:?}");
    }
    assert!(run(&mut frames, &[4], &[four]).is_ok());
}
