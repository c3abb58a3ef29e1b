//! Limits per minute, in the memory of this process.
//!
//! For each key there is a list of what it was allowed in the last 60 seconds. So a limit holds in any 60 seconds,
//! wherever they begin, and it is known exactly when something will fit again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::error::{Amount, Limit, Limited, Standing};
use crate::key::Limits;
use crate::time::Time;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Entry {
    serial: u64,
    at: Time,
    tokens: i64,
}

/// What each key did in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    keys: HashMap<String, VecDeque<Entry>>,
    serial: u64,
}

impl Rates {
    /// How the limits per minute of a key stand.
    pub(crate) fn standings(&mut self, key: &str, limits: &Limits, now: Time) -> Vec<Standing> {
        if limits.requests_per_minute.is_none() && limits.tokens_per_minute.is_none() {
            return Vec::new();
        }
        let entries = self.recent(key, now);
        let resets = entries.back().map(|entry| entry.at.after(MINUTE));
        let (requests, tokens) = (entries.len() as i64, entries.iter().map(|entry| entry.tokens).sum());
        let standing = |limit, size: Option<i64>, used| {
            size.map(|size| Standing { limit, size: Amount::Count(size), used: Amount::Count(used), resets })
        };
        let both = [
            standing(Limit::RequestsPerMinute, limits.requests_per_minute, requests),
            standing(Limit::TokensPerMinute, limits.tokens_per_minute, tokens),
        ];
        both.into_iter().flatten().collect()
    }

    /// Whether one more request of so many tokens fits a limit that stands so.
    pub(crate) fn check(&self, key: &str, standing: Standing, tokens: i64) -> Result<(), Limited> {
        let by_requests = standing.limit == Limit::RequestsPerMinute;
        let weight = |tokens| if by_requests { 1 } else { tokens };
        let (size, asked) = (standing.size.number(), weight(tokens));
        let mut used = standing.used.number();
        if used.saturating_add(asked) <= size || asked == 0 {
            return Ok(());
        }
        let leaving = self.keys.get(key).into_iter().flatten();
        let retry = leaving.filter_map(|entry| {
            used -= weight(entry.tokens);
            (used.saturating_add(asked) <= size).then(|| entry.at.after(MINUTE))
        });
        let retry = { retry }.next();
        Err(Limited { standing, asked: standing.size.of(asked), retry })
    }

    /// Notes a request that was let in; its number.
    pub(crate) fn enter(&mut self, key: &str, now: Time, tokens: i64) -> u64 {
        self.serial += 1;
        // Keys without a limit are asked by nobody else what they did.
        self.recent(key, now);
        let entry = Entry { serial: self.serial, at: now, tokens };
        self.keys.entry(key.to_owned()).or_default().push_back(entry);
        self.serial
    }

    /// Says how many tokens it really were.
    pub(crate) fn settle(&mut self, key: &str, serial: u64, tokens: i64) {
        if let Some((entries, at)) = self.find(key, serial) {
            entries[at].tokens = tokens;
        }
    }

    /// Forgets a request that was not let in after all.
    pub(crate) fn leave(&mut self, key: &str, serial: u64) {
        if let Some((entries, at)) = self.find(key, serial) {
            entries.remove(at);
        }
    }

    /// Forgets keys that did nothing in the last minute.
    pub(crate) fn sweep(&mut self, now: Time) {
        self.keys.retain(|_, entries| entries.back().is_some_and(|entry| now < entry.at.after(MINUTE)));
    }

    fn find(&mut self, key: &str, serial: u64) -> Option<(&mut VecDeque<Entry>, usize)> {
        let entries = self.keys.get_mut(key)?;
        let at = entries.binary_search_by_key(&serial, |entry| entry.serial).ok()?;
        Some((entries, at))
    }

    fn recent(&mut self, key: &str, now: Time) -> &VecDeque<Entry> {
        let entries = self.keys.entry(key.to_owned()).or_default();
        while entries.front().is_some_and(|entry| entry.at.after(MINUTE) <= now) {
            entries.pop_front();
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Time {
        Time::from_micros(second * 1_000_000)
    }

    fn ask(rates: &mut Rates, limits: &Limits, at: i64, tokens: i64) -> Result<u64, Limited> {
        for standing in rates.standings("k", limits, second(at)) {
            rates.check("k", standing, tokens)?;
        }
        Ok(rates.enter("k", second(at), tokens))
    }

    #[test]
    fn requests_are_counted_over_any_minute() {
        let limits = Limits { requests_per_minute: Some(2), ..Limits::default() };
        let mut rates = Rates::default();
        ask(&mut rates, &limits, 0, 1).unwrap();
        ask(&mut rates, &limits, 50, 1).unwrap();
        let refused = ask(&mut rates, &limits, 59, 1).unwrap_err();
        assert_eq!((refused.retry, refused.standing.resets), (Some(second(60)), Some(second(110))));
        ask(&mut rates, &limits, 60, 1).unwrap();
        assert_eq!(ask(&mut rates, &limits, 61, 1).unwrap_err().retry, Some(second(110)));
    }

    #[test]
    fn tokens_count_as_held_until_they_are_settled() {
        let limits = Limits { tokens_per_minute: Some(100), ..Limits::default() };
        let mut rates = Rates::default();
        let first = ask(&mut rates, &limits, 0, 60).unwrap();
        let second_one = ask(&mut rates, &limits, 1, 40).unwrap();
        assert_eq!(ask(&mut rates, &limits, 2, 70).unwrap_err().retry, Some(second(61)));
        assert!(ask(&mut rates, &limits, 2, 101).unwrap_err().is_hopeless());
        rates.settle("k", first, 10);
        ask(&mut rates, &limits, 2, 50).unwrap();
        rates.leave("k", second_one);
        ask(&mut rates, &limits, 2, 40).unwrap();
        assert_eq!(rates.standings("k", &limits, second(2))[0].remaining(), Amount::Count(0));
        rates.sweep(second(62));
        assert!(rates.keys.is_empty());
    }
}
