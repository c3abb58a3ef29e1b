//! Convolutions: a tile of outgoing pixels is gathered, what lies under the window of each side by side, and meets the whole
//! kernel while it is near. Single channels are multiplied where they lie.

use super::*;
use crate::program::Conv;
use crate::window::{self, Phase};
use argand_graph::{Window, WindowPool};
use argand_kernels::depthwise::{self, PIXELS};

/// Floats of a tile that stay in the second-level cache beside a part of the kernel.
const TILE_FLOATS: usize = 48 << 10;
/// Most outgoing pixels of a tile, and the fewest: kernels take six rows at once.
const TILE_PIXELS: [usize; 2] = [6, 96];

/// Outgoing pixels that follow one another in a phase.
struct Tile {
    /// Number of the phase.
    phase: usize,
    first: [usize; 2],
    pixels: usize,
}

/// How the outgoing pixels of a picture are cut.
struct Cut {
    out: [usize; 2],
    spread: [usize; 2],
    pixels: usize,
}

impl Cut {
    fn new(conv: &Conv, cols: usize) -> Cut {
        let pixels = (TILE_FLOATS / cols.max(1)).clamp(TILE_PIXELS[0], TILE_PIXELS[1]);
        Cut { out: size(&conv.window), spread: conv.window.spread, pixels }
    }

    /// Lines of a phase, and pixels in one. Where nothing is spread, all pixels are one line.
    fn lines(&self, phase: &Phase) -> [usize; 2] {
        let along = |axis: usize| self.out[axis].saturating_sub(phase.first[axis]).div_ceil(self.spread[axis]);
        if self.spread == [1, 1] { [1, self.out[0] * self.out[1]] } else { [along(0), along(1)] }
    }

    fn tiles(&self, phase: &Phase) -> usize {
        let [lines, pixels] = self.lines(phase);
        lines * pixels.div_ceil(self.pixels)
    }

    fn tile(&self, phases: &[Phase], mut i: usize) -> Option<Tile> {
        for (phase, p) in phases.iter().enumerate() {
            let (tiles, [_, pixels]) = (self.tiles(p), self.lines(p));
            if i < tiles {
                let in_line = pixels.div_ceil(self.pixels);
                let first = i % in_line * self.pixels;
                return Some(Tile { phase, first: [i / in_line, first], pixels: self.pixels.min(pixels - first) });
            }
            i -= tiles;
        }
        None
    }

    /// Where pixel `i` of a tile is.
    fn at(&self, phase: &Phase, tile: &Tile, i: usize) -> [usize; 2] {
        let [line, pixel] = [tile.first[0], tile.first[1] + i];
        match self.spread {
            [1, 1] => [pixel / self.out[1], pixel % self.out[1]],
            [high, wide] => [phase.first[0] + line * high, phase.first[1] + pixel * wide],
        }
    }
}

/// The size of the outgoing picture.
fn size(window: &Window) -> [usize; 2] {
    window.out().expect("the window was checked when the graph was built")
}

/// Adds what a call needs.
pub(super) fn needs(c: &Conv, s: &Segment, w: &[Resident], needs: &mut Needs) {
    let bytes = match &w[c.part.w] {
        Resident::Vector(_) => {
            let zeros = s.bufs[c.x].len * size_of::<f32>();
            zeros.next_multiple_of(64) + PIXELS * c.window.taps() * size_of::<*const f32>()
        }
        kernels => {
            let cols = stack(kernels).iter().map(PackedMatrix::cols).max().unwrap_or(0);
            Cut::new(c, cols).pixels * cols * size_of::<f32>()
        }
    };
    needs.private.up = needs.private.up.max(bytes);
}

impl Run<'_> {
    /// A convolution: tiles of pixels, or lines where each channel is by itself.
    pub(super) fn conv(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, c: &Conv) {
        match &at.weights[c.part.w] {
            Resident::Vector(kernel) => self.depthwise(crew, phase, at, c, kernel),
            kernels => self.tiles(crew, phase, at, c, stack(kernels)),
        }
    }

    fn tiles(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, c: &Conv, kernels: &[PackedMatrix]) {
        let view = self.view(at);
        let (channels, outs) = (view.len(c.x), view.len(c.part.out));
        let cut = Cut::new(c, kernels.iter().map(PackedMatrix::cols).max().unwrap_or(0));
        let bias = c.part.bias.map(|b| vector(&at.weights[b]));
        let space: *mut f32 = self.scratch[crew.id()].up.as_ptr().cast();
        let per_picture: usize = c.phases.iter().map(|p| cut.tiles(p)).sum();
        while let Some(i) = self.dealer.next(phase, self.rows.b * per_picture) {
            let Some(tile) = cut.tile(&c.phases, i % per_picture) else { continue };
            let (picture, phase) = (i / per_picture, &c.phases[tile.phase]);
            let row = |i: usize| {
                let [y, x] = cut.at(phase, &tile, i);
                picture * cut.out[0] * cut.out[1] + y * cut.out[1] + x
            };
            for group in 0..c.groups {
                let m = &kernels[tile.phase * c.groups + group];
                let part = group * channels / c.groups..(group + 1) * channels / c.groups;
                for i in 0..tile.pixels {
                    // SAFETY: the space of this thread holds all pixels of a tile.
                    let gathered = unsafe { std::slice::from_raw_parts_mut(space.add(i * m.cols()), m.cols()) };
                    let pixel = cut.at(phase, &tile, i);
                    window::gather(
                        &c.window,
                        phase,
                        self.picture(view, c, picture),
                        channels,
                        part.clone(),
                        pixel,
                        gathered,
                    );
                }
                let out = view.ptr(c.part.out, row(0)).wrapping_add(group * m.rows());
                // SAFETY: the gathered rows are this thread's, and so are these outgoing pixels, which lie `spread` apart.
                unsafe {
                    linear::linear_f32(
                        self.tier,
                        m,
                        0..m.groups(),
                        space,
                        m.cols(),
                        tile.pixels,
                        out,
                        outs * c.window.spread[1],
                    );
                }
            }
            for row in (0..tile.pixels).map(row) {
                let out = view.row_mut(c.part.out, row);
                if let Some(bias) = bias {
                    rows::binary_in_place(self.tier, rows::Binary::Add, out, bias);
                }
                view.finish(self.tier, &c.tail, row, 0..outs, out);
            }
        }
    }

    /// The pixels of a picture that comes in.
    fn picture<'v>(&self, view: View<'v>, c: &Conv, picture: usize) -> &'v [f32] {
        let pixels = c.window.size[0] * c.window.size[1];
        let first = view.ptr(c.x, picture * pixels);
        // SAFETY: the buffer holds all pixels of all pictures, and nobody writes them in this phase.
        unsafe { std::slice::from_raw_parts(first, pixels * view.len(c.x)) }
    }

    /// Some pixels of a line at a time. Pixels beyond the edge are read from a row of zeros.
    fn depthwise(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, c: &Conv, kernel: &[f32]) {
        let view = self.view(at);
        let (channels, taps, [height, width]) = (view.len(c.x), c.window.taps(), size(&c.window));
        let bias = c.part.bias.map_or(std::ptr::null(), |b| vector(&at.weights[b]).as_ptr());
        let space = self.scratch[crew.id()].up.as_ptr();
        // SAFETY: the space of this thread has room for a row of zeros and the addresses behind it.
        let (zeros, under) = unsafe {
            space.cast::<f32>().write_bytes(0, channels);
            let behind = space.add((channels * size_of::<f32>()).next_multiple_of(64));
            (space.cast::<f32>().cast_const(), std::slice::from_raw_parts_mut(behind.cast(), PIXELS * taps))
        };
        while let Some(i) = self.dealer.next(phase, self.rows.b * height) {
            let (y, pixels) = (i % height, self.picture(view, c, i / height));
            for first in (0..width).step_by(PIXELS) {
                let n = PIXELS.min(width - first);
                for (p, under) in under.chunks_mut(taps).enumerate() {
                    // What is not stored may be anything that can be read.
                    let x = first + p.min(n - 1);
                    for (tap, under) in under.iter_mut().enumerate() {
                        let [line, column] = [tap / c.window.kernel[1], tap % c.window.kernel[1]];
                        let place = c.window.under(0, y, line).zip(c.window.under(1, x, column));
                        *under = place.map_or(zeros, |(y, x)| {
                            pixels[(y * c.window.size[1] + x) * channels..][..channels].as_ptr()
                        });
                    }
                }
                let row = i * width + first;
                // SAFETY: addresses of whole rows of channels; the line is this thread's.
                unsafe {
                    let out = view.ptr(c.part.out, row);
                    depthwise::depthwise(self.tier, channels, taps, under.as_ptr(), kernel.as_ptr(), bias, n, out);
                }
                for row in row..row + n {
                    view.finish(self.tier, &c.tail, row, 0..channels, view.row_mut(c.part.out, row));
                }
            }
        }
    }

    /// The largest or the mean value of each channel under a window.
    pub(super) fn window(
        &self,
        crew: &Crew<'_>,
        at: At<'_>,
        (x, out): (BufId, BufId),
        window: &Window,
        pool: WindowPool,
    ) {
        let (view, [height, width]) = (self.view(at), size(window));
        let (start, f) = match pool {
            WindowPool::Max => (f32::NEG_INFINITY, rows::Binary::Max),
            WindowPool::Mean => (0.0, rows::Binary::Add),
        };
        for row in share(self.rows.b * height * width, crew) {
            let (picture, y, x_at) = (row / (height * width), row / width % height, row % width);
            let to = view.row_mut(out, row);
            to.fill(start);
            let mut met = 0;
            for tap in 0..window.taps() {
                let [line, column] = [tap / window.kernel[1], tap % window.kernel[1]];
                if let (Some(y), Some(x_at)) = (window.under(0, y, line), window.under(1, x_at, column)) {
                    let pixel = (picture * window.size[0] + y) * window.size[1] + x_at;
                    rows::binary_in_place(self.tier, f, to, view.row(x, pixel));
                    met += 1;
                }
            }
            match pool {
                // A window that meets nothing has no largest value.
                _ if met == 0 => to.fill(0.0),
                WindowPool::Mean => rows::unary_in_place(self.tier, rows::Unary::Scale(1.0 / met as f32), to),
                WindowPool::Max => {}
            }
        }
    }
}
