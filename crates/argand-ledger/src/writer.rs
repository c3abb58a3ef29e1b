//! The writer: the one task of a process that writes, many requests in one transaction.
//!
//! What arrives while a transaction is being committed goes into the next one together. Nobody is answered before their
//! transaction is committed. One that settles something, or changes keys or prices, is on the disk before it is answered; one that only
//! reserves or notes progress is left to the operating system, which keeps it if the process dies. A machine that loses power
//! loses the requests that were running, and their holds with them.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::batch::{Batch, State};
use crate::db::{Conn, Dialect, Pool};
use crate::error::{LedgerError, Result, Standing};
use crate::hold::{Hold, Request, Ticket};
use crate::key::{Key, KeyChange, NewKey};
use crate::price::PriceList;
use crate::secret::Secret;
use crate::time::Clock;
use crate::units::Units;
use crate::usage::{Outcome, UsageRow};

/// The most that goes into one transaction.
const MOST: usize = 512;

/// What can be asked of the writer.
#[derive(Debug)]
pub(crate) enum Work {
    Reserve {
        key: String,
        request: Request,
    },
    Progress(Vec<(Ticket, Units)>),
    Settle {
        ticket: Ticket,
        used: Units,
        outcome: Outcome,
    },
    Abandon(Ticket),
    Correct {
        seq: i64,
        units: Units,
        note: String,
    },
    Recover,
    Create(NewKey),
    Change {
        id: String,
        change: KeyChange,
    },
    Revoke(String),
    Rotate {
        id: String,
        grace: Duration,
    },
    AddPrices(PriceList),
    /// Ends the writer.
    Leave,
}

impl Work {
    /// Whether it has to be on the disk before it is answered.
    fn is_durable(&self) -> bool {
        !matches!(self, Self::Reserve { .. } | Self::Progress(_))
    }
}

/// What the writer answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Nothing,
    /// Becomes `Held` once it is committed.
    Granted {
        ticket: Ticket,
        standings: Vec<Standing>,
    },
    Held(Hold),
    Running,
    Settled {
        row: UsageRow,
        first: bool,
    },
    Row(UsageRow),
    Recovered(Recovered),
    Key(Key, Option<Secret>),
}

/// What was done about holds of processes that are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Holds of which progress was noted: that much is charged now.
    pub settled: u64,
    /// Holds without any, which are free again.
    pub freed: u64,
}

/// Work, and whom to answer.
#[derive(Debug)]
pub(crate) struct Op {
    work: Work,
    reply: Option<oneshot::Sender<Result<Answer>>>,
}

impl Op {
    /// Work without an answer.
    pub(crate) fn silent(work: Work) -> Self {
        Self { work, reply: None }
    }

    /// Work, and where its answer will arrive.
    pub(crate) fn answered(work: Work) -> (Self, oneshot::Receiver<Result<Answer>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { work, reply: Some(sender) }, receiver)
    }
}

type Reply = (Option<oneshot::Sender<Result<Answer>>>, Result<Answer>);

/// Starts the writer; it ends with [`Work::Leave`], or when nobody can ask it any more.
pub(crate) fn start(pool: Pool, state: State, clock: Clock, lease: Duration) -> UnboundedSender<Op> {
    let (sender, receiver) = unbounded_channel();
    let writer = Writer { pool, state, clock, conn: None, durable: true, door: sender.downgrade() };
    tokio::spawn(writer.run(receiver, lease / 4));
    sender
}

struct Writer {
    pool: Pool,
    state: State,
    clock: Clock,
    conn: Option<Conn>,
    /// How SQLite was told to commit.
    durable: bool,
    /// What holds tell that they were dropped.
    door: WeakUnboundedSender<Op>,
}

impl Writer {
    async fn run(mut self, mut receiver: UnboundedReceiver<Op>, pause: Duration) {
        let mut ops = Vec::new();
        let mut open = true;
        while open {
            match tokio::time::timeout(pause, receiver.recv_many(&mut ops, MOST)).await {
                Ok(0) => {
                    open = false;
                    ops.push(Op::silent(Work::Leave));
                }
                Ok(_) => open = !ops.iter().any(|op| matches!(op.work, Work::Leave)),
                // Nothing is asked, but the others may have to hear that this process lives.
                Err(_) => {}
            }
            self.answer(&mut ops).await;
        }
    }

    async fn answer(&mut self, ops: &mut Vec<Op>) {
        let mut replies = Vec::with_capacity(ops.len());
        let done = self.transact(ops, &mut replies).await;
        if done.is_err()
            && let Some(conn) = self.conn.take()
        {
            conn.discard().await;
        }
        // What was not begun fails as the transaction did.
        replies.extend(ops.drain(..).map(|op| (op.reply, Ok(Answer::Nothing))));
        for (reply, answer) in replies {
            let Some(reply) = reply else { continue };
            let answer = done.clone().and(answer).and_then(|answer| match answer {
                Answer::Granted { ticket, standings } => {
                    let door = self.door.upgrade().ok_or(LedgerError::Closed)?;
                    Ok(Answer::Held(Hold::new(ticket, standings, door)))
                }
                other => Ok(other),
            });
            // Whoever asked may be gone; a hold that comes back is dropped, and so abandoned.
            let _ = reply.send(answer);
        }
    }

    /// Does all of it in one transaction; leaves in `ops` what was not begun.
    async fn transact(&mut self, ops: &mut Vec<Op>, replies: &mut Vec<Reply>) -> Result<()> {
        let now = self.clock.now();
        if ops.is_empty() && !self.state.is_due(now) {
            return Ok(());
        }
        let durable = ops.is_empty() || ops.iter().any(|op| op.work.is_durable());
        let conn = match &mut self.conn {
            Some(conn) => conn,
            empty => {
                let fresh = empty.insert(self.pool.conn().await?);
                self.durable = true;
                fresh
            }
        };
        if conn.dialect() == Dialect::Sqlite && durable != self.durable {
            let how = if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            conn.run("choosing how to commit", how).await?;
            self.durable = durable;
        }
        let mut batch = Batch::begin(conn, &mut self.state, now, durable).await?;
        if batch.is_due() {
            batch.beat().await?;
        }
        let mut rest = std::mem::take(ops).into_iter();
        while let Some(op) = rest.next() {
            let answer = batch.work(&op.work).await;
            let failure = answer.as_ref().err().filter(|error| error.is_failure()).cloned();
            replies.push((op.reply, answer));
            if let Some(failure) = failure {
                ops.extend(rest);
                return Err(failure);
            }
        }
        batch.commit().await
    }
}
