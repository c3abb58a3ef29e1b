//! The `tojson` filter as Python's `json.dumps` writes it: no HTML escapes, non-ASCII text kept unless asked.

use super::python::check_size;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How to write.
struct Style {
    ascii: bool,
    /// White space of one level; `None` writes one line.
    indent: Option<String>,
    between: String,
    after_key: String,
    sort: bool,
}

/// Levels of nesting that are followed.
const MAX_DEPTH: usize = 200;

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(value: &Value, positional: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let style = Style::read(positional, &options)?;
    options.assert_all_used()?;
    let mut out = String::new();
    style.write(&mut out, value, 0)?;
    Ok(Value::from(out))
}

impl Style {
    fn read(positional: Option<Value>, options: &Kwargs) -> Result<Self, Error> {
        // The first positional argument is `ensure_ascii`, as in the reference.
        let ascii = match positional {
            Some(value) => value.is_true(),
            None => options.get::<Option<Value>>("ensure_ascii")?.is_some_and(|value| value.is_true()),
        };
        let indent = match options.get::<Option<Value>>("indent")? {
            Some(value) if value.kind() == ValueKind::Number => {
                Some(" ".repeat(usize::try_from(value).unwrap_or(0).min(64)))
            }
            Some(value) => value.as_str().map(str::to_owned),
            None => None,
        };
        let (between, after_key) = match options.get::<Option<Vec<String>>>("separators")? {
            Some(parts) => <[String; 2]>::try_from(parts)
                .map(|[between, after_key]| (between, after_key))
                .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two texts"))?,
            None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            None => (", ".to_owned(), ": ".to_owned()),
        };
        let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        Ok(Self { ascii, indent, between, after_key, sort })
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                self.list(out, ['[', ']'], value.try_iter()?, depth, |style, out, item| {
                    style.write(out, item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list(out, ['{', '}'], keys.into_iter(), depth, |style, out, key| {
                    style.string(out, &key_text(key));
                    out.push_str(&style.after_key);
                    style.write(out, &value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson: a value of type {kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn list(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        items: impl Iterator<Item = Value>,
        depth: usize,
        write: impl Fn(&Self, &mut String, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                out.push_str(&self.between);
            }
            is_empty = false;
            self.line(out, depth + 1);
            write(self, out, &item)?;
            check_size(out.len())?;
        }
        if !is_empty {
            self.line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !matches!(c, ' '..='~')) => {
                    let units =
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
                    out.push_str(&units);
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A key that is no text is written as its value would be.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.is_true().to_string(),
        ValueKind::Number => number(key),
        _ => key.to_string(),
    }
}

/// Integers in full; floating-point numbers as Python's `repr` writes them.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else { return value.to_string() };
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ if number.fract() == 0.0 => format!("{number:.1}"),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::number;
    use minijinja::Value;

    #[test]
    fn numbers_read_as_in_python() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5e-7, "-2.5e-07"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e300, "1.5e+300"),
            (0.0, "0.0"),
        ];
        for (value, text) in cases {
            assert_eq!(number(&Value::from(value)), text);
        }
        assert_eq!(number(&Value::from(9_007_199_254_740_993_i64)), "9007199254740993");
    }
}
