//! From what was typed as MODEL to a path on this machine and a loaded model.

use crate::{interrupt, ui};
use anyhow::{Context, Result};
use argand::{Model, OpenOptions};
use argand_hub::{CatalogueEntry, Config, HubError, ModelSpec, ResolvedModel, Source, Store, human_bytes};
use std::path::Path;

/// The store, which stops when Ctrl-C is pressed.
pub fn store() -> Result<Store> {
    Ok(Store::with_config(Config { cancel: interrupt::flag(), ..Config::from_env()? }))
}

/// Finds a model on this machine; fetches one that is known by name, after saying so.
pub fn ready(name: &str) -> Result<ResolvedModel> {
    let store = store()?;
    match store.resolve(name) {
        Err(HubError::NotPulled { .. } | HubError::Incomplete { .. }) => fetch(&store, name),
        found => Ok(found?),
    }
}

/// Fetches a model, after saying what comes from where.
pub fn fetch(store: &Store, name: &str) -> Result<ResolvedModel> {
    if let Ok(ModelSpec::Catalogue(entry)) = ModelSpec::parse(name) {
        let cache = store.config().cache.display();
        eprintln!("{}\n  from {}\n  to   {cache}", describe(entry), sources(entry));
    }
    let gentle = interrupt::gentle();
    let fetched = store.pull(name, &mut ui::Fetching::default());
    drop(gentle);
    Ok(fetched?)
}

/// Title, size and licence in a line.
pub fn describe(entry: &CatalogueEntry) -> String {
    format!("{}: {}, {}, licence {}", entry.name, entry.title, human_bytes(entry.bytes), entry.licence)
}

fn sources(entry: &CatalogueEntry) -> String {
    let one = |source: &Source| match source {
        Source::HuggingFace { repo, .. } => format!("Hugging Face {repo}"),
        Source::Package { name, version, .. } => format!("Python package {name} {version}"),
    };
    entry.sources.iter().map(one).collect::<Vec<_>>().join(", else ")
}

/// Loads a model with a progress bar.
pub fn load(path: &Path, options: &OpenOptions) -> Result<Model> {
    let bar = ui::bar("loading", std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| m.len()));
    let loaded = Model::load(path, options, &mut |at| bar.set_position(at.bytes as u64));
    bar.finish_and_clear();
    loaded.with_context(|| format!("cannot load {}", path.display()))
}

/// As [`load`], without engine and conversation.
pub fn load_bare(path: &Path, options: &argand::LoadOptions) -> Result<argand_engine::Model> {
    let bar = ui::bar("loading", std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| m.len()));
    let loaded = argand_engine::Model::load(path, options, &mut |at| bar.set_position(at.bytes as u64));
    bar.finish_and_clear();
    loaded.with_context(|| format!("cannot load {}", path.display()))
}
