//! The `argand` command: reads what was typed, runs one command, says what went wrong in one line.
//!
//! Results go to standard output and everything else to standard error. Exit codes: 0 done, 1 failed, 2 the command
//! line could not be parsed or the value of an option means nothing, 130 interrupted.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod interrupt;
mod ledger;
mod models;
mod opened;
mod pictures;
mod texts;
mod ui;

use clap::{CommandFactory, FromArgMatches, Parser};
use std::process::ExitCode;

/// Run open models on machines that you own.
#[derive(Parser)]
#[command(name = "argand", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  argand chat                                  talk to a small model, fetched on first use
  argand run smollm2 \"Why is the sky blue?\"    one answer, nothing else on standard output
  argand bench smollm2                         how fast, and how close to this machine's limits
  argand doctor                                what this machine offers

A MODEL is a name of the catalogue (`argand list --known`), a path (a .gguf or .safetensors file, or
a directory with config.json), or OWNER/NAME[:FILE-OR-QUANTISATION][@REVISION] of the Hugging Face
hub.")]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let mut command = with_negative_numbers(Cli::command());
    let parsed = Cli::from_arg_matches(&command.get_matches_mut());
    let cli = parsed.unwrap_or_else(|error| error.format(&mut command).exit());
    interrupt::install();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error)),
    }
}

/// Takes `-1` for a value everywhere, so that its range is told where it is wrong, and not an option that nobody meant.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |arg: clap::Arg| {
        let value = arg.get_action().takes_values();
        arg.allow_negative_numbers(value)
    };
    command.mut_args(takes).mut_subcommands(with_negative_numbers)
}

/// Says what went wrong; the exit code.
fn report(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ui::OutputError>().is_some_and(ui::OutputError::is_closed) {
        return 0;
    }
    if error.is::<interrupt::Interrupted>() {
        return 130;
    }
    eprintln!("{} {}", ui::bold("error:"), one_line(error));
    if let Some(hint) = ui::hint(error) {
        eprintln!(" hint: {hint}");
    }
    if error.is::<args::BadValue>() || error.downcast_ref().is_some_and(ledger::is_bad_value) {
        2
    } else if interrupt::raised() {
        130
    } else {
        1
    }
}

/// An error with its causes; a cause that the text before tells already is left out, and so is a file's name that two
/// layers have put in front.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = once(&cause).to_string();
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// `file: file: what` as `file: what`.
fn once(text: &str) -> &str {
    let again =
        text.split_once(": ").filter(|(first, rest)| rest.strip_prefix(first).is_some_and(|r| r.starts_with(": ")));
    again.map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn an_error_is_one_line_that_says_nothing_twice() {
        let error = anyhow!("no\nroom").context("cannot write x: no room").context("tensor t");
        assert_eq!(super::one_line(&error), "tensor t: cannot write x: no room");
        assert_eq!(super::one_line(&anyhow!("a.gguf: a.gguf: tensor t")), "a.gguf: tensor t");
        assert_eq!(super::one_line(&anyhow!("a: a.gguf: x")), "a: a.gguf: x");
    }

    #[test]
    fn only_a_reader_of_the_output_may_leave() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(super::report(&anyhow::Error::from(super::ui::OutputError::from(broken())).context("list")), 0);
        assert_eq!(super::report(&anyhow::Error::from(broken()).context("fetching")), 1);
    }

    #[test]
    fn the_command_line_is_sound() {
        super::with_negative_numbers(<super::Cli as clap::CommandFactory>::command()).debug_assert();
    }
}
