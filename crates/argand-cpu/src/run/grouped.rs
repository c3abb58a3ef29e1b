//! Products with stacks of weights: the rows that meet a weight are put side by side, so that each weight is read once, and
//! only those that any row meets.

use super::*;
use crate::program::Grouped;

/// What each thread makes out for itself: which rows meet which weight.
struct Order<'a> {
    /// Where the pairs of each weight begin, and behind the last where they end.
    starts: &'a [u32],
    /// `row * slots + slot`, by weight, rows ascending.
    pairs: &'a [u32],
}

impl Order<'_> {
    /// The places of the pairs of a weight.
    fn of(&self, weight: usize) -> Range<usize> {
        self.starts[weight] as usize..self.starts[weight + 1] as usize
    }

    fn weights(&self) -> usize {
        self.starts.len() - 1
    }
}

/// Adds what a call needs in a step of `n` tokens.
pub(super) fn needs(g: &Grouped, s: &Segment, w: &[Resident], n: usize, threads: usize, needs: &mut Needs) {
    let (pairs, stacks) = (n * g.slots, || g.parts.iter().map(|p| stack(&w[p.w])));
    let k = s.bufs[g.x].len / if g.each { g.slots } else { 1 };
    let weights = stacks().map(<[_]>::len).max().unwrap_or(0);
    needs.shared.acts = needs.shared.acts.max(ActLayout::new(k, 1).bytes(pairs));
    needs.shared.up = needs.shared.up.max(pairs * k * size_of::<f32>());
    needs.private.order = needs.private.order.max((weights + 1 + pairs) * size_of::<u32>());
    for m in stacks().flatten() {
        // A weight may meet any number of rows, and a piece is one of few rows or one of many.
        let floats = [n.min(STREAMED), n].map(|rows| rows * chunk(m, rows, threads) * m.lanes());
        needs.private.up = needs.private.up.max(2 * floats[0].max(floats[1]) * size_of::<f32>());
    }
}

impl Run<'_> {
    /// Inputs side by side by weight, barrier, then pieces of columns of each weight that meets any.
    pub(super) fn grouped(&self, crew: &Crew<'_>, phase: &mut usize, at: At<'_>, g: &Grouped) {
        let view = self.view(at);
        let first = stack(&at.weights[g.parts[0].w]);
        let scratch = &self.scratch[crew.id()];
        let order = self.order(view, g, first.len(), &scratch.order);
        let k = view.len(g.x) / if g.each { g.slots } else { 1 };
        let acts = Acts { data: self.shared.acts.as_ptr().cast(), layout: ActLayout::new(k, 1) };
        let gathered: *mut f32 = self.shared.up.as_ptr().cast();
        let integers = |p: &Part| stack(&at.weights[p.w]).iter().any(|m| integer(self.exact, m));
        let floats = |p: &Part| stack(&at.weights[p.w]).iter().any(|m| !integer(self.exact, m));
        let (quantise, gather) = (g.parts.iter().any(integers), g.parts.iter().any(floats));
        for place in share(order.pairs.len(), crew) {
            let (row, slot) = (order.pairs[place] as usize / g.slots, order.pairs[place] as usize % g.slots);
            let x = &view.row(g.x, row)[if g.each { slot * k } else { 0 }..][..k];
            // SAFETY: the shared space has room for all pairs, and this place is this thread's own.
            unsafe {
                if quantise {
                    // One row serves as any, because the stride is zero.
                    let data = acts.data.cast_mut();
                    linear::quantize_rows(self.tier, x.as_ptr(), 0, place..place + 1, k, acts.layout, data);
                }
                if gather {
                    gathered.add(place * k).copy_from_nonoverlapping(x.as_ptr(), k);
                }
            }
        }
        if crew.threads() > 1 {
            crew.barrier();
            *phase += 1;
            self.dealer.open(crew, *phase);
        }
        let parts = if g.glu.is_some() { &g.parts[..1] } else { &g.parts[..] };
        let size =
            |weight: usize, p: &Part| chunk(&stack(&at.weights[p.w])[weight], order.of(weight).len(), crew.threads());
        let pieces = |weight: usize, p: &Part| match order.of(weight).is_empty() {
            true => 0,
            false => stack(&at.weights[p.w])[weight].groups().div_ceil(size(weight, p)),
        };
        let all = || (0..order.weights()).flat_map(|weight| parts.iter().map(move |p| (weight, p)));
        let total = all().map(|(weight, p)| pieces(weight, p)).sum();
        let work = Pieces { run: self, view, g, k, order: &order, acts, gathered, space: scratch.up.as_ptr().cast() };
        while let Some(mut i) = self.dealer.next(*phase, total) {
            for (weight, part) in all() {
                let count = pieces(weight, part);
                if i < count {
                    let size = size(weight, part);
                    let groups = stack(&at.weights[part.w])[weight].groups();
                    work.columns(weight, part, i * size..((i + 1) * size).min(groups));
                    break;
                }
                i -= count;
            }
        }
    }

    /// Sorts pairs of rows and slots by the weight that they meet. Counting costs less than a barrier, so every thread does it.
    fn order<'s>(&self, view: View<'_>, g: &Grouped, weights: usize, space: &'s Region) -> Order<'s> {
        let n = self.rows.n;
        // SAFETY: the region belongs to the calling thread, is page-aligned and was sized for this by `needs`.
        let space: &mut [u32] =
            unsafe { std::slice::from_raw_parts_mut(space.as_ptr().cast(), weights + 1 + n * g.slots) };
        let (starts, pairs) = space.split_at_mut(weights + 1);
        starts.fill(0);
        let each = |meet: &mut dyn FnMut(usize, usize)| {
            for row in 0..n {
                match g.routes {
                    None => (0..g.slots).for_each(|slot| meet(slot, row * g.slots + slot)),
                    Some(routes) => {
                        let met = view.row(routes, row).iter().enumerate().filter(|(_, w)| **w != 0.0);
                        met.take(g.slots).enumerate().for_each(|(slot, (e, _))| meet(e, row * g.slots + slot));
                    }
                }
            }
        };
        each(&mut |weight, _| starts[weight + 1] += 1);
        (0..weights).for_each(|w| starts[w + 1] += starts[w]);
        let total = starts[weights] as usize;
        // Each start moves to the end of its weight, which is the start of the next.
        each(&mut |weight, pair| {
            pairs[starts[weight] as usize] = pair as u32;
            starts[weight] += 1;
        });
        starts.copy_within(0..weights, 1);
        starts[0] = 0;
        Order { starts, pairs: &pairs[..total] }
    }
}

/// Products whose inputs are ready.
struct Pieces<'a> {
    run: &'a Run<'a>,
    view: View<'a>,
    g: &'a Grouped,
    k: usize,
    order: &'a Order<'a>,
    acts: Acts,
    gathered: *const f32,
    /// This thread's own.
    space: *mut f32,
}

impl Pieces<'_> {
    /// Some columns of one weight (with a gate: of both) for all rows that it meets, put where rows have their slots.
    fn columns(&self, weight: usize, part: &Part, groups: Range<usize>) {
        let Pieces { run, view, g, .. } = *self;
        let m = &stack(&view.at.weights[part.w])[weight];
        let (columns, places) = (m.rows_of(groups.clone()), self.order.of(weight));
        let (width, stride) = (columns.len(), m.rows());
        self.product(m, groups.clone(), places.clone(), self.space);
        let up_space = self.space.wrapping_add(places.len() * width);
        if g.glu.is_some() {
            self.product(&stack(&view.at.weights[g.parts[1].w])[weight], groups, places.clone(), up_space);
        }
        let bias = |p: &Part| p.bias.map(|b| &vector(&view.at.weights[b])[weight * stride..][columns.clone()]);
        for (i, place) in places.enumerate() {
            let pair = self.order.pairs[place] as usize;
            let (row, slot) = (pair / g.slots, pair % g.slots);
            // SAFETY: the space of this thread holds all rows of a piece, twice; these columns of this slot of this row are
            // this piece's own.
            let (made, up, out) = unsafe {
                let made = |space: *mut f32| std::slice::from_raw_parts_mut(space.add(i * width), width);
                let out = view.ptr(part.out, row).add(slot * stride + columns.start);
                (made(self.space), g.glu.map(|_| made(up_space)), std::slice::from_raw_parts_mut(out, width))
            };
            if let Some(bias) = bias(part) {
                rows::binary_in_place(run.tier, rows::Binary::Add, made, bias);
            }
            if let (Some(act), Some(up)) = (g.glu, up) {
                if let Some(bias) = bias(&g.parts[1]) {
                    rows::binary_in_place(run.tier, rows::Binary::Add, up, bias);
                }
                rows::binary_in_place(run.tier, rows::Binary::Glu(act), made, up);
            }
            out.copy_from_slice(made);
        }
    }

    /// The raw product of some rows of the sorted input: `[places][columns]`.
    fn product(&self, m: &PackedMatrix, groups: Range<usize>, places: Range<usize>, out: *mut f32) {
        let Pieces { run, k, acts, .. } = *self;
        let columns = m.rows_of(groups.clone());
        // The kernel counts columns from the first of the weight.
        let (out, n) = (out.wrapping_sub(columns.start), places.len());
        // SAFETY: the inputs of all places were made before the last barrier or by this thread, and the space of this thread
        // has room for their results.
        unsafe {
            if integer(run.exact, m) {
                let data = acts.data.add(places.start * acts.layout.stride);
                linear::linear_int(run.tier, m, groups, Acts { data, ..acts }, n, out, columns.len());
            } else {
                let x = self.gathered.add(places.start * k);
                linear::linear_f32(run.tier, m, groups, x, k, n, out, columns.len());
            }
        }
    }
}
