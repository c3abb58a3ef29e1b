//! Money, in whole billionths of a currency's unit. No float ever stands for an amount.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{LedgerError, Result, invalid};

/// An amount in billionths of a unit of some currency; it may be negative. Written as a decimal number, in JSON as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Money(i64);

impl Money {
    /// Digits after the point.
    pub const PLACES: u32 = 9;

    /// So many billionths.
    pub fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Billionths.
    pub fn nanos(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0.into(), Self::PLACES))
    }
}

impl FromStr for Money {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self> {
        let nanos = read(text, Self::PLACES).and_then(|nanos| i64::try_from(nanos).ok());
        nanos.map(Self).ok_or_else(|| invalid("amount", text, "a decimal number such as 12.50, with at most 9 places"))
    }
}

impl TryFrom<String> for Money {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.to_string()
    }
}

/// A currency by its three letters of ISO 4217, which are not looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl FromStr for Currency {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(invalid("currency", text, "three capital letters such as EUR")),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

/// Reads a decimal number into whole units of its last possible place; `None` if it is none, or has more places.
pub(crate) fn read(text: &str, places: u32) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let missing = (places as usize).checked_sub(part.trim_end_matches('0').len())?;
    if !is_number(whole) || !is_number(part) {
        return None;
    }
    let digits = format!("{whole}{}{}", part.trim_end_matches('0'), "0".repeat(missing));
    Some(sign * digits.parse::<i128>().ok()?)
}

/// Writes such a number without needless zeros.
pub(crate) fn written(value: i128, places: u32) -> String {
    let unit = 10u128.pow(places);
    let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    let sign = if value < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{part:0width$}", width = places as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The quotient of a number and a positive one, rounded to the nearest whole number; halves to the even one.
pub(crate) fn half_even(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(divisor), value.rem_euclid(divisor));
    match (2 * rest).cmp(&divisor) {
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
        std::cmp::Ordering::Less => quotient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_they_are_read() {
        for text in ["0", "12.5", "-0.000000001", "9223372036.854775807", "-9223372036.854775808"] {
            assert_eq!(text.parse::<Money>().expect(text).to_string(), text);
        }
        assert_eq!("0012.5000000000000".parse::<Money>().unwrap(), Money(12_500_000_000));
        for wrong in ["", "-", ".5", "5.", "1e3", "+1", "--1", "1,5", "0.0000000001", "9223372036.854775808", "1.-5"] {
            assert!(wrong.parse::<Money>().is_err(), "{wrong}");
        }
        assert!("EUR".parse::<Currency>().is_ok());
        for wrong in ["eur", "EURO", "", "E R"] {
            assert!(wrong.parse::<Currency>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let rounded: Vec<i128> = [5, 15, 25, 24, 26, -5, -15, -25, -26].map(|value| half_even(value, 10)).into();
        assert_eq!(rounded, [0, 2, 2, 2, 3, 0, -2, -2, -3]);
    }
}
