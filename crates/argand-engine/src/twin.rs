//! The GGUF file that says the same as a checkpoint of Hugging Face's libraries.
//!
//! What the page read of `config.json` becomes metadata, and its table of names tells where each weight goes and in which order of
//! rows. The page then reads the plan of the file as it would read the file, and has to come to the same graph: what GGUF has no
//! word for is an error, never a loss. That shows what this reader makes of the file; what others do is known by trying them.
//! Nothing here knows an architecture.

use crate::LoadError;
use crate::load::{folder, name};
use crate::source::Source;
use argand_codec::{Codec, CodecError};
use argand_cpu::{Stored, WeightSource};
use argand_graph::{Body, Graph, NormKind, Op, RopeFreqs};
use argand_models::facts::Plan;
use argand_models::names::Located;
use argand_weights::gguf::TensorSpec;
use argand_weights::{Checkpoint, Metadata, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Families that GGUF files call by the name of another one, whose graph is the same.
const ALSO: &str = "llama";

/// Factors of the frequencies of Llama 3.
const LLAMA_3: &str = "rope_freqs.weight";

/// Bytes that are handed on at a time.
const PIECE: usize = 4 << 20;

/// Takes the bytes of a tensor by its name, piece by piece.
pub type Write<'w, E> = &'w mut dyn FnMut(&str, &[u8]) -> Result<(), E>;

/// Why a checkpoint has no twin.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TwinError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{folder}: {error}")]
    Text { folder: String, error: argand_text::Error },
    #[error(
        "{file}: {page} has no name of its own in GGUF, and read as {ALSO} it would be another model; write .safetensors instead"
    )]
    NoArchitecture { file: String, page: &'static str, difference: String },
    #[error("{file}: GGUF has no name for some weights of {page}; write .safetensors instead")]
    NoName { file: String, page: &'static str, weight: String },
    #[error("{file}: GGUF has no words for all of this configuration of {page}; write .safetensors instead")]
    Unsaid { file: String, page: &'static str, difference: String },
    #[error("{file}: {page} is an encoder-decoder, of which no GGUF file is written; write .safetensors instead")]
    TwoParts { file: String, page: &'static str },
    #[error("{file}: weight `{weight}` is {found:?}, the configuration says {expected:?}")]
    Shape { file: String, weight: String, found: [usize; 2], expected: Vec<usize> },
    #[error("{file}: tensor `{tensor}` would be {found}; the checkpoint does not hold all of it")]
    Hole { file: String, tensor: String, found: String },
    #[error("weight `{weight}`: {reason}")]
    Weight { weight: String, reason: String },
}

impl From<argand_models::Error> for TwinError {
    fn from(error: argand_models::Error) -> Self {
        TwinError::Load(error.into())
    }
}

/// A GGUF file that can be written.
pub struct Twin {
    metadata: Metadata,
    tensors: Vec<Tensor>,
    source: Source,
    left_out: Vec<String>,
}

/// A tensor of the file and what fills it.
struct Tensor {
    spec: TensorSpec,
    filling: Filling,
}

enum Filling {
    Values(Vec<f32>),
    /// Weights, and for each row of the tensor a weight's number and its row.
    Rows(Vec<Weight>, Vec<(u32, u32)>),
}

/// A weight, which is all or some of a tensor.
struct Weight {
    name: String,
    to: Located,
    vector: bool,
    codec: Codec,
    rows: usize,
    cols: usize,
}

impl Twin {
    /// Plans the file.
    ///
    /// # Errors
    /// A checkpoint that does not load, or has something that GGUF has no word for.
    pub fn of(checkpoint: &Arc<Checkpoint>) -> Result<Twin, TwinError> {
        let model = argand_models::Model::open(checkpoint, None)?;
        let context = model.context()?;
        let file = checkpoint.path().display().to_string();
        let (own, page) = (model.page.gguf, model.page.name);
        if model.graph.encoder.is_some() {
            return Err(TwinError::TwoParts { file, page });
        }
        let architecture = own.first().copied().unwrap_or(ALSO);
        let (metadata, mut tensors) = model.facts().told(architecture);
        // Other readers look for these in files of this family alone.
        tensors.retain(|name, _| name != LLAMA_3 || architecture == ALSO);
        let metadata = complete(metadata, architecture, &model.graph, context);
        let source = Source::new(checkpoint, &model, &model.graph, None)?;
        // Some scalings of positions depend on the length that is run.
        let (short, long) = (Some(1), Some(2 * context));
        let [shorter, longer] = [short, long].map(|length| argand_models::Model::open(checkpoint, length));
        let (shorter, longer) = (shorter?.graph, longer?.graph);
        let graphs = [(&model.graph, None), (&shorter, short), (&longer, long)];
        match plan(&file, page, graphs, metadata, tensors, source) {
            Ok(twin) => twin.dressed(checkpoint, &model),
            Err(TwinError::Unsaid { difference, .. }) if own.is_empty() => {
                Err(TwinError::NoArchitecture { file, page, difference })
            }
            Err(TwinError::NoName { weight, .. }) if own.is_empty() => {
                Err(TwinError::NoArchitecture { file, page, difference: format!("weight `{weight}`") })
            }
            Err(error) => Err(error),
        }
    }

    /// With its name, its vocabulary and its chat template.
    fn dressed(mut self, checkpoint: &Checkpoint, model: &argand_models::Model<'_>) -> Result<Twin, TwinError> {
        let own = name(checkpoint);
        let own = if checkpoint.path().is_dir() { own } else { folder_name(checkpoint).unwrap_or(own) };
        self.metadata.set("general.name", Value::Str(own));
        let vocab = model.facts().rows("token_embd").unwrap_or(0);
        let folder = folder(checkpoint);
        let unread = |error| TwinError::Text { folder: folder.display().to_string(), error };
        for (key, value) in argand_text::gguf_vocabulary(folder, vocab).map_err(unread)?.iter() {
            self.metadata.set(key, value.clone());
        }
        let used = self.source.tensors();
        let all = checkpoint.tensors().map(|t| &t.name).chain(checkpoint.foreign_tensors().iter().map(|t| &t.name));
        self.left_out = all.filter(|name| !used.contains(name.as_str())).cloned().collect();
        Ok(self)
    }

    /// What the file says beside its tensors.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether the checkpoint brought a vocabulary that GGUF can hold.
    pub fn has_vocabulary(&self) -> bool {
        self.metadata.get("tokenizer.ggml.tokens").is_some()
    }

    /// The tensors in the order of the file.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(|t| t.spec.clone()).collect()
    }

    /// Tensors of the checkpoint that the model has no use for.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Hands on the bytes of all tensors in order, piece by piece, with the name of each.
    ///
    /// # Errors
    /// Those of `write`; a weight that cannot be decoded.
    pub fn write<E: From<TwinError>>(&self, write: Write<'_, E>) -> Result<(), E> {
        for tensor in &self.tensors {
            let name = &tensor.spec.name;
            match &tensor.filling {
                Filling::Values(values) => write(name, &bytes(values))?,
                Filling::Rows(weights, order) => self.rows(tensor, weights, order, write)?,
            }
        }
        Ok(())
    }

    fn rows<E: From<TwinError>>(
        &self,
        tensor: &Tensor,
        weights: &[Weight],
        order: &[(u32, u32)],
        write: Write<'_, E>,
    ) -> Result<(), E> {
        let stored: Result<Vec<_>, TwinError> = weights.iter().map(|w| open(&self.source, w)).collect();
        let stored = stored?;
        let mut piece = Vec::new();
        for (number, row) in order {
            let weight = *number as usize;
            piece.extend_from_slice(&stored[weight].row(*row as usize, tensor.spec.codec, &weights[weight])?);
            if piece.len() >= PIECE {
                write(&tensor.spec.name, &piece)?;
                piece.clear();
            }
        }
        if !piece.is_empty() {
            write(&tensor.spec.name, &piece)?;
        }
        weights.iter().for_each(|w| self.source.release(&w.name));
        Ok(())
    }
}

/// With what every reader wants to know, whether or not the page had to ask.
fn complete(told: Metadata, architecture: &str, graph: &Graph, context: usize) -> Metadata {
    let key = |name: &str| format!("{architecture}.{name}");
    // The two kinds of norms have a key each for their epsilon.
    let bodies = graph.repeats().flat_map(|(_, bodies, _)| bodies.iter().map(AsRef::as_ref));
    let mut nodes = bodies.chain([&graph.body]).flat_map(|body| &body.nodes);
    let layer_norms = nodes.any(|node| matches!(node.op, Op::Norm { kind: NormKind::Layer, .. }));
    let other = key(if layer_norms { "attention.layer_norm_rms_epsilon" } else { "attention.layer_norm_epsilon" });
    let mut metadata = Metadata::default();
    // Readers of this family know no window.
    let window = format!("{ALSO}.attention.sliding_window");
    for (key, value) in told.iter().filter(|(key, _)| *key != other && *key != window) {
        metadata.set(key, value.clone());
    }
    metadata.set(key("context_length"), Value::U32(context as u32));
    // A head's values are as wide as its keys, unless something else was read.
    if let Some(width) = told.get(&key("attention.key_length"))
        && told.get(&key("attention.value_length")).is_none()
    {
        metadata.set(key("attention.value_length"), width.clone());
    }
    metadata
}

/// Places every weight, and holds the page's readings of the plan against the graphs for as long sequences.
fn plan(
    file: &str,
    page: &'static str,
    graphs: [(&Graph, Option<usize>); 3],
    metadata: Metadata,
    told: Plan,
    source: Source,
) -> Result<Twin, TwinError> {
    let mut tensors = place(file, page, graphs[0].0, &metadata, &told, &source)?;
    let mut planned: Plan = tensors.iter().map(|t| (t.spec.name.clone(), (t.spec.shape.clone(), Vec::new()))).collect();
    for (name, (shape, values)) in told {
        let spec = TensorSpec { name: name.clone(), shape: shape.clone(), codec: Codec::F32 };
        tensors.push(Tensor { spec, filling: Filling::Values(values.clone()) });
        planned.insert(name, (shape, values));
    }
    let unsaid = |difference: String| TwinError::Unsaid { file: file.to_string(), page, difference };
    for (graph, context) in graphs {
        let read = argand_models::Model::of_plan(&metadata, &planned, context).map_err(|e| unsaid(e.to_string()))?;
        if let Some(difference) = difference(&graph.body, &read.graph.body) {
            return Err(unsaid(difference));
        }
    }
    Ok(Twin { metadata, tensors, source, left_out: Vec::new() })
}

/// The tensors of the file with the weights that fill them.
fn place(
    file: &str,
    page: &'static str,
    graph: &Graph,
    metadata: &Metadata,
    told: &Plan,
    source: &Source,
) -> Result<Vec<Tensor>, TwinError> {
    let unsaid =
        |e: argand_models::Error| TwinError::Unsaid { file: file.to_string(), page, difference: e.to_string() };
    let no_name = |weight: &str| TwinError::NoName { file: file.to_string(), page, weight: weight.to_string() };
    let target = argand_models::Model::of_plan(metadata, told, None).map_err(unsaid)?;
    let mut names: Vec<String> = Vec::new();
    let mut filled: HashMap<String, Vec<Weight>> = HashMap::new();
    for weight in graph.weights() {
        for name in source.members(&weight.name) {
            let to = target.locate(&name).map_err(|_| no_name(&name))?;
            if to.tensor.starts_with('.') {
                return Err(no_name(&name));
            }
            let stored = source.weight(&name).map_err(|e| fail(&name, e))?;
            let expected = &weight.shape[usize::from(name.contains('#'))..];
            let (vector, size) = (expected.len() == 1, stored.rows * stored.cols);
            if expected != [stored.rows, stored.cols] && !(vector && expected == [size]) {
                let (file, found) = (file.to_string(), [stored.rows, stored.cols]);
                return Err(TwinError::Shape { file, weight: name, found, expected: expected.to_vec() });
            }
            let (rows, cols) = if vector { (size, 1) } else { (stored.rows, stored.cols) };
            let weights = filled.entry(to.tensor.clone()).or_insert_with(|| {
                names.push(to.tensor.clone());
                Vec::new()
            });
            // Other readers expect vectors in full.
            let codec = if vector || stored.offset != 0.0 { Codec::F32 } else { stored.codec };
            weights.push(Weight { name, to, vector, codec, rows, cols });
        }
    }
    names.into_iter().map(|name| tensor(file, &name, filled.remove(&name).unwrap_or_default())).collect()
}

fn tensor(file: &str, name: &str, weights: Vec<Weight>) -> Result<Tensor, TwinError> {
    let hole = |found: String| TwinError::Hole { file: file.to_string(), tensor: name.to_string(), found };
    let at = |w: &Weight, i: usize| (w.to.part.unwrap_or(0), w.to.source_row(i, w.rows));
    let places = || weights.iter().zip(0u32..).flat_map(|(w, n)| (0..w.rows).map(move |i| (at(w, i), n, i as u32)));
    let parts = places().map(|((part, _), ..)| part + 1).max().unwrap_or(0);
    let rows = places().map(|((_, row), ..)| row + 1).max().unwrap_or(0);
    let cols = weights.first().map_or(0, |w| w.cols);
    // Every row comes from a weight, so that there are as many.
    let total: usize = weights.iter().map(|w| w.rows).sum();
    if parts.checked_mul(rows) != Some(total) || weights.iter().any(|w| w.cols != cols) {
        return Err(hole(format!("{parts} x {rows} x {cols}, and there are {total} rows for it")));
    }
    let mut order = vec![None; total];
    for ((part, row), number, i) in places() {
        order[part * rows + row] = Some((number, i));
    }
    let order: Option<Vec<_>> = order.into_iter().collect();
    let order = order.ok_or_else(|| hole("filled twice in places".to_string()))?;
    let stacked = weights.iter().any(|w| w.to.part.is_some());
    let vector = weights.iter().all(|w| w.vector);
    let sizes = [(stacked, parts), (true, rows), (!vector, cols)];
    let shape = sizes.into_iter().filter_map(|(there, size)| there.then_some(size)).collect();
    let first = weights.first().map_or(Codec::F32, |w| w.codec);
    let codec = if weights.iter().all(|w| w.codec == first) { first } else { Codec::F32 };
    Ok(Tensor { spec: TensorSpec { name: name.to_string(), shape, codec }, filling: Filling::Rows(weights, order) })
}

/// A weight while its rows are written.
enum Open<'a> {
    Vector(Vec<f32>),
    Matrix(Stored<'a>),
}

fn open<'a>(source: &'a Source, weight: &Weight) -> Result<Open<'a>, TwinError> {
    let stored = source.weight(&weight.name).map_err(|e| fail(&weight.name, e))?;
    if !weight.vector {
        return Ok(Open::Matrix(stored));
    }
    let mut values = vec![0.0; weight.rows];
    for (i, row) in values.chunks_mut(stored.cols.max(1)).enumerate() {
        stored.codec.decode(&(stored.row)(i), row).map_err(|e| fail(&weight.name, e))?;
        row.iter_mut().for_each(|v| *v += stored.offset);
    }
    Ok(Open::Vector(values))
}

impl Open<'_> {
    fn row(&self, i: usize, codec: Codec, weight: &Weight) -> Result<Vec<u8>, TwinError> {
        let stored = match self {
            Open::Vector(values) => return Ok(values[i].to_le_bytes().to_vec()),
            Open::Matrix(stored) => stored,
        };
        let row = (stored.row)(i);
        if stored.codec == codec && stored.offset == 0.0 {
            return Ok(row.into_owned());
        }
        let mut values = vec![0.0; stored.cols];
        stored.codec.decode(&row, &mut values).map_err(|e: CodecError| fail(&weight.name, e))?;
        values.iter_mut().for_each(|v| *v += stored.offset);
        Ok(bytes(&values))
    }
}

fn fail(weight: &str, reason: impl ToString) -> TwinError {
    TwinError::Weight { weight: weight.to_string(), reason: reason.to_string() }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn folder_name(checkpoint: &Checkpoint) -> Option<String> {
    let real = std::fs::canonicalize(folder(checkpoint)).ok()?;
    Some(real.file_name()?.to_string_lossy().into_owned())
}

/// The first thing in which two bodies differ, but for the last digits of angles, which GGUF files keep in f32.
fn difference(one: &Body, other: &Body) -> Option<String> {
    if one.nodes.len() != other.nodes.len() {
        return Some(format!("{} ops instead of {}", other.nodes.len(), one.nodes.len()));
    }
    one.nodes.iter().zip(&other.nodes).find_map(|(a, b)| match (&a.op, &b.op) {
        _ if a.ins != b.ins || a.ty != b.ty => Some(format!("{} of {:?} instead of {:?}", short(&b.op), b.ty, a.ty)),
        (Op::Repeat { bodies, order, .. }, Op::Repeat { bodies: others, order: other_order, .. })
            if order == other_order && bodies.len() == others.len() =>
        {
            bodies.iter().zip(others).find_map(|(a, b)| difference(a, b))
        }
        (Op::Rope(a), Op::Rope(b)) if a.style == b.style && a.sections == b.sections && alike(&a.freqs, &b.freqs) => {
            None
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{} instead of {}", short(b), short(a))),
    })
}

fn alike(a: &RopeFreqs, b: &RopeFreqs) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 4.0 * f64::from(f32::EPSILON) * a.abs();
    let turns = a.inv_freq.iter().zip(&b.inv_freq).all(|(a, b)| near(*a, *b));
    a.inv_freq.len() == b.inv_freq.len() && turns && near(a.magnitude.into(), b.magnitude.into())
}

fn short(op: &Op) -> String {
    let full = format!("{op:?}");
    full.chars().take(120).collect()
}
