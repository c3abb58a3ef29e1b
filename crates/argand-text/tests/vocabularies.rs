//! Vocabularies of many families against the ids that their reference tokenizers give (files of llama.cpp's tests).

mod common;

use argand_text::{Error, Tokenizer, Vocabulary};
use argand_weights::Checkpoint;
use std::path::Path;
use std::time::Instant;

/// Vocabularies with expected ids.
const GOLDEN: [&str; 15] = [
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
];

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

fn load(models: &Path, name: &str) -> Tokenizer {
    let checkpoint = Checkpoint::open(models.join(format!("ggml-vocab-{name}.gguf"))).expect("a GGUF file");
    let start = Instant::now();
    let tokenizer = Tokenizer::from_gguf(checkpoint.metadata()).expect("a vocabulary");
    println!("{name}: {} tokens in {:?}", tokenizer.vocab_size(), start.elapsed());
    tokenizer
}

/// Texts and their ids.
fn cases(models: &Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |kind: &str| std::fs::read_to_string(models.join(format!("ggml-vocab-{name}.gguf.{kind}"))).expect(kind);
    let (texts, ids) = (read("inp"), read("out"));
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().expect("an id")).collect());
    let texts = texts.split(SEPARATOR).map(str::to_owned);
    texts.zip(ids).collect()
}

#[test]
fn ids_are_those_of_the_reference_tokenizers() {
    let Some(models) = common::llama_cpp_models("vocabularies") else { return };
    let mut wrong = Vec::new();
    for name in GOLDEN {
        let tokenizer = load(&models, name);
        let cases = cases(&models, name);
        assert!(cases.len() > 40, "{name} has only {} cases", cases.len());
        for (text, expected) in cases {
            let ids = tokenizer.encode(&text, false, false).expect("ids");
            if ids != expected {
                wrong.push(format!("{name} {text:?}:\n  expected {expected:?}\n  got      {ids:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ids_decode_to_the_text() {
    let Some(models) = common::llama_cpp_models("vocabularies") else { return };
    for name in GOLDEN.into_iter().filter(|name| *name != "bert-bge") {
        let tokenizer = load(&models, name);
        for (text, ids) in cases(&models, name) {
            assert_eq!(tokenizer.decode(&ids, true), text, "{name}");
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).collect();
            assert!(bytes.ends_with(text.as_bytes()) && bytes.len() <= text.len() + 1, "{name} {text:?}");
        }
    }
}

#[test]
fn unigram_vocabularies_give_the_ids_of_xlm_roberta() {
    let Some(models) = common::llama_cpp_models("unigram vocabulary") else { return };
    let tokenizer = load(&models, "nomic-bert-moe");
    let cases: [(&str, &[u32]); 3] = [
        ("Hello world!", &[0, 35378, 8999, 38, 2]),
        (" Hello   world!", &[0, 35378, 8999, 38, 2]),
        ("Ｈｅｌｌｏ world！", &[0, 35378, 8999, 38, 2]),
    ];
    for (text, ids) in cases {
        assert_eq!(tokenizer.encode(text, true, false).expect("ids"), ids, "{text:?}");
    }
}

#[test]
fn missing_and_unknown_pre_tokenizers_are_errors() {
    let Some(models) = common::llama_cpp_models("vocabularies") else { return };
    let checkpoint = Checkpoint::open(models.join("ggml-vocab-gpt-2.gguf")).expect("a GGUF file");
    let mut vocabulary = Vocabulary::from_gguf(checkpoint.metadata()).expect("a vocabulary");
    assert_eq!(vocabulary.pre, Some("gpt-2"));
    vocabulary.pre = None;
    assert!(matches!(Tokenizer::from_vocabulary(&vocabulary), Err(Error::MissingPreTokenizer)));
    vocabulary.pre = Some("gpt-99");
    assert!(matches!(Tokenizer::from_vocabulary(&vocabulary), Err(Error::UnknownPreTokenizer { .. })));
}
