//! Encoders by the façade, on tiny folders with the values of sentence-transformers (see `parity/sentences.py`).

use argand::{Encoder, Error, LoadOptions, Pool, Task, cosine};
use argand_weights::Checkpoint;
use std::path::{Path, PathBuf};

fn sentences(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny_sentences").join(name)
}

fn load(path: &Path, task: Task) -> Result<Encoder, Error> {
    let options = LoadOptions { threads: Some(2), kv: argand_cpu::kv::KvType::F32, ..LoadOptions::default() };
    Encoder::load(path, task, &options, &mut |_| {})
}

const EMBED: Task = Task::Embed { pool: None };

fn golden(path: &Path, name: &str) -> Vec<f32> {
    let file = Checkpoint::open(path.join("golden.safetensors")).unwrap();
    let tensor = file.require(name).unwrap();
    let mut values = vec![0.0; tensor.info.elements()];
    tensor.info.codec.decode(tensor.bytes, &mut values).unwrap();
    values
}

fn texts(path: &Path) -> Vec<String> {
    serde_json::from_slice(&std::fs::read(path.join("texts.json")).unwrap()).unwrap()
}

/// Two layers of f32 sums in another order; the values are about 1.
const BOUND: f32 = 1e-5;

#[test]
fn vectors_are_those_of_sentence_transformers() {
    for name in ["sentences_mean", "sentences_max", "sentences_cls_dense"] {
        let path = sentences(name);
        let mut encoder = load(&path, EMBED).unwrap();
        let texts = texts(&path);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (i, text) in texts.iter().enumerate() {
            let tokens = encoder.tokenizer().sequence(text, encoder.engine().longest(), false).unwrap().tokens;
            let expected: Vec<u32> = golden(&path, &format!("tokens_{i}")).iter().map(|id| *id as u32).collect();
            assert_eq!(tokens, expected, "{name}: {text:?}");
        }
        let found = encoder.embed(&texts).unwrap();
        let (flat, expected) = (found.concat(), golden(&path, "embeddings"));
        assert_eq!(flat.len(), expected.len(), "{name}");
        for (i, (a, b)) in flat.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < BOUND, "{name}: value {i} is {a}, expected {b}");
        }
        // What comes out for a text does not depend on its neighbours.
        for (text, together) in texts.iter().zip(&found) {
            assert_eq!(encoder.embed(&[text]).unwrap()[0], *together, "{name}: {text:?}");
        }
    }
}

#[test]
fn another_way_of_pooling_can_be_asked_for() {
    let path = sentences("sentences_mean");
    let tokens = golden(&path, "0/token_embeddings");
    let mut encoder = load(&path, Task::Embed { pool: Some(Pool::First) }).unwrap();
    let found = encoder.embed(&[&texts(&path)[0]]).unwrap().concat();
    assert!(found.iter().zip(&tokens).all(|(a, b)| (a - b).abs() < BOUND), "{found:?}, expected {:?}", &tokens[..12]);
}

#[test]
fn a_task_that_the_model_was_not_made_for_is_told() {
    let path = sentences("sentences_mean");
    let told = |task| load(&path, task).err().expect("it was not made for that").to_string();
    assert!(told(Task::Fill).contains("not made for filling in masked words"), "{}", told(Task::Fill));
    assert!(told(Task::Classify).contains("not made for classifying texts"), "{}", told(Task::Classify));
    let mut encoder = load(&path, EMBED).unwrap();
    let error = encoder.classify(&["a"]).unwrap_err().to_string();
    assert!(error.contains("opened for embedding texts"), "{error}");
    let decoder = path.join("../../tiny/llama/model.safetensors");
    let error = load(&decoder, EMBED).err().expect("it writes text").to_string();
    assert!(error.contains("Llama is a model that writes text"), "{error}");
    let error = argand::Model::load(&path, &argand::OpenOptions::default(), &mut |_| {}).err().expect("an encoder");
    assert!(error.to_string().contains("BERT is an encoder"), "{error}");
}

/// A fixture of weights with the tokenizer of another folder whose ids all exist in it.
fn with_tokenizer(fixture: &str, folder: &Path) -> PathBuf {
    let from = sentences("../tiny_encoders").join(fixture);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), folder.join(file)).unwrap();
    }
    let text = std::fs::read(sentences("sentences_mean").join("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    json["model"]["vocab"].as_object_mut().unwrap().retain(|_, id| id.as_u64().unwrap() < 31);
    std::fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
    folder.to_path_buf()
}

#[test]
fn words_labels_and_relevance_follow_from_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let path = with_tokenizer("bert_mlm", folder.path());
    let mut encoder = load(&path, Task::Fill).unwrap();
    let filled = encoder.fill("a [MASK] b [MASK]", 31).unwrap();
    assert_eq!(filled.iter().map(Vec::len).collect::<Vec<_>>(), [31, 31]);
    for choices in &filled {
        assert!((choices.iter().map(|c| c.probability).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(choices.is_sorted_by(|a, b| a.probability >= b.probability));
    }
    assert_ne!(filled[0], filled[1]);
    assert!(encoder.fill("a b", 1).unwrap_err().to_string().contains("write [MASK]"));

    let path = with_tokenizer("bert_classify", folder.path());
    let mut encoder = load(&path, Task::Classify).unwrap();
    let told = encoder.classify(&["a b", "c", "a b"]).unwrap();
    assert_eq!((told.len(), &told[0]), (3, &told[2]));
    let mut labels: Vec<&str> = told[0].iter().map(|c| c.text.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["left", "middle", "right"]);
    let error = load(&path, Task::Rerank).err().expect("three labels").to_string();
    assert!(error.contains("3 labels"), "{error}");

    let path = with_tokenizer("bert_tokens", folder.path());
    let told = load(&path, Task::Classify).unwrap().classify_tokens("a bc").unwrap();
    // Only letters are in this vocabulary, so a word of two is unknown as a whole.
    assert_eq!(told.iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["a"]);

    let path = with_tokenizer("bert_rerank", folder.path());
    let mut encoder = load(&path, Task::Rerank).unwrap();
    let scores = encoder.rerank("a", &["b", "c", "b"]).unwrap();
    assert!(scores[0] == scores[2] && scores[0] != scores[1], "{scores:?}");
    // The second text is told from the first by the types of its tokens.
    let mut pair = encoder.tokenizer().pair("a", "b", 16).unwrap();
    assert_eq!(
        (pair.tokens.as_slice(), pair.types.as_slice()),
        ([2, 5, 3, 6, 3].as_slice(), [0, 0, 0, 1, 1].as_slice())
    );
    pair.types.clear();
    let untyped = encoder.engine_mut().run(&[pair], 0, &mut |_| {}).unwrap();
    assert_ne!(untyped[0][0], scores[0]);
}

#[test]
fn rounded_weights_keep_the_direction() {
    let path = sentences("sentences_mean");
    // Rows of 12 values fill no block of 32, so the format is one without blocks.
    let options = LoadOptions { quantize: Some(argand_codec::Codec::F16), ..LoadOptions::default() };
    let mut rounded = Encoder::load(&path, EMBED, &options, &mut |_| {}).unwrap();
    let mut exact = load(&path, EMBED).unwrap();
    let texts = ["the cat and the dog", "sleeping"];
    for (a, b) in rounded.embed(&texts).unwrap().iter().zip(exact.embed(&texts).unwrap()) {
        assert!(cosine(a, &b) > 0.9999, "{}", cosine(a, &b));
    }
}
