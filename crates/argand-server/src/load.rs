//! How much a thread that computes has to do, and how much more it takes.

use argand_engine::EngineUse;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many wait as may.
    #[error("{waiting} requests are waiting already; try again in {} s", .retry_after.as_secs().max(1))]
    Queue {
        /// How many wait.
        waiting: usize,
        /// When there will probably be room.
        retry_after: Duration,
    },
    /// The thread has stopped.
    #[error("the model has stopped after a failure; it is loaded again with the next request")]
    Stopped,
}

/// What others may see of a worker while it works.
#[derive(Debug, Default)]
pub struct Load {
    queued: AtomicUsize,
    running: AtomicUsize,
    stopped: AtomicBool,
    /// Microseconds that a request takes from its first step to its end, smoothed.
    duration_us: AtomicU64,
    usage: Mutex<Option<EngineUse>>,
}

impl Load {
    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Requests that take part in steps, or wait for pages.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Whether the thread has ended.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Pages and sequences after the last step.
    pub fn usage(&self) -> Option<EngineUse> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes places in the line for requests that belong together, all or none.
    ///
    /// # Errors
    /// [`Full`] when too many wait, or the thread has stopped.
    pub fn enter(&self, count: usize, bounds: &Bounds) -> Result<(), Full> {
        if self.stopped() {
            return Err(Full::Stopped);
        }
        let room = bounds.queued + bounds.running.saturating_sub(self.running());
        let entered =
            self.queued.fetch_update(Relaxed, Relaxed, |queued| (queued + count <= room).then_some(queued + count));
        let Err(waiting) = entered else { return Ok(()) };
        let rounds = waiting.div_ceil(bounds.running.max(1)) as u64;
        let retry_after = Duration::from_micros(self.duration_us.load(Relaxed).saturating_mul(rounds));
        let retry_after = retry_after.clamp(Duration::from_secs(1), Duration::from_secs(600));
        Err(Full::Queue { waiting, retry_after })
    }

    /// One no longer waits.
    pub fn leave(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// So many run.
    pub fn run(&self, running: usize) {
        self.running.store(running, Relaxed);
    }

    /// The thread has ended, or will now.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Pages and sequences after a step.
    pub fn publish(&self, usage: EngineUse) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// A request took so long from its first step to its end.
    pub fn finished(&self, after: Duration) {
        let (old, new) = (self.duration_us.load(Relaxed), after.as_micros() as u64);
        self.duration_us.store(if old == 0 { new } else { old - old / 8 + new / 8 }, Relaxed);
    }
}

/// How much a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most sequences that run at once.
    pub running: usize,
    /// Most that wait.
    pub queued: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_end_and_says_when_to_come_back() {
        let (load, bounds) = (Load::default(), Bounds { running: 2, queued: 3 });
        assert_eq!(load.enter(5, &bounds), Ok(()));
        load.finished(Duration::from_secs(2));
        let full = Full::Queue { waiting: 5, retry_after: Duration::from_secs(6) };
        assert_eq!(load.enter(1, &bounds), Err(full));
        (0..2).for_each(|_| load.leave());
        load.run(2);
        assert_eq!(load.enter(1, &bounds).map_err(|_| load.queued()), Err(3));
        load.leave();
        assert_eq!(load.enter(1, &bounds), Ok(()));
        load.stop();
        assert_eq!(load.enter(1, &bounds), Err(Full::Stopped));
    }
}
