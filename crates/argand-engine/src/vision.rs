//! The part of a model that looks at pictures: pixels in, rows out, nothing kept.
//!
//! Each picture is a sequence of a ragged step; what comes out for one does not depend on the others. Nothing here decodes or
//! resizes pictures.

use crate::load::{LoadError, LoadOptions, Loading};
use crate::network::{Input, Network};
use crate::runner::RunError;
use argand_cpu::Observer;
use argand_cpu::kv::KvType;
use argand_graph::Graph;
use argand_models::Model;
use argand_models::vision::Sight;
use argand_weights::Checkpoint;
use std::sync::Arc;

/// Rows that a step should have at least, so that weights are read for many of them at once.
const STEP_ROWS: usize = 1024;

/// Most patches of one picture where its size is free.
const MOST_PATCHES: usize = 1 << 16;

/// A picture as a model's processor makes it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Pixels `[height, width, channels]`; where the size is free, patches as the processor orders them, `[patches, len]`.
    pub values: &'a [f32],
    /// Where the size is free: frames, and patches along height and width.
    pub grid: Option<[u32; 3]>,
}

/// A loaded tower.
pub struct Vision {
    network: Network,
    graph: Graph,
    sight: Sight,
}

impl Vision {
    /// Loads the part of a checkpoint that looks at pictures.
    ///
    /// # Errors
    /// A model that does not, and what [`Network::load`] says.
    pub fn load(
        checkpoint: &Arc<Checkpoint>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Vision, LoadError> {
        let model = Model::open(checkpoint, None)?.looking()?;
        let sight = Sight::of(&model.graph).ok_or_else(|| LoadError::NoPictures {
            file: checkpoint.path().display().to_string(),
            page: model.page.name,
        })?;
        let (sequences, max_rows) = match sight {
            Sight::Whole { rows, .. } => (STEP_ROWS.div_ceil(rows), STEP_ROWS.div_ceil(rows) * rows),
            Sight::Patches { .. } => (1, MOST_PATCHES),
        };
        let kv = if options.exact { KvType::F32 } else { options.kv };
        let options = LoadOptions { sequences, max_rows, kv, ..options.clone() };
        let network = Network::load(checkpoint, &model, &model.graph, &options, progress)?;
        Ok(Vision { network, graph: model.graph, sight })
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What it wants of a picture.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Values in a row that goes out.
    pub fn width(&self) -> usize {
        self.network.width()
    }

    /// How many rows go out for a picture.
    pub fn rows(&self, picture: &Seen<'_>) -> usize {
        match &self.sight {
            Sight::Whole { wanted, .. } => wanted.len().max(1),
            Sight::Patches { merged, .. } => picture.grid.map_or(0, |grid| patches(grid) / merged),
        }
    }

    /// Looks at pictures: of each the rows that go out, flat. `done` hears after each step how many are finished.
    ///
    /// # Errors
    /// A picture of another size than the model wants, too little memory.
    pub fn look(&mut self, pictures: &[Seen<'_>], done: &mut dyn FnMut(usize)) -> Result<Vec<Vec<f32>>, RunError> {
        let mut all = Vec::with_capacity(pictures.len());
        let together = match self.sight {
            Sight::Whole { rows, .. } => STEP_ROWS.div_ceil(rows),
            Sight::Patches { .. } => 1,
        };
        for step in pictures.chunks(together) {
            let counts: Vec<usize> = step.iter().map(|picture| self.rows(picture) * self.width()).collect();
            let values = self.step(step, None)?;
            let mut rest = values.as_slice();
            for count in counts {
                let (own, others) = rest.split_at(count);
                all.push(own.to_vec());
                rest = others;
            }
            done(all.len());
        }
        Ok(all)
    }

    /// Looks at pictures that fit in one step, and shows every named value.
    ///
    /// # Errors
    /// As [`Vision::look`].
    pub fn step(&mut self, pictures: &[Seen<'_>], observer: Option<&mut Observer<'_>>) -> Result<Vec<f32>, RunError> {
        let values: Vec<f32> = pictures.iter().flat_map(|picture| picture.values).copied().collect();
        let out = match &self.sight {
            Sight::Whole { size, rows, class, wanted } => {
                let len = size.iter().product::<usize>();
                if let Some(other) = pictures.iter().find(|picture| picture.values.len() != len) {
                    let what = format!("a picture of {} values, {size:?} are wanted", other.values.len());
                    return Err(RunError::Batch { what });
                }
                let count = pictures.len();
                let (first, last) = (u32::from(*class), *rows as u32);
                let patches = last - first;
                // The class token keeps its own row.
                let placed = (0..count as u32).flat_map(|i| {
                    (0..last).map(move |row| if row < first { 0 } else { i * patches + row - first + 1 })
                });
                let wanted = (0..count as u32).flat_map(|i| wanted.iter().map(move |row| i * last + row));
                let input = Input {
                    tokens: &vec![0; count * rows],
                    positions: &(0..last).collect::<Vec<_>>().repeat(count),
                    placed: &placed.collect::<Vec<_>>(),
                    wanted: &wanted.collect::<Vec<_>>(),
                    given: &[("pixels", &values)],
                    ..Input::default()
                };
                self.network.run(&vec![*rows; count], &input, observer)
            }
            Sight::Patches { len, merged } => {
                let side = merged.isqrt() as u32;
                let mut coordinates = Vec::new();
                let mut frames = Vec::new();
                for picture in pictures {
                    let grid = picture.grid.unwrap_or_default();
                    if patches(grid) * len != picture.values.len() || grid[1] % side != 0 || grid[2] % side != 0 {
                        let what = format!("a picture of {} values and a grid of {grid:?}", picture.values.len());
                        return Err(RunError::Batch { what });
                    }
                    frames.extend(vec![(grid[1] * grid[2]) as usize; grid[0] as usize]);
                    (0..grid[0]).for_each(|_| coordinates.extend(squares(grid[1], grid[2], side)));
                }
                let rows = coordinates.len() as u32;
                let input = Input {
                    positions: &vec![0; coordinates.len()],
                    coordinates: &coordinates,
                    wanted: &(0..rows).step_by(*merged).collect::<Vec<_>>(),
                    given: &[("patches", &values)],
                    ..Input::default()
                };
                self.network.run(&frames, &input, observer)
            }
        };
        out.map(<[f32]>::to_vec).map_err(|error| RunError::Executor(Box::new(error)))
    }
}

fn patches(grid: [u32; 3]) -> usize {
    grid.iter().map(|side| *side as usize).product()
}

/// Lines and columns of patches in the order of processors: square by square, so that those which become one row follow one
/// another.
fn squares(height: u32, width: u32, side: u32) -> impl Iterator<Item = [u32; 3]> {
    let square = move |line: u32, column: u32| {
        (0..side).flat_map(move |i| (0..side).map(move |j| [0, line * side + i, column * side + j]))
    };
    (0..height / side).flat_map(move |line| (0..width / side).flat_map(move |column| square(line, column)))
}
