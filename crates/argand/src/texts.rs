//! Texts that commands read: as arguments, from a file, a directory or standard input; and encoders that read them.

use crate::args::LoadArgs;
use crate::{interrupt, models, pictures, ui};
use anyhow::{Context, Result, bail};
use argand::{Encoder, Task};
use clap::Args;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Texts that are handed to the encoder at once: enough to fill steps, few enough to show progress and to stop between.
const AT_ONCE: usize = 256;

/// Where texts come from.
#[derive(Args, Debug, Clone)]
pub struct TextArgs {
    /// Texts; read from --file or standard input when left out
    #[arg(conflicts_with = "file")]
    texts: Vec<String>,
    /// Read texts from a file, one a line, or of .jsonl the field `text`; of a directory each file is a text
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// A text and where it came from.
pub struct Text {
    /// The file that is this text, of a directory.
    pub file: Option<String>,
    /// What it says.
    pub text: String,
}

impl Text {
    fn plain(text: impl Into<String>) -> Text {
        Text { file: None, text: text.into() }
    }

    /// What stands for it in a table.
    pub fn label(&self) -> String {
        let one_line = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.file.clone().unwrap_or_else(|| match one_line.char_indices().nth(77) {
            Some((end, _)) => format!("{}...", &one_line[..end]),
            None => one_line,
        })
    }

    /// A JSON object about it, with more fields.
    pub fn json(&self, mut fields: serde_json::Value) -> serde_json::Value {
        if self.file.is_none() || !self.text.is_empty() {
            fields["text"] = self.text.as_str().into();
        }
        if let Some(file) = &self.file {
            fields["file"] = file.as_str().into();
        }
        fields
    }
}

impl TextArgs {
    /// As if these had been typed.
    pub fn new(texts: &[String], file: Option<&Path>) -> TextArgs {
        TextArgs { texts: texts.to_vec(), file: file.map(Path::to_path_buf) }
    }

    /// Whether what was given are names of pictures.
    pub fn are_pictures(&self) -> bool {
        match &self.file {
            Some(path) => pictures::are_listed(path),
            None => pictures::are_meant(&self.texts),
        }
    }

    /// The pictures that were named.
    pub fn pictures(&self) -> Result<Vec<PathBuf>> {
        pictures::find(&self.texts, self.file.as_deref())
    }

    /// The texts; at least one.
    pub fn read(&self) -> Result<Vec<Text>> {
        let texts = match &self.file {
            Some(path) if path.is_dir() => directory(path)?,
            Some(path) => {
                let text = read(path)?;
                let is_jsonl = path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson");
                if is_jsonl { json_lines(path, &text)? } else { lines(&text) }
            }
            None if !self.texts.is_empty() => self.texts.iter().map(Text::plain).collect(),
            None if io::stdin().is_terminal() => {
                bail!("there are no texts; give them as arguments, with --file or on standard input")
            }
            None => {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read texts from standard input")?;
                lines(&text)
            }
        };
        if texts.is_empty() {
            bail!("there are no texts; give them as arguments, with --file or on standard input");
        }
        Ok(texts)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read texts from {}", path.display()))
}

/// A text for each line that is not blank.
fn lines(text: &str) -> Vec<Text> {
    text.lines().filter(|line| !line.trim().is_empty()).map(Text::plain).collect()
}

/// The field `text` of each line, or the line where it is a string.
fn json_lines(path: &Path, text: &str) -> Result<Vec<Text>> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("{}: line {} is no JSON", path.display(), i + 1))?;
        let text = value.as_str().or_else(|| value.get("text")?.as_str());
        Ok(Text::plain(text.with_context(|| format!("{}: line {} has no field `text`", path.display(), i + 1))?))
    };
    numbered.map(parse).collect()
}

/// Each file of a directory, by name, whatever lies below.
fn directory(path: &Path) -> Result<Vec<Text>> {
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(directory(&path)?);
        } else {
            all.push(Text { text: read(&path)?, file: Some(path.display().to_string()) });
        }
    }
    Ok(all)
}

/// Opens an encoder for a task.
pub fn encoder(model: &str, task: Task, load: &LoadArgs) -> Result<Encoder> {
    models::load_encoder(&models::ready(model)?.path, task, &load.options()?.load)
}

/// Hands texts to the encoder some at a time, with a bar on terminals; `hear` gets each with what came of it.
pub fn each<'t, R>(
    texts: &'t [Text],
    label: &str,
    mut run: impl FnMut(&[&str]) -> Result<Vec<R>, argand::Error>,
    mut hear: impl FnMut(&'t Text, R) -> Result<()>,
) -> Result<()> {
    let _gentle = interrupt::gentle();
    let bar = ui::counter(label, texts.len() as u64);
    for chunk in texts.chunks(AT_ONCE) {
        interrupt::check()?;
        let plain: Vec<&str> = chunk.iter().map(|t| t.text.as_str()).collect();
        for (text, result) in chunk.iter().zip(run(&plain)?) {
            hear(text, result)?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}
