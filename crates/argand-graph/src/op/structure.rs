//! Sources, views and repetition.

use super::{BatchInput, Cost, Op, Pool, Row, arity, elems, free, last, no_fields};
use crate::dim::{Dim, Sym, Type};

/// A row for what has no input and whose type the builder gives.
const SOURCE: Row = Row {
    name: "source",
    shape: |_, _| Err("the builder gives the type of a source".into()),
    cost: free,
    gradient: None,
    decompose: None,
    print: no_fields,
};

pub(super) const INPUT: Row = Row {
    name: "input",
    shape: |op, ins| {
        arity(ins, 0, 0)?;
        match op {
            Op::Input(BatchInput::LogitRows) => Ok(Type::Index(Sym::R.into())),
            _ => Ok(Type::Index(Sym::N.into())),
        }
    },
    print: |op| match op {
        Op::Input(input) => format!("{input:?}").to_lowercase(),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const GIVEN: Row = Row {
    name: "given",
    shape: |op, ins| {
        arity(ins, 0, 0)?;
        match op {
            Op::Given { rows, len, .. } => Ok(Type::Tensor(vec![*rows, Dim::from(*len)])),
            _ => Err("nothing is given".into()),
        }
    },
    print: |op| match op {
        Op::Given { name, .. } => name.clone(),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const CARRY: Row = Row { name: "carry", ..SOURCE };

pub(super) const WEIGHT: Row = Row {
    name: "weight",
    print: |op| match op {
        Op::Weight { name } => name.clone(),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const HEADS: Row = Row {
    name: "heads",
    shape: |op, ins| {
        arity(ins, 1, 1)?;
        let Op::Heads(heads) = op else {
            return Err("not heads".into());
        };
        match (ins[0].shape(), ins[0].row_len()) {
            ([m, _], Some(len)) if *heads > 0 && len % heads == 0 => {
                Ok(Type::Tensor(vec![*m, Dim::from(*heads), Dim::from(len / heads)]))
            }
            _ => Err(format!("{} cannot be cut into {heads} heads", ins[0])),
        }
    },
    print: |op| match op {
        Op::Heads(h) => h.to_string(),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const MERGE: Row = Row {
    name: "merge",
    shape: |_, ins| {
        arity(ins, 1, 1)?;
        match (ins[0].rows(), ins[0].row_len()) {
            (Some(m), Some(len)) => Ok(Type::Tensor(vec![m, Dim::from(len)])),
            _ => Err(format!("heads were expected, found {}", ins[0])),
        }
    },
    ..SOURCE
};

pub(super) const SLICE: Row = Row {
    name: "slice",
    shape: |op, ins| {
        arity(ins, 1, 1)?;
        let Op::Slice { from, len } = op else {
            return Err("not a slice".into());
        };
        let mut shape = ins[0].shape().to_vec();
        match shape.last_mut() {
            Some(d) if *len > 0 && d.known().is_some_and(|d| from + len <= d) => *d = Dim::from(*len),
            _ => return Err(format!("values {from} to {} of {}", from + len, ins[0])),
        }
        Ok(Type::Tensor(shape))
    },
    cost: |_, _, out| Cost { activation_bytes: elems(out) * 8, ..Cost::default() },
    print: |op| match op {
        Op::Slice { from, len } => format!("{from}..{}", from + len),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const CONCAT: Row = Row {
    name: "concat",
    shape: |_, ins| {
        arity(ins, 2, 2)?;
        let (a, b) = (ins[0].shape(), ins[1].shape());
        match (a.split_last(), b.split_last()) {
            (Some((d, a)), Some((e, b))) if a == b => Ok(Type::Tensor([a, &[*d + *e]].concat())),
            _ => Err(format!("{} and {} cannot be joined", ins[0], ins[1])),
        }
    },
    print: no_fields,
    ..SLICE
};

pub(super) const GATHER_ROWS: Row = Row {
    name: "gather_rows",
    shape: |op, ins| {
        arity(ins, 2, 2)?;
        let Op::GatherRows { behind } = op else {
            return Err("no rows are wanted".into());
        };
        match (ins[0].shape(), &ins[1]) {
            ([_, d], Type::Index(r)) if !behind.is_empty() => Ok(Type::Tensor(vec![*r, *d * behind.len()])),
            (_, other) => Err(format!("rows {behind:?} behind others of {} by {other}", ins[0])),
        }
    },
    cost: |_, _, out| Cost { activation_bytes: elems(out) * 8, ..Cost::default() },
    print: |op| match op {
        Op::GatherRows { behind } if *behind != [0] => format!("{behind:?} behind"),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const PLACE: Row = Row {
    name: "place",
    shape: |_, ins| {
        arity(ins, 2, 3)?;
        let (rows, Type::Index(n)) = (&ins[0], &ins[1]) else {
            return Err(format!("the places of tokens were expected, found {}", ins[1]));
        };
        let placed = Type::Tensor(vec![*n, last(rows)?]);
        match ins.get(2) {
            // Rows of tokens may not be made yet when another token takes them.
            _ if rows.shape().len() != 2 || rows.rows() == Some(*n) => Err(format!("{rows} are no rows of pictures")),
            Some(x) if *x != placed => Err(format!("{rows} do not fit in {x}")),
            _ => Ok(placed),
        }
    },
    cost: |_, _, out| Cost { activation_bytes: elems(out) * 8, ..Cost::default() },
    ..SOURCE
};

pub(super) const POOL: Row = Row {
    name: "pool",
    shape: |_, ins| {
        arity(ins, 1, 1)?;
        match ins[0].shape() {
            [n, d] if *n == Sym::N.into() || n.of_each(Sym::B).is_some() => Ok(Type::Tensor(vec![Sym::B.into(), *d])),
            _ => Err(format!("rows of sequences or pictures were expected, found {}", ins[0])),
        }
    },
    cost: |op, ins, out| {
        let all = matches!(op, Op::Pool(Pool::Mean | Pool::Max));
        let flops = if all { elems(&ins[0]) } else { Default::default() };
        let read = if all { elems(&ins[0]) } else { elems(out) };
        Cost { flops, activation_bytes: (read + elems(out)) * 4, ..Cost::default() }
    },
    print: |op| match op {
        Op::Pool(pool) => format!("{pool:?}").to_lowercase(),
        _ => String::new(),
    },
    ..SOURCE
};

pub(super) const REPEAT: Row = Row {
    name: "repeat",
    shape: |_, ins| {
        arity(ins, 1, 1)?;
        Ok(ins[0].clone())
    },
    print: |op| match op {
        Op::Repeat { prefix, bodies, order } => format!("{prefix}, {} times, {} bodies", order.len(), bodies.len()),
        _ => String::new(),
    },
    ..SOURCE
};
