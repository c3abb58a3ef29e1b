//! Turns of the user: edited lines of a terminal, or lines of a script. Several lines can make one turn.

use anyhow::{Context, Result};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

/// One turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// What was typed, a command if it begins with `/`; empty when Ctrl-C took it back.
    Line(String),
    /// A text between fences, which is never a command.
    Fenced(String),
    /// Nothing more will come.
    End,
}

/// Where turns come from.
pub enum Input {
    Terminal { editor: Box<Editor<(), FileHistory>>, history: Option<PathBuf> },
    Script(Box<dyn BufRead>),
}

/// One line.
enum Line {
    Text(String),
    TakenBack,
    End,
}

/// Marks the beginning and the end of a text of several lines.
const FENCE: &str = "\"\"\"";

/// Lines of history that are kept.
const REMEMBERED: usize = 1000;

impl Input {
    /// Standard input, with line editing when it is a terminal.
    pub fn open() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Script(Box::new(io::stdin().lock())));
        }
        let config = Config::builder().max_history_size(REMEMBERED)?.auto_add_history(false).build();
        let history = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        let history = history_file();
        if let Some(file) = &history {
            // The first chat has no history, and one that cannot be read is no reason not to talk.
            let _ = editor.load_history(file);
        }
        Ok(Self::Terminal { editor: Box::new(editor), history })
    }

    /// Whether a person types.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// The next turn.
    pub fn turn(&mut self) -> Result<Turn> {
        let turn = read_turn(&mut |prompt| self.line(prompt))?;
        let entry = match &turn {
            Turn::Line(text) => text.clone(),
            Turn::Fenced(text) => format!("{FENCE}{text}{FENCE}"),
            Turn::End => String::new(),
        };
        if let Self::Terminal { editor, history } = &mut *self
            && !entry.trim().is_empty()
        {
            editor.add_history_entry(entry)?;
            if let Some(file) = history {
                let _ = std::fs::create_dir_all(file.parent().unwrap_or(file));
                let _ = editor.save_history(file);
            }
        }
        Ok(turn)
    }

    fn line(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::TakenBack),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("cannot read from the terminal"),
            },
            Self::Script(lines) => {
                let mut line = String::new();
                let read = lines.read_line(&mut line).context("cannot read from standard input")?;
                line.truncate(line.trim_end_matches(['\n', '\r']).len());
                Ok(if read == 0 { Line::End } else { Line::Text(line) })
            }
        }
    }
}

/// Joins lines to a turn: between fences, and after a backslash.
fn read_turn(next: &mut dyn FnMut(&str) -> Result<Line>) -> Result<Turn> {
    let mut text = String::new();
    let mut fenced = false;
    let mut prompt = "> ";
    loop {
        let mut line = match next(prompt)? {
            Line::Text(line) => line,
            Line::TakenBack => return Ok(Turn::Line(String::new())),
            Line::End if fenced => {
                eprintln!("the text that {FENCE} began has no end, and was not sent");
                return Ok(Turn::End);
            }
            Line::End if text.is_empty() => return Ok(Turn::End),
            Line::End => return Ok(Turn::Line(text)),
        };
        prompt = "… ";
        if !fenced && text.is_empty() && line.trim_start().starts_with(FENCE) {
            line = line.trim_start()[FENCE.len()..].to_string();
            fenced = true;
            if line.is_empty() {
                continue;
            }
        }
        if fenced {
            if let Some(last) = line.trim_end().strip_suffix(FENCE) {
                text += last;
                return Ok(Turn::Fenced(text.trim_end_matches('\n').to_string()));
            }
            text += &line;
            text.push('\n');
        } else if let Some(more) = line.strip_suffix('\\') {
            text += more;
            text.push('\n');
        } else {
            return Ok(Turn::Line(text + &line));
        }
    }
}

/// `$XDG_STATE_HOME/argand/history`, by default under `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    Some(state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?.join("argand/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(script: &str) -> Vec<String> {
        let mut input = Input::Script(Box::new(io::Cursor::new(script.to_string())));
        std::iter::from_fn(|| match input.turn().unwrap() {
            Turn::Line(text) => Some(text),
            Turn::Fenced(text) => Some(format!("[{text}]")),
            Turn::End => None,
        })
        .collect()
    }

    #[test]
    fn a_line_is_a_turn() {
        assert_eq!(turns("a\nb\r\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(turns(""), [""; 0]);
    }

    #[test]
    fn several_lines_make_a_turn() {
        assert_eq!(turns("a\\\nb\nc\n"), ["a\nb", "c"]);
        assert_eq!(turns("\"\"\"\na\n\nb\\\n\"\"\"\nc\n"), ["[a\n\nb\\]", "c"]);
        assert_eq!(turns("\"\"\"a\nb\"\"\"\n"), ["[a\nb]"]);
        assert_eq!(turns("b\n\"\"\"a"), ["b"], "what was not finished is not sent");
        assert_eq!(turns("\"\"\"/a\"\"\"\n/a\n"), ["[/a]", "/a"]);
        assert_eq!(turns("say \"\"\" now\n"), ["say \"\"\" now"]);
    }
}
