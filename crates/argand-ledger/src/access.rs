//! A short memory of keys, so that not every request asks the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::key::Key;
use crate::time::Time;

/// How old an answer may be. So long another process can take to hear of a revocation.
pub(crate) const STALE: Duration = Duration::from_secs(1);
/// The most keys that are remembered.
const MOST: usize = 10_000;

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) key: Arc<Key>,
    /// When this secret of the key ends.
    pub(crate) until: Option<Time>,
}

/// Keys by the hashes of their secrets.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<String, (Known, Instant)>,
    changes: u64,
}

impl Memory {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing panics while it is locked, and if something did, the map is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered, or else what [`Memory::put`] wants to know later.
    pub(crate) fn get(&self, hash: &str) -> Result<Known, u64> {
        let inner = self.inner();
        match inner.known.get(hash) {
            Some((known, read)) if read.elapsed() < STALE => Ok(known.clone()),
            _ => Err(inner.changes),
        }
    }

    /// Remembers what was read, unless keys were changed since [`Memory::get`]: then it may be what they were before.
    pub(crate) fn put(&self, hash: String, known: Known, changes: u64, read: Instant) {
        let mut inner = self.inner();
        if inner.changes != changes {
            return;
        }
        if inner.known.len() >= MOST {
            inner.known.retain(|_, (_, read)| read.elapsed() < STALE);
        }
        if inner.known.len() < MOST {
            inner.known.insert(hash, (known, read));
        }
    }

    /// Forgets all, because keys were changed.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner();
        inner.changes += 1;
        inner.known.clear();
    }
}
