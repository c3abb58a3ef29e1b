//! Texts per second of an encoder.

use super::Bench;
use super::items::{self, Unit};
use crate::models;
use anyhow::{Result, bail};
use argand::Task;
use argand_text::Sequence;
use std::path::Path;
use std::str::FromStr;

/// Items of so many rows, so many together: texts of tokens, sequences of frames.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rows: usize,
    pub count: usize,
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('x').and_then(|(rows, n)| Some((rows.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((rows @ 1.., count @ 1..)) => Ok(Shape { rows, count }),
            _ => bail!("{text:?}: expected two lengths such as 128x32"),
        }
    }
}

impl Shape {
    pub fn name(self, kind: &str) -> String {
        if self.count == 1 { format!("{kind}{}", self.rows) } else { format!("{kind}{}x{}", self.rows, self.count) }
    }
}

const TEXTS: Unit = Unit { kind: "enc", one: "text", many: "texts" };

/// Measures every test, and writes it.
pub fn run(bench: &Bench, path: &Path) -> Result<()> {
    let mut encoder = models::load_encoder(path, Task::Embed { pool: None }, &bench.load.options()?.load)?;
    let vocabulary = encoder.tokenizer().vocab_size();
    let mut all = Vec::new();
    for test in &bench.enc {
        // Ordinary tokens in no order: what they are changes no speed, as long as they differ.
        let token = |i: usize| ((i * 2_654_435_761) % vocabulary) as u32;
        let text = |n: usize| Sequence {
            tokens: (n * test.rows..(n + 1) * test.rows).map(token).collect(),
            types: Vec::new(),
        };
        let texts: Vec<Sequence> = (0..test.count).map(text).collect();
        let once = || encoder.engine_mut().run(&texts, 0, &mut |_| {}).map(drop);
        all.push(items::measure(bench, TEXTS, test.name(TEXTS.kind), test.count, once)?);
    }
    if bench.plain { Ok(()) } else { items::tell(bench, TEXTS, &all) }
}
