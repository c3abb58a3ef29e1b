//! Small tokenizers, and an engine whose weights are a hash.
#![allow(dead_code, reason = "no test needs all of it")]

pub mod check;

pub use argand_engine::mock::MockRunner;
pub use argand_engine::{Engine, EngineOptions, Event, Finish, Limits, Request, Sampling, StopRules, TextStream};
pub use argand_grammar::{Compiled, Grammar, Grammars};
pub use argand_text::Tokenizer;
use argand_text::{Algorithm, SpecialIds, StreamDecoder, TokenType, Vocabulary};
use std::collections::BTreeMap;

/// Words that reach over the borders of a grammar.
const WORDS: [&str; 24] = [
    "true",
    "false",
    "null",
    "\",▁\"",
    "\":▁",
    "\":▁\"",
    "},",
    "{\"",
    "\"}",
    "]}",
    "[[",
    "\n\n",
    ">\n",
    ">{",
    ">x",
    "123",
    "0.5",
    "abc",
    "▁▁",
    "é",
    "日本",
    "\u{1F600}",
    "<tool_call>",
    "z>",
];

/// A SentencePiece vocabulary: every byte, printable characters, `WORDS`, and steering tokens.
pub fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<call>", "<|im_end|>"].map(String::from).to_vec();
    let mut types = vec![TokenType::Unknown];
    types.resize(tokens.len(), TokenType::Control);
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), TokenType::Byte);
    tokens.extend((b'!'..=b'~').map(|byte| char::from(byte).to_string()));
    tokens.extend(WORDS.map(String::from));
    tokens.push("▁".into());
    types.resize(tokens.len(), TokenType::Normal);
    let vocabulary = Vocabulary {
        algorithm: Algorithm::SentencePiece,
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens: tokens.iter().map(String::as_str).collect(),
        types,
        special: SpecialIds { bos: Some(1), eos: Some(2), unknown: Some(0), ..SpecialIds::default() },
        ..Vocabulary::default()
    };
    Tokenizer::from_vocabulary(&vocabulary).expect("a tokenizer")
}

pub fn grammars() -> Grammars {
    Grammars::new(&tokenizer()).expect("a vocabulary")
}

pub struct Decoder(pub StreamDecoder);

impl TextStream for Decoder {
    fn push(&mut self, id: u32) -> String {
        self.0.push(id)
    }

    fn finish(&mut self) -> String {
        self.0.finish()
    }
}

/// An engine for the tokenizer. Its vocabulary is a little wider, as those of many models are.
pub fn engine(tokenizer: &Tokenizer) -> Engine<MockRunner> {
    let vocab = tokenizer.vocab_size() + 7;
    let limits = Limits { vocab, page_tokens: 4, pages: 2048, context: 4000, max_rows: 64, source: 0 };
    Engine::new(
        MockRunner::new(limits).repeating(9),
        EngineOptions { prefill_chunk: 16, max_sequences: 64, ..EngineOptions::default() },
    )
}

/// A request that prefers what ends texts, so that they end.
pub fn request(tokenizer: &Tokenizer, compiled: &Compiled, seed: u64, max_tokens: usize) -> Request {
    let ends = ["\"", "}", "]", "\"}", "]}", "</s>"];
    let bias: BTreeMap<u32, f32> = ends.iter().filter_map(|text| Some((tokenizer.token_id(text)?, 3.5))).collect();
    Request {
        sampling: Sampling { logit_bias: bias, ..Sampling::default() },
        stop: StopRules { tokens: tokenizer.eog().clone(), max_tokens: Some(max_tokens), ..StopRules::default() },
        seed,
        text: Some(Box::new(Decoder(tokenizer.stream().with_special().continuing()))),
        constraint: Some(compiled.constraint()),
        ..Request::new(vec![1, 40 + seed as u32 % 50, 50])
    }
}

/// What each answer is, its tokens, and how it ended.
pub fn drain(engine: &mut Engine<MockRunner>) -> BTreeMap<argand_engine::SeqId, (String, Vec<u32>, Option<Finish>)> {
    let mut answers = BTreeMap::<_, (String, Vec<u32>, Option<Finish>)>::new();
    while !engine.is_idle() {
        for event in engine.step().expect("a step") {
            match event {
                Event::Token { seq, id, text, .. } => {
                    let answer = answers.entry(seq).or_default();
                    answer.0 += &text;
                    answer.1.push(id);
                }
                Event::Finished { seq, reason, text, .. } => {
                    let answer = answers.entry(seq).or_default();
                    answer.0 += &text;
                    answer.2 = Some(reason);
                }
            }
        }
    }
    answers
}

pub fn answers(tokenizer: &Tokenizer, requests: Vec<Request>) -> Vec<(String, Finish)> {
    let mut engine = engine(tokenizer);
    for request in requests {
        engine.add(request).expect("a request");
    }
    drain(&mut engine).into_values().map(|(text, _, finish)| (text, finish.expect("an end"))).collect()
}
