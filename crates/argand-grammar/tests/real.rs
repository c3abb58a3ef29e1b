//! Real models and vocabularies, by hand: `ARGAND_GRAMMAR_MODEL=model.gguf cargo test --release -p argand-grammar --test real --
//! --ignored --nocapture`. With `ARGAND_GRAMMAR_OUT=FILE` every answer is written there as a line of JSON, for another validator.

mod common;
use argand_engine::{Constraint, ConstraintError, LoadOptions, Model, TokenSet};
use argand_text::{Message, RenderOptions};
use common::*;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn model() -> Model {
    let path = PathBuf::from(std::env::var_os("ARGAND_GRAMMAR_MODEL").expect("ARGAND_GRAMMAR_MODEL"));
    let options = LoadOptions { context: Some(1024), ..LoadOptions::default() };
    Model::load(&path, &options, &mut |_| {}).expect("a model")
}

fn schemas() -> Map<String, Json> {
    serde_json::from_str(include_str!("schemas.json")).expect("a file of schemas")
}

/// Time of sets and of accepted tokens.
type Times = Arc<Mutex<Vec<Duration>>>;

struct Timed(Box<dyn Constraint>, Times);

impl Constraint for Timed {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintError> {
        let begin = Instant::now();
        let done = self.0.allow(allowed);
        self.1.lock().expect("times").push(begin.elapsed());
        done
    }
    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.0.accept(token)
    }
    fn may_end(&mut self) -> bool {
        self.0.may_end()
    }
    fn must_end(&mut self) -> bool {
        self.0.must_end()
    }
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let (half, most, all) = (at(0.5), at(0.99), at(1.0));
    println!("{what}: {} times, mean {mean:.1?}, median {half:.1?}, 99 % {most:.1?}, most {all:.1?}", times.len());
}

#[test]
#[ignore = "needs a model and minutes"]
fn a_thousand_answers() {
    let model = model();
    let template = model.template().cloned().expect("a template");
    let (tokenizer, runner) = model.into_parts();
    let mut engine = Engine::new(runner, EngineOptions::default());
    let grammars = Grammars::new(&tokenizer).expect("a vocabulary");
    let mut out = std::env::var_os("ARGAND_GRAMMAR_OUT").map(|path| std::fs::File::create(path).expect("a file"));
    let (times, mut asked) = (Times::default(), BTreeMap::new());
    for (name, schema) in schemas() {
        let compiled = grammars.compile(&Grammar::Schema(schema.clone())).expect("a grammar");
        let messages = [Message::new("user", format!("Give me an example of {name} as JSON."))];
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let prompt = template.render(&messages, &options).expect("a prompt");
        let prompt = tokenizer.encode(&prompt, false, true).expect("tokens");
        for seed in 0..20 {
            let request = Request {
                stop: StopRules { tokens: tokenizer.eog().clone(), max_tokens: Some(512), ..StopRules::default() },
                seed,
                text: Some(Box::new(Decoder(tokenizer.stream().continuing()))),
                constraint: Some(Box::new(Timed(compiled.constraint(), Arc::clone(&times)))),
                ..Request::new(prompt.clone())
            };
            asked.insert(engine.add(request).expect("a request"), (name.clone(), schema.clone(), String::new()));
        }
    }
    let (mut valid, mut cut, mut invalid, mut tokens) = (0, BTreeMap::<String, usize>::new(), 0, 0);
    let begin = Instant::now();
    while !engine.is_idle() {
        for event in engine.step().expect("a step") {
            match event {
                Event::Token { seq, text, .. } => asked.get_mut(&seq).expect("a request").2 += &text,
                Event::Finished { seq, reason, text, usage } => {
                    let (name, schema, mut answer) = asked.remove(&seq).expect("a request");
                    answer += &text;
                    tokens += usage.completion_tokens;
                    let value: Result<Json, _> = serde_json::from_str(&answer);
                    match (&reason, value) {
                        (Finish::MaxTokens | Finish::Context(_), _) => *cut.entry(name.clone()).or_default() += 1,
                        (Finish::Whole | Finish::StopToken(_), Ok(value))
                            if check::misfit(&schema, &schema, &value).is_none() =>
                        {
                            valid += 1
                        }
                        (reason, value) => {
                            invalid += 1;
                            println!("INVALID {name}: {reason} {answer:?} {value:?}");
                        }
                    }
                    if let Some(out) = &mut out {
                        let line = json!({ "name": name, "schema": schema, "text": answer, "finish": reason.openai() });
                        writeln!(out, "{line}").expect("a line");
                    }
                }
            }
        }
    }
    println!(
        "{valid} valid, {} cut {cut:?}, {invalid} invalid; {tokens} tokens in {:.0?}",
        cut.values().sum::<usize>(),
        begin.elapsed()
    );
    tell("sets of allowed tokens", std::mem::take(&mut times.lock().expect("times")));
    assert_eq!(invalid, 0);
}

#[test]
#[ignore = "needs a vocabulary"]
fn time_of_a_token() {
    let (tokenizer, _) = model().into_parts();
    let begin = Instant::now();
    let grammars = Grammars::new(&tokenizer).expect("a vocabulary");
    println!("{} tokens, read in {:.0?}", tokenizer.vocab_size(), begin.elapsed());
    let (mut allow, mut accept, mut compile, mut fresh) = (vec![], vec![], vec![], vec![]);
    for schema in schemas().values() {
        let begin = Instant::now();
        let compiled = grammars.compile(&Grammar::Schema(schema.clone())).expect("a grammar");
        compile.push(begin.elapsed());
        for seed in 0..5u64 {
            let begin = Instant::now();
            let mut constraint = compiled.constraint();
            fresh.push(begin.elapsed());
            let mut allowed = TokenSet::default();
            for at in 0..60 {
                if constraint.must_end() {
                    break;
                }
                let begin = Instant::now();
                allowed.clear(tokenizer.vocab_size());
                constraint.allow(&mut allowed).expect("a set");
                allow.push(begin.elapsed());
                let count = allowed.count();
                if count == 0 {
                    break;
                }
                let n = (seed * 7919 + at * 104_729) as usize % count;
                let token = allowed.iter().nth(n).expect("a token");
                let begin = Instant::now();
                constraint.accept(token).expect("an allowed token");
                accept.push(begin.elapsed());
            }
        }
    }
    tell("compiled", compile);
    tell("a constraint", fresh);
    tell("allowed tokens", allow);
    tell("accepted", accept);
}
