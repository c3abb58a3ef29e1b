//! Endpoints of models that read, and decisions, asked over TCP of a server in this process, with tiny models.

use argand_ledger::{By, Filter, Ledger, NewKey, Options, Scope, Unit};
use argand_server::{App, Config, Log, ModelConfig, Server};
use argand_weights::Checkpoint;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests").join(name)
}

/// A model of one fixture with the tokenizer of another: words are cut into the letters of 61 tokens, of which the first 31 are
/// letters that begin words.
fn with_tokenizer(place: &Path, model: &str, more: &[(&str, &str)]) -> PathBuf {
    let folder = place.join(model.replace('/', "_"));
    std::fs::create_dir(&folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(model).join(file), folder.join(file)).unwrap();
    }
    let tokenizer = fixture("tiny_sentences/sentences_mean/tokenizer.json");
    std::fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
    for (name, text) in more {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

struct Running {
    address: SocketAddr,
    ledger: Ledger,
    key: String,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    _place: tempfile::TempDir,
}

impl Running {
    async fn start() -> Running {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("ledger.db").display().to_string();
        let ledger = Ledger::open(&database, Options::default());
        let ledger = ledger.await.unwrap();
        let scopes = [Scope::Inference, Scope::Embeddings].into();
        let key = NewKey { name: "test".into(), scopes, ..NewKey::default() };
        let key = ledger.create_key(key).await.unwrap().1.text().to_string();
        let template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}\n{% endfor %}assistant\n";
        let template = json!({ "chat_template": template }).to_string();
        let writer = with_tokenizer(place.path(), "tiny/llama", &[("tokenizer_config.json", &template)]);
        let classifier = with_tokenizer(place.path(), "tiny_encoders/bert_classify", &[]);
        let model = |name: &str, path: PathBuf| ModelConfig {
            name: name.into(),
            path,
            threads: Some(1),
            context: (name == "writer").then_some(2048),
            parallel: 4,
            ..ModelConfig::default()
        };
        let models = vec![
            model("writer", writer),
            model("vectors", fixture("tiny_sentences/sentences_mean")),
            model("labels", classifier),
            model("relevance", with_tokenizer(place.path(), "tiny_encoders/bert_rerank", &[])),
        ];
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen, models, log: Log::Off, ..Config::default() };
        let server = Server::at(Server::take(listen).await.unwrap(), App::new(config, ledger.clone())).unwrap();
        let (address, (stop, stopped)) = (server.address(), oneshot::channel::<()>());
        let served = tokio::spawn(async move { server.run(async { drop(stopped.await) }).await.unwrap() });
        Running { address, ledger, key, stop: Some(stop), served, _place: place }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (key, length) = (&self.key, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body.to_string()).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// Status, field and message of an error.
    async fn refused(&self, path: &str, body: Value) -> (u16, String, String) {
        let (status, answer) = self.ask("POST", path, &body.to_string()).await;
        let text = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_string();
        (status, text("param"), text("message"))
    }

    async fn end(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap();
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_say_what_they_can() {
    let server = Running::start().await;
    let (_, listed) = server.ask("GET", "/v1/models", "").await;
    let can = |i: usize| listed["data"][i]["capabilities"].clone();
    let expected = [json!(["chat", "completions"]), json!(["embeddings"]), json!(["classify"]), json!(["rerank"])];
    assert_eq!([0, 1, 2, 3].map(can), expected);
    let (status, param, message) = server.refused("/v1/embeddings", json!({ "model": "writer", "input": "a" })).await;
    assert_eq!((status, param.as_str()), (400, "model"));
    assert!(message.contains("writes text") && message.ends_with("chat, completions"), "{message}");
    let chat = json!({ "model": "vectors", "messages": [{ "role": "user", "content": "a" }] });
    let (status, param, message) = server.refused("/v1/chat/completions", chat).await;
    assert_eq!((status, param.as_str()), (400, "model"));
    assert!(message.ends_with("embeddings"), "{message}");
    let (_, again) = server.ask("GET", "/v1/models", "").await;
    assert_eq!(again["data"][1]["state"], "loaded");
    assert_eq!(again["data"][1]["capabilities"], listed["data"][1]["capabilities"]);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_are_those_of_sentence_transformers() {
    let server = Running::start().await;
    let texts: Vec<String> =
        serde_json::from_slice(&std::fs::read(fixture("tiny_sentences/sentences_mean/texts.json")).unwrap()).unwrap();
    let texts: Vec<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
    // The reference cuts off what is too long, without being asked.
    let asked = json!({ "model": "vectors", "input": texts, "truncate": true });
    let whole = server.post("/v1/embeddings", asked).await;
    let golden = Checkpoint::open(fixture("tiny_sentences/sentences_mean/golden.safetensors")).unwrap();
    let tensor = golden.require("embeddings").unwrap();
    let mut expected = vec![0.0; tensor.info.elements()];
    tensor.info.codec.decode(tensor.bytes, &mut expected).unwrap();
    let found: Vec<f32> = whole["data"].as_array().unwrap().iter().flat_map(|one| numbers(&one["embedding"])).collect();
    // The last text is empty, which is refused here.
    assert_eq!((found.len(), expected.len()), (12 * texts.len(), 12 * (texts.len() + 1)));
    // Keys and values have 11 bits; the vectors have the length 1.
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 2e-3, "off by {off:e}");
    let total: u64 = whole["usage"]["total_tokens"].as_u64().unwrap();

    let body = json!({ "model": "vectors", "input": texts[0], "encoding_format": "base64", "user": "me" });
    let coded = server.post("/v1/embeddings", body).await;
    let values = numbers(&whole["data"][0]["embedding"]);
    let decoded = decode(coded["data"][0]["embedding"].as_str().unwrap());
    assert_eq!(decoded, values, "what comes out for a text depends on the others");
    let short = server.post("/v1/embeddings", json!({ "model": "vectors", "input": texts[0], "dimensions": 3 })).await;
    let short = numbers(&short["data"][0]["embedding"]);
    let length: f32 = short.iter().map(|x| x * x).sum();
    assert!(
        short.len() == 3 && (length - 1.0).abs() < 1e-6 && (short[0] / short[1] - values[0] / values[1]).abs() < 1e-5
    );
    let (_, tokens) = server
        .ask("POST", "/tokenize", &json!({ "model": "vectors", "content": texts[0], "add_special": true }).to_string())
        .await;
    let by_tokens = server.post("/v1/embeddings", json!({ "model": "vectors", "input": tokens["tokens"] })).await;
    assert_eq!(numbers(&by_tokens["data"][0]["embedding"]), values);

    let long = "a b c d e f g h i j k l m n o p";
    for (body, field, part) in [
        (json!({ "input": ["a", long] }), "input[1]", "has 18 tokens, and the model reads at most 16"),
        (json!({ "input": [[5, 61]] }), "input[0]", "token 61"),
        (json!({ "input": "a", "dimensions": 13 }), "dimensions", "13, and the model's vectors have 12"),
        (json!({ "input": "a", "encoding_format": "hex" }), "encoding_format", "\"hex\""),
        (json!({ "input": "" }), "input", "empty"),
        (json!({ "input": "a", "colour": 1 }), "colour", "not a field"),
    ] {
        let mut body = body;
        body["model"] = "vectors".into();
        let (status, param, message) = server.refused("/v1/embeddings", body).await;
        assert_eq!((status, param.as_str()), (400, field), "{message}");
        assert!(message.contains(part), "{message}");
    }
    let cut = server.post("/v1/embeddings", json!({ "model": "vectors", "input": long, "truncate": true })).await;
    assert_eq!(cut["usage"], json!({ "prompt_tokens": 16, "total_tokens": 16 }));

    // Exactly what was told is in the books.
    let lines = server.ledger.report(&Filter::default(), &[By::Model]).await.unwrap();
    let read = total
        + 2 * coded["usage"]["total_tokens"].as_u64().unwrap()
        + tokens["tokens"].as_array().unwrap().len() as u64
        + 16;
    assert_eq!((lines[0].units.get(Unit::Input), lines[0].requests), (read as i64, 5));
    server.end().await;
}

/// Base64 to numbers of four bytes.
fn decode(text: &str) -> Vec<f32> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_ordered_and_texts_labelled() {
    let server = Running::start().await;
    let documents = json!(["a b", { "text": "c d e" }, "f"]);
    let body = json!({ "model": "relevance", "query": "x", "documents": documents, "return_documents": true });
    let ordered = server.post("/rerank", body.clone()).await;
    let results = ordered["results"].as_array().unwrap();
    let score = |i: usize| results[i]["relevance_score"].as_f64().unwrap();
    assert!(results.len() == 3 && score(0) >= score(1) && score(1) >= score(2) && score(0) < 1.0 && score(2) > 0.0);
    let places: Vec<usize> = results.iter().map(|result| result["index"].as_u64().unwrap() as usize).collect();
    let texts = ["a b", "c d e", "f"];
    results.iter().zip(&places).for_each(|(result, i)| assert_eq!(result["document"]["text"], texts[*i]));
    let one = server
        .post("/v1/rerank", json!({ "model": "relevance", "query": "x", "documents": documents, "top_n": 1 }))
        .await;
    assert_eq!(one["results"], json!([{ "index": places[0], "relevance_score": score(0) }]));
    // [CLS] x [SEP] ... [SEP], thrice.
    assert_eq!(one["usage"]["total_tokens"], 3 * 4 + 6);

    let moderated = server.post("/v1/moderations", json!({ "input": ["a b", "c"] })).await;
    assert_eq!(moderated["model"], "labels");
    for result in moderated["results"].as_array().unwrap() {
        let scores = result["category_scores"].as_object().unwrap();
        let sum: f64 = scores.values().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{scores:?}");
        assert_eq!(scores.keys().collect::<Vec<_>>(), ["left", "middle", "right"]);
        assert_eq!(result["flagged"], scores.values().any(|p| p.as_f64().unwrap() >= 0.5));
    }
    let (status, param, _) = server.refused("/v1/moderations", json!({ "model": "writer", "input": "a" })).await;
    assert_eq!((status, param.as_str()), (400, "model"));

    let choice = |values: &[&str]| json!({ "type": "choice", "instructions": "Where?", "choices": values.iter().map(|value| json!({ "value": value })).collect::<Vec<_>>() });
    let questions = json!([choice(&["right", "left"]), choice(&["left", "middle", "right"])]);
    let decided =
        server.post("/v1/decisions", json!({ "model": "labels", "input": "a b", "questions": questions })).await;
    let all = |answer: usize, i: usize| decided["answers"][answer]["probabilities"][i]["probability"].as_f64().unwrap();
    let scores = &moderated["results"][0]["category_scores"];
    assert!((all(1, 1) - scores["middle"].as_f64().unwrap()).abs() < 1e-12);
    assert!(
        (all(0, 0) + all(0, 1) - 1.0).abs() < 1e-12 && (all(0, 0) / all(0, 1) - all(1, 2) / all(1, 0)).abs() < 1e-9
    );
    let body = json!({ "model": "labels", "input": "a b", "questions": [choice(&["left", "up"])] });
    let (status, param, message) = server.refused("/v1/decisions", body).await;
    assert_eq!((status, param.as_str()), (400, "questions[0]"));
    assert!(message.contains("left, middle, right"), "{message}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_writes_decides() {
    let server = Running::start().await;
    let questions = json!([
        { "type": "predicate", "instructions": "It is red.", "name": "red" },
        { "type": "choice", "instructions": "Which?", "choices": [{ "value": "true" }, { "value": true }, { "value": "truth" }] },
        { "type": "score", "instructions": "How?", "levels": [{ "label": "bad" }, { "label": "fair", "description": "so" }, { "label": "good" }] },
    ]);
    let body =
        json!({ "model": "writer", "input": "the cat walked", "questions": questions, "safety_identifier": "me" });
    let decided = server.post("/v1/decisions", body.clone()).await;
    let answers = decided["answers"].as_array().unwrap();
    let sum = |answer: &Value| -> f64 {
        answer["probabilities"].as_array().unwrap().iter().map(|p| p["probability"].as_f64().unwrap()).sum()
    };
    let kinds: Vec<&str> = answers.iter().map(|answer| answer["type"].as_str().unwrap()).collect();
    assert_eq!((kinds, &answers[0]["name"]), (vec!["predicate", "choice", "score"], &json!("red")));
    let likely = answers[0]["probability"].as_f64().unwrap();
    assert!(0.0 < likely && likely < 1.0);
    assert!((sum(&answers[1]) - 1.0).abs() < 1e-12 && (sum(&answers[2]) - 1.0).abs() < 1e-12);
    let score = answers[2]["score"].as_f64().unwrap();
    assert!(1.0 < score && score < 3.0);
    let usage = &decided["usage"];
    let count = |name: &str| usage[name].as_i64().unwrap();
    assert_eq!(count("input_tokens") + count("output_tokens"), count("total_tokens"));

    // Again, while others are running, and one by one: the same to the last bit.
    let alone = questions
        .as_array()
        .unwrap()
        .iter()
        .map(|question| json!({ "model": "writer", "input": "the cat walked", "questions": [question] }));
    let (again, singles) = tokio::join!(
        server.post("/v1/decisions", body),
        futures_util::future::join_all(alone.map(|body| server.post("/v1/decisions", body)))
    );
    assert_eq!(again["answers"], decided["answers"]);
    let singles: Vec<&Value> = singles.iter().map(|single| &single["answers"][0]).collect();
    assert_eq!(singles, answers.iter().collect::<Vec<_>>());

    let long = "a b c d ".repeat(600);
    let body = json!({ "model": "writer", "input": long, "questions": [questions[0]] });
    let (status, param, message) = server.refused("/v1/decisions", body).await;
    assert_eq!((status, param.as_str()), (400, "input"));
    assert!(message.contains("context holds 2048"), "{message}");
    let lines = server.ledger.report(&Filter::default(), &[By::Endpoint]).await.unwrap();
    let units = &lines[0].units;
    assert_eq!((lines[0].group[0].as_str(), lines[0].requests), ("decisions", 5));
    assert_eq!(units.get(Unit::Input) + units.get(Unit::CachedInput), 3 * count("input_tokens"));
    assert_eq!(units.get(Unit::Output), 3 * count("output_tokens"));
    server.end().await;
}
