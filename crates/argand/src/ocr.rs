//! A model that reads lines of text.

use crate::Error;
use crate::opening::{openers, threaded};
use argand_engine::{LoadError, LoadOptions, Loading, Seeing, labels::ctc};
use argand_image::{Filter, Picture, Place, lines, resize};
use argand_models::pages::crnn;
use std::path::Path;
use std::sync::Arc;

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// How sure the model is: the mean probability of its characters, between 0 and 1.
    pub confidence: f32,
    /// Where it is on the page.
    pub place: Place,
}

/// What the model looks at of a line.
struct Prepared {
    size: [usize; 2],
    values: Vec<f32>,
}

/// A loaded recogniser of lines.
///
/// ```no_run
/// let mut reader = argand::TextReader::open("./crnn")?;
/// for line in reader.page(&argand::open_picture("page.png".as_ref())?)? {
///     println!("{}", line.text);
/// }
/// # Ok::<(), argand::Error>(())
/// ```
pub struct TextReader {
    model: Seeing,
    characters: Vec<char>,
    height: usize,
}

/// Columns of the narrowest line, so that every convolution has something to see.
const LEAST_WIDTH: usize = 16;

/// Lines grow in steps of this many columns, so that those of about one width are looked at by one graph. What is added repeats the
/// last column, as the model saw it in training.
const WIDTHS: usize = 64;

/// Widths whose networks are kept: lines of a page have few.
const KEPT: usize = 8;

/// Columns of the widest line; a longer one would be a hundred times as long as high.
const MOST_WIDTH: usize = 8192;

impl TextReader {
    openers!("a recogniser", "reads no lines");

    /// Loads a recogniser from a directory, or from a file.
    ///
    /// # Errors
    /// It cannot be loaded, or reads no lines.
    pub fn load(path: &Path, options: &LoadOptions, loading: &mut dyn FnMut(Loading)) -> Result<Self, Error> {
        let checkpoint = Arc::new(options.open(path).map_err(LoadError::from)?);
        let model = argand_models::Model::open(&checkpoint, None).map_err(LoadError::from)?;
        if model.page.name != crnn::PAGE.name {
            return Err(Error::NoReader { file: path.display().to_string(), page: model.page.name });
        }
        let characters = model.read(crnn::characters).map_err(LoadError::from)?;
        let height = model.read(crnn::height).map_err(LoadError::from)?;
        drop(model);
        let mut model = Seeing::new(checkpoint, threaded(options), KEPT);
        // What is wrong with the weights is told at once.
        model.network([height, 8 * WIDTHS], loading)?;
        Ok(TextReader { model, characters, height })
    }

    /// The lines of a page, from top to bottom. They are found by [`lines`]: a page must lie straight, have one column and no pictures.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn page(&mut self, picture: &Picture) -> Result<Vec<Line>, Error> {
        let picture = picture.on_white();
        let [height, width] = picture.size;
        // The model saw lines with some room around them.
        let roomy = |line: Place| {
            let room = (line.bottom - line.top).div_ceil(10);
            Place {
                top: line.top.saturating_sub(room),
                bottom: (line.bottom + room).min(height),
                left: line.left.saturating_sub(room),
                right: (line.right + room).min(width),
            }
        };
        let found = lines(&picture).into_iter().map(roomy).collect();
        self.places(&picture, found)
    }

    /// The text of a picture that is one line.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn line(&mut self, picture: &Picture) -> Result<Line, Error> {
        let [bottom, right] = picture.size;
        let mut all = self.places(&picture.on_white(), vec![Place { top: 0, bottom, left: 0, right }])?;
        Ok(all.swap_remove(0))
    }

    fn places(&mut self, picture: &Picture, places: Vec<Place>) -> Result<Vec<Line>, Error> {
        let prepared: Vec<Prepared> = places.iter().map(|place| self.prepare(picture, place)).collect();
        // Those of one width go together.
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|i| prepared[*i].size);
        let mut read = vec![(String::new(), 0.0); places.len()];
        for alike in order.chunk_by(|a, b| prepared[*a].size == prepared[*b].size) {
            let values: Vec<f32> = alike.iter().flat_map(|i| prepared[*i].values.iter().copied()).collect();
            let logits = self.model.look(prepared[alike[0]].size, alike.len(), &values)?;
            for (i, logits) in alike.iter().zip(logits.chunks_exact(logits.len() / alike.len())) {
                read[*i] = text(logits, &self.characters);
            }
        }
        let line = |((text, confidence), place)| Line { text, confidence, place };
        Ok(read.into_iter().zip(places).map(line).collect())
    }

    /// A line as EasyOCR prepares it: grey, as high as the model wants, between -1 and 1.
    fn prepare(&self, picture: &Picture, place: &Place) -> Prepared {
        let size = [place.bottom - place.top, place.right - place.left];
        let line = picture.crop(place.top as isize, place.left as isize, size);
        let width = (self.height * size[1]).div_ceil(size[0]).clamp(LEAST_WIDTH, MOST_WIDTH);
        let line = resize(&grey(&line), [self.height, width], Filter::Bicubic);
        let wide = width.next_multiple_of(WIDTHS);
        let value = |i: usize| {
            let (y, x) = (i / wide, (i % wide).min(width - 1));
            f32::from(line.rgb[3 * (y * width + x)]) / 127.5 - 1.0
        };
        Prepared { size: [self.height, wide], values: (0..self.height * wide).map(value).collect() }
    }
}

/// The picture without colours.
fn grey(picture: &Picture) -> Picture {
    Picture::new(picture.size, picture.grey().into_iter().flat_map(|grey| [grey; 3]).collect())
}

/// The characters of the likeliest path, and how likely each is in the mean.
fn text(logits: &[f32], characters: &[char]) -> (String, f32) {
    let classes = characters.len() + 1;
    let text = ctc::greedy(logits, classes, 0).into_iter().map(|class| characters[class - 1]).collect();
    let sure = logits.chunks_exact(classes).map(|frame| crate::ranked(frame, 1)[0]).filter(|(class, _)| *class > 0);
    let (count, sum) = sure.fold((0, 0.0), |(count, sum), (_, p)| (count + 1, sum + p));
    (text, if count > 0 { sum / count as f32 } else { 0.0 })
}
