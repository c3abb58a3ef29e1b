//! Flash attention over the paged key-value cache: one pass, online softmax, `f32` accumulators.
//!
//! One call serves some rows (tokens) of one sequence and all query heads that share one key-value
//! head; callers split work over sequences, heads and row tiles. Memory beyond the visible tokens
//! is never read as a number. Nothing here allocates.

use crate::dispatch;
use crate::kv::{GROUP, KvSpec, KvType, PAGE_TOKENS};
use crate::rows::{load, softcap, store};
use crate::simd::Simd;
use std::ops::Range;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod tile;

use tile::{ByteTile, FloatTile, HalfTile, Tile};

/// The largest of the balanced groups of query vectors.
const MAX_GROUP: usize = 6;
/// From this many query vectors on, widening a page to floats once beats converting it per group.
const WIDEN_FROM: usize = 3 * MAX_GROUP;
/// Scratch is used from the first cache line on.
const LINE: usize = 16;

/// What is added to scores by the distance of a token from the row.
#[derive(Clone, Copy, Debug)]
pub enum DistanceBias<'a> {
    /// `slope * (t - p)`, a slope per head, `[heads]`.
    Slopes(&'a [f32]),
    /// `[heads][2 * reach + 1]`: the middle is the row itself, and all that is farther than `reach` takes the ends.
    Table(&'a [f32]),
}

impl DistanceBias<'_> {
    /// Adds to the scores of head `h` of `heads` for tokens that lie `first` and more behind the row.
    fn add(self, h: usize, heads: usize, first: isize, scores: &mut [f32]) {
        match self {
            DistanceBias::Slopes(slopes) => {
                let (slope, first) = (slopes[h], first as f32);
                scores.iter_mut().enumerate().for_each(|(i, s)| *s += slope * (first + i as f32));
            }
            DistanceBias::Table(table) => {
                let table = &table[h * (table.len() / heads)..][..table.len() / heads];
                let reach = (table.len() / 2) as isize;
                let at = |i: usize| (first + i as isize).clamp(-reach, reach) + reach;
                scores.iter_mut().enumerate().for_each(|(i, s)| *s += table[at(i) as usize]);
            }
        }
    }
}

/// One unit of attention work: rows of one sequence against one key-value head.
///
/// The row at position `p = past + r` sees token `t < tokens` when
/// - `causal`: `t <= p`, and with a window `w`: `t > p - w` (the last `w` tokens with itself);
/// - otherwise: all, and with a window `w`: `|t - p| < w`.
///
/// Rows that see no token give zeros.
#[derive(Clone, Copy, Debug)]
pub struct AttendArgs<'a> {
    /// Layout of the cache of this layer.
    pub spec: &'a KvSpec,
    /// Start of the page pool of this layer.
    pub base: *const u8,
    /// Bytes from one page of the pool to the next.
    pub page_stride: usize,
    /// The page table of the sequence: token `t` lies in slot `t % PAGE_TOKENS` of page
    /// `pages[t / PAGE_TOKENS]`. Entries of pages that no row sees are not used.
    pub pages: &'a [u32],
    /// Which key-value head.
    pub kv_head: usize,
    /// Query heads that share the key-value head.
    pub heads: usize,
    /// Query rows: row `r`, head `h` is `[dim_k]` values at `q + r * q_stride + h * dim_k`.
    pub q: *const f32,
    /// Values from one query row to the next.
    pub q_stride: usize,
    /// Query rows.
    pub rows: usize,
    /// Position of row 0: the tokens of the sequence before it.
    pub past: usize,
    /// Tokens of the sequence in the cache.
    pub tokens: usize,
    /// Whether a row sees only itself and what came before.
    pub causal: bool,
    /// Width of the sliding window, when there is one.
    pub window: Option<usize>,
    /// Factor of the scores, before the cap.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Added to the scaled scores of the group's heads, before the cap.
    pub bias: Option<DistanceBias<'a>>,
    /// One logit per head, `[heads]`, that takes part in the softmax with a value of zero.
    pub sinks: Option<&'a [f32]>,
    /// Output rows: row `r`, head `h` is `[dim_v]` values at `out + r * out_stride + h * dim_v`.
    pub out: *mut f32,
    /// Values from one output row to the next.
    pub out_stride: usize,
}

/// Values of scratch that [`attend`] needs for up to `rows` rows of `heads` query heads.
pub fn scratch_len(spec: &KvSpec, heads: usize, rows: usize) -> usize {
    LINE + Scratch::layout(spec, rows * heads).0
}

dispatch! {
    /// Computes one unit of attention. `scratch` has at least [`scratch_len`] values, of any
    /// content.
    ///
    /// # Panics
    /// `scratch`, `pages` or `sinks` is too short, or `kv_head` is not in `spec`.
    ///
    /// # Safety
    /// - `q` is readable and `out` writable for the rows and heads described; `out` overlaps
    ///   nothing else.
    /// - For each page that a row sees, `spec.page_bytes()` initialised bytes at
    ///   `base + pages[i] * page_stride`, aligned to 2, are readable; the visible tokens of
    ///   `kv_head` were written, and nobody writes them meanwhile.
    pub unsafe fn attend(args: &AttendArgs<'_>, scratch: &mut [f32]) = attend_kernel;
}

/// Calls a kernel compiled for the length of a group and the vectors of tokens or dims that go with
/// it into registers.
macro_rules! per_group {
    ($s:ty, $len:expr, $kernel:ident $args:tt) => {
        if const { max_group::<$s>() == 1 } {
            $kernel::<$s, T, 1, 1> $args
        } else {
            match $len {
                1 => $kernel::<$s, T, 1, 4> $args,
                2 => $kernel::<$s, T, 2, 4> $args,
                3 => $kernel::<$s, T, 3, 2> $args,
                4 => $kernel::<$s, T, 4, 2> $args,
                5 => $kernel::<$s, T, 5, 2> $args,
                _ => $kernel::<$s, T, 6, 2> $args,
            }
        }
    };
}

/// Where things lie in scratch.
#[derive(Clone, Copy)]
struct Scratch {
    /// Scaled queries, per group of `m` vectors `[dim_k][m]`.
    q: *mut f32,
    /// Accumulators `[vectors][value_stride]`.
    out: *mut f32,
    /// Running maximum of the scores, `[vectors]`.
    max: *mut f32,
    /// Running sum of the exponentials, `[vectors]`.
    sum: *mut f32,
    /// Factors by which accumulators shrink on this page, `[vectors]`.
    decay: *mut f32,
    /// Scores, then probabilities, of one page: `[vectors][PAGE_TOKENS]`.
    scores: *mut f32,
    /// Probabilities times the scales of one group of value dims: `[m][PAGE_TOKENS]`.
    scaled: *mut f32,
    /// One page of keys and values as floats.
    tile: *mut f32,
}

impl Scratch {
    /// Total values and the start of each part, whole lines each.
    fn layout(spec: &KvSpec, vectors: usize) -> (usize, [usize; 8]) {
        let tile = PAGE_TOKENS * (spec.dim_k + spec.value_stride());
        let lengths = [
            vectors * spec.dim_k,
            vectors * spec.value_stride(),
            vectors,
            vectors,
            vectors,
            vectors * PAGE_TOKENS,
            MAX_GROUP * PAGE_TOKENS,
            if vectors >= WIDEN_FROM && spec.dtype != KvType::F32 { tile } else { 0 },
        ];
        let mut total = 0;
        let starts = lengths.map(|len| {
            let start = total;
            total += len.next_multiple_of(LINE);
            start
        });
        (total, starts)
    }

    /// Divides `memory`, from its first whole line on.
    fn new(spec: &KvSpec, vectors: usize, memory: &mut [f32]) -> Scratch {
        let (total, starts) = Scratch::layout(spec, vectors);
        let skipped = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let memory = &mut memory[skipped..][..total];
        let [q, out, max, sum, decay, scores, scaled, tile] = starts.map(|start| memory[start..].as_mut_ptr());
        Scratch { q, out, max, sum, decay, scores, scaled, tile }
    }
}

impl AttendArgs<'_> {
    /// Tokens that row `r` sees.
    fn visible(&self, r: usize) -> Range<usize> {
        let p = self.past + r;
        let low = self.window.map_or(0, |w| (p + 1).saturating_sub(w));
        let high = match (self.causal, self.window) {
            (true, _) => p + 1,
            (false, Some(w)) => p.saturating_add(w),
            (false, None) => self.tokens,
        };
        low..high.min(self.tokens)
    }

    /// Tokens that any of the query vectors sees; vector `v` is head `v % heads` of row
    /// `v / heads`.
    fn visible_to(&self, vectors: Range<usize>) -> Range<usize> {
        let first = self.visible(vectors.start / self.heads);
        let last = self.visible((vectors.end - 1) / self.heads);
        first.start..last.end
    }

    /// The balanced groups of at most `largest` query vectors.
    fn groups(&self, largest: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let vectors = self.rows * self.heads;
        let count = vectors.div_ceil(largest);
        (0..count).map(move |i| i * vectors / count..(i + 1) * vectors / count)
    }
}

/// The part of `tokens` that lies in page `page`, as slots.
fn slots(tokens: &Range<usize>, page: usize) -> Range<usize> {
    let start = page * PAGE_TOKENS;
    let end = tokens.end.saturating_sub(start).min(PAGE_TOKENS);
    tokens.start.saturating_sub(start).min(end)..end
}

#[inline(always)]
unsafe fn attend_kernel<S: Simd>(s: S, args: &AttendArgs<'_>, scratch: &mut [f32]) {
    let spec = args.spec;
    assert!(args.kv_head < spec.kv_heads, "head {}: {spec:?}", args.kv_head);
    assert!(args.sinks.is_none_or(|sinks| sinks.len() == args.heads), "one sink per head");
    assert!(
        args.bias.is_none_or(|bias| match bias {
            DistanceBias::Slopes(slopes) => slopes.len() == args.heads,
            DistanceBias::Table(table) => table.len() % args.heads == 0 && table.len() / args.heads % 2 == 1,
        }),
        "a slope or a row of odd length per head"
    );
    let vectors = args.rows * args.heads;
    if vectors == 0 {
        return;
    }
    let scratch = Scratch::new(spec, vectors, scratch);
    // SAFETY: the caller's contract; scratch is laid out for these vectors.
    unsafe {
        pack_queries(s, args, scratch);
        walk(s, args, scratch);
        finish(s, args, scratch);
    }
}

/// Scales and interleaves the queries of each group, and clears the accumulators.
#[inline(always)]
unsafe fn pack_queries<S: Simd>(_: S, args: &AttendArgs<'_>, scratch: Scratch) {
    let (vectors, dim) = (args.rows * args.heads, args.spec.dim_k);
    // SAFETY: the caller's contract, and the layout of scratch.
    unsafe {
        scratch.out.write_bytes(0, vectors * args.spec.value_stride());
        scratch.sum.write_bytes(0, vectors);
        std::slice::from_raw_parts_mut(scratch.max, vectors).fill(f32::NEG_INFINITY);
        for group in args.groups(max_group::<S>()) {
            let packed = scratch.q.add(group.start * dim);
            for (m, v) in group.clone().enumerate() {
                let q = args.q.add(v / args.heads * args.q_stride + v % args.heads * dim);
                for d in 0..dim {
                    packed.add(d * group.len() + m).write(*q.add(d) * args.scale);
                }
            }
        }
    }
}

/// A page as one of its forms.
#[derive(Clone, Copy)]
enum Page {
    Half(HalfTile),
    Byte(ByteTile),
    Float(FloatTile),
}

/// Evaluates the expression for whichever tile the page is.
macro_rules! with_tile {
    ($page:expr, |$tile:ident| $body:expr) => {
        match $page {
            Page::Half($tile) => $body,
            Page::Byte($tile) => $body,
            Page::Float($tile) => $body,
        }
    };
}

/// Asks for bytes of the next page, because pages are too short and scattered for the hardware to
/// see a stream.
#[inline(always)]
fn prefetch(head: Option<*const u8>, bytes: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(head) = head {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for at in bytes.step_by(64) {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(head.wrapping_add(at).cast()) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (head, bytes);
}

/// Takes the pages that any row sees into account, one after the other.
#[inline(always)]
unsafe fn walk<S: Simd>(s: S, args: &AttendArgs<'_>, scratch: Scratch) {
    let (spec, vectors) = (args.spec, args.rows * args.heads);
    let tokens = args.visible_to(0..vectors);
    if tokens.is_empty() {
        return;
    }
    let pages = tokens.start / PAGE_TOKENS..tokens.end.div_ceil(PAGE_TOKENS);
    for page in pages.clone() {
        let head_of = |page: usize| {
            let offset = args.pages[page] as usize * args.page_stride + args.kv_head * spec.head_bytes();
            args.base.wrapping_add(offset)
        };
        let next = (page + 1 < pages.end).then(|| head_of(page + 1));
        // SAFETY: the page is visible, so the caller vouches for it; scratch is laid out for the
        // vectors.
        unsafe {
            let head = head_of(page);
            let mut tile = match spec.dtype {
                KvType::F32 => Page::Float(FloatTile::of(spec, head)),
                KvType::F16 => Page::Half(HalfTile::of(spec, head)),
                KvType::Q8_0 => Page::Byte(ByteTile::of(spec, head)),
            };
            if vectors >= WIDEN_FROM && spec.dtype != KvType::F32 {
                let slots = slots(&tokens, page);
                tile = Page::Float(with_tile!(tile, |tile| { tile::widen(s, tile, spec, slots, scratch.tile) }));
            }
            prefetch(next, 0..spec.value_offset());
            with_tile!(tile, |tile| score_page(s, args, scratch, tile, page));
            soften_page(s, args, scratch, page);
            prefetch(next, spec.value_offset()..spec.head_bytes());
            with_tile!(tile, |tile| mix_page(s, args, scratch, tile, page));
        }
    }
}

impl AttendArgs<'_> {
    /// The groups of query vectors that see anything of a page, with the slots that they see.
    #[inline(always)]
    fn groups_on<S: Simd>(&self, _: S, page: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        self.groups(max_group::<S>())
            .map(move |group| (group.clone(), slots(&self.visible_to(group), page)))
            .filter(|(_, slots)| !slots.is_empty())
    }
}

/// Scores of all query vectors on one page.
#[inline(always)]
unsafe fn score_page<S: Simd, T: Tile<S>>(s: S, args: &AttendArgs<'_>, scratch: Scratch, tile: T, page: usize) {
    let dim = args.spec.dim_k;
    for (group, slots) in args.groups_on(s, page) {
        // SAFETY: the caller's contract, and the layout of scratch.
        unsafe {
            let q = scratch.q.add(group.start * dim);
            let scores = scratch.scores.add(group.start * PAGE_TOKENS);
            per_group!(S, group.len(), score(s, tile, slots, dim, q, scores));
        }
    }
}

/// Turns the scores of all query vectors on one page into exponentials.
#[inline(always)]
unsafe fn soften_page<S: Simd>(s: S, args: &AttendArgs<'_>, scratch: Scratch, page: usize) {
    for (group, slots) in args.groups_on(s, page) {
        for v in group {
            let visible = self::slots(&args.visible(v / args.heads), page);
            // SAFETY: the layout of scratch.
            unsafe {
                let row = scratch.scores.add(v * PAGE_TOKENS);
                if let Some(bias) = args.bias {
                    let first = (page * PAGE_TOKENS + visible.start) as isize - (args.past + v / args.heads) as isize;
                    let seen = std::slice::from_raw_parts_mut(row.add(visible.start), visible.len());
                    bias.add(v % args.heads, args.heads, first, seen);
                }
                let (max, sum) = (&mut *scratch.max.add(v), &mut *scratch.sum.add(v));
                let decay = online_softmax(s, row, &slots, visible, args.softcap, max, sum);
                scratch.decay.add(v).write(decay);
            }
        }
    }
}

/// Adds the weighted values of one page to the accumulators of all query vectors.
#[inline(always)]
unsafe fn mix_page<S: Simd, T: Tile<S>>(s: S, args: &AttendArgs<'_>, scratch: Scratch, tile: T, page: usize) {
    for (group, slots) in args.groups_on(s, page) {
        // SAFETY: the caller's contract, and the layout of scratch.
        unsafe { per_group!(S, group.len(), mix(s, tile, slots, args.spec, scratch, group.start)) }
    }
}

/// Query vectors that share one pass over a tile: as many as leave registers for two vectors of
/// accumulators each. Emulated lanes are no registers.
const fn max_group<S: Simd>() -> usize {
    if S::REGISTERS >= 16 { MAX_GROUP } else { 1 }
}

/// Dot products of `M` queries, packed `[dim][M]`, with the keys of `slots`, in vectors from the
/// one that holds the first slot.
///
/// # Safety
/// `q` is readable, `scores` writable at rows `PAGE_TOKENS` apart.
#[inline(always)]
unsafe fn score<S: Simd, T: Tile<S>, const M: usize, const WIDE: usize>(
    s: S,
    tile: T,
    slots: Range<usize>,
    dim: usize,
    q: *const f32,
    scores: *mut f32,
) {
    let wide = WIDE * S::LANES;
    for slot in (slots.start / wide * wide..slots.end).step_by(wide) {
        // SAFETY: the caller's contract; pages are whole steps.
        unsafe { score_strip::<S, T, M, WIDE>(s, tile, slot, dim, q, scores.add(slot)) }
    }
}

/// [`score`] for `WIDE` vectors of tokens from `slot` on, which `scores` points to.
#[inline(always)]
unsafe fn score_strip<S: Simd, T: Tile<S>, const M: usize, const WIDE: usize>(
    s: S,
    tile: T,
    slot: usize,
    dim: usize,
    q: *const f32,
    scores: *mut f32,
) {
    let mut sums = [[s.zero(); WIDE]; M];
    // SAFETY: the caller's contract.
    unsafe {
        for group in (0..dim).step_by(GROUP) {
            let mut scale = [s.zero(); WIDE];
            for (j, scale) in scale.iter_mut().enumerate() {
                *scale = tile.key_scale(s, group / GROUP, slot + j * S::LANES);
            }
            for d in group..dim.min(group + GROUP) {
                let mut keys = [s.zero(); WIDE];
                for (j, key) in keys.iter_mut().enumerate() {
                    *key = tile.key(s, d, slot + j * S::LANES, scale[j]);
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let q = s.splat(*q.add(d * M + m));
                    for (sum, &key) in sums.iter_mut().zip(&keys) {
                        *sum = s.fma(q, key, *sum);
                    }
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                s.store(scores.add(m * PAGE_TOKENS + j * S::LANES), sum);
            }
        }
    }
}

/// Turns the scores of the slots of one row into exponentials relative to the new running maximum,
/// zero outside `visible`; gives the factor by which older accumulators shrink.
///
/// # Safety
/// `row` holds `PAGE_TOKENS` values.
#[inline(always)]
unsafe fn online_softmax<S: Simd>(
    s: S,
    row: *mut f32,
    slots: &Range<usize>,
    visible: Range<usize>,
    cap: Option<f32>,
    max: &mut f32,
    sum: &mut f32,
) -> f32 {
    let start = slots.start / S::LANES * S::LANES;
    let end = slots.end.next_multiple_of(S::LANES);
    // SAFETY: `end <= PAGE_TOKENS`, which is whole vectors; `visible` lies in `slots`.
    unsafe {
        let vectors = (start..end).step_by(S::LANES).map(
            #[inline(always)]
            |at| row.add(at),
        );
        if let Some(cap) = cap {
            for p in vectors.clone() {
                s.store(p, softcap(s, s.load(p), cap));
            }
        }
        let hidden = |range: Range<usize>| {
            for at in range {
                *row.add(at) = f32::NEG_INFINITY;
            }
        };
        hidden(start..visible.start.min(end));
        hidden(visible.end.max(start)..end);
        let mut largest = s.splat(*max);
        for p in vectors.clone() {
            largest = s.max(largest, s.load(p));
        }
        let largest = s.reduce_max(largest);
        if largest == f32::NEG_INFINITY {
            for p in vectors {
                s.store(p, s.zero());
            }
            return 1.0;
        }
        let decay = if largest == *max { 1.0 } else { (*max - largest).exp() };
        let (shift, mut total) = (s.splat(largest), s.zero());
        for p in vectors {
            let e = s.exp(s.sub(s.load(p), shift));
            total = s.add(total, e);
            s.store(p, e);
        }
        *max = largest;
        *sum = *sum * decay + s.reduce_sum(total);
        decay
    }
}

/// `out = decay * out + probabilities x values` for the accumulators of `M` vectors from `first`
/// on.
#[inline(always)]
unsafe fn mix<S: Simd, T: Tile<S>, const M: usize, const WIDE: usize>(
    s: S,
    tile: T,
    slots: Range<usize>,
    spec: &KvSpec,
    scratch: Scratch,
    first: usize,
) {
    let dims = spec.value_stride();
    // Only scaled tiles need their probabilities remade per group of dims.
    let group = if T::SCALED { GROUP } else { dims };
    // SAFETY: the caller's contract, and the layout of scratch.
    unsafe {
        let (out, decay) = (scratch.out.add(first * dims), scratch.decay.add(first));
        for start in (0..dims).step_by(group) {
            let end = dims.min(start + group);
            let mut p = scratch.scores.add(first * PAGE_TOKENS);
            if T::SCALED {
                scale_probabilities::<S, T, M>(s, tile, start / GROUP, &slots, p, scratch.scaled);
                p = scratch.scaled;
            }
            let mut dim = start;
            while dim + WIDE * S::LANES <= end {
                let out = out.add(dim);
                mix_strip::<S, T, M, WIDE>(s, tile, &slots, dim, p, decay, out, dims);
                dim += WIDE * S::LANES;
            }
            while dim < end {
                let out = out.add(dim);
                mix_strip::<S, T, M, 1>(s, tile, &slots, dim, p, decay, out, dims);
                dim += S::LANES;
            }
        }
    }
}

/// Multiplies probabilities by the scales of one group of value dims.
#[inline(always)]
unsafe fn scale_probabilities<S: Simd, T: Tile<S>, const M: usize>(
    s: S,
    tile: T,
    group: usize,
    slots: &Range<usize>,
    p: *const f32,
    scaled: *mut f32,
) {
    for slot in (slots.start / S::LANES * S::LANES..slots.end).step_by(S::LANES) {
        // SAFETY: both buffers hold `M` rows of PAGE_TOKENS values.
        unsafe {
            let scale = tile.value_scale(s, group, slot);
            for at in (0..M).map(|m| m * PAGE_TOKENS + slot) {
                s.store(scaled.add(at), s.mul(s.load(p.add(at)), scale));
            }
        }
    }
}

/// [`mix`] for `WIDE` vectors of dims from `dim` on, which `out` points to.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn mix_strip<S: Simd, T: Tile<S>, const M: usize, const WIDE: usize>(
    s: S,
    tile: T,
    slots: &Range<usize>,
    dim: usize,
    p: *const f32,
    decay: *const f32,
    out: *mut f32,
    out_stride: usize,
) {
    let mut sums = [[s.zero(); WIDE]; M];
    // SAFETY: the caller's contract.
    unsafe {
        for slot in slots.clone() {
            let mut values = [s.zero(); WIDE];
            for (j, value) in values.iter_mut().enumerate() {
                *value = tile.value(s, slot, dim + j * S::LANES);
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let p = s.splat(*p.add(m * PAGE_TOKENS + slot));
                for (sum, &value) in sums.iter_mut().zip(&values) {
                    *sum = s.fma(p, value, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let decay = s.splat(*decay.add(m));
            for (j, &sum) in sums.iter().enumerate() {
                let out = out.add(m * out_stride + j * S::LANES);
                s.store(out, s.fma(s.load(out), decay, sum));
            }
        }
    }
}

/// Takes the sinks into account, divides by the sums and writes the output rows.
#[inline(always)]
unsafe fn finish<S: Simd>(s: S, args: &AttendArgs<'_>, scratch: Scratch) {
    let (dim, stride) = (args.spec.dim_v, args.spec.value_stride());
    for v in 0..args.rows * args.heads {
        let (r, h) = (v / args.heads, v % args.heads);
        // SAFETY: the caller's contract, and the layout of scratch.
        unsafe {
            let (max, sum) = (*scratch.max.add(v), *scratch.sum.add(v));
            // exp(sink - max) may overflow to infinity, which rightly leaves nothing for tokens.
            let total = sum + args.sinks.map_or(0.0, |sinks| (sinks[h] - max).exp());
            let factor = s.splat(if sum > 0.0 { 1.0 / total } else { 0.0 });
            let from = scratch.out.add(v * stride);
            let to = args.out.add(r * args.out_stride + h * dim);
            for at in (0..dim).step_by(S::LANES) {
                let n = S::LANES.min(dim - at);
                store(s, to.add(at), s.mul(load(s, from.add(at), n), factor), n);
            }
        }
    }
}
