//! `argand fill`: words that were masked.

use crate::args::{self, LoadArgs};
use crate::{texts, ui};
use anyhow::Result;
use argand::Task;
use serde_json::json;

/// Say which words were masked
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand fill ./bert-base-uncased \"Paris is the [MASK] of France.\"
  argand fill ./roberta-base \"Paris is the <mask> of France.\" --top-k 3 --json")]
pub struct Fill {
    /// Encoder with a head for masked words: a path, or OWNER/NAME of the hub
    model: String,
    /// Text with a mask, written as the model writes it, for each word that is missing
    text: String,
    /// Show this many words for each mask
    #[arg(short = 'k', long, value_name = "K", default_value_t = 5, value_parser = args::at_least_one())]
    top_k: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Fill {
    pub fn run(self) -> Result<()> {
        let mut encoder = texts::encoder(&self.model, Task::Fill, &self.load)?;
        let masks = encoder.fill(&self.text, self.top_k)?;
        if self.json {
            let words = masks.iter().map(|mask| mask.iter().map(ui::choice).collect::<Vec<_>>());
            return Ok(ui::out_json(&json!({ "text": self.text, "masks": words.collect::<Vec<_>>() }))?);
        }
        let rows = masks.iter().enumerate().flat_map(|(i, mask)| {
            mask.iter()
                .map(move |word| vec![(i + 1).to_string(), format!("{:.4}", word.probability), word.text.clone()])
        });
        Ok(ui::out(&ui::table(&["mask", "probability", "word"], &rows.collect::<Vec<_>>()))?)
    }
}
