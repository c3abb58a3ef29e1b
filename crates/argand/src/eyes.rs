//! The eyes of a model that reads and sees: from a picture to rows, and how these are written in a prompt.

use crate::Error;
use crate::image::{agree, processor};
use argand_engine::{LoadError, LoadOptions, Loading, PictureRows, Seen, Vision};
use argand_image::{Layout, Picture, Processor};
use argand_models::names::hf;
use argand_models::{Model, pages};
use argand_text::Tokenizer;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

/// Pictures whose rows are kept.
const KEPT: usize = 8;

/// The loaded tower of a model, and what else is needed to show it pictures.
pub(crate) struct Eyes {
    vision: Vision,
    processor: Processor,
    /// The last pictures by their names, the last one at the end: rows of the very same picture are found again.
    seen: Vec<([u64; 2], Shown)>,
    names: [RandomState; 2],
    /// Token that stands for one row of a picture.
    pub token: u32,
    /// How it is written; before prompts are filled in, it stands for a whole picture.
    pub written: String,
    /// Pictures are cut into tiles that are named.
    tiled: bool,
}

/// A picture that was shown.
#[derive(Clone)]
pub(crate) struct Shown {
    pub rows: Arc<PictureRows>,
    /// How it is written in a prompt.
    pub written: String,
}

impl Eyes {
    /// Loads the tower of a model.
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        tokenizer: &Tokenizer,
        loading: &mut dyn FnMut(Loading),
    ) -> Result<Eyes, Error> {
        let checkpoint = Arc::new(options.open(path).map_err(LoadError::from)?);
        let model = Model::open(&checkpoint, None).map_err(LoadError::from)?;
        let token = model.facts().usize(hf("image_token_id|image_token_index")).map_err(LoadError::from)? as u32;
        let tiled = model.page.name == pages::smolvlm::PAGE.name;
        drop(model);
        let written = tokenizer
            .token_text(token)
            .ok_or_else(|| Error::NoPictureToken { file: path.display().to_string(), token })?;
        let processor = processor(&checkpoint)?;
        let vision = Vision::load(&checkpoint, options, loading)?;
        agree(&processor, vision.sight(), path)?;
        Ok(Eyes { vision, processor, seen: Vec::new(), names: Default::default(), token, written, tiled })
    }

    /// Looks at a picture, unless it is one of the last.
    pub fn look(&mut self, picture: &Picture) -> Result<Shown, Error> {
        // Keyed hashes of 128 bits: two pictures of one name are not to be found.
        let name = self.names.each_ref().map(|state| state.hash_one((picture.size, &picture.rgb, &picture.alpha)));
        let known = self.seen.iter().position(|(known, _)| *known == name);
        let shown = match known {
            Some(i) => self.seen.remove(i).1,
            None => self.read(picture)?,
        };
        if self.seen.len() >= KEPT {
            self.seen.remove(0);
        }
        self.seen.push((name, shown.clone()));
        Ok(shown)
    }

    fn read(&mut self, picture: &Picture) -> Result<Shown, Error> {
        let pixels = self.processor.pixels(picture)?;
        let (parts, grid, tiles) = match pixels.layout {
            Layout::Pictures { count, tiles, .. } => {
                let len = pixels.values.len() / count.max(1);
                let seen = pixels.values.chunks_exact(len.max(1)).map(|values| Seen { values, grid: None });
                (seen.collect::<Vec<_>>(), None, tiles)
            }
            Layout::Patches { grid, .. } => {
                let grid = [1, grid[0] as u32, grid[1] as u32];
                (vec![Seen { values: &pixels.values, grid: Some(grid) }], Some(grid), [0, 0])
            }
        };
        let counts: Vec<usize> = parts.iter().map(|part| self.vision.rows(part)).collect();
        let values = self.vision.look(&parts, &mut |_| {})?.concat();
        let count = counts.iter().sum();
        // Rows are made of squares of patches.
        let side = grid.map_or(1, |g| (g.iter().product::<u32>() / count as u32).isqrt());
        let rows = PictureRows::new(
            values,
            count,
            grid.map(|[frames, lines, columns]| [frames, lines / side, columns / side]),
        )?;
        let written = if self.tiled { self.named_tiles(counts[0], tiles) } else { self.written.repeat(count) };
        Ok(Shown { rows: Arc::new(rows), written })
    }

    /// Tiles line by line and the whole picture behind them, each with its name (Laurençon et al. 2024).
    fn named_tiles(&self, rows: usize, [lines, columns]: [usize; 2]) -> String {
        const AROUND: &str = "<fake_token_around_image>";
        let rows = self.written.repeat(rows);
        let tile = |line: usize, column: usize| format!("{AROUND}<row_{line}_col_{column}>{rows}");
        let line = |line: usize| (1..=columns).map(|column| tile(line, column)).collect::<String>() + "\n";
        let cut: String = (1..=lines).map(line).collect();
        let gap = if cut.is_empty() { "" } else { "\n" };
        format!("{cut}{gap}{AROUND}<global-img>{rows}{AROUND}")
    }
}

/// Puts pictures where a prompt has the text that stands for each; `None` when it has another number of them.
pub(crate) fn fill_in(prompt: &str, written: &str, shown: &[Shown]) -> Option<String> {
    let parts: Vec<&str> = prompt.split(written).collect();
    if parts.len() != shown.len() + 1 {
        return None;
    }
    let pictures = shown.iter().map(|picture| picture.written.as_str()).chain([""]);
    Some(parts.into_iter().zip(pictures).flat_map(|(words, picture)| [words, picture]).collect())
}

/// The marks of pictures in the places of the token that stands for their rows; `None` when these are of another number.
pub(crate) fn mark(tokens: &[u32], token: u32, shown: &[Shown]) -> Option<Vec<u32>> {
    let mut marks = shown.iter().flat_map(|picture| picture.rows.marks());
    let marked = tokens.iter().map(|t| if *t == token { marks.next() } else { Some(*t) }).collect::<Option<Vec<_>>>();
    marked.filter(|_| marks.next().is_none())
}
