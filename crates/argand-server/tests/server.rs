//! A whole server in this process over a tiny model, asked over TCP in plain HTTP.

use argand_ledger::{Filter, Ledger, NewKey, Options, Scope, Unit};
use argand_server::{App, Config, Log, ModelConfig, Server};
use serde_json::{Value as Json, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant ";

/// A server that runs until it is dropped.
struct Served {
    runtime: Runtime,
    address: SocketAddr,
    ledger: Ledger,
    secret: String,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny/llama/model.gguf")
}

impl Served {
    fn new(change: impl FnOnce(&mut Config)) -> Served {
        let folder = tempfile::tempdir().expect("a folder");
        let template = folder.path().join("template.jinja");
        std::fs::write(&template, TEMPLATE).expect("a file");
        let tiny = ModelConfig {
            name: "tiny".into(),
            aliases: vec!["org/tiny".into()],
            path: model(),
            template: Some(template.display().to_string()),
            context: Some(256),
            threads: Some(1),
            pinned: true,
            ..ModelConfig::default()
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { listen, log: Log::Off, models: vec![tiny], ..Config::default() };
        change(&mut config);
        let runtime = Runtime::new().expect("a runtime");
        let database = folder.path().join("ledger.sqlite").display().to_string();
        let (ledger, secret, server) = runtime.block_on(async {
            let ledger = Ledger::open(&database, Options::default()).await.expect("a ledger");
            let new = NewKey { name: "all".into(), scopes: Scope::ALL.into_iter().collect(), ..NewKey::default() };
            let (_, secret) = ledger.create_key(new).await.expect("a key");
            let listener = Server::take(config.listen).await.expect("an address");
            let server = Server::at(listener, App::new(config, ledger.clone())).expect("a server");
            (ledger, secret.text().to_string(), server)
        });
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(async move {
            server.run(async { drop(stopped.await) }).await.expect("it serves");
        });
        let (stop, running) = (Some(stop), Some(running));
        let served = Served { runtime, address, ledger, secret, stop, running, _folder: folder };
        while served.get("/ready").0 != 200 {
            std::thread::sleep(Duration::from_millis(10));
        }
        served
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}", self.address);
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").expect("it is sent");
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut answer = String::new();
        self.send(method, path, headers, body).read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, head.to_string(), if chunked { unchunked(body) } else { body.to_string() })
    }

    fn key(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.secret)
    }

    fn get(&self, path: &str) -> (u16, Json) {
        let (status, _, body) = self.ask("GET", path, &self.key(), "");
        (status, serde_json::from_str(&body).unwrap_or(Json::Null))
    }

    fn post(&self, path: &str, body: Json) -> (u16, Json) {
        let (status, _, body) = self.ask("POST", path, &self.key(), &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Json::Null))
    }

    /// The data of a stream of events, without the end mark.
    fn stream(&self, path: &str, body: Json) -> Vec<Json> {
        let (status, head, body) = self.ask("POST", path, &self.key(), &body.to_string());
        assert!(status == 200 && head.contains("text/event-stream"), "{head}\n{body}");
        let lines = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        lines.map(|data| serde_json::from_str(data).expect("JSON")).collect()
    }

    /// Tokens in the books: read, and written.
    fn books(&self) -> (i64, i64) {
        let lines = self.runtime.block_on(self.ledger.report(&Filter::default(), &[])).expect("a report");
        let sum = |units: [Unit; 2]| lines.iter().flat_map(|l| units.map(|unit| l.units.get(unit))).sum();
        (sum([Unit::Input, Unit::CachedInput]), sum([Unit::Output, Unit::Reasoning]))
    }

    /// Asks for the end and waits for it.
    fn stop(&mut self) {
        drop(self.stop.take());
        let running = self.running.take().expect("it runs");
        self.runtime.block_on(running).expect("it ends well");
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    whole
}

fn question(more: Json) -> Json {
    let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hello there" }],
                           "max_tokens": 12, "seed": 7, "ignore_eos": true });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

#[test]
fn nothing_is_told_without_a_key_but_that_it_lives() {
    let served = Served::new(|_| {});
    for (method, path) in [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("GET", "/metrics"),
        ("GET", "/admin/v1/keys"),
        ("GET", "/nothing"),
        ("DELETE", "/v1/responses/x"),
    ] {
        assert_eq!(served.ask(method, path, "", "{}").0, 401, "{method} {path}");
        assert_eq!(served.ask(method, path, "Authorization: Bearer argand-wrong\r\n", "{}").0, 401, "{method} {path}");
    }
    for path in ["/health", "/ready", "/", "/admin", "/style.css"] {
        assert_eq!(served.ask("GET", path, "", "").0, 200, "{path}");
    }
    let foreign = served.key() + "Origin: http://evil.example\r\n";
    assert_eq!(served.ask("GET", "/v1/models", &foreign, "").0, 403);
    let own = served.key() + &format!("Origin: http://{}\r\n", served.address);
    assert_eq!(served.ask("GET", "/v1/models", &own, "").0, 200);
    assert_eq!(served.get("/nothing").0, 404);
    assert_eq!(served.get("/v1/chat/completions").0, 405);
    assert_eq!(served.get("/v1/models/org/tiny").1["id"], "tiny");
}

#[test]
fn an_answer_is_the_same_at_once_and_in_pieces_alone_and_amid_others() {
    let served = Served::new(|_| {});
    let (status, alone) = served.post("/v1/chat/completions", question(json!({})));
    assert_eq!(status, 200, "{alone}");
    let text = alone["choices"][0]["message"]["content"].as_str().expect("text").to_string();
    assert_eq!(
        (&alone["choices"][0]["finish_reason"], &alone["usage"]["completion_tokens"]),
        (&json!("length"), &json!(12))
    );
    std::thread::scope(|scope| {
        let others = (0..6).map(|seed| {
            let served = &served;
            scope.spawn(move || served.post("/v1/chat/completions", question(json!({ "seed": seed, "n": 2 }))))
        });
        let others: Vec<_> = others.collect();
        let chunks = served.stream(
            "/v1/chat/completions",
            question(json!({ "stream": true, "stream_options": { "include_usage": true } })),
        );
        let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(pieces.collect::<String>(), text);
        let roles = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["role"] == "assistant").count();
        let ends: Vec<_> = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).collect();
        assert_eq!((roles, ends.len()), (1, 1));
        assert_eq!(ends[0]["choices"][0]["delta"], json!({}));
        let last = chunks.last().expect("a chunk");
        assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
        for other in others {
            let (status, answer) = other.join().expect("an answer");
            assert_eq!((status, answer["choices"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
        }
    });
}

#[test]
fn the_protocols_say_the_same() {
    let served = Served::new(|_| {});
    let sampling = json!({ "model": "tiny", "seed": 7, "temperature": 0.0 });
    let with = |more: Json| {
        let mut body = sampling.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let chat = served
        .post(
            "/v1/chat/completions",
            with(json!({ "messages": [{ "role": "user", "content": "abc" }], "max_completion_tokens": 9 })),
        )
        .1;
    let text = &chat["choices"][0]["message"]["content"];
    let message = served
        .post("/v1/messages", with(json!({ "messages": [{ "role": "user", "content": "abc" }], "max_tokens": 9 })))
        .1;
    assert_eq!(&message["content"][0]["text"], text, "{message}");
    let response = served.post("/v1/responses", with(json!({ "input": "abc", "max_output_tokens": 9 }))).1;
    assert_eq!(&response["output"][0]["content"][0]["text"], text, "{response}");
    let plain = served.post("/v1/completions", with(json!({ "prompt": "user abc assistant ", "max_tokens": 9 }))).1;
    assert!(plain["choices"][0]["text"].is_string(), "{plain}");
    let kept = served.get(&format!("/v1/responses/{}", response["id"].as_str().expect("an id"))).1;
    assert_eq!(kept, response);
    let events =
        served.stream("/v1/responses", with(json!({ "input": "abc", "max_output_tokens": 9, "stream": true })));
    assert!(events.iter().enumerate().all(|(i, event)| event["sequence_number"] == i), "{events:?}");
    let events = served.stream(
        "/v1/messages",
        with(json!({ "messages": [{ "role": "user", "content": "abc" }], "max_tokens": 9, "stream": true })),
    );
    let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"message_start"), Some(&"message_stop")));
    let (status, error) =
        served.post("/v1/messages", with(json!({ "messages": [{ "role": "user", "content": "abc" }] })));
    assert_eq!(
        (status, &error["type"], &error["error"]["type"]),
        (400, &json!("error"), &json!("invalid_request_error"))
    );
}

#[test]
fn what_is_in_the_books_is_what_clients_were_told() {
    let served = Served::new(|_| {});
    let mut told = (0, 0);
    for (n, stream) in [(1, false), (3, false), (2, true)] {
        let body = question(json!({ "n": n, "seed": n }));
        let usage = if stream {
            let more = json!({ "stream": true, "stream_options": { "include_usage": true }, "n": n });
            served.stream("/v1/chat/completions", question(more)).last().expect("a chunk")["usage"].clone()
        } else {
            served.post("/v1/chat/completions", body).1["usage"].clone()
        };
        let count = |name: &str| usage[name].as_i64().expect("a count");
        told = (told.0 + count("prompt_tokens"), told.1 + count("completion_tokens"));
    }
    assert_eq!(served.books(), told);
    // A client that goes away is charged for what was computed until then, and no more.
    let body = question(json!({ "stream": true, "max_tokens": 220 })).to_string();
    let mut stream = served.send("POST", "/v1/chat/completions", &served.key(), &body);
    let mut begun = [0; 1024];
    assert!(stream.read(&mut begun).expect("a beginning") > 0);
    drop(stream);
    while served.get("/admin/v1/state").1["requests"]["running"] != 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let after = served.books();
    assert!(after.0 >= told.0 && after.1 >= told.1 && after.1 <= told.1 + 220, "{after:?} after {told:?}");
}

#[test]
fn what_is_too_much_is_refused_and_nothing_is_stuck() {
    let served = Served::new(|config| {
        config.models[0].parallel = 1;
        config.models[0].queue = 2;
    });
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| served.post("/v1/chat/completions", question(json!({ "max_tokens": 100 }))).0);
        let asked: Vec<_> = (0..12).map(ask).collect();
        asked.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    let state = served.get("/admin/v1/state").1;
    assert_eq!((&state["requests"]["running"], &state["requests"]["queued"]), (&json!(0), &json!(0)));
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(state["requests"]["refused"], refused);
    assert_eq!(served.post("/v1/chat/completions", question(json!({ "max_tokens": 100_000 }))).0, 200);
    let long = "hello ".repeat(400);
    let (status, error) =
        served.post("/v1/chat/completions", question(json!({ "messages": [{ "role": "user", "content": long }] })));
    assert_eq!((status, &error["error"]["code"]), (400, &json!("context_length_exceeded")), "{error}");
    for (path, field) in [("/v1/completions", "prompt"), ("/v1/responses", "input")] {
        let mut body = json!({ "model": "tiny" });
        body[field] = "hello ".repeat(400).into();
        let (status, error) = served.post(path, body);
        assert_eq!((status, &error["error"]["param"]), (400, &json!(field)), "{path}: {error}");
    }
}

#[test]
fn a_running_answer_ends_properly_when_the_server_is_asked_to_stop() {
    let mut served = Served::new(|_| {});
    let body = question(json!({ "stream": true, "max_tokens": 200 })).to_string();
    let mut stream = served.send("POST", "/v1/chat/completions", &served.key(), &body);
    let mut begun = [0; 512];
    let n = stream.read(&mut begun).expect("a beginning");
    served.stop();
    let mut rest = String::from_utf8_lossy(&begun[..n]).into_owned();
    stream.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"), "{rest}");
    assert!(TcpStream::connect(served.address).is_err());
}
