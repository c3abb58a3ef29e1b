//! The command as a user meets it: exit codes, messages, what goes to which stream.

use argand_codec::Codec;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn tiny(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny").join(page)
}

fn model() -> String {
    tiny("llama").join("model.gguf").display().to_string()
}

/// A template for the tiny vocabulary, which has letters and spaces only.
fn template(folder: &Path) -> String {
    let path = folder.join("template.jinja");
    let source = "{% for m in messages %}{{ m.role }} {{ m.content | replace('\\n', ' ') }} {% endfor %}assistant ";
    std::fs::write(&path, source).expect("a file can be written");
    path.display().to_string()
}

/// The command with an empty store and no network.
fn command(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_argand"));
    command.env("HF_HUB_CACHE", store).env("HF_HUB_OFFLINE", "1").env("XDG_STATE_HOME", store);
    command.env_remove("ARGAND_TIER").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let store = tempfile::tempdir().expect("a temporary folder");
    command(store.path()).args(arguments).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// The command fails with this code; standard error has `what` in a line that begins with `error:`, and nothing of a
/// panic; standard output is empty.
fn fails(arguments: &[&str], code: i32, what: &str) {
    let output = run(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    let told = if code == 2 {
        error.contains(what)
    } else {
        error.lines().any(|l| l.starts_with("error:") && l.contains(what))
    };
    assert!(told, "{arguments:?}: expected {what:?} in {error}");
    assert!(!error.contains("panicked") && output.stdout.is_empty(), "{arguments:?}: {error}");
}

fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn help_has_examples_for_every_command() {
    let help = succeeds(&["--help"]);
    let commands = [
        "chat", "run", "embed", "rerank", "classify", "fill", "bench", "eval", "count", "draw", "map", "convert",
        "quantize", "verify", "doctor", "pull", "list", "show", "rm",
    ];
    for name in commands {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is not in the help");
        let nested: &[&[&str]] = if name == "eval" { &[&["eval"], &["eval", "perplexity"]] } else { &[&[name]] };
        for words in nested {
            let own = succeeds(&[words, ["--help"].as_slice()].concat());
            assert!(own.contains("Examples:") && own.contains(&format!("argand {name}")), "{name}: {own}");
            assert!(own.lines().all(|l| l.chars().count() <= 100), "{name} has long lines");
        }
    }
    assert!(succeeds(&["--version"]).starts_with("argand "));
}

#[test]
fn wrong_usage_is_told_with_code_2() {
    fails(&["run", "m", "p", "--temprature", "0"], 2, "--temperature");
    fails(&["fly"], 2, "unrecognized subcommand");
    fails(&["run"], 2, "<MODEL>");
    fails(&["run", "m", "p", "--threads", "0"], 2, "--threads");
    fails(&["run", "m", "p", "--kv", "q3"], 2, "q8_0");
    fails(&["run", "m", "p", "-n", "0"], 2, "--max-tokens");
    fails(&["run", "m", "--file", "x", "prompt"], 2, "cannot be used with");
    fails(&["quantize", "a", "b", "--to", "Q9"], 2, "Q4_K_M");
    fails(&["bench", "m", "--batch", "1,0"], 2, "0 is not in 1..");
    fails(&["count", "m", "-c", "0"], 2, "0 is not in 1..");
}

#[test]
fn values_that_mean_nothing_are_told_with_code_2() {
    fails(&["fill", &sentences(), "a", "-k", "0"], 2, "0 is not in 1..");
    fails(&["classify", &sentences(), "a", "-k", "0"], 2, "0 is not in 1..");
    fails(&["rerank", &sentences(), "a", "b", "--top", "0"], 2, "0 is not in 1..");
    fails(&["embed", &sentences(), "a", "--similar", "b", "--top", "0"], 2, "0 is not in 1..");
    let model = model();
    fails(&["run", &model, "p", "--top-p", "7"], 2, "top_p is 7");
    fails(&["run", &model, "p", "--temperature", "nan"], 2, "temperature is NaN");
    fails(&["run", &model, "p", "--logit-bias", "x"], 2, "ID=VALUE");
    fails(&["run", &model, "p", "--tier", "sse9"], 2, "sse9");
    fails(&["run", &model, "p", "--stop", ""], 2, "--stop");
    fails(&["count", &model, "--weights", "Q9"], 2, "Q4_K");
    for bytes in ["-1", "0", "nan", "9"] {
        fails(&["count", &model, "--cache-bytes", bytes], 2, "more than 0 and at most 8");
    }
    fails(&["bench", &model, "--pp", "0", "--tg", "0"], 2, "nothing to measure");
}

#[test]
fn negative_numbers_are_values() {
    let model = model();
    fails(&["run", &model, "p", "--temperature", "-1"], 2, "temperature is -1");
    fails(&["run", &model, "p", "--top-k", "-1"], 2, "'-1' for '--top-k");
    fails(&["run", &model, "p", "-n", "-1"], 2, "-1 is not in 1..");
    fails(&["run", &model, "p", "-t", "-1"], 2, "-1 is not in 1..");
    succeeds(&["run", &model, "--raw", "hello", "-n", "1", "--presence-penalty", "-0.5"]);
}

#[test]
fn more_threads_than_can_run_are_cut() {
    let model = model();
    let output = run(&["run", &model, "--raw", "hello", "-n", "1", "--threads", "1024"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.starts_with("only ") && told.contains("of 1024 threads") && told.lines().count() == 1, "{told}");
}

#[test]
fn models_that_are_not_there_are_told() {
    fails(&["run", "smolm2", "p"], 1, "did you mean smollm2-135m-instruct");
    fails(&["run", "zzzz", "p"], 1, "no model is called");
    fails(&["run", "/no/such/model.gguf", "p"], 1, "/no/such/model.gguf");
    fails(&["run", "smollm2", "p"], 1, "HF_HUB_OFFLINE");
    fails(&["pull", "a/b/c"], 1, "a/b/c");
    fails(&["show", "owner/name"], 1, "not on this machine");
    fails(&["rm", "smollm2", "--yes"], 1, "not on this machine");
    fails(&["draw", "/no/config.json"], 1, "cannot read /no/config.json");
    fails(&["show", "/no/model.gguf"], 1, "/no/model.gguf");
    let hint = text(&run(&["run", "zzzz", "p"]).stderr);
    assert!(hint.contains("hint:") && hint.contains("argand list --known"), "{hint}");
}

#[test]
fn prompts_that_cannot_be_answered_are_told() {
    let model = model();
    fails(&["run", &model, ""], 1, "the prompt is empty");
    fails(&["run", &model], 1, "the prompt is empty");
    fails(&["run", &model, "--file", "/no/prompt"], 1, "cannot read the prompt from /no/prompt");
}

#[test]
fn corrupted_files_are_told_by_name() {
    let whole = std::fs::read(model()).expect("the tiny model is there");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broken.gguf");
    let mut versions: Vec<Vec<u8>> =
        [0, 3, 4, 24, whole.len() / 2, whole.len() - 1].map(|n| whole[..n].to_vec()).into();
    for (at, byte) in [(0, 0x20), (4, 0xFF), (8, 0xFF), (15, 0x80), (16, 0xFF), (23, 0x7F)] {
        let mut flipped = whole.clone();
        flipped[at] ^= byte;
        versions.push(flipped);
    }
    for version in versions {
        std::fs::write(&path, version).expect("a file can be written");
        let name = path.display().to_string();
        for command in [["run", &name, "p"].as_slice(), &["count", &name], &["verify", &name]] {
            let output = run(command);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
            assert!(error.starts_with("error:") && error.contains("broken.gguf"), "{command:?}: {error}");
            assert!(!error.contains("panicked"), "{error}");
        }
    }
}

#[test]
fn readings_need_no_weights() {
    let config = tiny("llama").join("config.json").display().to_string();
    let counted: serde_json::Value = serde_json::from_str(&succeeds(&["count", &config, "--json"])).expect("JSON");
    let whole: serde_json::Value = serde_json::from_str(&succeeds(&["count", &model(), "--json"])).expect("JSON");
    assert_eq!(counted["parameters"], whole["parameters"]);
    assert_eq!(counted["flops_symbolic"], whole["flops_symbolic"]);
    assert!(succeeds(&["draw", &config]).contains("layers ×2"));
    assert!(succeeds(&["draw", &config, "--format", "svg"]).starts_with("<svg"));
    assert!(succeeds(&["draw", &config, "--format", "dot"]).starts_with("digraph"));
    assert!(succeeds(&["draw", &model(), "--plan"]).contains("linear[N]"));
}

#[test]
fn weights_are_counted_in_another_format_where_it_fits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = std::fs::read(tiny("llama").join("config.json")).expect("it is there");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    config["hidden_size"] = 96.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a file can be written");
    let folder = folder.path().display().to_string();
    // A folder with nothing but its configuration can be counted.
    let count = |more: &[&str]| -> serde_json::Value {
        let all = [&["count", &folder, "--json"], more].concat();
        serde_json::from_str(&succeeds(&all)).expect("JSON")
    };
    let bytes = |counted: &serde_json::Value, op: &str| {
        let rows = counted["rows"].as_array().expect("rows");
        rows.iter().find(|r| r["op"] == op).expect("the op is there")["weight_bytes"].as_f64().expect("a number")
    };
    let (plain, eight) = (count(&[]), count(&["--weights", "q8_0"]));
    // Rows of 96 values fill three blocks of 34 bytes; a norm is no matrix; rows of 28 values fill no block.
    assert_eq!(bytes(&eight, "attn_q") / bytes(&plain, "attn_q"), 34.0 / 64.0);
    for op in ["attn_norm", "ffn_down"] {
        assert_eq!(bytes(&eight, op), bytes(&plain, op), "{op}");
    }
    fails(&["run", &folder, "p"], 1, "has a config.json, but no weights");
}

#[test]
fn a_path_can_be_shown() {
    let told = succeeds(&["show", &model()]);
    for row in ["format      GGUF", "family      Llama", "parameters  10.2 k", "numbers     21 F32"] {
        assert!(told.contains(row), "{told}");
    }
    let folder = tiny("llama").display().to_string();
    let told: serde_json::Value = serde_json::from_str(&succeeds(&["show", &folder, "--json"])).expect("JSON");
    assert_eq!((&told["format"], &told["parameters"]), (&"safetensors".into(), &10152.into()));
}

#[test]
fn the_ladder_holds_on_every_page() {
    for page in std::fs::read_dir(tiny("")).expect("the tiny models are there").flatten() {
        let model = page.path().join("model.gguf");
        // Some pages have no GGUF form.
        let model = if model.exists() { model } else { page.path().join("model.safetensors") };
        let model = model.display().to_string();
        let told = succeeds(&["verify", &model, "--threads", "2"]);
        assert!(told.contains("fused plan, scalar, f32 products"), "{told}");
    }
}

#[test]
fn the_store_is_listed_without_a_network() {
    assert!(succeeds(&["list", "--known"]).contains("smollm2-135m-instruct"));
    assert_eq!(succeeds(&["list"]), "");
    assert_eq!(succeeds(&["list", "--json"]).trim(), "[]");
    assert!(succeeds(&["show", "smollm2"]).contains("Apache-2.0"));
    let doctor: serde_json::Value = serde_json::from_str(&succeeds(&["doctor", "--quick", "--json"])).expect("JSON");
    assert!(doctor["threads"].as_u64().is_some_and(|n| n >= 1), "{doctor}");
}

#[test]
fn models_that_are_partly_there_are_listed_and_removed() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let entry = argand_hub::catalogue().first().expect("a model");
    let repo = store.path().join(format!("models--argand--{}", entry.name));
    let snapshot = repo.join("snapshots").join(entry.store_commit().expect("a commit"));
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::write(snapshot.join(&entry.file), b"GGUF").expect("a file can be written");
    let told = |arguments: &[&str]| {
        let output = command(store.path()).args(arguments).output().expect("the command starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let listed = told(&["list"]);
    assert!(listed.contains(&format!("incomplete: {} is missing or cut short", entry.file)), "{listed}");
    let removed = told(&["rm", &entry.name, "--yes"]);
    assert!(removed.starts_with(&format!("removed {}, ", entry.name)), "{removed}");
    std::fs::create_dir_all(repo.join("blobs")).expect("a folder");
    std::fs::write(repo.join("blobs/part.incomplete"), b"12345").expect("a file can be written");
    let removed = told(&["rm", &entry.name, "--yes"]);
    assert_eq!(removed, format!("removed what an interrupted pull of {} left, 5 B freed\n", entry.name));
}

#[test]
fn quantizing_says_what_does_not_become_smaller() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (small, large) = (path("small.gguf"), path("large.gguf"));
    let shape = vec![64, 256];
    let tensor = argand_weights::gguf::TensorSpec { name: "blk.0.a.weight".into(), shape, codec: Codec::Q4_0 };
    let mut writer =
        argand_weights::gguf::Writer::create(&small, &Default::default(), vec![tensor]).expect("it begins");
    writer.write("blk.0.a.weight", &[0; 64 * 8 * 18]).expect("it is written");
    writer.finish().expect("it ends");
    let output = run(&["quantize", &small, &large, "--to", "Q8_0"]);
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("large.gguf is larger than"), "{told}");
    assert!(told.contains("quantized already") && !told.contains("whole blocks"), "{told}");
    let told = text(&run(&["quantize", &model(), &path("third.gguf"), "--to", "Q4_K"]).stderr);
    assert!(
        told.contains("the rows of 16 matrices fill no whole blocks") && !told.contains("is larger than"),
        "{told}"
    );
}

#[test]
fn quantized_files_are_complete_or_absent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("small.gguf").display().to_string();
    let told = succeeds(&["quantize", &model(), &out, "--to", "q8_0"]);
    // Rows of 24 values fill no block, so the tally says that matrices became half floats.
    assert!(told.contains("bits per weight") && told.contains(" F16"), "{told}");
    assert!(
        std::fs::metadata(&out).expect("it was written").len() < std::fs::metadata(model()).expect("it is there").len()
    );
    fails(&["quantize", &model(), &out, "--to", "Q8_0"], 1, "--force");
    fails(&["quantize", &out, &out, "--to", "Q8_0", "--force"], 1, "is the input");
    let hf = tiny("llama").join("model.safetensors").display().to_string();
    let other = folder.path().join("other.gguf").display().to_string();
    fails(&["quantize", &hf, &other, "--to", "Q8_0"], 1, "only GGUF");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("it is there").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["small.gguf"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let mut child = command(store.path())
        .args(["draw", &model(), "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// A chat from a script, with a template for the tiny vocabulary.
fn chat(store: &Path, script: &str) -> Output {
    let mut child = command(store)
        .args(["chat", &model(), "--template", &template(store), "-n", "3", "--seed", "1"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn prompts_come_from_standard_input() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let mut child = command(store.path())
        .args(["run", &model(), "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child.stdin.take().expect("it is piped").write_all(b"  \n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the prompt is empty"), "{}", text(&output.stderr));
}

#[test]
fn the_same_seed_gives_the_same_answer_and_only_the_answer() {
    let model = model();
    let raw = |more: &[&str]| {
        let mut all = vec!["run", &model, "--raw", "hello", "-n", "6", "--ignore-eos"];
        all.extend(more);
        let output = run(&all);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(raw(&["--seed", "7"]), raw(&["--seed", "7", "--lookup"]));
    assert_eq!(raw(&["--temperature", "0"]), raw(&["--temperature", "0", "--threads", "1", "--seed", "3"]));
    let told: serde_json::Value = serde_json::from_str(&raw(&["--temperature", "0", "--json"])).expect("JSON");
    assert_eq!(told["usage"]["completion_tokens"], 6);
    assert_eq!(told["finish_reason"], "length");
    assert_eq!(format!("{}\n", told["text"].as_str().expect("text")), raw(&["--temperature", "0"]));
}

#[test]
fn long_prompts_are_told_with_the_context() {
    let model = model();
    let long = "hello ".repeat(40);
    fails(&["run", &model, "--raw", &long, "--context", "8"], 1, "the context holds 8");
    let hint = text(&run(&["run", &model, "--raw", &long, "--context", "8"]).stderr);
    assert!(hint.contains("hint: a larger context is asked for with --context"), "{hint}");
}

#[test]
fn a_model_without_a_template_says_what_to_do() {
    let model = model();
    fails(&["run", &model, "hello"], 1, "no chat template");
    fails(&["run", &model, "hello", "--template", "nothing"], 1, "chatml");
    fails(&["run", &model, "hello", "--template", &model], 1, "is not UTF-8");
    let folder = tempfile::tempdir().expect("a temporary folder");
    succeeds(&["run", &model, "hello", "--template", &template(folder.path()), "-n", "2"]);
}

#[test]
fn a_chat_can_be_a_script() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let saved = store.path().join("talk.json");
    let script = format!(
        "/system be brief\nhello\n\"\"\"\ntwo\nlines\n\"\"\"\n/regenerate\n/save {}\n/quit\nnever\n",
        saved.display()
    );
    let output = chat(store.path(), &script);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let messages: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&saved).expect("it was saved")).expect("JSON");
    let roles: Vec<&str> = messages.as_array().into_iter().flatten().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(messages[3]["content"], "two\nlines");
    let wrong = [
        ("/fly\n", "there is no command /fly"),
        ("/reset now\n", "/reset takes nothing more"),
        ("/stats maybe\n", "expected on or off"),
        ("/save\n", "needs the name of a file"),
    ];
    for (script, what) in wrong {
        let output = chat(store.path(), script);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(what), "{script}: {told}");
    }
    let told = text(&chat(store.path(), "/system be brief\n/stats off\n/stats on\n").stderr);
    for what in ["the system message is set", "is not told after", "is told after"] {
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn a_chat_saves_over_its_own_files_only() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let file = store.path().join("notes.txt");
    std::fs::write(&file, "mine").expect("a file can be written");
    let name = file.display();
    let refused = chat(store.path(), &format!("hello\n/save {name}\n"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is there already; /save! "), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "mine");
    let saved = chat(store.path(), &format!("hello\n/save! {name}\nagain\n/save {name}\n"));
    assert!(saved.status.success(), "{}", text(&saved.stderr));
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.starts_with("user:\nhello\n") && text.contains("user:\nagain\n"), "{text}");
}

#[test]
fn a_text_that_was_not_finished_is_not_sent() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let output = chat(store.path(), "\"\"\"\nhello\n");
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("was not sent"), "{}", text(&output.stderr));
}

#[test]
fn a_full_context_is_told() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let mut child = command(store.path())
        .args(["chat", &model(), "--template", &template(store.path()), "--context", "40", "--ignore-eos"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command starts");
    child.stdin.take().expect("it is piped").write_all(b"hi\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("the context of 40 tokens is full; /reset"), "{told}");
    let output = run(&["run", &model(), "--raw", "hi", "--context", "40", "-n", "100", "--ignore-eos"]);
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("the context of 40 tokens is full; a larger one"), "{told}");
}

#[test]
fn a_context_beyond_what_the_model_knows_is_told() {
    // The tiny model says that it knows 131072.
    let with = |context: &str| text(&run(&["run", &model(), "--raw", "hi", "-n", "1", "--context", context]).stderr);
    assert_eq!(with("64"), "");
    let told = with("131073");
    assert!(told.contains("made for contexts of 131072 tokens"), "{told}");
}

#[test]
fn perplexity_and_divergence_of_a_random_model_are_as_expected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("text.txt").display().to_string();
    let words: String = (0..400).map(|i: u32| char::from(b'a' + (i * i % 23) as u8)).collect();
    std::fs::write(&file, words).expect("a file can be written");
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&succeeds(&[arguments, &["--json", "--chunk", "32"]].concat())).expect("JSON")
    };
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let model = model();
    let scored = json(&["eval", "perplexity", &model, &file]);
    // A model that knows nothing is about as surprised as by throwing a die with a side for each of 61 tokens.
    assert!((40.0..120.0).contains(&number(&scored["perplexity"])), "{scored}");
    // The second half of each chunk, but for its last token, predicts a token that is known.
    assert_eq!(number(&scored["tokens"]), 15.0 * number(&scored["chunks"]));
    let distance = json(&["eval", "kl", &model, &file]);
    assert_eq!((number(&distance["kl_nats"]), number(&distance["same_top"])), (0.0, 1.0), "f32 weights have one way");
    assert!((number(&distance["perplexity_exact"]) / number(&scored["perplexity"]) - 1.0).abs() < 1e-5, "{distance}");
    fails(&["eval", "perplexity", &model, &file, "--chunk", "512"], 1, "fewer than one chunk of 512");
    fails(&["eval", "kl", &model, &file, "--exact"], 1, "--exact");
}

#[test]
fn bench_writes_a_line_for_each_test() {
    let told = succeeds(&["bench", &model(), "--pp", "8", "--tg", "4", "--batch", "1,2", "--reps", "2", "--plain"]);
    let lines: Vec<Vec<&str>> = told.lines().map(|l| l.split(' ').collect()).collect();
    let names: Vec<(&str, &str)> = lines.iter().map(|l| (l[0], l[2])).collect();
    assert_eq!(names, [("pp", "pp8"), ("tg", "tg4"), ("tg", "tg4x2")]);
    assert!(lines.iter().all(|l| l[1].parse::<f64>().is_ok_and(|rate| rate > 0.0)), "{told}");
}

#[test]
fn converted_files_hold_the_same_tensors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-weights/tests/checkpoints");
    let source = fixtures.join("training.pt").display().to_string();
    let out = path("m.safetensors");
    let told = succeeds(&["convert", &source, &out, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["format"], &told["state_dict"]), (&"PyTorch".into(), &"model.state_dict".into()));
    assert_eq!(told["bytes"], std::fs::metadata(&out).expect("it was written").len());
    let open = |path: &str| argand_weights::Checkpoint::open(path).expect("it opens");
    let (written, expected) = (open(&out), open(&fixtures.join("training.safetensors").display().to_string()));
    assert_eq!(
        written.tensors().len() + written.foreign_tensors().len(),
        told["tensors"].as_u64().expect("a number") as usize
    );
    for info in expected.tensors() {
        let found = written.require(&info.name).expect("it is there");
        assert_eq!(
            (found.bytes, &found.info.shape),
            (expected.require(&info.name).expect("it is there").bytes, &info.shape)
        );
    }
    for one in expected.foreign_tensors() {
        assert_eq!(written.foreign_bytes(&one.name), expected.foreign_bytes(&one.name), "{}", one.name);
    }
    fails(&["convert", &source, &out], 1, "--force");
    fails(&["convert", &out, &out, "--force"], 1, "is the input");
    fails(&["convert", &source, &path("no/m.safetensors")], 1, "/no is missing; make it first");
    fails(&["convert", &source, &path("m.gguf")], 1, "architecture");
    fails(&["convert", &source, &path("m.bin")], 1, "end its name in .safetensors or .gguf");
    let whole = path("whole.gguf");
    succeeds(&["convert", &model(), &whole]);
    assert_eq!(std::fs::read(&whole).expect("written"), std::fs::read(model()).expect("it is there"));
    // Blocks become floats: what a quantized model decodes to.
    let small = path("small.gguf");
    succeeds(&["quantize", &model(), &small, "--to", "q8_0"]);
    succeeds(&["convert", &small, &out, "--force"]);
    assert!(open(&out).tensors().all(|info| info.codec.block_len() == 1));
    let twin = path("twin.gguf");
    fails(
        &["convert", &tiny("qwen3").display().to_string(), &twin],
        1,
        "there is no tokenizer.json beside the weights",
    );
    let refused = tiny("deepseek_v3").display().to_string();
    fails(&["convert", &refused, &twin], 1, "GGUF has no words for all of this configuration of DeepSeek");
    let told = text(&run(&["convert", &refused, &twin]).stderr);
    assert!(told.trim_end().ends_with("write .safetensors instead"), "nothing of how it was found out: {told}");
    let two = tiny("../tiny_seq2seq/t5").display().to_string();
    fails(&["convert", &two, &twin], 1, "T5 is an encoder-decoder");
    // What a file says by a configuration that lies elsewhere.
    let bare = tiny("llama").join("model.safetensors").display().to_string();
    let alone = path("alone.safetensors");
    std::fs::copy(&bare, &alone).expect("a file can be copied");
    let config = tiny("llama").join("config.json").display().to_string();
    for command in ["count", "draw", "show", "verify"] {
        fails(&[command, &alone], 1, "names an architecture");
        assert!(text(&run(&[command, &alone]).stderr).contains("hint: a file of weights alone needs --config"));
        succeeds(&[command, &alone, "--config", &config]);
    }
    fails(&["convert", &alone, &twin, "--config", &config], 1, "there is no tokenizer.json");
    std::fs::remove_file(&alone).expect("it is there");
    let count = std::fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(count, 3, "nothing else is left behind");
}

/// A folder of sentence-transformers.
fn sentences() -> String {
    tiny("../tiny_sentences/sentences_mean").display().to_string()
}

/// A tiny encoder of 31 tokens with the first of the letters of a tokenizer.
fn encoder(fixture: &str, folder: &Path) -> String {
    let from = tiny("../tiny_encoders").join(fixture);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), folder.join(file)).expect("the tiny model is there");
    }
    let text = std::fs::read(Path::new(&sentences()).join("tokenizer.json")).expect("it is there");
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    json["model"]["vocab"].as_object_mut().expect("a map").retain(|_, id| id.as_u64() < Some(31));
    std::fs::write(folder.join("tokenizer.json"), json.to_string()).expect("a file can be written");
    folder.display().to_string()
}

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn vectors_are_the_same_in_every_format_and_from_every_source() {
    let model = sentences();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("a file can be written");
    let lines = json_lines(&succeeds(&["embed", &model, "the cat", "a dog"]));
    let vectors: Vec<&serde_json::Value> = lines.iter().map(|line| &line["embedding"]).collect();
    assert_eq!((lines.len(), &lines[0]["text"], vectors[0].as_array().map(Vec::len)), (2, &"the cat".into(), Some(12)));
    write("lines.txt", "the cat\n\na dog\n");
    write("lines.jsonl", "{\"text\": \"the cat\"}\n\"a dog\"\n");
    for file in ["lines.txt", "lines.jsonl"] {
        let same = json_lines(&succeeds(&["embed", &model, "--file", &path(file)]));
        assert_eq!(same, lines, "{file}");
    }
    std::fs::create_dir(path("notes")).expect("a folder");
    write("notes/1.md", "the cat");
    write("notes/2.md", "a dog");
    let files = json_lines(&succeeds(&["embed", &model, "--file", &path("notes")]));
    assert!(
        files[1]["file"].as_str().is_some_and(|name| name.ends_with("2.md")) && files[1]["embedding"] == *vectors[1]
    );
    let npy = path("vectors.npy");
    succeeds(&["embed", &model, "--file", &path("lines.txt"), "--format", "npy", "--output", &npy]);
    let array = argand_weights::Checkpoint::open(&npy).expect("an array");
    let info = array.tensors().next().expect("one tensor");
    assert_eq!(info.shape, [2, 12]);
    let bytes = array.require(&info.name).expect("it is there").bytes;
    let first = f32::from_le_bytes(bytes[48..52].try_into().expect("four bytes"));
    assert_eq!(f64::from(first), vectors[1][0].as_f64().expect("a number"), "the second row begins after 12 values");
    fails(&["embed", &model, "a", "--format", "npy", "--output", &npy], 1, "--force replaces it");
    succeeds(&["embed", &model, "a", "--format", "npy", "--output", &npy, "--force"]);
    assert!(succeeds(&["embed", &model, "the cat", "--format", "table"]).contains("the cat      12  ["));
    write("broken.jsonl", "{\"txt\": 1}\n");
    fails(&["embed", &model, "--file", &path("broken.jsonl")], 1, "line 1 has no field `text`");
    fails(&["embed", &model, "--file", "/no/texts"], 1, "cannot read texts from /no/texts");
    fails(&["embed", &model], 1, "there are no texts");
}

#[test]
fn texts_are_ranked_by_likeness() {
    let ranked =
        ["embed", &sentences(), "sleeping", "the cat", "a dog", "--similar", "the cat", "--top", "2", "--json"];
    let ranked: serde_json::Value = serde_json::from_str(&succeeds(&ranked)).expect("JSON");
    assert_eq!(ranked[0]["text"], "the cat");
    assert!((ranked[0]["similarity"].as_f64().expect("a number") - 1.0).abs() < 1e-5, "{ranked}");
    assert_eq!(ranked.as_array().map(Vec::len), Some(2));
    let chosen = json_lines(&succeeds(&["classify", &sentences(), "the cat", "--labels", "dogs, the cat", "--json"]));
    assert_eq!(chosen[0]["labels"][0]["label"], "the cat");
}

#[test]
fn words_labels_and_relevance_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = encoder("bert_mlm", folder.path());
    let filled = succeeds(&["fill", &model, "a [MASK] c", "-k", "3", "--json"]);
    let filled: serde_json::Value = serde_json::from_str(&filled).expect("JSON");
    assert_eq!(filled["masks"][0].as_array().map(Vec::len), Some(3));
    assert_eq!(succeeds(&["fill", &model, "a [MASK] c", "-k", "3"]).lines().count(), 4);
    fails(&["fill", &model, "a b"], 1, "write [MASK]");
    let model = encoder("bert_classify", folder.path());
    let told = json_lines(&succeeds(&["classify", &model, "a", "b", "-k", "3", "--json"]));
    let sum: f64 = told[1]["labels"].as_array().into_iter().flatten().filter_map(|l| l["probability"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{told:?}");
    fails(&["rerank", &model, "a", "b"], 1, "3 labels");
    let model = encoder("bert_tokens", folder.path());
    assert_eq!(json_lines(&succeeds(&["classify", &model, "a b", "--json"]))[0]["tokens"][1]["token"], "b");
    let model = encoder("bert_rerank", folder.path());
    let ranked = succeeds(&["rerank", &model, "a", "b", "c", "d", "--top", "2"]);
    let scores: Vec<f64> = ranked.lines().skip(1).filter_map(|l| l.split_whitespace().next()?.parse().ok()).collect();
    assert!(scores.len() == 2 && scores[0] >= scores[1], "{ranked}");
}

#[test]
fn bench_of_an_encoder_tells_texts_per_second() {
    let told = succeeds(&["bench", &sentences(), "--enc", "8x3,4x1", "--reps", "2", "--plain"]);
    let lines: Vec<Vec<&str>> = told.lines().map(|l| l.split(' ').collect()).collect();
    assert_eq!(lines.iter().map(|l| (l[0], l[2])).collect::<Vec<_>>(), [("enc", "enc8x3"), ("enc", "enc4")]);
    assert!(lines.iter().all(|l| l[1].parse::<f64>().is_ok_and(|rate| rate > 0.0)), "{told}");
    fails(&["bench", &sentences(), "--enc", "0x1"], 2, "two lengths");
}

#[test]
fn bench_of_networks_tells_pictures_and_sequences_per_second() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests");
    for (folder, shapes, kind, names) in [
        ("tiny_cnn/resnet_basic", ["--pic", "1,3"], "pic", ["pic1", "pic3"]),
        ("tiny_rnn/gru_stacked", ["--seq", "5x1,4x3"], "seq", ["seq5", "seq4x3"]),
    ] {
        let model = fixtures.join(folder).join("model.safetensors").display().to_string();
        let told = succeeds(&["bench", &model, shapes[0], shapes[1], "--reps", "2", "--plain"]);
        let lines: Vec<Vec<&str>> = told.lines().map(|l| l.split(' ').collect()).collect();
        assert_eq!(lines.iter().map(|l| (l[0], l[2])).collect::<Vec<_>>(), names.map(|name| (kind, name)));
        assert!(lines.iter().all(|l| l[1].parse::<f64>().is_ok_and(|rate| rate > 0.0)), "{told}");
        let told = succeeds(&["bench", &model, shapes[0], shapes[1], "--reps", "1", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let reached = told["tests"][0]["reached"].as_f64();
        assert!(reached.is_some_and(|part| part > 0.0 && part < 1.0), "{told}");
    }
    fails(&["bench", "m", "--pic", "0"], 2, "0 is not in 1..");
}

#[test]
fn encoders_and_decoders_are_not_mixed_up() {
    fails(
        &["embed", &tiny("llama").join("model.safetensors").display().to_string(), "a"],
        1,
        "Llama is a model that writes",
    );
    fails(&["run", &sentences(), "a"], 1, "BERT is an encoder");
    let hinted = |fixture: &str, told: &str, hint: &str| {
        let path = tiny("..").join(fixture).display().to_string();
        fails(&["fill", &path, "a [MASK]"], 1, told);
        let error = text(&run(&["fill", &path, "a [MASK]"]).stderr);
        assert_eq!(error.contains("hint:"), !hint.is_empty(), "{error}");
        assert!(error.contains(hint), "{error}");
    };
    hinted("tiny_vision/clip", "CLIP compares pictures with texts", "`argand classify --labels`");
    hinted("tiny_seq2seq/t5", "T5 reads a text and writes another one", "`argand run MODEL TEXT`");
    hinted("tiny_cnn/resnet_basic", "ResNet reads no texts", "");
    let hint = text(&run(&["run", &sentences(), "a"]).stderr);
    assert!(hint.contains("hint: `argand embed`"), "{hint}");
    fails(&["fill", &sentences(), "a [MASK]"], 1, "not made for filling in masked words");
    fails(&["embed", &sentences(), "a", "--quantize", "q3"], 2, "Q8_0");
}

#[test]
fn tokenizers_that_cannot_be_read_are_told_with_their_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = encoder("bert_mlm", folder.path());
    let name = |file: &str| folder.path().join(file);
    let whole = std::fs::read(name("tokenizer.json")).expect("it is there");
    std::fs::write(name("tokenizer.json"), &whole[..whole.len() / 2]).expect("a file can be written");
    for command in
        [&["fill", &path, "a [MASK]"] as &[&str], &["fill", &name("model.safetensors").display().to_string(), "a"]]
    {
        fails(command, 1, &format!("{path}: the tokenizer cannot be read: tokenizer.json: "));
    }
    // From within the folder its name is a dot, and not nothing.
    let store = tempfile::tempdir().expect("a temporary folder");
    let mut inside = command(store.path());
    let output = inside.current_dir(folder.path()).args(["fill", "model.safetensors", "a"]).output();
    let error = text(&output.expect("the command starts").stderr);
    assert!(error.contains("error: .: the tokenizer"), "{error}");
    std::fs::remove_file(name("tokenizer.json")).expect("it is there");
    fails(&["fill", &path, "a [MASK]"], 1, "there is no tokenizer.json; Python's transformers writes one");
    std::fs::write(name("spiece.model"), "").expect("a file can be written");
    fails(&["fill", &path, "a [MASK]"], 1, "and spiece.model alone is not read");
}

/// Being told to end is like Ctrl-C: the program ends by itself, so that it can put away what it has begun.
#[cfg(unix)]
#[test]
fn a_program_that_is_told_to_end_does_so_itself() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let template = template(store.path());
    let mut chat = command(store.path());
    let arguments = ["chat", &model(), "--template", &template, "--system", "a", "--temperature", "0"];
    let mut child =
        chat.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts");
    // After the first answer everything is in place.
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "hello").expect("it listens");
    std::io::Read::read(child.stdout.as_mut().expect("a pipe"), &mut [0]).expect("it answers");
    // Told while it answers, it only stops the answer.
    let status = loop {
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("a signal is sent");
        match child.try_wait().expect("it is ours") {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    };
    assert_eq!(status.code(), Some(130));
}

#[test]
fn numbers_of_a_count_have_no_sign_that_means_nothing() {
    let encoder = tiny("../tiny_encoders/bert").display().to_string();
    for path in [encoder, tiny("../tiny_cnn/resnet_basic").display().to_string(), model()] {
        let told = succeeds(&["count", &path, "--json"]);
        assert!(!told.contains("-0.0"), "{path}: {told}");
    }
}

#[test]
fn models_of_pictures_are_not_verified() {
    for path in ["tiny_vision/vit", "tiny_cnn/resnet_basic", "tiny_rnn/lstm"] {
        let path = tiny("..").join(path);
        let path = if path.exists() { path } else { continue };
        fails(&["verify", &path.display().to_string()], 1, "which does not read texts alone");
    }
}

#[test]
fn the_map_shows_families_as_a_table_as_json_and_as_a_timeline() {
    let table = succeeds(&["map"]);
    let t5 = table.lines().find(|line| line.starts_with("T5")).expect("T5 is a family");
    assert!(t5.contains("2019") && t5.contains("Apache-2.0") && t5.contains("arXiv:1910.10683"), "{t5}");
    let all: serde_json::Value = serde_json::from_str(&succeeds(&["map", "--json"])).expect("JSON");
    let all = all.as_array().expect("a list");
    let runs = |name: &str| all.iter().find(|f| f["name"] == name).map(|f| f["runs"] == true);
    assert_eq!((runs("BERT"), runs("LaMDA"), runs("no such family")), (Some(true), Some(false), None));
    let svg = succeeds(&["map", "--format", "svg"]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.matches("<title>").count() == all.len());
    fails(&["map", "--json", "--format", "svg"], 2, "cannot be used with");
}

/// A T5 with a tokenizer of pieces: a letter each, with and without a space in front.
fn reader(fixture: &str, folder: &Path) -> String {
    let from = tiny("../tiny_seq2seq").join(fixture);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), folder.join(file)).expect("the tiny model is there");
    }
    let special = |(id, text): (usize, &&str)| serde_json::json!({ "id": id, "content": text, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false });
    let named = ["<pad>", "</s>", "<unk>"];
    let letters = ('a'..='m').flat_map(|c| [c.to_string(), format!("\u{2581}{c}")]);
    let pieces = named.iter().map(ToString::to_string).chain(letters).chain(["\u{2581}".into(), "n".into()]);
    let space = serde_json::json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true });
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": named.iter().enumerate().map(special).collect::<Vec<_>>(),
        "pre_tokenizer": space,
        "decoder": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "model": { "type": "Unigram", "unk_id": 2, "vocab": pieces.map(|p| (p, -1.0)).collect::<Vec<_>>() },
    });
    std::fs::write(folder.join("tokenizer.json"), json.to_string()).expect("a file can be written");
    folder.display().to_string()
}

#[test]
fn a_model_that_reads_writes_another_text() {
    for fixture in ["t5", "t5_gated"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = reader(fixture, folder.path());
        let asked = ["run", &model, "a bad deed", "--temperature", "0", "-n", "6", "--ignore-eos"];
        let written = succeeds(&asked);
        let told: serde_json::Value =
            serde_json::from_str(&succeeds(&[asked.as_slice(), &["--json"]].concat())).expect("JSON");
        assert_eq!(told["text"].as_str().map(|text| format!("{text}\n")), Some(written));
        // Eight letters in three words, the token that ends them, and the one that begins the answer.
        assert_eq!(told["usage"]["prompt_tokens"], 8 + 1 + 1);
        assert_eq!((told["tokens"].as_array().map(Vec::len), &told["finish_reason"]), (Some(6), &"length".into()));
        let sampled = [asked[..3].to_vec(), vec!["--seed", "3", "-n", "6", "--ignore-eos", "--lookup"]].concat();
        assert_eq!(succeeds(&sampled), succeeds(&sampled));
        assert!(succeeds(&["draw", &model]).contains("once for each sequence"));
        let counted = succeeds(&["count", &model, "-c", "16", "--batch", "2"]);
        assert!(counted.contains("2 texts of 16 tokens are read:") && counted.contains("cross_attn_k"), "{counted}");
        let counted: serde_json::Value = serde_json::from_str(&succeeds(&["count", &model, "--json"])).expect("JSON");
        assert_eq!(counted["encoder"]["tokens"], 2048);
        fails(&["chat", &model], 1, "`argand run MODEL TEXT`");
        fails(&["bench", &model], 1, "T5, which reads a text and writes another one");
        fails(&["eval", "perplexity", &model, "x"], 1, "T5, which reads a text");
        fails(&["run", &model, "a", "--system", "b"], 1, "--system");
        fails(&["run", &model, &"a ".repeat(20), "--context", "8"], 1, "at most 8 can be read");
    }
}

#[test]
fn a_model_that_reads_is_verified_on_every_tier() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = succeeds(&["verify", &reader("t5_gated", folder.path()), "--tokens", "8"]);
    assert!(told.contains("reference") && !told.contains("DIFFERS"), "{told}");
}
