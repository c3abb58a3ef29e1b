//! The directory layout of the Hugging Face cache, shared with every tool that uses it:
//! `models--owner--name/{refs,blobs,snapshots}` with relative links from snapshots to blobs.
//!
//! Names are checked before they come here; links are never followed out of a repository when deleting.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::error::{HubError, Result, io_error};
use crate::names::{RepoId, check_etag, check_file_name, check_revision, is_hex};
use crate::progress::Progress;

/// A file of a snapshot that is really there.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    /// Slash-separated name within the snapshot.
    pub(crate) name: String,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// When its content was written.
    pub(crate) modified: Option<SystemTime>,
}

/// One repository in the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepoDir {
    repo: RepoId,
    dir: PathBuf,
    locks: PathBuf,
}

/// All model repositories of a cache, by name. A cache that does not exist is empty.
pub(crate) fn repositories(cache: &Path) -> Result<Vec<RepoDir>> {
    let names = entries(cache)?;
    let mut repos: Vec<_> = names.iter().filter_map(|name| RepoId::from_folder(name)).collect();
    repos.sort();
    Ok(repos.iter().map(|repo| RepoDir::new(cache, repo)).collect())
}

impl RepoDir {
    pub(crate) fn new(cache: &Path, repo: &RepoId) -> Self {
        let folder = repo.folder();
        Self { repo: repo.clone(), dir: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    pub(crate) fn repo(&self) -> &RepoId {
        &self.repo
    }

    /// Directory of the repository.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// Where the content with this ETag lies.
    pub(crate) fn blob(&self, etag: &str) -> Result<PathBuf> {
        check_etag(etag)?;
        Ok(self.dir.join("blobs").join(etag))
    }

    /// Where it grows. The name is Argand's own, because other tools append to theirs without asking.
    pub(crate) fn partial(&self, etag: &str) -> Result<PathBuf> {
        Ok(self.blob(etag)?.with_file_name(format!("{etag}.argand.incomplete")))
    }

    /// Makes the directories of a repository.
    pub(crate) fn create(&self) -> Result<()> {
        for dir in ["blobs", "refs", "snapshots"].map(|name| self.dir.join(name)) {
            create_dirs(&dir)?;
        }
        let cache = self.dir.parent().unwrap_or(&self.dir);
        let tag = cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# Downloaded models; may be fetched again.\n";
            fs::write(&tag, text).map_err(io_error("write", &tag))?;
        }
        Ok(())
    }

    /// Takes the advisory lock that all tools take before they write a blob; waits for another holder.
    pub(crate) fn lock(&self, etag: &str, config: &Config, progress: &mut dyn Progress) -> Result<File> {
        check_etag(etag)?;
        create_dirs(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let mut noted = false;
        loop {
            let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = open.map_err(io_error("create", &path))?;
            match file.try_lock() {
                // Other tools delete the lock file after use: a lock on a deleted file locks nothing.
                Ok(()) if is_same_file(&file, &path) => return Ok(file),
                Ok(()) => continue,
                // Some network file systems have no locks; the partial file's own checks remain.
                Err(fs::TryLockError::Error(_)) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) => {
                    if !noted {
                        progress.note(&format!("waiting for another process that downloads {}", self.repo));
                        noted = true;
                    }
                    config.pause(Duration::from_millis(200))?;
                }
            }
        }
    }

    /// Lets the snapshot show a blob under a file name. Replaces what was there.
    pub(crate) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        check_file_name(name)?;
        let path = self.snapshot(commit).join(name);
        let parent = path.parent().unwrap_or(&self.dir);
        create_dirs(parent)?;
        let mut target: PathBuf = std::iter::repeat_n("..", name.split('/').count() + 1).collect();
        target.extend(["blobs", etag]);
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let temporary = temporary_sibling(&path);
        place(&target, &self.blob(etag)?, &temporary).map_err(io_error("create", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("create", &path))
    }

    /// The commit that a branch or tag stands for here.
    pub(crate) fn read_ref(&self, revision: &str) -> Option<String> {
        check_revision(revision).ok()?;
        let commit = fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_hex(commit, 40).then(|| commit.to_owned())
    }

    pub(crate) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        check_revision(revision)?;
        let path = self.dir.join("refs").join(revision);
        create_dirs(path.parent().unwrap_or(&self.dir))?;
        let temporary = temporary_sibling(&path);
        let write = |path: &Path| File::create(path)?.write_all(commit.as_bytes());
        write(&temporary).map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("write", &path))
    }

    /// Branches and tags, each with its commit.
    pub(crate) fn refs(&self) -> Result<Vec<(String, String)>> {
        let names = walk(&self.dir.join("refs"))?;
        Ok(names.into_iter().filter_map(|name| Some((name.clone(), self.read_ref(&name)?))).collect())
    }

    /// The commits of which a snapshot is here.
    pub(crate) fn commits(&self) -> Result<Vec<String>> {
        let mut commits = entries(&self.dir.join("snapshots"))?;
        commits.retain(|name| is_hex(name, 40));
        commits.sort();
        Ok(commits)
    }

    /// The files of a snapshot whose content is here, by name.
    pub(crate) fn files(&self, commit: &str) -> Result<Vec<SnapshotFile>> {
        let snapshot = self.snapshot(commit);
        let mut files = Vec::new();
        for name in walk(&snapshot)? {
            let path = snapshot.join(&name);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() {
                files.push(SnapshotFile { name, bytes: metadata.len(), modified: metadata.modified().ok() });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// The blob that a snapshot's link names, if the link leads into this repository's `blobs`.
    fn blob_of(&self, link: &Path) -> Option<String> {
        let target = fs::read_link(link).ok()?;
        let name = target.file_name()?.to_str()?;
        (target.parent()?.file_name()? == "blobs" && check_etag(name).is_ok()).then(|| name.to_owned())
    }

    /// Takes files out of one snapshot, and with them what nothing refers to any more: blobs that no snapshot
    /// links to, a snapshot without files and the branches that named it, the repository without snapshots.
    /// Returns the bytes freed.
    pub(crate) fn remove_files(&self, commit: &str, names: &[String]) -> Result<u64> {
        let snapshot = self.snapshot(commit);
        let mut freed = 0;
        let mut candidates = BTreeSet::new();
        for name in names {
            check_file_name(name)?;
            let path = snapshot.join(name);
            match self.blob_of(&path) {
                Some(blob) => drop(candidates.insert(blob)),
                None => freed += fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len()),
            }
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        if walk(&snapshot)?.is_empty() {
            remove_tree(&snapshot)?;
            for (name, _) in self.refs()?.into_iter().filter(|(_, target)| target == commit) {
                let path = self.dir.join("refs").join(name);
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        let used = self.used_blobs()?;
        for blob in candidates.difference(&used) {
            let path = self.blob(blob)?;
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            freed += if metadata.is_file() { metadata.len() } else { 0 };
        }
        Ok(freed + self.remove_leftovers()?)
    }

    /// Removes what an interrupted first pull left, if no snapshot was ever completed. Returns the bytes freed.
    pub(crate) fn remove_leftovers(&self) -> Result<u64> {
        if !self.commits()?.is_empty() {
            return Ok(0);
        }
        let length = |name: &String| fs::symlink_metadata(self.dir.join(name)).map_or(0, |metadata| metadata.len());
        let freed = walk(&self.dir)?.iter().map(length).sum();
        remove_tree(&self.dir)?;
        remove_tree(&self.locks)?;
        Ok(freed)
    }

    fn used_blobs(&self) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for commit in self.commits()? {
            let snapshot = self.snapshot(&commit);
            used.extend(walk(&snapshot)?.iter().filter_map(|name| self.blob_of(&snapshot.join(name))));
        }
        Ok(used)
    }
}

/// Names in a directory; none if it does not exist. Names that are no UTF-8 are not ours and are left out.
fn entries(dir: &Path) -> Result<Vec<String>> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(io_error("read", dir))?,
    };
    let mut names = Vec::new();
    for entry in read {
        names.extend(entry.map_err(io_error("read", dir))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Slash-separated names of everything but directories under `dir`, without following links.
fn walk(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(prefix) = pending.pop() {
        for name in entries(&dir.join(&prefix))? {
            let name = format!("{prefix}{name}");
            match fs::symlink_metadata(dir.join(&name)) {
                Ok(metadata) if metadata.is_dir() => pending.push(name + "/"),
                Ok(_) => found.push(name),
                Err(_) => {}
            }
        }
    }
    Ok(found)
}

fn create_dirs(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))
}

fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(io_error("remove", dir)),
    }
}

fn temporary_sibling(path: &Path) -> PathBuf {
    let unique = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
    path.with_file_name(format!(".argand-{}-{unique}.tmp", std::process::id()))
}

#[cfg(unix)]
fn place(target: &Path, _blob: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn place(_target: &Path, blob: &Path, link: &Path) -> std::io::Result<()> {
    // Links need a privilege there: a hard link shares the content, a copy is the last resort.
    fs::hard_link(blob, link).or_else(|_| fs::copy(blob, link).map(drop))
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => identity(held) == identity(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same_file(_: &File, _: &Path) -> bool {
    true
}

/// Fails early if the disk cannot take `needed` more bytes.
pub(crate) fn check_space(dir: &Path, needed: u64) -> Result<()> {
    /// Room left for links, directories and other programs.
    const MARGIN: u64 = 32 << 20;
    let needed = needed.saturating_add(MARGIN);
    match fs4::available_space(dir) {
        Ok(free) if free < needed => Err(HubError::NoSpace { path: dir.to_owned(), needed, free }),
        // Where the system cannot tell, writing will.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const C1: &str = "1111111111111111111111111111111111111111";
    const C2: &str = "2222222222222222222222222222222222222222";

    fn repo(cache: &Path) -> RepoDir {
        let dir = RepoDir::new(cache, &RepoId::new("a/b").unwrap());
        dir.create().unwrap();
        dir
    }

    fn put(dir: &RepoDir, commit: &str, name: &str, etag: &str) {
        fs::write(dir.blob(etag).unwrap(), etag).unwrap();
        dir.link(commit, name, etag).unwrap();
    }

    #[test]
    fn snapshots_show_blobs_and_removal_counts_references() {
        let cache = tempfile::tempdir().unwrap();
        let dir = repo(cache.path());
        put(&dir, C1, "sub/shared.gguf", "aaaa");
        put(&dir, C1, "old.gguf", "bbbbbb");
        put(&dir, C2, "sub/shared.gguf", "aaaa");
        dir.write_ref("main", C2).unwrap();
        dir.write_ref("refs/pr/1", C1).unwrap();
        assert_eq!(fs::read(dir.snapshot(C1).join("sub/shared.gguf")).unwrap(), b"aaaa");
        assert_eq!(dir.commits().unwrap(), [C1, C2]);
        let names = |commit| dir.files(commit).unwrap().into_iter().map(|f| f.name).collect::<Vec<_>>();
        assert_eq!(names(C1), ["old.gguf", "sub/shared.gguf"]);

        assert_eq!(dir.remove_files(C1, &names(C1)).unwrap(), 6, "only the blob that C2 does not use");
        assert!(dir.blob("aaaa").unwrap().exists() && !dir.blob("bbbbbb").unwrap().exists());
        assert_eq!(dir.refs().unwrap(), [("main".to_owned(), C2.to_owned())]);
        assert_eq!(dir.remove_files(C2, &names(C2)).unwrap(), 4);
        assert!(!dir.path().exists());
        assert!(repositories(cache.path()).unwrap().is_empty());
    }

    #[test]
    fn names_from_outside_cannot_leave_the_repository() {
        let cache = tempfile::tempdir().unwrap();
        let dir = repo(cache.path());
        assert!(dir.blob("../x").is_err() && dir.partial("a/b").is_err());
        assert!(dir.link(C1, "../../../x", "aaaa").is_err());
        assert!(dir.write_ref("../../x", C1).is_err());
        assert_eq!(dir.read_ref("../refs/main"), None);
        assert!(dir.remove_files(C1, &["../../blobs/aaaa".into()]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn broken_links_are_no_files_and_foreign_targets_are_kept() {
        let cache = tempfile::tempdir().unwrap();
        let dir = repo(cache.path());
        let outside = cache.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        dir.link(C1, "broken.gguf", "cccc").unwrap();
        std::os::unix::fs::symlink(&outside, dir.snapshot(C1).join("foreign.gguf")).unwrap();
        let files = dir.files(C1).unwrap();
        assert_eq!(files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["foreign.gguf"]);
        dir.remove_files(C1, &["foreign.gguf".into()]).unwrap();
        assert!(outside.exists());
    }

    #[test]
    fn a_lock_is_exclusive_and_waiting_can_be_cancelled() {
        let cache = tempfile::tempdir().unwrap();
        let dir = repo(cache.path());
        let config = Config::from_lookup(|_| Some(cache.path().display().to_string())).unwrap();
        let held = dir.lock("aaaa", &config, &mut Silent).unwrap();
        config.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(dir.lock("aaaa", &config, &mut Silent), Err(HubError::Cancelled)));
        drop(held);
        assert!(dir.lock("aaaa", &config, &mut Silent).is_ok());
    }

    #[test]
    fn too_little_space_is_told_before_writing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_space(dir.path(), 1).is_ok());
        assert!(matches!(check_space(dir.path(), u64::MAX / 2), Err(HubError::NoSpace { .. })));
    }
}
