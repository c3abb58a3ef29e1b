//! Ops that read weight matrices: the only ones that meet coded weights.

use super::{Cost, Op, Row, arity, elementwise, elems, no_fields};
use crate::dim::{Dim, Type};
use crate::poly::Poly;

fn matrix(t: &Type) -> Result<(Dim, Dim), String> {
    match t.shape() {
        [rows, cols] => Ok((*rows, *cols)),
        _ => Err(format!("a matrix was expected, found {t}")),
    }
}

pub(super) const EMBED: Row = Row {
    name: "embed",
    shape: |_, ins| {
        arity(ins, 2, 2)?;
        let (_, d) = matrix(&ins[0])?;
        match ins[1] {
            Type::Index(n) => Ok(Type::Tensor(vec![n, d])),
            _ => Err(format!("indexes were expected, found {}", ins[1])),
        }
    },
    cost: |_, ins, out| Cost { activation_bytes: elems(out) * 4, table_rows: Some(elems(&ins[1])), ..Cost::default() },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Embed { first } if *first > 0 => format!("from row {first}"),
        _ => String::new(),
    },
};

pub(super) const LINEAR: Row = Row {
    name: "linear",
    shape: |_: &Op, ins| {
        arity(ins, 2, 3)?;
        let ((m, k), (o, wk)) = (matrix(&ins[0])?, matrix(&ins[1])?);
        if k != wk {
            return Err(format!("rows of {k} values meet a weight of shape {}", ins[1]));
        }
        if let Some(bias) = ins.get(2)
            && *bias != Type::Tensor(vec![o])
        {
            return Err(format!("the bias of a weight {} must be [{o}], found {bias}", ins[1]));
        }
        Ok(Type::Tensor(vec![m, o]))
    },
    cost: |_, ins, out| {
        let k = ins[0].shape().get(1).map_or(Poly::default(), |k| Poly::from(*k));
        let streamed = [ins[0].clone()];
        Cost { flops: &elems(out) * &(k * 2), ..elementwise(&streamed, out, 0) }
    },
    gradient: None,
    decompose: None,
    print: no_fields,
};
