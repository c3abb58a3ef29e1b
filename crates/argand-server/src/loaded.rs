//! A model in memory, as what it is: one that writes text, or one that reads it.

use crate::config::ModelConfig;
use crate::error::ApiError;
use crate::load::{Bounds, Load};
use crate::prompt::Writer;
use crate::reader::Reader;
use crate::turns::Turns;
use crate::worker::Worker;
use argand_engine::{Encoder, Engine, EngineOptions, LoadError, LoadOptions, Made, Model, Runner, Task};
use argand_grammar::{GrammarError, Grammars};
use argand_text::{ChatTemplate, SpecialTokens};
use argand_text::{Sequence, Tokenizer};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// To go on with a conversation.
    Chat,
    /// To go on with a text.
    Completions,
    /// To turn texts into vectors.
    Embeddings,
    /// To order texts by what they have to do with a question.
    Rerank,
    /// To tell labels of texts.
    Classify,
}

impl Ability {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Ability::Chat => "chat",
            Ability::Completions => "completions",
            Ability::Embeddings => "embeddings",
            Ability::Rerank => "rerank",
            Ability::Classify => "classify",
        }
    }

    fn of(made: Made) -> Vec<Ability> {
        match made {
            Made::Writes { chats: true } => vec![Ability::Chat, Ability::Completions],
            Made::Writes { chats: false } => vec![Ability::Completions],
            Made::Reads(Task::Embed { .. }) => vec![Ability::Embeddings],
            Made::Reads(Task::Rerank) => vec![Ability::Rerank],
            Made::Reads(Task::Classify) => vec![Ability::Classify],
            Made::Reads(Task::Fill) | Made::Other => Vec::new(),
        }
    }
}

/// What the model of a configuration can be asked for, seen from its files alone; nothing where they cannot be read.
pub fn abilities(config: &ModelConfig) -> Vec<Ability> {
    Made::of(&config.path, &LoadOptions::default()).map_or_else(|_| Vec::new(), Ability::of)
}

/// A model that writes text.
pub struct Writing {
    /// Writes prompts.
    pub writer: Writer,
    worker: Worker,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Made with the first grammar that is asked for.
    grammars: OnceLock<Result<Grammars, GrammarError>>,
}

impl Writing {
    /// The thread that computes.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// What makes grammars ready for this model's tokens. The first call takes a fraction of a second.
    ///
    /// # Errors
    /// No grammar can be followed with its tokenizer.
    pub fn grammars(&self) -> Result<&Grammars, GrammarError> {
        self.grammars.get_or_init(|| Grammars::new(&self.writer.tokenizer)).as_ref().map_err(Clone::clone)
    }
}

/// A model that reads text.
pub struct Reading {
    /// From text to tokens.
    pub tokenizer: Tokenizer,
    reader: Reader,
    task: Task,
    /// Values of what comes out for a text.
    pub width: usize,
    /// Longest sequence in tokens.
    pub longest: usize,
    /// Names of the labels that it tells apart, in the order of what comes out.
    pub labels: Vec<String>,
    /// One label only is true of a text.
    pub exclusive: bool,
}

impl Reading {
    /// The thread that computes.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// A sequence that was made without regard to its length, or cut by `cut` where that is wanted; `name` is what it is made of.
    ///
    /// # Errors
    /// It is too long, and not to be cut.
    pub fn fit(
        &self,
        name: &str,
        whole: Sequence,
        cut: Option<impl FnOnce(usize) -> Result<Sequence, argand_text::Error>>,
    ) -> Result<Sequence, ApiError> {
        let (found, longest) = (whole.tokens.len(), self.longest);
        match cut {
            _ if found <= longest => Ok(whole),
            Some(cut) => Ok(cut(longest)?),
            None => {
                let message = format!(
                    "{name} has {found} tokens, and the model reads at most {longest}; shorten it, or send `truncate`: true to have its end cut off"
                );
                Err(ApiError::field(name, message).with_code("context_length_exceeded"))
            }
        }
    }
}

/// What a model does, with what it needs for that.
#[derive(Clone)]
enum Kind {
    Writes(Arc<Writing>),
    Reads(Arc<Reading>),
}

/// A model in memory.
pub struct Loaded {
    /// Its name here.
    pub name: String,
    /// What it can be asked for.
    pub abilities: Vec<Ability>,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Bytes of weights and cache.
    pub bytes: u64,
    /// When it was loaded, in seconds since 1970.
    pub loaded_at: f64,
    kind: Kind,
}

impl Loaded {
    /// Loads a model.
    ///
    /// # Errors
    /// Why not.
    pub fn load(config: &ModelConfig, turns: Arc<Turns>) -> Result<Loaded, String> {
        let options = LoadOptions { threads: config.threads, context: config.context, ..LoadOptions::default() };
        // The context is known only once the model is; it is opened for one sequence, then for as many as are wanted.
        let sequences = |context: usize| match config.cache_tokens {
            Some(tokens) => tokens.div_ceil(context.max(1)).max(1),
            None => 4,
        };
        let writing = LoadOptions { sequences: sequences(config.context.unwrap_or(8192)), ..options.clone() };
        match Model::load(&config.path, &writing, &mut |_| {}) {
            Ok(model) => writes(config, model, turns),
            Err(LoadError::Encoder { .. }) => reads(config, &options, turns),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What its thread has to do.
    pub fn load_of(&self) -> &Load {
        match &self.kind {
            Kind::Writes(model) => model.worker.load(),
            Kind::Reads(model) => model.reader.load(),
        }
    }
}

fn bounds(config: &ModelConfig) -> Bounds {
    Bounds { running: config.parallel, queued: config.queue }
}

fn writes(config: &ModelConfig, model: Model, turns: Arc<Turns>) -> Result<Loaded, String> {
    let template = match &config.template {
        None => model.template().cloned().map_err(Clone::clone),
        Some(name) => Ok(template(name, SpecialTokens::of(model.tokenizer()))?),
    };
    let (tokenizer, runner) = model.into_parts();
    let (limits, bytes) = (runner.limits(), runner.bytes() as u64);
    // A model that reads one text and writes another has no endpoint.
    let made = if limits.source > 0 { Made::Other } else { Made::Writes { chats: template.is_ok() } };
    let engine = Engine::new(runner, EngineOptions { max_sequences: config.parallel, ..EngineOptions::default() });
    let worker = Worker::start(&config.name, engine, bounds(config), turns).map_err(|error| error.to_string())?;
    let writer = Writer::new(tokenizer, template);
    let kind = Kind::Writes(Arc::new(Writing { writer, worker, context: limits.context, grammars: OnceLock::new() }));
    Ok(loaded(config, Ability::of(made), limits.context, bytes, kind))
}

fn reads(config: &ModelConfig, options: &LoadOptions, turns: Arc<Turns>) -> Result<Loaded, String> {
    let wrong = |error: LoadError| error.to_string();
    let made = Made::of(&config.path, options).map_err(wrong)?;
    let Made::Reads(task) = made else { return Err("no endpoint has a use for what the model tells".into()) };
    let head = task.head(&options.open(&config.path).map_err(|error| error.to_string())?).map_err(wrong)?;
    let options = LoadOptions { head: Some(head), ..options.clone() };
    let mut encoder = Encoder::load(&config.path, &options, &mut |_| {}).map_err(wrong)?;
    let (tokenizer, longest, bytes) = (encoder.tokenizer().clone(), encoder.longest(), encoder.bytes() as u64);
    let (labels, exclusive, width) = (encoder.labels().to_vec(), encoder.is_exclusive(), encoder.width());
    let run = move |sequences: &[Sequence]| encoder.run(sequences, 0, &mut |_| {}).map_err(|error| error.to_string());
    let reader = Reader::start(&config.name, run, bounds(config), turns).map_err(|error| error.to_string())?;
    let kind = Kind::Reads(Arc::new(Reading { tokenizer, reader, task, width, longest, labels, exclusive }));
    Ok(loaded(config, Ability::of(made), longest, bytes, kind))
}

/// A template of a file, or a built-in one.
fn template(name: &str, special: SpecialTokens) -> Result<ChatTemplate, String> {
    let template = match std::fs::read_to_string(name) {
        Ok(source) => ChatTemplate::new(&source, special),
        Err(_) => ChatTemplate::builtin(name, special),
    };
    template.map_err(|error| format!("template {name}: {error}"))
}

fn loaded(config: &ModelConfig, abilities: Vec<Ability>, context: usize, bytes: u64, kind: Kind) -> Loaded {
    Loaded { name: config.name.clone(), abilities, context, bytes, loaded_at: crate::metrics::now(), kind }
}

/// A model that will not be unloaded before this is dropped, as what it is.
pub enum AnyLease {
    /// One that writes.
    Writes(Lease<Writing>),
    /// One that reads.
    Reads(Lease<Reading>),
}

impl AnyLease {
    /// Keeps a model in memory; whoever waits for memory hears of the end.
    pub fn new(loaded: Arc<Loaded>, freed: Arc<Notify>) -> Self {
        let freed = Freed(freed);
        match loaded.kind.clone() {
            Kind::Writes(part) => AnyLease::Writes(Lease { part, loaded, freed }),
            Kind::Reads(part) => AnyLease::Reads(Lease { part, loaded, freed }),
        }
    }

    /// From text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        match self {
            AnyLease::Writes(lease) => &lease.writer.tokenizer,
            AnyLease::Reads(lease) => &lease.tokenizer,
        }
    }

    /// A model that writes.
    ///
    /// # Errors
    /// It only reads; says what it can be asked for.
    pub fn writer(self) -> Result<Lease<Writing>, ApiError> {
        match self {
            AnyLease::Writes(lease) => Ok(lease),
            AnyLease::Reads(lease) => Err(lease.cannot("writes no text")),
        }
    }

    /// A model that reads.
    ///
    /// # Errors
    /// It writes; says what it can be asked for.
    pub fn reader(self) -> Result<Lease<Reading>, ApiError> {
        match self {
            AnyLease::Reads(lease) => Ok(lease),
            AnyLease::Writes(lease) => Err(lease.cannot("writes text, and gives neither vectors nor labels")),
        }
    }
}

/// A model that will not be unloaded before this is dropped. Its fields are dropped in their order: the model is let go of
/// before others hear of it.
pub struct Lease<T = Writing> {
    part: Arc<T>,
    loaded: Arc<Loaded>,
    freed: Freed,
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Lease { part: Arc::clone(&self.part), loaded: Arc::clone(&self.loaded), freed: self.freed.clone() }
    }
}

impl<T> Lease<T> {
    /// The model's name here.
    pub fn name(&self) -> &str {
        &self.loaded.name
    }

    fn cannot(&self, why: &str) -> ApiError {
        let name = self.name();
        let words: Vec<&str> = self.loaded.abilities.iter().map(|ability| ability.word()).collect();
        let can = if words.is_empty() { "nothing that this server has".to_string() } else { words.join(", ") };
        ApiError::field("model", format!("{name} {why}; it can be asked for: {can}")).with_code("unsupported_model")
    }
}

impl Lease<Reading> {
    /// The model, if it was made for that.
    ///
    /// # Errors
    /// It was made for something else; says what.
    pub fn made_for(self, ability: Ability) -> Result<Self, ApiError> {
        match self.loaded.abilities.contains(&ability) {
            true => Ok(self),
            false => Err(self.cannot(match ability {
                Ability::Embeddings => "gives no vectors",
                Ability::Rerank => "tells no relevance",
                _ => "tells no labels of texts",
            })),
        }
    }

    /// What comes out for a text as probabilities of the labels.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        match self.exclusive && self.task != Task::Rerank {
            true => softmax(&logits.iter().map(|logit| f64::from(*logit)).collect::<Vec<_>>()),
            false => logits.iter().map(|logit| sigmoid(f64::from(*logit))).collect(),
        }
    }
}

impl<T> std::ops::Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

/// Tells those who wait for memory that there may be some.
#[derive(Clone)]
struct Freed(Arc<Notify>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// Probabilities of which one is true, from their logarithms up to a constant. All the same where none is possible.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |logit: &f64| if largest.is_finite() { (logit - largest).exp() } else { 1.0 };
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_whatever_the_logits_are() {
        let all: [&[f64]; 5] =
            [&[0.0], &[-1e4, -1e4 - 1.0], &[700.0, 710.0, -800.0], &[f64::NEG_INFINITY; 3], &[-3.5, f64::NEG_INFINITY]];
        for logits in all {
            let sum: f64 = softmax(logits).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{logits:?}: {sum}");
        }
        let [a, b] = softmax(&[-1e4, -1e4 - 1.0])[..] else { panic!("two") };
        assert!((a / b - 1f64.exp()).abs() < 1e-9);
        assert_eq!(softmax(&[-3.5, f64::NEG_INFINITY]), [1.0, 0.0]);
    }
}
