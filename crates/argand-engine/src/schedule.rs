//! Who takes part in the next step, with how many rows, on which pages.
//!
//! Decoding goes before prefill, and beside it a step takes only so much of prompts as can be computed in a moment, so a long
//! prompt never stops the others; who was served longest ago goes first. When pages
//! run out, idle sessions lose theirs, then the newest sequence is paused and computed again later. The oldest sequence is
//! never paused for a newer one, so there is always progress.

use crate::engine::Engine;
use crate::pages::PageTable;
use crate::request::{Event, SeqId};
use crate::runner::Runner;
use crate::sequence::Sequence;
use crate::stop::Finish;
use std::time::Duration;

/// The share of one sequence in a step.
pub(crate) struct Work {
    pub id: SeqId,
    /// Tokens of the sequence to feed.
    pub rows: usize,
    /// Guessed tokens to feed after them.
    pub draft: Vec<u32>,
    /// The rows reach the end of the sequence, so the next token is chosen.
    pub samples: bool,
}

impl<R: Runner> Engine<R> {
    /// Plans a step and reserves its pages.
    pub(crate) fn plan(&mut self, events: &mut Vec<Event>) -> Vec<Work> {
        self.admit(events);
        let running = self.seqs.values().filter(|s| s.running);
        let mut order: Vec<_> = running.map(|s| (s.pending() > 1, s.served, s.id)).collect();
        order.sort_unstable();
        let mut budget = self.limits.max_rows;
        let decoding = order.iter().filter(|(prefill, ..)| !prefill).count();
        let mut prompts = if decoding > 0 { self.pace.rows(self.options.mixed_step) } else { budget };
        let mut plan: Vec<Work> = Vec::new();
        let mut reading = 0;
        for (prefill, _, id) in order {
            if budget == 0 || (prefill && prompts == 0) {
                break;
            }
            let Some(seq) = self.seqs.get_mut(&id).filter(|s| s.running) else {
                continue;
            };
            if prefill {
                seq.adopt(&mut self.pool);
            }
            // Texts are read whole: one at least, and more while they are short.
            let unread = self.seqs[&id].unread();
            if unread > 0 && reading > 0 && reading + unread > self.limits.max_rows {
                continue;
            }
            let most = if prefill { prompts } else { 1 };
            let rows = self.seqs[&id].pending().min(self.options.prefill_chunk.max(1)).min(budget).min(most);
            if (prefill && self.is_being_computed(id, &plan)) || !self.make_room(id, rows, &mut plan, events) {
                continue;
            }
            let samples = rows == self.seqs[&id].pending();
            plan.push(Work { id, rows, draft: Vec::new(), samples });
            reading += unread;
            prompts -= if prefill { rows } else { 0 };
            budget = self.limits.max_rows - plan.iter().map(|w| w.rows).sum::<usize>();
        }
        self.draft(&mut plan, budget);
        plan
    }

    /// Starts waiting sequences, oldest first, while their tokens surely fit beside those of the running ones.
    fn admit(&mut self, events: &mut Vec<Event>) {
        let waiting: Vec<SeqId> = self.seqs.values().filter(|s| !s.running).map(|s| s.id).collect();
        for id in waiting {
            let running = self.seqs.values().filter(|s| s.running).count();
            if running >= self.options.max_sequences.max(1) {
                return;
            }
            let Some(seq) = self.seqs.get_mut(&id) else {
                continue;
            };
            let held = seq.table.len();
            seq.adopt(&mut self.pool);
            while !self.fits(id, running) {
                if self.sessions.reclaim(&mut self.pool) {
                    continue;
                }
                if running > 0 {
                    return self.give_back(id, held);
                }
                match self.newest_holder(id) {
                    Some(newest) => self.pause(newest),
                    None => {
                        let seq = &self.seqs[&id];
                        let needed = self.limits.pages_for(seq.tokens.len()) + self.limits.pages_for(seq.source.len());
                        self.finish(id, Finish::OutOfPages { needed, pages: self.limits.pages }, events);
                        break;
                    }
                }
            }
            if let Some(seq) = self.seqs.get_mut(&id) {
                seq.running = true;
            }
        }
    }

    /// Lets go of what a sequence that must keep waiting has adopted.
    fn give_back(&mut self, id: SeqId, held: usize) {
        if let Some(seq) = self.seqs.get_mut(&id) {
            self.pool.truncate(&mut seq.table, held);
            if seq.usage.completion_tokens == 0 {
                seq.usage.cached_tokens = seq.usage.cached_tokens.min(held);
            }
        }
    }

    /// Whether all tokens of a sequence fit, beside what running ones will need and a page of growth for each.
    fn fits(&self, id: SeqId, running: usize) -> bool {
        let lacking =
            |tokens: usize, table: &PageTable| self.limits.pages_for(tokens).saturating_sub(table.pages().len());
        let missing = |s: &Sequence| lacking(s.tokens.len(), &s.table) + lacking(s.source.len(), &s.memory);
        let promised: usize = self.seqs.values().filter(|s| s.running).map(missing).sum();
        missing(&self.seqs[&id]) + promised + running <= self.pool.available()
    }

    /// Whether a sequence of the plan computes the very page this one needs next; waiting a step will share it.
    fn is_being_computed(&self, id: SeqId, plan: &[Work]) -> bool {
        let seq = &self.seqs[&id];
        let past = seq.table.len();
        let next = past + self.limits.page_tokens;
        !seq.table.is_private()
            && seq.reusable().get(..next).is_some_and(|tokens| {
                plan.iter().filter(|w| w.rows >= self.limits.page_tokens).map(|w| &self.seqs[&w.id]).any(|other| {
                    other.table.len() == past
                        && other.table.namespace() == seq.table.namespace()
                        && other.tokens.get(..next) == Some(tokens)
                })
            })
    }

    /// Reserves pages for `rows` more tokens, taking them from others if it must. False when the sequence cannot go on now.
    fn make_room(&mut self, id: SeqId, rows: usize, plan: &mut Vec<Work>, events: &mut Vec<Event>) -> bool {
        loop {
            let Some(seq) = self.seqs.get_mut(&id) else {
                return false;
            };
            let unread = seq.unread();
            let read = self.pool.reserve(&mut seq.memory, unread);
            match read.and_then(|_| self.pool.reserve(&mut seq.table, rows)) {
                Ok(copy) => {
                    if let Some(copy) = copy {
                        self.runner.copy_page(copy.from, copy.to);
                    }
                    return true;
                }
                Err(_) if self.sessions.reclaim(&mut self.pool) => {}
                Err(_) => match self.newest_holder(id) {
                    Some(newest) if newest > id => {
                        self.pause(newest);
                        plan.retain(|w| w.id != newest);
                    }
                    Some(_) => {
                        self.pause(id);
                        return false;
                    }
                    None => {
                        let seq = &self.seqs[&id];
                        let needed =
                            self.limits.pages_for(seq.table.len() + rows) + self.limits.pages_for(seq.source.len());
                        self.finish(id, Finish::OutOfPages { needed, pages: self.limits.pages }, events);
                        return false;
                    }
                },
            }
        }
    }

    /// The newest sequence other than `id` that holds pages.
    fn newest_holder(&self, id: SeqId) -> Option<SeqId> {
        self.seqs.values().rev().find(|s| s.id != id && s.holds_pages()).map(|s| s.id)
    }

    /// Takes all pages from a sequence; it waits and is computed again from its tokens.
    fn pause(&mut self, id: SeqId) {
        if let Some(seq) = self.seqs.get_mut(&id) {
            seq.running = false;
            if seq.usage.completion_tokens == 0 {
                // What is taken over when it starts anew counts, not both times.
                seq.usage.cached_tokens = 0;
            }
            for table in [&mut seq.table, &mut seq.memory] {
                let empty = table.emptied();
                self.pool.release(std::mem::replace(table, empty));
            }
        }
    }

    /// Spends rows that are left on guesses for decoding sequences, as far as pages are left too.
    fn draft(&mut self, plan: &mut [Work], mut budget: usize) {
        for work in plan.iter_mut().filter(|w| w.samples && w.rows == 1) {
            let Some(seq) = self.seqs.get_mut(&work.id) else {
                continue;
            };
            let room = seq.draft_room(self.limits.context).min(budget);
            let Some(lookup) = &mut seq.lookup else {
                continue;
            };
            let draft = lookup.propose(&seq.tokens, room).to_vec();
            let draft = seq.permitted(&draft);
            // The page to be written is the sequence's own since its row was reserved, so no copy can be asked for here.
            if !draft.is_empty() && self.pool.reserve(&mut seq.table, 1 + draft.len()).is_ok() {
                work.draft = draft.to_vec();
                budget -= draft.len();
            }
        }
    }
}

/// How fast rows are computed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Rows in a second, smoothed; 0 before the first step that tells.
    rate: f64,
}

/// Fewer rows than this cost little more than one, and tell nothing of the rate.
const TELLING: usize = 32;

impl Pace {
    /// A step of so many rows took so long.
    pub fn step(&mut self, rows: usize, took: Duration) {
        if rows >= TELLING && !took.is_zero() {
            let rate = rows as f64 / took.as_secs_f64();
            self.rate = if self.rate == 0.0 { rate } else { 0.75 * self.rate + 0.25 * rate };
        }
    }

    /// Rows that can be computed in a time; never so few that prompts would not come to an end.
    pub fn rows(&self, time: Duration) -> usize {
        ((self.rate * time.as_secs_f64()) as usize).max(TELLING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_step_takes_what_a_moment_allows() {
        let mut pace = Pace::default();
        let moment = Duration::from_millis(200);
        assert_eq!(pace.rows(moment), TELLING);
        pace.step(500, Duration::from_secs(1));
        assert_eq!(pace.rows(moment), 100);
        // A step of few rows is slow for other reasons.
        pace.step(1, Duration::from_secs(1));
        assert_eq!(pace.rows(moment), 100);
        pace.step(1500, Duration::from_secs(1));
        assert_eq!(pace.rows(moment), 150);
        pace = Pace::default();
        pace.step(100, Duration::from_secs(10));
        assert_eq!(pace.rows(moment), TELLING);
    }
}
