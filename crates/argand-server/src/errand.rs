//! A request that is answered at once and whole: reserved, done, put on record, and given up when nobody waits any more.
//!
//! As in [`answer`](crate::answer), a task stands between the work and the client, and what is counted is what was computed.

use crate::account::{Caller, Hold};
use crate::answer::Total;
use crate::app::App;
use crate::error::ApiError;
use crate::metrics::Outcome;
use crate::record::Record;
use axum::http::StatusCode;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval_at, sleep_until};

/// How often it is noted what a running request has used.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Work to be done for a client.
pub struct Errand {
    /// Which endpoint asks, for the record.
    pub endpoint: &'static str,
    /// The model's name.
    pub model: String,
    /// Tokens that it reads at most.
    pub read: usize,
    /// Tokens that it writes at most.
    pub written: usize,
}

/// What has been computed so far; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Total>>);

impl Tally {
    /// Tokens were read, of which some were there already, and written.
    pub fn add(&self, prompt: usize, cached: usize, completion: usize) {
        let mut total = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        total.prompt += prompt;
        total.cached += cached;
        total.completion += completion;
    }

    /// All of it.
    pub fn total(&self) -> Total {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that nobody waits for the work any more.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<bool>);

impl Signal {
    /// Resolves when the work is to be given up. It is to end soon then, and to have counted what was computed.
    pub async fn given_up(&mut self) {
        if self.0.wait_for(|given_up| *given_up).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Work that was done.
#[derive(Debug)]
pub struct Done<T> {
    /// What came out.
    pub value: T,
    /// What was computed for it.
    pub total: Total,
    /// What was reserved; it is settled.
    pub hold: Hold,
}

/// Runs an errand.
///
/// # Errors
/// The caller may not, it cannot be taken now, or the work failed.
pub async fn run<T, W>(
    app: &Arc<App>,
    caller: &Caller,
    errand: Errand,
    work: impl FnOnce(Tally, Signal) -> W + Send + 'static,
) -> Result<Done<T>, ApiError>
where
    T: Send + 'static,
    W: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let (out, answer) = oneshot::channel();
    // A client that goes away must not leave a reservation behind, so this goes on without it.
    app.tasks.spawn(carry_out(Arc::clone(app), caller.clone(), errand, work, out));
    answer.await.unwrap_or_else(|_| Err(ApiError::internal("a mistake of the server; its log says more")))
}

async fn carry_out<T, W: Future<Output = Result<T, ApiError>>>(
    app: Arc<App>,
    caller: Caller,
    errand: Errand,
    work: impl FnOnce(Tally, Signal) -> W,
    mut out: oneshot::Sender<Result<Done<T>, ApiError>>,
) {
    let started = Instant::now();
    let hold = match caller.reserve(&errand.model, errand.endpoint, errand.read, errand.written).await {
        Ok(hold) => hold,
        Err(error) => return drop(out.send(Err(error))),
    };
    let (stop, signal) = watch::channel(false);
    let tally = Tally::default();
    let work = work(tally.clone(), Signal(signal));
    tokio::pin!(work);
    let deadline = started + app.config.request_timeout();
    let mut notes = interval_at(started + NOTE_EVERY, NOTE_EVERY);
    let mut ending: Option<(Outcome, ApiError)> = None;
    let result = loop {
        let going = ending.is_none();
        let why = tokio::select! {
            result = &mut work => break result,
            _ = notes.tick() => {
                hold.note(&tally.total());
                continue;
            }
            () = out.closed(), if going => (Outcome::Cancelled, ApiError::bad("the client has gone")),
            () = sleep_until(deadline), if going => {
                let error = ApiError::unavailable("the request took longer than the server allows");
                (Outcome::Failed, error.with_code("timeout"))
            }
            () = app.hurry(), if going => {
                let error = ApiError::unavailable("the server is shutting down");
                (Outcome::Failed, error.with_code("shutting_down"))
            }
        };
        stop.send_replace(true);
        ending = Some(why);
    };
    let total = tally.total();
    let result = match (result, ending) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(ending)) => Err(ending),
        (Err(error), None) => Err((Outcome::Failed, error)),
    };
    if let Err((_, error)) = &result
        && error.status == StatusCode::TOO_MANY_REQUESTS
        && total == Total::default()
    {
        app.metrics.refused();
        hold.release();
        return drop(out.send(Err(error.clone())));
    }
    let outcome = result.as_ref().map_or_else(|(outcome, _)| *outcome, |_| Outcome::Finished);
    let failure = result.as_ref().err().map(|(_, error)| error);
    let (model, endpoint, whole) = (errand.model.as_str(), errand.endpoint, started.elapsed());
    Record { model, endpoint, hold: &hold, total: &total, outcome, first: None, whole, failure }.tell(&app);
    let settled = hold.clone().settle(&total, outcome).await;
    let _ = out.send(match (result, settled) {
        (Err((_, error)), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(value), Ok(_)) => Ok(Done { value, total, hold }),
    });
}
