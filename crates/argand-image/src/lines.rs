//! Lines of text on a page, by a projection profile: how much ink each row of pixels holds.
//!
//! Ink is what is darker than its surroundings (Bradley and Roth 2007), so that shadows do no harm; on a dark page, what is lighter.
//! Rows with ink make lines, which are parted where there is least. That is all: a page must lie straight, have one column and no
//! pictures. For others a detector is needed, which this is not.

use crate::Picture;

/// Ink differs from its surroundings by more than this share, in percent.
const CONTRAST: u64 = 15;

/// Rows that hold less ink than this share of a full one, in percent, part lines.
const FULL: usize = 10;

/// A line is at least this share of the usual height, in percent; less is dirt, or a rule.
const LEAST: usize = 40;

/// Lines lower than this are not read.
const LEAST_PIXELS: usize = 5;

/// Where a line of text is, in pixels: rows and columns, from the first to behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First row.
    pub top: usize,
    /// Row behind the last.
    pub bottom: usize,
    /// First column.
    pub left: usize,
    /// Column behind the last.
    pub right: usize,
}

/// Which pixels of a picture are ink.
struct Ink {
    width: usize,
    dots: Vec<bool>,
}

impl Ink {
    fn of(picture: &Picture) -> Ink {
        let [height, width] = picture.size;
        let grey = picture.grey();
        // Sums over all pixels above and left of each.
        let mut sums = vec![0u64; (height + 1) * (width + 1)];
        for y in 0..height {
            let mut row = 0;
            for x in 0..width {
                row += u64::from(grey[y * width + x]);
                sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
            }
        }
        let reach = (height.max(width) / 16).max(4);
        let around = |y: usize, x: usize| {
            let (top, bottom) = (y.saturating_sub(reach), (y + reach + 1).min(height));
            let (left, right) = (x.saturating_sub(reach), (x + reach + 1).min(width));
            let at = |y: usize, x: usize| sums[y * (width + 1) + x];
            let sum = at(bottom, right) + at(top, left) - at(top, right) - at(bottom, left);
            (sum, ((bottom - top) * (right - left)) as u64)
        };
        let marked = |dark: bool| {
            let differs = |i: usize| {
                let (sum, count) = around(i / width, i % width);
                let own = if dark { u64::from(grey[i]) } else { 255 - u64::from(grey[i]) };
                let sum = if dark { sum } else { 255 * count - sum };
                own * count * 100 < sum * (100 - CONTRAST)
            };
            (0..height * width).map(differs).collect::<Vec<bool>>()
        };
        // Text covers less than what it stands on.
        let mean = sums[sums.len() - 1] / (height * width) as u64;
        Ink { width, dots: marked(mean >= 128) }
    }

    fn row(&self, y: usize) -> &[bool] {
        &self.dots[y * self.width..][..self.width]
    }

    /// Ink in each row.
    fn profile(&self) -> Vec<usize> {
        self.dots.chunks(self.width).map(|row| row.iter().filter(|dot| **dot).count()).collect()
    }
}

/// The lines of a page, from top to bottom.
pub fn lines(picture: &Picture) -> Vec<Place> {
    let ink = Ink::of(picture);
    let profile = ink.profile();
    let mut inked: Vec<usize> = profile.iter().copied().filter(|n| *n > 0).collect();
    inked.sort_unstable();
    // A full row is one of the upper quarter.
    let Some(full) = inked.get(inked.len() * 3 / 4) else { return Vec::new() };
    let least = (full * FULL / 100).max(1);
    let runs = runs(&profile, least);
    let mut heights: Vec<usize> = runs.iter().map(|(top, bottom)| bottom - top).collect();
    heights.sort_unstable();
    let usual = heights[heights.len() / 2];
    let tall = |(top, bottom): &(usize, usize)| bottom - top >= (usual * LEAST / 100).max(LEAST_PIXELS);
    let runs: Vec<(usize, usize)> = runs.into_iter().filter(tall).collect();
    let places = runs.iter().enumerate().filter_map(|(i, (top, bottom))| {
        // What little ink stands right above and below belongs to the line, as far as the emptiest row between two.
        let above = i.checked_sub(1).map_or(0, |before| emptiest(&profile, runs[before].1, *top));
        let below = runs.get(i + 1).map_or(profile.len(), |next| emptiest(&profile, *bottom, next.0));
        let gap = (bottom - top) / 8;
        let top = top - inked_rows((above..*top).rev(), &profile, gap);
        let bottom = bottom + inked_rows(*bottom..below, &profile, gap);
        let mut columns = (0..ink.width).filter(|x| (top..bottom).any(|y| ink.row(y)[*x]));
        let left = columns.next()?;
        Some(Place { top, bottom, left, right: columns.next_back().unwrap_or(left) + 1 })
    });
    places.collect()
}

/// How many of some rows, in their order, reach to the last with ink; a gap of more than `gap` rows ends them.
fn inked_rows(rows: impl Iterator<Item = usize>, profile: &[usize], gap: usize) -> usize {
    let mut reached = 0;
    for (count, y) in rows.enumerate() {
        if count > reached + gap {
            break;
        }
        if profile[y] > 0 {
            reached = count + 1;
        }
    }
    reached
}

/// Runs of rows that hold at least so much.
fn runs(profile: &[usize], least: usize) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (y, ink) in profile.iter().chain([&0]).enumerate() {
        match (start, *ink >= least) {
            (None, true) => start = Some(y),
            (Some(top), false) => {
                runs.push((top, y));
                start = None;
            }
            _ => {}
        }
    }
    runs
}

/// The row with the least ink between two lines, the middle one of several.
fn emptiest(profile: &[usize], from: usize, to: usize) -> usize {
    let least = profile[from..to].iter().min();
    let all: Vec<usize> = (from..to).filter(|y| Some(&profile[*y]) == least).collect();
    all.get(all.len() / 2).copied().unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with bars for lines, darker from left to right.
    fn page(bars: &[(usize, usize)], dark: bool) -> Picture {
        let (height, width) = (120, 200);
        let at = |i: usize| {
            let (y, x) = (i / width, i % width);
            let bar = bars.iter().any(|(top, bottom)| (*top..*bottom).contains(&y));
            let paper = 250 - (x / 2) as u8;
            // Letters: every second pair of columns.
            let value = if bar && (20..150).contains(&x) && x / 2 % 2 == 0 { paper / 3 } else { paper };
            [if dark { 255 - value } else { value }; 3]
        };
        Picture::new([height, width], (0..height * width).flat_map(at).collect())
    }

    #[test]
    fn bars_are_found_on_light_and_dark_pages() {
        let bars = [(10, 22), (30, 42), (50, 62), (80, 94)];
        for dark in [false, true] {
            let found = lines(&page(&bars, dark));
            let expected: Vec<Place> =
                bars.iter().map(|(top, bottom)| Place { top: *top, bottom: *bottom, left: 20, right: 150 }).collect();
            assert_eq!(found, expected, "dark: {dark}");
        }
    }

    #[test]
    fn dirt_and_rules_are_no_lines() {
        let found = lines(&page(&[(5, 6), (10, 24), (40, 54), (60, 62), (70, 84)], false));
        assert_eq!(found.iter().map(|p| p.top).collect::<Vec<_>>(), [10, 40, 70]);
        assert_eq!(lines(&page(&[], false)), []);
        assert_eq!(lines(&Picture::new([1, 1], vec![7; 3])), []);
    }
}
