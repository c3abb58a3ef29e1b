//! Two towers whose vectors are compared: pictures and captions (CLIP, SigLIP).

use crate::load::{LoadError, LoadOptions, Loading, folder, tokenizer};
use crate::network::{Input, Network};
use crate::runner::RunError;
use crate::vision::{Seen, Vision};
use argand_cpu::kv::KvType;
use argand_models::{Facts, Model};
use argand_text::Tokenizer;
use std::path::Path;
use std::sync::Arc;

/// Captions that are read in one step.
const STEP_CAPTIONS: usize = 16;

/// Padding where a configuration leaves it out (`SiglipTextConfig`).
const USUAL_PADDING: usize = 1;

/// How vectors of length 1 become scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Factor of the cosine.
    pub scale: f32,
    /// Added to it; then each pair is told by itself, and otherwise captions share out a picture (Zhai et al. 2023).
    pub bias: Option<f32>,
}

impl Comparison {
    /// That of a model; none of one that compares no pictures with captions, and of a configuration without weights.
    pub fn read(f: &Facts<'_>) -> Option<Comparison> {
        let value = |name| f.tensor_values(name).and_then(|values| values.first().copied());
        let scale = value("logit_scale")?.exp() as f32;
        Some(Comparison { scale, bias: value("logit_bias").map(|bias| bias as f32) })
    }

    /// How well a picture goes with each caption.
    pub fn logits(&self, picture: &[f32], captions: &[Vec<f32>]) -> Vec<f32> {
        let cosine = |caption: &Vec<f32>| picture.iter().zip(caption).map(|(a, b)| a * b).sum::<f32>();
        captions.iter().map(|caption| self.scale * cosine(caption) + self.bias.unwrap_or(0.0)).collect()
    }

    /// Logits as probabilities: of each caption by itself, or of all together.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        if self.bias.is_some() {
            return logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let total: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }
}

/// A loaded pair of towers with its text side.
pub struct Pair {
    vision: Vision,
    text: Network,
    tokenizer: Tokenizer,
    comparison: Comparison,
    longest: usize,
    /// Captions are filled up with it to their full length, where rows see what stands behind them.
    padding: Option<u32>,
}

impl Pair {
    /// Loads a directory.
    ///
    /// # Errors
    /// Anything that is wrong with the files, a model that compares no pictures with captions, or too little memory.
    pub fn load(path: &Path, options: &LoadOptions, progress: &mut dyn FnMut(Loading)) -> Result<Pair, LoadError> {
        let checkpoint = Arc::new(options.open(path)?);
        let model = Model::open(&checkpoint, None)?;
        let comparison = Comparison::read(model.facts())
            .ok_or_else(|| LoadError::NoPair { file: path.display().to_string(), page: model.page.name })?;
        let vision = Vision::load(&checkpoint, options, progress)?;
        let longest = model.context()?;
        let padding = argand_models::names::hf("text_config.pad_token_id");
        let padding = model.facts().maybe_usize(padding)?.unwrap_or(USUAL_PADDING) as u32;
        let padding = crate::both_ways(&model.graph).then_some(padding);
        let kv = if options.exact { KvType::F32 } else { options.kv };
        let rows = STEP_CAPTIONS * longest;
        let options = LoadOptions { sequences: STEP_CAPTIONS, max_rows: rows, kv, ..options.clone() };
        let text = Network::load(&checkpoint, &model, &model.graph, &options, progress)?;
        let tokenizer = tokenizer(&checkpoint)
            .map_err(|error| LoadError::Tokenizer { file: folder(&checkpoint).display().to_string(), error })?;
        Ok(Pair { vision, text, tokenizer, comparison, longest, padding })
    }

    /// The tower for pictures.
    pub fn vision(&self) -> &Vision {
        &self.vision
    }

    /// From text to tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How vectors are compared.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// A vector of length 1 for each picture. `done` hears after each step how many are finished.
    ///
    /// # Errors
    /// As [`Vision::look`].
    pub fn pictures(&mut self, pictures: &[Seen<'_>], done: &mut dyn FnMut(usize)) -> Result<Vec<Vec<f32>>, RunError> {
        self.vision.look(pictures, done)
    }

    /// A vector of length 1 for each caption, as tokens (see [`Pair::tokens`]).
    ///
    /// # Errors
    /// An empty caption or one that is too long, a token outside the vocabulary, too little memory.
    pub fn captions(&mut self, captions: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, RunError> {
        let mut all = Vec::with_capacity(captions.len());
        for step in captions.chunks(STEP_CAPTIONS) {
            let filled: Vec<Vec<u32>> = step.iter().map(|caption| self.filled(caption)).collect();
            let rows: Vec<usize> = filled.iter().map(Vec::len).collect();
            let positions: Vec<u32> = rows.iter().flat_map(|n| 0..*n as u32).collect();
            let input = Input { tokens: &filled.concat(), positions: &positions, ..Input::default() };
            let width = self.text.width();
            let values = self.text.run(&rows, &input, None).map_err(|error| RunError::Executor(Box::new(error)))?;
            all.extend(values.chunks_exact(width).map(<[f32]>::to_vec));
        }
        Ok(all)
    }

    fn filled(&self, caption: &[u32]) -> Vec<u32> {
        let mut tokens = caption.to_vec();
        if let Some(padding) = self.padding {
            tokens.resize(self.longest, padding);
        }
        tokens
    }

    /// The tokens of a caption; the end of one that is too long is cut off.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn tokens(&self, caption: &str) -> Result<Vec<u32>, argand_text::Error> {
        Ok(self.tokenizer.sequence(caption, self.longest, false)?.tokens)
    }
}
