//! Connections: accepted up to a bound, each with limits of time, drained when the end is announced.

use crate::api;
use crate::app::App;
use crate::metrics::SAMPLE_EVERY;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A model that has to be there from the beginning cannot be loaded.
    #[error("{0}")]
    Model(String),
}

/// A server that has an address.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes an address.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn take(address: SocketAddr) -> Result<TcpListener, ServeError> {
        TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error })
    }

    /// A server at an address that was taken.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn at(listener: TcpListener, app: Arc<App>) -> Result<Server, ServeError> {
        let wrong = |error| ServeError::Listen { address: app.config.listen, error };
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Server { app, listener, address })
    }

    /// Where it listens, with the port that was chosen where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets running requests end: they have the grace that the configuration gives, and are told
    /// when it is over.
    ///
    /// # Errors
    /// A pinned model cannot be loaded.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Server { app, listener, .. } = self;
        let (end, ending) = watch::channel(false);
        let router = api::router(Arc::clone(&app));
        let loading = {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let loaded = app.models.load_pinned().await;
                app.set_ready(loaded.is_ok());
                loaded
            })
        };
        let sampling = {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let mut clock = tokio::time::interval(SAMPLE_EVERY);
                loop {
                    clock.tick().await;
                    app.metrics.sample(&app.models);
                }
            })
        };
        let failed = async {
            match loading.await {
                Ok(Err(why)) => why,
                _ => std::future::pending().await,
            }
        };
        let places = Arc::new(Semaphore::new(app.config.max_connections));
        tokio::pin!(stop, failed);
        let failure = loop {
            let (place, stream) = tokio::select! {
                () = &mut stop => break None,
                why = &mut failed => break Some(ServeError::Model(why)),
                accepted = accept(&listener, &places) => accepted,
            };
            // A connection that broke before it was accepted, or too many open files: the next one may do better.
            let Ok(stream) = stream else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(app.config.read_timeout())
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            let mut ending = ending.clone();
            tokio::spawn(async move {
                let _place = place;
                tokio::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    _ = ending.wait_for(|end| *end) => connection.as_mut().graceful_shutdown(),
                }
                let _ = connection.await;
            });
        };
        app.set_ready(false);
        drop(listener);
        end.send_replace(true);
        let finish = async {
            app.tasks.wait().await;
            // Every connection holds a place.
            let _ = places.acquire_many(app.config.max_connections as u32).await;
        };
        tokio::pin!(finish);
        if tokio::time::timeout(app.config.grace(), &mut finish).await.is_err() {
            app.end_requests();
            let _ = tokio::time::timeout(Duration::from_secs(5), &mut finish).await;
        }
        sampling.abort();
        failure.map_or(Ok(()), Err)
    }
}

/// The next connection, once there is a place for it; beyond the bound they wait in the system's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, std::io::Result<TcpStream>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    (place, listener.accept().await.map(|(stream, _)| stream))
}
