//! Who may ask, what was used, and what it costs.
//!
//! A [`Key`] says who asks, what for, and how much of it. Before a request runs, [`Ledger::reserve`] checks every limit of its key and
//! holds what it may use; afterwards [`Ledger::settle`] writes what it used as one [`UsageRow`] and frees the rest. Rows are
//! written once, chained by hashes, and never changed; their cost is exact and follows from a [`PriceList`]. The database is
//! SQLite or PostgreSQL, for one process or several. All days and months are those of UTC.
//!
//! The crate knows nothing of HTTP, models or engines; units are counts that the caller made. It keeps no secret of a key, only its
//! hash, and no text of any request. No amount of money passes through a float.

#![forbid(unsafe_code)]

mod access;
mod batch;
mod chain;
mod db;
mod error;
mod export;
mod hold;
mod key;
mod ledger;
mod migrate;
mod money;
mod pattern;
mod price;
mod rates;
mod report;
mod secret;
mod time;
mod units;
mod usage;
mod writer;

pub use chain::Chain;
pub use error::{Amount, Denied, LedgerError, Limit, Limited, Result, Standing};
pub use export::{Format, record};
pub use hold::{Hold, Request, Reserved};
pub use key::{Budget, Key, KeyChange, Limits, NewKey, Quota, Scope};
pub use ledger::{Ledger, Options, Settled};
pub use money::{Currency, Money};
pub use price::{Cost, Price, PriceLine, PriceList};
pub use report::{By, Filter, Line};
pub use secret::Secret;
pub use time::{Clock, Period, Time};
pub use units::{Unit, Units};
pub use usage::{Kind, Outcome, UsageRow};
pub use writer::Recovered;
