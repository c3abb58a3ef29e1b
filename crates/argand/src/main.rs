//! The `argand` command: reads what was typed, runs one command, says what went wrong in one line.
//!
//! Results go to standard output and everything else to standard error. Exit codes: 0 done, 1 failed, 2 the command
//! line could not be parsed, 130 interrupted. A value that parses and then means nothing is a failure.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod interrupt;
mod models;
mod opened;
mod texts;
mod ui;

use clap::Parser;
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
    let cli = Cli::parse();
    interrupt::install();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error)),
    }
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
    if interrupt::raised() { 130 } else { 1 }
}

/// An error with its causes; a cause that the text before tells already is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn an_error_is_one_line_that_says_nothing_twice() {
        let error = anyhow!("no\nroom").context("cannot write x: no room").context("tensor t");
        assert_eq!(super::one_line(&error), "tensor t: cannot write x: no room");
    }

    #[test]
    fn only_a_reader_of_the_output_may_leave() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(super::report(&anyhow::Error::from(super::ui::OutputError::from(broken())).context("list")), 0);
        assert_eq!(super::report(&anyhow::Error::from(broken()).context("fetching")), 1);
    }

    #[test]
    fn the_command_line_is_sound() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
