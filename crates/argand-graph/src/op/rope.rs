//! Rotary position embedding.

use super::{Op, Row, arity, elementwise};

pub(super) const ROPE: Row = Row {
    name: "rope",
    shape: |op, ins| {
        arity(ins, 2, 2)?;
        let Op::Rope(rope) = op else {
            return Err("not a rope".into());
        };
        let turning: usize = rope.sections.iter().sum();
        if !rope.sections.is_empty() && (rope.sections.len() > 3 || turning != rope.freqs.inv_freq.len()) {
            return Err(format!(
                "sections {:?} of {} pairs by 3 coordinates",
                rope.sections,
                rope.freqs.inv_freq.len()
            ));
        }
        match ins[0].shape() {
            [_, _, d] if d.known().is_some_and(|d| rope.rot() <= d) => Ok(ins[0].clone()),
            _ => Err(format!("{} components are to turn in {}", rope.rot(), ins[0])),
        }
    },
    cost: |_, ins, out| elementwise(&ins[..1], out, 3),
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Rope(rope) => {
            let sections = if rope.sections.is_empty() { String::new() } else { format!(", {:?}", rope.sections) };
            format!("{}, {} components{sections}", format!("{:?}", rope.style).to_lowercase(), rope.rot())
        }
        _ => String::new(),
    },
};
