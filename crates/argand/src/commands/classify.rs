//! `argand classify`: labels for texts and pictures.

use crate::args::{self, LoadArgs};
use crate::texts::{self, Text, TextArgs};
use crate::{models, pictures, ui};
use anyhow::{Result, bail};
use argand::{Choice, Encoder, ImageClassifier, Picture, Pixels, Sense, Task, cosine};
use argand_models::encoder::Head;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Label texts or pictures, by the model's own labels or by those that you name
///
/// The model tells which of them it reads. With --labels it needs no classifier: a text gets the label whose vector is most like its
/// own, and of a model such as CLIP a picture gets the label that goes with it best. What a model of pictures wants to see is said by the preprocessor_config.json beside its weights; a file of weights alone
/// needs --config.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand classify ./distilbert-sst2 \"What a fine day.\"
  argand classify ./bert-ner \"Ada Lovelace lived in London.\" --json
  argand classify minilm --labels sport,politics,weather --file headlines.txt
  argand classify ./resnet-50 cat.jpg -k 5
  argand classify ./clip-vit-base-patch32 photos/ --labels \"a photo of a cat,a photo of a dog\"
  argand classify efficientnet-lite0.pth --config efficientnet-lite0 photos/ --json")]
pub struct Classify {
    /// Model with a classifier, or any encoder with --labels: a path, or OWNER/NAME of the hub
    model: String,
    /// Texts, read from --file or standard input when left out; or pictures (PNG, JPEG), and directories of them
    inputs: Vec<String>,
    /// Read texts from a file, one a line, or of .jsonl the field `text`; of a directory each file is a text. Of pictures it is a
    /// directory, or names them, one a line
    #[arg(short, long, value_name = "PATH", conflicts_with = "inputs")]
    file: Option<PathBuf>,
    /// Labels to choose from, by comparing vectors
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    labels: Vec<String>,
    /// Show this many labels of each
    #[arg(short = 'k', long, value_name = "K", default_value_t = 1, value_parser = args::at_least_one())]
    top_k: usize,
    /// Write a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Cosines become probabilities by a softmax of them times this, the scale that CLIP learnt (Radford et al. 2021).
const SHARPNESS: f32 = 100.0;

impl Classify {
    pub fn run(self) -> Result<()> {
        if self.labels.iter().any(|label| label.trim().is_empty()) {
            bail!("--labels has a label without a name");
        }
        let path = models::ready(&self.model)?.path;
        match Sense::of(&path, &self.load.options()?.load)? {
            Sense::Texts => self.texts(&path),
            Sense::Pictures => self.pictures(&path),
            Sense::Both => self.matched(&path),
        }
    }

    /// Pictures by the labels that go with them best.
    fn matched(&self, path: &Path) -> Result<()> {
        if self.labels.is_empty() {
            bail!("the model compares pictures with texts and has no labels of its own; name some with --labels");
        }
        let mut matcher = models::load_matcher(path, &self.load.for_pictures(path)?)?;
        let labels: Vec<&str> = self.labels.iter().map(|label| label.trim()).collect();
        let vectors = matcher.embed_texts(&labels)?;
        self.label(&mut matcher, argand::Matcher::prepare, |matcher, pictures| {
            let found = matcher.embed_pictures(pictures)?;
            Ok(found.iter().map(|picture| matcher.ranked(picture, &labels, &vectors)).collect())
        })
    }

    /// Pictures by the model's own labels.
    fn pictures(&self, path: &Path) -> Result<()> {
        if !self.labels.is_empty() {
            bail!(
                "--labels needs a model that has vectors of texts; this one looks at pictures and has labels of its own"
            );
        }
        let mut model = models::load_image_classifier(path, &self.load.for_pictures(path)?)?;
        self.label(&mut model, ImageClassifier::prepare, |model, pictures| model.classify_prepared(pictures))
    }

    /// Labels pictures and says what came of each.
    fn label<M>(
        &self,
        model: &mut M,
        prepare: impl Fn(&M, &Picture) -> Result<Pixels, argand::Error>,
        run: impl FnMut(&mut M, &[Pixels]) -> Result<Vec<Vec<Choice>>, argand::Error>,
    ) -> Result<()> {
        let files = pictures::find(&self.inputs, self.file.as_deref())?;
        let mut rows = Vec::new();
        let hear = |file: &Path, mut choices: Vec<Choice>| {
            choices.truncate(self.top_k);
            if self.json {
                let labels: Vec<_> = choices.iter().map(ui::choice).collect();
                return Ok(ui::out(&format!("{}\n", pictures::json(file, json!({ "labels": labels }))))?);
            }
            rows.extend(choices.iter().map(|c| row(&file.display().to_string(), c)));
            Ok(())
        };
        let prepare = |model: &M, picture: Picture| prepare(model, &picture);
        let done = pictures::each(model, &files, "classifying", prepare, run, hear);
        if !rows.is_empty() {
            ui::out(&ui::table(&["picture", "probability", "label"], &rows))?;
        }
        done
    }

    fn texts(&self, path: &Path) -> Result<()> {
        let texts = TextArgs::new(&self.inputs, self.file.as_deref()).read()?;
        let task = if self.labels.is_empty() { Task::Classify } else { Task::Embed { pool: None } };
        let mut encoder = models::load_encoder(path, task, &self.load.options()?.load)?;
        if *encoder.engine().head() == Head::Tokens {
            return self.tokens(&mut encoder, &texts);
        }
        let labels: Vec<&str> = self.labels.iter().map(|label| label.trim()).collect();
        let vectors = if labels.is_empty() { Vec::new() } else { encoder.embed(&labels)? };
        let run = |texts: &[&str]| match labels.is_empty() {
            true => encoder.classify(texts),
            false => Ok(encoder.embed(texts)?.iter().map(|text| nearest(text, &labels, &vectors)).collect()),
        };
        let mut rows = Vec::new();
        texts::each(&texts, "classifying", run, |text, mut choices| {
            choices.truncate(self.top_k);
            if self.json {
                let labels: Vec<_> = choices.iter().map(ui::choice).collect();
                return Ok(ui::out(&format!("{}\n", text.json(json!({ "labels": labels }))))?);
            }
            rows.extend(choices.iter().map(|c| row(&text.label(), c)));
            Ok(())
        })?;
        Ok(if self.json { Ok(()) } else { ui::out(&ui::table(&["text", "probability", "label"], &rows)) }?)
    }

    fn tokens(&self, encoder: &mut Encoder, texts: &[Text]) -> Result<()> {
        let mut rows = Vec::new();
        let run = |texts: &[&str]| texts.iter().map(|text| encoder.classify_tokens(text)).collect();
        texts::each(texts, "classifying", run, |text, mut tokens| {
            tokens.iter_mut().for_each(|(_, choices)| choices.truncate(self.top_k));
            if self.json {
                let token = |(token, choices): &(String, Vec<Choice>)| json!({ "token": token, "labels": choices.iter().map(ui::choice).collect::<Vec<_>>() });
                let tokens: Vec<_> = tokens.iter().map(token).collect();
                return Ok(ui::out(&format!("{}\n", text.json(json!({ "tokens": tokens }))))?);
            }
            rows.extend(tokens.iter().flat_map(|(token, choices)| choices.iter().map(move |c| row(token, c))));
            Ok(())
        })?;
        Ok(if self.json { Ok(()) } else { ui::out(&ui::table(&["token", "probability", "label"], &rows)) }?)
    }
}

fn row(what: &str, choice: &Choice) -> Vec<String> {
    vec![what.to_string(), format!("{:.4}", choice.probability), choice.text.clone()]
}

/// Labels by how much their vectors are like that of a text.
fn nearest(text: &[f32], labels: &[&str], vectors: &[Vec<f32>]) -> Vec<Choice> {
    let scores: Vec<f32> = vectors.iter().map(|v| SHARPNESS * cosine(text, v)).collect();
    let named = |(i, probability): (usize, f32)| Choice { text: labels[i].to_string(), probability };
    argand::ranked(&scores, labels.len()).into_iter().map(named).collect()
}
