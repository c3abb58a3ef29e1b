//! Moments and periods. All of them are UTC: a day begins at midnight UTC, a month with the first of its days.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::error::{LedgerError, Result, invalid};

/// The last moment that has a date with four digits in every time zone: 9999-12-30.
const LAST: i64 = 253_402_207_200_000_000;
const MICROS: i64 = 1_000_000;

/// A moment, in microseconds since 1970 UTC; between 1970 and the end of 9999. Written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(i64);

impl Time {
    /// The moment so many microseconds after 1970; the nearest one that a `Time` can be.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, LAST))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The moment of the machine's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(LAST))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(LAST)))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(LAST)))
    }

    /// How long after another moment; zero if it was not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).try_into().unwrap_or(0))
    }

    fn timestamp(self) -> Timestamp {
        // Never the fallback: the range of `Time` lies within that of `Timestamp`.
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn date(self) -> Date {
        Offset::UTC.to_datetime(self.timestamp()).date()
    }

    fn midnight(date: Date) -> Self {
        let start = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0));
        Self::from_micros(start.map_or(LAST, |start| start.as_microsecond()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Offset::UTC.to_datetime(self.timestamp());
        let (date, micros) = (at.date(), self.0 % MICROS);
        write!(f, "{date}T{:02}:{:02}:{:02}.{micros:06}Z", at.hour(), at.minute(), at.second())
    }
}

impl FromStr for Time {
    type Err = LedgerError;

    /// Reads a moment of RFC 3339, or a date, which stands for its midnight in UTC.
    fn from_str(text: &str) -> Result<Self> {
        let at = match text.parse::<Date>() {
            Ok(date) if text.len() == 10 => Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)),
            _ => text.parse(),
        };
        let at = at.map_err(|_| bad(text))?.as_microsecond();
        if (0..=LAST).contains(&at) { Ok(Self(at)) } else { Err(bad(text)) }
    }
}

fn bad(text: &str) -> LedgerError {
    invalid("time", text, "a date such as 2026-11-23, or a moment such as 2026-11-23T18:00:00Z, from 1970 to 9999")
}

impl TryFrom<String> for Time {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

/// What a limit is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight to midnight, UTC.
    Day,
    /// From the first of a month to the first of the next, UTC.
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// When the period began that a moment lies in.
    pub fn start(self, at: Time) -> Time {
        match self {
            Self::Day => Time::midnight(at.date()),
            Self::Month => Time::midnight(at.date().first_of_month()),
            Self::Total => Time(0),
        }
    }

    /// When the next one begins; `None` if none does.
    pub fn end(self, at: Time) -> Option<Time> {
        let next = match self {
            Self::Day => at.date().checked_add(1.day()),
            Self::Month => at.date().first_of_month().checked_add(1.month()),
            Self::Total => return None,
        };
        next.ok().map(Time::midnight)
    }
}

/// Where the ledger learns what time it is.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until it is set; its clones go with it.
    pub fn standing(at: Time) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.0))))
    }

    /// Sets a standing clock; the machine's stays as it is.
    pub fn set(&self, at: Time) {
        if let Some(hand) = &self.0 {
            hand.store(at.0, Ordering::SeqCst);
        }
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.0.as_ref().map_or_else(Time::now, |hand| Time(hand.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect(text)
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        for text in ["2026-11-23T18:07:08.000001Z", "1970-01-01T00:00:00.000000Z", "2028-02-29T23:59:59.999999Z"] {
            assert_eq!(time(text).to_string(), text);
        }
        assert_eq!(time("2026-11-23"), time("2026-11-23T00:00:00Z"));
        assert_eq!(time("2026-11-23T01:00:00+01:00"), time("2026-11-23"));
        for wrong in ["", "yesterday", "2026-02-30", "1969-12-31", "2026-11-23T18:00", "2026-11-23 "] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn periods_end_where_the_next_begin() {
        let at = time("2028-02-29T23:59:59.999999Z");
        assert_eq!(Period::Day.start(at), time("2028-02-29"));
        assert_eq!(Period::Day.end(at), Some(time("2028-03-01")));
        assert_eq!(Period::Month.start(at), time("2028-02-01"));
        assert_eq!(Period::Month.end(at), Some(time("2028-03-01")));
        assert_eq!(Period::Month.end(time("2026-12-31")), Some(time("2027-01-01")));
        assert_eq!((Period::Total.start(at), Period::Total.end(at)), (Time(0), None));
        let midnight = time("2028-03-01");
        assert_eq!(Period::Day.start(midnight), midnight);
        assert_eq!(midnight.since(at), Duration::from_micros(1));
        assert_eq!(at.since(midnight), Duration::ZERO);
    }
}
