//! Rows of usage for other programs: JSON lines, CSV, CloudEvents.

use std::io::Write;

use serde_json::json;

use crate::chain::PAGE;
use crate::error::{LedgerError, Result};
use crate::ledger::Ledger;
use crate::report::Filter;
use crate::units::Unit;
use crate::usage::UsageRow;

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A [`UsageRow`] as JSON on each line.
    JsonLines,
    /// RFC 4180 with a line of names: a column for each unit, empty where there is nothing.
    Csv,
    /// One batch of CloudEvents 1.0 in JSON (`application/cloudevents-batch+json`). The number of a row is the id of its event.
    CloudEvents {
        /// What tells this ledger from others: a URI.
        source: String,
    },
}

impl Ledger {
    /// Writes rows in their order; how many they were.
    ///
    /// # Errors
    /// [`LedgerError::Output`] if they cannot be written, [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn export(&self, filter: &Filter, format: &Format, out: &mut (dyn Write + Send)) -> Result<u64> {
        let mut count = 0;
        let mut after = 0;
        write(out, &format.begin())?;
        loop {
            let rows = self.rows(filter, after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = last.seq;
            for row in &rows {
                write(out, &format.row(row, count == 0))?;
                count += 1;
            }
        }
        write(out, format.end())?;
        Ok(count)
    }
}

impl Format {
    /// What stands before the rows.
    pub fn begin(&self) -> String {
        match self {
            Self::JsonLines => String::new(),
            Self::Csv => {
                let before = ["seq", "kind", "key", "request", "model", "endpoint", "at", "settled", "outcome"];
                let behind = ["cost", "currency", "prices", "corrects", "note", "previous", "hash"];
                let names = before.into_iter().chain(Unit::ALL.map(Unit::word)).chain(behind);
                record(names.map(str::to_owned))
            }
            Self::CloudEvents { .. } => "[".into(),
        }
    }

    /// A row.
    pub fn row(&self, row: &UsageRow, first: bool) -> String {
        match self {
            Self::JsonLines => format!("{}\n", json!(row)),
            Self::Csv => csv(row),
            Self::CloudEvents { source } => {
                let event = json!({
                    "specversion": "1.0",
                    "id": row.seq.to_string(),
                    "source": source,
                    "type": "argand.usage.v1",
                    "subject": row.key,
                    "time": row.at,
                    "datacontenttype": "application/json",
                    "data": row,
                });
                format!("{}{event}", if first { "\n" } else { ",\n" })
            }
        }
    }

    /// What stands behind the rows.
    pub fn end(&self) -> &'static str {
        match self {
            Self::JsonLines | Self::Csv => "",
            Self::CloudEvents { .. } => "\n]\n",
        }
    }
}

fn csv(row: &UsageRow) -> String {
    let cost = row.cost.as_ref();
    let before = [
        row.seq.to_string(),
        row.kind.word().into(),
        row.key.clone(),
        row.request.clone(),
        row.model.clone(),
        row.endpoint.clone(),
        row.at.to_string(),
        row.settled.to_string(),
        row.outcome.word().into(),
    ];
    let units =
        Unit::ALL.map(|unit| Some(row.units.get(unit)).filter(|count| *count != 0).map(|count| count.to_string()));
    let behind = [
        cost.map(|cost| cost.amount.to_string()),
        cost.map(|cost| cost.currency.to_string()),
        cost.map(|cost| cost.prices.clone()),
        row.corrects.map(|seq| seq.to_string()),
        row.note.clone(),
        Some(row.previous.clone()),
        Some(row.hash.clone()),
    ];
    record(before.into_iter().chain(units.into_iter().chain(behind).map(Option::unwrap_or_default)))
}

/// A record of RFC 4180.
pub fn record(fields: impl IntoIterator<Item = String>) -> String {
    let quoted = fields.into_iter().map(|field| match field.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

fn write(out: &mut (dyn Write + Send), text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(|error| LedgerError::Output(error.to_string()))
}
