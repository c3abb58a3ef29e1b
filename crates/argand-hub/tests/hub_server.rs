//! The Hugging Face client against a server on the loopback that behaves well, badly and maliciously.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use argand_hub::{Config, HubError, ModelFormat, Progress, Silent, Store};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as the server saw it.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    headers: HashMap<String, String>,
}

/// What the server writes back, byte for byte.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    cut: Option<usize>,
    delay: Duration,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, delay: Duration::ZERO }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server; the handler gets each request with its number.
    fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Arc<Handler>) = (seen.clone(), Arc::new(handler));
        std::thread::spawn(move || {
            let count = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming().flatten() {
                let (log, handler, count) = (log.clone(), handler.clone(), count.clone());
                std::thread::spawn(move || serve(stream, &log, &*handler, &count));
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, handler: &Handler, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let request = Request { path, headers };
    log.lock().unwrap().push(request.clone());
    let reply = handler(&request, count.fetch_add(1, Ordering::SeqCst));
    std::thread::sleep(reply.delay);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = stream;
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    // The client may have hung up: that is its right.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| stream.write_all(body));
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Something long enough to be cut, and different at every offset.
fn weights() -> Vec<u8> {
    (0..700_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn listing(files: &[(&str, &[u8])]) -> Reply {
    let entry = |(name, data): &(&str, &[u8])| serde_json::json!({"rfilename": name, "size": data.len(), "lfs": {"sha256": sha256(data), "size": data.len()}});
    let files: Vec<_> = files.iter().map(entry).collect();
    Reply::new(200, serde_json::json!({"id": "a/b", "sha": COMMIT, "siblings": files}).to_string())
}

/// Serves a byte range as a hub does.
fn content(request: &Request, data: &[u8]) -> Reply {
    let from = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let reply = match from {
        None => Reply::new(200, data),
        Some(from) => Reply::new(206, &data[from..])
            .with("Content-Range", format!("bytes {from}-{}/{}", data.len() - 1, data.len())),
    };
    reply.with("ETag", format!("\"{}\"", sha256(data))).with("X-Repo-Commit", COMMIT)
}

fn is_listing(request: &Request) -> bool {
    request.path.starts_with("/api/models/a/b/revision/")
}

fn store(dir: &Path, endpoint: &str) -> Store {
    let mut config = Config::from_lookup(|name| match name {
        "HF_HUB_CACHE" => Some(dir.display().to_string()),
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_TOKEN" => Some("hf_secret".into()),
        _ => None,
    })
    .unwrap();
    config.retry_pause = Duration::from_millis(5);
    config.response_timeout = Duration::from_millis(400);
    config.read_timeout = Duration::from_millis(400);
    Store::with_config(config)
}

/// Everything under the cache that a reader could take for a model.
fn visible(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, &mut found);
    found.retain(|path| !path.contains(".locks") && !path.ends_with(".incomplete") && !path.ends_with("CACHEDIR.TAG"));
    found
}

#[derive(Default)]
struct Recorder {
    bytes: u64,
    notes: Vec<String>,
    cancel_at: Option<(u64, Arc<std::sync::atomic::AtomicBool>)>,
}

impl Progress for Recorder {
    fn start(&mut self, _: Option<u64>, _: &str) {}
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some((limit, flag)) = &self.cancel_at
            && self.bytes >= *limit
        {
            flag.store(true, Ordering::Relaxed);
        }
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
    fn finish(&mut self) {}
}

#[test]
fn a_repository_is_pulled_listed_resolved_and_removed() {
    let data = weights();
    let server = Server::start(move |request, _| match request {
        _ if is_listing(request) => {
            let card = b"---\nlicense: apache-2.0\n---\n# hi".as_slice();
            listing(&[("README.md", card), ("m-Q4_K_M.gguf", &data), ("m-Q8_0.gguf", b"eight")])
        }
        _ if request.path.ends_with("README.md") => content(request, b"---\nlicense: apache-2.0\n---\n# hi"),
        _ if request.path.ends_with("m-Q8_0.gguf") => content(request, b"eight"),
        _ => content(request, &data),
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &server.address);
    assert!(matches!(store.resolve("a/b"), Err(HubError::NotPulled { .. })));
    let mut progress = Recorder::default();
    let model = store.pull("a/b", &mut progress).unwrap();
    assert_eq!(std::fs::read(&model.path).unwrap(), weights());
    assert_eq!((model.format, model.commit.as_deref()), (ModelFormat::Gguf, Some(COMMIT)));
    assert_eq!(progress.bytes, 2_800_000 + 32);
    assert_eq!(store.resolve("a/b").unwrap().path, model.path);

    let link = std::fs::read_link(&model.path).unwrap();
    assert!(link.starts_with("../../blobs") && dir.path().join("models--a--b/refs/main").is_file(), "{link:?}");
    store.pull("a/b:q8_0", &mut Silent).unwrap();
    let rows = store.list().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["a/b:Q4_K_M", "a/b:Q8_0"]);
    assert_eq!(rows[1].bytes, 5);
    assert_eq!(rows[0].licence.as_deref(), Some("apache-2.0"));
    assert_eq!(rows[0].refs, ["main"]);

    let removed = store.remove("a/b:Q8_0").unwrap();
    assert_eq!((removed.bytes, removed.models), (5, vec!["a/b:Q8_0".to_owned()]));
    assert!(store.is_pulled("a/b") && !store.is_pulled("a/b:Q8_0"));
    store.remove("a/b").unwrap();
    assert!(visible(dir.path()).is_empty());
    assert!(matches!(store.remove("a/b"), Err(HubError::NotPulled { .. })));
}

#[test]
fn the_token_goes_to_the_hub_and_never_to_another_origin() {
    let data = weights();
    let storage = Server::start({
        let data = data.clone();
        move |request, _| content(request, &data)
    });
    let target = format!("{}/signed?key=1", storage.address);
    let digest = sha256(&data);
    let hub = Server::start(move |request, _| match is_listing(request) {
        true => Reply::new(200, serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "m.gguf"}]}).to_string()),
        false => Reply::new(302, "")
            .with("Location", &target)
            .with("X-Linked-Etag", format!("\"{digest}\""))
            .with("X-Linked-Size", data.len().to_string())
            .with("X-Repo-Commit", COMMIT),
    });
    let dir = tempfile::tempdir().unwrap();
    let model = store(dir.path(), &hub.address).pull("a/b", &mut Silent).unwrap();
    assert_eq!(std::fs::read(model.path).unwrap(), weights());
    assert!(hub.seen().iter().all(|r| r.headers["authorization"] == "Bearer hf_secret"));
    assert!(hub.seen().iter().all(|r| r.headers["user-agent"].starts_with("argand/")));
    assert!(!storage.seen().is_empty());
    assert!(storage.seen().iter().all(|r| !r.headers.contains_key("authorization")));
}

#[test]
fn a_cut_download_resumes_where_it_was_cut() {
    let data = weights();
    let server = Server::start(move |request, number| match is_listing(request) {
        true => listing(&[("m.gguf", &data)]),
        false => Reply { cut: (number == 1).then_some(1_000_000), ..content(request, &data) },
    });
    let dir = tempfile::tempdir().unwrap();
    let mut progress = Recorder::default();
    let model = store(dir.path(), &server.address).pull("a/b", &mut progress).unwrap();
    assert_eq!(std::fs::read(model.path).unwrap(), weights());
    assert_eq!(progress.bytes, 2_800_000, "nothing is fetched twice");
    assert!(progress.notes.iter().any(|note| note.contains("trying again")), "{:?}", progress.notes);
    assert_eq!(server.seen()[2].headers["range"], "bytes=1000000-");
}

#[test]
fn a_cancelled_download_stays_hidden_and_resumes_later() {
    let data = weights();
    let server = Server::start(move |request, _| match is_listing(request) {
        true => listing(&[("m.gguf", &data)]),
        false => content(request, &data),
    });
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path(), &server.address);
    let mut progress = Recorder { cancel_at: Some((500_000, first.config().cancel.clone())), ..Recorder::default() };
    assert!(matches!(first.pull("a/b", &mut progress), Err(HubError::Cancelled)));
    assert!(visible(dir.path()).is_empty() && !first.is_pulled("a/b"));

    let mut progress = Recorder::default();
    store(dir.path(), &server.address).pull("a/b", &mut progress).unwrap();
    assert!(progress.notes.iter().any(|note| note.starts_with("resuming m.gguf")), "{:?}", progress.notes);
    let last = server.seen().pop().unwrap();
    let from: u64 = last.headers["range"].trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!((500_000..2_800_000).contains(&from), "{from}");
}

#[test]
fn a_server_without_ranges_is_asked_for_all_again() {
    let data = weights();
    let server = Server::start(move |request, number| match is_listing(request) {
        true => listing(&[("m.gguf", &data)]),
        false => Reply { cut: (number == 1).then_some(600_000), ..Reply::new(200, data.clone()) },
    });
    let dir = tempfile::tempdir().unwrap();
    let mut progress = Recorder::default();
    let model = store(dir.path(), &server.address).pull("a/b", &mut progress).unwrap();
    assert_eq!(std::fs::read(model.path).unwrap(), weights());
    assert!(progress.notes.iter().any(|note| note.contains("cannot resume")));
}

#[test]
fn wrong_length_and_wrong_content_never_become_visible() {
    for (sent, wanted) in
        [(b"short".as_slice(), "size"), (b"long enough!".as_slice(), "size"), (b"0123456780".as_slice(), "hash")]
    {
        let server = Server::start(move |request, _| match is_listing(request) {
            true => listing(&[("m.gguf", b"0123456789")]),
            false => Reply::new(200, sent),
        });
        let dir = tempfile::tempdir().unwrap();
        let error = store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap_err();
        match wanted {
            "size" => assert!(matches!(error, HubError::WrongSize { expected: 10, .. }), "{error}"),
            _ => assert!(matches!(error, HubError::WrongHash { algorithm: "sha256", .. }), "{error}"),
        }
        assert!(visible(dir.path()).is_empty(), "{:?}", visible(dir.path()));
    }
}

#[test]
fn statuses_become_the_errors_that_help() {
    let pull = |status: u16, code: &'static str| {
        let server = Server::start(move |_, _| match code {
            "" => Reply::new(status, r#"{"error":"sorry"}"#),
            code => Reply::new(status, "").with("X-Error-Code", code).with("X-Error-Message", "said no"),
        });
        let dir = tempfile::tempdir().unwrap();
        let error = store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap_err();
        (error, server.seen().len())
    };
    for (status, code) in [(401, ""), (403, "GatedRepo")] {
        let (error, tries) = pull(status, code);
        assert!(matches!(error, HubError::Gated { .. }) && error.to_string().contains("HF_TOKEN"), "{error}");
        assert_eq!(tries, 1);
    }
    for (status, code) in [(404, ""), (401, "RepoNotFound"), (404, "RevisionNotFound")] {
        let (error, tries) = pull(status, code);
        assert!(matches!(error, HubError::NotOnHub { .. }), "{error}");
        assert_eq!(tries, 1);
    }
    let (error, tries) = pull(500, "");
    assert!(matches!(&error, HubError::Status { status: 500, message, .. } if message == "sorry"), "{error}");
    assert_eq!(tries, 6, "one try and five more");
    let (error, _) = pull(200, "");
    assert!(matches!(error, HubError::Protocol { .. }), "{error}");
}

#[test]
fn a_busy_hub_is_waited_for_as_long_as_it_asks() {
    let server = Server::start(|request, number| match number {
        0 => Reply::new(429, "slow down").with("Retry-After", "1"),
        1 => Reply::new(503, "<html>"),
        _ if is_listing(request) => listing(&[("m.gguf", b"0123456789")]),
        _ => content(request, b"0123456789"),
    });
    let dir = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_silent_server_times_out_and_is_tried_again() {
    let server = Server::start(|request, number| {
        let reply = match is_listing(request) {
            true => listing(&[("m.gguf", b"0123456789")]),
            false => content(request, b"0123456789"),
        };
        Reply { delay: Duration::from_millis(if number == 1 { 2_000 } else { 0 }), ..reply }
    });
    let dir = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn hostile_names_and_digests_never_reach_the_disk() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("cache");
    for name in [
        "../../../evil.gguf",
        "/evil.gguf",
        "a\\..\\evil.gguf",
        "x/../../evil.gguf",
        "evil\0.gguf",
        ".git/hooks/x.gguf",
    ] {
        let server = Server::start(move |_, _| listing(&[(name, b"0123456789")]));
        let mut progress = Recorder::default();
        let error = store(&dir, &server.address).pull("a/b", &mut progress).unwrap_err();
        assert!(matches!(error, HubError::NoSuchFile { .. }), "{error}");
        assert!(progress.notes[0].contains("unsafe"), "{:?}", progress.notes);
    }
    let server = Server::start(|request, _| match is_listing(request) {
        true => Reply::new(200, serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "m.gguf"}]}).to_string()),
        false => Reply::new(200, "0123456789").with("ETag", "\"../../../evil\""),
    });
    let error = store(&dir, &server.address).pull("a/b", &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::UnsafeName { what: "ETag", .. }), "{error}");
    let server = Server::start(|_, _| Reply::new(200, r#"{"sha":"../../../../evil","siblings":[]}"#));
    let error = store(&dir, &server.address).pull("a/b", &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Protocol { .. }), "{error}");
    assert!(visible(outside.path()).is_empty(), "{:?}", visible(outside.path()));
}

#[test]
fn a_missing_network_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut progress = Recorder::default();
    let error = store(dir.path(), &format!("http://{free}")).pull("a/b", &mut progress).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    let (first, later) = progress.notes.split_first().unwrap();
    assert!(
        first.contains("cannot read") && first.contains("; trying again in") && !first.contains("proxy"),
        "{first}"
    );
    assert!(later.len() == 4 && later.iter().all(|note| note.starts_with("trying again in")), "{later:?}");
}

#[test]
fn redirect_loops_and_strange_schemes_end() {
    for target in ["/again", "file:///etc/passwd", "ftp://x/y"] {
        let server = Server::start(move |_, _| Reply::new(302, "").with("Location", target));
        let dir = tempfile::tempdir().unwrap();
        let error = store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap_err();
        assert!(matches!(error, HubError::Protocol { .. }), "{error}");
        assert!(server.seen().len() <= 11);
    }
}

#[test]
fn safetensors_resolve_to_their_directory_and_gaps_are_named() {
    let server = Server::start(|request, _| match is_listing(request) {
        true => listing(&[
            ("config.json", b"{}"),
            ("model-00001-of-00002.safetensors", b"one"),
            ("model-00002-of-00002.safetensors", b"two"),
            ("pytorch_model.bin", b"never"),
        ]),
        false if request.path.ends_with("config.json") => content(request, b"{}"),
        false if request.path.contains("00001") => content(request, b"one"),
        false => content(request, b"two"),
    });
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &server.address);
    let model = store.pull("a/b@v1", &mut Silent).unwrap();
    assert_eq!(model.format, ModelFormat::Safetensors);
    assert!(model.path.ends_with(COMMIT) && !model.path.join("pytorch_model.bin").exists());
    assert_eq!(store.resolve("a/b@v1").unwrap().path, model.path);
    assert_eq!(store.resolve(&format!("a/b@{}", &COMMIT[..8])).unwrap().path, model.path);
    std::fs::remove_file(model.path.join("model-00002-of-00002.safetensors")).unwrap();
    let error = store.resolve("a/b").unwrap_err();
    assert!(
        matches!(&error, HubError::Incomplete { missing, .. } if missing == "model-00002-of-00002.safetensors"),
        "{error}"
    );
}

#[test]
fn offline_says_what_to_do_and_uses_what_is_here() {
    let server = Server::start(|request, _| match is_listing(request) {
        true => listing(&[("m.gguf", b"0123456789")]),
        false => content(request, b"0123456789"),
    });
    let dir = tempfile::tempdir().unwrap();
    store(dir.path(), &server.address).pull("a/b", &mut Silent).unwrap();
    let requests = server.seen().len();
    let mut config = store(dir.path(), &server.address).config().clone();
    config.offline = true;
    let offline = Store::with_config(config);
    assert!(offline.pull("a/b", &mut Silent).is_ok());
    let error = offline.pull("c/d", &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }) && error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert!(matches!(offline.pull("smollm2", &mut Silent), Err(HubError::Offline { .. })));
    assert_eq!(server.seen().len(), requests);
}
