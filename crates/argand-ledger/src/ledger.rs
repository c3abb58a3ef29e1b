//! The ledger: what others call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::access::{Known, Memory};
use crate::batch::State;
use crate::db::{Conn, Pool, args, sql};
use crate::error::{Denied, LedgerError, Result};
use crate::hold::{Hold, Request, Reserved, Ticket};
use crate::key::{Key, KeyChange, NewKey, Scope, from_json};
use crate::migrate::migrate;
use crate::price::PriceList;
use crate::secret::{self, Secret};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::{Outcome, UsageRow};
use crate::writer::{self, Answer, Op, Recovered, Work};

/// How a ledger is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it learns what time it is.
    pub clock: Clock,
    /// How long after its last word a process is believed to live. Its holds are recovered after that, or at once by a
    /// process of the same `server`. The clocks of all machines must agree to a small part of it.
    pub lease: Duration,
    /// A name that no two running processes have at the same time, such as that of the machine and the port: who opens a
    /// ledger under it says that whoever had it before is gone.
    pub server: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::system(), lease: Duration::from_secs(15), server: None }
    }
}

/// Keys, usage and prices in a database. Cheap to clone; clones are the same ledger.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    writer: UnboundedSender<Op>,
    clock: Clock,
    memory: Memory,
}

/// The answer to [`Ledger::settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The row that says what was used.
    pub row: UsageRow,
    /// Whether it was written now; if not, an earlier call had settled the request, and nothing was changed.
    pub first: bool,
}

impl Ledger {
    /// Opens a database by its URL: `postgres://USER@HOST/NAME`, `sqlite:PATH`, or a path. A file that is not there is made, for its
    /// owner alone; tables of older versions are brought up to date. Must be called within a runtime of tokio, which must last as
    /// long as the ledger.
    ///
    /// # Errors
    /// [`LedgerError::Newer`] for a database of a newer version, [`LedgerError::Invalid`] for a URL of another kind,
    /// [`LedgerError::Database`].
    pub async fn open(url: &str, options: Options) -> Result<Self> {
        let pool = Pool::open(url).await?;
        migrate(&pool).await?;
        let state = State::new(options.server, options.lease)?;
        let writer = writer::start(pool.clone(), state, options.clock.clone(), options.lease);
        Ok(Self(Arc::new(Inner { pool, writer, clock: options.clock, memory: Memory::default() })))
    }

    /// Ends the writer, after what was asked of it before, and closes the database. Holds that are not settled by then stay, and are
    /// recovered by others at once.
    ///
    /// # Errors
    /// [`LedgerError::Database`] if the writer could not say goodbye; the database is closed all the same.
    pub async fn close(&self) -> Result<()> {
        let left = self.ask(Work::Leave).await;
        self.0.pool.close().await;
        match left {
            Ok(_) | Err(LedgerError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where this ledger learns what time it is.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Makes a key. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`], [`LedgerError::Database`].
    pub async fn create_key(&self, new: NewKey) -> Result<(Key, Secret)> {
        new.check()?;
        match self.ask(Work::Create(new)).await? {
            Answer::Key(key, Some(secret)) => Ok((key, secret)),
            _ => Err(LedgerError::Closed),
        }
    }

    /// All keys, also those that are no longer good, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn keys(&self) -> Result<Vec<Key>> {
        let statement = format!("SELECT {} FROM keys k ORDER BY k.created, k.id", Key::COLUMNS);
        let rows = self.conn().await?.rows("listing keys", sql(statement), args![]).await?;
        rows.into_iter().map(|mut row| Key::read(&mut row)).collect()
    }

    /// A key by its id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn key(&self, id: &str) -> Result<Key> {
        let statement = format!("SELECT {} FROM keys k WHERE k.id = $1", Key::COLUMNS);
        let row = self.conn().await?.row("reading a key", sql(statement), args![id]).await?;
        Key::read(&mut row.ok_or_else(|| LedgerError::NotFound { what: "key", name: id.to_owned() })?)
    }

    /// Changes a key. It holds at once in this process, and in others within a second; reservations see it at once everywhere.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Invalid`], [`LedgerError::Database`].
    pub async fn change_key(&self, id: &str, change: KeyChange) -> Result<Key> {
        self.changed(Work::Change { id: id.to_owned(), change }).await.map(|(key, _)| key)
    }

    /// Revokes a key for ever; when it was first revoked stays. As fast as [`Ledger::change_key`].
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Database`].
    pub async fn revoke_key(&self, id: &str) -> Result<Key> {
        self.changed(Work::Revoke(id.to_owned())).await.map(|(key, _)| key)
    }

    /// Gives a key another secret. The present ones end after `grace`.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Invalid`] for a key that was revoked, [`LedgerError::Database`].
    pub async fn rotate_key(&self, id: &str, grace: Duration) -> Result<(Key, Secret)> {
        match self.changed(Work::Rotate { id: id.to_owned(), grace }).await? {
            (key, Some(secret)) => Ok((key, secret)),
            _ => Err(LedgerError::Closed),
        }
    }

    async fn changed(&self, work: Work) -> Result<(Key, Option<Secret>)> {
        let answer = self.ask(work).await;
        self.0.memory.clear();
        match answer? {
            Answer::Key(key, secret) => Ok((key, secret)),
            _ => Err(LedgerError::Closed),
        }
    }

    /// The key that a secret belongs to, if it is good now.
    ///
    /// # Errors
    /// [`LedgerError::Denied`] with [`Denied::Unknown`], [`Denied::Expired`] or [`Denied::Revoked`]; [`LedgerError::Database`].
    pub async fn authenticate(&self, secret: &str) -> Result<Arc<Key>> {
        let hash = secret::hash(secret);
        let known = match self.0.memory.get(&hash) {
            Ok(known) => known,
            Err(changes) => self.look_up(hash, changes).await?,
        };
        let now = self.0.clock.now();
        known.key.check(now)?;
        match known.until {
            Some(at) if at <= now => Err(Denied::Expired { at }.into()),
            _ => Ok(known.key),
        }
    }

    async fn look_up(&self, hash: String, changes: u64) -> Result<Known> {
        let read = Instant::now();
        let statement =
            format!("SELECT {}, s.until FROM secrets s JOIN keys k ON k.id = s.key WHERE s.hash = $1", Key::COLUMNS);
        let row = self.conn().await?.row("reading a key", sql(statement), args![hash.as_str()]).await?;
        let mut row = row.ok_or(Denied::Unknown)?;
        let known = Known { key: Arc::new(Key::read(&mut row)?), until: row.maybe_time()? };
        self.0.memory.put(hash, known.clone(), changes, read);
        Ok(known)
    }

    /// As [`Ledger::authenticate`], and that the key may be used for this, with this model if one is meant.
    ///
    /// # Errors
    /// Those of [`Ledger::authenticate`], and [`Denied::LacksScope`] or [`Denied::ModelNotAllowed`].
    pub async fn authorize(&self, secret: &str, scope: Scope, model: Option<&str>) -> Result<Arc<Key>> {
        let key = self.authenticate(secret).await?;
        key.permits(scope, model)?;
        Ok(key)
    }

    /// Checks all limits of a key and sets aside what a request may use, in one step.
    ///
    /// # Errors
    /// [`LedgerError::Limited`] if a limit is reached, [`LedgerError::Denied`] for a key that is no longer good or a budget
    /// without a price, [`LedgerError::Invalid`], [`LedgerError::Database`].
    pub async fn reserve(&self, key: &str, request: Request) -> Result<Reserved> {
        match self.ask(Work::Reserve { key: key.to_owned(), request }).await? {
            Answer::Held(hold) => Ok(Reserved::Held(hold)),
            Answer::Running => Ok(Reserved::Running),
            Answer::Settled { row, .. } => Ok(Reserved::Settled(Box::new(row))),
            _ => Err(LedgerError::Closed),
        }
    }

    /// Notes what running requests have used so far: what will be charged if this process dies. One transaction for all of them.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`], [`LedgerError::Database`].
    pub async fn progress(&self, marks: &[(&Hold, Units)]) -> Result<()> {
        let marks = marks.iter().map(|(hold, units)| (Ticket::clone(&hold.ticket), *units)).collect();
        self.ask(Work::Progress(marks)).await.map(drop)
    }

    /// Writes what a request used, once, and frees its hold. It is on the disk when this returns. More than was held is charged too.
    /// Settling again changes nothing, whatever it says.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`], [`LedgerError::Database`]: then settle again, or drop the hold.
    pub async fn settle(&self, hold: &Hold, used: Units, outcome: Outcome) -> Result<Settled> {
        match self.ask(Work::Settle { ticket: Ticket::clone(&hold.ticket), used, outcome }).await? {
            Answer::Settled { row, first } => {
                hold.close();
                Ok(Settled { row, first })
            }
            _ => Err(LedgerError::Closed),
        }
    }

    /// Ends the holds of processes that are gone: charges what they had noted, frees the rest. It is also done every few seconds
    /// while this process holds something; servers call it when they start.
    ///
    /// # Errors
    /// [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn recover(&self) -> Result<Recovered> {
        match self.ask(Work::Recover).await? {
            Answer::Recovered(recovered) => Ok(recovered),
            _ => Err(LedgerError::Closed),
        }
    }

    /// Adds a difference, which may be negative, to what a row of usage says. Together they cost what their units cost by the
    /// price list of the row.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Invalid`] if less than nothing would be left, or the row is a correction
    /// itself; [`LedgerError::Database`].
    pub async fn correct(&self, seq: i64, units: Units, note: &str) -> Result<UsageRow> {
        match self.ask(Work::Correct { seq, units, note: note.to_owned() }).await? {
            Answer::Row(row) => Ok(row),
            _ => Err(LedgerError::Closed),
        }
    }

    /// Adds a price list. Adding the same one again changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] for another list of the same id, [`LedgerError::Invalid`], [`LedgerError::Database`].
    pub async fn add_prices(&self, list: PriceList) -> Result<()> {
        list.check()?;
        self.ask(Work::AddPrices(list)).await.map(drop)
    }

    /// All price lists, in the order in which they were added.
    ///
    /// # Errors
    /// [`LedgerError::Database`], [`LedgerError::Stored`].
    pub async fn prices(&self) -> Result<Vec<PriceList>> {
        let all = "SELECT list FROM price_lists ORDER BY place";
        let rows = self.conn().await?.rows("reading prices", all, args![]).await?;
        rows.into_iter().map(|mut row| from_json("a price list", &row.text()?)).collect()
    }

    pub(crate) async fn conn(&self) -> Result<Conn> {
        self.0.pool.conn().await
    }

    async fn ask(&self, work: Work) -> Result<Answer> {
        let (op, answer) = Op::answered(work);
        self.0.writer.send(op).map_err(|_| LedgerError::Closed)?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }
}
