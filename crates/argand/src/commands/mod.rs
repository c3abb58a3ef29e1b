//! The commands, a file each.

mod bench;
mod chat;
mod classify;
mod convert;
mod count;
mod describe;
mod doctor;
mod draw;
mod embed;
mod eval;
mod fill;
mod key;
mod map;
mod ocr;
mod quantize;
mod rerank;
mod run;
mod serve;
mod store;
mod usage;
mod verify;

use clap::Subcommand;

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Talk to a model
    Chat(chat::Chat),
    /// Answer one prompt
    Run(run::Run),
    /// Serve models to others, over HTTP
    Serve(serve::Serve),
    /// Turn texts or pictures into vectors
    Embed(embed::Embed),
    /// Order documents by relevance to a question
    Rerank(rerank::Rerank),
    /// Label texts or pictures
    Classify(classify::Classify),
    /// Say what is to be seen in pictures
    Describe(describe::Describe),
    /// Say which words were masked
    Fill(fill::Fill),
    /// Read lines of text from pictures
    Ocr(ocr::Ocr),
    /// Measure speed, and how close it comes to this machine's limits
    Bench(bench::Bench),
    /// Measure how well a model predicts a text
    #[command(subcommand)]
    Eval(eval::Eval),
    /// Say what a model costs, before any weight is read
    Count(count::Count),
    /// Draw what a model computes
    Draw(draw::Draw),
    /// Show the families of models, and which of them run
    Map(map::Map),
    /// Write a model in another format
    Convert(convert::Convert),
    /// Write a model with smaller numbers
    Quantize(quantize::Quantize),
    /// Check that every way to run a model gives the same values
    Verify(verify::Verify),
    /// Say what this machine offers and what will be used of it
    Doctor(doctor::Doctor),
    /// Fetch a model
    Pull(store::Pull),
    /// List the models on this machine
    List(store::List),
    /// Say what is known about a model
    Show(store::Show),
    /// Remove a model from this machine
    Rm(store::Rm),
    /// Say who may ask a server, and how much
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Say what was used, and what it cost
    Usage(usage::Usage),
}

impl Command {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Chat(c) => c.run(),
            Self::Run(c) => c.run(),
            Self::Serve(c) => c.run(),
            Self::Embed(c) => c.run(),
            Self::Rerank(c) => c.run(),
            Self::Classify(c) => c.run(),
            Self::Describe(c) => c.run(),
            Self::Fill(c) => c.run(),
            Self::Ocr(c) => c.run(),
            Self::Bench(c) => c.run(),
            Self::Eval(c) => c.run(),
            Self::Count(c) => c.run(),
            Self::Draw(c) => c.run(),
            Self::Map(c) => c.run(),
            Self::Convert(c) => c.run(),
            Self::Quantize(c) => c.run(),
            Self::Verify(c) => c.run(),
            Self::Doctor(c) => c.run(),
            Self::Pull(c) => c.run(),
            Self::List(c) => c.run(),
            Self::Show(c) => c.run(),
            Self::Rm(c) => c.run(),
            Self::Key(c) => c.run(),
            Self::Usage(c) => c.run(),
        }
    }
}
