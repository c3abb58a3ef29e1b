//! Which experts a row meets and with what weights; rows are short, so plain loops do.

use argand_graph::{Groups, Routing, Score};

/// Most experts of a router.
pub const MOST_EXPERTS: usize = 1024;

/// From the logits of one row to its weights: zero but for the experts that were chosen. `correction` is added to the scores
/// for the choice only.
///
/// # Panics
/// There are more than [`MOST_EXPERTS`], or the lengths differ.
pub fn route(r: &Routing, logits: &[f32], correction: Option<&[f32]>, out: &mut [f32]) {
    let experts = logits.len();
    assert!(experts <= MOST_EXPERTS && experts == out.len(), "{experts} experts, {} weights", out.len());
    scores(r.score, logits, out);
    let mut choice = [0.0; MOST_EXPERTS];
    let choice = &mut choice[..experts];
    choice.copy_from_slice(out);
    if let Some(correction) = correction {
        choice.iter_mut().zip(correction).for_each(|(c, b)| *c += b);
    }
    // What is no number comes last, but still before what is hidden or was taken.
    choice.iter_mut().filter(|c| c.is_nan()).for_each(|c| *c = f32::MIN);
    if let Some(groups) = r.groups {
        keep_groups(groups, choice);
    }
    let mut sum = 0.0;
    let mut chosen = [false; MOST_EXPERTS];
    for _ in 0..r.chosen {
        let best = take_best(choice);
        chosen[best] = true;
        sum += out[best];
    }
    // The least that keeps a sum of zeros from dividing.
    let factor = if r.normalised { r.scale.0 / (sum + 1e-20) } else { r.scale.0 };
    for (w, chosen) in out.iter_mut().zip(chosen) {
        *w = if chosen { *w * factor } else { 0.0 };
    }
}

fn scores(score: Score, logits: &[f32], out: &mut [f32]) {
    match score {
        Score::Sigmoid => logits.iter().zip(out).for_each(|(x, y)| *y = 1.0 / (1.0 + (-x).exp())),
        Score::Softmax => {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter().zip(out.iter_mut()).for_each(|(x, y)| *y = (x - most).exp());
            let total: f32 = out.iter().sum();
            out.iter_mut().for_each(|y| *y /= total);
        }
    }
}

/// The place of the largest value, the first of equals, which is then the smallest.
fn take_best(values: &mut [f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    values[best] = f32::NEG_INFINITY;
    best
}

/// Hides the experts of all groups but the best.
fn keep_groups(g: Groups, choice: &mut [f32]) {
    let size = choice.len() / g.count;
    let mut of_groups = [f32::NEG_INFINITY; MOST_EXPERTS];
    let mut copy = [0.0; MOST_EXPERTS];
    for (group, of_group) in choice.chunks(size).zip(&mut of_groups) {
        let copy = &mut copy[..size];
        copy.copy_from_slice(group);
        *of_group = (0..g.best.min(size)).map(|_| group[take_best(copy)]).sum::<f32>().max(f32::MIN);
    }
    let mut kept = [false; MOST_EXPERTS];
    (0..g.kept).for_each(|_| kept[take_best(&mut of_groups[..g.count])] = true);
    for (group, _) in choice.chunks_mut(size).zip(kept).filter(|(_, kept)| !kept) {
        group.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argand_graph::F;

    fn routing(chosen: usize, score: Score) -> Routing {
        Routing { chosen, score, groups: None, normalised: false, scale: F(1.0) }
    }

    fn routed(r: &Routing, logits: &[f32], correction: Option<&[f32]>) -> Vec<f32> {
        let mut out = vec![f32::NAN; logits.len()];
        route(r, logits, correction, &mut out);
        out
    }

    fn chosen(weights: &[f32]) -> Vec<usize> {
        (0..weights.len()).filter(|i| weights[*i] != 0.0).collect()
    }

    #[test]
    fn the_best_are_chosen_with_the_weights_of_their_scores() {
        let logits = [1.0f32.ln(), 4.0f32.ln(), 2.0f32.ln(), 3.0f32.ln()];
        let near = |found: Vec<f32>, expected: [f32; 4]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} for {expected:?}");
        };
        near(routed(&routing(2, Score::Softmax), &logits, None), [0.0, 0.4, 0.0, 0.3]);
        let normalised = Routing { normalised: true, scale: F(2.0), ..routing(2, Score::Softmax) };
        near(routed(&normalised, &logits, None), [0.0, 8.0 / 7.0, 0.0, 6.0 / 7.0]);
        near(routed(&routing(3, Score::Sigmoid), &logits, None), [0.0, 0.8, 2.0 / 3.0, 0.75]);
    }

    #[test]
    fn a_correction_moves_the_choice_and_not_the_weights() {
        let r = routing(1, Score::Sigmoid);
        assert_eq!(routed(&r, &[0.0, 1.0, 2.0], Some(&[1.0, 0.0, 0.0])), [0.5, 0.0, 0.0]);
    }

    #[test]
    fn only_the_best_groups_are_looked_at() {
        let logits = [5.0, -9.0, 3.0, 3.0, 4.0, 1.0];
        let of = |best| Routing { groups: Some(Groups { count: 3, kept: 1, best }), ..routing(2, Score::Softmax) };
        assert_eq!(chosen(&routed(&of(1), &logits, None)), [0, 1]);
        let sums = Routing { score: Score::Sigmoid, ..of(2) };
        assert_eq!(chosen(&routed(&sums, &logits, None)), [2, 3]);
    }

    #[test]
    fn logits_that_are_no_numbers_choose_as_many() {
        let weights = routed(&routing(2, Score::Sigmoid), &[f32::NAN; 4], None);
        assert_eq!(weights.iter().filter(|w| w.is_nan()).count(), 2);
        assert_eq!(chosen(&routed(&routing(2, Score::Sigmoid), &[0.0; 4], None)), [0, 1]);
    }
}
