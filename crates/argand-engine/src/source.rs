//! The weights of a checkpoint as an executor wants them: rows by canonical name, whatever the order in which files store them.
//!
//! Which tensor, which rows and which way round are told by the names of the model; nothing here knows an architecture.

use crate::LoadError;
use argand_codec::Codec;
use argand_cpu::{Stored, WeightSource};
use argand_graph::{Body, Graph, Op};
use argand_models::names::Located;
use argand_weights::{Checkpoint, TensorView};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Weights of a checkpoint by canonical name.
pub(crate) struct Source {
    checkpoint: Arc<Checkpoint>,
    located: HashMap<String, Located>,
    /// Checkpoints of modules in folders of their own, by the folder.
    modules: HashMap<String, Checkpoint>,
    /// Weights that products read, and the number format that they are rounded to.
    quantized: Option<(Codec, HashSet<String>)>,
}

/// A matrix as it is stored.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    codec: Codec,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl Source {
    pub(crate) fn new(
        checkpoint: &Arc<Checkpoint>,
        model: &argand_models::Model<'_>,
        graph: &argand_graph::Graph,
        quantize: Option<Codec>,
    ) -> Result<Self, LoadError> {
        let (mut located, mut modules) = (HashMap::new(), HashMap::new());
        for w in graph.weights() {
            let members = match w.shape.as_slice() {
                [members, _, _] => Some(*members),
                [members, _] if w.name.ends_with(".bias") => Some(*members),
                _ => None,
            };
            match members {
                None => {
                    if let Some((folder, _)) = w.name.rsplit_once('/') {
                        modules.insert(folder.to_string(), module(checkpoint, folder)?);
                    }
                    located.insert(w.name.clone(), model.locate(&w.name)?);
                }
                Some(members) => {
                    for name in (0..members).map(|i| format!("{}#{i}", w.name)) {
                        let found = model.locate(&name)?;
                        // The first that is missing ends it, however many the configuration promises.
                        if checkpoint.foreign_tensor(&found.tensor).is_none() {
                            checkpoint.require(&found.tensor)?;
                        }
                        located.insert(name, found);
                    }
                }
            }
        }
        let quantized = quantize.map(|codec| (codec, products(&model.graph)));
        Ok(Source { checkpoint: Arc::clone(checkpoint), located, modules, quantized })
    }

    /// The names under which a weight is read: its own, or those of its members.
    pub(crate) fn members(&self, name: &str) -> Vec<String> {
        if self.located.contains_key(name) {
            return vec![name.to_string()];
        }
        let members = (0..).map(|i| format!("{name}#{i}"));
        members.take_while(|name| self.located.contains_key(name)).collect()
    }

    /// The tensors that are read.
    pub(crate) fn tensors(&self) -> HashSet<String> {
        let read = self.located.values().map(|l| l.tensor.clone());
        read.flat_map(|tensor| [scales_of(&tensor), tensor]).collect()
    }

    fn find(&self, name: &str) -> Result<(&Located, TensorView<'_>), argand_weights::Error> {
        let located = &self.located[name];
        let (checkpoint, tensor) = self.place(&located.tensor);
        Ok((located, checkpoint.require(tensor)?))
    }

    /// The checkpoint that holds a tensor, and its name there. Names of tensors may have slashes, too.
    fn place<'t>(&self, tensor: &'t str) -> (&Checkpoint, &'t str) {
        let module = tensor.rsplit_once('/').and_then(|(folder, name)| Some((self.modules.get(folder)?, name)));
        module.unwrap_or((&self.checkpoint, tensor))
    }

    /// MXFP4 as Hugging Face files have it: blocks `[.., rows, groups, 16]`, two neighbours in a byte, and scales beside them.
    fn mxfp4(&self, located: &Located) -> Result<Stored<'_>, Failure> {
        let blocks = self.foreign(&located.tensor)?;
        let scales = self.foreign(&scales_of(&located.tensor))?;
        let odd = || format!("tensor `{}` is {:?}, its scales {:?}", located.tensor, blocks.0, scales.0);
        let (&[parts, all, groups, 16], Some(part)) = (blocks.0, located.part) else { return Err(odd().into()) };
        if scales.0 != [parts, all, groups] || part >= parts {
            return Err(odd().into());
        }
        let rows = rows_of(located, all)?;
        let located = located.clone();
        let row = move |i: usize| {
            let first = (part * all + located.source_row(i, rows)) * groups;
            let mut row = Vec::with_capacity(17 * groups);
            for block in first..first + groups {
                row.push(scales.1[block]);
                let levels = &blocks.1[16 * block..][..16];
                // A file of blocks has values 16 apart in a byte.
                let level = |i: usize| levels[i / 2] >> (4 * (i % 2)) & 15;
                row.extend((0..16).map(|i| level(i) | level(i + 16) << 4));
            }
            Cow::Owned(row)
        };
        Ok(Stored { codec: Codec::Mxfp4, rows, cols: 32 * groups, offset: 0.0, row: Box::new(row) })
    }

    /// All values of a tensor.
    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Failure> {
        let tensor = self.checkpoint.require(name)?;
        let mut values = vec![0.0; tensor.info.elements()];
        tensor.info.codec.decode(tensor.bytes, &mut values)?;
        Ok((tensor.info.shape.clone(), values))
    }

    /// A kernel or bias of a convolution, with the norm behind it folded in.
    fn folded(&self, name: &str, located: &Located) -> Result<Stored<'_>, Failure> {
        let (mut shape, mut values) = match self.checkpoint.tensor(&located.tensor) {
            // A convolution in front of a norm needs no bias of its own.
            None if !located.kernel && located.norm.is_some() => (vec![], vec![]),
            _ => self.values(&located.tensor)?,
        };
        if located.kernel {
            values = kernel(located, &mut shape, &values)?;
        }
        if let Some((norm, eps)) = &located.norm {
            let part = |part: &str| Ok::<_, Failure>(self.values(&format!("{norm}.{part}"))?.1);
            let [weight, bias, mean, variance] =
                [part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?];
            let outs = weight.len();
            let sizes = [bias.len(), mean.len(), variance.len(), if located.kernel { shape[0] } else { outs }];
            if sizes != [outs; 4] {
                return Err(format!("norm `{norm}` has {outs} weights, and {sizes:?} other values for them").into());
            }
            let scale = |o: usize| weight[o] / (variance[o] + eps).sqrt();
            if located.kernel {
                let cols = values.len() / outs.max(1);
                values.iter_mut().enumerate().for_each(|(i, v)| *v *= scale(i / cols));
            } else {
                let own = |o: usize| values.get(o).copied().unwrap_or(0.0);
                values = (0..outs).map(|o| bias[o] + (own(o) - mean[o]) * scale(o)).collect();
            }
        }
        let rows = if located.kernel { shape[0] } else { 1 };
        let cols = values.len().checked_div(rows).ok_or_else(|| format!("weight `{name}` holds nothing"))?;
        let row = move |i: usize| Cow::Owned(values[i * cols..][..cols].iter().flat_map(|v| v.to_le_bytes()).collect());
        Ok(Stored { codec: Codec::F32, rows, cols, offset: 0.0, row: Box::new(row) })
    }

    /// Shape and bytes of a tensor whose elements are no weights by themselves.
    fn foreign(&self, name: &str) -> Result<(&[usize], &[u8]), Failure> {
        let tensor = self.checkpoint.foreign_tensor(name).filter(|t| t.dtype == "U8");
        match (tensor, self.checkpoint.foreign_bytes(name)) {
            (Some(tensor), Some(bytes)) => Ok((&tensor.shape, bytes)),
            _ => Err(format!("tensor `{name}` is missing, or does not hold bytes").into()),
        }
    }
}

/// How the name of a tensor of MXFP4 blocks ends.
const BLOCKS: &str = "_blocks";

/// The name of the scales that belong to blocks.
fn scales_of(blocks: &str) -> String {
    blocks.replace(BLOCKS, "_scales")
}

/// Rows of a weight that takes some of `all` rows.
fn rows_of(located: &Located, all: usize) -> Result<usize, Failure> {
    if located.rows.is_some_and(|rows| rows.end() > all) {
        return Err(format!("tensor `{}` has {all} rows, too few for its parts", located.tensor).into());
    }
    Ok(located.rows.map_or(all, |rows| rows.count))
}

/// The part of a tensor that a weight is made of, with a vector as one row, or as many where its values move.
fn matrix<'a>(located: &Located, tensor: &TensorView<'a>) -> Result<(Matrix<'a>, bool), Failure> {
    let (mut shape, mut bytes) = (tensor.info.shape.as_slice(), tensor.bytes);
    if let Some(part) = located.part {
        let (parts, rest) = shape.split_first().map_or((0, shape), |(parts, rest)| (*parts, rest));
        if part >= parts {
            return Err(format!("tensor `{}` has {parts} parts; number {part} is missing", located.tensor).into());
        }
        let size = bytes.len() / parts;
        (shape, bytes) = (rest, &bytes[part * size..][..size]);
    }
    // A bias goes with the rows of its weight, so its values are rows too where those are moved or parted.
    let vector = shape.len() == 1;
    let moved = vector && (located.rows.is_some() || located.unpair.is_some());
    let cols = match shape {
        _ if moved => 1,
        [_, behind @ ..] if located.flat => behind.iter().product(),
        shape => shape.last().copied().unwrap_or(1),
    };
    let rows = shape.iter().product::<usize>() / cols.max(1);
    Ok((Matrix { codec: tensor.info.codec, rows, cols, bytes }, vector))
}

/// A kernel `[out, in, ..window]` with the channels of each place of the window side by side. The kernel of a transposed convolution
/// lies the other way round, and its window backwards. `shape` begins with the outgoing channels afterwards.
fn kernel(located: &Located, shape: &mut [usize], stored: &[f32]) -> Result<Vec<f32>, Failure> {
    let (outs, ins, taps): (usize, usize, usize) = match (&mut *shape, located.transposed) {
        ([outs, ins, window @ ..], false) => (*outs, *ins, window.iter().product()),
        ([ins, outs, window @ ..], true) => {
            std::mem::swap(ins, outs);
            (*ins, *outs, window.iter().product())
        }
        _ => return Err(format!("tensor `{}` is {shape:?}, a kernel was expected", located.tensor).into()),
    };
    let at = |i: usize| {
        let (out, tap, channel) = (i / (taps * ins), i / ins % taps, i % ins);
        match located.transposed {
            false => (out * ins + channel) * taps + tap,
            true => (channel * outs + out) * taps + taps - 1 - tap,
        }
    };
    Ok((0..stored.len()).map(|i| stored[at(i)]).collect())
}

impl WeightSource for Source {
    fn weight(&self, name: &str) -> Result<Stored<'_>, Failure> {
        let located = &self.located[name];
        if located.tensor.ends_with(BLOCKS) {
            return self.mxfp4(located);
        }
        if located.kernel || located.norm.is_some() {
            return self.folded(name, located);
        }
        let (located, tensor) = self.find(name)?;
        let (m, vector) = matrix(located, &tensor)?;
        let located = located.clone();
        let stored = if located.transposed && !vector {
            transposed(m, located)?
        } else {
            let rows = rows_of(&located, m.rows)?;
            let (size, offset) = (m.codec.row_bytes(m.cols)?, located.offset);
            let row = move |i| Cow::Borrowed(&m.bytes[located.source_row(i, rows) * size..][..size]);
            Stored { codec: m.codec, rows, cols: m.cols, offset, row: Box::new(row) }
        };
        match &self.quantized {
            Some((codec, products)) if !vector && products.contains(name) => quantized(stored, *codec),
            _ => Ok(stored),
        }
    }

    fn release(&self, name: &str) {
        let tensor = &self.located[name].tensor;
        let (checkpoint, name) = self.place(tensor);
        checkpoint.release(name);
        if tensor.ends_with(BLOCKS) {
            self.checkpoint.release(&scales_of(tensor));
        }
    }
}

/// A matrix of plain floats in another number format, where its rows are whole blocks of it; others as they are.
fn quantized(stored: Stored<'_>, codec: Codec) -> Result<Stored<'_>, Failure> {
    let Ok(size) = codec.row_bytes(stored.cols) else { return Ok(stored) };
    if stored.codec.block_len() != 1 || stored.offset != 0.0 {
        return Ok(stored);
    }
    let mut values = vec![0.0; stored.cols];
    let mut bytes = vec![0; stored.rows * size];
    for (i, row) in bytes.chunks_exact_mut(size).enumerate() {
        stored.codec.decode(&(stored.row)(i), &mut values)?;
        codec.encode(&values, row)?;
    }
    let row = move |i: usize| Cow::Owned(bytes[i * size..][..size].to_vec());
    Ok(Stored { codec, rows: stored.rows, cols: stored.cols, offset: 0.0, row: Box::new(row) })
}

/// Weights that products read and nothing is looked up in.
fn products(graph: &Graph) -> HashSet<String> {
    let (mut all, mut tables) = (HashSet::new(), HashSet::new());
    let mut read = |body: &Body, prefix: &str| {
        for (_, node) in body.iter() {
            let weight = |v: &argand_graph::Value| match &body.node(*v).op {
                Op::Weight { name } => Some(format!("{prefix}{name}")),
                _ => None,
            };
            match &node.op {
                Op::Linear => all.extend(node.ins.get(1).and_then(weight)),
                Op::Embed { .. } => tables.extend(node.ins.first().and_then(weight)),
                _ => {}
            }
        }
    };
    for part in graph.parts() {
        read(&part.body, "");
        for (prefix, bodies, order) in part.repeats() {
            order.iter().enumerate().for_each(|(i, body)| read(&bodies[*body], &argand_graph::layer_prefix(prefix, i)));
        }
    }
    all.retain(|name| !tables.contains(name));
    all
}

/// The checkpoint of a module, in a folder of its own.
fn module(checkpoint: &Checkpoint, folder: &str) -> Result<Checkpoint, argand_weights::Error> {
    let names = ["model.safetensors", "pytorch_model.bin"].map(|name| format!("{folder}/{name}"));
    let mut found = names.iter().filter_map(|name| checkpoint.sidecar_path(name).transpose());
    let path = found.next().transpose()?;
    // Without either, opening says that it is missing.
    Checkpoint::open(path.unwrap_or_else(|| crate::load::folder(checkpoint).join(&names[0])))
}

/// A weight whose rows are columns of what is stored.
fn transposed(m: Matrix<'_>, located: Located) -> Result<Stored<'_>, Failure> {
    let codec = m.codec;
    if codec.block_len() != 1 {
        return Err(format!("tensor `{}`: a matrix in {codec} cannot be read by columns", located.tensor).into());
    }
    if located.columns.is_some_and(|columns| columns.end() > m.rows) {
        return Err(format!("tensor `{}` has {} rows, too few for its parts", located.tensor, m.rows).into());
    }
    let (rows, cols) = (rows_of(&located, m.cols)?, located.columns.map_or(m.rows, |columns| columns.count));
    let (size, offset) = (codec.block_bytes(), located.offset);
    let row = move |i| {
        let column = located.source_row(i, rows);
        let stored = |k: usize| located.columns.map_or(k, |columns| columns.at(k));
        let values = (0..cols).map(|k| &m.bytes[(stored(k) * m.cols + column) * size..][..size]);
        Cow::Owned(values.collect::<Vec<_>>().concat())
    };
    Ok(Stored { codec, rows, cols, offset, row: Box::new(row) })
}
