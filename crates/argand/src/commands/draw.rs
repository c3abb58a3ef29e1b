//! `argand draw`: what a model computes.

use crate::args::ConfigArgs;
use crate::opened::Opened;
use crate::ui;
use anyhow::{Context, Result};
use argand_graph::draw::Format;
use clap::ValueEnum;

/// What a picture is written as.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Picture {
    /// A tree for terminals
    Text,
    /// A digraph for Graphviz
    Dot,
    /// A picture for browsers
    Svg,
    /// Every node, for programs
    Json,
}

/// Draw what a model computes; layers that are alike are drawn once
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand draw smollm2
  argand draw config.json --format svg > model.svg
  argand draw model.gguf --plan")]
pub struct Draw {
    /// Model, or a config.json alone
    model: String,
    /// How to draw
    #[arg(short, long, default_value = "text")]
    format: Picture,
    /// Show the fused calls that the CPU runs instead
    #[arg(long, conflicts_with = "format")]
    plan: bool,
    /// Of a model that reads and sees, draw the part that looks at pictures
    #[arg(long)]
    looking: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Draw {
    pub fn run(self) -> Result<()> {
        let opened = Opened::open(&self.model, self.config.read()?.as_ref())?;
        let graph = opened.part(self.looking)?.graph;
        if self.plan {
            for part in graph.parts() {
                let mut program = argand_cpu::lower::lower(part).context("the CPU cannot run this model")?;
                argand_cpu::fuse::fuse(&mut program);
                ui::out(&program.describe())?;
            }
            return Ok(());
        }
        let format = match self.format {
            Picture::Text => Format::Text,
            Picture::Dot => Format::Dot,
            Picture::Svg => Format::Svg,
            Picture::Json => Format::Json,
        };
        Ok(ui::out(&argand_graph::draw::draw(&graph, format))?)
    }
}
