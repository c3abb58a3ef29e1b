//! Words to phonemes by a pair of recurrent networks: one reads, the other spells.

use crate::load::{LoadError, LoadOptions};
use crate::network::{Input, Network};
use argand_models::pages::g2p_gru;
use argand_models::{Facts, Model};
use argand_weights::Checkpoint;
use std::sync::Arc;

/// Numbers that a speller needs beside its weights.
#[derive(Clone, Copy, Debug)]
struct Limits {
    start: u32,
    end: u32,
    longest: usize,
}

/// A loaded pair.
pub struct Speller {
    reader: Network,
    speller: Network,
    limits: Limits,
}

impl Speller {
    /// Loads both networks of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint that is no speller, and what [`Network::load`] says.
    pub fn load(checkpoint: &Arc<Checkpoint>, model: &Model<'_>, options: &LoadOptions) -> Result<Speller, LoadError> {
        let graph = model.read(g2p_gru::speller)?;
        let reader = Network::load(checkpoint, model, &model.graph, options, &mut |_| {})?;
        let speller = Network::load(checkpoint, model, &graph, options, &mut |_| {})?;
        Ok(Speller { reader, speller, limits: model.read(limits)? })
    }

    /// The likeliest phonemes of a word's letters, one after another, with the one that ends it unless there are too many.
    ///
    /// # Errors
    /// Letters that the model does not know, too little memory.
    pub fn spell(&mut self, letters: &[u32]) -> Result<Vec<u32>, argand_cpu::Error> {
        let mut state =
            self.reader.run(&[letters.len()], &Input { tokens: letters, ..Input::default() }, None)?.to_vec();
        let mut phonemes = vec![self.limits.start];
        while phonemes.len() <= self.limits.longest
            && (phonemes.len() == 1 || phonemes.last() != Some(&self.limits.end))
        {
            let input =
                Input { tokens: &phonemes[phonemes.len() - 1..], given: &[("state", &state)], ..Input::default() };
            let row = self.speller.run(&[1], &input, None)?;
            let (logits, next) = row.split_at(row.len() - state.len());
            let best = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
            phonemes.push(best as u32);
            state = next.to_vec();
        }
        Ok(phonemes.split_off(1))
    }
}

fn limits(f: &Facts<'_>) -> Result<Limits, argand_models::Error> {
    let number = |key| f.usize(argand_models::names::hf(key));
    Ok(Limits { start: number("start")? as u32, end: number("end")? as u32, longest: number("longest")? })
}
