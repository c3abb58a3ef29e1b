//! Mixtures of experts, and products with a weight of their own for each slot of a row.

use super::{Cost, F, Op, Row, arity, elementwise, elems};
use crate::dim::{Dim, Type};
use crate::poly::Poly;

/// What the logits of a router become before the best are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// `1 / (1 + e^-x)`, each for itself.
    Sigmoid,
}

/// Experts that stand in groups of equal size, of which only the best are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Groups {
    /// How many groups.
    pub count: usize,
    /// How many of them are looked at.
    pub kept: usize,
    /// How many of a group's best scores add up to its own.
    pub best: usize,
}

/// Which experts a row meets, and with what weights (Shazeer et al. 2017; groups and correction: DeepSeek-AI 2024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Routing {
    /// How many experts each row meets.
    pub chosen: usize,
    /// From logits to scores.
    pub score: Score,
    /// Groups of experts, if they stand in any.
    pub groups: Option<Groups>,
    /// Whether the weights of a row are divided by their sum.
    pub normalised: bool,
    /// Factor of the weights.
    pub scale: F,
}

pub(super) const ROUTE: Row = Row {
    name: "route",
    shape: |op, ins| {
        arity(ins, 1, 2)?;
        let Op::Route(r) = op else {
            return Err("not a route".into());
        };
        let experts = match ins[0].shape() {
            [_, e] => e.known().unwrap_or(0),
            _ => return Err(format!("a logit for each expert was expected, found {}", ins[0])),
        };
        if let Some(correction) = ins.get(1)
            && *correction != Type::Tensor(vec![experts.into()])
        {
            return Err(format!("the correction of {experts} experts must be [{experts}], found {correction}"));
        }
        if r.chosen == 0 || r.chosen > experts {
            return Err(format!("{} of {experts} experts are to be chosen", r.chosen));
        }
        match r.groups {
            Some(g) if g.count == 0 || experts % g.count != 0 || g.kept == 0 || g.kept > g.count => {
                Err(format!("{} of {} groups of {experts} experts are to be kept", g.kept, g.count))
            }
            Some(g) if g.kept * (experts / g.count) < r.chosen => {
                Err(format!("{} groups of {} experts are too few to choose {}", g.kept, experts / g.count, r.chosen))
            }
            _ => Ok(ins[0].clone()),
        }
    },
    // An exponential stands for about ten operations; each choice looks at all.
    cost: |op, ins, out| elementwise(&ins[..1], out, 10 + if let Op::Route(r) = op { r.chosen } else { 0 }),
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Route(r) => {
            let score = format!("{:?}", r.score).to_lowercase();
            let groups = r.groups.map_or(String::new(), |g| format!(", {} of {} groups", g.kept, g.count));
            let normalised = if r.normalised { ", normalised" } else { "" };
            let scale = if r.scale.0 == 1.0 { String::new() } else { format!(", times {}", r.scale.0) };
            format!("{} by {score}{groups}{normalised}{scale}", r.chosen)
        }
        _ => String::new(),
    },
};

/// The slots that a row of `x` meets, and the length of what each weight sees.
fn seen(slots: usize, x: &Type) -> Result<(Dim, usize), String> {
    match x.shape() {
        [n, k] => Ok((*n, k.known().unwrap_or(0))),
        [n, s, k] if s.known() == Some(slots) => Ok((*n, k.known().unwrap_or(0))),
        _ => Err(format!("rows, or rows of {slots} slots, were expected, found {x}")),
    }
}

pub(super) const GROUPED_LINEAR: Row = Row {
    name: "grouped_linear",
    shape: |op, ins| {
        let Op::GroupedLinear { slots, routed } = op else {
            return Err("not a grouped product".into());
        };
        let fixed = 2 + usize::from(*routed);
        arity(ins, fixed, fixed + 1)?;
        let (n, k) = seen(*slots, &ins[0])?;
        let (e, o) = match ins[1].shape() {
            [e, o, wk] if wk.known() == Some(k) => (*e, *o),
            _ => return Err(format!("slots of {k} values meet weights of shape {}", ins[1])),
        };
        if *routed && ins[2] != Type::Tensor(vec![n, e]) {
            return Err(format!("a weight for each of {e} experts was expected, found {}", ins[2]));
        }
        if !*routed && e.known() != Some(*slots) {
            return Err(format!("{slots} slots meet {e} weights"));
        }
        match ins.get(fixed) {
            Some(bias) if *bias != Type::Tensor(vec![e, o]) => {
                Err(format!("the biases of weights {} must be [{e}, {o}], found {bias}", ins[1]))
            }
            _ => Ok(Type::Tensor(vec![n, Dim::from(*slots), o])),
        }
    },
    cost: |op, ins, out| {
        let k = ins[0].shape().last().map_or(Poly::default(), |k| Poly::from(*k));
        let rows = ins[0].rows().map_or(Poly::default(), Poly::from);
        // Each slot of each row reads one weight of the stack, in the worst case another one.
        let table_rows = match op {
            Op::GroupedLinear { slots, routed: true } => Some(rows * *slots),
            _ => None,
        };
        Cost { flops: &elems(out) * &(k * 2), table_rows, ..elementwise(&ins[..1], out, 0) }
    },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::GroupedLinear { slots, routed } => format!("{slots} slots{}", if *routed { ", routed" } else { "" }),
        _ => String::new(),
    },
};

pub(super) const COMBINE: Row = Row {
    name: "combine",
    shape: |_, ins| {
        arity(ins, 2, 2)?;
        match (ins[0].shape(), ins[1].shape()) {
            ([n, _, d], [m, _]) if n == m => Ok(Type::Tensor(vec![*n, *d])),
            _ => Err(format!("slots of rows and weights of experts were expected, found {} and {}", ins[0], ins[1])),
        }
    },
    cost: |_, ins, out| Cost { flops: elems(&ins[0]) * 2, ..elementwise(ins, out, 0) },
    print: super::no_fields,
    ..GROUPED_LINEAR
};
