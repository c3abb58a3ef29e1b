//! Normalisation over the last dimension.

use super::{Binary, Op, Reduce, Row, Unary, arity, elementwise, last};
use crate::dim::Type;

pub(super) const NORM: Row = Row {
    name: "norm",
    axes: "*d,d->*d",
    shape: |_, ins| {
        arity(ins, 1, 2)?;
        let d = last(&ins[0])?;
        if let Some(w) = ins.get(1)
            && *w != Type::Tensor(vec![d])
        {
            return Err(format!("the weight of a norm over {} must be [{d}], found {w}", ins[0]));
        }
        Ok(ins[0].clone())
    },
    cost: |_, ins, out| elementwise(ins, out, 4),
    gradient: None,
    decompose: Some(|op, ins| {
        let Op::Norm { eps, .. } = op else {
            return ins[0];
        };
        let x = ins[0];
        let mean = x.binary(Binary::Mul, x).reduce(Reduce::Mean);
        let y = x.binary(Binary::Mul, mean.offset(eps.0).unary(Unary::Rsqrt));
        ins.get(1).map_or(y, |w| y.binary(Binary::Mul, *w))
    }),
    in_place: Some(0),
    print: |op| match op {
        Op::Norm { kind, eps } => {
            format!("{}, eps {:e}", format!("{kind:?}").to_lowercase(), eps.0)
        }
        _ => String::new(),
    },
};
