//! Prices: what a unit costs, from when until when.
//!
//! The list in force at the moment of a request decides: of those that have begun and not ended, the one that began last,
//! and of several that began together the one that was added last. In it the first line whose pattern fits the model
//! decides. Lists are never changed once they are added, because invoices lead back to them.
//!
//! **Rounding.** A cost is the sum over all units of count times price, computed exactly, divided by a million, and
//! rounded once, to a billionth of the currency's unit, halves to the even neighbour.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{LedgerError, Result, invalid};
use crate::key::check_name;
use crate::money::{Currency, Money, half_even, read, written};
use crate::pattern::fits;
use crate::time::Time;
use crate::units::{Unit, Units};

/// What a million of some unit costs: a decimal number from 0 up to a billion, with at most 12 places. In files it is text, such as
/// `"0.15"`, because a number would pass through a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(i128);

impl Price {
    const PLACES: u32 = 12;
    const MOST: i128 = 10i128.pow(9 + Self::PLACES);
}

impl FromStr for Price {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self> {
        let price = read(text, Self::PLACES).filter(|price| (0..=Self::MOST).contains(price));
        price.map(Self).ok_or_else(|| {
            invalid("price", text, "a decimal number such as \"0.15\", from 0 to 1000000000, with at most 12 places")
        })
    }
}

impl TryFrom<String> for Price {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Price> for String {
    fn from(price: Price) -> Self {
        written(price.0, Price::PLACES)
    }
}

/// What some models cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceLine {
    /// Name of a model, or a pattern in which `*` stands for any letters.
    pub model: String,
    /// What a million of each unit costs, by its word. Where there is no price for `cached_input` that of `input` counts, and for
    /// `reasoning` that of `output`; a request in itself is free. Of any other unit without a price nothing can be said: the cost is absent. What is
    /// free has the price `"0"`.
    pub per_million: BTreeMap<String, Price>,
}

impl PriceLine {
    fn price(&self, unit: Unit) -> Option<Price> {
        let named = |unit: Unit| self.per_million.get(unit.word()).copied();
        named(unit).or_else(|| match unit {
            Unit::CachedInput => named(Unit::Input),
            Unit::Reasoning => named(Unit::Output),
            Unit::Requests => Some(Price(0)),
            _ => None,
        })
    }

    fn cost(&self, units: &Units) -> Option<Money> {
        let mut sum = 0i128;
        for (unit, count) in units.iter() {
            sum = sum.checked_add(self.price(unit)?.0.checked_mul(count.into())?)?;
        }
        let per_nano = 1_000_000 * 10i128.pow(Price::PLACES - Money::PLACES);
        i64::try_from(half_even(sum, per_nano)).ok().map(Money::from_nanos)
    }
}

/// A list of prices. It is read from TOML or JSON by whatever reader of `serde` the caller has; [`PriceList::from_json`] is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// What it is called, for ever.
    pub id: String,
    /// Of what the prices are.
    pub currency: Currency,
    /// The first moment at which it is in force.
    pub valid_from: Time,
    /// The first moment at which it no longer is; without end unless given.
    #[serde(default)]
    pub valid_until: Option<Time>,
    /// What models cost; the first line that fits decides.
    pub prices: Vec<PriceLine>,
}

impl PriceList {
    /// Reads a list.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] with the place and the reason.
    pub fn from_json(text: &str) -> Result<Self> {
        let list: Self = serde_json::from_str(text)
            .map_err(|error| invalid("price list", error, "a list such as the documentation shows"))?;
        list.check()?;
        Ok(list)
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name("id of a price list", &self.id)?;
        if self.valid_until.is_some_and(|until| until <= self.valid_from) {
            return Err(invalid(
                "valid_until",
                self.valid_until.unwrap_or(self.valid_from),
                "a moment after valid_from",
            ));
        }
        for line in &self.prices {
            check_name("model of a price", &line.model)?;
            if let Some(word) = line.per_million.keys().find(|word| Unit::from_word(word).is_none()) {
                let known = Unit::ALL.map(Unit::word).join(", ");
                return Err(invalid("unit of a price", word, &format!("one of {known}")));
            }
        }
        Ok(())
    }

    /// What units cost with a model; `None` if the list does not say.
    pub fn cost(&self, model: &str, units: &Units) -> Option<Money> {
        self.prices.iter().find(|line| fits(&line.model, model))?.cost(units)
    }
}

/// What something costs, and by which list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// How much.
    pub amount: Money,
    /// Of what.
    pub currency: Currency,
    /// The price list.
    pub prices: String,
}

/// All lists, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Prices(pub(crate) Vec<PriceList>);

impl Prices {
    /// The list in force at a moment.
    pub(crate) fn at(&self, at: Time) -> Option<&PriceList> {
        let in_force = |list: &&PriceList| list.valid_from <= at && list.valid_until.is_none_or(|until| at < until);
        // Of equals `max_by_key` takes the last.
        self.0.iter().filter(in_force).max_by_key(|list| list.valid_from)
    }

    pub(crate) fn named(&self, id: &str) -> Option<&PriceList> {
        self.0.iter().find(|list| list.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(id: &str, from: &str, until: Option<&str>) -> PriceList {
        let until = until.map_or("null".into(), |until| format!("{until:?}"));
        PriceList::from_json(&format!(
            r#"{{"id":"{id}","currency":"EUR","valid_from":"{from}","valid_until":{until},"prices":[
                {{"model":"small*","per_million":{{"input":"0.15","output":"0.6","cached_input":"0.0375"}}}},
                {{"model":"*","per_million":{{"input":"0.0005","output":"1"}}}}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn costs_are_exact_and_rounded_once() {
        let list = list("a", "2026-01-01", None);
        let units = Units::new().with(Unit::Input, 1).with(Unit::CachedInput, 3).with(Unit::Reasoning, 7);
        // 0.15 + 3 * 0.0375 + 7 * 0.6 millionths are 4462.5 billionths: the half goes to the even neighbour.
        assert_eq!(list.cost("small-1", &units), Some(Money::from_nanos(4462)));
        let halves = |count| list.cost("x", &Units::new().with(Unit::Input, count)).unwrap().nanos();
        assert_eq!([1, 2, 3, -1, -3].map(halves), [0, 1, 2, 0, -2]);
        assert_eq!(list.cost("x", &Units::new()), Some(Money::default()));
        assert_eq!(list.cost("x", &Units::new().with(Unit::Images, 1)), None);
    }

    #[test]
    fn the_list_in_force_is_the_one_that_began_last() {
        let lists = [
            list("early", "2026-01-01", None),
            list("late", "2026-03-01", Some("2026-04-01")),
            list("mended", "2026-03-01", Some("2026-03-15")),
        ];
        let prices = Prices(lists.into());
        let at = |text: &str| prices.at(text.parse().unwrap()).map(|list| list.id.as_str());
        assert_eq!(at("2025-12-31T23:59:59.999999Z"), None);
        assert_eq!(at("2026-02-28T23:59:59.999999Z"), Some("early"));
        assert_eq!(at("2026-03-01"), Some("mended"));
        assert_eq!(at("2026-03-15"), Some("late"));
        assert_eq!(at("2026-04-01"), Some("early"));
    }

    #[test]
    fn floats_and_unknown_units_are_no_prices() {
        let with = |price: &str| {
            let prices = format!(r#"[{{"model":"*","per_million":{{{price}}}}}]"#);
            PriceList::from_json(&format!(
                r#"{{"id":"a","currency":"EUR","valid_from":"2026-01-01","prices":{prices}}}"#
            ))
        };
        assert!(with(r#""input":"0.15""#).is_ok());
        for wrong in [r#""input":0.15"#, r#""input":"-1""#, r#""wish":"1""#, r#""input":"0.0000000000001""#] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
    }
}
