//! `argand ocr`: lines of text from pictures.

use crate::args::LoadArgs;
use crate::{models, pictures, ui};
use anyhow::Result;
use argand::{Line, TextReader};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Read lines of text from pictures
///
/// Lines are found by how much ink each row of pixels holds: a page must lie straight, have one column and no pictures between its
/// lines. A picture of one line is read whole with --line.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand ocr english_g2.pth --config easyocr-english-g2 page.png
  argand ocr english_g2.pth --config easyocr-english-g2 --line number-plate.jpg
  argand ocr ./crnn scans/ --json > scans.jsonl")]
pub struct Ocr {
    /// Model that reads lines, such as CRNN: a path, or OWNER/NAME of the hub
    model: String,
    /// Pictures (PNG, JPEG), and directories of them
    pictures: Vec<String>,
    /// A directory of pictures, or a file that names them, one a line
    #[arg(short, long, value_name = "PATH", conflicts_with = "pictures")]
    file: Option<PathBuf>,
    /// Each picture is one line
    #[arg(long)]
    line: bool,
    /// Write a JSON object for each picture, with the place of each line in pixels and how sure the model is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Ocr {
    pub fn run(self) -> Result<()> {
        let files = pictures::find(&self.pictures, self.file.as_deref())?;
        let path = models::ready(&self.model)?.path;
        let mut reader = models::load_text_reader(&path, &self.load.for_pictures(&path)?)?;
        let read = |reader: &mut TextReader, pictures: &[argand::Picture]| {
            let one = |picture| match self.line {
                true => Ok(vec![reader.line(picture)?]),
                false => reader.page(picture),
            };
            pictures.iter().map(one).collect()
        };
        let hear = |file: &Path, lines: Vec<Line>| {
            if self.json {
                let lines: Vec<Value> = lines.iter().map(object).collect();
                return Ok(ui::out(&format!("{}\n", pictures::json(file, json!({ "lines": lines }))))?);
            }
            let head = if files.len() > 1 { format!("{}:\n", file.display()) } else { String::new() };
            let text: String = lines.iter().map(|line| format!("{}\n", line.text)).collect();
            Ok(ui::out(&(head + &text))?)
        };
        pictures::each(&mut reader, &files, "reading", |_, picture| Ok(picture), read, hear)
    }
}

fn object(line: &Line) -> Value {
    let p = &line.place;
    json!({
        "text": line.text, "confidence": line.confidence,
        "top": p.top, "bottom": p.bottom, "left": p.left, "right": p.right,
    })
}
