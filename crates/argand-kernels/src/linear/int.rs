//! Integer products: packed levels times quantised activations.
//!
//! One or a few activation rows *stream* the packed weight once, unpacking in registers. More rows
//! first unpack a *panel* of two groups to one byte per level, then run register tiles over it; wide levels
//! have little to unpack and always stream, with activations in one term or in two. All add in one order, so that
//! the results of a row do not depend on how many rows there are.

use super::acts::Acts;
use super::output::{Output, Pair};
use super::panel::{self, PANEL_BLOCKS, PANEL_ROWS, tiles, unpack};
use super::stream::{STREAM_BYTES, STREAM_ROWS, stream};
use crate::packed::PackedMatrix;
use crate::packed::layout;
use crate::tier::Tier;
use argand_codec::Codec;
use std::ops::Range;

/// `out[t * out_stride + row] = sum over k of w[row][k] * acts[t][k]` for the rows of `groups` and the first
/// `n_rows` rows of `acts`, by integer dot products per 32 columns (16 where the codec scales 16).
///
/// # Panics
/// `w` holds plain floats (see [`linear_f32`](super::linear_f32)), was packed for another number of lanes,
/// or `acts` have another number of columns, or more terms than [`most_terms`].
///
/// # Safety
/// `n_rows` rows of `acts` are readable, those elements of `out` are writable and nobody else uses them
/// meanwhile.
pub unsafe fn linear_int(
    tier: Tier,
    w: &PackedMatrix,
    groups: Range<usize>,
    acts: Acts,
    n_rows: usize,
    out: *mut f32,
    out_stride: usize,
) {
    assert_eq!(w.lanes(), tier.lanes(), "weight packed for another tier");
    assert_eq!(w.cols().div_ceil(layout::BLOCK), acts.layout.blocks, "columns of weight and activations");
    assert!(acts.layout.terms <= most_terms(w.codec()), "{} terms for {}", acts.layout.terms, w.codec());
    let kernels = kernels_of(w.codec());
    let out = Output { data: out, stride: out_stride, resume: false };
    let Some(panels) = kernels.panels.filter(|_| n_rows > STREAM_ROWS) else {
        let chunk = (STREAM_BYTES / acts.layout.bytes(1)).max(STREAM_ROWS);
        for start in (0..n_rows).step_by(chunk) {
            let rows = start..n_rows.min(start + chunk);
            // SAFETY: the caller's contract.
            unsafe { (kernels.stream)(tier, w, groups.clone(), acts, rows, out) };
        }
        return;
    };
    for start in (0..n_rows).step_by(PANEL_ROWS) {
        let rows = start..n_rows.min(start + PANEL_ROWS);
        for blocks in panel_chunks(acts.layout.blocks) {
            let out = Output { resume: blocks.start > 0, ..out };
            for first in groups.clone().step_by(2) {
                let pair = Pair::of(w, first, groups.end);
                let mut panel = panel::Panel::new();
                // SAFETY: the chunk lies in the groups and fits the panel; else the caller's contract.
                unsafe {
                    (panels.unpack)(tier, pair, blocks.clone(), panel.data());
                    (panels.tiles)(tier, panel.data(), pair, blocks.clone(), acts, rows.clone(), out);
                }
            }
        }
    }
}

/// In how many terms products with this codec take activations: two where levels are so exact that one would be the
/// greater error.
///
/// # Panics
/// The codec is of plain floats.
pub fn most_terms(codec: Codec) -> usize {
    if kernels_of(codec).panels.is_none() { 2 } else { 1 }
}

/// Even chunks of `0..blocks` that fit a panel, each beginning where a span of scales does.
fn panel_chunks(blocks: usize) -> impl Iterator<Item = Range<usize>> {
    let chunks = blocks.div_ceil(PANEL_BLOCKS).max(1);
    let size = blocks.div_ceil(chunks).next_multiple_of(8);
    (0..blocks.max(1)).step_by(size.max(1)).map(move |start| start..blocks.min(start + size))
}

/// The entry points of a codec.
#[derive(Clone, Copy)]
struct Kernels {
    stream: unsafe fn(Tier, &PackedMatrix, Range<usize>, Acts, Range<usize>, Output),
    /// `None` for wide levels.
    panels: Option<Panels>,
}

/// The entry points for panels.
#[derive(Clone, Copy)]
struct Panels {
    unpack: unsafe fn(Tier, Pair, Range<usize>, *mut u8),
    tiles: Tiles,
}

type Tiles = unsafe fn(Tier, *const u8, Pair, Range<usize>, Acts, Range<usize>, Output);

macro_rules! kernels {
    ($($codec:ident $stream:ident $($unpack:ident $tiles:ident)?;)+) => {
        crate::dispatch! {$(
            unsafe fn $stream(
                w: &PackedMatrix, groups: Range<usize>, acts: Acts, rows: Range<usize>, out: Output
            ) = stream::<_, layout::$codec>;
            $(unsafe fn $unpack(pair: Pair, blocks: Range<usize>, panel: *mut u8) = unpack::<_, layout::$codec>;)?
        )+}

        fn kernels_of(codec: Codec) -> Kernels {
            match codec {
                $(Codec::$codec => {
                    let panels: &[Panels] = &[$(Panels { unpack: $unpack, tiles: $tiles })?];
                    Kernels { stream: $stream, panels: panels.first().copied() }
                })+
                Codec::F32 | Codec::F16 | Codec::BF16 => panic!("{codec} weights have no integer product"),
            }
        }
    };
}

// Panels of codecs with equal centre, parts and minima have one form, so they share tiles.
crate::dispatch! {
    unsafe fn tiles_q4_0(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q4_0>;
    unsafe fn tiles_q4_1(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q4_1>;
    unsafe fn tiles_q5_0(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q5_0>;
    unsafe fn tiles_q5_1(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q5_1>;
    unsafe fn tiles_q2_k(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q2K>;
    unsafe fn tiles_q3_k(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q3K>;
    unsafe fn tiles_q6_k(panel: *const u8, pair: Pair, blocks: Range<usize>, acts: Acts, rows: Range<usize>, out: Output)
        = tiles::<_, layout::Q6K>;
}

kernels! {
    Q8_0 stream_q8_0;
    Q4_0 stream_q4_0 unpack_q4_0 tiles_q4_0;
    Q4_1 stream_q4_1 unpack_q4_1 tiles_q4_1;
    Q5_0 stream_q5_0 unpack_q5_0 tiles_q5_0;
    Q5_1 stream_q5_1 unpack_q5_1 tiles_q5_1;
    Q2K stream_q2_k unpack_q2_k tiles_q2_k;
    Q3K stream_q3_k unpack_q3_k tiles_q3_k;
    Q4K stream_q4_k unpack_q4_k tiles_q4_1;
    Q5K stream_q5_k unpack_q5_k tiles_q5_1;
    Q6K stream_q6_k unpack_q6_k tiles_q6_k;
    Iq4Nl stream_iq4_nl;
    Iq4Xs stream_iq4_xs;
    Mxfp4 stream_mxfp4 unpack_mxfp4 tiles_q5_0;
}
