//! What is done inside a transaction of the writer.
//!
//! A transaction begins by locking the row of `head`, so nothing else writes while it decides, in this process or another. A call
//! that refuses has written nothing; one that fails otherwise ends the whole transaction.

mod keys;
mod reserve;
mod settle;

use crate::db::{Conn, Dialect, args, sql};
use crate::error::{LedgerError, Result, stored};
use crate::key::from_json;
use crate::price::{PriceList, Prices};
use crate::rates::Rates;
use crate::secret;
use crate::time::Time;
use crate::writer::{Answer, Work};

use std::time::Duration;

/// What the writer remembers between transactions.
#[derive(Debug)]
pub(crate) struct State {
    /// What this process is called in the table of servers.
    server: String,
    name: Option<String>,
    lease: Duration,
    /// Until when the others believe that it lives; `None` before it held anything.
    until: Option<Time>,
    rates: Rates,
    prices: Prices,
    /// How many lists there were when `prices` was read; -1 if nobody knows.
    lists: i64,
}

impl State {
    pub(crate) fn new(name: Option<String>, lease: Duration) -> Result<Self> {
        let server = secret::letters(16)?;
        let (rates, prices) = (Rates::default(), Prices::default());
        Ok(Self { server, name, lease, until: None, rates, prices, lists: 0 })
    }

    /// Whether it is time to tell the others that this process lives.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until.before(self.lease * 2 / 3) <= now)
    }
}

/// A transaction.
pub(crate) struct Batch<'a> {
    conn: &'a mut Conn,
    state: &'a mut State,
    now: Time,
    /// Number and hash of the last row of usage.
    seq: i64,
    hash: String,
    lists: i64,
    before: (i64, i64),
    /// Requests that were let in by the limits per minute.
    entered: Vec<(String, u64)>,
    committed: bool,
}

impl<'a> Batch<'a> {
    /// Begins, and waits for whoever else writes.
    pub(crate) async fn begin(conn: &'a mut Conn, state: &'a mut State, now: Time, durable: bool) -> Result<Self> {
        conn.run("beginning", conn.dialect().begin()).await?;
        if conn.dialect() == Dialect::Postgres && !durable {
            conn.run("choosing how to commit", "SET LOCAL synchronous_commit = off").await?;
        }
        let head = format!("SELECT seq, hash, lists FROM head WHERE id = 1{}", conn.dialect().locked());
        let mut row = (conn.row("locking", sql(head), args![]).await?)
            .ok_or_else(|| stored("the head of the chain", "nothing", "one row"))?;
        let (seq, hash, lists) = (row.int()?, row.text()?, row.int()?);
        let mut batch =
            Self { conn, state, now, seq, hash, lists, before: (seq, lists), entered: Vec::new(), committed: false };
        if batch.state.lists != lists {
            batch.read_prices().await?;
        }
        Ok(batch)
    }

    /// Makes it durable, and gives the connection back.
    pub(crate) async fn commit(mut self) -> Result<()> {
        if self.before != (self.seq, self.lists) {
            let head = "UPDATE head SET seq = $1, hash = $2, lists = $3 WHERE id = 1";
            self.conn.rows("moving the head", head, args![self.seq, self.hash.as_str(), self.lists]).await?;
        }
        self.conn.run("committing", "COMMIT").await?;
        self.committed = true;
        Ok(())
    }

    /// Does one thing.
    pub(crate) async fn work(&mut self, work: &Work) -> Result<Answer> {
        match work {
            Work::Reserve { key, request } => self.reserve(key, request).await,
            Work::Progress(marks) => self.progress(marks).await,
            Work::Settle { ticket, used, outcome } => self.settle(ticket, used, *outcome).await,
            Work::Abandon(ticket) => self.abandon(ticket).await,
            Work::Correct { seq, units, note } => self.correct(*seq, units, note).await,
            Work::Recover => self.recover().await,
            Work::Create(new) => self.create(new).await,
            Work::Change { id, change } => self.change(id, change).await,
            Work::Revoke(id) => self.revoke(id).await,
            Work::Rotate { id, grace } => self.rotate(id, *grace).await,
            Work::AddPrices(list) => self.add_prices(list).await,
            Work::Leave => self.leave().await,
        }
    }

    /// See [`State::is_due`].
    pub(crate) fn is_due(&self) -> bool {
        self.state.is_due(self.now)
    }

    /// Tells the others that this process lives, and settles what those left that no longer do.
    pub(crate) async fn beat(&mut self) -> Result<()> {
        self.announce().await?;
        self.state.rates.sweep(self.now);
        self.recover().await.map(drop)
    }

    async fn announce(&mut self) -> Result<()> {
        const DOING: &str = "announcing this process";
        let (until, server) = (self.now.after(self.state.lease), self.state.server.as_str());
        let upsert = "INSERT INTO servers (id, name, until) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET until = excluded.until";
        self.conn.rows(DOING, upsert, args![server, self.state.name.clone(), until]).await?;
        if let (None, Some(name)) = (self.state.until, &self.state.name) {
            // Whoever had this name before is gone.
            let others = "DELETE FROM servers WHERE name = $1 AND id <> $2";
            self.conn.rows(DOING, others, args![name.as_str(), server]).await?;
        }
        self.state.until = Some(until);
        Ok(())
    }

    /// Takes this process off the table: it will hold nothing more.
    async fn leave(&mut self) -> Result<Answer> {
        let gone = "DELETE FROM servers WHERE id = $1";
        self.conn.rows("leaving", gone, args![self.state.server.as_str()]).await?;
        self.state.until = None;
        Ok(Answer::Nothing)
    }

    async fn read_prices(&mut self) -> Result<()> {
        let rows = self.conn.rows("reading prices", "SELECT list FROM price_lists ORDER BY place", args![]).await?;
        let lists = rows.into_iter().map(|mut row| from_json("a price list", &row.text()?));
        self.state.prices = Prices(lists.collect::<Result<_>>()?);
        self.state.lists = self.lists;
        Ok(())
    }

    async fn add_prices(&mut self, list: &PriceList) -> Result<Answer> {
        match self.state.prices.named(&list.id) {
            Some(known) if known == list => return Ok(Answer::Nothing),
            Some(_) => return Err(LedgerError::Exists { what: "price list", name: list.id.clone() }),
            None => {}
        }
        let text = crate::key::to_json(list);
        let insert = "INSERT INTO price_lists (id, place, added, list) VALUES ($1, $2, $3, $4)";
        self.conn.rows("adding prices", insert, args![list.id.as_str(), self.lists + 1, self.now, text]).await?;
        self.lists += 1;
        self.read_prices().await?;
        Ok(Answer::Nothing)
    }
}

impl Drop for Batch<'_> {
    /// One that was not committed did not happen, so what is remembered of it must go too.
    fn drop(&mut self) {
        if !self.committed {
            self.entered.iter().for_each(|(key, serial)| self.state.rates.leave(key, *serial));
            (self.state.until, self.state.lists) = (None, -1);
        }
    }
}
