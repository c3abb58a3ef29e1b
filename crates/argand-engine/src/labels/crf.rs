//! Linear-chain conditional random fields (Lafferty et al. 2001): a path of tags has the score of its frames and of its steps.

use super::add;

/// Scores of steps from tag to tag.
#[derive(Clone, Debug)]
pub struct Crf {
    /// Of beginning with each tag.
    pub start: Vec<f32>,
    /// Of each tag after each: `[tags, tags]`, from the row to the column.
    pub step: Vec<f32>,
    /// Of ending with each tag.
    pub end: Vec<f32>,
}

impl Crf {
    fn tags(&self) -> usize {
        self.start.len()
    }

    /// The frames of `emissions` (`[frames, tags]`).
    fn frames<'e>(&self, emissions: &'e [f32]) -> impl Iterator<Item = &'e [f32]> + use<'e> {
        let tags = self.tags();
        assert!(tags > 0 && self.step.len() == tags * tags && self.end.len() == tags, "{tags} tags");
        assert!(emissions.len().is_multiple_of(tags), "{} scores of {tags} tags", emissions.len());
        emissions.chunks(tags)
    }

    /// Goes over all frames: `join` makes the value of each tag of those of all tags before it, with their steps.
    fn forward(&self, emissions: &[f32], mut join: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
        let tags = self.tags();
        let mut values: Vec<f64> = Vec::new();
        for frame in self.frames(emissions) {
            let next = (0..tags).map(|tag| {
                let before = match values.as_slice() {
                    [] => f64::from(self.start[tag]),
                    values => {
                        let ways =
                            values.iter().enumerate().map(|(from, v)| v + f64::from(self.step[from * tags + tag]));
                        join(&ways.collect::<Vec<_>>())
                    }
                };
                before + f64::from(frame[tag])
            });
            values = next.collect();
        }
        values.iter().zip(&self.end).map(|(v, end)| v + f64::from(*end)).collect()
    }

    /// The best tags of the frames and their score (Viterbi 1967).
    ///
    /// # Panics
    /// The sizes of the parts do not go together.
    pub fn best(&self, emissions: &[f32]) -> (Vec<usize>, f64) {
        let tags = self.tags();
        let mut from = Vec::new();
        let ends = self.forward(emissions, |ways| {
            let best = first_best(ways);
            from.push(best);
            ways[best]
        });
        if ends.is_empty() {
            return (vec![], 0.0);
        }
        let mut tag = first_best(&ends);
        let score = ends[tag];
        let mut path = vec![tag];
        for step in from.chunks(tags).rev() {
            tag = step[tag];
            path.push(tag);
        }
        path.reverse();
        (path, score)
    }

    /// Logarithm of the sum of `e^score` over all paths: what makes a score a log-probability.
    ///
    /// # Panics
    /// As [`Crf::best`].
    pub fn partition(&self, emissions: &[f32]) -> f64 {
        let all = |ways: &[f64]| ways.iter().copied().fold(f64::NEG_INFINITY, add);
        match self.forward(emissions, all).as_slice() {
            [] => 0.0,
            ends => all(ends),
        }
    }
}

/// The first of the largest values.
fn first_best(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}
