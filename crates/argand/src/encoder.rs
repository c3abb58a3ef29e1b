//! An encoder and what it can be asked: vectors, missing words, labels, relevance.

use crate::opening::threaded;
use crate::{Error, model::locate};
use argand_engine::{LoadError, LoadOptions, Loading, Task};
use argand_hub::{Progress, Silent};
use argand_models::encoder::Head;
use argand_text::{Sequence, Tokenizer};
use std::path::Path;

/// A label, or a word, and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The label or the word.
    pub text: String,
    /// Between 0 and 1; over all choices they add up to 1.
    pub probability: f32,
}

/// A loaded encoder. Texts are read together, without padding; what comes out for one does not depend on the others.
///
/// ```no_run
/// let mut encoder = argand::Encoder::open("./all-MiniLM-L6-v2", argand::Task::Embed { pool: None })?;
/// let vectors = encoder.embed(&["A cat sleeps.", "Ein Kater döst."])?;
/// # Ok::<(), argand::Error>(())
/// ```
pub struct Encoder {
    engine: argand_engine::Encoder,
}

impl Encoder {
    /// Opens an encoder by catalogue name, path, or `owner/name` of the Hugging Face hub, fetching it first where it has to be.
    ///
    /// # Errors
    /// It cannot be found, fetched or loaded, or was not made for the task.
    pub fn open(name: &str, task: Task) -> Result<Self, Error> {
        Self::open_with(name, task, &LoadOptions::default(), &mut Silent, &mut |_| {})
    }

    /// Opens an encoder with options, and tells how far fetching and loading have come.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn open_with(
        name: &str,
        task: Task,
        options: &LoadOptions,
        fetching: &mut dyn Progress,
        loading: &mut dyn FnMut(Loading),
    ) -> Result<Self, Error> {
        Self::load(&locate(name, fetching)?, task, options, loading)
    }

    /// Loads an encoder from a directory, or from a file with its configuration beside it.
    ///
    /// # Errors
    /// It cannot be loaded, or was not made for the task.
    pub fn load(
        path: &Path,
        task: Task,
        options: &LoadOptions,
        loading: &mut dyn FnMut(Loading),
    ) -> Result<Self, Error> {
        let head = task.head(&options.open(path).map_err(LoadError::from)?)?;
        let options = LoadOptions { head: Some(head), ..threaded(options) };
        let engine = argand_engine::Encoder::load(path, &options, loading)?;
        if task == Task::Rerank && engine.labels().len() != 1 {
            return Err(Error::NoReranker { labels: engine.labels().len() });
        }
        Ok(Encoder { engine })
    }

    /// The encoder below, for sequences of tokens.
    pub fn engine_mut(&mut self) -> &mut argand_engine::Encoder {
        &mut self.engine
    }

    /// The encoder below.
    pub fn engine(&self) -> &argand_engine::Encoder {
        &self.engine
    }

    /// From text to tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.engine.tokenizer()
    }

    /// Texts as the encoder reads them; what is too long is cut off.
    fn sequences(&self, texts: &[&str], parse_special: bool) -> Result<Vec<Sequence>, Error> {
        let longest = self.engine.longest();
        let sequence = |text: &&str| Ok(self.tokenizer().sequence(text, longest, parse_special)?);
        texts.iter().map(sequence).collect()
    }

    fn run(&mut self, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, Error> {
        Ok(self.engine.run(sequences, 0, &mut |_| {})?)
    }

    fn expect(&self, wanted: &'static str, made_for: impl Fn(&Head) -> bool) -> Result<(), Error> {
        let head = self.engine.head();
        if made_for(head) { Ok(()) } else { Err(Error::OtherTask { wanted, opened: head.wanted() }) }
    }

    /// A vector for each text.
    ///
    /// # Errors
    /// The encoder was opened for another [`Task`], or a text cannot be tokenised.
    pub fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        self.expect("embedding texts", |head| matches!(head, Head::Sentence(_)))?;
        let sequences = self.sequences(texts, false)?;
        self.run(&sequences)
    }

    /// For each mask in the text the `top` likeliest words, the likeliest first. Masks are written as the model writes them
    /// ([`mask`](Self::mask)).
    ///
    /// # Errors
    /// The encoder was opened for another [`Task`], or the text has no mask.
    pub fn fill(&mut self, text: &str, top: usize) -> Result<Vec<Vec<Choice>>, Error> {
        self.expect("filling in masked words", |head| *head == Head::Words)?;
        let mask = self.tokenizer().special_ids().mask.ok_or(Error::NoMaskToken)?;
        let sequences = self.sequences(&[text], true)?;
        if !sequences[0].tokens.contains(&mask) {
            return Err(Error::NothingMasked { mask: self.mask().unwrap_or_default() });
        }
        let logits = self.engine.run(&sequences, mask, &mut |_| {})?.concat();
        let word = |id: usize| self.tokenizer().decode(&[id as u32], false).trim().to_string();
        let masks = logits.chunks_exact(self.engine.width());
        Ok(masks.map(|logits| ranked(logits, top).into_iter().map(|(id, p)| choice(word(id), p)).collect()).collect())
    }

    /// How a masked word is written.
    pub fn mask(&self) -> Option<String> {
        self.tokenizer().token_text(self.tokenizer().special_ids().mask?)
    }

    /// All labels of each text, the likeliest first.
    ///
    /// # Errors
    /// The encoder was opened for another [`Task`], or tells labels of tokens.
    pub fn classify(&mut self, texts: &[&str]) -> Result<Vec<Vec<Choice>>, Error> {
        self.expect("classifying texts", |head| *head == Head::Sequence)?;
        let sequences = self.sequences(texts, false)?;
        let logits = self.run(&sequences)?;
        Ok(logits.iter().map(|logits| self.labelled(logits)).collect())
    }

    /// Each token of a text with its labels, the likeliest first.
    ///
    /// # Errors
    /// The encoder was opened for another [`Task`], or tells labels of whole texts.
    pub fn classify_tokens(&mut self, text: &str) -> Result<Vec<(String, Vec<Choice>)>, Error> {
        self.expect("classifying tokens", |head| *head == Head::Tokens)?;
        let sequences = self.sequences(&[text], false)?;
        let logits = self.run(&sequences)?.concat();
        let rows = sequences[0].tokens.iter().zip(logits.chunks_exact(self.engine.width()));
        let words = rows.filter(|(id, _)| !self.tokenizer().is_special(**id));
        Ok(words.map(|(id, row)| (self.tokenizer().token_text(*id).unwrap_or_default(), self.labelled(row))).collect())
    }

    fn labelled(&self, logits: &[f32]) -> Vec<Choice> {
        let label = |(i, p): (usize, f32)| choice(self.engine.labels()[i].clone(), p);
        ranked(logits, usize::MAX).into_iter().map(label).collect()
    }

    /// How relevant each document is to the query, as the model's logit: the higher, the more.
    ///
    /// # Errors
    /// The encoder was opened for another [`Task`], or its tokenizer does not say how two texts are joined.
    pub fn rerank(&mut self, query: &str, documents: &[&str]) -> Result<Vec<f32>, Error> {
        self.expect("classifying texts", |head| *head == Head::Sequence)?;
        let longest = self.engine.longest();
        let pair = |document: &&str| Ok(self.tokenizer().pair(query, document, longest)?);
        let sequences = documents.iter().map(pair).collect::<Result<Vec<_>, Error>>()?;
        Ok(self.run(&sequences)?.concat())
    }
}

pub(crate) fn choice(text: String, probability: f32) -> Choice {
    Choice { text, probability }
}

/// The `top` largest logits with their places, as probabilities over all.
pub fn ranked(logits: &[f32], top: usize) -> Vec<(usize, f32)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.truncate(top);
    order.into_iter().map(|i| (i, (weights[i] / total) as f32)).collect()
}

/// Cosine of the angle between two vectors; 0 where one has no length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 { (dot(a, b) / length) as f32 } else { 0.0 }
}
