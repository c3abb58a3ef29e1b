//! A model that compares pictures with texts: vectors of both, and labels by the text that goes with a picture best.

use crate::Error;
use crate::encoder::{Choice, choice};
use crate::image::{agree, processor};
use crate::opening::{openers, threaded};
use argand_engine::{LoadError, LoadOptions, Loading, Pair, Seen};
use argand_image::{Picture, Pixels, Processor};
use std::path::Path;

/// A loaded model such as CLIP or SigLIP.
///
/// ```no_run
/// let mut matcher = argand::Matcher::open("./clip-vit-base-patch32")?;
/// let labels = matcher.embed_texts(&["a photo of a cat", "a photo of a dog"])?;
/// let picture = matcher.prepare(&argand::open_picture("cat.jpg".as_ref())?)?;
/// let vector = matcher.embed_pictures(&[picture])?.concat();
/// println!("{:?}", matcher.probabilities(&vector, &labels));
/// # Ok::<(), argand::Error>(())
/// ```
pub struct Matcher {
    pair: Pair,
    processor: Processor,
}

impl Matcher {
    openers!("a model", "does not compare pictures with texts");

    /// Loads a model from a directory.
    ///
    /// # Errors
    /// It cannot be loaded, or does not compare pictures with texts.
    pub fn load(path: &Path, options: &LoadOptions, loading: &mut dyn FnMut(Loading)) -> Result<Self, Error> {
        let processor = processor(&options.open(path).map_err(LoadError::from)?)?;
        let pair = Pair::load(path, &threaded(options), loading)?;
        agree(&processor, pair.vision().sight(), path)?;
        Ok(Matcher { pair, processor })
    }

    /// What the model looks at of a picture.
    ///
    /// # Errors
    /// The picture cannot be made to fit.
    pub fn prepare(&self, picture: &Picture) -> Result<Pixels, Error> {
        Ok(self.processor.pixels(picture)?)
    }

    /// A vector of length 1 for each prepared picture.
    ///
    /// # Errors
    /// Pictures that were prepared for another model, too little memory.
    pub fn embed_pictures(&mut self, pictures: &[Pixels]) -> Result<Vec<Vec<f32>>, Error> {
        let seen: Vec<Seen> = pictures.iter().map(|p| Seen { values: &p.values, grid: None }).collect();
        Ok(self.pair.pictures(&seen, &mut |_| {})?)
    }

    /// A vector of length 1 for each text.
    ///
    /// # Errors
    /// A text cannot be tokenised, too little memory.
    pub fn embed_texts(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let tokens = texts.iter().map(|text| Ok(self.pair.tokens(text)?)).collect::<Result<Vec<_>, Error>>()?;
        Ok(self.pair.captions(&tokens)?)
    }

    /// How likely each text goes with a picture, of their vectors. Of CLIP the texts share out the picture, of SigLIP each is told by
    /// itself.
    pub fn probabilities(&self, picture: &[f32], texts: &[Vec<f32>]) -> Vec<f32> {
        let comparison = self.pair.comparison();
        comparison.probabilities(&comparison.logits(picture, texts))
    }

    /// Labels with their probabilities, the likeliest first.
    pub fn ranked(&self, picture: &[f32], labels: &[&str], vectors: &[Vec<f32>]) -> Vec<Choice> {
        let named = labels.iter().zip(self.probabilities(picture, vectors)).map(|(l, p)| choice((*l).to_string(), p));
        let mut choices: Vec<Choice> = named.collect();
        choices.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        choices
    }

    /// Values of a vector.
    pub fn width(&self) -> usize {
        self.pair.vision().width()
    }
}
