//! Grammars over a tiny vocabulary and weights that say anything: what comes out is what was asked for.

mod common;
use argand_engine::{ConstraintError, LookupOptions};
use argand_grammar::{CallChoice, CallFormat, Calls, GrammarError, Tool};
use common::*;
use serde_json::{Value as Json, json};

fn compile(grammar: Grammar) -> Compiled {
    grammars().compile(&grammar).expect("a grammar")
}

fn several(grammar: Grammar, seeds: u64, most: usize) -> Vec<(String, Finish)> {
    let (tokenizer, compiled) = (tokenizer(), compile(grammar));
    answers(&tokenizer, (0..seeds).map(|seed| request(&tokenizer, &compiled, seed, most)).collect())
}

#[test]
fn json_is_what_its_schema_describes() {
    let schemas: serde_json::Map<String, Json> =
        serde_json::from_str(include_str!("schemas.json")).expect("a file of schemas");
    let (tokenizer, grammars) = (tokenizer(), grammars());
    let (mut whole, mut cut) = (0, 0);
    for (name, schema) in &schemas {
        let compiled =
            grammars.compile(&Grammar::Schema(schema.clone())).unwrap_or_else(|error| panic!("{name}: {error}"));
        let requests = (0..20).map(|seed| request(&tokenizer, &compiled, seed, 500)).collect();
        let mut these = 0;
        for (text, finish) in answers(&tokenizer, requests) {
            match finish {
                Finish::MaxTokens => cut += 1,
                Finish::Whole | Finish::StopToken(_) => {
                    these += 1;
                    let value = match serde_json::from_str(&text) {
                        Ok(value) => value,
                        // Valid, and more than f64 holds.
                        Err(error) if error.to_string().contains("out of range") => continue,
                        Err(error) => panic!("{name}: {error}: {text:?}"),
                    };
                    let misfit = check::misfit(schema, schema, &value);
                    assert_eq!(misfit, None, "{name}");
                }
                other => panic!("{name}: {other}: {text:?}"),
            }
        }
        assert!(these > 0, "{name}: no answer came to its end");
        whole += these;
    }
    assert!(whole > 900, "{whole} answers came to their end, {cut} did not");
}

#[test]
fn texts_are_what_was_asked_for() {
    for (text, finish) in several(Grammar::Regex("[ab]{3,5}é?".into()), 20, 50) {
        assert!(check::matches("^[ab]{3,5}é?$", &text), "{text:?} {finish}");
    }
    let choices = ["yes", "no", "nono", "日本\n\"x\""];
    let mut seen = std::collections::BTreeSet::new();
    for (text, finish) in several(Grammar::Choice(choices.map(String::from).to_vec()), 40, 50) {
        assert!(choices.contains(&text.as_str()), "{text:?}");
        // After `no` there may be more; the others are over with their last character.
        assert_eq!(finish == Finish::Whole, text != "no", "{text:?} {finish}");
        seen.insert(text);
    }
    assert_eq!(seen.len(), 4);
    for (text, _) in several(Grammar::Lark("start: \"a\" b+ <call>\nb: /[0-9]/\n".into()), 20, 500) {
        assert!(check::matches("^a[0-9]+<call>$", &text), "{text:?}");
    }
    for (text, finish) in several(Grammar::Object, 10, 500) {
        if finish != Finish::MaxTokens {
            assert!(serde_json::from_str::<Json>(&text).expect("JSON").is_object(), "{text:?}");
        }
    }
}

#[test]
fn a_thought_is_free_and_ends_before_the_answer() {
    let (tokenizer, choice) = (tokenizer(), Grammar::Choice(vec!["yes".into(), "no".into()]));
    // As text, which tokens `z>`, `>x`, `>\n` and `>{` reach into, and as a token of its own.
    for marker in ["z>", "<call>"] {
        let compiled = compile(choice.clone().after(marker));
        let mut requests: Vec<Request> = (0..20).map(|seed| request(&tokenizer, &compiled, seed, 2000)).collect();
        for request in &mut requests {
            let marks = ["z", ">", ">x", ">\n", ">{", "<call>"].iter().filter_map(|text| tokenizer.token_id(text));
            request.sampling.logit_bias = marks.map(|id| (id, 3.0)).collect();
            request.sampling.logit_bias.insert(2, 20.0);
        }
        let mut ended = 0;
        for (text, finish) in answers(&tokenizer, requests) {
            if finish == Finish::MaxTokens {
                assert!(!text.contains(marker), "{text:?}");
                continue;
            }
            ended += 1;
            let (_, answer) = text.split_once(marker).expect("an end of the thought");
            assert!(check::matches("^[ \t\r\n]{0,4}(yes|no)$", answer), "{text:?}");
        }
        assert!(ended > 10, "{ended} of 20 with {marker}");
    }
}

fn tools() -> Vec<Tool> {
    let parameters = json!({
        "type": "object", "properties": { "city": { "enum": ["Ulm", "Köln"] } }, "required": ["city"], "additionalProperties": false,
    });
    vec![
        Tool { name: "get_weather".into(), parameters: Some(parameters) },
        Tool { name: "now".into(), parameters: None },
    ]
}

fn calls(choice: CallChoice, parallel: bool) -> Grammar {
    Grammar::Calls(Calls { tools: tools(), format: CallFormat::hermes(), choice, parallel })
}

const CALL: &str = "<tool_call>\n\\{\"name\": \"(get_weather\", \"arguments\": \\{\\s*\"city\"\\s*:\\s*\"(Ulm|Köln)\"\\s*\\}|now\", \"arguments\": \\{\\s*\\})\\}\n</tool_call>";

#[test]
fn calls_are_valid_whether_asked_for_or_begun() {
    let one = format!("^{CALL}$");
    for (text, finish) in several(calls(CallChoice::Required, false), 20, 500) {
        assert!(finish == Finish::Whole && check::matches(&one, &text), "{text:?} {finish}");
    }
    let many = format!("^{CALL}(\n{CALL})*$");
    let mut several_calls = 0;
    for (text, finish) in several(calls(CallChoice::Required, true), 20, 3000) {
        assert!(check::matches(&many, &text), "{text:?} {finish}");
        several_calls += usize::from(text.matches("<tool_call>").count() > 1);
    }
    assert!(several_calls > 3, "{several_calls}");
    for (text, _) in several(calls(CallChoice::Named("now".into()), true), 20, 500) {
        assert!(check::matches(&one, &text) && text.contains("\"now\""), "{text:?}");
    }
    let (tokenizer, compiled) = (tokenizer(), compile(calls(CallChoice::Auto, false)));
    let (mut free, mut called) = (0, 0);
    let mut requests: Vec<Request> = (0..30).map(|seed| request(&tokenizer, &compiled, seed, 900)).collect();
    for request in &mut requests {
        request.sampling.logit_bias.insert(2, 1.5);
        let trigger = tokenizer.token_id("<tool_call>").expect("a token");
        request.sampling.logit_bias.insert(trigger, 2.0);
    }
    for (text, finish) in answers(&tokenizer, requests) {
        match text.find("<tool_call>") {
            _ if finish == Finish::MaxTokens => {}
            Some(at) => {
                assert!(check::matches(&one, &text[at..]), "{text:?}");
                called += 1;
            }
            None => free += 1,
        }
    }
    assert!(free > 3 && called > 3, "{free} texts, {called} calls");
}

#[test]
fn calls_of_other_models_are_written_as_they_were_trained() {
    let format = CallFormat { begin: "<call>[".into(), trigger: "<call>".into(), ..CallFormat::mistral() };
    let with = |choice, format| Grammar::Calls(Calls { tools: tools(), format, choice, parallel: true });
    for (text, finish) in several(with(CallChoice::Required, format.clone()), 10, 3000) {
        let list = text.strip_prefix("<call>").expect("the steering token");
        let list: Vec<Json> = serde_json::from_str(list).unwrap_or_else(|error| panic!("{error}: {text:?} {finish}"));
        assert!(list.iter().all(|call| call["name"] == "now" || call["arguments"]["city"].is_string()), "{text}");
    }
    let refused = |calls: Grammar| grammars().compile(&calls).expect_err("an error");
    let error = refused(with(CallChoice::Auto, CallFormat { trigger: "<tool_call>".into(), ..format.clone() }));
    assert!(matches!(error, GrammarError::Text { .. }), "{error}");
    let error = refused(with(CallChoice::Required, CallFormat { end: "]</s>".into(), ..format.clone() }));
    assert!(error.to_string().contains("ends the answer"), "{error}");
    let error = refused(with(CallChoice::Named("gone".into()), format.clone()));
    assert!(error.to_string().contains("[\"get_weather\", \"now\"]"), "{error}");
    let twice = [tools(), tools()].concat();
    let calls =
        |tools| Grammar::Calls(Calls { tools, format: format.clone(), choice: CallChoice::Auto, parallel: false });
    assert!(refused(calls(twice)).to_string().contains("two of this name"));
    assert!(refused(calls(vec![])).to_string().contains("no tools"));
    let odd = Tool { name: "a\"b".into(), parameters: None };
    assert!(refused(calls(vec![odd])).to_string().contains("letters"));
    let never = Tool { name: "f".into(), parameters: Some(json!({ "not": {} })) };
    assert!(refused(calls(vec![never])).to_string().contains("\"not\" at #"));
}

/// Everything that may change speed and nothing else.
#[test]
fn an_answer_depends_on_its_request_alone() {
    let tokenizer = tokenizer();
    let schema =
        json!({ "type": "array", "items": { "type": "array", "items": { "enum": ["abc", true, 0] } }, "minItems": 6 });
    let grammars = [Grammar::Schema(schema), calls(CallChoice::Auto, true), Grammar::Object.after("z>")].map(compile);
    let of = |i: u64| request(&tokenizer, &grammars[i as usize % 3], i, 120);
    let alone: Vec<_> = (0..9).flat_map(|i| answers(&tokenizer, vec![of(i)])).collect();
    let together = answers(&tokenizer, (0..9).map(of).collect());
    assert_eq!(together, alone);
    let drafted = |i| Request { lookup: Some(LookupOptions::default()), ..of(i) };
    let run = |mut engine: Engine<MockRunner>| {
        for i in 0..9 {
            engine.add(drafted(i)).expect("a request");
        }
        let found: Vec<_> =
            drain(&mut engine).into_values().map(|(text, _, end)| (text, end.expect("an end"))).collect();
        assert_eq!(found, alone);
        engine.runner().rows().iter().sum::<usize>()
    };
    let rows = run(engine(&tokenizer));

    // So few pages that sequences are paused and computed again.
    let limits =
        Limits { vocab: tokenizer.vocab_size() + 7, page_tokens: 4, pages: 70, context: 4000, max_rows: 64, source: 0 };
    let runner = MockRunner::new(limits).repeating(9);
    let again =
        run(Engine::new(runner, EngineOptions { prefill_chunk: 16, max_sequences: 64, ..EngineOptions::default() }));
    assert!(again > rows + 100, "nothing was computed again: {again} rows instead of {rows}");
}

#[test]
fn drafts_are_cut_where_the_grammar_forbids_them_and_accepted_where_it_forces_them() {
    let (tokenizer, compiled) = (tokenizer(), compile(Grammar::Regex("7{300}".into())));
    let mut engine = engine(&tokenizer);
    let request = Request { lookup: Some(LookupOptions { max_draft: 4 }), ..request(&tokenizer, &compiled, 1, 2000) };
    engine.add(request).expect("a request");
    let mut usage = None;
    while !engine.is_idle() {
        for event in engine.step().expect("a step") {
            if let Event::Finished { usage: used, reason, .. } = event {
                assert_eq!(reason, Finish::Whole);
                usage = Some(used);
            }
        }
    }
    let usage = usage.expect("an end");
    assert!(usage.accepted_tokens > 10, "{usage:?}");
}

#[test]
fn nothing_brings_a_forbidden_token_back_and_an_end_is_where_the_grammar_ends() {
    let tokenizer = tokenizer();
    let digits = compile(Grammar::Regex("[0-9]+x".into()));
    let greedy = |bias: &[(&str, f32)], ends: bool| {
        let mut asked = request(&tokenizer, &digits, 3, 40);
        let bias = bias.iter().map(|(text, bias)| (tokenizer.token_id(text).expect("a token"), *bias));
        asked.sampling = Sampling { logit_bias: bias.collect(), repetition_penalty: 1.3, ..Sampling::greedy() };
        asked.logprobs = Some(2);
        if !ends {
            asked.stop.tokens.clear();
        }
        answers(&tokenizer, vec![asked]).remove(0)
    };
    let loud: &[(&str, f32)] = &[("a", 1e30), ("</s>", 1e30), ("<call>", 1e30)];
    let (text, finish) = greedy(loud, true);
    assert!(check::matches("^[0-9]+x?$", &text), "{text:?} {finish}");
    assert!(matches!(finish, Finish::Whole | Finish::MaxTokens), "an end in the middle: {text:?} {finish}");
    let (text, finish) = greedy(&[("x", 50.0)], false);
    assert!(finish == Finish::Whole && check::matches("^[0-9]+x$", &text), "{text:?} {finish}");
}

#[test]
fn log_probabilities_are_the_models() {
    let (tokenizer, forced) = (tokenizer(), compile(Grammar::Choice(vec!["x".into()])));
    let mut engine = engine(&tokenizer);
    engine.add(Request { logprobs: Some(3), ..request(&tokenizer, &forced, 3, 9) }).expect("a request");
    let mut found = Vec::new();
    while !engine.is_idle() {
        for event in engine.step().expect("a step") {
            if let Event::Token { logprobs, .. } = event {
                found.push(logprobs.expect("log-probabilities"));
            }
        }
    }
    assert_eq!(found.len(), 1);
    assert!(found[0].chosen < -2.0, "forced, not likely: {:?}", found[0]);
    assert!(found[0].top[0].1 > found[0].chosen && found[0].top.len() == 3, "{:?}", found[0]);
}

#[test]
fn what_cannot_go_on_says_why() {
    let tokenizer = tokenizer();
    let x = compile(Grammar::Choice(vec!["x".into()]));
    let mut asked = request(&tokenizer, &x, 1, 9);
    let every = (0..tokenizer.vocab_size() as u32).filter(|id| tokenizer.token_bytes(*id) == b"x");
    asked.sampling.logit_bias = every.map(|id| (id, f32::NEG_INFINITY)).collect();
    let (text, finish) = answers(&tokenizer, vec![asked]).remove(0);
    assert!(text.is_empty() && matches!(finish, Finish::Failed(_)), "{finish}");
    assert!(finish.to_string().contains("forbidden by the constraint"), "{finish}");

    let mut machine = x.constraint();
    assert_eq!(machine.accept(5), Err(ConstraintError::Refused { token: 5 }));
    let mut machine = x.constraint();
    let token = tokenizer.token_id("x").expect("a token");
    assert_eq!((machine.accepts(&[token, token]), machine.may_end(), machine.must_end()), (1, false, false));
    machine.accept(token).expect("x");
    assert!(machine.may_end() && machine.must_end());
}
