//! Tensors that are views of a longer row of numbers, as PyTorch and NumPy store them: checked against that row, taken
//! as they lie where they lie without gaps, and copied in order otherwise.

use std::ops::Range;

use argand_codec::Codec;

use crate::source::Source;
use crate::tensor::{Element, Place, Tensor};

/// Most dimensions that are accepted.
pub(crate) const MAX_DIMS: usize = 8;

/// Copies (of views with gaps, of doubles, of what was compressed) take at most this many times the file's size...
const COPIES_PER_BYTE: usize = 16;
/// ... and this many bytes more: small files compress and repeat better than big ones.
const COPIES_FREE: usize = 64 << 20;

/// An element type, as safetensors calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dtype {
    pub(crate) name: &'static str,
    /// Size of an element.
    pub(crate) bytes: usize,
}

impl Dtype {
    /// How it is presented: doubles become F32, for nothing computes with more.
    fn element(self) -> Element {
        match self.name {
            "F32" | "F64" => Element::Coded(Codec::F32),
            "F16" => Element::Coded(Codec::F16),
            "BF16" => Element::Coded(Codec::BF16),
            name => Element::Foreign(name, self.bytes * 8),
        }
    }

    fn is_double(self) -> bool {
        self.name == "F64"
    }
}

/// Which elements of a row make a tensor.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) dtype: Dtype,
    /// Element of the row where the tensor begins.
    pub(crate) offset: usize,
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// How many elements of the row lie between neighbours along each dimension.
    pub(crate) strides: Vec<usize>,
}

impl View {
    /// A tensor that is the whole row, last dimension innermost, or first dimension innermost for Fortran's order.
    pub(crate) fn whole(dtype: Dtype, shape: Vec<usize>, fortran: bool) -> Option<Self> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1usize;
        let mut put = |at: usize| {
            strides[at] = step;
            step = step.checked_mul(shape[at].max(1))?;
            Some(())
        };
        match fortran {
            true => (0..shape.len()).try_for_each(&mut put)?,
            false => (0..shape.len()).rev().try_for_each(&mut put)?,
        }
        Some(Self { dtype, offset: 0, shape, strides })
    }

    /// Number of elements, and one past the last element of the row that is touched; `None` where numbers overflow.
    fn extent(&self) -> Option<(usize, usize)> {
        let count = self.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))?;
        if count == 0 {
            return Some((0, 0));
        }
        let mut pairs = self.shape.iter().zip(&self.strides);
        let last = pairs.try_fold(self.offset, |at, (dim, stride)| at.checked_add((dim - 1).checked_mul(*stride)?))?;
        Some((count, last.checked_add(1)?))
    }

    /// The number of innermost dimensions that lie without gaps, and how many elements they have together.
    fn run(&self) -> (usize, usize) {
        let mut run = 1;
        let fits = |(dim, stride): &(&usize, &usize)| {
            let next_to = **dim == 1 || **stride == run;
            run *= if next_to { **dim } else { 1 };
            next_to
        };
        let dims = self.shape.iter().zip(&self.strides).rev().take_while(fits).count();
        (dims, run)
    }

    /// Copies the elements in order; `extent` has told that they are there.
    fn gather(&self, row: &[u8], count: usize) -> Vec<u8> {
        let width = self.dtype.bytes;
        let (inner, run) = self.run();
        let outer = self.shape.len() - inner;
        let mut out = Vec::with_capacity(count * width);
        let (mut index, mut at) = (vec![0; outer], self.offset);
        while out.len() < count * width {
            out.extend_from_slice(&row[at * width..(at + run) * width]);
            for dim in (0..outer).rev() {
                index[dim] += 1;
                at += self.strides[dim];
                if index[dim] < self.shape[dim] {
                    break;
                }
                at -= self.strides[dim] * self.shape[dim];
                index[dim] = 0;
            }
        }
        out
    }
}

/// Bytes of tensors that do not lie in the file as they are.
pub(crate) struct Copies {
    chunks: Vec<Vec<u8>>,
    left: usize,
}

impl Copies {
    /// None yet, and room in proportion to the file.
    pub(crate) fn of(source: &Source) -> Self {
        let left = source.bytes().len().saturating_mul(COPIES_PER_BYTE).saturating_add(COPIES_FREE);
        Self { chunks: Vec::new(), left }
    }

    /// Takes `bytes` of the room; an error says what was expected.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            format!(
                "at most {COPIES_PER_BYTE} times the file's size in tensors that repeat, are compressed or have gaps"
            )
        })?;
        Ok(())
    }

    /// Keeps bytes for which room was taken.
    pub(crate) fn keep(&mut self, file: usize, bytes: Vec<u8>) -> Place {
        let range = 0..bytes.len();
        self.chunks.push(bytes);
        Place { file, copy: Some(self.chunks.len() - 1), range }
    }

    /// The bytes of a place in the file or among the copies.
    pub(crate) fn bytes<'a>(&'a self, source: &'a Source, place: &Place) -> &'a [u8] {
        match place.copy {
            None => &source.bytes()[place.range.clone()],
            Some(chunk) => &self.chunks[chunk][place.range.clone()],
        }
    }

    /// All that was kept.
    pub(crate) fn into_chunks(self) -> Vec<Vec<u8>> {
        self.chunks
    }

    /// The tensor `name` that is this view of the row at `row`; an error says what was expected.
    pub(crate) fn place(
        &mut self,
        source: &Source,
        name: String,
        mut view: View,
        row: &Place,
    ) -> Result<Tensor, String> {
        let width = view.dtype.bytes;
        // The stride of a single element says nothing and may be anything.
        view.strides.iter_mut().zip(&view.shape).filter(|(_, dim)| **dim == 1).for_each(|(stride, _)| *stride = 0);
        let fits = |end: &usize| end.checked_mul(width).is_some_and(|end| end <= row.range.len());
        let (count, _) = view.extent().filter(|(_, end)| fits(end)).ok_or_else(|| {
            format!("a view inside its storage of {} bytes, elements of {}", row.range.len(), view.dtype.name)
        })?;
        let element = view.dtype.element();
        let part = |range: Range<usize>| Place { file: row.file, copy: row.copy, range };
        if count == 0 {
            return Ok(element.place(name, view.shape, part(row.range.start..row.range.start)));
        }
        let place = if view.run().0 == view.shape.len() && !view.dtype.is_double() {
            let start = row.range.start + view.offset * width;
            part(start..start + count * width)
        } else {
            self.reserve(count.checked_mul(width).ok_or("a size that fits in memory")?)?;
            let gathered = view.gather(self.bytes(source, row), count);
            self.keep(row.file, if view.dtype.is_double() { singles(&gathered) } else { gathered })
        };
        Ok(element.place(name, view.shape, place))
    }
}

/// Doubles rounded to F32.
fn singles(doubles: &[u8]) -> Vec<u8> {
    let (doubles, _) = doubles.as_chunks::<8>();
    doubles.iter().flat_map(|double| (f64::from_le_bytes(*double) as f32).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const U8: Dtype = Dtype { name: "U8", bytes: 1 };

    fn read(view: View, row: &[u8]) -> Result<Vec<u8>, String> {
        let source = Source::owned(Path::new("row"), row.to_vec());
        let mut copies = Copies::of(&source);
        let tensor = copies.place(&source, "t".to_owned(), view, &Place::mapped(0, 0..row.len()))?;
        Ok(copies.bytes(&source, tensor.place()).to_vec())
    }

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> View {
        View { dtype: U8, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    #[test]
    fn views_are_read_in_their_order() {
        let row: Vec<u8> = (0..24).collect();
        let cases: [(View, &[u8]); 7] = [
            (view(3, &[2, 2], &[2, 1]), &[3, 4, 5, 6]),
            (view(0, &[2, 3], &[1, 2]), &[0, 2, 4, 1, 3, 5]),
            (view(1, &[2, 2, 2], &[12, 1, 4]), &[1, 5, 2, 6, 13, 17, 14, 18]),
            (view(5, &[2, 3], &[0, 1]), &[5, 6, 7, 5, 6, 7]),
            (view(23, &[], &[]), &[23]),
            (view(0, &[1, 3, 1], &[usize::MAX, 8, 77]), &[0, 8, 16]),
            (view(4, &[2, 1, 3], &[3, 0, 1]), &[4, 5, 6, 7, 8, 9]),
        ];
        for (view, expected) in cases {
            assert_eq!(read(view.clone(), &row).unwrap(), expected, "{view:?}");
        }
    }

    #[test]
    fn views_stay_inside_their_row() {
        let row = [0; 24];
        let huge = usize::MAX;
        for outside in [
            view(24, &[], &[]),
            view(0, &[25], &[1]),
            view(1, &[24], &[1]),
            view(0, &[5, 5], &[5, 1]),
            view(huge, &[2], &[1]),
            view(0, &[huge, huge], &[0, 0]),
            view(0, &[2, 2], &[huge, 1]),
            view(0, &[huge], &[huge]),
        ] {
            assert!(read(outside.clone(), &row).is_err(), "{outside:?}");
        }
        let repeated = read(view(0, &[1 << 20, 1 << 20], &[0, 0]), &row).unwrap_err();
        assert!(repeated.contains("times the file's size"), "{repeated}");
        assert!(read(view(huge, &[0], &[huge]), &row).unwrap().is_empty());
    }

    #[test]
    fn fortran_order_is_told_by_strides() {
        let strides = |fortran| View::whole(U8, vec![2, 0, 3], fortran).unwrap().strides;
        assert_eq!((strides(false), strides(true)), (vec![3, 3, 1], vec![1, 2, 2]));
        assert!(View::whole(U8, vec![usize::MAX, 2], false).is_none());
    }
}
