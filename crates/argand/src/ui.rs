//! How results, progress and advice look. Progress and colour appear only on terminals.

use crate::texts::Text;
use argand::Choice;
use argand_engine::Does;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader has left, having enough, as in `argand list | head`.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes a result to standard output.
pub fn out(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputError::from)
}

/// Writes a value as JSON to standard output.
pub fn out_json(value: &serde_json::Value) -> Result<(), OutputError> {
    out(&format!("{value:#}\n"))
}

/// Text in bold where standard error is a terminal that wants it.
pub fn bold(text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    if io::stderr().is_terminal() && !plain { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() }
}

/// A bar that shows bytes on a terminal, and nothing elsewhere.
pub fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> ")).with_message(label.to_string())
}

/// A bar that counts things on a terminal, and nothing elsewhere.
pub fn counter(label: &str, total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {per_sec} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
    ProgressBar::new(total).with_style(style).with_message(label.to_string())
}

/// A line that says what is going on, on a terminal only.
pub fn status(text: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length().with_style(style).with_message(text.to_string());
    bar.tick();
    bar
}

/// Shows a pull: bars on a terminal, a line for each item elsewhere.
#[derive(Default)]
pub struct Fetching {
    bar: Option<ProgressBar>,
}

impl argand::Progress for Fetching {
    fn start(&mut self, total: Option<u64>, label: &str) {
        if !io::stderr().is_terminal() {
            let size = total.map_or(String::new(), |t| format!(" ({})", argand_hub::human_bytes(t)));
            eprintln!("fetching {label}{size}");
        }
        self.bar = Some(bar(label, total));
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.iter().for_each(|bar| bar.inc(bytes));
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    fn finish(&mut self) {
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Advice where no architecture is named.
const NEEDS_CONFIG: &str = "a file of weights alone needs --config: a config.json, or the name of a built-in one";

/// What else could be done about an error, where its own words do not say.
pub fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|e| {
        if let Some(hub) = e.downcast_ref::<argand_hub::HubError>() {
            return match hub {
                argand_hub::HubError::UnknownModel { .. } => Some("`argand list --known` shows the catalogue"),
                _ => None,
            };
        }
        if let Some(argand_models::Error::NoArchitecture { .. }) = e.downcast_ref() {
            return Some(NEEDS_CONFIG);
        }
        let error = e.downcast_ref::<argand::Error>()?;
        match error {
            argand::Error::Load(argand_engine::LoadError::Encoder { .. }) => {
                Some("`argand embed`, `fill`, `classify` and `rerank` are for encoders")
            }
            argand::Error::Load(argand_engine::LoadError::Model(argand_models::Error::NoArchitecture { .. })) => {
                Some(NEEDS_CONFIG)
            }
            argand::Error::Load(argand_engine::LoadError::NoEncoder { does, .. }) => match does {
                Does::Write => Some("`argand chat` and `argand run` are for models that write"),
                Does::Rewrite => Some("`argand run MODEL TEXT` gives it a text to read"),
                Does::Compare => Some("`argand embed` and `argand classify --labels` are for models that compare"),
                Does::Other => None,
            },
            argand::Error::NoConversation { .. } => Some("`argand run MODEL TEXT` gives it a text to read"),
            argand::Error::Request(
                argand_engine::AddError::PromptTooLong { .. } | argand_engine::AddError::SourceTooLong { .. },
            ) => Some("a larger context is asked for with --context TOKENS"),
            argand::Error::Template(argand_text::TemplateError::None) => {
                Some("--template takes a file or one of these names; `argand run --raw` continues plain text")
            }
            _ => None,
        }
    })
}

/// How wide the terminal is that standard output goes to; none where it goes elsewhere.
pub fn columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    size.map(|(width, _)| usize::from(width.0))
}

/// What stands between columns.
const GAP: &str = "  ";

/// The rows with their widest columns cut so that the table has at most this width; none where it has. No column is cut below
/// its head.
pub fn fitted(head: &[&str], rows: &[Vec<String>], width: usize) -> Option<Vec<Vec<String>>> {
    let room = width.saturating_sub(GAP.len() * head.len().saturating_sub(1));
    let mut widths = widths(head, rows);
    if widths.iter().sum::<usize>() <= room {
        return None;
    }
    let least = |i: usize| head[i].chars().count().max(4);
    while widths.iter().sum::<usize>() > room {
        let longer = (0..head.len()).filter(|i| widths[*i] > least(*i));
        let Some(widest) = longer.max_by_key(|i| widths[*i]) else { break };
        widths[widest] -= 1;
    }
    let cut = |(cell, width): (&String, &usize)| match cell.chars().count() > *width {
        true => cell.chars().take(width - 1).chain(['…']).collect(),
        false => cell.clone(),
    };
    Some(rows.iter().map(|row| row.iter().zip(&widths).map(cut).collect()).collect())
}

/// Characters of the longest cell of each column.
fn widths(head: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let cell = |row: &[String], i: usize| row.get(i).map_or(0, |c| c.chars().count());
    let widest = |i: usize| rows.iter().map(|r| cell(r, i)).max().unwrap_or(0).max(head[i].chars().count());
    (0..head.len()).map(widest).collect()
}

/// Rows of cells, columns aligned; numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths = widths(head, rows);
    let is_number = |c: &String| c.is_empty() || c.starts_with(|f: char| f.is_ascii_digit() || f == '-');
    let right: Vec<bool> = (0..head.len()).map(|i| rows.iter().all(|r| r.get(i).is_none_or(is_number))).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|h| (*h).to_string()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells =
            row.iter().zip(&widths).zip(&right).map(|((cell, width), right)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
        text += cells.collect::<Vec<_>>().join(GAP).trim_end();
        text.push('\n');
    }
    text
}

/// A label or a word with its probability, for programs.
pub fn choice(choice: &Choice) -> serde_json::Value {
    serde_json::json!({ "label": choice.text, "probability": choice.probability })
}

/// Writes the `top` texts with the highest scores, the highest first.
pub fn ranking(mut scored: Vec<(f32, &Text)>, top: usize, score: &str, as_json: bool) -> Result<(), OutputError> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.truncate(top);
    if as_json {
        let rows: Vec<_> = scored.iter().map(|(value, text)| text.json(serde_json::json!({ score: value }))).collect();
        return out_json(&rows.into());
    }
    let rows: Vec<_> = scored.iter().map(|(value, text)| vec![format!("{value:.4}"), text.label()]).collect();
    out(&table(&[score, "text"], &rows))
}

/// A count as people read it: `135 M`.
pub fn human_count(n: f64) -> String {
    const UNITS: [&str; 5] = ["", " k", " M", " G", " T"];
    // An empty sum of floats is -0.
    let mut value = n + 0.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Bytes as people read them.
pub fn human_bytes(bytes: f64) -> String {
    argand_hub::human_bytes(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_numbers_to_the_right() {
        let rows = [vec!["a".to_string(), "7".into()], vec!["long".into(), "123".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name    n\na       7\nlong  123\n");
    }

    #[test]
    fn tables_are_cut_to_fit_where_they_are_widest() {
        let rows = [vec!["a name".to_string(), "7".into(), "what is said of it at length".into()]];
        let head = ["name", "n", "about"];
        assert_eq!(fitted(&head, &rows, 80), None);
        let cut = fitted(&head, &rows, 24).unwrap();
        assert_eq!(cut, [["a name", "7", "what is said…"]]);
        assert!(table(&head, &cut).lines().all(|line| line.chars().count() <= 24));
        assert_eq!(fitted(&head, &rows, 1).unwrap(), [["a n…", "7", "what…"]], "there is an end to it");
    }

    #[test]
    fn counts_keep_three_digits() {
        let shown = [-0.0, 999.0, 1000.0, 134_515_008.0, 12_345.0].map(human_count);
        assert_eq!(shown, ["0", "999", "1.00 k", "135 M", "12.3 k"]);
    }
}
