//! Sentences per second of an encoder.

use super::Bench;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand::Task;
use argand_text::Sequence;
use serde_json::json;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

/// Texts of so many tokens, so many together.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    tokens: usize,
    count: usize,
}

impl FromStr for Texts {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('x').and_then(|(t, n)| Some((t.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((tokens @ 1.., count @ 1..)) => Ok(Texts { tokens, count }),
            _ => bail!("{text:?}: expected TOKENSxTEXTS such as 128x32"),
        }
    }
}

impl Texts {
    fn name(self) -> String {
        if self.count == 1 { format!("enc{}", self.tokens) } else { format!("enc{}x{}", self.tokens, self.count) }
    }
}

/// Measures every test, and writes it.
pub fn run(bench: &Bench, path: &Path) -> Result<()> {
    let mut encoder = models::load_encoder(path, Task::Embed { pool: None }, &bench.load.options()?.load)?;
    let vocabulary = encoder.tokenizer().vocab_size();
    let mut all = Vec::new();
    for test in &bench.enc {
        let bar = ui::status(&test.name());
        // Ordinary tokens in no order: what they are changes no speed, as long as they differ.
        let token = |i: usize| ((i * 2_654_435_761) % vocabulary) as u32;
        let text = |n: usize| Sequence {
            tokens: (n * test.tokens..(n + 1) * test.tokens).map(token).collect(),
            types: Vec::new(),
        };
        let texts: Vec<Sequence> = (0..test.count).map(text).collect();
        let mut rates = Vec::new();
        for rep in 0..=bench.reps {
            interrupt::check()?;
            let start = Instant::now();
            encoder.engine_mut().run(&texts, 0, &mut |_| {}).context("a step of the test failed")?;
            if rep > 0 {
                rates.push(test.count as f64 / start.elapsed().as_secs_f64());
            }
        }
        bar.finish_and_clear();
        rates.sort_by(f64::total_cmp);
        if bench.plain {
            ui::out(&format!("enc {:.2} {}\n", super::median(&rates), test.name()))?;
        }
        all.push((test.name(), rates));
    }
    if bench.plain {
        return Ok(());
    }
    if bench.json {
        let one = |(name, rates): &(String, Vec<f64>)| json!({ "test": name, "texts_per_s": super::median(rates), "samples": rates });
        return Ok(ui::out_json(&json!({ "tests": all.iter().map(one).collect::<Vec<_>>() }))?);
    }
    let row = |(name, rates): &(String, Vec<f64>)| {
        let median = super::median(rates);
        vec![name.clone(), format!("{median:.1}"), format!("{:.2}", 1e3 / median)]
    };
    Ok(ui::out(&ui::table(&["test", "texts/s", "ms per text"], &all.iter().map(row).collect::<Vec<_>>()))?)
}
