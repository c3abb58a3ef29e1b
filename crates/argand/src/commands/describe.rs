//! `argand describe`: pictures in, text out.

use crate::args::WriterArgs;
use crate::commands::run::{report, stream, tell};
use crate::{interrupt, models, pictures, ui};
use anyhow::{Result, bail};
use argand::Model;
use std::path::{Path, PathBuf};

/// Say what is to be seen in pictures, or answer a question about each
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand describe ./SmolVLM-256M-Instruct cat.jpg
  argand describe ./llava-1.5-7b-hf receipt.png --prompt \"What does it cost?\" --temperature 0
  argand describe ./Qwen2-VL-2B-Instruct photos/ --json -n 64
  argand describe ./SmolVLM-256M-Instruct before.png after.png --together --prompt \"What changed?\"")]
pub struct Describe {
    /// Model that reads and sees, such as LLaVA, SmolVLM or Qwen2-VL: a path, or OWNER/NAME of the hub
    model: String,
    /// Pictures (PNG, JPEG), and directories of them
    inputs: Vec<String>,
    /// A directory of pictures, or a file that names them, one a line
    #[arg(short, long, value_name = "PATH", conflicts_with = "inputs")]
    file: Option<PathBuf>,
    /// What to say or to ask about each picture
    #[arg(short, long, value_name = "TEXT", default_value = "Describe this picture.")]
    prompt: String,
    /// Show all pictures in one turn, in order, for one answer
    #[arg(long)]
    together: bool,
    /// Write a JSON object a line, with the answer, its cost and its speed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writer: WriterArgs,
}

impl Describe {
    pub fn run(self) -> Result<()> {
        let writer = self.writer.read()?;
        let files = pictures::find(&self.inputs, self.file.as_deref())?;
        let path = models::ready(&self.model)?.path;
        let mut model = writer.load(&path)?;
        if !model.sees() {
            bail!("{} reads text and sees no pictures; a model such as SmolVLM was expected", model.name());
        }
        models::open_eyes(&path, &mut model)?;
        let _gentle = interrupt::gentle();
        if self.together {
            return self.answer(&mut model, &files);
        }
        let mut unread = 0;
        for file in &files {
            interrupt::check()?;
            match self.answer(&mut model, std::slice::from_ref(file)) {
                Err(error) if files.len() > 1 && error.is::<argand::Error>() => {
                    let (name, text) = (file.display().to_string(), format!("{error:#}"));
                    eprintln!("{}", if text.starts_with(&name) { text } else { format!("{name}: {text}") });
                    unread += 1;
                }
                done => done?,
            }
        }
        match unread {
            0 => Ok(()),
            _ => bail!("{unread} of {} pictures could not be described", files.len()),
        }
    }

    /// One answer about pictures that are shown together.
    fn answer(&self, model: &mut Model, files: &[PathBuf]) -> Result<()> {
        model.reset();
        for file in files {
            let picture = argand::open_picture(file).map_err(argand::Error::from)?;
            model.show(&picture).map_err(|error| pictures::about(file, error))?;
        }
        let context = model.context();
        let mut answer = model.chat(&self.prompt)?;
        let several = self.inputs.len() != 1 || Path::new(&self.inputs[0]).is_dir();
        if several && !self.json && !self.together {
            ui::out(&format!("{}\n", files[0].display()))?;
        }
        stream(&mut answer, !self.json)?;
        if self.json {
            let mut found = report(&answer);
            if self.together {
                found["files"] = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().into();
            } else {
                found = pictures::json(&files[0], found);
            }
            ui::out(&format!("{found}\n"))?;
        } else {
            ui::out(if several && !self.together { "\n\n" } else { "\n" })?;
        }
        tell(&answer, context, "a larger one is asked for with --context TOKENS", self.writer.stats);
        Ok(interrupt::check()?)
    }
}
