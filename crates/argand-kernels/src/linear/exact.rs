//! Products in `f32`: the exact mode of every codec, and the only mode of plain floats.

use super::output::{Output, Pair, V, for_tiles};
use super::unpack::{Group, values};
use crate::packed::PackedMatrix;
use crate::packed::layout::{self, BLOCK};
use crate::simd::Simd;
use crate::simd_int::SimdInt;
use crate::tier::Tier;
use argand_codec::Codec;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Columns of a panel of decoded values: two groups of them fit in the first-level cache with 8 lanes.
const PANEL_COLS: usize = 256;
/// Most activation rows for which plain floats are not decoded to a panel first.
const STREAM_ROWS: usize = 6;

/// Decoded values of two groups, `[group][column][lane]`.
#[repr(C, align(64))]
struct Panel(MaybeUninit<[f32; PANEL_COLS * V * 16]>);

/// Rows of `f32` activations.
#[derive(Clone, Copy)]
struct Rows {
    data: *const f32,
    stride: usize,
}

/// `out[t * out_stride + row] = sum over k of w[row][k] * x[t * x_stride + k]` in `f32` for the rows of `groups` and
/// `n_rows` activation rows.
///
/// # Panics
/// `w` was packed for another number of lanes.
///
/// # Safety
/// `n_rows` rows of `w.cols()` values are readable at `x`, those elements of `out` are writable and nobody
/// else uses them meanwhile.
#[allow(clippy::too_many_arguments)]
pub unsafe fn linear_f32(
    tier: Tier,
    w: &PackedMatrix,
    groups: Range<usize>,
    x: *const f32,
    x_stride: usize,
    n_rows: usize,
    out: *mut f32,
    out_stride: usize,
) {
    assert_eq!(w.lanes(), tier.lanes(), "weight packed for another tier");
    let x = Rows { data: x, stride: x_stride };
    let plain = direct_kernel(w.codec()).filter(|_| n_rows <= STREAM_ROWS);
    let size = if plain.is_some() { w.cols() } else { PANEL_COLS };
    let mut panel = Panel(MaybeUninit::uninit());
    let data = panel.0.as_mut_ptr().cast::<f32>();
    for start in (0..w.cols().max(1)).step_by(size.max(1)) {
        let cols = start..w.cols().min(start + size);
        let out = Output { data: out, stride: out_stride, resume: start > 0 };
        let x = Rows { data: x.data.wrapping_add(start), ..x };
        for first in groups.clone().step_by(V) {
            let pair = Pair::of(w, first, groups.end);
            // SAFETY: columns lie in the groups and fit the panel; else the caller's contract.
            unsafe {
                match plain {
                    Some(kernel) => kernel(tier, pair, cols.len(), x, n_rows, out),
                    None => {
                        let second = data.add(cols.len() * w.lanes());
                        decode_columns(tier, w.codec(), pair.groups[0], cols.clone(), data);
                        decode_columns(tier, w.codec(), pair.groups[1], cols.clone(), second);
                        let groups =
                            [data, second].map(|values| Group { scales: values.cast(), levels: values.cast() });
                        tiles_f32(tier, Pair { groups, ..pair }, cols.len(), x, n_rows, out);
                    }
                }
            }
        }
    }
}

/// Decodes row `row` of a weight, bit for bit as the codec does.
///
/// # Panics
/// There is no such row, `out` has not `w.cols()` values, or `w` was packed for another number of lanes.
pub fn decode_row(tier: Tier, w: &PackedMatrix, row: usize, out: &mut [f32]) {
    assert!(row < w.rows(), "row {row} of a weight with {} rows", w.rows());
    assert_eq!(out.len(), w.cols(), "columns of the weight");
    assert_eq!(w.lanes(), tier.lanes(), "weight packed for another tier");
    let mut panel = Panel(MaybeUninit::uninit());
    let data = panel.0.as_mut_ptr().cast::<f32>();
    let (group, lane) = (row / w.lanes(), row % w.lanes());
    let group = Group::of(w.group(group));
    for (i, out) in out.chunks_mut(PANEL_COLS).enumerate() {
        let cols = i * PANEL_COLS..i * PANEL_COLS + out.len();
        // SAFETY: the columns are the group's and fit the panel, all of which is then initialised.
        unsafe {
            decode_columns(tier, w.codec(), group, cols, data);
            for (k, out) in out.iter_mut().enumerate() {
                *out = data.add(k * w.lanes() + lane).read();
            }
        }
    }
}

/// A plain float as it lies in memory.
trait Plain: Copy + 'static {
    /// Loads one value per lane.
    ///
    /// # Safety
    /// `p` is readable for `LANES` values.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F;
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($bits:ty) by $load:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        struct $name(#[allow(dead_code)] $bits);

        impl Plain for $name {
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
                // SAFETY: the caller's contract.
                unsafe { s.$load(p.cast()) }
            }
        }
    )+};
}

plain! {
    /// IEEE binary32.
    Single(f32) by load;
    /// IEEE binary16.
    Half(u16) by load_f16;
    /// The upper half of binary32.
    Brain(u16) by load_bf16;
}

macro_rules! decoders {
    ($($codec:ident $decode:ident;)+) => {
        crate::dispatch! {
            $(unsafe fn $decode(group: Group, blocks: Range<usize>, out: *mut f32) = values::<_, layout::$codec>;)+
            unsafe fn convert_f32(group: Group, cols: Range<usize>, out: *mut f32) = convert::<_, Single>;
            unsafe fn convert_f16(group: Group, cols: Range<usize>, out: *mut f32) = convert::<_, Half>;
            unsafe fn convert_bf16(group: Group, cols: Range<usize>, out: *mut f32) = convert::<_, Brain>;
        }

        /// Decodes columns of a group to `[column][lane]`; they begin and end with blocks of 32 in block codecs.
        ///
        /// # Safety
        /// The group has that codec, the lanes of `tier`, and those columns; `out` is writable for them.
        unsafe fn decode_columns(tier: Tier, codec: Codec, group: Group, cols: Range<usize>, out: *mut f32) {
            let blocks = cols.start / BLOCK..cols.end / BLOCK;
            // SAFETY: the caller's contract.
            unsafe {
                match codec {
                    $(Codec::$codec => $decode(tier, group, blocks, out),)+
                    Codec::F32 => convert_f32(tier, group, cols, out),
                    Codec::F16 => convert_f16(tier, group, cols, out),
                    Codec::BF16 => convert_bf16(tier, group, cols, out),
                }
            }
        }
    };
}

decoders! {
    Q8_0 values_q8_0;
    Q4_0 values_q4_0;
    Q4_1 values_q4_1;
    Q5_0 values_q5_0;
    Q5_1 values_q5_1;
    Q2K values_q2_k;
    Q3K values_q3_k;
    Q4K values_q4_k;
    Q5K values_q5_k;
    Q6K values_q6_k;
    Iq4Nl values_iq4_nl;
    Iq4Xs values_iq4_xs;
    Mxfp4 values_mxfp4;
}

crate::dispatch! {
    unsafe fn tiles_f32(pair: Pair, cols: usize, x: Rows, n_rows: usize, out: Output) = tiles::<_, Single>;
    unsafe fn tiles_f16(pair: Pair, cols: usize, x: Rows, n_rows: usize, out: Output) = tiles::<_, Half>;
    unsafe fn tiles_bf16(pair: Pair, cols: usize, x: Rows, n_rows: usize, out: Output) = tiles::<_, Brain>;
}

type DirectKernel = unsafe fn(Tier, Pair, usize, Rows, usize, Output);

/// The kernel that reads a plain float codec in place.
fn direct_kernel(codec: Codec) -> Option<DirectKernel> {
    match codec {
        Codec::F32 => Some(tiles_f32),
        Codec::F16 => Some(tiles_f16),
        Codec::BF16 => Some(tiles_bf16),
        _ => None,
    }
}

/// Converts columns of plain floats.
///
/// # Safety
/// As [`decode_columns`].
#[inline(always)]
unsafe fn convert<S: SimdInt, P: Plain>(s: S, group: Group, cols: Range<usize>, out: *mut f32) {
    let values = group.levels.cast::<P>();
    let first = cols.start;
    for col in cols {
        // SAFETY: the caller's contract.
        unsafe { s.store(out.add((col - first) * S::LANES), P::load(s, values.add(col * S::LANES))) };
    }
}

/// Two groups of plain floats times all rows.
///
/// # Safety
/// The groups and the rows have `cols` columns; otherwise as [`linear_f32`].
#[inline(always)]
unsafe fn tiles<S: SimdInt, P: Plain>(s: S, pair: Pair, cols: usize, x: Rows, n_rows: usize, out: Output) {
    let w = pair.groups.map(|group| group.levels.cast::<P>());
    for_tiles!(S, 0..n_rows, [1, 2], 6, |row, n, T| {
        let mut rows = [x.data; T];
        for (t, x_row) in rows.iter_mut().enumerate() {
            *x_row = x.data.wrapping_add((row + t.min(n - 1)) * x.stride);
        }
        // SAFETY: the caller's contract.
        unsafe {
            let start = out.start(s, &pair, row, n);
            let tile = tile::<S, P, T>(s, start, w, pair.distance(), rows, cols);
            out.store(s, &pair, row, n, tile);
        }
    });
}

/// Adds two groups times `T` rows to `tile`, while the groups `distance` bytes behind are fetched.
///
/// # Safety
/// Groups and rows have `cols` readable columns.
#[inline(always)]
unsafe fn tile<S: SimdInt, P: Plain, const T: usize>(
    s: S,
    mut tile: [[S::F; V]; T],
    w: [*const P; V],
    distance: usize,
    x: [*const f32; T],
    cols: usize,
) -> [[S::F; V]; T] {
    let step = V * S::LANES * size_of::<P>();
    let mut ahead = w[0].cast::<u8>().wrapping_add(distance);
    for col in 0..cols {
        for line in (0..step).step_by(64) {
            s.prefetch(ahead.wrapping_add(line));
        }
        ahead = ahead.wrapping_add(step);
        // SAFETY: the caller's contract.
        unsafe {
            let weights = [P::load(s, w[0].add(col * S::LANES)), P::load(s, w[1].add(col * S::LANES))];
            for t in 0..T {
                let x = s.splat(*x[t].add(col));
                for v in 0..V {
                    tile[t][v] = s.fma(weights[v], x, tile[t][v]);
                }
            }
        }
    }
    tile
}
