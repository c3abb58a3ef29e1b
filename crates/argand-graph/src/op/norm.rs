//! Normalisation over the last dimension.

use super::{Binary, NormKind, Op, Reduce, Row, Unary, arity, elementwise, last, no_fields};
use crate::dim::Type;

pub(super) const NORM: Row = Row {
    name: "norm",
    shape: |op, ins| {
        arity(ins, 1, if matches!(op, Op::Norm { kind: NormKind::Layer, .. }) { 3 } else { 2 })?;
        let d = last(&ins[0])?;
        for (vector, what) in ins[1..].iter().zip(["weight", "bias"]) {
            if *vector != Type::Tensor(vec![d]) {
                return Err(format!("the {what} of a norm over {} must be [{d}], found {vector}", ins[0]));
            }
        }
        Ok(ins[0].clone())
    },
    cost: |_, ins, out| elementwise(ins, out, 4),
    gradient: None,
    decompose: Some(|op, ins| {
        let Op::Norm { kind, eps } = op else {
            return ins[0];
        };
        let x = match kind {
            NormKind::Rms => ins[0],
            NormKind::Layer => ins[0] + ins[0].reduce(Reduce::Mean).scale(-1.0),
        };
        let mean = x.binary(Binary::Mul, x).reduce(Reduce::Mean);
        let y = x.binary(Binary::Mul, mean.offset(eps.0).unary(Unary::Rsqrt));
        let y = ins.get(1).map_or(y, |w| y.binary(Binary::Mul, *w));
        ins.get(2).map_or(y, |b| y.binary(Binary::Add, *b))
    }),
    print: |op| match op {
        Op::Norm { kind, eps } => {
            format!("{}, eps {:e}", format!("{kind:?}").to_lowercase(), eps.0)
        }
        _ => String::new(),
    },
};

pub(super) const SOFTMAX: Row = Row {
    name: "softmax",
    shape: |_, ins| {
        arity(ins, 1, 1)?;
        last(&ins[0])?;
        Ok(ins[0].clone())
    },
    // An exponential stands for about ten operations; the largest, the sum and the division for three more.
    cost: |_, ins, out| elementwise(ins, out, 13),
    decompose: None,
    print: no_fields,
    ..NORM
};
