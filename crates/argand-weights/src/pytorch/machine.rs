//! The pickle machine (Python, `Lib/pickletools.py`, protocols 2 to 5) with nothing behind it: it moves plain values, and
//! knows a fixed list of globals. It can call nothing, import nothing and build no object of a class.
//!
//! Memory and time are bounded by the length of the pickle: an opcode makes at most one value, values of values are
//! shared by number, texts stay in the pickle, and a length in the pickle is compared with what is left of it.

use std::collections::HashMap;
use std::path::Path;

use super::allowed::{self, Global};
use crate::Error;
use crate::error::quote;
use crate::strided::View;

/// Longest pickle that is read, in bytes. The tensors' own bytes lie outside of it; a hundred of its bytes describe one.
pub(crate) const MAX_PICKLE: usize = 32 << 20;

/// A value; what is longer than a word is kept by the [`Machine`], by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Where the text lies in the pickle.
    Text(usize, usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// Something that is no weight and is not looked at again, by what it is.
    Opaque(&'static str),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a number",
            Self::Text(..) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Opaque(what) => what,
        }
    }
}

/// A storage that the pickle names; its bytes lie elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// `None` for a storage of plain bytes.
    pub(super) dtype: Option<crate::strided::Dtype>,
    pub(super) key: String,
    /// Its length in elements.
    pub(super) count: usize,
    /// Where it begins in the storage of that key, in elements: only the legacy format has views of storages.
    pub(super) start: usize,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct TensorValue {
    pub(super) storage: usize,
    pub(super) view: View,
}

/// What is wrong with a pickle, before the file and the place in it are named.
pub(super) enum Fault {
    /// What was found, what was expected.
    Wrong(String, &'static str),
    /// A field needs more bytes than are left.
    Short(&'static str, u64),
    /// A global that is not on the list.
    Forbidden(String),
    /// What is legal in general but not read here.
    Unsupported(String),
}

pub(super) type Step<T> = Result<T, Fault>;

/// The stack, the memo, and the values that were made.
pub(super) struct Machine<'p> {
    pickle: &'p [u8],
    at: usize,
    stack: Vec<Value>,
    /// Where the stack was at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    /// Values that were copied out of others.
    copied: usize,
    /// Tuples and lists.
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<TensorValue>,
}

/// Number of the empty tuple, which pickles have a great many of.
const EMPTY: usize = 0;

impl<'p> Machine<'p> {
    /// Runs one pickle at the beginning of `bytes`; returns the machine, the value that it ends with, and its length.
    pub(super) fn run(file: &Path, field: &str, bytes: &'p [u8]) -> Result<(Self, Value, usize), Error> {
        let mut machine = Machine {
            pickle: &bytes[..bytes.len().min(MAX_PICKLE)],
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
            rows: vec![Vec::new()],
            dicts: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        };
        loop {
            let start = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let length = machine.at;
                    return Ok((machine, value, length));
                }
                Err(fault) => return Err(machine.error(file, format!("{field}: opcode at byte {start}"), fault)),
            }
        }
    }

    fn error(&self, file: &Path, field: String, fault: Fault) -> Error {
        let file = file.to_path_buf();
        match fault {
            Fault::Wrong(found, expected) => Error::malformed(&file, field, found, expected),
            Fault::Forbidden(global) => Error::ForbiddenGlobal { file, field, global },
            Fault::Short(_, _) if self.pickle.len() == MAX_PICKLE => {
                Error::malformed(&file, field, "a longer pickle", format!("at most {MAX_PICKLE} bytes"))
            }
            Fault::Short(what, needed) => {
                let left = (self.pickle.len() - self.at) as u64;
                Error::Truncated { file, field: format!("{field}: {what}"), needed, left }
            }
            Fault::Unsupported(found) => {
                let advice = "save the state dict again with torch.save, or as safetensors".to_owned();
                Error::Unsupported { file, field, found, advice }
            }
        }
    }

    fn take(&mut self, what: &'static str, count: u64) -> Step<&'p [u8]> {
        let rest = &self.pickle[self.at..];
        let fits = usize::try_from(count).ok().filter(|count| *count <= rest.len());
        let count = fits.ok_or(Fault::Short(what, count))?;
        self.at += count;
        Ok(&rest[..count])
    }

    fn number<const N: usize>(&mut self) -> Step<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take("a number", N as u64)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn byte(&mut self) -> Step<u64> {
        self.number::<1>()
    }

    pub(super) fn word(&mut self) -> Step<u64> {
        self.number::<4>()
    }

    /// A length of 1, 2, 4 or 8 bytes.
    pub(super) fn length(&mut self, bytes: u8) -> Step<u64> {
        match bytes {
            1 => self.number::<1>(),
            2 => self.number::<2>(),
            4 => self.number::<4>(),
            _ => self.number::<8>(),
        }
    }

    /// The rest of a line, without its end.
    pub(super) fn line(&mut self) -> Step<&'p [u8]> {
        let rest = &self.pickle[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or(Fault::Short("a line", rest.len() as u64 + 1))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// Checks the length of a frame: it must not promise what is not there.
    pub(super) fn frame(&mut self) -> Step<()> {
        let length = self.number::<8>()?;
        let left = (self.pickle.len() - self.at) as u64;
        if length > left { Err(Fault::Short("a frame", length)) } else { Ok(()) }
    }

    /// Pushes what the next `length` bytes say: a text, which must be UTF-8 unless Python 2 wrote it.
    pub(super) fn push_text(&mut self, length: u64, python2: bool) -> Step<()> {
        let start = self.at;
        let bytes = self.take("a text", length)?;
        match std::str::from_utf8(bytes) {
            Ok(_) => self.stack.push(Value::Text(start, self.at)),
            Err(_) if python2 => self.stack.push(Value::Opaque("bytes")),
            Err(_) => return Err(Fault::Wrong("bytes".to_owned(), "a text in UTF-8")),
        }
        Ok(())
    }

    /// Steps over bytes that hold no weight.
    pub(super) fn push_skipped(&mut self, length: u64, what: &'static str) -> Step<()> {
        self.take(what, length)?;
        self.stack.push(Value::Opaque(what));
        Ok(())
    }

    /// An integer in two's complement of any length; one that fits no size or offset is no number of ours.
    pub(super) fn push_integer(&mut self, length: u64) -> Step<()> {
        let bytes = self.take("an integer", length)?;
        let sign = bytes.last().map_or(0, |&high| if high & 0x80 == 0 { 0 } else { 0xff });
        let mut word = [sign; 8];
        self.stack.push(match word.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(word))
            }
            None => Value::Opaque("a long number"),
        });
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    pub(super) fn push_tuple(&mut self, values: Vec<Value>) {
        let tuple = if values.is_empty() { EMPTY } else { keep(&mut self.rows, values) };
        self.stack.push(Value::Tuple(tuple));
    }

    pub(super) fn push_list(&mut self, values: Vec<Value>) {
        let list = keep(&mut self.rows, values);
        self.stack.push(Value::List(list));
    }

    pub(super) fn new_dict(&mut self, pairs: Vec<(Value, Value)>) -> Value {
        Value::Dict(keep(&mut self.dicts, pairs))
    }

    /// Where the stack was at the last open mark: what lies below belongs to others.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn pop(&mut self) -> Step<Value> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    pub(super) fn top(&self) -> Step<Value> {
        let above = self.stack.get(self.floor()..).and_then(<[Value]>::last);
        above.copied().ok_or_else(|| Fault::Wrong("an empty stack".to_owned(), "a value"))
    }

    pub(super) fn mark(&mut self) {
        self.marks.push(self.stack.len());
    }

    /// Takes the mark away if nothing stands above it; says whether it did.
    pub(super) fn drop_mark(&mut self) -> bool {
        self.marks.pop_if(|mark| *mark == self.stack.len()).is_some()
    }

    /// Takes all values above the last mark, and the mark.
    pub(super) fn pop_marked(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| Fault::Wrong("no mark".to_owned(), "a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    pub(super) fn pop_some(&mut self, count: usize) -> Step<Vec<Value>> {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        let start = start.ok_or_else(|| Fault::Wrong("too few values".to_owned(), "the members of a tuple"))?;
        Ok(self.stack.split_off(start))
    }

    /// Ends with the only value that is left.
    pub(super) fn stop(&mut self) -> Step<Value> {
        let value = self.pop()?;
        match self.stack.is_empty() && self.marks.is_empty() {
            true => Ok(value),
            false => Err(Fault::Wrong("values left over".to_owned(), "one value at the end")),
        }
    }

    pub(super) fn remember(&mut self, index: u64) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    pub(super) fn memoize(&mut self) -> Step<()> {
        self.remember(self.memo.len() as u64)
    }

    pub(super) fn recall(&mut self, index: u64) -> Step<()> {
        let value = self.memo.get(&index).copied();
        let value =
            value.ok_or_else(|| Fault::Wrong(format!("memo {index}, never written"), "a memo that is there"))?;
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn append(&mut self, values: Vec<Value>) -> Step<()> {
        match self.top()? {
            Value::List(list) => self.rows[list].extend(values),
            Value::Opaque(_) => {}
            other => return Err(Fault::Wrong(other.kind().to_owned(), "a list to append to")),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, values: Vec<Value>) -> Step<()> {
        let pairs = pairs(values)?;
        match self.top()? {
            Value::Dict(dict) => self.dicts[dict].extend(pairs),
            other => return Err(Fault::Wrong(other.kind().to_owned(), "a dictionary to put items into")),
        }
        Ok(())
    }

    /// Pays for copies of values: all together they cannot be more than the pickle has bytes.
    pub(super) fn charge(&mut self, copies: usize) -> Step<()> {
        self.copied += copies;
        match self.copied <= self.pickle.len() {
            true => Ok(()),
            false => Err(Fault::Unsupported("a list that is copied again and again".to_owned())),
        }
    }

    /// The text of a text.
    pub(super) fn text(&self, value: Value) -> Option<&'p str> {
        match value {
            Value::Text(start, end) => std::str::from_utf8(&self.pickle[start..end]).ok(),
            _ => None,
        }
    }

    /// The members of a tuple or a list.
    pub(super) fn members(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(row) | Value::List(row) => Some(&self.rows[row]),
            _ => None,
        }
    }
}

fn keep<T>(kept: &mut Vec<T>, value: T) -> usize {
    kept.push(value);
    kept.len() - 1
}

/// Keys and values that follow each other.
pub(super) fn pairs(values: Vec<Value>) -> Step<Vec<(Value, Value)>> {
    let (pairs, rest) = values.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(Fault::Wrong("a key without a value".to_owned(), "pairs of keys and values")),
    }
}

/// Looks a global up in the list.
pub(super) fn global(module: &[u8], name: &[u8]) -> Step<Value> {
    let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
    match allowed::find(&module, &name) {
        Some(global) => Ok(Value::Global(global)),
        None => Err(Fault::Forbidden(quote(&format!("{module}.{name}")))),
    }
}
