//! Where groups come from and where tiles of results go.

use super::unpack::Group;
use crate::kernels::packed::PackedMatrix;
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
    /// Whether results add to what is there.
    pub add: bool,
}

impl Output {
    /// Stores the first `n` rows of a tile that begins at activation row `row`.
    ///
    /// # Safety
    /// Those elements of the output are writable, and readable where results add.
    #[inline(always)]
    pub unsafe fn store<S: Simd, const T: usize>(self, s: S, pair: &Pair, row: usize, n: usize, tile: [[S::F; V]; T]) {
        for (t, results) in tile.into_iter().enumerate().take(n) {
            for ((first, rows), result) in pair.rows.into_iter().zip(results) {
                // SAFETY: the caller's contract.
                unsafe {
                    let p = self.data.add((row + t) * self.stride + first);
                    if rows == S::LANES {
                        let sum = if self.add { s.add(s.load(p), result) } else { result };
                        s.store(p, sum);
                    } else {
                        let sum = if self.add { s.add(s.load_n(p, rows), result) } else { result };
                        s.store_n(p, sum, rows);
                    }
                }
            }
        }
    }
}

/// Calls `$tile::<$size>(row, n)` for tiles of activation rows that cover `$rows`: full ones of the largest size,
/// then the smallest that holds the rest. A tile whose `n` is below its size repeats its last row.
macro_rules! for_tiles {
    ($rows:expr, [$($size:literal),+], $largest:literal, |$row:ident, $n:ident, $tile:ident| $body:expr) => {{
        let rows: std::ops::Range<usize> = $rows;
        let mut $row = rows.start;
        while $row < rows.end {
            let left = rows.end - $row;
            let $n;
            match left {
                $(..=$size => { $n = left; const $tile: usize = $size; $body })+
                _ => { $n = left.min($largest); const $tile: usize = $largest; $body }
            }
            $row += $n;
        }
    }};
}
pub(super) use for_tiles;
