//! Recurrences over the rows of a sequence.

use super::{Cost, Op, Row, arity, elems, free};
use crate::dim::{Dim, Sym, Type};

/// What makes the next state of the last one and a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000); its state is the
    /// output and behind it the cell.
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014). `reset_after`: the reset gate acts on the recurrent product, not on the state that
    /// goes into it.
    Gru {
        /// As PyTorch has it, and ONNX with `linear_before_reset`.
        reset_after: bool,
    },
}

/// In which order the gates of a cell lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateOrder {
    /// Input, forget, cell, output; reset, update, new.
    Torch,
    /// Input, output, forget, cell; update, reset, new.
    Onnx,
}

/// A recurrent network of one layer in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    /// The cell.
    pub cell: Cell,
    /// Order of its gates.
    pub order: GateOrder,
    /// Values of its output.
    pub hidden: usize,
    /// Whether it goes from the last row to the first.
    pub reverse: bool,
    /// Whether a bias is added to the recurrent product.
    pub bias: bool,
    /// Whether the step brings in the first state; without, it is zeros.
    pub start: bool,
}

impl Scan {
    /// How many gates the cell has.
    pub fn gates(&self) -> usize {
        match self.cell {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
        }
    }

    /// Values of the state.
    pub fn state(&self) -> usize {
        match self.cell {
            Cell::Lstm => 2 * self.hidden,
            Cell::Gru { .. } => self.hidden,
        }
    }

    /// Where the gates lie: input, forget, cell and output, or reset, update and new.
    pub fn places(&self) -> [usize; 4] {
        match (self.cell, self.order) {
            (_, GateOrder::Torch) => [0, 1, 2, 3],
            (Cell::Lstm, GateOrder::Onnx) => [0, 2, 3, 1],
            (Cell::Gru { .. }, GateOrder::Onnx) => [1, 0, 2, 3],
        }
    }
}

pub(super) const SCAN: Row = Row {
    name: "scan",
    shape: |op, ins| {
        let Op::Scan(scan) = op else {
            return Err("not a scan".into());
        };
        let count = 2 + usize::from(scan.bias) + usize::from(scan.start);
        arity(ins, count, count)?;
        let (h, gates) = (scan.hidden, Dim::from(scan.hidden * scan.gates()));
        let rows = match ins[0].shape() {
            [rows, width] if *width == gates && h > 0 => *rows,
            _ => return Err(format!("{} gates of {h} values were expected, found {}", scan.gates(), ins[0])),
        };
        let fits = |i: usize, shape: &[Dim]| match ins[i].shape() == shape {
            true => Ok(()),
            false => Err(format!("input {i} is {}, {} expected", ins[i], Type::Tensor(shape.to_vec()))),
        };
        fits(1, &[gates, Dim::from(h)])?;
        if scan.bias {
            fits(2, &[gates])?;
        }
        if scan.start {
            fits(count - 1, &[Sym::B.into(), Dim::from(scan.state())])?;
        }
        Ok(Type::Tensor(vec![rows, Dim::from(scan.state())]))
    },
    cost: |op, ins, out| match op {
        Op::Scan(scan) => {
            // A gate is an exponential, a division and what it multiplies.
            let flops = elems(&ins[0]) * (2 * scan.hidden + 12);
            Cost { flops, activation_bytes: (elems(&ins[0]) + elems(out)) * 4, ..Cost::default() }
        }
        _ => free(op, ins, out),
    },
    gradient: None,
    decompose: None,
    print: |op| match op {
        Op::Scan(scan) => {
            let cell = match scan.cell {
                Cell::Lstm => "lstm",
                Cell::Gru { reset_after: true } => "gru",
                Cell::Gru { reset_after: false } => "gru, reset first",
            };
            format!("{cell}, {}{}", scan.hidden, if scan.reverse { ", reversed" } else { "" })
        }
        _ => String::new(),
    },
};
