//! `argand run`: one prompt, one answer.

use crate::args::WriterArgs;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand::{Answer, Finish, Grammar};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Answer one prompt; nothing but the answer goes to standard output
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand run smollm2 \"Why is the sky blue?\"
  argand run smollm2 --temperature 0 --max-tokens 32 \"Count to five.\"
  git diff | argand run qwen2.5-coder:1.5b --system \"Write a commit message.\"
  argand run model.gguf --raw \"def fibonacci(n):\" -n 64 --stop $'\\n\\n'
  argand run smollm2 --file question.txt --json | jq .usage
  argand run smollm2 --json-schema person.json \"Invent a person.\" | jq .name
  argand run smollm2 --regex '(yes|no)' \"Is water wet?\"
  argand run ./flan-t5-small \"translate English to German: The house is wonderful.\"")]
pub struct Run {
    /// Model: a catalogue name, a path, or OWNER/NAME of the hub
    model: String,
    /// Prompt; read from --file or standard input when left out
    #[arg(conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Continue the prompt as plain text, without a chat template
    #[arg(long, conflicts_with_all = ["system", "template"])]
    raw: bool,
    /// Write one JSON object with the answer, its cost and its speed
    #[arg(long)]
    json: bool,
    /// Answer with JSON that this schema describes, whatever the model would say
    #[arg(long, value_name = "FILE", help_heading = "Form of the answer")]
    json_schema: Option<PathBuf>,
    /// Answer with a text of this grammar (Lark)
    #[arg(long, value_name = "FILE", conflicts_with = "json_schema", help_heading = "Form of the answer")]
    grammar: Option<PathBuf>,
    /// Answer with a text that this regular expression matches
    #[arg(long, value_name = "REGEX", conflicts_with_all = ["json_schema", "grammar"], help_heading = "Form of the answer")]
    regex: Option<String>,
    #[command(flatten)]
    writer: WriterArgs,
}

impl Run {
    pub fn run(self) -> Result<()> {
        let grammar = self.form()?;
        let form = grammar.is_some();
        let mut writer = self.writer.read()?;
        writer.generation.grammar = grammar;
        let prompt = self.prompt()?;
        if prompt.trim().is_empty() {
            bail!("the prompt is empty; give one as an argument, with --file or on standard input");
        }
        let mut model = writer.load(&models::ready(&self.model)?.path)?;
        let context = model.context();
        let _gentle = interrupt::gentle();
        let mut answer = if self.raw || model.reads() { model.complete(&prompt)? } else { model.chat(&prompt)? };
        stream(&mut answer, !self.json)?;
        match self.json {
            true => ui::out_json(&report(&answer))?,
            false => ui::out("\n")?,
        }
        if form && matches!(answer.finish(), Some(Finish::MaxTokens | Finish::Context(_))) {
            eprintln!(
                "[the answer was cut, so it has not the form that was asked for; --max-tokens allows a longer one]"
            );
        }
        tell(&answer, context, "a larger one is asked for with --context TOKENS", self.writer.stats);
        Ok(interrupt::check()?)
    }

    /// What the answer is to look like.
    fn form(&self) -> Result<Option<Grammar>> {
        let read = |what: &str, path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read the {what} from {}", path.display()))
        };
        Ok(match (&self.json_schema, &self.grammar, &self.regex) {
            (Some(path), ..) => {
                let schema = serde_json::from_str(&read("schema", path)?);
                Some(Grammar::Schema(schema.with_context(|| format!("the schema in {} is no JSON", path.display()))?))
            }
            (_, Some(path), _) => Some(Grammar::Lark(read("grammar", path)?)),
            (.., Some(regex)) => Some(Grammar::Regex(regex.clone())),
            _ => None,
        })
    }

    fn prompt(&self) -> Result<String> {
        match (&self.prompt, &self.file) {
            (Some(prompt), _) if prompt != "-" => Ok(prompt.clone()),
            (None, Some(file)) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read the prompt from {}", file.display()))
            }
            _ => {
                if io::stdin().is_terminal() {
                    bail!("there is no prompt; give one as an argument, with --file or on standard input");
                }
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read the prompt from standard input")?;
                Ok(text)
            }
        }
    }
}

/// Takes an answer to its end, or until Ctrl-C is pressed, and shows it as it comes.
pub fn stream(answer: &mut Answer<'_>, show: bool) -> Result<()> {
    while let Some(piece) = answer.step() {
        let piece = piece?;
        if show {
            ui::out(&piece)?;
        }
        if interrupt::raised() {
            answer.stop();
            break;
        }
    }
    Ok(())
}

/// Says on standard error that an answer was cut because nothing more fits and what can be done, and its speed if that is wanted.
pub fn tell(answer: &Answer<'_>, context: usize, advice: &str, speed: bool) {
    if matches!(answer.finish(), Some(Finish::Context(_))) {
        eprintln!("[the context of {context} tokens is full; {advice}]");
    }
    if speed {
        eprintln!("{}", stats(answer));
    }
}

/// What an answer cost and how fast it was, for programs.
pub fn report(answer: &Answer<'_>) -> serde_json::Value {
    let timing = answer.timing();
    serde_json::json!({
        "text": answer.text(),
        "tokens": answer.tokens(),
        "finish_reason": answer.finish().map_or("interrupted", |f| f.openai().unwrap_or("error")),
        "finish": answer.finish().map_or("interrupted".into(), ToString::to_string),
        "usage": answer.usage(),
        "timing": {
            "first_token_s": timing.first.as_secs_f64(),
            "rest_s": timing.rest.as_secs_f64(),
            "prompt_tokens_per_s": timing.prompt_rate(),
            "decode_tokens_per_s": timing.decode_rate(),
        },
    })
}

/// The same in a line, for people.
fn stats(answer: &Answer<'_>) -> String {
    let (timing, usage) = (answer.timing(), answer.usage().unwrap_or_default());
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |r| format!("{r:.1} tok/s"));
    let drafts = match usage.draft_tokens {
        0 => String::new(),
        drafted => format!("; {} of {drafted} drafted tokens were right", usage.accepted_tokens),
    };
    format!(
        "[prompt {} tokens, {} kept from before, {}; answer {} tokens, {}; first token after {:.0} ms{drafts}]",
        usage.prompt_tokens,
        usage.cached_tokens,
        rate(timing.prompt_rate()),
        usage.completion_tokens,
        rate(timing.decode_rate()),
        timing.first.as_secs_f64() * 1e3,
    )
}
