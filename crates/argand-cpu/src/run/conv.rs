//! Convolutions: a tile of outgoing pixels meets the whole kernel while what lies under it is near, pixel by pixel where it lies, or
//! gathered side by side where pixels are short. Single channels are multiplied line by line.

use super::*;
use crate::program::Conv;
use crate::window::{self, Phase};
use argand_graph::{Window, WindowPool};
use argand_kernels::depthwise::{self, PIXELS, Walk};
use argand_kernels::linear::Pieces;

/// Fewest channels that are multiplied where they lie: shorter runs cost more than to gather them.
const RUN: usize = 8;

/// Outgoing pixels that follow one another in a phase.
struct Tile {
    /// Number of the phase.
    phase: usize,
    first: [usize; 2],
    pixels: usize,
    groups: Range<usize>,
}

/// How the outgoing pixels of all pictures are cut.
struct Cut {
    out: [usize; 2],
    spread: [usize; 2],
    pictures: usize,
    /// Most pixels of a tile, and most groups of outgoing channels.
    size: [usize; 2],
}

impl Cut {
    fn new(conv: &Conv, kernels: &[PackedMatrix], pictures: usize, threads: usize) -> Cut {
        let mut cut = Cut { out: size(&conv.window), spread: conv.window.spread, pictures, size: [1, 1] };
        let longest = conv.phases.iter().map(|p| cut.lines(p)[1]).max().unwrap_or(0);
        let (cols, groups) = (widest(kernels), kernels.first().map_or(1, PackedMatrix::groups));
        // Only what is gathered has to stay near as a whole.
        let held = if gathers(conv, kernels) { cols } else { 1 };
        cut.size = blocks(longest, held, groups, threads);
        cut
    }

    /// Lines of a phase, and pixels in one. Where nothing is spread, all pixels are one line.
    fn lines(&self, phase: &Phase) -> [usize; 2] {
        let along = |axis: usize| self.out[axis].saturating_sub(phase.first[axis]).div_ceil(self.spread[axis]);
        match self.spread {
            [1, 1] => [1, self.pictures * self.out[0] * self.out[1]],
            _ => [self.pictures * along(0), along(1)],
        }
    }

    fn tiles(&self, phase: &Phase, groups: usize) -> usize {
        let [lines, pixels] = self.lines(phase);
        lines * pixels.div_ceil(self.size[0]) * groups.div_ceil(self.size[1])
    }

    fn tile(&self, phases: &[Phase], groups: usize, mut i: usize) -> Option<Tile> {
        for (phase, p) in phases.iter().enumerate() {
            let (tiles, [_, pixels]) = (self.tiles(p, groups), self.lines(p));
            if i < tiles {
                let (parts, in_line) = (groups.div_ceil(self.size[1]), pixels.div_ceil(self.size[0]));
                let (part, i) = (i % parts * self.size[1], i / parts);
                let first = i % in_line * self.size[0];
                return Some(Tile {
                    phase,
                    first: [i / in_line, first],
                    pixels: self.size[0].min(pixels - first),
                    groups: part..(part + self.size[1]).min(groups),
                });
            }
            i -= tiles;
        }
        None
    }

    /// In which picture pixel `i` of a tile is, and where.
    fn at(&self, phase: &Phase, tile: &Tile, i: usize) -> (usize, [usize; 2]) {
        let [line, pixel] = [tile.first[0], tile.first[1] + i];
        match self.spread {
            [1, 1] => {
                let (picture, pixel) = (pixel / (self.out[0] * self.out[1]), pixel % (self.out[0] * self.out[1]));
                (picture, [pixel / self.out[1], pixel % self.out[1]])
            }
            [high, wide] => {
                let lines = self.lines(phase)[0] / self.pictures;
                (line / lines, [phase.first[0] + line % lines * high, phase.first[1] + pixel * wide])
            }
        }
    }
}

/// The size of the outgoing picture.
fn size(window: &Window) -> [usize; 2] {
    window.out().expect("the window was checked when the graph was built")
}

/// Columns of the widest kernel.
fn widest(kernels: &[PackedMatrix]) -> usize {
    kernels.iter().map(PackedMatrix::cols).max().unwrap_or(0)
}

/// Whether what lies under a tile is put side by side.
fn gathers(c: &Conv, kernels: &[PackedMatrix]) -> bool {
    let taps = c.phases.iter().map(Phase::len).max().unwrap_or(0);
    taps > 0 && widest(kernels) / taps < RUN
}

/// Space of a thread: zeros for a pixel, addresses for a tile, and what is gathered for it; offsets in bytes, and all of it.
struct Space {
    addresses: usize,
    gathered: usize,
    bytes: usize,
}

impl Space {
    fn new(channels: usize, addresses: usize, gathered: usize) -> Space {
        let zeros = (channels * size_of::<f32>()).next_multiple_of(64);
        let behind = zeros + (addresses * size_of::<*const f32>()).next_multiple_of(64);
        Space { addresses: zeros, gathered: behind, bytes: behind + gathered * size_of::<f32>() }
    }

    fn of(c: &Conv, s: &Segment, w: &[Resident], cut: Option<&Cut>) -> Space {
        let taps = c.window.taps();
        match (&w[c.part.w], cut) {
            (kernels @ Resident::Stack(_), Some(cut)) => {
                let kernels = stack(kernels);
                let cols = if gathers(c, kernels) { widest(kernels) } else { 0 };
                Space::new(s.bufs[c.x].len, cut.size[0] * taps, cut.size[0] * cols)
            }
            _ => Space::new(s.bufs[c.x].len, PIXELS * taps + c.window.kernel[0], 0),
        }
    }
}

/// Adds what a call needs.
pub(super) fn needs(c: &Conv, s: &Segment, w: &[Resident], pictures: usize, threads: usize, needs: &mut Needs) {
    let cut = match &w[c.part.w] {
        Resident::Stack(kernels) => Some(Cut::new(c, kernels, pictures, threads)),
        _ => None,
    };
    needs.private.up = needs.private.up.max(Space::of(c, s, w, cut.as_ref()).bytes);
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
        let cut = Cut::new(c, kernels, self.rows.b, crew.threads());
        let bias = c.part.bias.map(|b| vector(&at.weights[b]));
        let (zeros, addresses, gathered) = self.space(crew, c, at, Some(&cut));
        let gathers = gathers(c, kernels);
        let groups = kernels.first().map_or(0, PackedMatrix::groups);
        let all: usize = c.phases.iter().map(|p| cut.tiles(p, groups)).sum();
        while let Some(i) = self.dealer.next(phase, all) {
            let Some(tile) = cut.tile(&c.phases, groups, i) else { continue };
            let phase = &c.phases[tile.phase];
            let row = |i: usize| {
                let (picture, [y, x]) = cut.at(phase, &tile, i);
                picture * cut.out[0] * cut.out[1] + y * cut.out[1] + x
            };
            for group in 0..c.groups {
                let m = &kernels[tile.phase * c.groups + group];
                let part = group * channels / c.groups..(group + 1) * channels / c.groups;
                let count = if gathers { 1 } else { phase.len() };
                for i in 0..tile.pixels {
                    let (picture, pixel) = cut.at(phase, &tile, i);
                    let pixels = self.picture(view, c, picture);
                    let under = &mut addresses[i * count..(i + 1) * count];
                    if gathers {
                        let to = &mut gathered[i * m.cols()..(i + 1) * m.cols()];
                        window::gather(&c.window, phase, pixels, channels, part.clone(), pixel, to);
                        under[0] = to.as_ptr();
                    } else {
                        let pixel_at =
                            |i: Option<usize>| i.map_or(zeros, |i| &pixels[i * channels..(i + 1) * channels]);
                        let at = |i: Option<usize>| pixel_at(i)[part.clone()].as_ptr();
                        window::under(&c.window, phase, pixel).zip(under).for_each(|(i, under)| *under = at(i));
                    }
                }
                let first = row(0);
                let (finish, rest) = view.early(bias.map(|b| &b[group * m.rows()..]), &c.tail, first);
                let finish = Finish { add: finish.add.map(|rows| rows.wrapping_add(group * m.rows())), ..finish };
                let data = view.ptr(c.part.out, first).wrapping_add(group * m.rows());
                let out = Out { data, stride: outs * c.window.spread[1], resume: false };
                // SAFETY: what lies under the tile is read only in this phase, or this thread's; so are these outgoing pixels, which lie
                // `spread` apart.
                unsafe {
                    let x = Pieces { at: addresses.as_ptr(), count };
                    linear::linear_pieces(self.tier, m, tile.groups.clone(), x, tile.pixels, out, &finish);
                }
                if !rest.is_empty() {
                    let columns = m.rows_of(tile.groups.clone());
                    let columns = group * m.rows() + columns.start..group * m.rows() + columns.end;
                    for row in (0..tile.pixels).map(row) {
                        // SAFETY: these channels of this pixel are this tile's own.
                        let out = unsafe {
                            let first = view.ptr(c.part.out, row).add(columns.start);
                            std::slice::from_raw_parts_mut(first, columns.len())
                        };
                        view.finish(self.tier, rest, row, columns.clone(), out);
                    }
                }
            }
        }
    }

    /// The space of a thread: zeros, addresses, and what is gathered.
    #[allow(clippy::mut_from_ref)]
    fn space(
        &self,
        crew: &Crew<'_>,
        c: &Conv,
        at: At<'_>,
        cut: Option<&Cut>,
    ) -> (&[f32], &mut [*const f32], &mut [f32]) {
        let space = Space::of(c, at.segment, at.weights, cut);
        let first = self.scratch[crew.id()].up.as_ptr();
        // SAFETY: the space of this thread is page-aligned, has room for the three one after another, and nothing else uses it.
        unsafe {
            let zeros = std::slice::from_raw_parts_mut(first.cast::<f32>(), at.segment.bufs[c.x].len);
            zeros.fill(0.0);
            let addresses = (space.gathered - space.addresses) / size_of::<*const f32>();
            first.add(space.addresses).cast::<*const f32>().write_bytes(0, addresses);
            let gathered = (space.bytes - space.gathered) / size_of::<f32>();
            (
                zeros,
                std::slice::from_raw_parts_mut(first.add(space.addresses).cast(), addresses),
                std::slice::from_raw_parts_mut(first.add(space.gathered).cast(), gathered),
            )
        }
    }

    /// The pixels of a picture that comes in.
    fn picture<'v>(&self, view: View<'v>, c: &Conv, picture: usize) -> &'v [f32] {
        let pixels = c.window.size[0] * c.window.size[1];
        let first = view.ptr(c.x, picture * pixels);
        // SAFETY: the buffer holds all pixels of all pictures, and nobody writes them in this phase.
        unsafe { std::slice::from_raw_parts(first, pixels * view.len(c.x)) }
    }

    /// Lines of outgoing pixels. Near the left and the right edge, pixels beyond it are read from a row of zeros.
    fn depthwise(&self, crew: &Crew<'_>, phase: usize, at: At<'_>, c: &Conv, kernel: &[f32]) {
        let view = self.view(at);
        let (channels, taps, [height, width]) = (view.len(c.x), c.window.taps(), size(&c.window));
        let bias = c.part.bias.map_or(std::ptr::null(), |b| vector(&at.weights[b]).as_ptr());
        let (zeros, addresses, _) = self.space(crew, c, at, None);
        let (under, lines) = addresses.split_at_mut(PIXELS * taps);
        let lines = &mut lines[..c.window.kernel[0]];
        let (bound, rest) = match c.tail.as_slice() {
            [Tail::Unary(f), rest @ ..] if f.is_bound() => (Some(*f), rest),
            tail => (None, tail),
        };
        let (walk, inside) = inside(&c.window, width);
        while let Some(i) = self.dealer.next(phase, self.rows.b * height) {
            let (y, pixels) = (i % height, self.picture(view, c, i / height));
            let pixel = |y: usize, x: usize| pixels[(y * c.window.size[1] + x) * channels..][..channels].as_ptr();
            let row = |x: usize| view.ptr(c.part.out, i * width + x);
            for edge in [0..inside.start, inside.end..width] {
                for first in edge.clone().step_by(PIXELS) {
                    let n = PIXELS.min(edge.end - first);
                    for (p, under) in under.chunks_mut(taps).enumerate() {
                        // What is not stored may be anything that can be read.
                        let x = first + p.min(n - 1);
                        for (tap, under) in under.iter_mut().enumerate() {
                            let [line, column] = [tap / c.window.kernel[1], tap % c.window.kernel[1]];
                            let place = c.window.under(0, y, line).zip(c.window.under(1, x, column));
                            *under = place.map_or(zeros.as_ptr(), |(y, x)| pixel(y, x));
                        }
                    }
                    let (under, kernel) = (under.as_ptr(), kernel.as_ptr());
                    // SAFETY: addresses of whole rows of channels; the line is this thread's.
                    unsafe {
                        depthwise::depthwise(self.tier, channels, taps, under, kernel, bias, bound, n, row(first))
                    };
                }
            }
            if !inside.is_empty() {
                let first = inside.start * walk.stride - c.window.before[1];
                for (line, start) in lines.iter_mut().enumerate() {
                    *start = c.window.under(0, y, line).map_or(std::ptr::null(), |y| pixel(y, first));
                }
                let (n, out) = (inside.len(), row(inside.start));
                // SAFETY: the window stays on the lines for these pixels; the line is this thread's.
                unsafe {
                    depthwise::depthwise_line(self.tier, channels, walk, lines, kernel.as_ptr(), bias, bound, n, out);
                }
            }
            if !rest.is_empty() {
                for row in i * width..(i + 1) * width {
                    view.finish(self.tier, rest, row, 0..channels, view.row_mut(c.part.out, row));
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

/// Outgoing pixels of a line under which the window stays on the picture, and how it walks there; none if kernels do not know how.
fn inside(window: &Window, width: usize) -> (Walk, Range<usize>) {
    let walk = Walk { kernel: window.kernel, stride: window.stride[1] };
    if !walk.is_known() || window.dilation[1] != 1 || window.spread != [1, 1] {
        return (walk, 0..0);
    }
    let beyond = (window.size[1] + window.before[1] + 1).saturating_sub(window.kernel[1]).div_ceil(walk.stride);
    let end = beyond.min(width);
    (walk, window.before[1].div_ceil(walk.stride).min(end)..end)
}
