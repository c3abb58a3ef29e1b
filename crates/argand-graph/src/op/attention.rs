//! Attention over a paged cache, and the versions of that cache.

use super::{AttentionSpec, Cost, KvSpec, Mask, Op, Row, ScoreBias, arity, elems, free};
use crate::dim::{Dim, Sym, Type};
use crate::poly::Poly;

pub(super) const STATE: Row = Row {
    name: "state",
    shape: |_, ins| arity(ins, 0, 0).map(|()| Type::State),
    cost: free,
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::State(kv) => print_kv(kv),
        _ => String::new(),
    },
};

fn print_kv(kv: &KvSpec) -> String {
    let window = kv.window.map_or(String::new(), |w| format!(", window {w}"));
    let memory = if kv.memory { ", memory" } else { "" };
    format!("{} x {}+{}{window}{memory}", kv.heads, kv.dim_k, kv.dim_v)
}

fn heads_are(t: &Type, heads: usize, dim: usize) -> Result<Dim, String> {
    match t.shape() {
        [n, h, d] if h.known() == Some(heads) && d.known() == Some(dim) => Ok(*n),
        _ => Err(format!("[_, {heads}, {dim}] was expected, found {t}")),
    }
}

pub(super) const WRITE: Row = Row {
    name: "write",
    shape: |op, ins| {
        arity(ins, 3, 3)?;
        let Op::Write(kv) = op else {
            return Err("not a write".into());
        };
        heads_are(&ins[1], kv.heads, kv.dim_k)?;
        heads_are(&ins[2], kv.heads, kv.dim_v)?;
        match ins[0] {
            Type::State => Ok(Type::State),
            _ => Err(format!("a state was expected, found {}", ins[0])),
        }
    },
    cost: |_, ins, _| {
        let written = elems(&ins[1]) + elems(&ins[2]);
        Cost { activation_bytes: written.clone() * 4, state_elems: written, ..Cost::default() }
    },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Write(kv) => print_kv(kv),
        _ => String::new(),
    },
};

pub(super) const ATTENTION: Row = Row {
    name: "attention",
    shape: |op, ins| {
        let Op::Attention(AttentionSpec { heads, kv, bias, sinks, mask, .. }) = op else {
            return Err("not an attention".into());
        };
        let mut vectors: Vec<(&str, Type)> = Vec::new();
        let heads_dim = Dim::from(*heads);
        vectors.extend(sinks.then(|| ("sinks", Type::Tensor(vec![heads_dim]))));
        match bias {
            Some(ScoreBias::Slopes(slopes)) if slopes.len() != *heads => {
                return Err(format!("{} slopes for {heads} heads", slopes.len()));
            }
            Some(ScoreBias::Buckets(b)) => vectors.push(("bias table", Type::Tensor(vec![b.count.into(), heads_dim]))),
            _ => {}
        }
        arity(ins, 2 + vectors.len(), 2 + vectors.len())?;
        for ((what, expected), found) in vectors.iter().zip(&ins[2..]) {
            if found != expected {
                return Err(format!("the {what} of {heads} heads must be {expected}, found {found}"));
            }
        }
        if kv.memory && (*mask != Mask::Full || kv.window.is_some() || bias.is_some()) {
            return Err("tokens of a memory have no distance from the row: all are seen, without a bias".into());
        }
        let n = heads_are(&ins[0], *heads, kv.dim_k)?;
        if kv.heads == 0 || heads % kv.heads != 0 {
            return Err(format!("{heads} query heads are no multiple of {} key heads", kv.heads));
        }
        match ins[1] {
            Type::State => Ok(Type::Tensor(vec![n, Dim::from(*heads), Dim::from(kv.dim_v)])),
            _ => Err(format!("a state was expected, found {}", ins[1])),
        }
    },
    cost: |op, ins, out| {
        let Op::Attention(spec) = op else {
            return Cost::default();
        };
        let n = ins[0].rows().map_or(Poly::default(), Poly::from);
        let seen = &n * &Poly::from(Sym::S);
        let per_token = spec.kv.dim_k + spec.kv.dim_v;
        Cost {
            // Two products per key and head, and about ten operations for its weight in the softmax.
            flops: seen.clone() * (spec.heads * (2 * per_token + 10)),
            activation_bytes: (elems(&ins[0]) + elems(out)) * 4,
            state_elems: seen * (spec.kv.heads * per_token),
            table_rows: None,
        }
    },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Attention(s) => {
            let cap = s.softcap.map_or(String::new(), |c| format!(", softcap {}", c.0));
            let window = s.kv.window.map_or(String::new(), |w| format!(", window {w}"));
            let mask = match s.mask {
                _ if s.kv.memory => ", memory",
                Mask::Full => ", both ways",
                Mask::Causal => "",
            };
            let bias = match &s.bias {
                None => String::new(),
                Some(ScoreBias::Slopes(_)) => ", alibi".into(),
                Some(ScoreBias::Buckets(b)) => format!(", bias of {} distances", b.count),
            };
            let sinks = if s.sinks { ", sinks" } else { "" };
            let scale = s.scale.0;
            format!("{} heads over {}, scale {scale:.4}{cap}{mask}{window}{bias}{sinks}", s.heads, s.kv.heads)
        }
        _ => String::new(),
    },
};
