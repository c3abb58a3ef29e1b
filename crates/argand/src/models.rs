//! From what was typed as MODEL to a path on this machine and a loaded model.

use crate::opened::Opened;
use crate::{interrupt, ui};
use anyhow::{Result, bail};
use argand::{Encoder, ImageClassifier, LoadOptions, Loading, Matcher, Model, OpenOptions, Task, TextReader};
use argand_engine::CpuRunner;
use argand_hub::{CatalogueEntry, Config, HubError, ModelSpec, ResolvedModel, Source, Store, human_bytes};
use std::path::Path;
use std::sync::Arc;

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
    format!("{}: {}, {}, licence {}", entry.name, entry.title, human_bytes(entry.all_bytes()), entry.licence)
}

fn sources(entry: &CatalogueEntry) -> String {
    let one = |source: &Source| match source {
        Source::HuggingFace { repo, .. } => format!("Hugging Face {repo}"),
        Source::Package { name, version, .. } => format!("Python package {name} {version}"),
    };
    entry.sources.iter().map(one).collect::<Vec<_>>().join(", else ")
}

/// Shows how far loading has come, on a terminal.
fn loading<T>(path: &Path, load: impl FnOnce(&mut dyn FnMut(Loading)) -> T) -> T {
    let bar = ui::bar("loading", std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| m.len()));
    let loaded = load(&mut |at| bar.set_position(at.bytes as u64));
    bar.finish_and_clear();
    loaded
}

/// Loads a model with its conversation. Says so when the context that was asked for is longer than it knows.
pub fn load(path: &Path, options: &OpenOptions) -> Result<Model> {
    if let Some(wanted) = options.load.context {
        let known = Opened::at(path, options.load.config.as_ref())?.model(None)?.context()?;
        if wanted > known {
            eprintln!(
                "the model was made for contexts of {known} tokens; beyond, of {wanted}, its answers may be poor"
            );
        }
    }
    Ok(loading(path, |progress| Model::load(path, options, progress))?)
}

/// Loads the part of a model that looks at pictures.
pub fn open_eyes(path: &Path, model: &mut Model) -> Result<()> {
    Ok(loading(path, |progress| model.open_eyes(progress))?)
}

/// Fails for a model that reads one text and writes another, of which `wanted` cannot be had.
pub fn continues(path: &Path, options: &LoadOptions, wanted: &str) -> Result<()> {
    let opened = Opened::at(path, options.config.as_ref())?;
    let model = opened.model(None)?;
    if model.graph.encoder.is_some() {
        bail!("{} is {}, which reads a text and writes another one: {wanted}", path.display(), model.page.name);
    }
    Ok(())
}

/// Loads a model and its tokenizer, to run steps by hand.
pub fn load_bare(path: &Path, options: &LoadOptions) -> Result<argand_engine::Model> {
    Ok(loading(path, |progress| argand_engine::Model::load(path, options, progress))?)
}

/// Loads an encoder for a task.
pub fn load_encoder(path: &Path, task: Task, options: &LoadOptions) -> Result<Encoder> {
    Ok(loading(path, |progress| Encoder::load(path, task, options, progress))?)
}

/// Loads a model that labels pictures.
pub fn load_image_classifier(path: &Path, options: &LoadOptions) -> Result<ImageClassifier> {
    Ok(loading(path, |progress| ImageClassifier::load(path, options, progress))?)
}

/// Loads a model that compares pictures with texts.
pub fn load_matcher(path: &Path, options: &LoadOptions) -> Result<Matcher> {
    Ok(loading(path, |progress| Matcher::load(path, options, progress))?)
}

/// Loads a model that reads lines of text from pictures.
pub fn load_text_reader(path: &Path, options: &LoadOptions) -> Result<TextReader> {
    Ok(loading(path, |progress| TextReader::load(path, options, progress))?)
}

/// Loads what computes, without a tokenizer.
pub fn load_runner(path: &Path, options: &LoadOptions) -> Result<CpuRunner> {
    let checkpoint = Arc::new(options.open(path)?);
    Ok(loading(path, |progress| CpuRunner::load(&checkpoint, options, progress))?.1)
}
