//! Holds: what is set aside for a request until it is known what it used.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use crate::db::{Fields, Value, args};
use crate::error::{Result, Standing};
use crate::key::from_json;
use crate::price::Cost;
use crate::time::Time;
use crate::units::Units;
use crate::usage::{UsageRow, cost};
use crate::writer::{Op, Work};

/// What a request is, and the most that it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is called: the idempotency key of whoever asks, or else an id that nobody else makes. One key is charged once for one id.
    pub id: String,
    /// Name of the model.
    pub model: String,
    /// What is asked of it, such as `chat.completions`.
    pub endpoint: String,
    /// When it arrived. It decides the prices, and the period that it counts for.
    pub at: Time,
    /// The most that it may use.
    pub hold: Units,
}

/// The answer to a reservation that no limit refused.
#[derive(Debug)]
pub enum Reserved {
    /// It is held: go on, and settle.
    Held(Hold),
    /// A request with this id is running.
    Running,
    /// A request with this id was settled before, as this row says.
    Settled(Box<UsageRow>),
}

/// Something set aside. Settle it; one that is dropped instead is settled with the progress that was noted last, or freed if none was.
#[derive(Debug)]
pub struct Hold {
    pub(crate) ticket: Box<Ticket>,
    standings: Vec<Standing>,
    writer: UnboundedSender<Op>,
    open: AtomicBool,
}

impl Hold {
    pub(crate) fn new(ticket: Ticket, standings: Vec<Standing>, writer: UnboundedSender<Op>) -> Self {
        Self { ticket: Box::new(ticket), standings, writer, open: AtomicBool::new(true) }
    }

    /// Id of the request.
    pub fn request(&self) -> &str {
        &self.ticket.request
    }

    /// Id of the key.
    pub fn key(&self) -> &str {
        &self.ticket.key
    }

    /// What is held.
    pub fn units(&self) -> &Units {
        &self.ticket.units
    }

    /// What that costs, if a price list says so.
    pub fn cost(&self) -> Option<&Cost> {
        self.ticket.cost.as_ref()
    }

    /// How the limits of the key stood with this hold, for the headers of the answer.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// It was settled: nothing is left to do when it is dropped.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.open.load(Ordering::SeqCst) {
            // Nobody is left to be told if the writer has ended; the hold is then recovered by the next process.
            let _ = self.writer.send(Op::silent(Work::Abandon(Ticket::clone(&self.ticket))));
        }
    }
}

/// What the database knows of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) key: String,
    pub(crate) request: String,
    pub(crate) server: String,
    pub(crate) model: String,
    pub(crate) endpoint: String,
    pub(crate) at: Time,
    /// The price list in force at `at`, if there is one.
    pub(crate) prices: Option<String>,
    pub(crate) cost: Option<Cost>,
    pub(crate) units: Units,
    /// Number among the limits per minute; 0 for one of another process.
    pub(crate) serial: u64,
}

impl Ticket {
    /// The columns that [`Ticket::read`] reads, in their order.
    pub(crate) const COLUMNS: &str = "h.key, h.request, h.server, h.model, h.endpoint, h.at, h.prices, \
        CASE WHEN h.currency IS NULL THEN NULL ELSE h.cost END, h.currency, \
        CASE WHEN h.currency IS NULL THEN NULL ELSE h.prices END, h.units, h.progress";

    /// The statement for [`Ticket::args`].
    pub(crate) const INSERT: &str = "INSERT INTO holds (key, request, server, model, endpoint, at, prices, currency, cost, \
        tokens, units) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

    /// Reads a hold and the progress that was noted of it.
    pub(crate) fn read(row: &mut Fields) -> Result<(Self, Option<Units>)> {
        let ticket = Self {
            key: row.text()?,
            request: row.text()?,
            server: row.text()?,
            model: row.text()?,
            endpoint: row.text()?,
            at: row.time()?,
            prices: row.maybe_text()?,
            cost: cost(row.maybe_int()?, row.maybe_text()?, row.maybe_text()?)?,
            units: from_json("held units", &row.text()?)?,
            serial: 0,
        };
        let progress = row.maybe_text()?.map(|text| from_json("progress", &text)).transpose()?;
        Ok((ticket, progress))
    }

    pub(crate) fn args(&self) -> Vec<Value> {
        args![
            self.key.as_str(),
            self.request.as_str(),
            self.server.as_str(),
            self.model.as_str(),
            self.endpoint.as_str(),
            self.at,
            self.prices.clone(),
            self.cost.as_ref().map(|cost| cost.currency.to_string()),
            self.cost.as_ref().map_or(0, |cost| cost.amount.nanos()),
            self.units.tokens(),
            self.units.text(),
        ]
    }
}
