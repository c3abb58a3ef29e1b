//! Which of the things in a pickle is the state dict, and what its tensors are called.
//!
//! The root is the state dict if one of its own values is a tensor. Otherwise it is what lies under the first of
//! [`WRAPPERS`] that holds tensors, and the same is asked of that again. Otherwise all dictionaries of the root together are
//! the model. Dictionaries, lists and tuples inside the state dict add their keys to the name, joined with dots; whatever is
//! neither of these nor a tensor is left out. A prefix of [`PREFIXES`] that every name has is taken away.

use std::path::Path;

use super::allowed::NUMPY_ARRAY;
use super::machine::{Machine, Value};
use crate::Error;
use crate::error::quote;

/// Keys under which training programs keep the state dict, the first one that holds tensors being taken: averaged weights
/// (`ema`) after trained ones, since they often cover only part of a model.
pub(super) const WRAPPERS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "params_ema",
    "state_dict_ema",
    "ema",
];

/// What `DataParallel` and `torch.compile` put in front of every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Deepest nesting of containers.
const MAX_DEPTH: usize = 32;

/// The state dict: where it was, and its tensors by name.
pub(super) struct State {
    /// The keys that lead to it, joined with dots; empty if it is the root.
    pub(super) path: String,
    /// Names and the numbers of tensors of the machine.
    pub(super) tensors: Vec<(String, usize)>,
}

/// Finds the state dict in the value of a pickle.
pub(super) fn find(file: &Path, machine: &Machine<'_>, length: usize, root: Value) -> Result<State, Error> {
    let mut finder = Finder { file, machine, steps: length };
    let (mut at, mut path) = (root, Vec::new());
    while let Some((key, inner)) = finder.wrapped(at)? {
        path.push(key);
        at = inner;
        finder.check_depth(path.len())?;
    }
    let mut tensors = Vec::new();
    finder.collect(at, &mut Vec::new(), &mut tensors)?;
    if tensors.is_empty() {
        let found = format!("{} without tensors", root.kind());
        return Err(Error::malformed(file, "pickle", found, "a state dict: names and their tensors"));
    }
    for prefix in PREFIXES {
        if tensors.iter().all(|(name, _)| name.len() > prefix.len() && name.starts_with(prefix)) {
            tensors.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
        }
    }
    Ok(State { path: path.join("."), tensors })
}

struct Finder<'m, 'p> {
    file: &'m Path,
    machine: &'m Machine<'p>,
    /// Values that may still be looked at. Each costs a byte of the pickle at least, unless values that are shared are
    /// walked again and again.
    steps: usize,
}

impl Finder<'_, '_> {
    fn step(&mut self) -> Result<(), Error> {
        self.steps = self.steps.checked_sub(1).ok_or_else(|| {
            Error::malformed(self.file, "pickle", "values that repeat each other", "a state dict that is written out")
        })?;
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), Error> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        let expected = format!("at most {MAX_DEPTH} inside each other");
        Err(Error::malformed(self.file, "pickle", "more dictionaries", expected))
    }

    /// The wrapped state dict of a dictionary that is none itself.
    fn wrapped(&mut self, value: Value) -> Result<Option<(&'static str, Value)>, Error> {
        let Value::Dict(dict) = value else { return Ok(None) };
        let pairs = &self.machine.dicts[dict];
        if pairs.iter().any(|(_, value)| matches!(value, Value::Tensor(_))) {
            return Ok(None);
        }
        for wrapper in WRAPPERS {
            let under = pairs.iter().find(|(key, _)| self.machine.text(*key) == Some(wrapper));
            if let Some((_, inner @ Value::Dict(_))) = under
                && self.has_tensor(*inner, 0)?
            {
                return Ok(Some((wrapper, *inner)));
            }
        }
        Ok(None)
    }

    fn has_tensor(&mut self, value: Value, depth: usize) -> Result<bool, Error> {
        self.step()?;
        self.check_depth(depth)?;
        let values: Vec<Value> = match value {
            Value::Tensor(_) => return Ok(true),
            Value::Dict(dict) => self.machine.dicts[dict].iter().map(|(_, value)| *value).collect(),
            _ => return Ok(false),
        };
        for value in values {
            if self.has_tensor(value, depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn collect(&mut self, value: Value, path: &mut Vec<String>, out: &mut Vec<(String, usize)>) -> Result<(), Error> {
        self.step()?;
        self.check_depth(path.len())?;
        let machine = self.machine;
        match value {
            Value::Tensor(tensor) if !path.is_empty() => out.push((path.join("."), tensor)),
            Value::Opaque(what) if what == NUMPY_ARRAY => {
                return Err(Error::Unsupported {
                    file: self.file.to_path_buf(),
                    field: format!("tensor {}", quote(&path.join("."))),
                    found: what.to_owned(),
                    advice: "save it as a tensor, with torch.from_numpy".to_owned(),
                });
            }
            Value::Dict(dict) => {
                for (key, value) in &machine.dicts[dict] {
                    let key = match *key {
                        Value::Int(number) => number.to_string(),
                        // A name that is no text is nobody's weight.
                        key => match machine.text(key) {
                            Some(text) => text.to_owned(),
                            None => continue,
                        },
                    };
                    self.enter(key, *value, path, out)?;
                }
            }
            Value::List(row) | Value::Tuple(row) => {
                for (at, value) in machine.rows[row].iter().enumerate() {
                    self.enter(at.to_string(), *value, path, out)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(
        &mut self,
        key: String,
        value: Value,
        path: &mut Vec<String>,
        out: &mut Vec<(String, usize)>,
    ) -> Result<(), Error> {
        path.push(key);
        self.collect(value, path, out)?;
        path.pop();
        Ok(())
    }
}
