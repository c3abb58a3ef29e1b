//! Ops that work element by element, and reductions over the last dimension.

use super::{Op, Row, arity, elementwise, elems, last, no_fields};
use crate::dim::{Dim, Type};

fn same(_: &Op, ins: &[Type]) -> Result<Type, String> {
    arity(ins, 1, 1)?;
    last(&ins[0])?;
    Ok(ins[0].clone())
}

pub(super) const UNARY: Row = Row {
    name: "unary",
    shape: same,
    // An exponential and a division stand for about ten operations.
    cost: |_, ins, out| elementwise(ins, out, 10),
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Unary(f) => format!("{f:?}").to_lowercase(),
        _ => String::new(),
    },
};

pub(super) const BINARY: Row = Row {
    name: "binary",
    shape: |_, ins| {
        arity(ins, 2, 2)?;
        let (a, b) = (ins[0].shape(), ins[1].shape());
        let one = Dim::from(1);
        let repeated = b.len() == a.len()
            && a.iter().zip(b).enumerate().all(|(i, (x, y))| x == y || (i + 1 == a.len() && *y == one));
        let weight = b.len() == 1 && a.last() == b.last();
        if a.is_empty() || !(repeated || weight) {
            return Err(format!("shapes {} and {} do not go together", ins[0], ins[1]));
        }
        Ok(ins[0].clone())
    },
    cost: |_, ins, out| elementwise(ins, out, 1),
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Binary(f) => format!("{f:?}").to_lowercase(),
        _ => String::new(),
    },
};

pub(super) const SCALE: Row = Row {
    name: "scale",
    shape: same,
    cost: |_, ins, out| elementwise(ins, out, 1),
    gradient: Some(|op, _, _, dy| match op {
        Op::Scale(k) => vec![Some(dy.scale(k.0))],
        _ => vec![None],
    }),
    decompose: None,
    print: |op| match op {
        Op::Scale(k) => k.0.to_string(),
        _ => String::new(),
    },
};

pub(super) const OFFSET: Row = Row {
    name: "offset",
    gradient: Some(|_, _, _, dy| vec![Some(dy)]),
    print: |op| match op {
        Op::Offset(k) => k.0.to_string(),
        _ => String::new(),
    },
    ..SCALE
};

pub(super) const CLAMP: Row = Row {
    name: "clamp",
    cost: |_, ins, out| elementwise(ins, out, 2),
    gradient: None,
    print: |op| match op {
        Op::Clamp { least, most } => format!("{} to {}", least.0, most.0),
        _ => String::new(),
    },
    ..SCALE
};

pub(super) const SOFTCAP: Row = Row {
    name: "softcap",
    cost: |_, ins, out| elementwise(ins, out, 12),
    gradient: None,
    decompose: Some(|op, ins| match op {
        Op::Softcap(cap) => ins[0].scale(1.0 / cap.0).tanh().scale(cap.0),
        _ => ins[0],
    }),
    print: |op| match op {
        Op::Softcap(cap) => cap.0.to_string(),
        _ => String::new(),
    },
    ..SCALE
};

pub(super) const REDUCE: Row = Row {
    name: "mean",
    shape: |_, ins| {
        arity(ins, 1, 1)?;
        last(&ins[0])?;
        let mut shape = ins[0].shape().to_vec();
        *shape.last_mut().ok_or("a tensor was expected")? = Dim::from(1);
        Ok(Type::Tensor(shape))
    },
    cost: |_, ins, out| super::Cost { flops: elems(&ins[0]), ..elementwise(ins, out, 0) },
    gradient: None,
    decompose: None,
    print: no_fields,
};
