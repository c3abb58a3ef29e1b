//! `argand chat`: a conversation on the terminal, or from a script on standard input.

mod input;

use super::run::{stream, tell};
use crate::args::WriterArgs;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand::{Answer, Error, Model};
use input::{Input, Turn};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Talk to a model
#[derive(clap::Args)]
#[command(after_help = "Without MODEL, SmolLM2-135M-Instruct is used, and fetched on first use.

In the chat: /help lists the commands; \"\"\" begins and ends a text of several lines, and a \\ at
the end of a line continues it; Ctrl-C stops an answer, Ctrl-D leaves.

Examples:
  argand chat
  argand chat qwen2.5-coder:1.5b --system \"You review Rust code.\"
  printf 'My name is Ada.\\nWhat is my name?\\n' | argand chat --temperature 0")]
pub struct Chat {
    /// Model: a catalogue name, a path, or OWNER/NAME of the hub
    model: Option<String>,
    #[command(flatten)]
    writer: WriterArgs,
}

const HELP: &str = "\
commands:
  /system TEXT   say what the model should know or be; without TEXT, show it
  /regenerate    take the last answer back and give another one
  /reset         forget the conversation
  /save FILE     write the conversation to a file: JSON if it ends in .json, else text
  /save! FILE    the same, and replace a file that is there
  /stats on|off  tell the speed after each answer, or stop telling it
  /quit          leave, as Ctrl-D does
  \"\"\"            begins and ends a text of several lines; a \\ at the end of a line continues it
  Ctrl-C         stops an answer
";

impl Chat {
    pub fn run(self) -> Result<()> {
        let writer = self.writer.read()?;
        let name = match &self.model {
            Some(name) => name,
            None => &argand_hub::catalogue().first().context("the catalogue is empty; name a model")?.name,
        };
        let found = models::ready(name)?;
        models::continues(
            &found.path,
            &writer.options.load,
            "it holds no conversations; give it a text with `argand run MODEL TEXT`",
        )?;
        let model = writer.load(&found.path)?;
        let mut input = Input::open()?;
        if input.is_terminal() {
            let size = argand_hub::human_bytes(model.file_bytes());
            let threads = writer.options.load.threads.unwrap_or(1);
            eprintln!("{}, {size}, {threads} threads; /help lists the commands", ui::bold(&found.name));
        }
        let mut talk = Talk { model, stats: self.writer.stats, saved: HashSet::new() };
        loop {
            match input.turn()? {
                Turn::End => break,
                Turn::Line(text) | Turn::Fenced(text) if text.trim().is_empty() => {}
                turn => match talk.turn(&turn) {
                    Ok(true) => {}
                    Ok(false) => break,
                    // A script must not go on as if nothing had happened, a person may.
                    Err(error) if !input.is_terminal() => return Err(error),
                    Err(error) => {
                        crate::report(&error);
                    }
                },
            }
        }
        Ok(())
    }
}

struct Talk {
    model: Model,
    stats: bool,
    /// Files that this conversation was written to, and may be again.
    saved: HashSet<PathBuf>,
}

impl Talk {
    /// Takes one turn; false when it is the last.
    fn turn(&mut self, turn: &Turn) -> Result<bool> {
        let (text, command) = match turn {
            Turn::Line(text) => (text, text.strip_prefix('/')),
            Turn::Fenced(text) => (text, None),
            Turn::End => return Ok(false),
        };
        match command {
            Some(command) => self.command(command),
            None => answer(|m| m.chat(text), &mut self.model, self.stats).map(|()| true),
        }
    }

    /// Does what a line that begins with `/` says; false when nothing shall follow.
    fn command(&mut self, command: &str) -> Result<bool> {
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("help" | "?", "") => eprint!("{HELP}"),
            ("quit" | "exit" | "bye", "") => return Ok(false),
            ("reset" | "clear", "") => {
                self.model.reset();
                eprintln!("the conversation begins anew");
            }
            ("system", "") => {
                let system = self.model.messages().iter().find(|m| m.role == "system");
                let text = system.and_then(|m| m.content.as_ref()?.as_str());
                eprintln!("{}", text.unwrap_or("there is no system message"));
            }
            ("system", text) => {
                self.model.set_system(text);
                eprintln!("the system message is set; it counts from the next turn on");
            }
            ("stats", "") => self.tell_stats(!self.stats),
            ("stats", "on") => self.tell_stats(true),
            ("stats", "off") => self.tell_stats(false),
            ("stats", other) => bail!("/stats is {other:?}, expected on or off"),
            ("regenerate" | "again", "") => answer(Model::regenerate, &mut self.model, self.stats)?,
            ("save" | "save!", "") => bail!("/{word} needs the name of a file"),
            ("save", file) => self.save(Path::new(file), false)?,
            ("save!", file) => self.save(Path::new(file), true)?,
            ("help" | "?" | "quit" | "exit" | "bye" | "reset" | "clear" | "regenerate" | "again", rest) => {
                bail!("/{word} takes nothing more, and found {rest:?}")
            }
            (word, _) => bail!("there is no command /{word}; /help lists them"),
        }
        Ok(true)
    }

    fn tell_stats(&mut self, tell: bool) {
        self.stats = tell;
        eprintln!("the speed is {} after each answer", if tell { "told" } else { "not told" });
    }

    fn save(&mut self, file: &Path, replace: bool) -> Result<()> {
        let name = file.display();
        if file.exists() && !replace && !self.saved.contains(file) {
            bail!("{name} is there already; /save! {name} replaces it");
        }
        let messages = self.model.messages();
        let text = if file.extension().is_some_and(|e| e == "json") {
            serde_json::to_string_pretty(messages)? + "\n"
        } else {
            messages.iter().fold(String::new(), |mut text, m| {
                let content = m.content.as_ref().and_then(|c| c.as_str()).unwrap_or_default();
                let _ = write!(text, "{}:\n{content}\n\n", m.role);
                text
            })
        };
        argand_weights::write_whole(file, text.as_bytes())?;
        eprintln!("{} messages are in {name}", messages.len());
        self.saved.insert(file.to_path_buf());
        Ok(())
    }
}

/// Streams an answer until it ends or Ctrl-C is pressed.
fn answer<'m>(
    ask: impl FnOnce(&'m mut Model) -> Result<Answer<'m>, Error>,
    model: &'m mut Model,
    speed: bool,
) -> Result<()> {
    let context = model.context();
    let mut answer = ask(model)?;
    let _gentle = interrupt::gentle();
    stream(&mut answer, true)?;
    ui::out("\n")?;
    if answer.finish().is_none() {
        eprintln!("[stopped]");
    }
    tell(&answer, context, "/reset begins anew, or start with a larger --context", speed);
    Ok(())
}
