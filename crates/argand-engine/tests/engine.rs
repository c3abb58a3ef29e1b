//! The engine over the mock runner: what a sequence generates must not depend on anything but its request.

use std::collections::BTreeMap;

use proptest::prelude::*;

use argand_engine::mock::MockRunner;
use argand_engine::stop::Finish;
use argand_engine::{
    AddError, Engine, EngineOptions, Event, Limits, LookupOptions, PictureRows, Request, Runner, Sampling, SeqId,
    StopRules, TextStream, Usage,
};
use std::sync::Arc;

const LIMITS: Limits = Limits { vocab: 64, page_tokens: 4, pages: 256, context: 200, max_rows: 64, source: 0 };

fn engine(limits: Limits) -> Engine<MockRunner> {
    Engine::new(
        MockRunner::new(limits).repeating(5),
        EngineOptions { prefill_chunk: 16, max_sequences: 64, ..EngineOptions::default() },
    )
}

/// A prompt that differs for every `n` from its first token on.
fn prompt(n: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (n * 7 + i * i * 3 + i * n) % 64).collect()
}

fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    let sampling = Sampling { temperature: 0.8, top_k: 20, repetition_penalty: 1.05, ..Sampling::default() };
    let stop = StopRules { max_tokens: Some(max_tokens), ..StopRules::default() };
    Request { sampling, stop, seed: 11, ..Request::new(prompt) }
}

#[derive(Default, Debug, PartialEq, Clone)]
struct Answer {
    tokens: Vec<u32>,
    text: String,
    end: Option<(Finish, Usage)>,
}

fn collect(events: Vec<Event>, answers: &mut BTreeMap<SeqId, Answer>) {
    for event in events {
        match event {
            Event::Token { seq, id, text, .. } => {
                let answer = answers.entry(seq).or_default();
                assert!(answer.end.is_none(), "a token after the end");
                answer.tokens.push(id);
                answer.text += &text;
            }
            Event::Finished { seq, reason, text, usage } => {
                let answer = answers.entry(seq).or_default();
                answer.text += &text;
                assert!(answer.end.replace((reason, usage)).is_none(), "two ends");
            }
        }
    }
}

fn drain<R: Runner>(engine: &mut Engine<R>) -> BTreeMap<SeqId, Answer> {
    let mut answers = BTreeMap::new();
    for _ in 0..20_000 {
        if engine.is_idle() {
            return answers;
        }
        collect(engine.step().expect("the mock runs"), &mut answers);
    }
    panic!("no end after 20,000 steps: {:?}", engine.usage());
}

fn answer(engine: &mut Engine<MockRunner>, request: Request) -> Answer {
    let id = engine.add(request).expect("accepted");
    drain(engine).remove(&id).expect("an answer")
}

/// The tokens of a request that has a fresh engine to itself.
fn alone(request: Request) -> Vec<u32> {
    answer(&mut engine(LIMITS), request).tokens
}

fn assert_nothing_held<R: Runner>(engine: &Engine<R>) {
    assert_eq!(engine.usage().pages.held, 0, "{:?}", engine.usage());
}

#[test]
fn neighbours_change_nothing() {
    let mut shared = engine(LIMITS);
    let ids: Vec<_> = (0..32).map(|n| shared.add(request(prompt(n, 3 + n as usize), 20)).expect("accepted")).collect();
    let answers = drain(&mut shared);
    for (n, id) in (0..).zip(&ids) {
        assert_eq!(answers[id].tokens, alone(request(prompt(n, 3 + n as usize), 20)), "sequence {n}");
        assert_eq!(answers[id].tokens.len(), 20);
    }
    assert!(shared.runner().rows().iter().any(|rows| *rows > 31), "the sequences did share steps");
    assert!(shared.runner().rows().iter().all(|rows| *rows <= LIMITS.max_rows));
    assert_nothing_held(&shared);
}

#[test]
fn lookup_changes_the_number_of_steps_only() {
    let with = |lookup, sampling| {
        let mut engine = engine(LIMITS);
        let found = answer(&mut engine, Request { lookup, sampling, ..request(prompt(1, 20), 150) });
        assert_nothing_held(&engine);
        (found.tokens, found.end.expect("ended").1, engine.runner().rows().len())
    };
    for sampling in
        [Sampling::greedy(), Sampling::default(), Sampling { repetition_penalty: 1.05, ..Sampling::llama_cpp() }]
    {
        let (plain, _, steps) = with(None, sampling.clone());
        let (drafted, usage, fewer) = with(Some(LookupOptions::default()), sampling.clone());
        assert_eq!(plain, drafted, "{}", sampling.explain());
        assert_eq!(usage.completion_tokens, 150);
        assert!(usage.accepted_tokens > 0 && usage.accepted_tokens < usage.draft_tokens, "{usage:?}");
        assert_eq!(steps - fewer, usage.accepted_tokens, "every accepted token saves a step");
    }
}

#[test]
fn chunks_change_nothing() {
    let whole = alone(request(prompt(2, 150), 10));
    for (prefill_chunk, max_rows) in [(1, 64), (3, 64), (16, 5), (1000, 64), (1000, 1000)] {
        let runner = MockRunner::new(Limits { max_rows, ..LIMITS }).repeating(5);
        let mut engine =
            Engine::new(runner, EngineOptions { prefill_chunk, max_sequences: 4, ..EngineOptions::default() });
        assert_eq!(answer(&mut engine, request(prompt(2, 150), 10)).tokens, whole);
        assert_eq!(engine.runner().rows()[0], prefill_chunk.min(max_rows).min(150));
    }
}

#[test]
fn a_long_prompt_does_not_stop_the_others() {
    let mut engine = engine(LIMITS);
    let first = engine.add(request(prompt(1, 4), 100)).expect("accepted");
    collect(engine.step().expect("runs"), &mut BTreeMap::new());
    engine.add(request(prompt(2, 190), 5)).expect("accepted");
    for _ in 0..8 {
        let events = engine.step().expect("runs");
        assert!(events.iter().any(|e| matches!(e, Event::Token { seq, .. } if *seq == first)));
    }
}

#[test]
fn a_cached_prefix_is_not_computed_again_and_changes_nothing() {
    let mut engine = engine(LIMITS);
    let prefix = prompt(3, 41);
    let longer = |tail: u32| [prefix.clone(), prompt(tail, 6)].concat();
    answer(&mut engine, request(longer(1), 8));
    let before: usize = engine.runner().rows().iter().sum();
    let found = answer(&mut engine, request(longer(2), 8));
    assert_eq!(found.tokens, alone(request(longer(2), 8)));
    assert_eq!(found.end.expect("ended").1.cached_tokens, 40);
    assert_eq!(engine.runner().rows().iter().sum::<usize>() - before, 47 - 40 + 7);
    let elsewhere = answer(&mut engine, Request { namespace: 1, ..request(longer(2), 8) });
    assert_eq!(elsewhere.tokens, found.tokens);
    assert_eq!(elsewhere.end.expect("ended").1.cached_tokens, 0);
    // A prompt that is cached to its last token still has one row to feed.
    let exact = answer(&mut engine, request(prefix[..40].to_vec(), 8));
    assert_eq!(exact.tokens, alone(request(prefix[..40].to_vec(), 8)));
    assert_eq!(exact.end.expect("ended").1.cached_tokens, 36);
}

#[test]
fn several_answers_to_one_prompt_compute_it_once() {
    let mut engine = engine(LIMITS);
    let streams = |stream| Request { stream, ..request(prompt(4, 41), 12) };
    let ids: Vec<_> = (0..4).map(|s| engine.add(streams(s)).expect("accepted")).collect();
    let answers = drain(&mut engine);
    for (stream, id) in (0..).zip(&ids) {
        assert_eq!(answers[id].tokens, alone(streams(stream)), "stream {stream}");
    }
    assert_ne!(answers[&ids[0]].tokens, answers[&ids[1]].tokens);
    let rows: usize = engine.runner().rows().iter().sum();
    // The shared pages once, what is beyond them four times, and the generated tokens that are fed.
    assert_eq!(rows, 40 + 4 + 4 * 11);
}

#[test]
fn seeds_and_streams_decide() {
    let with = |seed, stream| alone(Request { seed, stream, ..request(prompt(5, 9), 30) });
    assert_eq!(with(1, 0), with(1, 0));
    assert_ne!(with(1, 0), with(2, 0));
    assert_ne!(with(1, 0), with(1, 1));
}

#[test]
fn cancelling_gives_everything_back() {
    let mut engine = engine(LIMITS);
    let ids: Vec<_> = (0..5).map(|n| engine.add(request(prompt(n, 40), 50)).expect("accepted")).collect();
    for _ in 0..6 {
        engine.step().expect("runs");
    }
    assert!(engine.usage().pages.held > 0);
    let usage: Vec<_> = ids.iter().map(|id| engine.cancel(*id).expect("was running")).collect();
    assert!(usage.iter().all(|u| u.prompt_tokens == 40) && usage.iter().any(|u| u.completion_tokens > 0));
    assert_eq!(engine.cancel(ids[0]), None);
    assert!(engine.is_idle());
    assert_nothing_held(&engine);
    assert_eq!(answer(&mut engine, request(prompt(9, 30), 10)).tokens, alone(request(prompt(9, 30), 10)));
}

#[test]
fn too_few_pages_pause_the_newest_and_change_nothing() {
    // 20 pages of 4 tokens; each of six sequences grows to 60 tokens, so only one fits to its end beside a part of another.
    let limits = Limits { pages: 20, ..LIMITS };
    for lookup in [None, Some(LookupOptions::default())] {
        let mut engine = engine(limits);
        let make = |n| Request { lookup, ..request(prompt(n, 10), 50) };
        let ids: Vec<_> = (0..6).map(|n| engine.add(make(n)).expect("accepted")).collect();
        let answers = drain(&mut engine);
        for (n, id) in (0..).zip(&ids) {
            assert_eq!(answers[id].tokens, alone(request(prompt(n, 10), 50)), "sequence {n}");
            let (reason, usage) = answers[id].end.clone().expect("ended");
            assert_eq!((reason, usage.completion_tokens, usage.prompt_tokens), (Finish::MaxTokens, 50, 10));
        }
        assert!(engine.runner().rows().iter().any(|r| *r > 10), "somebody was computed again");
        assert_nothing_held(&engine);
    }
}

#[test]
fn what_a_paused_prompt_takes_over_again_is_counted_once() {
    let prefix = prompt(3, 41);
    let long = [prefix.clone(), prompt(4, 30)].concat();
    let mut paused = 0;
    // The older one grows until the newer, still in its prompt, must yield; in some of these it ends just then.
    for growth in 1..60 {
        let runner = MockRunner::new(Limits { pages: 20, ..LIMITS });
        let mut engine =
            Engine::new(runner, EngineOptions { prefill_chunk: 1, max_sequences: 2, ..EngineOptions::default() });
        answer(&mut engine, request(prefix.clone(), 1));
        let before = engine.runner().rows().iter().sum::<usize>();
        engine.add(request(prompt(1, 4), growth)).expect("accepted");
        let id = engine.add(request(long.clone(), 1)).expect("accepted");
        let usage = drain(&mut engine)[&id].end.clone().expect("ended").1;
        let fed = engine.runner().rows().iter().sum::<usize>() - before - (4 + growth - 1);
        // While it waits, pages of the prefix may go to the older one, so there is no lower bound.
        assert!(usage.cached_tokens < usage.prompt_tokens, "{growth}: {usage:?}");
        assert!(fed >= usage.prompt_tokens - usage.cached_tokens, "{growth}: {fed} rows, {usage:?}");
        paused += usize::from(fed > usage.prompt_tokens - usage.cached_tokens);
    }
    assert!(paused > 0, "somebody had to yield");
}

#[test]
fn the_oldest_is_never_stopped_by_newer_ones() {
    let mut engine = engine(Limits { pages: 20, ..LIMITS });
    let ids: Vec<_> = (0..6).map(|n| engine.add(request(prompt(n, 10), 50)).expect("accepted")).collect();
    for step in 0..50 {
        let events = engine.step().expect("runs");
        let served = events.iter().any(|e| matches!(e, Event::Token { seq, .. } if *seq == ids[0]));
        assert!(served, "step {step}");
    }
    assert!(engine.usage().waiting > 0, "others had to wait");
}

#[test]
fn rejected_drafts_keep_no_pages() {
    let mut engine = engine(LIMITS);
    let lookup = Some(LookupOptions { max_draft: 16 });
    engine.add(Request { lookup, ..request(prompt(1, 20), 150) }).expect("accepted");
    let mut tokens = 20;
    while !engine.is_idle() {
        let events = engine.step().expect("runs");
        tokens += events.iter().filter(|e| matches!(e, Event::Token { .. })).count();
        assert!(engine.usage().pages.held <= LIMITS.pages_for(tokens), "{tokens} tokens, {:?}", engine.usage());
    }
}

#[test]
fn a_sequence_that_cannot_fit_alone_says_so() {
    let mut engine = engine(Limits { pages: 5, ..LIMITS });
    let needs = engine.add(request(prompt(1, 21), 1)).expect_err("21 tokens need 6 pages");
    assert_eq!(needs, AddError::PromptNeedsPages { needed: 6, pages: 5 });
    let found = answer(&mut engine, request(prompt(1, 10), 50));
    let (reason, usage) = found.end.expect("ended");
    assert_eq!(reason, Finish::OutOfPages { needed: 6, pages: 5 });
    // All 20 places are used before it gives up, and the last row still gave a token.
    assert_eq!(usage.completion_tokens, 11);
    assert_eq!(reason.openai(), None);
    assert_nothing_held(&engine);
}

#[test]
fn the_context_is_used_to_its_end_and_not_beyond() {
    let mut engine = engine(LIMITS);
    let error = engine.add(request(prompt(1, 200), 1)).expect_err("no room to generate");
    assert_eq!(error, AddError::PromptTooLong { prompt: 200, context: 200 });
    assert!(error.to_string().contains("200 tokens, but the context holds 200"), "{error}");
    for lookup in [None, Some(LookupOptions::default())] {
        let found = answer(&mut engine, Request { lookup, ..request(prompt(1, 150), 1000) });
        let (reason, usage) = found.end.expect("ended");
        assert_eq!((reason, usage.completion_tokens), (Finish::Context(200), 50));
    }
}

#[test]
fn wrong_requests_are_named() {
    let mut engine = engine(LIMITS);
    assert_eq!(engine.add(Request::new(vec![])), Err(AddError::EmptyPrompt));
    assert_eq!(engine.add(Request::new(vec![1, 64])), Err(AddError::Token { token: 64, position: 1, vocab: 64 }));
    let stop = StopRules { strings: vec!["x".into()], ..StopRules::default() };
    assert_eq!(engine.add(Request { stop, ..Request::new(vec![1]) }), Err(AddError::StopStringsWithoutText));
    let sampling = Sampling { top_p: 2.0, ..Sampling::default() };
    assert!(matches!(engine.add(Request { sampling, ..Request::new(vec![1]) }), Err(AddError::Sampling(_))));
    assert!(engine.is_idle());
}

/// One letter per token; token 63 needs the next token to be shown, as a split character does.
struct Letters(String);

impl TextStream for Letters {
    fn push(&mut self, id: u32) -> String {
        self.0.push(char::from(b'A' + (id % 58) as u8));
        if id == 63 { String::new() } else { std::mem::take(&mut self.0) }
    }
    fn finish(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

#[test]
fn stop_strings_over_several_tokens_cut_the_text_and_end_the_sequence() {
    let with = |strings: Vec<String>, lookup| {
        let text: Option<Box<dyn TextStream>> = Some(Box::new(Letters(String::new())));
        let base = request(prompt(6, 10), 40);
        let stop = StopRules { strings, ..base.stop.clone() };
        answer(&mut engine(LIMITS), Request { text, stop, lookup, ..base })
    };
    let whole = with(vec![], None);
    assert_eq!(whole.text.len(), 40);
    for lookup in [None, Some(LookupOptions::default())] {
        for start in [0, 7, 20, 36] {
            let stop = whole.text[start..start + 4].to_string();
            let expected = whole.text.find(&stop).expect("there");
            let found = with(vec!["never".into(), stop.clone()], lookup);
            assert_eq!(found.text, whole.text[..expected]);
            let (reason, usage) = found.end.expect("ended");
            assert_eq!(reason, Finish::StopString(stop));
            assert_eq!(usage.completion_tokens, expected + 4);
        }
    }
    // Held back until the end shows that it was not the stop string.
    let tail = format!("{}!", &whole.text[37..]);
    assert_eq!(with(vec![tail], None).text, whole.text);
}

#[test]
fn stop_tokens_end_the_sequence_unseen() {
    let plain = alone(request(prompt(7, 10), 30));
    let stop_at = plain[12];
    let first = plain.iter().position(|t| *t == stop_at).expect("there");
    let base = request(prompt(7, 10), 30);
    let stop = StopRules { tokens: [63, stop_at].into(), ..base.stop.clone() };
    let found = answer(&mut engine(LIMITS), Request { stop, ..base });
    let before = plain.iter().take(first).take_while(|t| **t != 63).count();
    assert_eq!(found.tokens, plain[..before]);
    let (reason, usage) = found.end.expect("ended");
    assert!(matches!(reason, Finish::StopToken(t) if t == plain[before]));
    assert_eq!(usage.completion_tokens, before + 1);
    assert_eq!(reason.openai(), Some("stop"));
}

#[test]
fn logprobs_come_with_every_token() {
    let mut engine = engine(LIMITS);
    let sampling = Sampling::greedy();
    engine.add(Request { logprobs: Some(3), sampling, ..request(prompt(8, 10), 6) }).expect("accepted");
    let mut seen = 0;
    while !engine.is_idle() {
        for event in engine.step().expect("runs") {
            if let Event::Token { id, logprobs, .. } = event {
                let logprobs = logprobs.expect("asked for");
                assert_eq!(logprobs.top.len(), 3);
                assert_eq!(logprobs.top[0], (id, logprobs.chosen), "greedy takes the likeliest");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 6);
}

#[test]
fn a_session_feeds_only_what_is_new() {
    let mut engine = engine(LIMITS);
    let session = engine.open_session();
    let turn = |tokens: Vec<u32>| Request { session: Some(session), ..request(tokens, 9) };
    let first = answer(&mut engine, turn(prompt(1, 13)));
    let fed = |engine: &Engine<MockRunner>| engine.runner().rows().iter().sum::<usize>();

    // The next turn repeats everything, then adds a question: only the last chosen token and the question are fed.
    let mut chat = [prompt(1, 13), first.tokens, prompt(2, 5)].concat();
    let before = fed(&engine);
    let second = answer(&mut engine, turn(chat.clone()));
    assert_eq!(second.tokens, alone(request(chat.clone(), 9)));
    assert_eq!(second.end.expect("ended").1.cached_tokens, 13 + 8);
    assert_eq!(fed(&engine) - before, 1 + 5 + 8);

    // The template now renders the tail differently: rolled back to inside a page, to the last equal token.
    chat.truncate(18);
    chat.extend(prompt(3, 7));
    let shared = 18;
    let third = answer(&mut engine, turn(chat.clone()));
    assert_eq!(third.tokens, alone(request(chat.clone(), 9)));
    assert!(third.end.expect("ended").1.cached_tokens >= shared);

    // Both branches of a fork go on from the same state and do not disturb each other.
    let fork = engine.fork_session(session).expect("idle");
    let grown = [chat, third.tokens].concat();
    let branch = |n: u32| [grown.clone(), prompt(n, 3)].concat();
    let left = engine.add(turn(branch(4))).expect("accepted");
    let right = engine.add(Request { session: Some(fork), ..request(branch(5), 9) }).expect("accepted");
    assert_eq!(engine.add(turn(branch(4))), Err(AddError::BusySession(session)));
    let answers = drain(&mut engine);
    assert_eq!(answers[&left].tokens, alone(request(branch(4), 9)));
    assert_eq!(answers[&right].tokens, alone(request(branch(5), 9)));
    assert_eq!(answers[&right].end.clone().expect("ended").1.cached_tokens, grown.len() - 1);

    engine.close_session(session);
    engine.close_session(fork);
    assert_eq!(engine.add(turn(branch(4))), Err(AddError::UnknownSession(session)));
    assert_nothing_held(&engine);
}

#[test]
fn idle_sessions_yield_their_pages() {
    let mut engine = engine(Limits { pages: 12, ..LIMITS });
    let sessions: Vec<_> = (0..3).map(|_| engine.open_session()).collect();
    for round in 0..2 {
        for (n, session) in (0..).zip(&sessions) {
            let make = || request(prompt(n + round, 20), 12);
            let found = answer(&mut engine, Request { session: Some(*session), ..make() });
            assert_eq!(found.tokens, alone(make()));
        }
    }
    let cancelled = engine.add(Request { session: Some(sessions[0]), ..request(prompt(0, 20), 12) }).expect("accepted");
    engine.step().expect("runs");
    engine.close_session(sessions[0]);
    engine.cancel(cancelled).expect("was running");
    engine.close_session(sessions[1]);
    engine.close_session(sessions[2]);
    assert_nothing_held(&engine);
}

#[test]
fn a_failed_step_can_be_tried_again() {
    let mut engine = engine(LIMITS);
    let id = engine.add(request(prompt(1, 20), 10)).expect("accepted");
    let mut answers = BTreeMap::new();
    let mut failures = 0;
    while !engine.is_idle() {
        if engine.runner().rows().len() % 3 == 1 && failures < 4 {
            engine.runner_mut().fail_next();
        }
        match engine.step() {
            Ok(events) => collect(events, &mut answers),
            Err(_) => failures += 1,
        }
    }
    assert_eq!(failures, 4);
    assert_eq!(answers[&id].tokens, alone(request(prompt(1, 20), 10)));
    assert_nothing_held(&engine);
}

/// What a user may do to an engine.
#[derive(Clone, Debug)]
enum Op {
    Add { prompt: Vec<u32>, max_tokens: usize, stream: u64, lookup: bool, session: Option<usize> },
    Step(usize),
    Cancel(usize),
    Fork(usize),
    Fail,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Prompts are built from few blocks, so that many share beginnings.
    let blocks = prop::collection::vec((0u32..3, 1usize..9), 1..6);
    let prompt = blocks.prop_map(|b| b.into_iter().flat_map(|(n, len)| prompt(n, len)).collect());
    let session = prop::option::of(any::<usize>());
    let add = (prompt, 1usize..30, 0u64..3, any::<bool>(), session).prop_map(
        |(prompt, max_tokens, stream, lookup, session)| Op::Add { prompt, max_tokens, stream, lookup, session },
    );
    let op = prop_oneof![
        4 => add,
        4 => (1usize..12).prop_map(Op::Step),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => any::<usize>().prop_map(Op::Fork),
        1 => Just(Op::Fail),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_history_of_use_changes_an_answer(ops in ops(), pages in 18usize..40, max_rows in 1usize..40) {
        // 69 tokens at most in a sequence: 18 pages hold one.
        let limits = Limits { pages, max_rows, ..LIMITS };
        let runner = MockRunner::new(limits).repeating(5);
        let mut engine = Engine::new(runner, EngineOptions { prefill_chunk: 7, max_sequences: 5, ..EngineOptions::default() });
        let mut sessions = vec![engine.open_session(), engine.open_session()];
        let mut asked: Vec<(SeqId, Request)> = Vec::new();
        let mut answers = BTreeMap::new();
        for op in ops {
            match op {
                Op::Add { prompt, max_tokens, stream, lookup, session } => {
                    let lookup = lookup.then(LookupOptions::default);
                    let session = session.map(|s| sessions[s % sessions.len()]);
                    let make = || Request { stream, lookup, ..request(prompt.clone(), max_tokens) };
                    match engine.add(Request { session, ..make() }) {
                        Ok(id) => asked.push((id, make())),
                        Err(error) => prop_assert!(matches!(error, AddError::BusySession(_)), "{}", error),
                    }
                }
                Op::Step(n) => for _ in 0..n {
                    if let Ok(events) = engine.step() {
                        collect(events, &mut answers);
                    }
                },
                Op::Cancel(which) => if !asked.is_empty() {
                    let (id, _) = asked[which % asked.len()];
                    if engine.cancel(id).is_some() {
                        asked.retain(|(other, _)| *other != id);
                        answers.remove(&id);
                    }
                },
                Op::Fork(which) => if let Ok(fork) = engine.fork_session(sessions[which % sessions.len()]) {
                    sessions.push(fork);
                },
                Op::Fail => engine.runner_mut().fail_next(),
            }
            prop_assert!(engine.usage().running <= 5);
        }
        let _ = engine.step().map(|events| collect(events, &mut answers));
        for (id, answer) in drain(&mut engine) {
            let whole = answers.entry(id).or_default();
            whole.tokens.extend(answer.tokens);
            whole.end = whole.end.take().or(answer.end);
        }
        for (id, request) in asked {
            let found = &answers[&id];
            prop_assert_eq!(&found.end.as_ref().expect("ended").0, &Finish::MaxTokens);
            prop_assert_eq!(&found.tokens, &alone(Request { lookup: None, ..request }));
        }
        for session in sessions {
            engine.close_session(session);
        }
        assert_nothing_held(&engine);
    }
}

/// A picture of so many rows, which differ from those of another seed.
fn picture(rows: usize, seed: usize) -> Arc<PictureRows> {
    let values = (0..rows * 3).map(|i| (i * 7 + seed) as f32).collect();
    Arc::new(PictureRows::new(values, rows, None).expect("marks are left"))
}

/// Words, a picture, words, perhaps another picture, words.
fn seeing(pictures: &[&Arc<PictureRows>]) -> Request {
    let mut tokens = prompt(1, 9);
    for picture in pictures {
        tokens.extend(picture.marks());
        tokens.extend(prompt(2, 5));
    }
    Request { pictures: pictures.iter().map(|p| Arc::clone(p)).collect(), ..request(tokens, 12) }
}

#[test]
fn pictures_with_the_same_words_are_told_apart() {
    let [cat, dog, twin] = [picture(21, 1), picture(21, 2), picture(21, 1)];
    let told = [&cat, &dog, &twin].map(|picture| alone(seeing(&[picture])));
    assert_ne!(told[0], told[1], "what a picture holds is seen");
    assert_eq!(told[0], told[2], "and nothing else of it");
    let mut engine = engine(LIMITS);
    // The words before them are shared, two pages of four; of the same picture everything is.
    for (i, picture, cached) in [(0, &cat, 0), (1, &dog, 8), (0, &cat, 32), (2, &twin, 8)] {
        let found = answer(&mut engine, seeing(&[picture]));
        assert_eq!((found.tokens, found.end.expect("ended").1.cached_tokens), (told[i].clone(), cached), "{i}");
    }
    let together: Vec<_> = [&dog, &cat, &dog, &twin].map(|p| engine.add(seeing(&[p])).expect("accepted")).into();
    let answers = drain(&mut engine);
    let expected = [1, 0, 1, 2].map(|i| told[i].clone());
    assert_eq!(together.iter().map(|id| answers[id].tokens.clone()).collect::<Vec<_>>(), expected);
    assert_nothing_held(&engine);
}

#[test]
fn pictures_are_cut_into_chunks_and_kept_between_turns() {
    let [cat, dog] = [picture(33, 1), picture(10, 2)];
    let first = alone(seeing(&[&cat]));
    let both = alone(seeing(&[&cat, &dog]));
    for (prefill_chunk, max_rows) in [(1, 64), (3, 64), (16, 5), (1000, 64)] {
        let runner = MockRunner::new(Limits { max_rows, ..LIMITS }).repeating(5);
        let mut engine =
            Engine::new(runner, EngineOptions { prefill_chunk, max_sequences: 4, ..EngineOptions::default() });
        let session = Some(engine.open_session());
        let lookup = Some(LookupOptions::default());
        let turn = |request: Request| Request { session, lookup, ..request };
        assert_eq!(answer(&mut engine, turn(seeing(&[&cat]))).tokens, first, "chunks of {prefill_chunk}");
        let second = answer(&mut engine, turn(seeing(&[&cat, &dog])));
        assert_eq!(second.tokens, both, "chunks of {prefill_chunk}");
        assert!(second.end.expect("ended").1.cached_tokens >= 47, "the first turn is kept");
    }
}

#[test]
fn marks_of_other_pictures_are_refused() {
    let [cat, dog] = [picture(4, 1), picture(4, 2)];
    let mut request = seeing(&[&cat]);
    request.pictures = vec![dog];
    let error = engine(LIMITS).add(request).expect_err("the marks are those of another picture");
    assert!(matches!(error, AddError::Token { position: 9, .. }), "{error}");
}

/// Limits of a model that reads a text before it writes one.
const READS: Limits = Limits { source: 60, ..LIMITS };

fn after(source: Vec<u32>, max_tokens: usize) -> Request {
    Request { source, ..request(vec![0], max_tokens) }
}

#[test]
fn texts_are_read_once_and_each_for_its_own_sequence() {
    let mut shared = engine(Limits { pages: 512, ..READS });
    let text = |n: u32| prompt(n, 1 + (n as usize * 13) % 60);
    let ids: Vec<_> = (0..24).map(|n| shared.add(after(text(n), 20)).expect("accepted")).collect();
    let answers = drain(&mut shared);
    for (n, id) in (0..).zip(&ids) {
        let mut own = engine(READS);
        assert_eq!(answers[id].tokens, answer(&mut own, after(text(n), 20)).tokens, "sequence {n}");
        assert_eq!(answers[id].end.as_ref().map(|e| e.1.prompt_tokens), Some(text(n).len() + 1));
    }
    // What was read decides, not the first token alone.
    assert_ne!(answers[&ids[1]].tokens, answers[&ids[2]].tokens);
    let reads = shared.runner().reads();
    assert_eq!(reads.iter().sum::<usize>(), (0..24).map(|n| text(n).len()).sum::<usize>(), "each text is read once");
    assert!(reads.len() > 1 && reads.iter().all(|n| *n <= READS.max_rows), "{reads:?}");
    assert_nothing_held(&shared);
}

#[test]
fn texts_are_read_again_after_a_pause_and_equal_ones_share_nothing() {
    // Three pages of text and up to six of an answer for each of four sequences, of which two begin alike.
    let mut engine = engine(Limits { pages: 20, ..READS });
    let texts = [prompt(1, 12), prompt(1, 12), prompt(2, 12), prompt(3, 11)];
    let ids: Vec<_> = texts.iter().map(|t| engine.add(after(t.clone(), 23)).expect("accepted")).collect();
    let answers = drain(&mut engine);
    for (text, id) in texts.iter().zip(&ids) {
        let mut own = Engine::new(MockRunner::new(READS).repeating(5), EngineOptions::default());
        assert_eq!(answers[id].tokens, answer(&mut own, after(text.clone(), 23)).tokens);
        assert_eq!(answers[id].end.as_ref().map(|e| e.1.cached_tokens), Some(0));
    }
    assert!(engine.runner().reads().iter().sum::<usize>() > 47, "somebody was paused: {:?}", engine.runner().reads());
    assert_nothing_held(&engine);
}

#[test]
fn texts_that_cannot_be_read_are_refused() {
    let mut reads = engine(READS);
    assert_eq!(reads.add(request(vec![1], 3)), Err(AddError::Source { reads: true }));
    assert_eq!(reads.add(after(prompt(1, 61), 3)), Err(AddError::SourceTooLong { tokens: 61, most: 60 }));
    assert_eq!(reads.add(after(vec![64], 3)), Err(AddError::Token { token: 64, position: 0, vocab: 64 }));
    let session = Some(reads.open_session());
    assert_eq!(reads.add(Request { session, ..after(vec![1], 3) }), Err(AddError::SourceInSession));
    let mut small = engine(Limits { pages: 3, ..READS });
    assert_eq!(small.add(after(prompt(1, 12), 3)), Err(AddError::PromptNeedsPages { needed: 4, pages: 3 }));
    let mut none = engine(LIMITS);
    assert_eq!(none.add(after(vec![1], 3)), Err(AddError::Source { reads: false }));
    assert!(none.is_idle() && reads.is_idle() && small.is_idle());
    // A text may be longer than what a step usually takes.
    let mut narrow = Engine::new(MockRunner::new(Limits { max_rows: 8, ..READS }), EngineOptions::default());
    assert_eq!(answer(&mut narrow, after(prompt(1, 60), 5)).tokens.len(), 5);
}
