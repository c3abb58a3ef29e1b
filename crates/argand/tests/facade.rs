//! The façade as another program would use it.

use argand::{ChatTemplate, Generation, LoadOptions, Model, OpenOptions, Sampling};
use argand_weights::gguf::{TensorSpec, Writer};
use argand_weights::{Checkpoint, TensorInfo, Value};

fn path() -> String {
    format!("{}/../argand-models/tests/tiny/llama/model.gguf", env!("CARGO_MANIFEST_DIR"))
}

/// The tiny vocabulary has letters and spaces only.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant ";

fn template() -> ChatTemplate {
    ChatTemplate::new(TEMPLATE, Default::default()).expect("it compiles")
}

/// A model of a few thousand random weights: it babbles, but all machinery around it is real.
fn tiny() -> Model {
    let mut model = Model::open(&path()).expect("the tiny model opens");
    model.set_template(template());
    *model.generation_mut() =
        Generation { sampling: Sampling::greedy(), max_tokens: Some(5), ignore_eos: true, ..Generation::default() };
    model
}

fn read(answer: argand::Answer<'_>) -> String {
    answer.map(|piece| piece.expect("the step runs")).collect()
}

#[test]
fn ten_lines_stream_an_answer() -> Result<(), Box<dyn std::error::Error>> {
    let mut model = Model::open(&path())?;
    model.generation_mut().max_tokens = Some(8);
    let mut streamed = String::new();
    let mut answer = model.complete("hello")?;
    for piece in answer.by_ref() {
        streamed += &piece?;
    }
    assert_eq!(streamed, answer.text());
    assert!(answer.usage().is_some_and(|u| u.completion_tokens <= 8));
    Ok(())
}

#[test]
fn a_second_turn_computes_only_what_is_new() {
    let mut model = tiny();
    let first = read(model.chat("hello").expect("it is asked"));
    assert_eq!(model.messages().len(), 2);
    assert_eq!(model.messages()[1].content, Some(first.into()));
    let mut answer = model.chat("again").expect("it is asked");
    answer.by_ref().for_each(|piece| assert!(piece.is_ok()));
    let usage = answer.usage().expect("it has ended");
    assert!(usage.cached_tokens > 0 && usage.cached_tokens < usage.prompt_tokens, "{usage:?}");
}

#[test]
fn regenerating_replaces_the_answer() {
    let mut model = tiny();
    assert!(model.regenerate().is_err());
    let first = read(model.chat("hello").expect("it is asked"));
    let second = read(model.regenerate().expect("there is an answer"));
    assert_eq!(first, second, "greedy answers are the same");
    assert_eq!(model.messages().len(), 2);
    model.set_system("be brief");
    model.reset();
    assert_eq!(model.messages().len(), 1);
}

#[test]
fn an_answer_that_is_dropped_stays_as_far_as_it_went() {
    let mut model = tiny();
    drop(model.chat("hello").expect("it is asked"));
    assert_eq!(model.messages().len(), 2);
    assert!(model.engine().is_idle());
    assert!(!read(model.chat("go on").expect("it is asked")).is_empty());
}

#[test]
fn a_malformed_template_stops_chats_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.gguf");
    let tiny = Checkpoint::open(path()).expect("the tiny model opens");
    let mut metadata = tiny.metadata().clone();
    metadata.set("tokenizer.chat_template", Value::Str("{% if %}".into()));
    let spec = |t: &TensorInfo| TensorSpec { name: t.name.clone(), shape: t.shape.clone(), codec: t.codec };
    let mut writer = Writer::create(&file, &metadata, tiny.tensors().map(spec).collect()).expect("it can be written");
    for tensor in tiny.tensors() {
        writer.write(&tensor.name, tiny.require(&tensor.name).expect("it is there").bytes).expect("it can be written");
    }
    writer.finish().expect("it is complete");
    let mut model = Model::open(&file.display().to_string()).expect("it opens all the same");
    model.generation_mut().max_tokens = Some(2);
    let refused = model.chat("hello").err().map(|e| e.to_string());
    assert!(refused.is_some_and(|e| e.contains("chat template `default`, line 1")));
    read(model.complete("hello").expect("plain text needs no template"));
    model.set_template(template());
    read(model.chat("hello").expect("this template is sound"));
}

#[test]
fn a_refused_turn_leaves_the_conversation_alone() {
    let load = LoadOptions { context: Some(48), ..LoadOptions::default() };
    let mut model =
        Model::load(path().as_ref(), &OpenOptions { load, ..OpenOptions::default() }, &mut |_| {}).expect("it loads");
    assert!(model.chat("hello").is_err(), "it has no template");
    model.set_template(template());
    let refused = model.chat(&"long ".repeat(100)).err().map(|e| e.to_string());
    assert!(refused.is_some_and(|e| e.contains("the context holds 48")));
    assert!(model.messages().is_empty());
}

/// A model that reads is opened and asked like any other; it writes what the engine does with the same tokens.
#[test]
fn a_model_that_reads_holds_no_conversation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let from = format!("{}/../argand-models/tests/tiny_seq2seq/t5", env!("CARGO_MANIFEST_DIR"));
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("{from}/{file}"), folder.path().join(file)).expect("the tiny model is there");
    }
    let vocab: Vec<(String, f64)> = (0..31).map(|i| (char::from(b'A' + i).to_string(), -1.0)).collect();
    let model = serde_json::json!({ "type": "Unigram", "unk_id": 2, "vocab": vocab });
    let tokenizer = serde_json::json!({ "version": "1.0", "decoder": { "type": "Fuse" }, "model": model });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file can be written");
    let load = LoadOptions { exact: true, ..LoadOptions::default() };
    let mut model =
        Model::load(folder.path(), &OpenOptions { load, ..OpenOptions::default() }, &mut |_| {}).expect("it loads");
    model.generation_mut().sampling = Sampling::greedy();
    model.generation_mut().max_tokens = Some(8);
    model.generation_mut().ignore_eos = true;
    assert!(model.reads());
    assert!(matches!(model.chat("A"), Err(argand::Error::NoConversation { .. })) && model.messages().is_empty());
    // The tokens of the fixture's run `b`, and what transformers' `generate` makes of them.
    let text: String = [5u8, 12, 14, 8, 6, 13].iter().map(|t| char::from(b'A' + t)).collect();
    assert_eq!(read(model.complete(&text).expect("it is asked")), "LLLLLLLL");
}
