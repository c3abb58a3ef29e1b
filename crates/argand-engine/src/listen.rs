//! Sound to the probability of speech: chunks are seen side by side, then a recurrence goes over them in order.

use crate::load::{LoadError, LoadOptions};
use crate::network::{Input, Network};
use argand_models::Model;
use argand_models::pages::silero_vad::{self, Cut};
use argand_weights::Checkpoint;
use std::sync::Arc;

/// Chunks that are seen at once.
const AT_ONCE: usize = 64;

/// A loaded detector of speech.
pub struct SpeechDetector {
    eye: Network,
    ear: Network,
    cut: Cut,
}

impl SpeechDetector {
    /// Loads both networks of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint that is no such detector, and what [`Network::load`] says.
    pub fn load(checkpoint: &Arc<Checkpoint>, model: &Model<'_>, options: &LoadOptions) -> Result<Self, LoadError> {
        let (cut, listener) = (model.read(silero_vad::cut)?, model.read(silero_vad::listener)?);
        let eye = Network::load(checkpoint, model, &model.graph, options, &mut |_| {})?;
        let ear = Network::load(checkpoint, model, &listener, options, &mut |_| {})?;
        Ok(SpeechDetector { eye, ear, cut })
    }

    /// New samples in each chunk.
    pub fn chunk(&self) -> usize {
        self.cut.chunk
    }

    /// The probability of speech in each chunk of samples between -1 and 1, at the rate that the model was made for; the last chunk is
    /// filled up with silence.
    ///
    /// # Errors
    /// Too little memory.
    pub fn probabilities(&mut self, samples: &[f32]) -> Result<Vec<f32>, argand_cpu::Error> {
        let Cut { chunk, context, mirrored } = self.cut;
        let count = samples.len().div_ceil(chunk);
        let at = |i: isize| usize::try_from(i).ok().and_then(|i| samples.get(i)).copied().unwrap_or(0.0);
        let mut rows = Vec::new();
        for first in (0..count).step_by(AT_ONCE) {
            let together = AT_ONCE.min(count - first);
            let mut seen = Vec::with_capacity(together * self.cut.seen());
            for i in first..first + together {
                let (start, end) = ((i * chunk) as isize - context as isize, ((i + 1) * chunk) as isize);
                seen.extend((start..end).map(at));
                // The last sample is the mirror.
                seen.extend((1..=mirrored as isize).map(|back| at(end - 1 - back)));
            }
            rows.extend_from_slice(self.eye.pictures(together, &seen)?);
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let given = [("chunks", rows.as_slice())];
        Ok(self.ear.run(&[count], &Input { given: &given, ..Input::default() }, None)?.to_vec())
    }
}
