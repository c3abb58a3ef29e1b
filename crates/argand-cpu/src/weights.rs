//! The resident weights of a program: packed matrices, vectors of f32, and tables that stay where they are stored.

use crate::gang::{Dealer, Gang};
use crate::program::{Call, Conv, Program, Segment, Step, WeightId};
use argand_codec::{Codec, CodecError};
use argand_graph::{Buckets, Cell, Scan, ScoreBias, layer_prefix};
use argand_kernels::packed::{PackError, PackedMatrix};
use argand_kernels::tier::Tier;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A stored weight: rows of coded values.
pub struct Stored<'a> {
    /// How the values are coded.
    pub codec: Codec,
    /// Rows; a vector has one.
    pub rows: usize,
    /// Values in a row.
    pub cols: usize,
    /// Added to each value (some files store a norm's weight minus one). Only vectors may have one.
    pub offset: f32,
    /// The bytes of a row; those of a row that lies scattered are put together.
    pub row: Box<dyn Fn(usize) -> Cow<'a, [u8]> + Sync + 'a>,
}

/// Where weights come from. Names are canonical, such as `layers.3.attn_q`.
pub trait WeightSource: Send + Sync {
    /// The weight of that name.
    ///
    /// # Errors
    /// When there is none, or it is not what the model needs.
    fn weight(&self, name: &str) -> Result<Stored<'_>, Box<dyn std::error::Error + Send + Sync>>;

    /// Says that the bytes of a weight are no longer needed.
    fn release(&self, _name: &str) {}
}

/// Why weights could not be made resident.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WeightError {
    #[error("{0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    #[error("weight `{name}`: {error}")]
    Pack { name: String, error: PackError },
    #[error("weight `{name}`: {error}")]
    Decode { name: String, error: CodecError },
    #[error("weight `{name}` is {found:?} in the file, the model needs {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
}

/// A resident weight.
#[derive(Clone)]
pub(crate) enum Resident {
    Matrix(Arc<PackedMatrix>),
    /// Matrices of equal shape, of which each row meets some.
    Stack(Arc<[PackedMatrix]>),
    Vector(Arc<[f32]>),
    /// Rows are looked up at the source, by name.
    Table(Arc<str>),
}

/// Weights of a program.
pub(crate) struct Weights {
    /// Of the main part, by weight number.
    pub main: Vec<Resident>,
    /// `[repetition][layer][weight]`
    pub layers: Vec<Vec<Vec<Resident>>>,
    /// Bytes of all matrices and vectors.
    pub bytes: usize,
}

/// What a segment does with a weight.
#[derive(Clone, Copy, PartialEq)]
enum Use<'s> {
    Product,
    Lookup,
    Vector,
    /// A matrix for each expert or slot.
    Stack,
    /// A vector for each.
    Vectors,
    /// A table of biases by bucket, which becomes one by distance.
    Distances(Buckets),
    /// The kernel of a convolution.
    Kernel(&'s Conv),
    /// Recurrent weights of a cell.
    Recurrent(&'s Scan),
}

fn uses(s: &Segment) -> Vec<Use<'_>> {
    let mut uses = vec![Use::Vector; s.weights.len()];
    let lookup = |step: &Step, uses: &mut [Use<'_>]| {
        if let Step::Embed { table, .. } = step
            && uses[*table] != Use::Product
        {
            uses[*table] = Use::Lookup;
        }
    };
    for call in &s.calls {
        match call {
            Call::Rows { steps, .. } => steps.iter().for_each(|t| lookup(t, &mut uses)),
            Call::Linear(l) => {
                l.prologue.iter().for_each(|t| lookup(t, &mut uses));
                l.parts.iter().for_each(|p| uses[p.w] = Use::Product);
            }
            Call::Grouped(g) => g.parts.iter().for_each(|p| {
                uses[p.w] = Use::Stack;
                p.bias.into_iter().for_each(|b| uses[b] = Use::Vectors);
            }),
            Call::Attend { spec, bias: Some(table), .. } => {
                if let Some(ScoreBias::Buckets(buckets)) = spec.bias {
                    uses[*table] = Use::Distances(buckets);
                }
            }
            Call::Conv(c) => uses[c.part.w] = Use::Kernel(c),
            Call::Recur(all) => all.iter().for_each(|r| uses[r.w] = Use::Recurrent(&r.scan)),
            Call::Attend { .. } | Call::Window { .. } | Call::Repeat(_) => {}
        }
    }
    uses
}

/// Called after each weight with the bytes that are resident so far.
pub type Progress<'a> = dyn FnMut(usize) + 'a;

impl Weights {
    /// Reads and packs everything that `program` needs, with all threads of `gang`.
    pub(crate) fn load(
        program: &Program,
        source: &dyn WeightSource,
        tier: Tier,
        gang: &mut Gang,
        progress: &mut Progress<'_>,
    ) -> Result<Weights, WeightError> {
        let mut loader = Loader { source, tier, gang, progress, done: HashMap::new(), seen: HashSet::new(), bytes: 0 };
        let main = loader.segment(&program.main, "")?;
        let mut layers = Vec::new();
        for l in &program.layers {
            let each = l.order.iter().enumerate();
            let loaded: Result<Vec<_>, _> =
                each.map(|(i, body)| loader.segment(&l.bodies[*body], &layer_prefix(&l.prefix, i))).collect();
            layers.push(loaded?);
        }
        Ok(Weights { main, layers, bytes: loader.bytes })
    }
}

/// A table `[buckets, heads]` as `[heads][2 * max_distance + 1]`, the middle being distance zero.
fn by_distance(buckets: &Buckets, table: &[f32]) -> Arc<[f32]> {
    let (heads, reach) = (table.len() / buckets.count.max(1), buckets.max_distance as isize);
    let row = |h: usize| (-reach..=reach).map(move |d| table[buckets.of(d) * heads + h]);
    (0..heads).flat_map(row).collect()
}

struct Loader<'a, 'p> {
    source: &'a dyn WeightSource,
    tier: Tier,
    gang: &'a mut Gang,
    progress: &'a mut Progress<'p>,
    done: HashMap<String, Resident>,
    seen: HashSet<String>,
    bytes: usize,
}

impl Loader<'_, '_> {
    fn segment(&mut self, s: &Segment, prefix: &str) -> Result<Vec<Resident>, WeightError> {
        let uses = uses(s);
        (0..s.weights.len()).map(|id| self.weight(s, prefix, id, uses[id])).collect()
    }

    fn weight(&mut self, s: &Segment, prefix: &str, id: WeightId, used: Use<'_>) -> Result<Resident, WeightError> {
        let (name, shape) = &s.weights[id];
        let name = format!("{prefix}{name}");
        if let Some(found) = self.done.get(&name) {
            return Ok(found.clone());
        }
        if let Use::Stack | Use::Vectors = used {
            let resident = self.stack(&name, shape, used)?;
            self.done.insert(name, resident.clone());
            return Ok(resident);
        }
        let stored = self.source.weight(&name).map_err(WeightError::Source)?;
        // A vector may be stored as one row or as one column.
        let vector = shape.len() == 1 && (stored.rows == 1 || stored.cols == 1);
        let found = if vector { vec![stored.rows * stored.cols] } else { vec![stored.rows, stored.cols] };
        if found != *shape {
            return Err(WeightError::Shape { name, found, expected: shape.clone() });
        }
        let resident = match used {
            Use::Vector => Resident::Vector(self.vector(&name, &stored)?),
            Use::Distances(buckets) => Resident::Vector(by_distance(&buckets, &self.vector(&name, &stored)?)),
            Use::Product => Resident::Matrix(Arc::new(self.matrix(&name, &stored)?)),
            Use::Kernel(conv) => self.kernel(&name, conv, &stored)?,
            Use::Recurrent(scan) => {
                let values = self.vector(&name, &stored)?;
                // A reset gate that acts on the state is needed before the product that makes the new one.
                let last = if scan.cell == (Cell::Gru { reset_after: false }) { scan.hidden } else { 0 };
                let first = stored.rows - last;
                let parts = [0..first, first..stored.rows].into_iter().filter(|rows| !rows.is_empty());
                let all: Vec<_> = parts.map(|rows| (rows, (0..stored.cols).collect())).collect();
                self.parts(&name, &values, stored.cols, &all)?
            }
            Use::Lookup | Use::Stack | Use::Vectors => Resident::Table(name.as_str().into()),
        };
        if used != Use::Lookup && self.seen.insert(name.clone()) {
            (self.progress)(self.bytes);
        }
        self.done.insert(name, resident.clone());
        Ok(resident)
    }

    /// The members of a stack, each read on its own: number `i` is called `name#i`.
    fn stack(&mut self, name: &str, shape: &[usize], used: Use<'_>) -> Result<Resident, WeightError> {
        let (count, expected) = shape.split_first().map_or((0, shape), |(count, rest)| (*count, rest));
        let (mut matrices, mut vectors) = (Vec::new(), Vec::new());
        let source = self.source;
        for i in 0..count {
            let name = format!("{name}#{i}");
            let stored = source.weight(&name).map_err(WeightError::Source)?;
            let found = match used {
                Use::Stack => vec![stored.rows, stored.cols],
                _ => vec![stored.rows * stored.cols],
            };
            if found != expected {
                return Err(WeightError::Shape { name, found, expected: expected.to_vec() });
            }
            match used {
                Use::Stack => matrices.push(self.matrix(&name, &stored)?),
                _ => vectors.extend_from_slice(&self.vector(&name, &stored)?),
            }
            (self.progress)(self.bytes);
        }
        Ok(match used {
            Use::Stack => Resident::Stack(matrices.into()),
            _ => Resident::Vector(vectors.into()),
        })
    }

    /// The kernel of a convolution: a matrix for each phase and group, or, for single channels, the taps one after another.
    fn kernel(&mut self, name: &str, conv: &Conv, stored: &Stored<'_>) -> Result<Resident, WeightError> {
        let values = self.vector(name, stored)?;
        let (cols, taps) = (stored.cols, conv.window.taps());
        if conv.depthwise {
            return Ok(Resident::Vector(
                (0..taps).flat_map(|t| values.iter().skip(t).step_by(taps)).copied().collect(),
            ));
        }
        let (channels, outs) = (cols / taps, stored.rows / conv.groups);
        let mut all = Vec::new();
        for phase in &conv.phases {
            let places =
                |y: &usize| phase.taps[1].iter().map(move |x| y * conv.window.kernel[1] + x).collect::<Vec<_>>();
            let taps = phase.taps[0].iter().flat_map(places);
            let columns: Vec<usize> = taps.flat_map(|tap| tap * channels..(tap + 1) * channels).collect();
            all.extend((0..conv.groups).map(|g| (g * outs..(g + 1) * outs, columns.clone())));
        }
        self.parts(name, &values, cols, &all)
    }

    /// Some rows and columns of a matrix of `cols` columns, each part packed as one of its own.
    fn parts(
        &mut self,
        name: &str,
        values: &[f32],
        cols: usize,
        parts: &[(Range<usize>, Vec<usize>)],
    ) -> Result<Resident, WeightError> {
        self.bytes -= size_of_val(values);
        let mut matrices = Vec::new();
        for (rows, columns) in parts {
            let row = |i: usize| {
                let row = &values[(rows.start + i) * cols..][..cols];
                Cow::Owned(columns.iter().flat_map(|c| row[*c].to_le_bytes()).collect())
            };
            let (rows, cols) = (rows.len(), columns.len());
            let stored = Stored { codec: Codec::F32, rows, cols, offset: 0.0, row: Box::new(row) };
            matrices.push(self.matrix(name, &stored)?);
        }
        Ok(Resident::Stack(matrices.into()))
    }

    fn vector(&mut self, name: &str, stored: &Stored<'_>) -> Result<Arc<[f32]>, WeightError> {
        let mut values = vec![0.0; stored.rows * stored.cols];
        for (i, row) in values.chunks_mut(stored.cols.max(1)).enumerate() {
            let decoded = stored.codec.decode(&(stored.row)(i), row);
            decoded.map_err(|error| WeightError::Decode { name: name.to_string(), error })?;
            row.iter_mut().for_each(|v| *v += stored.offset);
        }
        self.bytes += size_of_val(values.as_slice());
        Ok(values.into())
    }

    fn matrix(&mut self, name: &str, stored: &Stored<'_>) -> Result<PackedMatrix, WeightError> {
        let fail = |error| WeightError::Pack { name: name.to_string(), error };
        let mut packed = PackedMatrix::zeroed(self.tier, stored.codec, stored.rows, stored.cols).map_err(fail)?;
        // A part is small enough to be shared out fairly and large enough that dealing it costs nothing.
        let groups = (256 << 10) / packed.group_bytes().max(1);
        let parts: Vec<_> = packed.parts(groups.max(1)).map(Mutex::new).collect();
        let failed = Mutex::new(None);
        // What was packed is given back in between, so that a large weight is never there twice.
        for parts in parts.chunks(64) {
            let dealer = Dealer::default();
            self.gang.run(&|crew| {
                dealer.open(crew, 0);
                while let Some(i) = dealer.next(0, parts.len()) {
                    // Each part is dealt once, so no lock is ever contended.
                    let mut part = parts[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Err(error) = part.pack(&stored.row) {
                        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    }
                }
            });
            self.source.release(name);
        }
        drop(parts);
        if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(fail(error));
        }
        self.bytes += packed.bytes();
        Ok(packed)
    }
}
