//! What all handlers share.

use crate::account::Caller;
use crate::api::Kept;
use crate::config::Config;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::models::Models;
use argand_ledger::Ledger;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::{Notify, watch};

/// A server's state.
pub struct App {
    pub(crate) config: Config,
    pub(crate) models: Arc<Models>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) ledger: Ledger,
    pub(crate) responses: Kept,
    ready: AtomicBool,
    hurry: watch::Sender<bool>,
}

impl App {
    /// A server that is not ready yet.
    pub fn new(config: Config, ledger: Ledger) -> Arc<App> {
        let models = Arc::new(Models::new(&config.models, config.memory_bytes, config.log));
        Arc::new(App {
            models,
            config,
            ledger,
            responses: Kept::default(),
            metrics: Metrics::default(),
            tasks: Tasks::default(),
            ready: AtomicBool::new(false),
            hurry: watch::channel(false).0,
        })
    }

    /// When the server started, in seconds since 1970.
    pub(crate) fn started(&self) -> u64 {
        self.metrics.started_at() as u64
    }

    /// Whether requests should come here: pinned models are loaded and nobody has asked for the end.
    pub fn is_ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    /// Says whether requests should come here.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, SeqCst);
    }

    /// Resolves when running requests have to end.
    pub(crate) async fn hurry(&self) {
        let mut hurry = self.hurry.subscribe();
        // The sender lives as long as the server.
        let _ = hurry.wait_for(|hurry| *hurry).await;
    }

    /// Ends running requests.
    pub(crate) fn end_requests(&self) {
        self.hurry.send_replace(true);
    }

    /// Who holds a key.
    pub(crate) async fn authenticate(&self, secret: &str, idempotency: Option<String>) -> Result<Caller, ApiError> {
        Caller::of(&self.ledger, secret, idempotency).await
    }
}

/// Tasks that must come to their end before the server may.
#[derive(Debug, Default)]
pub struct Tasks {
    count: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

impl Tasks {
    /// Starts one.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.count.fetch_add(1, SeqCst);
        let guard = Guard { count: Arc::clone(&self.count), ended: Arc::clone(&self.ended) };
        tokio::spawn(async move {
            let _guard = guard;
            task.await;
        });
    }

    /// Waits until none is left.
    pub async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            if self.count.load(SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts down also when a task panics.
struct Guard {
    count: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, SeqCst);
        self.ended.notify_waiters();
    }
}
