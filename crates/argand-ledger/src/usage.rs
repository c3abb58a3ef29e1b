//! Rows of usage: what was used, by whom, and what it cost. They are written once and never changed.
//!
//! **The chain.** Rows are numbered from 1 without gaps. The `hash` of a row is the SHA-256, in hexadecimal, of the bytes
//! of a JSON array without spaces: `[previous, seq, kind, key, request, model, endpoint, at, settled, outcome, units, amount, currency,
//! prices, corrects, note]`, where `previous` is the hash of the row before (`""` for the first), moments are microseconds since 1970,
//! `units` is an object in the order of [`Unit::ALL`](crate::Unit::ALL) without zeros, `amount` counts billionths, and what is absent is
//! `null`. Whoever keeps the last number and hash elsewhere can tell later whether anything before it was changed.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::db::{Fields, Value, args};
use crate::error::{Result, stored};
use crate::key::from_json;
use crate::money::Money;
use crate::price::Cost;
use crate::secret;
use crate::time::Time;
use crate::units::Units;

/// A type whose values are words, in the database and everywhere else.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $field:literal, { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            fn stored(word: &str) -> Result<Self> {
                let found = Self::ALL.iter().copied().find(|value| value.word() == word);
                found.ok_or_else(|| stored($field, word, "a known word"))
            }
        }
    };
}

words! {
    /// What a row stands for.
    Kind, "the kind of a row of usage", {
        /// A request.
        Usage = "usage",
        /// A difference to an earlier row.
        Correction = "correction",
    }
}

words! {
    /// How a request ended.
    Outcome, "the outcome of a request", {
        /// As it should.
        Completed = "completed",
        /// Whoever asked went away.
        Cancelled = "cancelled",
        /// With an error.
        Failed = "failed",
        /// Nobody said: the hold was dropped. What was noted last is what counts.
        Abandoned = "abandoned",
        /// With the process that answered it. What was noted last is what counts.
        Recovered = "recovered",
    }
}

/// A row of usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Its number, from 1.
    pub seq: i64,
    /// What it stands for.
    pub kind: Kind,
    /// Id of the key.
    pub key: String,
    /// Id of the request, which the key has for no other one.
    pub request: String,
    /// Name of the model.
    pub model: String,
    /// What was asked of it.
    pub endpoint: String,
    /// When it was asked.
    pub at: Time,
    /// When the row was written.
    pub settled: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// What was used.
    pub units: Units,
    /// What it costs; `None` if no price list said so.
    pub cost: Option<Cost>,
    /// Number of the row that a correction belongs to.
    pub corrects: Option<i64>,
    /// Why a correction was made.
    pub note: Option<String>,
    /// Hash of the row before.
    pub previous: String,
    /// Hash of this one.
    pub hash: String,
}

impl UsageRow {
    /// The columns that [`UsageRow::read`] reads, in their order.
    pub(crate) const COLUMNS: &str = "u.seq, u.kind, u.key, u.request, u.model, u.endpoint, u.at, u.settled, u.outcome, u.units, \
        u.cost, u.currency, u.prices, u.corrects, u.note, u.previous, u.hash";

    /// The statement for [`UsageRow::args`].
    pub(crate) const INSERT: &str = "INSERT INTO usage (seq, kind, key, request, model, endpoint, at, settled, outcome, units, \
        cost, currency, prices, corrects, note, previous, hash) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";

    pub(crate) fn read(row: &mut Fields) -> Result<Self> {
        Ok(Self {
            seq: row.int()?,
            kind: Kind::stored(&row.text()?)?,
            key: row.text()?,
            request: row.text()?,
            model: row.text()?,
            endpoint: row.text()?,
            at: row.time()?,
            settled: row.time()?,
            outcome: Outcome::stored(&row.text()?)?,
            units: from_json("units", &row.text()?)?,
            cost: cost(row.maybe_int()?, row.maybe_text()?, row.maybe_text()?)?,
            corrects: row.maybe_int()?,
            note: row.maybe_text()?,
            previous: row.text()?,
            hash: row.text()?,
        })
    }

    pub(crate) fn args(&self) -> Vec<Value> {
        let cost = self.cost.as_ref();
        args![
            self.seq,
            self.kind.word(),
            self.key.as_str(),
            self.request.as_str(),
            self.model.as_str(),
            self.endpoint.as_str(),
            self.at,
            self.settled,
            self.outcome.word(),
            self.units.text(),
            cost.map(|cost| cost.amount.nanos()),
            cost.map(|cost| cost.currency.to_string()),
            cost.map(|cost| cost.prices.clone()),
            self.corrects,
            self.note.clone(),
            self.previous.as_str(),
            self.hash.as_str(),
        ]
    }

    /// The hash that the row should have, by everything else in it.
    pub fn expected_hash(&self) -> String {
        let cost = self.cost.as_ref();
        let fields = json!([
            self.previous,
            self.seq,
            self.kind.word(),
            self.key,
            self.request,
            self.model,
            self.endpoint,
            self.at.micros(),
            self.settled.micros(),
            self.outcome.word(),
            self.units,
            cost.map(|cost| cost.amount.nanos()),
            cost.map(|cost| cost.currency),
            cost.map(|cost| &cost.prices),
            self.corrects,
            self.note,
        ]);
        secret::hash(&fields.to_string())
    }
}

/// A cost of three columns, which are there together or not at all.
pub(crate) fn cost(amount: Option<i64>, currency: Option<String>, prices: Option<String>) -> Result<Option<Cost>> {
    match (amount, currency, prices) {
        (Some(amount), Some(currency), Some(prices)) => {
            let currency = currency.parse().map_err(|_| stored("a currency", &currency, "three capital letters"))?;
            Ok(Some(Cost { amount: Money::from_nanos(amount), currency, prices }))
        }
        (None, None, None) => Ok(None),
        found => Err(stored("a cost", format_args!("{found:?}"), "amount, currency and price list together")),
    }
}
