//! Methods of Python's strings, lists and dictionaries that templates call and the engine's own set lacks.

use minijinja::value::from_args;
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// `is iterable` as in Python, where none is not.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Longest text that one call may make, in bytes. The engine's own operations pay for size with fuel; these do not.
const MAX_TEXT: usize = 64 << 20;

/// # Errors
/// A size above the limit.
pub(super) fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_TEXT {
        let message = format!("a text of {bytes} bytes would pass the limit of {MAX_TEXT}");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(())
}

/// Refuses calls whose result would fill the memory.
fn check_growth(text: &str, name: &str, args: &[Value]) -> Result<(), Error> {
    match (name, args) {
        ("replace", [old, new, ..]) => {
            let new = new.as_str().map_or(0, str::len);
            let matches = text.matches(old.as_str().unwrap_or_default()).count();
            check_size(text.len().saturating_add(matches.saturating_mul(new)))
        }
        ("join", [items, ..]) => {
            let mut size = 0_usize;
            for item in items.try_iter()? {
                let len = item.as_str().map_or(MAX_NUMBER, str::len);
                size = size.saturating_add(text.len()).saturating_add(len);
                check_size(size)?;
            }
            Ok(())
        }
        // Field widths are in the text: `{:1000000000}`.
        ("format", _) if text.bytes().filter(u8::is_ascii_digit).count() > MAX_FORMAT_DIGITS => {
            Err(Error::new(ErrorKind::InvalidOperation, "a format with that many digits is not one of a chat template"))
        }
        _ => Ok(()),
    }
}

/// Bytes that a number takes when written, at most.
const MAX_NUMBER: usize = 40;
/// Digits in a text that `format` takes.
const MAX_FORMAT_DIGITS: usize = 7;

/// Calls a method by name.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        check_growth(text, name, args)?;
    }
    match (value.as_str(), name) {
        (Some(text), "removeprefix") => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        (Some(text), "removesuffix") => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        (Some(text), "partition") => {
            let (separator,): (&str,) = from_args(args)?;
            let (before, after) =
                text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)));
            Ok(Value::from_iter([before, after.map_or("", |_| separator), after.unwrap_or("")]))
        }
        _ => unknown_method_callback(state, value, name, args),
    }
}
