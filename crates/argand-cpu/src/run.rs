//! Walks the calls of a program: what every thread of the gang does in a step.
//!
//! Each call ends with a barrier. Inside a call threads write disjoint parts: different rows, or different columns of the
//! same rows. When a step has very few rows, every thread prepares the input of a product for itself in its own scratch
//! space, which is cheaper than a barrier; thread 0 does it in the arena, where later calls find it.

use crate::cache::{Cache, LayerCache};
use crate::gang::{Crew, Dealer};
use crate::layout::{Layout, Rows};
use crate::plan::Plan;
use crate::program::{BufId, Call, Domain, Linear, Part, Program, Segment, Step, Tail, WeightId};
use crate::region::Region;
use crate::ropes::RopeTable;
use crate::route;
use crate::weights::{Resident, WeightSource, Weights};
use argand_graph::{AttentionSpec, BatchInput, Mask, Pool, RopeStyle, ScoreBias, layer_prefix};
use argand_kernels::attention::{self, AttendArgs, DistanceBias};
use argand_kernels::kv::kv_write;
use argand_kernels::linear::{self, ActLayout, Acts, Finish, Out};
use argand_kernels::packed::PackedMatrix;
use argand_kernels::rows;
use argand_kernels::tier::Tier;
use std::io;
use std::ops::Range;

mod conv;
mod dense;
mod grouped;
mod recur;

/// Up to this many rows every thread prepares the input of a product for itself.
const REDUNDANT: usize = 2;
/// Most bytes of weight in a piece when it is streamed.
const STREAM: usize = 256 << 10;
/// Up to this many rows a weight is streamed.
const STREAMED: usize = 8;
/// Most groups of rows in a piece when many rows meet it.
const PANEL: usize = 16;
/// Query rows of one piece of attention work.
const TILE: usize = 32;

/// Hears every named value: its name, its rows one after another, and the values in a row.
pub type Observer<'a> = dyn FnMut(&str, &[f32], usize) + Send + 'a;

/// An observer that all threads can reach.
pub(crate) type Show<'a> = dyn Fn(&str, &[f32], usize) + Sync + 'a;

/// Where a token's state goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub page: u32,
    pub token: usize,
}

/// Memory that a thread (or the whole gang) works in.
pub(crate) struct Scratch {
    arena: Region,
    acts: Region,
    up: Region,
    attend: Region,
    order: Region,
}

/// Sizes of a [`Scratch`] in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    arena: usize,
    acts: usize,
    up: usize,
    attend: usize,
    order: usize,
}

/// What a step needs beside the arena.
pub(crate) struct Needs {
    pub shared: Size,
    pub private: Size,
}

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        let [arena, acts, up] = [Region::new(1)?, Region::new(1)?, Region::new(1)?];
        Ok(Scratch { arena, acts, up, attend: Region::new(1)?, order: Region::new(1)? })
    }

    pub(crate) fn grow(&mut self, size: &Size) -> io::Result<()> {
        self.arena.grow(size.arena)?;
        self.acts.grow(size.acts)?;
        self.up.grow(size.up)?;
        self.attend.grow(size.attend)?;
        self.order.grow(size.order)
    }
}

/// Everything that the threads of a step read.
pub(crate) struct Run<'a> {
    pub program: &'a Program,
    pub weights: &'a Weights,
    pub source: &'a dyn WeightSource,
    pub cache: &'a Cache,
    /// Cache layers of each layer: of its own state and of a memory's.
    pub kept: &'a [[Option<usize>; 2]],
    pub ropes: &'a [RopeTable],
    pub layout: &'a Layout,
    pub batch: &'a crate::exec::Batch<'a>,
    /// What the step brings in by the names of the program, in their order.
    pub given: &'a [&'a [f32]],
    pub slots: &'a [Slot],
    pub rows: Rows,
    pub tier: Tier,
    pub exact: bool,
    pub arena: *mut f32,
    pub shared: &'a Scratch,
    pub scratch: &'a [Scratch],
    pub dealer: &'a Dealer,
    pub observer: Option<&'a Show<'a>>,
}

// SAFETY: threads write through `arena`, the cache and the scratch regions only as the calls say: disjoint rows or columns
// in a phase, and a barrier between phases.
unsafe impl Sync for Run<'_> {}

/// One segment in execution: the main part, or one layer.
#[derive(Clone, Copy)]
struct At<'a> {
    segment: &'a Segment,
    weights: &'a [Resident],
    offsets: &'a [usize],
    layer: usize,
    prefix: &'a str,
}

/// Where a thread finds buffers: in the arena, or, for those that it makes for itself, in its own copy of it.
#[derive(Clone, Copy)]
struct View<'a> {
    at: At<'a>,
    arena: *mut f32,
    own: *mut f32,
    made: &'a [Step],
}

impl View<'_> {
    fn len(&self, buf: BufId) -> usize {
        self.at.segment.bufs[buf].len
    }

    fn ptr(&self, buf: BufId, row: usize) -> *mut f32 {
        let base = if self.made.iter().any(|s| s.out() == Some(buf)) { self.own } else { self.arena };
        // SAFETY: the layout gives each buffer room for all rows of the step.
        unsafe { base.add(self.at.offsets[buf] + row * self.len(buf)) }
    }

    fn row(&self, buf: BufId, row: usize) -> &[f32] {
        // SAFETY: inside the buffer; no thread writes this row in this phase, or it is this thread.
        unsafe { std::slice::from_raw_parts(self.ptr(buf, row), self.len(buf)) }
    }

    /// Does what is left to be done to some columns of a row.
    fn finish(&self, tier: Tier, tail: &[Tail], row: usize, columns: Range<usize>, out: &mut [f32]) {
        for tail in tail {
            match tail {
                Tail::Add(b) => {
                    rows::binary_in_place(tier, rows::Binary::Add, out, &self.row(*b, row)[columns.clone()]);
                }
                Tail::Unary(f) => rows::unary_in_place(tier, *f, out),
            }
        }
    }

    /// What kernels of plain floats do of a bias and a tail before they store the rows from `row` on, and what is left of the tail.
    fn early<'f, 't>(&self, bias: Option<&'f [f32]>, tail: &'t [Tail], row: usize) -> (Finish<'f>, &'t [Tail]) {
        let (add, tail) = match tail {
            [Tail::Add(b), rest @ ..] => (Some(self.ptr(*b, row).cast_const()), rest),
            _ => (None, tail),
        };
        let (bound, tail) = match tail {
            [Tail::Unary(f), rest @ ..] if f.is_bound() => (Some(*f), rest),
            _ => (None, tail),
        };
        (Finish { bias, add, bound }, tail)
    }

    #[allow(clippy::mut_from_ref)]
    fn row_mut(&self, buf: BufId, row: usize) -> &mut [f32] {
        // SAFETY: inside the buffer; in this phase the row belongs to this thread, and a step's result is not its input.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(buf, row), self.len(buf)) }
    }
}

fn vector(w: &Resident) -> &[f32] {
    match w {
        Resident::Vector(v) => v,
        Resident::Matrix(_) | Resident::Stack(_) | Resident::Table(_) => {
            unreachable!("weights are loaded for their use")
        }
    }
}

fn matrix(w: &Resident) -> &PackedMatrix {
    match w {
        Resident::Matrix(m) => m,
        Resident::Vector(_) | Resident::Stack(_) | Resident::Table(_) => {
            unreachable!("weights are loaded for their use")
        }
    }
}

fn stack(w: &Resident) -> &[PackedMatrix] {
    match w {
        Resident::Stack(all) => all,
        Resident::Vector(_) | Resident::Matrix(_) | Resident::Table(_) => {
            unreachable!("weights are loaded for their use")
        }
    }
}

/// Most rows of a piece of plain floats: they stay in the second-level cache while all of the weight goes by.
const BLOCK: usize = 96;
/// Most floats of them.
const BLOCK_FLOATS: usize = 64 << 10;

/// Sizes of pieces that share out `rows` rows of `len` values and `groups` groups evenly: most rows of a piece, and most groups. There are
/// some pieces for each thread, so that a slow core takes fewer.
fn blocks(rows: usize, len: usize, groups: usize, threads: usize) -> [usize; 2] {
    let most = (BLOCK_FLOATS / len.max(1)).clamp(BLOCK / 4, BLOCK);
    let count = rows.div_ceil(most).max(1);
    // Kernels take six rows at once, and two groups.
    let size = rows.div_ceil(count).next_multiple_of(6);
    let parts = (4 * threads).div_ceil(rows.div_ceil(size).max(1));
    [size, groups.div_ceil(parts).next_multiple_of(2).max(2)]
}

/// Groups of rows that are dealt at a time, an even number because kernels take pairs. Few rows stream the weight: pieces
/// are long, because every piece begins with a cold stream, but not so long that a thread waits for another one's last.
/// Many rows reuse activations from the cache over the groups of a piece.
fn chunk(m: &PackedMatrix, rows: usize, threads: usize) -> usize {
    let even = |groups: usize| groups.next_multiple_of(2).max(2);
    if rows <= STREAMED {
        even(m.groups().div_ceil(2 * threads)).min(even(STREAM / m.group_bytes().max(1)))
    } else {
        even(m.groups() / (4 * threads)).min(PANEL)
    }
}

/// Whether a product runs on integers.
fn integer(exact: bool, w: &PackedMatrix) -> bool {
    !exact && w.codec().block_len() > 1
}

/// Terms in which integer products take the input. What is computed of few rows costs little and decides much: logits.
fn terms(l: &Linear, weights: &[Resident]) -> usize {
    let codecs = l.parts.iter().map(|p| matrix(&weights[p.w]).codec()).filter(|c| c.block_len() > 1);
    match l.domain {
        Domain::N => 1,
        Domain::R | Domain::B(_) | Domain::P => codecs.map(linear::most_terms).min().unwrap_or(1),
    }
}

/// The cache layer of a layer's own state or of a memory's.
fn kept<'c>(cache: &'c Cache, kept: &[[Option<usize>; 2]], layer: usize, memory: bool) -> &'c LayerCache {
    cache.layer(kept[layer][usize::from(memory)].expect("a layer has a place for each state of its graph"))
}

/// Scratch space for a step of these many rows.
pub(crate) fn needs(
    Plan { program: run, weights, kept: places, .. }: &Plan,
    cache: &Cache,
    layout: &Layout,
    rows: Rows,
    threads: usize,
) -> Needs {
    let mut needs = Needs { shared: Size::default(), private: Size::default() };
    let mut segment = |s: &Segment, w: &[Resident], layer: usize| {
        for call in &s.calls {
            match call {
                Call::Linear(l) => dense::needs(l, s, w, rows.of(l.domain), threads, layout, &mut needs),
                Call::Attend { spec, .. } => {
                    let spec_of = &kept(cache, places, layer, spec.kv.memory).spec;
                    let floats = attention::scratch_len(spec_of, spec.heads / spec.kv.heads, TILE.min(rows.n));
                    needs.private.attend = needs.private.attend.max(floats * size_of::<f32>());
                }
                Call::Grouped(g) => grouped::needs(g, s, w, rows.n, threads, &mut needs),
                Call::Conv(c) => conv::needs(c, s, w, rows.b, threads, &mut needs),
                Call::Recur(all) => recur::needs(all, &mut needs),
                Call::Rows { .. } | Call::Window { .. } | Call::Repeat(_) => {}
            }
        }
    };
    segment(&run.main, &weights.main, 0);
    let mut first = 0;
    for (layers, loaded) in run.layers.iter().zip(&weights.layers) {
        for (layer, body) in layers.order.iter().enumerate() {
            segment(&layers.bodies[*body], &loaded[layer], first + layer);
        }
        first += layers.order.len();
    }
    needs
}

impl Run<'_> {
    /// The whole step, for one thread.
    pub(crate) fn all(&self, crew: &Crew<'_>) {
        let mut phase = 0;
        let main = At {
            segment: &self.program.main,
            weights: &self.weights.main,
            offsets: &self.layout.main,
            layer: 0,
            prefix: "",
        };
        let mut first_layer = 0;
        for call in &main.segment.calls {
            let Call::Repeat(i) = call else {
                self.call(crew, &mut phase, main, call);
                continue;
            };
            let layers = &self.program.layers[*i];
            for (layer, body) in layers.order.iter().enumerate() {
                let prefix = if self.observer.is_some() { layer_prefix(&layers.prefix, layer) } else { String::new() };
                let at = At {
                    segment: &layers.bodies[*body],
                    weights: &self.weights.layers[*i][layer],
                    offsets: &self.layout.bodies[*i][*body][layer % 2],
                    layer: first_layer + layer,
                    prefix: &prefix,
                };
                for call in &at.segment.calls {
                    self.call(crew, &mut phase, at, call);
                }
                self.show(crew, at, || vec![at.segment.output], Some(prefix.trim_end_matches('.')));
            }
            first_layer += layers.order.len();
        }
    }

    /// One call and the barrier behind it.
    fn call(&self, crew: &Crew<'_>, phase: &mut usize, at: At<'_>, call: &Call) {
        self.dealer.open(crew, *phase);
        match call {
            Call::Rows { domain, steps } => {
                let view = self.view(at);
                for row in share(self.rows.of(*domain), crew) {
                    steps.iter().for_each(|step| self.step(view, step, row));
                }
            }
            Call::Linear(l) => self.linear(crew, phase, at, l),
            Call::Grouped(g) => self.grouped(crew, phase, at, g),
            Call::Attend { .. } => self.attend(crew, *phase, at, call),
            Call::Conv(c) => self.conv(crew, *phase, at, c),
            Call::Window { x, window, pool, out } => self.window(crew, at, (*x, *out), window, *pool),
            Call::Recur(all) => self.recur(crew, *phase, at, all),
            Call::Repeat(_) => {}
        }
        crew.barrier();
        *phase += 1;
        self.show(crew, at, || call.writes(), None);
    }

    /// Shows results to the observer, if there is one.
    fn show(&self, crew: &Crew<'_>, at: At<'_>, bufs: impl FnOnce() -> Vec<BufId>, name: Option<&str>) {
        let Some(observer) = self.observer else { return };
        if crew.id() == 0 {
            for buf in bufs() {
                let b = &at.segment.bufs[buf];
                let full = name.map(str::to_string).or(b.name.as_ref().map(|n| format!("{}{n}", at.prefix)));
                if let Some(full) = full {
                    let first = self.view(at).ptr(buf, 0);
                    // SAFETY: the buffer holds that many rows, and every thread is between two barriers.
                    let rows = unsafe { std::slice::from_raw_parts(first, b.len * self.rows.of(b.domain)) };
                    observer(&full, rows, b.len);
                }
            }
        }
        crew.barrier();
    }

    fn view<'v>(&self, at: At<'v>) -> View<'v> {
        View { at, arena: self.arena, own: self.arena, made: &[] }
    }

    /// One step of one row.
    fn step(&self, v: View<'_>, step: &Step, row: usize) {
        let tier = self.tier;
        let w = |id: WeightId| &v.at.weights[id];
        match *step {
            Step::Embed { table, index, first, out } => {
                self.embed(v.at, table, first + self.index(index, row), v.row_mut(out, row));
            }
            Step::Given { number, out } => {
                let out = v.row_mut(out, row);
                out.copy_from_slice(&self.given[number][row * out.len()..][..out.len()]);
            }
            Step::Gather { x, ref behind, out } => {
                let wanted = self.batch.logit_rows[row] as usize;
                let to = v.row_mut(out, row).chunks_mut(v.len(x)).zip(behind);
                to.for_each(|(to, behind)| to.copy_from_slice(v.row(x, wanted + behind)));
            }
            Step::Place { rows, x, out } => match (self.index(BatchInput::Placed, row), x) {
                (0, Some(x)) => v.row_mut(out, row).copy_from_slice(v.row(x, row)),
                (0, None) => v.row_mut(out, row).fill(0.0),
                (placed, _) => v.row_mut(out, row).copy_from_slice(v.row(rows, placed - 1)),
            },
            Step::Pool { x, pool, out } => self.pool(v, x, pool, row, v.row_mut(out, row)),
            Step::LayerNorm { x, w: weight, b, eps, dim, out } => {
                let (weight, bias) = (weight.map(|id| vector(w(id))), b.map(|id| vector(w(id))));
                rows::layer_norm(tier, dim, v.row(x, row), weight, bias, eps, v.row_mut(out, row));
            }
            Step::Softmax { x, dim, out } => {
                let to = v.row_mut(out, row);
                to.copy_from_slice(v.row(x, row));
                rows::softmax(tier, dim, to);
            }
            Step::Slice { x, dim, from, len, out } => {
                let groups = v.row(x, row).chunks(dim).zip(v.row_mut(out, row).chunks_mut(len));
                groups.for_each(|(x, out)| out.copy_from_slice(&x[from..from + len]));
            }
            Step::Concat { a, b, dims: [first, second], out } => {
                let ins = v.row(a, row).chunks(first).zip(v.row(b, row).chunks(second));
                for (out, (a, b)) in v.row_mut(out, row).chunks_mut(first + second).zip(ins) {
                    out[..first].copy_from_slice(a);
                    out[first..].copy_from_slice(b);
                }
            }
            Step::Route { x, correction, routing, out } => {
                let correction = correction.map(|id| vector(w(id)));
                route::route(&routing, v.row(x, row), correction, v.row_mut(out, row));
            }
            Step::Combine { y, weights, out } => {
                let out = v.row_mut(out, row);
                out.fill(0.0);
                let weights = v.row(weights, row).iter().filter(|w| **w != 0.0);
                for (y, weight) in v.row(y, row).chunks(out.len()).zip(weights) {
                    rows::add_scaled(tier, *weight, y, out);
                }
            }
            Step::RmsNorm { x, w: weight, eps, dim, out } => {
                rows::rms_norm(tier, dim, v.row(x, row), weight.map(|id| vector(w(id))), eps, v.row_mut(out, row));
            }
            Step::Unary { f, x, out } => rows::unary(tier, f, v.row(x, row), v.row_mut(out, row)),
            Step::Binary { f, a, b, out } => {
                rows::binary(tier, binary(f), v.row(a, row), v.row(b, row), v.row_mut(out, row));
            }
            Step::BinaryWeight { f, a, w: id, out } => {
                rows::binary(tier, binary(f), v.row(a, row), vector(w(id)), v.row_mut(out, row));
            }
            Step::BinaryEach { f, a, b, dim, out } => {
                let groups = v.row(a, row).chunks(dim).zip(v.row_mut(out, row).chunks_mut(dim));
                for ((a, out), b) in groups.zip(v.row(b, row)) {
                    rows::binary(tier, binary(f), a, std::slice::from_ref(b), out);
                }
            }
            Step::Mean { x, dim, out } => {
                for (x, out) in v.row(x, row).chunks(dim).zip(v.row_mut(out, row)) {
                    *out = x.iter().sum::<f32>() / dim as f32;
                }
            }
            Step::Rope { x, rope, style, dim, out } => {
                let (cos, sin) = self.ropes[rope].at(row, self.batch.positions[row]);
                let to = v.row_mut(out, row);
                to.copy_from_slice(v.row(x, row));
                rows::rope(tier, rope_style(style), dim, to, cos, sin);
            }
            Step::Write { k, v: values, memory } => {
                self.write(self.kept(v.at.layer, memory), row, v.row(k, row), v.row(values, row));
            }
        }
    }

    /// What the step says of a row.
    fn index(&self, index: BatchInput, row: usize) -> usize {
        let values = match index {
            BatchInput::Tokens => self.batch.tokens,
            BatchInput::Positions => self.batch.positions,
            BatchInput::TokenTypes => self.batch.types,
            BatchInput::LogitRows => self.batch.logit_rows,
            BatchInput::Placed => self.batch.placed,
            BatchInput::Coordinates => &[],
        };
        values.get(row).map_or(0, |v| *v as usize)
    }

    /// One row for sequence `seq`.
    fn pool(&self, v: View<'_>, x: BufId, pool: Pool, seq: usize, out: &mut [f32]) {
        let rows = self.rows_of(v.at.segment.bufs[x].domain, seq);
        match pool {
            Pool::First => out.copy_from_slice(v.row(x, rows.start)),
            Pool::Last => out.copy_from_slice(v.row(x, rows.end - 1)),
            Pool::Max => {
                out.fill(f32::NEG_INFINITY);
                rows.for_each(|row| out.iter_mut().zip(v.row(x, row)).for_each(|(o, x)| *o = o.max(*x)));
            }
            Pool::Mean => {
                out.fill(0.0);
                let share = (rows.len() as f32).recip();
                rows.for_each(|row| rows::binary_in_place(self.tier, rows::Binary::Add, out, v.row(x, row)));
                rows::unary_in_place(self.tier, rows::Unary::Scale(share), out);
            }
        }
    }

    /// The rows of sequence or picture `seq`.
    fn rows_of(&self, domain: Domain, seq: usize) -> Range<usize> {
        match domain {
            Domain::B(each) => seq * each..(seq + 1) * each,
            Domain::N | Domain::R | Domain::P => self.batch.seqs[seq].rows.clone(),
        }
    }

    fn embed(&self, at: At<'_>, table: WeightId, index: usize, out: &mut [f32]) {
        match &at.weights[table] {
            Resident::Matrix(m) => linear::decode_row(self.tier, m, index, out),
            Resident::Table(name) => {
                let stored = self.source.weight(name).expect("the table was there when the model was loaded");
                stored.codec.decode(&(stored.row)(index), out).expect("rows were checked when the model was loaded");
            }
            Resident::Vector(_) | Resident::Stack(_) => unreachable!("weights are loaded for their use"),
        }
    }

    /// Where a layer keeps its own state or a memory's.
    fn kept(&self, layer: usize, memory: bool) -> &LayerCache {
        kept(self.cache, self.kept, layer, memory)
    }

    fn write(&self, layer: &LayerCache, row: usize, k: &[f32], v: &[f32]) {
        let Slot { page, token } = self.slots[row];
        let heads = k.chunks(layer.spec.dim_k).zip(v.chunks(layer.spec.dim_v));
        for (head, (k, v)) in heads.enumerate() {
            // SAFETY: the page lies in the pool, and only the thread of this row writes its slot, in a phase that reads
            // nothing of the cache.
            unsafe { kv_write(self.tier, &layer.spec, layer.page(page), token, head, k, v) };
        }
    }

    /// Attention: pieces of (sequence, tile of rows, key head, query heads that share it).
    fn attend(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, call: &Call) {
        let Call::Attend { q, out, spec, sinks, bias, slopes } = call else { return };
        let of_heads = |w: &Option<WeightId>| w.map(|w| vector(&at.weights[w]));
        let (sinks, table) = (of_heads(sinks), of_heads(bias));
        let view = self.view(at);
        let layer = self.kept(at.layer, spec.kv.memory);
        let group = spec.heads / spec.kv.heads;
        let tiles = |rows: usize| rows.div_ceil(TILE);
        let pieces: usize = self.batch.seqs.iter().map(|s| tiles(s.rows.len()) * spec.kv.heads).sum();
        let splits = splits(pieces, crew.threads(), group);
        let heads = group / splits;
        let (total, scratch) = (pieces * splits, &self.scratch[crew.id()].attend);
        while let Some(mut i) = self.dealer.next(phase, total) {
            for (number, seq) in self.batch.seqs.iter().enumerate() {
                let count = tiles(seq.rows.len()) * spec.kv.heads * splits;
                if i >= count {
                    i -= count;
                    continue;
                }
                let (tile, part) = (i / (spec.kv.heads * splits), i % (spec.kv.heads * splits));
                let (kv_head, first_head) = (part / splits, part * heads);
                let first = tile * TILE;
                let rows = TILE.min(seq.rows.len() - first);
                let row = seq.rows.start + first;
                // SAFETY: offsets of a head inside a row of the buffer.
                let (q, out) = unsafe {
                    (
                        view.ptr(*q, row).add(first_head * spec.kv.dim_k),
                        view.ptr(*out, row).add(first_head * spec.kv.dim_v),
                    )
                };
                let (pages, past, tokens) = match self.batch.memories.get(number).filter(|_| spec.kv.memory) {
                    Some(memory) => (memory.pages, 0, memory.tokens),
                    None => (seq.pages, seq.past + first, seq.past + seq.rows.len()),
                };
                let args = AttendArgs {
                    spec: &layer.spec,
                    base: layer.base(),
                    page_stride: layer.spec.page_bytes(),
                    pages,
                    kv_head,
                    heads,
                    q,
                    q_stride: spec.heads * spec.kv.dim_k,
                    rows,
                    past,
                    tokens,
                    causal: spec.mask == Mask::Causal,
                    window: spec.kv.window,
                    scale: spec.scale.0,
                    softcap: spec.softcap.map(|c| c.0),
                    bias: bias_of(spec, slopes, table, first_head..first_head + heads),
                    sinks: sinks.map(|s| &s[first_head..][..heads]),
                    out,
                    out_stride: spec.heads * spec.kv.dim_v,
                };
                // SAFETY: the cache was written in an earlier phase; rows and heads of a piece belong to one thread.
                unsafe { attention::attend(self.tier, &args, scratch_floats(scratch)) };
                break;
            }
        }
    }
}

/// Into how many equal parts the query heads of a key head are dealt: as few as give every thread a piece.
fn splits(pieces: usize, threads: usize, group: usize) -> usize {
    let enough = |parts: &usize| group.is_multiple_of(*parts) && pieces * parts >= threads;
    (1..=group).find(enough).unwrap_or(group)
}

/// What is added to the scores of some heads.
fn bias_of<'a>(
    spec: &AttentionSpec,
    slopes: &'a [f32],
    table: Option<&'a [f32]>,
    heads: Range<usize>,
) -> Option<DistanceBias<'a>> {
    match (&spec.bias, table) {
        (Some(ScoreBias::Slopes(_)), _) => Some(DistanceBias::Slopes(&slopes[heads])),
        (Some(ScoreBias::Buckets(_)), Some(table)) => {
            let len = table.len() / spec.heads;
            Some(DistanceBias::Table(&table[heads.start * len..heads.end * len]))
        }
        _ => None,
    }
}

#[allow(clippy::mut_from_ref)]
fn scratch_floats(region: &Region) -> &mut [f32] {
    // SAFETY: the region belongs to the calling thread and is page-aligned.
    unsafe { std::slice::from_raw_parts_mut(region.as_ptr().cast(), region.len() / size_of::<f32>()) }
}

/// The rows of this thread: even shares in order.
fn share(rows: usize, crew: &Crew<'_>) -> Range<usize> {
    let at = |id: usize| rows * id / crew.threads();
    at(crew.id())..at(crew.id() + 1)
}

fn rope_style(style: RopeStyle) -> rows::RopeStyle {
    match style {
        RopeStyle::Half => rows::RopeStyle::Half,
        RopeStyle::Pairs => rows::RopeStyle::Interleaved,
    }
}

fn binary(f: argand_graph::Binary) -> rows::Binary {
    match f {
        argand_graph::Binary::Add => rows::Binary::Add,
        argand_graph::Binary::Mul => rows::Binary::Mul,
    }
}
