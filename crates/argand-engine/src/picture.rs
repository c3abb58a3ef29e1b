//! Pictures in prompts: rows that stand in the places of tokens.
//!
//! In a prompt each row of a picture is a token of its own, a mark, which no vocabulary has and no other picture shares. What is kept
//! of a prompt is thus found again for the very same pictures only, by the same exact comparison as for words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Marks begin where no vocabulary ends.
pub(crate) const FIRST_MARK: u32 = 1 << 31;

/// The next mark that no picture has.
static NEXT: AtomicU32 = AtomicU32::new(FIRST_MARK);

/// More rows of pictures were made than there are marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process has looked at more than {} rows of pictures; start it anew", u32::MAX - FIRST_MARK)]
pub struct MarksSpent;

/// A picture as a language model sees it. Shared by the turns of a conversation, it is seen once.
#[derive(Debug)]
pub struct PictureRows {
    first: u32,
    count: u32,
    values: Vec<f32>,
    grid: Option<[u32; 3]>,
}

impl PictureRows {
    /// A picture of `count` rows. `grid` says how many times, lines and columns they are, row after row, where the model's positions
    /// tell these apart.
    ///
    /// # Errors
    /// There are no more marks.
    ///
    /// # Panics
    /// The values are not `count` rows of one width, or the grid has another number of them.
    pub fn new(values: Vec<f32>, count: usize, grid: Option<[u32; 3]>) -> Result<Self, MarksSpent> {
        assert!(count > 0 && values.len().is_multiple_of(count), "{} values in {count} rows", values.len());
        assert!(grid.is_none_or(|g| g.iter().map(|side| *side as usize).product::<usize>() == count), "{grid:?}");
        let taken = |next: u32| next.checked_add(u32::try_from(count).ok()?);
        let first = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map_err(|_| MarksSpent)?;
        Ok(Self { first, count: count as u32, values, grid })
    }

    /// The marks of its rows, in order.
    pub fn marks(&self) -> Range<u32> {
        self.first..self.first + self.count
    }

    /// The row of a mark, if it is one of this picture.
    pub(crate) fn row(&self, mark: u32) -> Option<&[f32]> {
        let row = mark.checked_sub(self.first).filter(|row| *row < self.count)? as usize;
        let width = self.values.len() / self.count as usize;
        Some(&self.values[row * width..][..width])
    }
}

/// Where the tokens of a sequence are, by time, line and column (Wang et al. 2024): words go on along all three, a picture's rows
/// lie side by side, and what follows begins behind the farthest of them.
#[derive(Debug)]
pub(crate) struct Course {
    prompt: Vec<[u32; 3]>,
    /// Of the first token behind the prompt.
    next: u32,
}

impl Course {
    /// That of a prompt; none where positions say it all.
    pub(crate) fn of(prompt: &[u32], pictures: &[Arc<PictureRows>]) -> Option<Course> {
        if pictures.iter().all(|picture| picture.grid.is_none()) {
            return None;
        }
        let (mut next, mut start) = (0, 0);
        let mut at = |token: &u32| {
            let picture = pictures.iter().find(|picture| picture.marks().contains(token));
            let Some((picture, [_, lines, columns])) = picture.and_then(|p| Some((p, p.grid?))) else {
                next += 1;
                return [next - 1; 3];
            };
            let row = token - picture.first;
            if row == 0 {
                start = next;
            }
            let at = [row / (lines * columns), row / columns % lines, row % columns].map(|at| start + at);
            next = next.max(at.into_iter().fold(0, u32::max) + 1);
            at
        };
        let prompt = prompt.iter().map(&mut at).collect();
        Some(Course { prompt, next })
    }

    /// The place of token `i`.
    pub(crate) fn at(&self, i: usize) -> [u32; 3] {
        let behind = |i: usize| [self.next + (i - self.prompt.len()) as u32; 3];
        self.prompt.get(i).copied().unwrap_or_else(|| behind(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_belong_to_one_picture() {
        let [a, b] = [0.0, 1.0].map(|value| PictureRows::new(vec![value; 6], 3, None).unwrap());
        assert!(a.marks().start >= FIRST_MARK && a.marks().len() == 3);
        assert!(b.marks().all(|mark| a.row(mark).is_none() && b.row(mark) == Some(&[1.0, 1.0])));
    }

    #[test]
    fn words_go_on_behind_the_farthest_row() {
        let picture = Arc::new(PictureRows::new(vec![0.0; 6], 6, Some([1, 2, 3])).unwrap());
        let prompt: Vec<u32> = [5, 6].into_iter().chain(picture.marks()).chain([7]).collect();
        let course = Course::of(&prompt, &[picture]).unwrap();
        let places: Vec<_> = (0..11).map(|i| course.at(i)).collect();
        let rows = [[2, 2, 2], [2, 2, 3], [2, 2, 4], [2, 3, 2], [2, 3, 3], [2, 3, 4]];
        assert_eq!(places, [&[[0; 3], [1; 3]], &rows[..], &[[5; 3], [6; 3], [7; 3]]].concat());
        assert!(Course::of(&[1, 2], &[]).is_none());
    }
}
