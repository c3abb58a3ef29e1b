//! The memory planner: buffers that are never alive together may share memory.

/// When a buffer is needed and how big it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// First call that writes it.
    pub first: usize,
    /// Last call that reads it, inclusive.
    pub last: usize,
    /// Size in bytes (or any unit).
    pub size: usize,
}

impl Lifetime {
    fn meets(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// An offset for each buffer and the size of the arena: greedy by size, each buffer at the tightest gap that is free for
/// its whole life (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference"). Offsets are
/// multiples of `align`.
pub fn plan(buffers: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(buffers[*i].size), *i));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let size = buffers[i].size.next_multiple_of(align);
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|p| buffers[**p].meets(&buffers[i]))
            .map(|p| (offsets[*p], offsets[*p] + buffers[*p].size.next_multiple_of(align)))
            .collect();
        busy.sort_unstable();
        offsets[i] = tightest_gap(&busy, size);
        total = total.max(offsets[i] + size);
        placed.push(i);
    }
    (offsets, total)
}

fn tightest_gap(busy: &[(usize, usize)], size: usize) -> usize {
    let mut end = 0;
    let mut best: Option<(usize, usize)> = None;
    for (from, to) in busy {
        let gap = from.saturating_sub(end);
        if gap >= size && best.is_none_or(|(g, _)| gap < g) {
            best = Some((gap, end));
        }
        end = end.max(*to);
    }
    best.map_or(end, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn live_buffers_never_overlap(raw in prop::collection::vec((0usize..20, 0usize..6, 0usize..1000), 0..40)) {
            let buffers: Vec<Lifetime> =
                raw.iter().map(|(f, l, s)| Lifetime { first: *f, last: f + l, size: *s }).collect();
            let (offsets, total) = plan(&buffers, 64);
            for (i, a) in buffers.iter().enumerate() {
                prop_assert!(offsets[i] % 64 == 0 && offsets[i] + a.size <= total);
                for (j, b) in buffers.iter().enumerate().filter(|(j, b)| *j != i && b.meets(a)) {
                    let apart = offsets[i] + a.size <= offsets[j] || offsets[j] + b.size <= offsets[i];
                    prop_assert!(apart, "{i} and {j}");
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> = (0..10).map(|i| Lifetime { first: i, last: i + 1, size: 128 }).collect();
        assert_eq!(plan(&chain, 64).1, 256);
    }
}
