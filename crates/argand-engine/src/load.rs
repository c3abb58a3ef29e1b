//! From a path to a model that runs: checkpoint, page, executor, tokenizer and template.

use crate::encoder::both_ways;
use crate::runner::{Limits, RunError, Runner, Source as Text, StepBatch};
use crate::source::Source;
use argand_codec::Codec;
use argand_cpu::kv::{KvType, PAGE_TOKENS};
use argand_cpu::tier::{Tier, TierError};
use argand_cpu::{Batch, Executor, Memory, Options, Seq};
use argand_graph::{Graph, Sym};
use argand_models::encoder::Head;
use argand_text::{ChatTemplate, SpecialTokens, TemplateError, Tokenizer};
use argand_weights::{Checkpoint, Format};
use std::path::Path;
use std::sync::Arc;

/// Without a wish, a context is at most this long: a cache for the longest context that a model knows can be bigger than
/// the model.
const USUAL_CONTEXT: usize = 8192;

/// Pages of a cache; more would be hundreds of millions of tokens.
const MOST_PAGES: usize = 1 << 22;

/// How a model is to be loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Instruction tier; the best one unless said.
    pub tier: Option<Tier>,
    /// Threads; all that the process may use unless said.
    pub threads: Option<usize>,
    /// Products in f32 with decoded weights instead of integers.
    pub exact: bool,
    /// Longest sequence in tokens; what the model was made for, at most 8192, unless said. A longer one than the model
    /// was made for is run with whatever scaling of positions its configuration asks for.
    pub context: Option<usize>,
    /// Number format of the cache.
    pub kv: KvType,
    /// Sequences of full length that the cache has room for.
    pub sequences: usize,
    /// Whether ops are fused; without, every op is a call of its own and every value can be observed.
    pub fused: bool,
    /// Whether ops are replaced by the simpler ones that say what they mean: the first rung of the ladder of correctness.
    pub decomposed: bool,
    /// Most rows in a step.
    pub max_rows: usize,
    /// What is wanted of an encoder's states; the head that its checkpoint was made for unless said.
    pub head: Option<Head>,
    /// Number format that matrices of plain floats are rounded to at loading, for integer products; as stored unless said.
    pub quantize: Option<Codec>,
    /// Configuration instead of the `config.json` beside the weights.
    pub config: Option<serde_json::Value>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            tier: None,
            threads: None,
            exact: false,
            context: None,
            kv: KvType::F16,
            sequences: 1,
            fused: true,
            decomposed: false,
            max_rows: 512,
            head: None,
            quantize: None,
            config: None,
        }
    }
}

impl LoadOptions {
    /// Opens the files of a model.
    ///
    /// # Errors
    /// As [`Checkpoint::open_as`].
    pub fn open(&self, path: &Path) -> Result<Checkpoint, argand_weights::Error> {
        Checkpoint::open_as(path, self.config.as_ref())
    }

    /// What an executor needs to know.
    pub(crate) fn resolved(&self, pages: usize) -> Result<Options, TierError> {
        Ok(Options {
            tier: self.tier.map_or_else(Tier::from_env_or_detect, Ok)?,
            threads: self.threads.unwrap_or_else(argand_cpu::threads),
            exact: self.exact,
            fused: self.fused,
            kv: self.kv,
            pages,
            max_rows: self.max_rows,
        })
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// Bytes of weights that are resident.
    pub bytes: usize,
    /// Bytes of the checkpoint, about what will be resident in the end.
    pub total: u64,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LoadError {
    #[error(transparent)]
    Checkpoint(#[from] argand_weights::Error),
    #[error(transparent)]
    Model(#[from] argand_models::Error),
    #[error("{}", named(file, error))]
    Executor { file: String, error: argand_cpu::Error },
    #[error("{file}: the tokenizer cannot be read: {error}")]
    Tokenizer { file: String, error: argand_text::Error },
    #[error(transparent)]
    Tier(#[from] TierError),
    #[error("a context of {tokens} tokens is longer than any cache; ask for less")]
    Context { tokens: usize },
    #[error("{file}: {page} is an encoder, which reads text and writes none; a model that writes was expected")]
    Encoder { file: String, page: &'static str },
    #[error("{file}: {page} writes no text; a language model was expected")]
    NoWriter { file: String, page: &'static str },
    #[error("{file}: {page} {does}; an encoder such as BERT was expected")]
    NoEncoder { file: String, page: &'static str, does: Does },
    #[error("{file}: {page} does not look at pictures; a model such as ViT, CLIP or LLaVA was expected")]
    NoPictures { file: String, page: &'static str },
    #[error("{file}: {page} does not compare pictures with texts; a model such as CLIP or SigLIP was expected")]
    NoPair { file: String, page: &'static str },
    #[error("{file}: the model was not made for {wanted}: it has no tensor `{weight}`")]
    NoHead { file: String, wanted: &'static str, weight: String },
    #[error("{file}: a context of {tokens} tokens was asked for, and the model has a table of {known} positions")]
    Positions { file: String, tokens: usize, known: usize },
}

/// A message of the executor about a file, whose name some of them begin with already: those of its weights.
fn named(file: &str, error: &argand_cpu::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix(file).is_some_and(|rest| rest.starts_with(": ")) {
        true => text,
        false => format!("{file}: {text}"),
    }
}

/// What a model does, where something else was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It continues texts.
    Write,
    /// It reads one text and writes another.
    Rewrite,
    /// It compares pictures with texts.
    Compare,
    /// It reads no texts at all.
    Other,
}

impl Does {
    /// Told by its architecture.
    pub fn of(model: &argand_models::Model<'_>) -> Does {
        let graph = &model.graph;
        let writes = graph.body.node(graph.body.output).ty.rows() == Some(Sym::R.into());
        match graph.encoder {
            Some(_) => Does::Rewrite,
            None if writes => Does::Write,
            None if crate::Comparison::read(model.facts()).is_some() => Does::Compare,
            None => Does::Other,
        }
    }
}

impl std::fmt::Display for Does {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Does::Write => "is a model that writes text",
            Does::Rewrite => "reads a text and writes another one",
            Does::Compare => "compares pictures with texts",
            Does::Other => "reads no texts",
        })
    }
}

/// A loaded model with its text side.
pub struct Model {
    name: String,
    graph: Graph,
    tokenizer: Tokenizer,
    template: Result<ChatTemplate, TemplateError>,
    runner: CpuRunner,
    start: Option<u32>,
    file_bytes: u64,
}

impl Model {
    /// Loads a GGUF file, a safetensors file or a Hugging Face directory.
    ///
    /// # Errors
    /// Anything that is wrong with the file, or too little memory.
    pub fn load(path: &Path, options: &LoadOptions, progress: &mut dyn FnMut(Loading)) -> Result<Model, LoadError> {
        let checkpoint = Arc::new(options.open(path)?);
        let file = path.display().to_string();
        let model = open(&checkpoint, options.context, options)?;
        if both_ways(&model.graph) {
            return Err(LoadError::Encoder { file, page: model.page.name });
        }
        if !writes(&model.graph) {
            return Err(LoadError::NoWriter { file, page: model.page.name });
        }
        let start = model.graph.encoder.is_some().then(|| model.start()).transpose()?;
        let opened = Arc::clone(&checkpoint);
        // Reading a vocabulary takes about as long as packing weights, and needs nothing of them.
        let text = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| tokenizer(&opened));
            let runner = CpuRunner::load(&checkpoint, options, progress);
            let tokenizer = tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (tokenizer, runner)
        });
        let (graph, runner) = text.1?;
        let unreadable = |error| LoadError::Tokenizer { file: file.clone(), error };
        let tokenizer = text.0.map_err(unreadable)?;
        let template = match template(&checkpoint, &tokenizer) {
            Ok(template) => Ok(template),
            // Without a template a model can still continue text, and another template can be given.
            Err(argand_text::Error::Template(error)) => Err(error),
            Err(error) => return Err(LoadError::Tokenizer { file: folder(&checkpoint).display().to_string(), error }),
        };
        let (name, file_bytes) = (name(&checkpoint), checkpoint.file_bytes());
        Ok(Model { name, graph, tokenizer, template, runner, start, file_bytes })
    }

    /// Name that the file gives itself, or the file's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// From text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's own chat template.
    ///
    /// # Errors
    /// [`TemplateError::None`] when it has none, or what is wrong with it.
    pub fn template(&self) -> Result<&ChatTemplate, &TemplateError> {
        self.template.as_ref()
    }

    /// The token that an answer begins with, where the model reads a text by an encoder and writes another one; none where it
    /// continues texts.
    pub fn start(&self) -> Option<u32> {
        self.start
    }

    /// Bytes of the checkpoint's files.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The executor.
    pub fn runner(&self) -> &CpuRunner {
        &self.runner
    }

    /// The executor, to run steps by hand.
    pub fn runner_mut(&mut self) -> &mut CpuRunner {
        &mut self.runner
    }

    /// Gives the executor away, to an engine.
    pub fn into_parts(self) -> (Tokenizer, CpuRunner) {
        (self.tokenizer, self.runner)
    }
}

/// The graph of a checkpoint, with the head that is wanted.
pub(crate) fn open<'a>(
    checkpoint: &'a Checkpoint,
    context: Option<usize>,
    options: &LoadOptions,
) -> Result<argand_models::Model<'a>, argand_models::Error> {
    match &options.head {
        Some(head) => argand_models::Model::open_for(checkpoint, context, head.clone()),
        None => argand_models::Model::open(checkpoint, context),
    }
}

pub(crate) fn name(checkpoint: &Checkpoint) -> String {
    let own = checkpoint.metadata().get_str("general.name").map(str::to_string);
    let file = || checkpoint.path().file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
    own.unwrap_or_else(file)
}

pub(crate) fn tokenizer(checkpoint: &Checkpoint) -> Result<Tokenizer, argand_text::Error> {
    match checkpoint.format() {
        Format::Gguf => Tokenizer::from_gguf(checkpoint.metadata()),
        Format::Safetensors | Format::PyTorch | Format::NumPy | Format::Onnx => {
            Tokenizer::from_hf_dir(folder(checkpoint))
        }
    }
}

fn template(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<ChatTemplate, argand_text::Error> {
    match checkpoint.format() {
        Format::Gguf => Ok(ChatTemplate::from_gguf(checkpoint.metadata(), SpecialTokens::of(tokenizer))?),
        Format::Safetensors | Format::PyTorch | Format::NumPy | Format::Onnx => {
            ChatTemplate::from_hf_dir(folder(checkpoint))
        }
    }
}

/// Whether a checkpoint has a template for conversations that can be read.
pub(crate) fn has_template(checkpoint: &Checkpoint) -> bool {
    match checkpoint.format() {
        Format::Gguf => ChatTemplate::from_gguf(checkpoint.metadata(), SpecialTokens::default()).is_ok(),
        _ => ChatTemplate::from_hf_dir(folder(checkpoint)).is_ok(),
    }
}

/// Whether a model chooses words: its logits stand in the rows that are asked for.
pub(crate) fn writes(graph: &Graph) -> bool {
    graph.body.node(graph.body.output).ty.rows() == Some(Sym::R.into())
}

/// Where the files beside the weights are.
pub(crate) fn folder(checkpoint: &Checkpoint) -> &Path {
    let path = checkpoint.path();
    let around = || path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() { path } else { around().unwrap_or(Path::new(".")) }
}

/// An executor on this machine's CPU.
pub struct CpuRunner {
    executor: Executor,
    limits: Limits,
}

impl CpuRunner {
    /// Loads the weights of an opened checkpoint.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<(Graph, CpuRunner), LoadError> {
        let context = match options.context {
            Some(wish) => wish.max(1),
            None => open(checkpoint, None, options)?.context()?.min(USUAL_CONTEXT),
        };
        let model = open(checkpoint, Some(context), options)?;
        let source = Arc::new(Source::new(checkpoint, &model, &model.graph, options.quantize)?);
        let graph = match options.decomposed {
            true => argand_graph::pass::decompose(&model.graph, |_| true).map_err(argand_models::Error::Graph)?,
            false => model.graph,
        };
        // A text that is read may be as long as the one that is written, and has pages of its own.
        let reads = graph.encoder.is_some();
        let pages = (context.div_ceil(PAGE_TOKENS) << usize::from(reads))
            .checked_mul(options.sequences.max(1))
            .and_then(|p| p.checked_add(1));
        let pages = pages.filter(|p| *p <= MOST_PAGES).ok_or(LoadError::Context { tokens: context })?;
        let total = checkpoint.file_bytes();
        let options = options.resolved(pages)?;
        let max_rows = options.max_rows;
        // It is read in one step, whatever its length.
        let options = Options { max_rows: if reads { max_rows.max(context) } else { max_rows }, ..options };
        let mut hear = |bytes| progress(Loading { bytes, total });
        let executor = Executor::load(&graph, source, options, &mut hear)
            .map_err(|error| LoadError::Executor { file: checkpoint.path().display().to_string(), error })?;
        if context > executor.positions() {
            let (file, known) = (checkpoint.path().display().to_string(), executor.positions());
            return Err(LoadError::Positions { file, tokens: context, known });
        }
        // The edges of packed weights, and whatever was read ahead. Rows of embeddings come back when they are looked up.
        checkpoint.release_all();
        let source = if reads { context } else { 0 };
        let limits = Limits { vocab: executor.vocab(), page_tokens: PAGE_TOKENS, pages, context, max_rows, source };
        Ok((graph, CpuRunner { executor, limits }))
    }

    /// Bytes of weights and cache.
    pub fn bytes(&self) -> usize {
        self.executor.weight_bytes() + self.executor.page_bytes() * self.limits.pages
    }

    /// The executor, to look at its plan or to observe values.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The executor, to run observed steps.
    pub fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }
}

impl Runner for CpuRunner {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn step(&mut self, batch: &StepBatch<'_>) -> Result<&[f32], RunError> {
        batch.check(&self.limits)?;
        let seq = |s: &crate::runner::SeqRows<'_>| (s.rows.start as usize..s.rows.end as usize, s.past as usize);
        let seqs: Vec<Seq<'_>> = batch
            .seqs
            .iter()
            .map(|s| {
                let (rows, past) = seq(s);
                Seq { rows, past, pages: s.pages }
            })
            .collect();
        let read = batch.seqs.iter().map(|s| s.memory).filter(|m| m.tokens > 0);
        let memories = read.map(|m| Memory { tokens: m.tokens as usize, pages: m.pages });
        let memories: Vec<Memory<'_>> = memories.collect();
        let batch = Batch {
            tokens: batch.tokens,
            positions: batch.positions,
            coordinates: batch.coordinates,
            placed: batch.placed,
            given: &[("pictures", batch.pictures)],
            seqs: &seqs,
            memories: &memories,
            logit_rows: batch.logit_rows,
            ..Batch::default()
        };
        self.executor.step(&batch).map_err(|e| RunError::Executor(Box::new(e)))
    }

    fn read(&mut self, sources: &[Text<'_>]) -> Result<(), RunError> {
        sources.iter().try_for_each(|source| source.check(&self.limits))?;
        let tokens: Vec<u32> = sources.iter().flat_map(|s| s.tokens).copied().collect();
        let positions: Vec<u32> = sources.iter().flat_map(|s| 0..s.tokens.len() as u32).collect();
        let mut end = 0;
        let seqs = sources.iter().map(|s| {
            let rows = end..end + s.tokens.len();
            end = rows.end;
            Seq { rows, past: 0, pages: s.pages }
        });
        let seqs: Vec<Seq<'_>> = seqs.collect();
        let batch = Batch { tokens: &tokens, positions: &positions, seqs: &seqs, ..Batch::default() };
        self.executor.encode(&batch, None).map(drop).map_err(|e| RunError::Executor(Box::new(e)))
    }

    fn copy_page(&mut self, from: u32, to: u32) {
        self.executor.copy_page(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_once() {
        let told = |what: &str| {
            let error = argand_cpu::Error::Weight(argand_cpu::WeightError::Source(what.into()));
            LoadError::Executor { file: "a.gguf".into(), error }.to_string()
        };
        assert_eq!(told("a.gguf: tensor `x` is missing"), "a.gguf: tensor `x` is missing");
        assert_eq!(told("weight `x` is odd"), "a.gguf: weight `x` is odd");
    }
}
