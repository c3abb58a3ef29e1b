//! What can be counted, and how much of it.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Result, invalid};

/// A kind of thing that is counted. The kinds do not overlap: a token that was found in the cache is no [`Unit::Input`],
/// and one that was thought but not said is no [`Unit::Output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Tokens that were read and computed.
    Input,
    /// Tokens that were read and found in the cache.
    CachedInput,
    /// Tokens that were written, without those of reasoning.
    Output,
    /// Tokens of reasoning.
    Reasoning,
    /// Pictures that were made.
    Images,
    /// Seconds of sound.
    Seconds,
    /// Requests themselves.
    Requests,
}

impl Unit {
    /// All of them, in the order in which they are written everywhere. New ones go to the end.
    pub const ALL: [Self; 7] =
        [Self::Input, Self::CachedInput, Self::Output, Self::Reasoning, Self::Images, Self::Seconds, Self::Requests];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::Images => "images",
            Self::Seconds => "seconds",
            Self::Requests => "requests",
        }
    }

    /// The unit that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.word() == word)
    }

    /// Whether it is a token of some kind: those count for limits of tokens.
    pub fn is_token(self) -> bool {
        matches!(self, Self::Input | Self::CachedInput | Self::Output | Self::Reasoning)
    }
}

/// How many of each unit. As JSON an object of those that are not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Units([i64; Unit::ALL.len()]);

impl Units {
    /// The most of one unit that one row may count. Thousands of such rows can be added up without overflow.
    pub const MOST: i64 = 1_000_000_000_000;

    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another count of a unit.
    #[must_use]
    pub fn with(mut self, unit: Unit, count: i64) -> Self {
        self.0[unit as usize] = count;
        self
    }

    /// How many of a unit.
    pub fn get(&self, unit: Unit) -> i64 {
        self.0[unit as usize]
    }

    /// The units that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, i64)> {
        Unit::ALL.into_iter().zip(self.0).filter(|(_, count)| *count != 0)
    }

    /// Whether all are zero.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Tokens of every kind together.
    pub fn tokens(&self) -> i64 {
        self.iter().filter(|(unit, _)| unit.is_token()).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Both together; `None` if that is more than can be counted.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let mut sum = *self;
        for (count, more) in sum.0.iter_mut().zip(other.0) {
            *count = count.checked_add(more)?;
        }
        Some(sum)
    }

    /// Checks that no count is below `least` or above [`Units::MOST`].
    pub(crate) fn check(&self, least: i64) -> Result<()> {
        match self.iter().find(|(_, count)| !(least..=Self::MOST).contains(count)) {
            Some((unit, count)) => Err(invalid(unit.word(), count, &format!("a count from {least} to {}", Self::MOST))),
            None => Ok(()),
        }
    }

    /// As JSON, always the same text for the same counts.
    pub(crate) fn text(&self) -> String {
        let parts: Vec<String> = self.iter().map(|(unit, count)| format!("\"{}\":{count}", unit.word())).collect();
        format!("{{{}}}", parts.join(","))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.iter().map(|(unit, count)| format!("{count} {}", unit.word())).collect();
        f.write_str(if parts.is_empty() { "nothing".into() } else { parts.join(", ") }.as_str())
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (unit, count) in self.iter() {
            map.serialize_entry(unit.word(), &count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = Units;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of units and their counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Units, A::Error> {
                let mut units = Units::new();
                while let Some((word, count)) = map.next_entry::<String, i64>()? {
                    let unit = Unit::from_word(&word);
                    units = units.with(unit.ok_or_else(|| A::Error::custom(format!("unknown unit {word:?}")))?, count);
                }
                Ok(units)
            }
        }
        deserializer.deserialize_map(Counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_as_they_are_read() {
        let units = Units::new().with(Unit::Output, 7).with(Unit::Input, -3).with(Unit::Images, 1);
        assert_eq!(units.text(), r#"{"input":-3,"output":7,"images":1}"#);
        assert_eq!(serde_json::to_string(&units).unwrap(), units.text());
        assert_eq!(serde_json::from_str::<Units>(&units.text()).unwrap(), units);
        assert_eq!((Units::new().text(), units.tokens()), ("{}".into(), 4));
        assert!(serde_json::from_str::<Units>(r#"{"wishes":3}"#).is_err());
        assert!(serde_json::from_str::<Units>(r#"{"input":1.5}"#).is_err());
    }

    #[test]
    fn counts_have_bounds() {
        let units = |count| Units::new().with(Unit::Input, count);
        assert!(units(Units::MOST).check(0).is_ok());
        assert!(units(Units::MOST + 1).check(0).is_err());
        assert!(units(-1).check(0).is_err());
        assert!(units(-1).check(-Units::MOST).is_ok());
        assert_eq!(units(i64::MAX).plus(&units(1)), None);
    }
}
