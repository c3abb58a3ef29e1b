//! The models of a server: loaded when they are asked for, within a budget of memory.
//!
//! A model stays while anybody holds a [`Lease`] of it. When memory is short the one that was not used for longest goes,
//! unless it is pinned. Whoever asks for a model that is being loaded waits for it.

use crate::config::ModelConfig;
use crate::error::ApiError;
pub use crate::loaded::{Ability, AnyLease, Lease, Reading, Writing};
use crate::loaded::{Loaded, abilities};
use crate::log::Log;
use crate::turns::Turns;
use argand_engine::pages::PageUse;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a request waits for memory that others use.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a model is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unloaded,
    Loading,
    Loaded,
    Failed,
}

/// What can be seen of a model from outside.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub id: String,
    phase: Phase,
    pinned: bool,
    /// Bytes of weights and cache, 0 while it is not loaded.
    pub bytes_resident: u64,
    /// Bytes of its files.
    pub bytes: u64,
    context: Option<usize>,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub queued: usize,
    /// Pages of its cache.
    pub pages: Option<PageUse>,
    loaded_at: Option<f64>,
    last_used: Option<f64>,
    failure: Option<String>,
    abilities: Vec<Ability>,
}

impl State {
    /// Whether it is in memory.
    pub fn is_loaded(&self) -> bool {
        self.phase == Phase::Loaded
    }

    fn word(&self) -> &'static str {
        match self.phase {
            Phase::Unloaded => "unloaded",
            Phase::Loading => "loading",
            Phase::Loaded => "loaded",
            Phase::Failed => "failed",
        }
    }

    /// For the administrator.
    pub fn json(&self) -> Json {
        let pages = self.pages.map(
            |p| json!({ "total": p.held + p.cached + p.free, "held": p.held, "cached": p.cached, "free": p.free }),
        );
        json!({ "id": self.id, "state": self.word(), "pinned": self.pinned, "bytes_resident": self.bytes_resident,
                "bytes": self.bytes, "running": self.running, "queued": self.queued, "pages": pages,
                "loaded_at": self.loaded_at, "last_used": self.last_used, "failure": self.failure })
    }

    /// Whether it can be asked for that, as far as is known.
    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }

    /// For everybody, as OpenAI writes it.
    pub fn openai(&self, created: u64) -> Json {
        let abilities: Vec<&str> = self.abilities.iter().map(|ability| ability.word()).collect();
        json!({ "id": self.id, "object": "model", "created": created, "owned_by": "argand", "state": self.word(),
                "context_length": self.context, "bytes": self.bytes, "capabilities": abilities })
    }
}

struct Entry {
    config: ModelConfig,
    /// Held while the model is being loaded, so that others wait.
    loaded: tokio::sync::Mutex<Option<Arc<Loaded>>>,
    seen: Mutex<Seen>,
    pinned: AtomicBool,
}

/// What may be looked at without waiting.
struct Seen {
    phase: Phase,
    loaded: Option<std::sync::Weak<Loaded>>,
    last_used: Option<(Instant, f64)>,
    failure: Option<String>,
    /// What the model can be asked for, once somebody has looked.
    abilities: Option<Vec<Ability>>,
}

impl Entry {
    fn see(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// All models of a server.
pub struct Models {
    entries: Vec<Entry>,
    budget: Option<u64>,
    log: Log,
    turns: Arc<Turns>,
    freed: Arc<Notify>,
    /// Held while room is made and a model is loaded: one at a time.
    loading: tokio::sync::Mutex<()>,
}

impl Models {
    /// The models of a configuration, none of them loaded.
    pub fn new(configs: &[ModelConfig], budget: Option<u64>, log: Log) -> Self {
        let entry = |config: &ModelConfig| Entry {
            config: config.clone(),
            loaded: tokio::sync::Mutex::new(None),
            seen: Mutex::new(Seen {
                phase: Phase::Unloaded,
                loaded: None,
                last_used: None,
                failure: None,
                abilities: None,
            }),
            pinned: AtomicBool::new(config.pinned),
        };
        Models {
            entries: configs.iter().map(entry).collect(),
            budget,
            log,
            turns: Arc::default(),
            freed: Arc::default(),
            loading: tokio::sync::Mutex::new(()),
        }
    }

    /// The name of the model that is called `name`, or has it as another name.
    ///
    /// # Errors
    /// There is none.
    pub fn canonical(&self, name: &str) -> Result<String, ApiError> {
        Ok(self.entry(name)?.config.name.clone())
    }

    /// A name, or that of the first model.
    ///
    /// # Errors
    /// There are no models.
    pub fn or_first(&self, name: Option<String>) -> Result<String, ApiError> {
        let first = || self.entries.first().map(|entry| entry.config.name.clone());
        name.or_else(first).ok_or_else(|| ApiError::not_found("this server has no models"))
    }

    /// Memory for weights and caches in bytes.
    pub fn budget(&self) -> Option<u64> {
        self.budget
    }

    fn entry(&self, name: &str) -> Result<&Entry, ApiError> {
        let named =
            |entry: &&Entry| entry.config.name == name || entry.config.aliases.iter().any(|alias| alias == name);
        self.entries.iter().find(named).ok_or_else(|| ApiError::no_model(name))
    }

    /// A model, loaded if it has to be.
    ///
    /// # Errors
    /// There is no such model, it cannot be loaded, or there is no room for it.
    pub async fn get(self: &Arc<Self>, name: &str) -> Result<AnyLease, ApiError> {
        // Whoever asks may go away; a model that is being loaded is loaded all the same, and once.
        let (models, name) = (Arc::clone(self), name.to_string());
        let task = tokio::spawn(async move { models.obtain(&name).await });
        task.await.unwrap_or_else(|_| Err(ApiError::internal("a mistake of the server; its log says more")))
    }

    async fn obtain(&self, name: &str) -> Result<AnyLease, ApiError> {
        let entry = self.entry(name)?;
        entry.see(|seen| seen.last_used = Some((Instant::now(), crate::metrics::now())));
        let mut slot = entry.loaded.lock().await;
        if let Some(loaded) = slot.as_ref().filter(|loaded| !loaded.load_of().stopped()) {
            return Ok(AnyLease::new(Arc::clone(loaded), Arc::clone(&self.freed)));
        }
        *slot = None;
        let _one = self.loading.lock().await;
        self.make_room(entry).await?;
        entry.see(|seen| seen.phase = Phase::Loading);
        let (config, turns) = (entry.config.clone(), Arc::clone(&self.turns));
        let loaded = tokio::task::spawn_blocking(move || Loaded::load(&config, turns)).await;
        let loaded = loaded.map_err(|_| "a mistake in reading it".to_string()).and_then(|loaded| loaded);
        match loaded {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                entry.see(|seen| {
                    *seen = Seen {
                        phase: Phase::Loaded,
                        loaded: Some(Arc::downgrade(&loaded)),
                        failure: None,
                        last_used: seen.last_used,
                        abilities: Some(loaded.abilities.clone()),
                    }
                });
                *slot = Some(Arc::clone(&loaded));
                self.log.tell(
                    "model loaded",
                    json!({ "model": loaded.name, "bytes": loaded.bytes, "context": loaded.context }),
                );
                Ok(AnyLease::new(loaded, Arc::clone(&self.freed)))
            }
            Err(why) => {
                self.log.tell("model failed", json!({ "model": entry.config.name, "error": why }));
                entry.see(|seen| (seen.phase, seen.failure) = (Phase::Failed, Some(why.clone())));
                // Paths of the server are nobody's business.
                Err(ApiError::unavailable(format!("the model {name} cannot be loaded; the server's log says why")))
            }
        }
    }

    /// A model that writes, loaded if it has to be.
    ///
    /// # Errors
    /// As [`Models::get`]; or it only reads.
    pub async fn writer(self: &Arc<Self>, name: &str) -> Result<Lease, ApiError> {
        self.get(name).await?.writer()
    }

    /// A model that reads and was made for that, loaded if it has to be.
    ///
    /// # Errors
    /// As [`Models::get`]; or it was made for something else.
    pub async fn reader(self: &Arc<Self>, name: &str, ability: Ability) -> Result<Lease<Reading>, ApiError> {
        self.get(name).await?.reader()?.made_for(ability)
    }

    /// Looks at the files of models of which nobody knows yet what they can be asked for.
    pub async fn look(&self) {
        for entry in &self.entries {
            if entry.seen.lock().unwrap_or_else(PoisonError::into_inner).abilities.is_some() {
                continue;
            }
            let config = entry.config.clone();
            let found = tokio::task::spawn_blocking(move || abilities(&config)).await.unwrap_or_default();
            entry.see(|seen| {
                seen.abilities.get_or_insert(found);
            });
        }
    }

    /// Unloads others until a model fits.
    async fn make_room(&self, wanted: &Entry) -> Result<(), ApiError> {
        let Some(budget) = self.budget else { return Ok(()) };
        let needed = file_bytes(&wanted.config.path);
        if needed > budget {
            let message = format!("the model {} is larger than the memory of this server", wanted.config.name);
            return Err(ApiError::unavailable(message));
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            let resident: u64 = self.states().iter().map(|state| state.bytes_resident).sum();
            if resident + needed <= budget {
                return Ok(());
            }
            if self.unload_oldest(wanted) {
                continue;
            }
            if tokio::time::timeout_at(until, freed).await.is_err() {
                let message =
                    format!("there is no memory for {} while the other models are in use", wanted.config.name);
                return Err(ApiError::unavailable(message));
            }
        }
    }

    /// Unloads the model that nobody uses and that was not used for longest. False when there is none.
    fn unload_oldest(&self, wanted: &Entry) -> bool {
        let used =
            |entry: &&Entry| entry.seen.lock().unwrap_or_else(PoisonError::into_inner).last_used.map(|(at, _)| at);
        let mut others: Vec<&Entry> =
            self.entries.iter().filter(|e| !std::ptr::eq(*e, wanted) && !e.pinned.load(Relaxed)).collect();
        others.sort_by_key(used);
        others.into_iter().any(unload)
    }

    /// Unloads a model now.
    ///
    /// # Errors
    /// There is no such model, or it is in use.
    pub fn unload(&self, name: &str) -> Result<(), ApiError> {
        let entry = self.entry(name)?;
        let idle = entry.seen.lock().unwrap_or_else(PoisonError::into_inner).phase != Phase::Loaded;
        if idle || unload(entry) {
            return Ok(());
        }
        let error = ApiError::bad(format!("{name} is in use; try again when its requests have ended"));
        Err(error.with_status(axum::http::StatusCode::CONFLICT))
    }

    /// Says whether a model has to stay in memory.
    ///
    /// # Errors
    /// There is no such model.
    pub fn pin(&self, name: &str, pinned: bool) -> Result<(), ApiError> {
        self.entry(name)?.pinned.store(pinned, Relaxed);
        Ok(())
    }

    /// Loads all that have to be there from the beginning.
    ///
    /// # Errors
    /// One of them cannot be loaded; says why.
    pub async fn load_pinned(self: &Arc<Self>) -> Result<(), String> {
        for entry in self.entries.iter().filter(|entry| entry.pinned.load(Relaxed)) {
            if let Err(error) = self.get(&entry.config.name).await {
                let seen = entry.seen.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(seen.failure.clone().unwrap_or_else(|| error.to_string()));
            }
        }
        Ok(())
    }

    /// Requests that run and that wait.
    pub fn load(&self) -> (usize, usize) {
        self.states().iter().fold((0, 0), |(r, q), state| (r + state.running, q + state.queued))
    }

    /// How all of them are.
    pub fn states(&self) -> Vec<State> {
        self.entries.iter().map(state).collect()
    }
}

fn state(entry: &Entry) -> State {
    let seen = entry.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = seen.loaded.as_ref().and_then(std::sync::Weak::upgrade);
    let load = loaded.as_ref().map(|loaded| loaded.load_of());
    State {
        id: entry.config.name.clone(),
        phase: if seen.phase == Phase::Loaded && loaded.is_none() { Phase::Unloaded } else { seen.phase },
        pinned: entry.pinned.load(Relaxed),
        bytes_resident: loaded.as_ref().map_or(0, |loaded| loaded.bytes),
        bytes: file_bytes(&entry.config.path),
        context: loaded.as_ref().map(|loaded| loaded.context).or(entry.config.context),
        running: load.map_or(0, |load| load.running()),
        queued: load.map_or(0, |load| load.queued()),
        pages: load.and_then(|load| load.usage()).map(|usage| usage.pages),
        loaded_at: loaded.as_ref().map(|loaded| loaded.loaded_at),
        last_used: seen.last_used.map(|(_, at)| at),
        failure: seen.failure.clone(),
        abilities: seen.abilities.clone().unwrap_or_default(),
    }
}

/// Lets go of a model that nobody uses. False when it is not there or in use.
fn unload(entry: &Entry) -> bool {
    let Ok(mut slot) = entry.loaded.try_lock() else { return false };
    if slot.as_ref().is_none_or(|loaded| Arc::strong_count(loaded) > 1) {
        return false;
    }
    *slot = None;
    entry.see(|seen| (seen.phase, seen.loaded) = (Phase::Unloaded, None));
    true
}

/// Bytes of a file, or of the files of a folder.
fn file_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return std::fs::metadata(path).map_or(0, |meta| meta.len()) };
    entries
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}
