//! Where groups come from and where tiles of results go.

use super::unpack::Group;
use crate::packed::PackedMatrix;
use crate::simd::Simd;

/// Groups that a kernel works on at once.
pub(super) const V: usize = 2;

/// Two groups of a weight, the second perhaps a repetition of the first.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub groups: [Group; V],
    /// First row and number of rows of each; a repetition has none, so that it is not stored.
    pub rows: [(usize, usize); V],
}

impl Pair {
    /// Groups `first` and `first + 1`, the latter only below `end`.
    pub fn of(w: &PackedMatrix, first: usize, end: usize) -> Pair {
        let rows = |group: usize| {
            let rows = w.rows_of(group..group + 1);
            (rows.start, rows.len())
        };
        let group = |group: usize| Group::of(w.group(group));
        match first + 1 < end {
            true => Pair { groups: [group(first), group(first + 1)], rows: [rows(first), rows(first + 1)] },
            false => Pair { groups: [group(first); 2], rows: [rows(first), (0, 0)] },
        }
    }

    /// Bytes from any place in this pair to the same place in the next one.
    #[inline(always)]
    pub fn distance(&self) -> usize {
        let [first, second] = self.groups.map(|group| group.scales.addr());
        V * (second - first)
    }
}

/// Where results go: `data[t * stride + row]`.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub data: *mut f32,
    pub stride: usize,
    /// Whether sums go on from what is there.
    pub resume: bool,
}

impl Output {
    /// What a tile that begins at activation row `row` starts from: zeros, or the `n` rows that are there.
    ///
    /// # Safety
    /// Those elements are readable where sums go on.
    #[inline(always)]
    pub unsafe fn start<S: Simd, const T: usize>(self, s: S, pair: &Pair, row: usize, n: usize) -> [[S::F; V]; T] {
        let mut tile = [[s.zero(); V]; T];
        if self.resume {
            for (t, sums) in tile.iter_mut().enumerate().take(n) {
                for ((first, rows), sum) in pair.rows.into_iter().zip(sums) {
                    // SAFETY: the caller's contract.
                    *sum = unsafe { s.load_n(self.data.add((row + t) * self.stride + first), rows) };
                }
            }
        }
        tile
    }

    /// Stores the first `n` rows of a tile that begins at activation row `row`.
    ///
    /// # Safety
    /// Those elements are writable.
    #[inline(always)]
    pub unsafe fn store<S: Simd, const T: usize>(self, s: S, pair: &Pair, row: usize, n: usize, tile: [[S::F; V]; T]) {
        for (t, sums) in tile.into_iter().enumerate().take(n) {
            for ((first, rows), sum) in pair.rows.into_iter().zip(sums) {
                // SAFETY: the caller's contract.
                unsafe {
                    let p = self.data.add((row + t) * self.stride + first);
                    match rows == S::LANES {
                        true => s.store(p, sum),
                        false => s.store_n(p, sum, rows),
                    }
                }
            }
        }
    }
}

/// Runs the body for tiles of activation rows that cover `$rows`, with the constant `$tile` as their size: full ones of
/// the largest size, two where lanes are emulated, then the smallest that holds the rest. A tile whose `n` is below its size
/// repeats its last row.
macro_rules! for_tiles {
    ($s:ty, $rows:expr, [$($size:literal),+], $largest:literal, |$row:ident, $n:ident, $tile:ident| $body:expr) => {{
        let rows: std::ops::Range<usize> = $rows;
        let mut $row = rows.start;
        while $row < rows.end {
            let $n = (rows.end - $row).min(if <$s>::REGISTERS > 0 { $largest } else { 2 });
            match $n {
                $(..=$size => { const $tile: usize = $size; $body })+
                // Emulated lanes take long to compile.
                _ => if const { <$s>::REGISTERS > 0 } { const $tile: usize = $largest; $body }
            }
            $row += $n;
        }
    }};
}
pub(super) use for_tiles;
