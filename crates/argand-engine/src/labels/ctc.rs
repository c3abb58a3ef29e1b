//! Connectionist temporal classification (Graves et al. 2006): a path has a class for each frame, and stands for the labels that are left
//! when repetitions are joined and blanks are dropped.

use super::add;
use std::collections::BTreeMap;

/// The labels of the likeliest path: the best class of each frame of `scores` (`[frames, classes]`).
///
/// # Panics
/// `scores` is not whole frames.
pub fn greedy(scores: &[f32], classes: usize, blank: usize) -> Vec<usize> {
    assert!(classes > 0 && scores.len().is_multiple_of(classes), "{} scores of {classes} classes", scores.len());
    let mut labels = Vec::new();
    let mut last = blank;
    for frame in scores.chunks(classes) {
        // The first of equals, as everywhere.
        let best = (1..classes).fold(0, |best, c| if frame[c] > frame[best] { c } else { best });
        if best != blank && best != last {
            labels.push(best);
        }
        last = best;
    }
    labels
}

/// Log-probabilities of the paths of some labels that end with a blank, and of those that end with the last label.
#[derive(Clone, Copy)]
struct Ends {
    blank: f64,
    label: f64,
}

const NEVER: Ends = Ends { blank: f64::NEG_INFINITY, label: f64::NEG_INFINITY };

impl Ends {
    fn total(self) -> f64 {
        add(self.blank, self.label)
    }
}

/// The likeliest labels, the best first, with their log-probabilities over all paths, by a search that keeps the `beam` best
/// beginnings after each frame (Graves et al. 2006; Hannun et al. 2014). `log_probs` is `[frames, classes]`. The more are kept, the
/// nearer it comes to the truth, from below.
///
/// # Panics
/// `log_probs` is not whole frames.
pub fn beam(log_probs: &[f32], classes: usize, blank: usize, beam: usize) -> Vec<(Vec<usize>, f64)> {
    assert!(classes > 0 && log_probs.len().is_multiple_of(classes), "{} values of {classes} classes", log_probs.len());
    let mut kept = vec![(Vec::new(), Ends { blank: 0.0, label: f64::NEG_INFINITY })];
    for frame in log_probs.chunks(classes) {
        let mut next: BTreeMap<Vec<usize>, Ends> = BTreeMap::new();
        for (labels, ends) in &kept {
            let same = next.entry(labels.clone()).or_insert(NEVER);
            same.blank = add(same.blank, ends.total() + f64::from(frame[blank]));
            if let Some(last) = labels.last() {
                same.label = add(same.label, ends.label + f64::from(frame[*last]));
            }
            for class in (0..classes).filter(|c| *c != blank) {
                // The same label again needs a blank between.
                let from = if labels.last() == Some(&class) { ends.blank } else { ends.total() };
                if from > f64::NEG_INFINITY {
                    let longer = next.entry([labels.as_slice(), &[class]].concat()).or_insert(NEVER);
                    longer.label = add(longer.label, from + f64::from(frame[class]));
                }
            }
        }
        kept = next.into_iter().collect();
        kept.sort_by(|a, b| b.1.total().total_cmp(&a.1.total()));
        kept.truncate(beam.max(1));
    }
    kept.into_iter().map(|(labels, ends)| (labels, ends.total())).collect()
}
