//! Weights repacked for the integer kernels: rows interleaved by lane, levels in bit planes.
//!
//! A [`PackedMatrix`] is the only resident copy of a weight: it is about as large as in the file, and
//! serves matrix products as well as row look-ups. It belongs to the lane count of one tier, is
//! immutable once packed, and knows nothing of files or tensors.

mod error;
pub(crate) mod layout;
mod memory;
mod source;
#[cfg(test)]
mod tests;
mod write;

use crate::tier::Tier;
use argand_codec::Codec;
pub use error::PackError;
use layout::{ALIGN, BLOCK, layout_of};
use memory::Memory;
use std::ops::Range;

/// A weight of `rows x cols` in groups of `lanes` rows; the last group is padded with zeros.
#[derive(Debug)]
pub struct PackedMatrix {
    shape: Shape,
    memory: Memory,
}

/// Everything about a packed weight but its bytes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    codec: Codec,
    rows: usize,
    cols: usize,
    lanes: usize,
    row_bytes: usize,
    /// Bytes of the scale area of a group; 0 for plain floats.
    scale_bytes: usize,
    group_bytes: usize,
}

impl Shape {
    fn new(tier: Tier, codec: Codec, rows: usize, cols: usize) -> Result<Shape, PackError> {
        let too_large = PackError::TooLarge { rows, cols };
        let row_bytes = codec.row_bytes(cols)?;
        let lanes = tier.lanes();
        // Packed rows are never twice as long as in the file, so that none of the sizes below overflow.
        row_bytes.max(cols).checked_mul(4 * lanes).ok_or(too_large)?;
        let (scale_bytes, level_bytes) = match layout_of(codec) {
            None => (0, row_bytes * lanes),
            Some(layout) => {
                let blocks = cols / BLOCK;
                (layout.scale_bytes(lanes, blocks), blocks * layout.level_bytes(lanes))
            }
        };
        let group_bytes = (scale_bytes + level_bytes).next_multiple_of(ALIGN);
        group_bytes.checked_mul(rows.div_ceil(lanes)).ok_or(too_large)?;
        Ok(Shape { codec, rows, cols, lanes, row_bytes, scale_bytes, group_bytes })
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(self.lanes)
    }
}

impl PackedMatrix {
    /// Packs a weight; `row` gives the encoded bytes of each row in any order, so callers may permute
    /// or join rows.
    ///
    /// # Errors
    /// The columns are not whole blocks of the codec, a row has the wrong number of bytes, or there is
    /// no memory.
    pub fn pack<R: AsRef<[u8]>>(
        tier: Tier,
        codec: Codec,
        rows: usize,
        cols: usize,
        row: impl Fn(usize) -> R,
    ) -> Result<PackedMatrix, PackError> {
        let mut packed = PackedMatrix::zeroed(tier, codec, rows, cols)?;
        for mut part in packed.parts(usize::MAX) {
            part.pack(&row)?;
        }
        Ok(packed)
    }

    /// A weight of zeros, to be filled through [`parts`](PackedMatrix::parts).
    ///
    /// # Errors
    /// As [`pack`](PackedMatrix::pack), but for the rows' bytes.
    pub fn zeroed(tier: Tier, codec: Codec, rows: usize, cols: usize) -> Result<PackedMatrix, PackError> {
        let shape = Shape::new(tier, codec, rows, cols)?;
        let bytes = shape.group_bytes * shape.groups();
        let memory = Memory::zeroed(bytes).ok_or(PackError::OutOfMemory { bytes })?;
        Ok(PackedMatrix { shape, memory })
    }

    /// Disjoint parts of at most `groups` groups each, which several threads may fill at once.
    pub fn parts(&mut self, groups: usize) -> impl Iterator<Item = PackPart<'_>> {
        let shape = self.shape;
        let size = groups.clamp(1, shape.groups().max(1));
        let bytes = self.memory.bytes_mut();
        bytes.chunks_mut((size * shape.group_bytes).max(1)).enumerate().map(move |(i, bytes)| PackPart {
            shape,
            first: i * size,
            bytes,
        })
    }

    /// The codec of the weight.
    pub fn codec(&self) -> Codec {
        self.shape.codec
    }

    /// Rows (outputs of a product).
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Columns (inputs of a product).
    pub fn cols(&self) -> usize {
        self.shape.cols
    }

    /// Rows of a group: the lanes of the tier it was packed for.
    pub fn lanes(&self) -> usize {
        self.shape.lanes
    }

    /// Groups of rows; kernels take ranges of them.
    pub fn groups(&self) -> usize {
        self.shape.groups()
    }

    /// Resident bytes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes().len()
    }

    /// Bytes of a group.
    pub fn group_bytes(&self) -> usize {
        self.shape.group_bytes
    }

    /// The rows of a range of groups.
    pub fn rows_of(&self, groups: Range<usize>) -> Range<usize> {
        let row = |group: usize| (group * self.shape.lanes).min(self.shape.rows);
        row(groups.start)..row(groups.end)
    }

    /// The bytes of a group: scale area, then level area.
    pub(crate) fn group(&self, group: usize) -> (&[u8], &[u8]) {
        let bytes = &self.memory.bytes()[group * self.shape.group_bytes..][..self.shape.group_bytes];
        bytes.split_at(self.shape.scale_bytes)
    }
}

/// Some groups of a weight that is being packed.
#[derive(Debug)]
pub struct PackPart<'m> {
    shape: Shape,
    first: usize,
    bytes: &'m mut [u8],
}

impl PackPart<'_> {
    /// The rows of this part.
    pub fn rows(&self) -> Range<usize> {
        let lanes = self.shape.lanes;
        let groups = self.bytes.len() / self.shape.group_bytes.max(1);
        let end = (self.first + groups) * lanes;
        self.first * lanes..end.min(self.shape.rows)
    }

    /// Packs the rows of this part; `row` gives the encoded bytes of a row of the whole weight.
    ///
    /// # Errors
    /// A row has the wrong number of bytes.
    pub fn pack<R: AsRef<[u8]>>(&mut self, row: impl Fn(usize) -> R) -> Result<(), PackError> {
        let Shape { codec, lanes, row_bytes: expected, scale_bytes, group_bytes, .. } = self.shape;
        let all = self.rows();
        let mut rows = Vec::with_capacity(lanes);
        for (first, group) in all.clone().step_by(lanes).zip(self.bytes.chunks_exact_mut(group_bytes.max(1))) {
            rows.clear();
            for index in first..all.end.min(first + lanes) {
                let bytes = row(index);
                let found = bytes.as_ref().len();
                if found != expected {
                    return Err(PackError::RowBytes { codec, row: index, found, expected });
                }
                rows.push(bytes);
            }
            let (scales, levels) = group.split_at_mut(scale_bytes);
            let mut bytes: [&[u8]; write::MOST_LANES] = [&[]; write::MOST_LANES];
            bytes.iter_mut().zip(&rows).for_each(|(to, row)| *to = row.as_ref());
            write::write_group(codec, lanes, &bytes[..rows.len()], scales, levels);
        }
        Ok(())
    }
}
