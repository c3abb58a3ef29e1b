//! What can go wrong, and what is refused. A refusal is an answer and no fault: servers tell it to whoever asked.

use std::fmt;

use serde::Serialize;

use crate::key::Scope;
use crate::money::{Currency, Money};
use crate::time::{Period, Time};

/// Result of most calls.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The key does not open this door.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A limit of the key is reached.
    #[error(transparent)]
    Limited(Box<Limited>),
    /// Something given is not what it should be.
    #[error("{field} is {found:?}, expected {expected}")]
    Invalid {
        /// What was given.
        field: &'static str,
        /// What it was.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// By which name.
        name: String,
    },
    /// There is one already, and it is another.
    #[error("there is already a {what} {name:?}, and it is another one; it cannot be changed")]
    Exists {
        /// What was to be added.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "the database has version {found} of the ledger's tables, and this program knows up to {known}: use a newer argand"
    )]
    Newer {
        /// Version of the database.
        found: i64,
        /// Newest known version.
        known: i64,
    },
    /// The database did not do what it was asked.
    #[error("the ledger's database failed while {doing}: {reason}")]
    Database {
        /// What it was asked.
        doing: &'static str,
        /// What it said.
        reason: String,
    },
    /// The database holds something that this program never writes there.
    #[error("the ledger's database holds {found:?} as {field}, expected {expected}")]
    Stored {
        /// Which field.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A row of usage is not the one that was written.
    #[error("the chain of usage is broken at row {seq}: {reason}")]
    Broken {
        /// The first wrong row.
        seq: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to be written could not be.
    #[error("cannot write the export: {0}")]
    Output(String),
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Whether it is the database's fault, and trying again may help.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Database { .. })
    }
}

/// Why a key does not open a door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has this key.
    #[error("this key is not known")]
    Unknown,
    /// Its time is over.
    #[error("this key expired at {at}")]
    Expired {
        /// Since when.
        at: Time,
    },
    /// It was taken back.
    #[error("this key was revoked at {at}")]
    Revoked {
        /// Since when.
        at: Time,
    },
    /// It is for other things.
    #[error("this key lacks the scope {scope}")]
    LacksScope {
        /// What it would need.
        scope: Scope,
    },
    /// It is for other models.
    #[error("this key may not use the model {model:?}")]
    ModelNotAllowed {
        /// The model that was asked for.
        model: String,
    },
    /// It has a budget, and nobody said what this would cost.
    #[error("this key has a budget in {currency}, and {model:?} has no price in it")]
    Unpriced {
        /// The model, or what else was asked for.
        model: String,
        /// Currency of the budget.
        currency: Currency,
    },
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Requests in any 60 seconds, counted by each process for itself.
    RequestsPerMinute,
    /// Tokens in any 60 seconds, counted by each process for itself.
    TokensPerMinute,
    /// Requests at the same time.
    Concurrent,
    /// Tokens in a period.
    Tokens(Period),
    /// Money in a period.
    Budget(Period),
}

impl Limit {
    /// Whether it is counted in memory, over any 60 seconds.
    pub fn is_per_minute(self) -> bool {
        matches!(self, Self::RequestsPerMinute | Self::TokensPerMinute)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, period) = match self {
            Self::RequestsPerMinute => return f.write_str("requests per minute"),
            Self::TokensPerMinute => return f.write_str("tokens per minute"),
            Self::Concurrent => return f.write_str("concurrent requests"),
            Self::Tokens(period) => ("tokens", period),
            Self::Budget(period) => ("budget", period),
        };
        match period {
            Period::Total => write!(f, "{what} in total"),
            _ => write!(f, "{what} per {}", period.word()),
        }
    }
}

/// A size of a limit, or how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Amount {
    /// Requests or tokens.
    Count(i64),
    /// Money.
    Money {
        /// How much.
        amount: Money,
        /// Of what.
        currency: Currency,
    },
}

impl Amount {
    /// The bare number: a count, or billionths of the currency.
    pub fn number(self) -> i64 {
        match self {
            Self::Count(count) => count,
            Self::Money { amount, .. } => amount.nanos(),
        }
    }

    /// The same kind of amount with another number.
    pub(crate) fn of(self, number: i64) -> Self {
        match self {
            Self::Count(_) => Self::Count(number),
            Self::Money { currency, .. } => Self::Money { amount: Money::from_nanos(number), currency },
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Money { amount, currency } => write!(f, "{amount} {currency}"),
        }
    }
}

/// How a limit of a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Which limit.
    pub limit: Limit,
    /// How much is allowed.
    pub size: Amount,
    /// How much is used, or held for requests that are running.
    pub used: Amount,
    /// When all of it can be used again, if nothing more is; `None` if that depends on requests that are running, or never.
    pub resets: Option<Time>,
}

impl Standing {
    /// How much is left; never below zero.
    pub fn remaining(&self) -> Amount {
        self.size.of(self.size.number().saturating_sub(self.used.number()).max(0))
    }
}

/// Which limit refused a request. Its message says all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limited {
    /// The limit as it stands without the request.
    pub standing: Standing,
    /// How much the request asked for.
    pub asked: Amount,
    /// When it would be let in, if nothing else is; `None` if that depends on requests that are running, or never.
    pub retry: Option<Time>,
}

impl Limited {
    /// Whether the request asks for more than the limit would ever let through.
    pub fn is_hopeless(&self) -> bool {
        self.asked.number() > self.standing.size.number()
    }
}

impl std::error::Error for Limited {}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { limit, size, used, .. } = self.standing;
        write!(f, "limit of {limit} reached: {size} allowed, {used} used or held, {} asked for", self.asked)?;
        match self.retry {
            Some(at) => write!(f, "; try again at {at}"),
            None if self.is_hopeless() => f.write_str("; this request alone asks for more than the limit"),
            None => Ok(()),
        }
    }
}

/// The error for something given that is not what it should be.
pub(crate) fn invalid(field: &'static str, found: impl fmt::Display, expected: &str) -> LedgerError {
    LedgerError::Invalid { field, found: found.to_string(), expected: expected.to_owned() }
}

/// The error for something in the database that is not what it should be.
pub(crate) fn stored(field: &'static str, found: impl fmt::Display, expected: &'static str) -> LedgerError {
    LedgerError::Stored { field, found: found.to_string(), expected }
}
