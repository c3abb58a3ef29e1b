//! Fusion: fewer phases, fewer trips through memory, the same values.
//!
//! It runs before memory is planned, so a buffer that a fused call still reads is alive by construction.

use crate::program::{BufId, Call, Domain, Grouped, Linear, Program, Segment, Step, Tail};
use argand_graph::Binary;

/// Fuses the calls of every segment.
pub fn fuse(program: &mut Program) {
    // The carried buffers are read and written by layers, which the main part's calls do not show.
    let carried: Vec<BufId> = program.layers.iter().flat_map(|l| l.carry).collect();
    fuse_segment(&mut program.main, &carried);
    for layers in &mut program.layers {
        for body in &mut layers.bodies {
            fuse_segment(body, &[]);
        }
    }
}

fn fuse_segment(s: &mut Segment, pinned: &[BufId]) {
    group_linears(s);
    group_stacks(s);
    group_recurrences(s);
    while glu(s, pinned) || tail(s, pinned) {}
    merge_rows(s);
    prologues(s);
}

/// Recurrences that do not wait for each other become one call, at the place of the first.
fn group_recurrences(s: &mut Segment) {
    for i in 0..s.calls.len() {
        let joins = |s: &Segment, j: usize| {
            let made = || s.calls[i..j].iter().flat_map(Call::writes);
            let reads = s.calls[j].reads();
            matches!(s.calls[j], Call::Recur(_)) && !made().any(|b| reads.contains(&b))
        };
        while matches!(s.calls.get(i), Some(Call::Recur(_)))
            && let Some(j) = (i + 1..s.calls.len()).find(|j| joins(s, *j))
            && let Call::Recur(more) = s.calls.remove(j)
            && let Call::Recur(all) = &mut s.calls[i]
        {
            all.extend(more);
        }
    }
}

/// Products of the same input become one call, at the place of the first.
fn group_linears(s: &mut Segment) {
    let mut i = 0;
    while i < s.calls.len() {
        if let Call::Linear(first) = &s.calls[i] {
            let (x, domain) = (first.x, first.domain);
            let later = (i + 1..s.calls.len())
                .filter(|j| matches!(&s.calls[*j], Call::Linear(l) if l.x == x && l.domain == domain));
            for j in later.collect::<Vec<_>>().into_iter().rev() {
                if let Call::Linear(mut more) = s.calls.remove(j)
                    && let Call::Linear(first) = &mut s.calls[i]
                {
                    // From the back, so that the order of the graph is kept.
                    first.parts.splice(1..1, more.parts.drain(..));
                }
            }
        }
        i += 1;
    }
}

/// Products of the same rows with stacks become one call, at the place of the first.
fn group_stacks(s: &mut Segment) {
    let mut i = 0;
    while i < s.calls.len() {
        let same = |first: &Grouped, g: &Grouped| (first.x, first.routes, first.slots) == (g.x, g.routes, g.slots);
        let later = |first: &Grouped, c: &Call| matches!(c, Call::Grouped(g) if same(first, g));
        while let Call::Grouped(first) = &s.calls[i]
            && let Some(j) = (i + 1..s.calls.len()).find(|j| later(first, &s.calls[*j]))
        {
            if let Call::Grouped(more) = s.calls.remove(j)
                && let Call::Grouped(first) = &mut s.calls[i]
            {
                first.parts.extend(more.parts);
            }
        }
        i += 1;
    }
}

/// How often a buffer is read, its use as the segment's output included.
fn uses(s: &Segment, pinned: &[BufId], buf: BufId) -> usize {
    let reads: usize = s.calls.iter().map(|c| c.reads().iter().filter(|b| **b == buf).count()).sum();
    reads + usize::from(s.output == buf) + usize::from(pinned.contains(&buf))
}

/// The only step of a call.
fn single(call: &Call) -> Option<&Step> {
    match call {
        Call::Rows { steps, .. } => match steps.as_slice() {
            [step] => Some(step),
            _ => None,
        },
        _ => None,
    }
}

/// The call whose single step satisfies `f`.
fn find(s: &Segment, f: impl Fn(&Step) -> bool) -> Option<usize> {
    s.calls.iter().position(|c| single(c).is_some_and(&f))
}

/// `f(gate) * up` right where the two products of one input are made.
fn glu(s: &mut Segment, pinned: &[BufId]) -> bool {
    let Some((i, act, mul)) = (0..s.calls.len()).find_map(|i| find_glu(s, pinned, i)) else { return false };
    if let (Some(Step::Unary { f, x, .. }), Some(out)) =
        (single(&s.calls[act]).cloned(), single(&s.calls[mul]).and_then(Step::out))
    {
        let (parts, glu) = match &mut s.calls[i] {
            Call::Linear(Linear { parts, glu, .. }) | Call::Grouped(Grouped { parts, glu, .. }) => (parts, glu),
            _ => return false,
        };
        if parts[0].out != x {
            parts.swap(0, 1);
        }
        parts[0].out = out;
        *glu = Some(f);
        s.calls.remove(act.max(mul));
        s.calls.remove(act.min(mul));
    }
    true
}

/// The calls of the activation and of the product that belong to the two-part product `i`.
fn find_glu(s: &Segment, pinned: &[BufId], i: usize) -> Option<(usize, usize, usize)> {
    let (parts, tail) = match &s.calls[i] {
        Call::Linear(Linear { parts, glu: None, tail, .. }) => (parts, tail.as_slice()),
        Call::Grouped(Grouped { parts, glu: None, .. }) => (parts, [].as_slice()),
        _ => return None,
    };
    let [p, q] = parts.as_slice() else { return None };
    let sole = |b| uses(s, pinned, b) == 1;
    if !tail.is_empty() || !sole(p.out) || !sole(q.out) {
        return None;
    }
    [(p.out, q.out), (q.out, p.out)].into_iter().find_map(|(gate, up)| {
        let act = find(s, |t| matches!(t, Step::Unary { x, .. } if *x == gate))?;
        let a = single(&s.calls[act])?.out().filter(|a| sole(*a))?;
        let mul = find(s, |t| match t {
            Step::Binary { f: Binary::Mul, a: l, b: r, .. } => [(a, up), (up, a)].contains(&(*l, *r)),
            _ => false,
        })?;
        Some((i, act, mul))
    })
}

/// An addition, scale, cap or function of a product's result that nothing else reads.
fn tail(s: &mut Segment, pinned: &[BufId]) -> bool {
    let found = (0..s.calls.len()).find_map(|i| find_tail(s, pinned, i).map(|found| (i, found)));
    let Some((i, (j, tail, out))) = found else { return false };
    let (tails, part) = match &mut s.calls[i] {
        Call::Linear(l) => (&mut l.tail, &mut l.parts[0]),
        Call::Conv(c) => (&mut c.tail, &mut c.part),
        _ => return false,
    };
    tails.push(tail);
    part.out = out;
    s.calls.remove(j);
    true
}

/// The call that can become part of product `i`, as what, and its result.
fn find_tail(s: &Segment, pinned: &[BufId], i: usize) -> Option<(usize, Tail, BufId)> {
    let y = match &s.calls[i] {
        Call::Linear(l) => {
            let mut outs = l.outs();
            outs.next().filter(|_| outs.next().is_none())?
        }
        Call::Conv(c) => c.part.out,
        _ => return None,
    };
    if uses(s, pinned, y) != 1 {
        return None;
    }
    let j = find(s, |t| t.reads().any(|b| b == y))?;
    // Layers write the carried buffers, and their calls do not show it.
    let repeats = s.calls[i..].iter().any(|c| matches!(c, Call::Repeat(_)));
    let ready = |b: &BufId| match pinned.contains(b) {
        true => !repeats,
        false => Some(*b) == s.input || s.calls[..i].iter().any(|c| c.writes().contains(b)),
    };
    let (tail, out) = match *single(&s.calls[j])? {
        Step::Binary { f: Binary::Add, a, b, out } => {
            (Tail::Add([a, b].into_iter().find(|o| *o != y).filter(ready)?), out)
        }
        Step::Unary { f, out, .. } => (Tail::Unary(f), out),
        _ => return None,
    };
    Some((j, tail, out))
}

/// Neighbouring calls that work row by row become one.
fn merge_rows(s: &mut Segment) {
    let mut merged: Vec<Call> = Vec::new();
    for call in s.calls.drain(..) {
        match (merged.last_mut(), call) {
            (Some(Call::Rows { domain: d, steps }), Call::Rows { domain, steps: more }) if *d == domain => {
                steps.extend(more);
            }
            (_, call) => merged.push(call),
        }
    }
    s.calls = merged;
}

/// Row-by-row work in front of a product becomes its prologue.
fn prologues(s: &mut Segment) {
    let mut i = 1;
    while i < s.calls.len() {
        // Every thread may do a prologue for itself, which a write to the cache must not be.
        let fits = |rows: &Domain, steps: &[Step], l: &Linear| {
            *rows == l.domain && l.prologue.is_empty() && !steps.iter().any(|t| matches!(t, Step::Write { .. }))
        };
        if let [Call::Rows { domain, steps }, Call::Linear(l)] = &s.calls[i - 1..=i]
            && fits(domain, steps, l)
        {
            if let Call::Rows { steps, .. } = s.calls.remove(i - 1)
                && let Call::Linear(l) = &mut s.calls[i - 1]
            {
                l.prologue = steps;
            }
        } else {
            i += 1;
        }
    }
}
