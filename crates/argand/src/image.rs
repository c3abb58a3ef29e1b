//! A model that labels pictures, and whether a model is one that sees.

use crate::Error;
use crate::encoder::{Choice, choice, ranked};
use crate::opening::{openers, threaded};
use argand_engine::vision::{Seen, Vision};
use argand_engine::{Comparison, LoadError, LoadOptions, Loading, Seeing};
use argand_graph::{Dim, Sym};
use argand_image::{Layout, Picture, Pixels, Processor};
use argand_models::encoder::label_names;
use argand_models::vision::Sight;
use argand_weights::Checkpoint;
use std::path::Path;
use std::sync::Arc;

/// What a model takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// Texts.
    Texts,
    /// Pictures.
    Pictures,
    /// Both, which it compares.
    Both,
}

impl Sense {
    /// That of the model at a path, told by its architecture.
    ///
    /// # Errors
    /// It cannot be opened, or its architecture is not known.
    pub fn of(path: &Path, options: &LoadOptions) -> Result<Sense, Error> {
        let checkpoint = options.open(path).map_err(LoadError::from)?;
        let model = argand_models::Model::open(&checkpoint, None).map_err(LoadError::from)?;
        Ok(match Comparison::read(model.facts()) {
            Some(_) => Sense::Both,
            None if argand_engine::sees(&model.graph) => Sense::Pictures,
            None => Sense::Texts,
        })
    }
}

/// A loaded model that labels pictures.
///
/// ```no_run
/// let mut classifier = argand::ImageClassifier::open("./resnet-50")?;
/// let picture = argand::open_picture("cat.jpg".as_ref())?;
/// println!("{}", classifier.classify(&picture)?[0].text);
/// # Ok::<(), argand::Error>(())
/// ```
pub struct ImageClassifier {
    file: String,
    model: Eye,
    processor: Processor,
    labels: Vec<String>,
}

/// What looks at pictures.
enum Eye {
    /// Convolutions, for pictures of any size.
    Grid(Box<Seeing>),
    /// A transformer, for those of one size.
    Tower(Box<Vision>),
}

impl ImageClassifier {
    openers!("a classifier", "does not label pictures");

    /// Loads a classifier from a directory, or from a file. What it wants to see is said by `preprocessor_config.json` beside the
    /// weights, or by its configuration: as `preprocessor_config`, or as timm writes it as `pretrained_cfg`.
    ///
    /// # Errors
    /// It cannot be loaded, or does not label pictures.
    pub fn load(path: &Path, options: &LoadOptions, loading: &mut dyn FnMut(Loading)) -> Result<Self, Error> {
        let checkpoint = Arc::new(options.open(path).map_err(LoadError::from)?);
        let model = argand_models::Model::open(&checkpoint, None).map_err(LoadError::from)?;
        let labels = label_names(model.facts()).map_err(LoadError::from)?;
        let output = &model.graph.body.node(model.graph.body.output).ty;
        if labels.is_empty() || output.rows() != Some(Dim::from(Sym::B)) || output.row_len() != Some(labels.len()) {
            return Err(Error::NoImageClassifier { file: path.display().to_string(), page: model.page.name });
        }
        let tower = Sight::of(&model.graph).is_some();
        drop(model);
        let processor = processor(&checkpoint)?;
        let options = threaded(options);
        let model = match tower {
            true => {
                let vision = Vision::load(&checkpoint, &options, loading)?;
                agree(&processor, vision.sight(), path)?;
                Eye::Tower(Box::new(vision))
            }
            false => {
                let mut model = Seeing::new(checkpoint, options, 1);
                if let Some(size) = processor.size() {
                    model.network(size, loading)?;
                }
                Eye::Grid(Box::new(model))
            }
        };
        Ok(ImageClassifier { file: path.display().to_string(), model, processor, labels })
    }

    /// Names of the labels that the model tells apart, in the order of its logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// All labels of a picture, the likeliest first.
    ///
    /// # Errors
    /// The picture cannot be made to fit, or there is too little memory.
    pub fn classify(&mut self, picture: &Picture) -> Result<Vec<Choice>, Error> {
        let pixels = self.prepare(picture)?;
        Ok(self.classify_prepared(&[pixels])?.concat())
    }

    /// What the model looks at of a picture.
    ///
    /// # Errors
    /// The picture cannot be made to fit.
    pub fn prepare(&self, picture: &Picture) -> Result<Pixels, Error> {
        Ok(self.processor.pixels(picture)?)
    }

    /// All labels of each prepared picture, the likeliest first. Those of one size that follow each other are looked at together.
    ///
    /// # Errors
    /// Pictures that were prepared for a model of another kind, too little memory.
    pub fn classify_prepared(&mut self, pictures: &[Pixels]) -> Result<Vec<Vec<Choice>>, Error> {
        let mut all = Vec::with_capacity(pictures.len());
        for alike in pictures.chunk_by(|a, b| a.layout == b.layout) {
            let Layout::Pictures { count: 1, size, .. } = alike[0].layout else {
                let page = "a processor of tiles or patches";
                return Err(Error::NoImageClassifier { file: self.file.clone(), page });
            };
            let logits = match &mut self.model {
                Eye::Grid(model) => {
                    let values: Vec<f32> = alike.iter().flat_map(|p| p.values.iter().copied()).collect();
                    model.look(size, alike.len(), &values)?.to_vec()
                }
                Eye::Tower(model) => {
                    let seen: Vec<Seen<'_>> = alike.iter().map(|p| Seen { values: &p.values, grid: None }).collect();
                    model.look(&seen, &mut |_| {})?.concat()
                }
            };
            let label = |(i, p): (usize, f32)| choice(self.labels[i].clone(), p);
            let rows = logits.chunks_exact(self.labels.len());
            all.extend(rows.map(|row| ranked(row, usize::MAX).into_iter().map(label).collect()));
        }
        Ok(all)
    }
}

/// Fails where pictures as the processor makes them are of another size than the model looks at: of two files beside the weights
/// one is wrong.
pub(crate) fn agree(processor: &Processor, sight: &Sight, path: &Path) -> Result<(), Error> {
    match (processor.size(), sight) {
        (Some(made), Sight::Whole { size: [height, width, _], .. }) if made != [*height, *width] => {
            Err(Error::PictureSizes { file: path.display().to_string(), made, wanted: [*height, *width] })
        }
        _ => Ok(()),
    }
}

/// What makes the pictures that a model wants, as its configuration says.
///
/// # Errors
/// It says nothing, or something unknown.
pub fn processor(checkpoint: &Checkpoint) -> Result<Processor, Error> {
    let file = || checkpoint.path().display().to_string();
    let own = |name: &str| checkpoint.config().and_then(|config| config.get(name));
    let beside = checkpoint.sidecar_json("preprocessor_config.json").map_err(LoadError::from)?;
    let read = match (own("preprocessor_config").or(beside.as_ref()), own("pretrained_cfg")) {
        (Some(config), _) => Processor::read(config),
        (None, Some(config)) => Processor::timm(config),
        (None, None) => return Err(Error::NoProcessor { file: file() }),
    };
    read.map_err(|error| Error::Processor { file: file(), error })
}
