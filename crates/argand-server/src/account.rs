//! Who asks, and what is put on record for it.

use crate::answer::Total;
use crate::error::ApiError;
use crate::metrics::Outcome;
use argand_ledger::{
    Cost, Denied, Hold as Held, Key, Ledger, LedgerError, Limit, Limited, Outcome as Ended, Request, Reserved, Scope,
    Standing, Time, Unit, Units,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Who asks, by the key that was sent.
#[derive(Clone, Debug)]
pub struct Caller {
    ledger: Ledger,
    key: Arc<Key>,
    /// What the client calls its request, so that a second try is not charged again.
    idempotency: Option<String>,
}

impl Caller {
    /// Whoever holds a key.
    ///
    /// # Errors
    /// The key is unknown, expired or revoked.
    pub async fn of(ledger: &Ledger, secret: &str, idempotency: Option<String>) -> Result<Caller, ApiError> {
        Ok(Caller { ledger: ledger.clone(), key: ledger.authenticate(secret).await?, idempotency })
    }

    /// A number for the key: each waits in a line of its own, and shares no prefixes with others.
    pub fn tenant(&self) -> u64 {
        // It need not resist anybody, because ids of keys are made here.
        let mut hasher = DefaultHasher::new();
        self.key.id.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether the key may be used for this.
    ///
    /// # Errors
    /// It may not.
    pub fn permits(&self, scope: Scope) -> Result<(), ApiError> {
        Ok(self.key.permits(scope, None).map_err(LedgerError::from)?)
    }

    /// Whether the key may use a model.
    ///
    /// # Errors
    /// It may not.
    pub fn sees(&self, model: &str) -> Result<(), ApiError> {
        match self.key.sees(model) {
            true => Ok(()),
            false => Err(LedgerError::from(Denied::ModelNotAllowed { model: model.into() }).into()),
        }
    }

    /// Reserves what a request may take at most: tokens that are read, and tokens that are written.
    ///
    /// # Errors
    /// A limit of the key, or a request of the same name.
    pub async fn reserve(&self, model: &str, endpoint: &str, read: usize, written: usize) -> Result<Hold, ApiError> {
        let id = self.idempotency.clone().unwrap_or_else(|| crate::api::new_id("req_"));
        let hold =
            Units::new().with(Unit::Input, read as i64).with(Unit::Output, written as i64).with(Unit::Requests, 1);
        let request =
            Request { id, model: model.into(), endpoint: endpoint.into(), at: self.ledger.clock().now(), hold };
        match self.ledger.reserve(&self.key.id, request).await? {
            Reserved::Held(held) => {
                Ok(Hold { held: Arc::new(held), ledger: self.ledger.clone(), noting: Arc::default() })
            }
            Reserved::Running => Err(conflict("a request with this Idempotency-Key is still running")),
            Reserved::Settled(_) => Err(conflict(
                "a request with this Idempotency-Key was answered and charged before; answers are not kept, so send another key",
            )),
        }
    }
}

fn conflict(message: &str) -> ApiError {
    ApiError::bad(message).with_status(StatusCode::CONFLICT).with_code("idempotency_conflict")
}

/// What was reserved for a request.
#[derive(Clone, Debug)]
pub struct Hold {
    held: Arc<Held>,
    ledger: Ledger,
    /// Whether a note is under way.
    noting: Arc<AtomicBool>,
}

impl Hold {
    /// Id of the key.
    pub fn key(&self) -> &str {
        self.held.key()
    }

    /// Id of the request in the books.
    pub fn request(&self) -> &str {
        self.held.request()
    }

    /// Nothing was done: what was reserved is free again.
    pub fn release(self) {
        // Dropping it without progress frees it.
    }

    /// What has been done so far; that is charged if this process dies. Nobody waits for it, and one at a time is under way.
    pub fn note(&self, total: &Total) {
        if *total == Total::default() || self.noting.swap(true, SeqCst) {
            return;
        }
        let (hold, units) = (self.clone(), units(total));
        tokio::spawn(async move {
            // If it cannot be noted now the next note may be; the end is settled in any case.
            let _ = hold.ledger.progress(&[(&*hold.held, units)]).await;
            hold.noting.store(false, SeqCst);
        });
    }

    /// Puts on record what was done, and says what it costs.
    ///
    /// # Errors
    /// The database failed; it is tried again a few times before.
    pub async fn settle(self, total: &Total, outcome: Outcome) -> Result<Option<Cost>, ApiError> {
        if *total == Total::default() && outcome != Outcome::Finished {
            return Ok(None);
        }
        let ended = match outcome {
            Outcome::Finished => Ended::Completed,
            Outcome::Cancelled => Ended::Cancelled,
            Outcome::Failed => Ended::Failed,
        };
        let mut wait = Duration::from_millis(50);
        loop {
            match self.ledger.settle(&self.held, units(total), ended).await {
                Ok(settled) => return Ok(settled.row.cost),
                Err(error) if error.is_failure() && wait < Duration::from_secs(2) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How the limits of the key stand, as headers that OpenAI's clients know.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let now = self.ledger.clock().now();
        for standing in self.held.standings() {
            let name = match standing.limit {
                Limit::RequestsPerMinute => "requests",
                Limit::TokensPerMinute => "tokens",
                Limit::Concurrent => "concurrent",
                Limit::Tokens(_) => "period-tokens",
                Limit::Budget(_) => "budget",
            };
            let mut set = |part: &str, value: String| {
                let name = HeaderName::try_from(format!("x-ratelimit-{part}-{name}"));
                if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            };
            set("limit", standing.size.to_string());
            set("remaining", standing.remaining().to_string());
            if let Some(resets) = standing.resets {
                set("reset", format!("{}s", resets.since(now).as_secs()));
            }
        }
    }
}

/// The ledger counts kinds of tokens that do not overlap.
fn units(total: &Total) -> Units {
    Units::new()
        .with(Unit::Input, (total.prompt - total.cached.min(total.prompt)) as i64)
        .with(Unit::CachedInput, total.cached as i64)
        .with(Unit::Output, (total.completion - total.reasoning.min(total.completion)) as i64)
        .with(Unit::Reasoning, total.reasoning as i64)
        .with(Unit::Requests, 1)
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::Denied(Denied::Unknown | Denied::Expired { .. } | Denied::Revoked { .. }) => {
                ApiError::unauthorized(error.to_string())
            }
            LedgerError::Denied(_) => ApiError::forbidden(error.to_string()),
            LedgerError::Limited(limited) => refused(limited),
            LedgerError::NotFound { .. } => ApiError::not_found(error.to_string()),
            LedgerError::Invalid { field, .. } => ApiError::field(field, error.to_string()),
            LedgerError::Exists { .. } => ApiError::bad(error.to_string()).with_status(StatusCode::CONFLICT),
            // What a database says may tell more than clients should know.
            _ => ApiError::internal("the server's records cannot be reached; its log says more"),
        }
    }
}

fn refused(limited: &Limited) -> ApiError {
    let Standing { limit, .. } = limited.standing;
    let after = limited.retry.map_or(Duration::from_secs(1), |at| at.since(Time::now()));
    let error = ApiError::busy(limited.to_string(), after);
    match limit {
        Limit::Budget(_) | Limit::Tokens(_) => {
            ApiError { kind: "insufficient_quota", ..error.with_code("insufficient_quota") }
        }
        _ => error,
    }
}
