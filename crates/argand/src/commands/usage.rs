//! `argand usage`: what was used, and what it cost.

use std::collections::HashMap;
use std::io::{BufWriter, Write};

use anyhow::{Result, bail};
use argand_ledger::{By, Filter, Format, Line, Time, Unit, record};
use serde_json::{Map, Value, json};

use crate::args::BadValue;
use crate::ledger::LedgerArgs;
use crate::ui;

/// Say what was used, and what it cost
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand usage --by key,model --from 2026-11-01 --to 2026-12-01
  argand usage --by day --key key-0123456789ab --csv
  argand usage --json                      every row, a JSON object on each line

Days and hours are those of UTC. Without --by, --csv and --json write every row.")]
pub struct Usage {
    /// From this moment on: a date, or a moment of RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What to tell apart: key, model, endpoint, day, hour; several with commas
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    by: Vec<String>,
    /// Only of the key with this id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only of this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write CSV
    #[arg(long, conflicts_with_all = ["json", "cloudevents"])]
    csv: bool,
    /// Write JSON: an array with --by, lines without
    #[arg(long, conflicts_with = "cloudevents")]
    json: bool,
    /// Write every row as an event of CloudEvents 1.0, all in one batch
    #[arg(long, conflicts_with = "by")]
    cloudevents: bool,
    /// Source of those events: a URI that tells this ledger from others
    #[arg(long, value_name = "URI", default_value = "urn:argand:ledger")]
    source: String,
}

impl Usage {
    pub fn run(self) -> Result<()> {
        let moment = |text: &Option<String>| text.as_deref().map(str::parse::<Time>).transpose();
        let filter = Filter {
            from: moment(&self.from)?,
            to: moment(&self.to)?,
            key: self.key.clone(),
            model: self.model.clone(),
            endpoint: None,
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| to <= from) {
            bail!(BadValue("--to is not after --from".into()));
        }
        if self.cloudevents {
            return self.export(&filter, Format::CloudEvents { source: self.source.clone() });
        }
        match (self.by.is_empty(), self.csv, self.json) {
            (true, true, _) => return self.export(&filter, Format::Csv),
            (true, _, true) => return self.export(&filter, Format::JsonLines),
            _ => {}
        }
        let by = self.by.iter().map(|word| word.parse::<By>()).collect::<Result<Vec<_>, _>>()?;
        let lines = self.ledger.with(async |ledger| Ok(ledger.report(&filter, &by).await?))?;
        match (self.json, self.csv) {
            (true, _) => Ok(ui::out_json(&lines.iter().map(|line| as_json(line, &by)).collect())?),
            (_, true) => Ok(ui::out(&as_csv(&lines, &by))?),
            _ => self.table(&lines, &by),
        }
    }

    fn export(&self, filter: &Filter, format: Format) -> Result<()> {
        let mut out = BufWriter::new(std::io::stdout());
        self.ledger.with(async |ledger| Ok(ledger.export(filter, &format, &mut out).await?))?;
        Ok(out.flush()?)
    }

    fn table(&self, lines: &[Line], by: &[By]) -> Result<()> {
        if lines.is_empty() {
            eprintln!("nothing was used");
            return Ok(());
        }
        let keys = self.ledger.with(async |ledger| Ok(ledger.keys().await?))?;
        let names: HashMap<_, _> = keys.into_iter().map(|key| (key.id, key.name)).collect();
        let used = |unit: &Unit| lines.iter().any(|line| line.units.get(*unit) != 0);
        let units: Vec<Unit> = Unit::ALL.into_iter().filter(used).collect();
        let named = |(by, value): (&By, &String)| match (by, names.get(value)) {
            (By::Key, Some(name)) => format!("{name} ({value})"),
            _ => value.clone(),
        };
        let row = |line: &Line| {
            let mut row: Vec<String> = by.iter().zip(&line.group).map(named).collect();
            row.push(line.requests.to_string());
            row.extend(units.iter().map(|unit| line.units.get(*unit).to_string()));
            row.push(cost(line));
            row
        };
        let mut head: Vec<&str> = by.iter().map(|by| by.word()).collect();
        head.push("requests");
        head.extend(units.iter().map(|unit| unit.word()));
        head.push("cost");
        Ok(ui::out(&ui::table(&head, &lines.iter().map(row).collect::<Vec<_>>()))?)
    }
}

/// The cost in words; what has no price is said and not counted as nothing.
fn cost(line: &Line) -> String {
    let sums = line.cost.iter().map(|(currency, amount)| format!("{amount} {currency}"));
    let unpriced = (line.unpriced > 0).then(|| format!("{} without a price", line.unpriced));
    sums.chain(unpriced).collect::<Vec<_>>().join(", ")
}

fn as_json(line: &Line, by: &[By]) -> Value {
    let groups = by.iter().zip(&line.group).map(|(by, value)| (by.word().to_owned(), json!(value)));
    let mut object: Map<String, Value> = groups.collect();
    object.insert("requests".into(), json!(line.requests));
    object.insert("units".into(), json!(line.units));
    object.insert("cost".into(), json!(line.cost));
    object.insert("unpriced".into(), json!(line.unpriced));
    Value::Object(object)
}

/// A record for each currency of a line, because a column holds one.
fn as_csv(lines: &[Line], by: &[By]) -> String {
    let own = ["requests"].into_iter().chain(Unit::ALL.map(Unit::word)).chain(["cost", "currency", "unpriced"]);
    let head = record(by.iter().map(|by| by.word()).chain(own).map(str::to_owned));
    let records = lines.iter().flat_map(|line| {
        let mut costs: Vec<_> = line.cost.iter().map(|(c, amount)| (amount.to_string(), c.to_string())).collect();
        if costs.is_empty() {
            costs.push((String::new(), String::new()));
        }
        // What is not money stands in the first record alone, so that columns can be added up.
        costs.into_iter().enumerate().map(|(place, (amount, currency))| {
            let counts = |count: i64| if place == 0 { count.to_string() } else { String::new() };
            let units = Unit::ALL.map(|unit| counts(line.units.get(unit)));
            let fields = line.group.iter().cloned().chain([counts(line.requests)]).chain(units);
            record(fields.chain([amount, currency, counts(line.unpriced)]))
        })
    });
    head + &records.collect::<String>()
}
