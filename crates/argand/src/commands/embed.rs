//! `argand embed`: texts in, vectors out.

use crate::args::LoadArgs;
use crate::texts::{self, TextArgs};
use crate::ui;
use anyhow::{Context, Result, bail};
use argand::{Pool, Task, cosine};
use clap::ValueEnum;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

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

/// Turn texts into vectors; texts that mean alike have vectors that point alike
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand embed ./all-MiniLM-L6-v2 \"A cat sleeps.\" \"Ein Kater schläft.\"
  argand embed ./all-MiniLM-L6-v2 --file lines.txt --format npy --output vectors.npy
  argand embed ./all-MiniLM-L6-v2 --file notes/ --similar \"when does the lease end?\"
  argand embed ./all-MiniLM-L6-v2 --file lines.txt --quantize q8_0 | jq -c .embedding")]
pub struct Embed {
    /// Encoder: a path, or OWNER/NAME of the hub
    model: String,
    #[command(flatten)]
    texts: TextArgs,
    /// Rank the texts by how much they are like this one, instead of writing vectors
    #[arg(long, value_name = "QUERY")]
    similar: Option<String>,
    /// With --similar, show this many
    #[arg(long, value_name = "N", default_value_t = 10, requires = "similar")]
    top: usize,
    /// How vectors are written
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", conflicts_with = "similar")]
    format: Format,
    /// Write vectors to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "similar")]
    output: Option<PathBuf>,
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
        let texts = self.texts.read()?;
        let pool = self.pool.map(|pool| match pool {
            Pooling::Mean => Pool::Mean,
            Pooling::Max => Pool::Max,
            Pooling::Cls => Pool::First,
            Pooling::Last => Pool::Last,
        });
        let mut encoder = texts::encoder(&self.model, Task::Embed { pool }, &self.load)?;
        if let Some(query) = &self.similar {
            let query = encoder.embed(&[query])?.concat();
            let mut ranking = Vec::with_capacity(texts.len());
            texts::each(
                &texts,
                "embedding",
                |t| encoder.embed(t),
                |text, vector| {
                    ranking.push((cosine(&query, &vector), text));
                    Ok(())
                },
            )?;
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
            out.write_all(&npy_header(texts.len(), encoder.engine().width())).map_err(ui::OutputError::from)?;
        }
        let mut rows = Vec::new();
        texts::each(
            &texts,
            "embedding",
            |t| encoder.embed(t),
            |text, vector| {
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
            },
        )?;
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
