//! `argand embed`: texts in, vectors out.

use crate::args::{self, LoadArgs};
use crate::texts::{self, Text, TextArgs};
use crate::{models, pictures, ui};
use anyhow::{Context, Result, anyhow, bail};
use argand::{Matcher, Picture, Pixels, Pool, Sense, Task, cosine};
use clap::ValueEnum;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line, with `text` and `embedding`
    Jsonl,
    /// A NumPy array of f32, a row for each text
    Npy,
    /// Each text with the first values of its vector
    Table,
}

/// How the rows of a text become one vector.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pooling {
    Mean,
    Max,
    /// The first row
    Cls,
    Last,
}

/// Turn texts or pictures into vectors; what means alike has vectors that point alike
///
/// Models such as CLIP have vectors of pictures too: name pictures (PNG, JPEG) or directories of them instead of texts. As soon as an
/// argument is called like a picture, or is a directory, all are taken for pictures; so is a --file of such names.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand embed minilm \"A cat sleeps.\" \"Ein Kater schläft.\"
  argand embed minilm --file lines.txt --format npy --output vectors.npy
  argand embed minilm --file notes/ --similar \"when does the lease end?\"
  argand embed minilm --file lines.txt --quantize q8_0 | jq -c .embedding
  argand embed ./clip-vit-base-patch32 --file photos/ --similar \"a cat on a sofa\"")]
pub struct Embed {
    /// Encoder: a catalogue name, a path, or OWNER/NAME of the hub
    model: String,
    #[command(flatten)]
    texts: TextArgs,
    /// Rank the texts by how much they are like this one, instead of writing vectors
    #[arg(long, value_name = "QUERY")]
    similar: Option<String>,
    /// With --similar, show this many
    #[arg(long, value_name = "N", default_value_t = 10, requires = "similar", value_parser = args::at_least_one())]
    top: usize,
    /// How vectors are written
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", conflicts_with = "similar")]
    format: Format,
    /// Write vectors to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "similar")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long, requires = "output")]
    force: bool,
    /// Pool the rows of a text like this instead of as the model says
    #[arg(long, value_name = "HOW")]
    pool: Option<Pooling>,
    /// With --similar, write JSON
    #[arg(long, requires = "similar")]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Embed {
    pub fn run(self) -> Result<()> {
        if self.format == Format::Npy && self.output.is_none() && io::stdout().is_terminal() {
            bail!("--format npy writes bytes, which no terminal shows; name a file with --output");
        }
        if let Some(file) = self.output.as_ref().filter(|file| file.exists() && !self.force) {
            bail!("{} is there already; --force replaces it", file.display());
        }
        let pool = self.pool.map(|pool| match pool {
            Pooling::Mean => Pool::Mean,
            Pooling::Max => Pool::Max,
            Pooling::Cls => Pool::First,
            Pooling::Last => Pool::Last,
        });
        let (path, load) = (models::ready(&self.model)?.path, self.load.options()?.load);
        if Sense::of(&path, &load)? == Sense::Both {
            if pool.is_some() {
                bail!("--pool is for encoders of texts; this model has one vector for a picture or a text");
            }
            return self.matched(models::load_matcher(&path, &self.load.for_pictures(&path)?)?);
        }
        let texts = self.texts.read()?;
        let mut encoder = models::load_encoder(&path, Task::Embed { pool }, &load)?;
        let query = self.similar.as_ref().map(|query| encoder.embed(&[query])).transpose()?;
        let width = encoder.engine().width();
        self.write(query, texts.len(), width, |hear| texts::each(&texts, "embedding", |t| encoder.embed(t), hear))
    }

    /// Vectors of a model that compares pictures with texts: of pictures, if such are named.
    fn matched(&self, mut matcher: Matcher) -> Result<()> {
        let width = matcher.width();
        let query = self.similar.as_ref().map(|query| matcher.embed_texts(&[query])).transpose()?;
        if !self.texts.are_pictures() {
            let texts = self.texts.read()?;
            return self.write(query, texts.len(), width, |hear| {
                texts::each(&texts, "embedding", |t| matcher.embed_texts(t), hear)
            });
        }
        let mut vectors: Vec<(Text, Vec<f32>)> = Vec::new();
        let run = |matcher: &mut Matcher, pictures: &[Pixels]| matcher.embed_pictures(pictures);
        let hear = |file: &Path, vector| {
            vectors.push((Text { file: Some(file.display().to_string()), text: String::new() }, vector));
            Ok(())
        };
        let prepare = |matcher: &Matcher, picture: Picture| matcher.prepare(&picture);
        let done = pictures::each(&mut matcher, &self.texts.pictures()?, "embedding", prepare, run, hear);
        // Rows of an array have no names: with some left out nobody could tell whose they are.
        if self.format == Format::Npy && self.similar.is_none() {
            done.as_ref().map_err(|error| {
                anyhow!("{error}; no array was written, as its rows would not be those of the pictures")
            })?;
        }
        // Those that could be read are written, whatever the others were.
        self.write(query, vectors.len(), width, |hear| {
            vectors.iter().try_for_each(|(picture, vector)| hear(picture, vector.clone()))
        })?;
        done
    }

    /// Ranks what `make` hands out by likeness to a query, or writes it.
    fn write<'t>(
        &self,
        query: Option<Vec<Vec<f32>>>,
        count: usize,
        width: usize,
        make: impl FnOnce(&mut dyn FnMut(&'t Text, Vec<f32>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        if let Some(query) = query {
            let (query, mut ranking) = (query.concat(), Vec::with_capacity(count));
            make(&mut |text, vector| {
                ranking.push((cosine(&query, &vector), text));
                Ok(())
            })?;
            return Ok(ui::ranking(ranking, self.top, "similarity", self.json)?);
        }
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => {
                let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Box::new(io::BufWriter::new(file))
            }
            None => Box::new(io::BufWriter::new(io::stdout())),
        };
        if self.format == Format::Npy {
            out.write_all(&npy_header(count, width)).map_err(ui::OutputError::from)?;
        }
        let mut rows = Vec::new();
        make(&mut |text, vector| {
            let written = match self.format {
                Format::Jsonl => writeln!(out, "{}", text.json(json!({ "embedding": vector }))),
                Format::Npy => out.write_all(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
                Format::Table => {
                    let first: Vec<String> = vector.iter().take(4).map(|x| format!("{x:.4}")).collect();
                    rows.push(vec![text.label(), vector.len().to_string(), format!("[{}, ...]", first.join(", "))]);
                    Ok(())
                }
            };
            Ok(written.map_err(ui::OutputError::from)?)
        })?;
        if self.format == Format::Table {
            write!(out, "{}", ui::table(&["text", "values", "vector"], &rows)).map_err(ui::OutputError::from)?;
        }
        Ok(out.flush().map_err(ui::OutputError::from)?)
    }
}

/// What stands before the values of a NumPy array (NEP 1, version 1.0): its length is a multiple of 64.
fn npy_header(rows: usize, columns: usize) -> Vec<u8> {
    let about = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let length = (10 + about.len() + 1).next_multiple_of(64) - 10;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{about:<width$}\n", width = length - 1).into_bytes());
    header
}
