//! `argand rerank`: documents by their relevance to a question.

use crate::args::{self, LoadArgs};
use crate::texts::{self, TextArgs};
use crate::ui;
use anyhow::Result;
use argand::Task;

/// Order documents by how relevant they are to a question, read together with it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand rerank ./ms-marco-MiniLM-L6-v2 \"How high is Mont Blanc?\" \"It is 4,806 m high.\" \"It snows.\"
  argand rerank ./bge-reranker-base \"lease end\" --file notes/ --top 3 --json")]
pub struct Rerank {
    /// Encoder that was made to tell relevance: a path, or OWNER/NAME of the hub
    model: String,
    /// The question
    query: String,
    #[command(flatten)]
    documents: TextArgs,
    /// Show this many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = args::at_least_one())]
    top: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Rerank {
    pub fn run(self) -> Result<()> {
        let documents = self.documents.read()?;
        let mut encoder = texts::encoder(&self.model, Task::Rerank, &self.load)?;
        let mut ranking = Vec::with_capacity(documents.len());
        texts::each(
            &documents,
            "reading",
            |t| encoder.rerank(&self.query, t),
            |text, score| {
                ranking.push((score, text));
                Ok(())
            },
        )?;
        Ok(ui::ranking(ranking, self.top, "score", self.json)?)
    }
}
