//! Tensors as a checkpoint describes them, and the checks that every described tensor must pass.

use std::ops::Range;
use std::path::Path;

use argand_codec::Codec;

use crate::Error;
use crate::error::quote;

/// What is known of a weight without reading it.
///
/// Invariants, checked at opening: no dimension is zero, the last dimension is a multiple of the codec's block, the
/// bytes lie inside the file. In GGUF and safetensors they belong to no other tensor; PyTorch's tensors may share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name as the file spells it.
    pub name: String,
    /// Dimensions, outermost first: a matrix is `[rows, columns]`. A scalar has none.
    pub shape: Vec<usize>,
    /// How values are stored; blocks run along the last dimension.
    pub codec: Codec,
    pub(crate) place: Place,
}

impl TensorInfo {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Stored size in bytes.
    pub fn bytes(&self) -> usize {
        self.place.range.len()
    }

    /// Index of the file of the checkpoint that holds it, see [`Checkpoint::files`](crate::Checkpoint::files).
    pub fn file(&self) -> usize {
        self.place.file
    }

    /// Where its data begins in that file, in bytes; in a copy of its own where it had to be unpacked or put in order.
    pub fn offset(&self) -> usize {
        self.place.range.start
    }
}

/// A weight and its stored bytes.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Its description.
    pub info: &'a TensorInfo,
    /// Its data: `info.bytes()` bytes, read from disk when touched. No alignment is promised.
    pub bytes: &'a [u8],
}

/// A tensor that cannot be a weight: stored in an element type that has no codec (integers, FP8, F64 in safetensors and
/// GGUF), or without elements. Checkpoints carry such tensors as buffers (`position_ids`, `num_batches_tracked`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTensor {
    /// Name as the file spells it.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Element type as the format calls it, for example `I64`.
    pub dtype: &'static str,
    pub(crate) place: Place,
}

/// Which bytes of which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    /// A copy that was made at opening, by its number; `None` for bytes that lie in the file as they are.
    pub(crate) copy: Option<usize>,
    pub(crate) range: Range<usize>,
}

impl Place {
    /// Bytes of the file itself.
    pub(crate) fn mapped(file: usize, range: Range<usize>) -> Self {
        Self { file, copy: None, range }
    }
}

/// Either kind of tensor, as the readers produce them.
pub(crate) enum Tensor {
    Weight(TensorInfo),
    Foreign(ForeignTensor),
}

impl Tensor {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Weight(info) => &info.name,
            Self::Foreign(foreign) => &foreign.name,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Weight(info) => &info.place,
            Self::Foreign(foreign) => &foreign.place,
        }
    }
}

/// How the elements of a described tensor are stored.
#[derive(Clone, Copy)]
pub(crate) enum Element {
    Coded(Codec),
    /// A type without a codec: its name and its size in bits.
    Foreign(&'static str, usize),
}

impl Element {
    /// Checked size in bytes; `Err` says which rule is broken.
    pub(crate) fn size_of(self, shape: &[usize]) -> Result<usize, String> {
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).try_fold(1usize, |n, &dim| n.checked_mul(dim));
        let too_big = || "a size that fits in memory".to_owned();
        // The count of values is what callers multiply, so it must fit even where blocks make the bytes fewer.
        rows.and_then(|rows| rows.checked_mul(columns)).ok_or_else(too_big)?;
        let rows = rows.ok_or_else(too_big)?;
        match self {
            Self::Coded(codec) => {
                let row = codec.row_bytes(columns).map_err(|error| error.to_string())?;
                rows.checked_mul(row).ok_or_else(too_big)
            }
            Self::Foreign(_, bits) => {
                let bits = rows.checked_mul(columns).and_then(|n| n.checked_mul(bits));
                let bits = bits.ok_or_else(too_big)?;
                if !bits.is_multiple_of(8) {
                    return Err("a whole number of bytes".to_owned());
                }
                Ok(bits / 8)
            }
        }
    }

    pub(crate) fn place(self, name: String, shape: Vec<usize>, place: Place) -> Tensor {
        match self {
            Self::Coded(codec) if !shape.contains(&0) => Tensor::Weight(TensorInfo { name, shape, codec, place }),
            Self::Coded(codec) => Tensor::Foreign(ForeignTensor { name, shape, dtype: codec.name(), place }),
            Self::Foreign(dtype, _) => Tensor::Foreign(ForeignTensor { name, shape, dtype, place }),
        }
    }
}

/// Names reach tables, file names and other programs: they must not be empty nor carry NUL.
pub(crate) fn check_name(file: &Path, field: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::malformed(file, field, quote(name), "a name that is not empty and has no NUL"));
    }
    Ok(())
}

/// Refuses tensors of one file that share bytes.
pub(crate) fn check_overlap(file: &Path, tensors: &[Tensor]) -> Result<(), Error> {
    let mut order: Vec<&Tensor> = tensors.iter().filter(|tensor| !tensor.place().range.is_empty()).collect();
    order.sort_by_key(|tensor| tensor.place().range.start);
    for pair in order.windows(2) {
        let (first, second) = (&pair[0].place().range, &pair[1].place().range);
        if second.start < first.end {
            return Err(Error::Overlap {
                file: file.to_path_buf(),
                name: quote(pair[1].name()),
                other: quote(pair[0].name()),
                begin: second.start as u64,
                end: first.end as u64,
            });
        }
    }
    Ok(())
}
