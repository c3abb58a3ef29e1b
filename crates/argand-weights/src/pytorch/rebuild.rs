//! What the allow-listed globals make: the only things that REDUCE, BUILD and persistent ids lead to.

use super::allowed::{Global, Rebuild};
use super::machine::{Fault, Machine, Step, Storage, TensorValue, Value};
use crate::strided::{MAX_DIMS, View};

/// Most arguments of a function on the list.
const MOST_ARGUMENTS: usize = 8;
/// Most marks that torch puts on a view.
const MOST_MARKS: usize = 8;

fn wrong<T>(found: impl Into<String>, expected: &'static str) -> Step<T> {
    Err(Fault::Wrong(found.into(), expected))
}

/// The value that a global makes of its arguments.
pub(super) fn call(machine: &mut Machine<'_>, callable: Value, arguments: Value) -> Step<Value> {
    let Value::Global(global) = callable else { return wrong(callable.kind(), "a class or function to call") };
    let Value::Tuple(arguments) = arguments else { return wrong(arguments.kind(), "a tuple of arguments") };
    // No function has more; a tuple may be long and be called with again and again.
    let arguments: Vec<Value> = machine.rows[arguments].iter().take(MOST_ARGUMENTS).copied().collect();
    match global {
        Global::Dict => dictionary(machine, &arguments),
        Global::DefaultDict => Ok(machine.new_dict(Vec::new())),
        Global::Size => match arguments[..] {
            [] => Ok(Value::Tuple(0)),
            [size @ (Value::Tuple(_) | Value::List(_))] => Ok(size),
            _ => wrong("other arguments", "torch.Size of a tuple"),
        },
        Global::Opaque(what) => Ok(Value::Opaque(what)),
        Global::Tensor(rebuild) => tensor(machine, rebuild, &arguments),
        Global::BuiltinType | Global::TensorType | Global::Storage(_) | Global::Dtype(_) => {
            wrong("a call of a type", "a function that rebuilds a tensor")
        }
    }
}

/// `OrderedDict()`, or of a list of pairs as Python 2 spells it.
fn dictionary(machine: &mut Machine<'_>, arguments: &[Value]) -> Step<Value> {
    let pairs = match arguments {
        [] => Vec::new(),
        [list @ Value::List(_)] => {
            let members = machine.members(*list).unwrap_or(&[]);
            let pair = |member: &Value| match machine.members(*member) {
                Some([key, value]) => Some((*key, *value)),
                _ => None,
            };
            let pairs: Option<Vec<_>> = members.iter().map(pair).collect();
            pairs.ok_or_else(|| Fault::Wrong("other members".to_owned(), "a list of pairs"))?
        }
        _ => return wrong("other arguments", "a dictionary of a list of pairs"),
    };
    machine.charge(pairs.len())?;
    Ok(machine.new_dict(pairs))
}

/// The state that an object is given: attributes, which are never read.
pub(super) fn build(object: Value, state: Value) -> Step<()> {
    match object {
        Value::Dict(_) | Value::Opaque(_) => Ok(()),
        // State of a parameter: attributes that somebody set.
        Value::Tensor(_) if matches!(state, Value::Dict(_)) => Ok(()),
        other => wrong(format!("a state for {}", other.kind()), "a state for a dictionary"),
    }
}

/// `("storage", type, key, location, count)`, and in the legacy format a view of it or None.
pub(super) fn persistent(machine: &mut Machine<'_>, id: Value) -> Step<Value> {
    const EXPECTED: &str = "(\"storage\", type, key, location, count)";
    let Value::Tuple(id) = id else { return wrong(id.kind(), EXPECTED) };
    let (kind, global, key, count, view) = match machine.rows[id][..] {
        [kind, global, key, _, count] => (kind, global, key, count, Value::None),
        [kind, global, key, _, count, view] => (kind, global, key, count, view),
        _ => return wrong("another number of members", EXPECTED),
    };
    if machine.text(kind) != Some("storage") {
        return wrong(kind.kind(), EXPECTED);
    }
    let Value::Global(Global::Storage(dtype)) = global else { return wrong(global.kind(), "the type of a storage") };
    let Some(key) = machine.text(key).filter(|key| is_plain(key)) else {
        return wrong(key.kind(), "the key of a storage: letters, digits, '_', '-', '.'");
    };
    let start = match view {
        Value::None => 0,
        Value::Tuple(view) => match machine.rows[view][..] {
            [_, start, _] => size(start)?,
            _ => return wrong("another number of members", "(key, offset, size) of a view"),
        },
        other => return wrong(other.kind(), "a view of a storage or None"),
    };
    let storage = Storage { dtype, key: key.to_owned(), count: size(count)?, start };
    machine.storages.push(storage);
    Ok(Value::Storage(machine.storages.len() - 1))
}

/// Keys become names of zip members.
fn is_plain(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !key.is_empty() && key.len() <= 255 && key.chars().all(plain) && key != "." && key != ".."
}

fn tensor(machine: &mut Machine<'_>, rebuild: Rebuild, arguments: &[Value]) -> Step<Value> {
    match (rebuild, arguments) {
        (Rebuild::Parameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
        (Rebuild::Parameter, _) => wrong("other arguments", "a parameter of a tensor"),
        (Rebuild::FromType, [function @ Value::Global(Global::Tensor(inner)), class, inner_arguments, ..]) => {
            let is_tensor = matches!(class, Value::Global(Global::TensorType));
            // Its function may be any but itself, so that arguments in arguments never lead deeper.
            if !is_tensor || *inner == Rebuild::FromType {
                return wrong("another type of tensor", "torch.Tensor or torch.nn.Parameter");
            }
            call(machine, *function, *inner_arguments)
        }
        (Rebuild::FromType, _) => wrong("other arguments", "(function, type, arguments, state)"),
        (Rebuild::Typed, [storage, offset, shape, strides, rest @ ..]) => {
            let Value::Storage(storage) = *storage else { return wrong(storage.kind(), "a storage") };
            let Some(dtype) = machine.storages[storage].dtype else {
                return wrong("a storage of bytes", "a storage of an element type");
            };
            let metadata = rest.get(2).copied();
            view(machine, storage, dtype, [*offset, *shape, *strides], metadata)
        }
        (Rebuild::Untyped, [storage, offset, shape, strides, _, _, dtype, rest @ ..]) => {
            let (Value::Storage(storage), Value::Global(Global::Dtype(dtype))) = (*storage, *dtype) else {
                return wrong(format!("{} and {}", storage.kind(), dtype.kind()), "a storage and an element type");
            };
            view(machine, storage, dtype, [*offset, *shape, *strides], rest.first().copied())
        }
        _ => wrong("too few arguments", "(storage, offset, size, stride, ...)"),
    }
}

fn view(
    machine: &mut Machine<'_>,
    storage: usize,
    dtype: crate::strided::Dtype,
    [offset, shape, strides]: [Value; 3],
    metadata: Option<Value>,
) -> Step<Value> {
    // Marks on the view: conjugated, or negated.
    if let Some(Value::Dict(marks)) = metadata
        && let marks = &machine.dicts[marks]
        && (marks.len() > MOST_MARKS || marks.iter().any(|(_, value)| *value == Value::Bool(true)))
    {
        return Err(Fault::Unsupported("a tensor that is to be negated or conjugated".to_owned()));
    }
    let sizes = |value: Value| match machine.members(value) {
        Some(members) if members.len() <= MAX_DIMS => members.iter().map(|member| size(*member)).collect(),
        Some(members) => wrong(format!("{} dimensions", members.len()), "at most 8 dimensions"),
        None => wrong(value.kind(), "a tuple of sizes"),
    };
    let (shape, strides): (Vec<usize>, Vec<usize>) = (sizes(shape)?, sizes(strides)?);
    if shape.len() != strides.len() {
        return wrong(format!("{} strides for {} dimensions", strides.len(), shape.len()), "as many of both");
    }
    let offset = size(offset)?;
    machine.tensors.push(TensorValue { storage, view: View { dtype, offset, shape, strides } });
    Ok(Value::Tensor(machine.tensors.len() - 1))
}

fn size(value: Value) -> Step<usize> {
    match value {
        Value::Int(number) => usize::try_from(number)
            .or_else(|_| wrong(number.to_string(), "a size that is not negative and fits in memory")),
        other => wrong(other.kind(), "a size"),
    }
}
