//! Typed key-value pairs of a checkpoint, owned and in file order. Knows nothing of what a key means.
//!
//! The types are those of GGUF (ggml `docs/gguf.md`). Arrays are kept compactly, so that a vocabulary of a quarter
//! million strings is two allocations.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::Error;
use crate::error::quote;

/// Key-value pairs in file order, each key once.
///
/// The `get_*` methods answer `None` when the key is absent *or* holds another type; the `require_*` methods say which
/// of the two it was. Numbers convert between widths as long as the value fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Str(StrArray),
    /// Arrays in an array; each may be of another type and length.
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Strings end to end in one buffer, with random access.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StrArray {
    text: String,
    ends: Vec<usize>,
}

impl StrArray {
    /// Takes strings that lie end to end in `text`, each up to its entry of `ends`. `Err` is the first string that is
    /// not UTF-8.
    ///
    /// `ends` must not decrease and must end with the length of `text`.
    pub(crate) fn from_utf8(text: Vec<u8>, ends: Vec<usize>) -> Result<Self, usize> {
        debug_assert!(ends.is_sorted() && ends.last().copied().unwrap_or(0) == text.len());
        let text = String::from_utf8(text).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            ends.partition_point(|&end| end <= valid)
        })?;
        // The whole can be UTF-8 where a character begins in one string and ends in the next.
        match ends.iter().position(|&end| !text.is_char_boundary(end)) {
            Some(broken) => Err(broken),
            None => Ok(Self { text, ends }),
        }
    }

    /// Appends one string.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<S: AsRef<str>> FromIterator<S> for StrArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = Self::default();
        strings.into_iter().for_each(|text| array.push(text.as_ref()));
        array
    }
}

impl fmt::Debug for StrArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Value {
    /// GGUF's name of the type; an array says what it holds and how much, as in `array of 3 f32`.
    pub fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::Str(_) => "string",
            Self::Array(array) => {
                return Cow::Owned(format!("array of {} {}", array.len(), array.element_name()));
            }
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        })
    }

    /// The value as an integer, when it is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            _ => self.as_i64().and_then(|v| v.try_into().ok()),
        }
    }

    /// The value as a signed integer, when it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::I64(v) => Some(v),
            Self::U8(_) | Self::U16(_) | Self::U32(_) | Self::U64(_) => self.as_u64().and_then(|v| v.try_into().ok()),
            _ => None,
        }
    }

    /// The value as a floating-point number; integers convert, rounding above 2^53.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            Self::U64(v) => Some(v as f64),
            _ => self.as_i64().map(|v| v as f64),
        }
    }

    /// The text, when it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when it is one. Integers are not.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// The array, when it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// Does the same with the elements of any array.
macro_rules! with_elements {
    ($array:expr, $elements:ident => $body:expr) => {
        match $array {
            Array::U8($elements) => $body,
            Array::I8($elements) => $body,
            Array::U16($elements) => $body,
            Array::I16($elements) => $body,
            Array::U32($elements) => $body,
            Array::I32($elements) => $body,
            Array::F32($elements) => $body,
            Array::Bool($elements) => $body,
            Array::Str($elements) => $body,
            Array::Array($elements) => $body,
            Array::U64($elements) => $body,
            Array::I64($elements) => $body,
            Array::F64($elements) => $body,
        }
    };
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, elements => elements.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// GGUF's name of the element type.
    pub fn element_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::Str(_) => "string",
            Self::Array(_) => "array",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }

    /// The strings, when it holds strings.
    pub fn as_strs(&self) -> Option<&StrArray> {
        match self {
            Self::Str(strings) => Some(strings),
            _ => None,
        }
    }

    /// The truth values, when it holds those.
    pub fn as_bools(&self) -> Option<&[bool]> {
        match self {
            Self::Bool(truths) => Some(truths),
            _ => None,
        }
    }

    /// The elements as integers, when all of them are integers that fit.
    pub fn to_u64s(&self) -> Option<Vec<u64>> {
        match self {
            Self::U8(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::U16(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::U32(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::U64(v) => Some(v.clone()),
            _ => self.to_i64s()?.into_iter().map(|v| v.try_into().ok()).collect(),
        }
    }

    /// The elements as signed integers, when all of them are integers that fit.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        match self {
            Self::I8(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::I16(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::I32(v) => Some(v.iter().map(|&v| v.into()).collect()),
            Self::I64(v) => Some(v.clone()),
            Self::U8(_) | Self::U16(_) | Self::U32(_) | Self::U64(_) => {
                self.to_u64s()?.into_iter().map(|v| v.try_into().ok()).collect()
            }
            _ => None,
        }
    }

    /// The elements as f32; f64 is rounded, integers are not converted.
    pub fn to_f32s(&self) -> Option<Cow<'_, [f32]>> {
        match self {
            Self::F32(v) => Some(Cow::Borrowed(v)),
            Self::F64(v) => Some(Cow::Owned(v.iter().map(|&v| v as f32).collect())),
            _ => None,
        }
    }
}

impl Metadata {
    /// No pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets a value in place, or appends the pair; answers the value that it replaced.
    pub fn set(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        let key = key.into();
        if let Some(&at) = self.index.get(&key) {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        None
    }

    /// Removes a pair and answers its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.index.remove(key)?;
        self.index.values_mut().filter(|place| **place > at).for_each(|place| *place -= 1);
        Some(self.entries.remove(at).1)
    }
}

/// A `get_*` and a `require_*` method over the same conversion.
macro_rules! getters {
    ($($get:ident $require:ident $type:ty, $expected:literal, $convert:expr;)*) => {
        impl Metadata {
            $(
                #[doc = concat!("The value of `key` as ", $expected, ", if it is there and is one.")]
                pub fn $get(&self, key: &str) -> Option<$type> {
                    self.get(key).and_then($convert)
                }

                #[doc = concat!("The value of `key` as ", $expected, ".")]
                ///
                /// # Errors
                /// [`Error::MissingKey`] or [`Error::WrongType`].
                pub fn $require(&self, key: &str) -> Result<$type, Error> {
                    let value = self.get(key).ok_or_else(|| missing(key, $expected))?;
                    let convert: fn(&Value) -> Option<$type> = $convert;
                    convert(value).ok_or_else(|| wrong_type(key, value, $expected))
                }
            )*
        }
    };
}

getters! {
    get_u64 require_u64 u64, "an integer that is not negative", |value| value.as_u64();
    get_i64 require_i64 i64, "an integer", |value| value.as_i64();
    get_f64 require_f64 f64, "a number", |value| value.as_f64();
    get_bool require_bool bool, "a truth value", |value| value.as_bool();
    get_str require_str &str, "a string", |value| value.as_str();
    get_array require_array &Array, "an array", |value| value.as_array();
    get_strs require_strs &StrArray, "an array of strings", |value| value.as_array()?.as_strs();
    get_bools require_bools &[bool], "an array of truth values", |value| value.as_array()?.as_bools();
    get_u64s require_u64s Vec<u64>, "an array of integers that are not negative", |value| value.as_array()?.to_u64s();
    get_i64s require_i64s Vec<i64>, "an array of integers", |value| value.as_array()?.to_i64s();
    get_f32s require_f32s Cow<'_, [f32]>, "an array of floating-point numbers", |value| value.as_array()?.to_f32s();
}

fn missing(key: &str, expected: &'static str) -> Error {
    Error::MissingKey { key: key.to_owned(), expected }
}

fn wrong_type(key: &str, value: &Value, expected: &'static str) -> Error {
    let found = match value {
        Value::Str(text) => format!("the string {}", quote(text)),
        Value::Array(_) => value.type_name().into_owned(),
        scalar => format!("{scalar:?}"),
    };
    Error::WrongType { key: key.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_when_they_fit() {
        let mut meta = Metadata::new();
        meta.set("small", Value::I8(-3));
        meta.set("big", Value::U64(u64::MAX));
        meta.set("real", Value::F32(0.5));
        assert_eq!((meta.get_i64("small"), meta.get_u64("small")), (Some(-3), None));
        assert_eq!((meta.get_i64("big"), meta.get_u64("big")), (None, Some(u64::MAX)));
        assert_eq!((meta.get_f64("small"), meta.get_f64("real")), (Some(-3.0), Some(0.5)));
        assert_eq!(meta.get_u64("real"), None);
    }

    #[test]
    fn require_tells_missing_from_wrong() {
        let mut meta = Metadata::new();
        meta.set("a", Value::I32(-7));
        meta.set("b", Value::Array(Array::F32(vec![1.0])));
        let message = |error: Error| error.to_string();
        assert_eq!(
            message(meta.require_u64("a").unwrap_err()),
            "metadata key a: found I32(-7), expected an integer that is not negative"
        );
        assert_eq!(
            message(meta.require_strs("b").unwrap_err()),
            "metadata key b: found array of 1 f32, expected an array of strings"
        );
        assert_eq!(message(meta.require_bool("c").unwrap_err()), "metadata key c: not there, expected a truth value");
    }

    #[test]
    fn removing_keeps_order_and_index() {
        let mut meta = Metadata::new();
        for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
            meta.set(key, Value::U8(at as u8));
        }
        assert_eq!(meta.remove("b"), Some(Value::U8(1)));
        assert_eq!(meta.set("c", Value::U8(9)), Some(Value::U8(2)));
        assert_eq!(meta.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(meta.get_u64("c"), Some(9));
        assert_eq!(meta.remove("b"), None);
    }

    #[test]
    fn strings_are_checked_one_by_one() {
        let of = |parts: &[&[u8]]| {
            let ends = parts.iter().scan(0, |end, part| {
                *end += part.len();
                Some(*end)
            });
            StrArray::from_utf8(parts.concat(), ends.collect())
        };
        assert_eq!(of(&[b"a", "ß".as_bytes(), b""]).unwrap().get(1), Some("ß"));
        // A two-byte character cut in halves is UTF-8 as a whole, but neither half is.
        assert_eq!(of(&[b"a", b"\xc3", b"\x9f"]), Err(1));
        assert_eq!(of(&[b"", b"a", b"b\xff", b"c"]), Err(2));
        assert_eq!(of(&[b"a", b"\xc3"]), Err(1));
        assert_eq!(of(&[]), Ok(StrArray::default()));
    }

    #[test]
    fn string_arrays_give_random_access() {
        let array: StrArray = ["one", "", "drei ß"].into_iter().collect();
        assert_eq!(array.iter().collect::<Vec<_>>(), ["one", "", "drei ß"]);
        assert_eq!((array.get(2), array.get(3)), (Some("drei ß"), None));
    }
}
