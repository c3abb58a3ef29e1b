//! Products of all rows with the same weights: chunks of columns, or, of plain floats and many rows, blocks of rows and columns.

use super::*;
use argand_codec::Codec;
use argand_kernels::linear::Pieces;

/// More rows than this meet plain floats in blocks; fewer stream the weight.
const FEW: usize = 6;

/// Whether a weight is met in blocks.
fn blocked(m: &PackedMatrix, n: usize) -> bool {
    m.codec() == Codec::F32 && n > FEW
}

/// How a product is cut: most rows and groups of a piece.
fn cut(m: &PackedMatrix, n: usize, threads: usize) -> [usize; 2] {
    match blocked(m, n) {
        true => blocks(n, m.cols(), m.groups(), threads),
        false => [n, chunk(m, n, threads)],
    }
}

/// Adds what a call needs.
pub(super) fn needs(
    l: &Linear,
    s: &Segment,
    w: &[Resident],
    n: usize,
    threads: usize,
    layout: &Layout,
    needs: &mut Needs,
) {
    let bytes = ActLayout::new(s.bufs[l.x].len, terms(l, w)).bytes(n);
    needs.shared.acts = needs.shared.acts.max(bytes);
    if n <= REDUNDANT {
        needs.private.acts = needs.private.acts.max(bytes);
        needs.private.arena = layout.total * size_of::<f32>();
    }
    if l.glu.is_some() {
        // Pieces are cut by the first part, whose codec may be another one.
        let m = matrix(&w[l.parts[0].w]);
        let [rows, groups] = cut(m, n, threads);
        needs.private.up = needs.private.up.max(rows.min(n) * groups * m.lanes() * size_of::<f32>());
    }
}

impl Run<'_> {
    /// Products: input, barrier unless each thread made its own, then pieces.
    pub(super) fn linear(&self, crew: &Crew<'_>, phase: &mut usize, at: At<'_>, l: &Linear) {
        let n = self.rows.of(l.domain);
        if n == 0 {
            return;
        }
        let redundant = n <= REDUNDANT && crew.threads() > 1;
        let own = redundant && crew.id() > 0;
        let scratch = &self.scratch[crew.id()];
        let view = View {
            at,
            arena: self.arena,
            own: if own { scratch.arena.as_ptr().cast() } else { self.arena },
            made: if own { &l.prologue } else { &[] },
        };
        let k = at.segment.bufs[l.x].len;
        let data = if own { scratch.acts.as_ptr() } else { self.shared.acts.as_ptr() };
        let acts = Acts { data: data.cast(), layout: ActLayout::new(k, terms(l, at.weights)) };
        let quantise = l.parts.iter().any(|p| integer(self.exact, matrix(&at.weights[p.w])));
        let mine = if redundant { 0..n } else { share(n, crew) };
        for row in mine {
            l.prologue.iter().for_each(|step| self.step(view, step, row));
            if quantise {
                // SAFETY: the layout has room for all rows, and this row is this thread's own.
                unsafe {
                    linear::quantize_rows(self.tier, view.ptr(l.x, 0), k, row..row + 1, k, acts.layout, data.cast())
                };
            }
        }
        if !redundant && crew.threads() > 1 && (quantise || !l.prologue.is_empty()) {
            crew.barrier();
            *phase += 1;
            self.dealer.open(crew, *phase);
        }
        let work = Product { run: self, view, l, n, acts, up: scratch.up.as_ptr().cast() };
        let parts = if l.glu.is_some() { &l.parts[..1] } else { &l.parts[..] };
        let cut = |p: &Part| cut(matrix(&at.weights[p.w]), n, crew.threads());
        let columns = |p: &Part| matrix(&at.weights[p.w]).groups().div_ceil(cut(p)[1]);
        let pieces = |p: &Part| n.div_ceil(cut(p)[0]) * columns(p);
        let total = parts.iter().map(pieces).sum();
        while let Some(mut i) = self.dealer.next(*phase, total) {
            for part in parts {
                let count = pieces(part);
                if i < count {
                    let [rows, groups] = cut(part);
                    let (row, group) = (i / columns(part) * rows, i % columns(part) * groups);
                    let last = matrix(&at.weights[part.w]).groups();
                    work.piece(part, row..(row + rows).min(n), group..(group + groups).min(last));
                    break;
                }
                i -= count;
            }
        }
    }
}

/// A product whose input is ready.
struct Product<'a> {
    run: &'a Run<'a>,
    view: View<'a>,
    l: &'a Linear,
    n: usize,
    acts: Acts,
    up: *mut f32,
}

impl Product<'_> {
    /// Some rows and columns of one part (with a gate: of both), finished with bias, gate and tail.
    fn piece(&self, part: &Part, rows: Range<usize>, groups: Range<usize>) {
        let Product { run, view, l, .. } = *self;
        let m = matrix(&view.at.weights[part.w]);
        let (columns, stride) = (m.rows_of(groups.clone()), m.rows());
        let out = run.view(view.at).ptr(part.out, rows.start);
        let Some(act) = l.glu else {
            return self.product(part, rows, groups, out, stride, &l.tail);
        };
        self.product(part, rows.clone(), groups.clone(), out, stride, &[]);
        // The kernel counts columns from the first of the weight.
        self.product(&l.parts[1], rows.clone(), groups, self.up.wrapping_sub(columns.start), columns.len(), &[]);
        for (i, row) in rows.enumerate() {
            // SAFETY: these columns of this row are this piece's own, and the scratch space holds all rows of a piece.
            let (out, up) = unsafe {
                let out = std::slice::from_raw_parts_mut(out.add(i * stride + columns.start), columns.len());
                (out, std::slice::from_raw_parts(self.up.add(i * columns.len()), columns.len()))
            };
            rows::binary_in_place(run.tier, rows::Binary::Glu(act), out, up);
            view.finish(run.tier, &l.tail, row, columns.clone(), out);
        }
    }

    /// The product of some rows with its bias and a tail: row `i` of them goes to `out[i * stride + column]`.
    fn product(
        &self,
        part: &Part,
        rows: Range<usize>,
        groups: Range<usize>,
        out: *mut f32,
        stride: usize,
        tail: &[Tail],
    ) {
        let Product { run, view, acts, .. } = *self;
        let m = matrix(&view.at.weights[part.w]);
        let bias = part.bias.map(|b| vector(&view.at.weights[b]));
        let (x, k, n) = (view.ptr(self.l.x, rows.start), view.len(self.l.x), rows.len());
        let blocked = blocked(m, self.n);
        let (finish, rest) = if blocked { view.early(bias, tail, rows.start) } else { (Finish::default(), tail) };
        // SAFETY: the input holds these rows, the result has room for these columns of them, and both were made before
        // the last barrier or by this thread.
        unsafe {
            if blocked {
                let at: [*const f32; BLOCK] = std::array::from_fn(|i| x.wrapping_add(i * k).cast_const());
                let out = Out { data: out, stride, resume: false };
                linear::linear_pieces(
                    run.tier,
                    m,
                    groups.clone(),
                    Pieces { at: at.as_ptr(), count: 1 },
                    n,
                    out,
                    &finish,
                );
            } else if integer(run.exact, m) {
                linear::linear_int(run.tier, m, groups.clone(), acts, n, out, stride);
            } else {
                linear::linear_f32(run.tier, m, groups.clone(), x, k, n, out, stride);
            }
        }
        let bias = bias.filter(|_| !blocked);
        if bias.is_none() && rest.is_empty() {
            return;
        }
        let columns = m.rows_of(groups);
        for (i, row) in rows.enumerate() {
            // SAFETY: these columns of this row are this piece's own.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * stride + columns.start), columns.len()) };
            if let Some(bias) = bias {
                rows::binary_in_place(run.tier, rows::Binary::Add, out, &bias[columns.clone()]);
            }
            view.finish(run.tier, rest, row, columns.clone(), out);
        }
    }
}
