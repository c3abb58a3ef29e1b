//! State kept between the turns of a chat, so that the next turn feeds only what is new.
//!
//! A session keeps the pages of its last turn, the unfinished last page included. It is a convenience, not a promise: kept
//! pages are the first to go when running sequences need the space, and the next turn is then computed from its tokens.

use std::collections::BTreeMap;

use crate::pages::{PagePool, PageTable};
use crate::request::{AddError, SessionId};

/// What a session holds.
enum State {
    Empty,
    Busy,
    Kept { tokens: Vec<u32>, table: PageTable, since: u64 },
}

/// All sessions of an engine.
#[derive(Default)]
pub(crate) struct Sessions {
    states: BTreeMap<SessionId, State>,
    clock: u64,
}

impl Sessions {
    pub fn open(&mut self) -> SessionId {
        self.clock += 1;
        let id = SessionId(self.clock);
        self.states.insert(id, State::Empty);
        id
    }

    pub fn close(&mut self, id: SessionId, pool: &mut PagePool) {
        if let Some(State::Kept { table, .. }) = self.states.remove(&id) {
            pool.release(table);
        }
    }

    /// A new session with the same state.
    pub fn fork(&mut self, id: SessionId, pool: &mut PagePool) -> Result<SessionId, AddError> {
        self.check(id)?;
        let copy = match self.states.get(&id) {
            Some(State::Kept { tokens, table, since }) => {
                State::Kept { tokens: tokens.clone(), table: pool.fork(table), since: *since }
            }
            _ => State::Empty,
        };
        let forked = self.open();
        self.states.insert(forked, copy);
        Ok(forked)
    }

    /// Whether a turn may begin.
    pub fn check(&self, id: SessionId) -> Result<(), AddError> {
        match self.states.get(&id) {
            None => Err(AddError::UnknownSession(id)),
            Some(State::Busy) => Err(AddError::BusySession(id)),
            Some(_) => Ok(()),
        }
    }

    /// Begins a turn: the kept state, rolled back to what it shares with `tokens`.
    pub fn begin(&mut self, id: SessionId, tokens: &[u32], namespace: u64, pool: &mut PagePool) -> PageTable {
        match self.states.insert(id, State::Busy) {
            Some(State::Kept { tokens: old, mut table, .. }) if table.namespace() == namespace => {
                let written = &old[..table.len()];
                let shared = written.iter().zip(tokens).take_while(|(a, b)| a == b).count();
                pool.truncate(&mut table, shared);
                table
            }
            Some(State::Kept { table, .. }) => {
                pool.release(table);
                PageTable::new(namespace)
            }
            _ => PageTable::new(namespace),
        }
    }

    /// Ends a turn and keeps its state; gives the pages back when the session was closed meanwhile.
    pub fn end(&mut self, id: SessionId, tokens: Vec<u32>, table: PageTable, pool: &mut PagePool) {
        self.clock += 1;
        match self.states.get_mut(&id) {
            Some(state) => *state = State::Kept { tokens, table, since: self.clock },
            None => pool.release(table),
        }
    }

    /// Gives back the pages of the session that was idle longest. False when none holds pages.
    pub fn reclaim(&mut self, pool: &mut PagePool) -> bool {
        let oldest = self.states.iter_mut().filter_map(|(_, s)| match s {
            State::Kept { since, .. } => Some((*since, s)),
            _ => None,
        });
        let Some((_, state)) = oldest.min_by_key(|(since, _)| *since) else {
            return false;
        };
        if let State::Kept { table, .. } = std::mem::replace(state, State::Empty) {
            pool.release(table);
        }
        true
    }
}
