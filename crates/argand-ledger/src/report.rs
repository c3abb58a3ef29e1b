//! Reports: what was used, added up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::db::{Fields, Value, args, sql};
use crate::error::{LedgerError, Result, invalid, stored};
use crate::ledger::Ledger;
use crate::money::{Currency, Money};
use crate::time::Time;
use crate::units::{Unit, Units};
use crate::usage::UsageRow;

/// Which rows are meant. What is `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Requests that arrived at this moment or later.
    pub from: Option<Time>,
    /// Requests that arrived before this moment.
    pub to: Option<Time>,
    /// Requests of the key with this id.
    pub key: Option<String>,
    /// Requests for the model of this name.
    pub model: Option<String>,
    /// Requests to this endpoint.
    pub endpoint: Option<String>,
}

impl Filter {
    /// The condition for rows `u`, with `$1` to `$5`.
    const WHERE: &str = "u.at >= $1 AND u.at < $2 AND ($3 = '' OR u.key = $3) AND ($4 = '' OR u.model = $4) \
        AND ($5 = '' OR u.endpoint = $5)";

    fn args(&self) -> Vec<Value> {
        let to = self.to.map_or(i64::MAX, Time::micros);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        args![self.from.map_or(0, Time::micros), to, text(&self.key), text(&self.model), text(&self.endpoint)]
    }
}

/// What a report tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Keys.
    Key,
    /// Models.
    Model,
    /// Endpoints.
    Endpoint,
    /// Days, in UTC.
    Day,
    /// Hours, in UTC.
    Hour,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Key, Self::Model, Self::Endpoint, Self::Day, Self::Hour];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Endpoint => "endpoint",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    fn expression(self) -> &'static str {
        match self {
            Self::Key => "u.key",
            Self::Model => "u.model",
            Self::Endpoint => "u.endpoint",
            Self::Day => "u.at - u.at % 86400000000",
            Self::Hour => "u.at - u.at % 3600000000",
        }
    }

    fn read(self, row: &mut Fields) -> Result<String> {
        // As much of the moment as is meant: 2026-11-23, or 2026-11-23T18.
        let begin = |time: Time, length| time.to_string().chars().take(length).collect();
        match self {
            Self::Key | Self::Model | Self::Endpoint => row.text(),
            Self::Day => row.time().map(|time| begin(time, 10)),
            Self::Hour => row.time().map(|time| begin(time, 13)),
        }
    }
}

impl std::str::FromStr for By {
    type Err = LedgerError;

    fn from_str(word: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::word).join(", ");
        Self::ALL
            .into_iter()
            .find(|by| by.word() == word)
            .ok_or_else(|| invalid("group", word, &format!("one of {known}")))
    }
}

/// A line of a report, corrections included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is about, in the order in which that was asked for; days and hours as the beginning of RFC 3339.
    pub group: Vec<String>,
    /// How many requests.
    pub requests: i64,
    /// What they used.
    pub units: Units,
    /// What they cost, in each currency.
    pub cost: BTreeMap<Currency, Money>,
    /// How many of them no price list had a cost for.
    pub unpriced: i64,
}

impl Ledger {
    /// Adds up rows, a line for each group that there is, in the order of the groups. Without groups there is one line, or none if
    /// nothing was used.
    ///
    /// # Errors
    /// [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn report(&self, filter: &Filter, by: &[By]) -> Result<Vec<Line>> {
        let mut conn = self.conn().await?;
        let groups: String = by.iter().map(|by| format!("{}, ", by.expression())).collect();
        let numbers = |more: usize| (1..=by.len() + more).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        // One statement, so that all of it is of the same moment.
        let statement = format!(
            "SELECT {groups}CAST(0 AS BIGINT), COALESCE(u.currency, ''), CAST(SUM(COALESCE(u.cost, 0)) AS BIGINT), \
             COUNT(CASE WHEN u.kind = 'usage' THEN 1 END), \
             COUNT(CASE WHEN u.kind = 'usage' AND u.cost IS NULL THEN 1 END) \
             FROM usage u WHERE {condition} GROUP BY {columns} \
             UNION ALL \
             SELECT {groups}CAST(1 AS BIGINT), e.key, CAST(SUM(CAST(e.value AS BIGINT)) AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT) \
             FROM usage u, {each} WHERE {condition} GROUP BY {columns}",
            condition = Filter::WHERE,
            columns = numbers(2),
            each = conn.dialect().each_unit(),
        );
        let rows = conn.rows("reporting", sql(statement), filter.args()).await?;
        let mut lines: BTreeMap<Vec<String>, Line> = BTreeMap::new();
        for mut row in rows {
            let group = by.iter().map(|by| by.read(&mut row)).collect::<Result<Vec<_>>>()?;
            let line = lines.entry(group.clone()).or_insert_with(|| Line { group, ..Line::default() });
            let (is_unit, word, sum) = (row.int()? == 1, row.text()?, row.int()?);
            if is_unit {
                let unit = Unit::from_word(&word).ok_or_else(|| stored("a unit", &word, "a known word"))?;
                line.units = line.units.with(unit, sum);
                continue;
            }
            line.requests += row.int()?;
            line.unpriced += row.int()?;
            if !word.is_empty() {
                let currency = word.parse().map_err(|_| stored("a currency", &word, "three capital letters"))?;
                line.cost.insert(currency, Money::from_nanos(sum));
            }
        }
        Ok(lines.into_values().collect())
    }

    /// At most so many rows behind the one with number `after`, in their order; 0 begins.
    ///
    /// # Errors
    /// [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn rows(&self, filter: &Filter, after: i64, most: i64) -> Result<Vec<UsageRow>> {
        let statement = format!(
            "SELECT {} FROM usage u WHERE {} AND u.seq > $6 ORDER BY u.seq LIMIT $7",
            UsageRow::COLUMNS,
            Filter::WHERE
        );
        let mut args = filter.args();
        args.extend(args![after, most]);
        let rows = self.conn().await?.rows("reading usage", sql(statement), args).await?;
        rows.into_iter().map(|mut row| UsageRow::read(&mut row)).collect()
    }
}
