//! What each opcode does to the machine. Opcodes that make objects of classes, that reach out of the pickle, or that only
//! protocol 0 has are refused by name.

use super::machine::{Fault, Machine, Step, Value, global, pairs};
use super::rebuild;

/// Newest protocol of Python.
const PROTOCOLS: std::ops::RangeInclusive<u64> = 2..=5;

impl Machine<'_> {
    /// Does the next opcode; returns the value that STOP ends with.
    pub(super) fn step(&mut self) -> Step<Option<Value>> {
        let opcode = self.byte()? as u8;
        match opcode {
            b'.' => return self.stop().map(Some),
            0x80 => {
                let protocol = self.byte()?;
                if !PROTOCOLS.contains(&protocol) {
                    return Err(Fault::Unsupported(format!("pickle protocol {protocol}")));
                }
            }
            0x95 => self.frame()?,
            b'(' | b'0' | b'1' | b'2' => self.arrange(opcode)?,
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(opcode)?,
            b'G' => self.push_skipped(8, "a number with a point")?,
            b'X' | b'T' | 0x8c | b'U' | 0x8d => self.string(opcode)?,
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = self.length(if opcode == b'C' {
                    1
                } else if opcode == b'B' {
                    4
                } else {
                    8
                })?;
                self.push_skipped(length, "bytes")?;
            }
            b')' | 0x85..=0x87 | b't' => self.tuple(opcode)?,
            b']' | b'l' | b'a' | b'e' => self.list(opcode)?,
            b'}' | b'd' | b's' | b'u' => self.dictionary(opcode)?,
            0x8f..=0x91 => self.set(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            b'c' | b'i' | 0x93 => self.global(opcode)?,
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = rebuild::call(self, callable, arguments)?;
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                rebuild::build(self.top()?, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = rebuild::persistent(self, id)?;
                self.push(storage);
            }
            b'o' => return unsupported("an object made by OBJ"),
            0x92 => return unsupported("an object made by NEWOBJ_EX"),
            0x82..=0x84 => return unsupported("the registry of extensions (EXT)"),
            0x97 | 0x98 => return unsupported("a buffer outside of the pickle"),
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'g' | b'p' => {
                return unsupported(&format!("opcode {:?} of pickle protocol 0", char::from(opcode)));
            }
            other => return Err(Fault::Wrong(format!("the byte {other:#04x}"), "an opcode of pickle")),
        }
        Ok(None)
    }

    /// MARK, POP, POP_MARK, DUP.
    fn arrange(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b'(' => self.mark(),
            b'0' if self.drop_mark() => {}
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_marked()?),
            _ => self.push(self.top()?),
        }
        Ok(())
    }

    /// BININT1, BININT2, BININT, LONG1, LONG4.
    fn integer(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b'K' | b'M' => {
                let value = self.length(if opcode == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(value as i64));
                Ok(())
            }
            b'J' => self.push_integer(4),
            _ => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                self.push_integer(length)
            }
        }
    }

    /// BINUNICODE, BINSTRING, SHORT_BINUNICODE, SHORT_BINSTRING, BINUNICODE8.
    fn string(&mut self, opcode: u8) -> Step<()> {
        let length = match opcode {
            b'X' | b'T' => self.length(4)?,
            0x8d => self.length(8)?,
            _ => self.length(1)?,
        };
        self.push_text(length, matches!(opcode, b'T' | b'U'))
    }

    /// EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE.
    fn tuple(&mut self, opcode: u8) -> Step<()> {
        let values = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_marked()?,
            _ => self.pop_some(usize::from(opcode - 0x84))?,
        };
        self.push_tuple(values);
        Ok(())
    }

    /// EMPTY_LIST, LIST, APPEND, APPENDS.
    fn list(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b']' => self.push_list(Vec::new()),
            b'l' => {
                let values = self.pop_marked()?;
                self.push_list(values);
            }
            b'a' => {
                let values = self.pop_some(1)?;
                self.append(values)?;
            }
            _ => {
                let values = self.pop_marked()?;
                self.append(values)?;
            }
        }
        Ok(())
    }

    /// EMPTY_DICT, DICT, SETITEM, SETITEMS.
    fn dictionary(&mut self, opcode: u8) -> Step<()> {
        let values = match opcode {
            b'}' => Vec::new(),
            b's' => self.pop_some(2)?,
            _ => self.pop_marked()?,
        };
        if matches!(opcode, b's' | b'u') {
            return self.set_items(values);
        }
        let dict = self.new_dict(pairs(values)?);
        self.push(dict);
        Ok(())
    }

    /// EMPTY_SET, ADDITEMS, FROZENSET: sets hold no weights, so what is in them is dropped.
    fn set(&mut self, opcode: u8) -> Step<()> {
        if opcode != 0x8f {
            drop(self.pop_marked()?);
        }
        match opcode {
            0x90 => drop(self.top()?),
            _ => self.push(Value::Opaque("a set")),
        }
        Ok(())
    }

    /// BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET.
    fn memo(&mut self, opcode: u8) -> Step<()> {
        if opcode == 0x94 {
            return self.memoize();
        }
        let index = if matches!(opcode, b'q' | b'h') { self.byte()? } else { self.word()? };
        if matches!(opcode, b'q' | b'r') { self.remember(index) } else { self.recall(index) }
    }

    /// GLOBAL, INST, STACK_GLOBAL. INST would make an object at once; its class is looked up only to be named.
    fn global(&mut self, opcode: u8) -> Step<()> {
        if opcode == 0x93 {
            let (name, module) = (self.pop()?, self.pop()?);
            let (Some(module), Some(name)) = (self.text(module), self.text(name)) else {
                let found = format!("{} and {}", module.kind(), name.kind());
                return Err(Fault::Wrong(found, "the texts of a module and of a name"));
            };
            self.push(global(module.as_bytes(), name.as_bytes())?);
            return Ok(());
        }
        let found = global(self.line()?, self.line()?)?;
        if opcode == b'i' {
            return unsupported("an object made by INST").map(drop);
        }
        self.push(found);
        Ok(())
    }
}

fn unsupported(found: &str) -> Step<Option<Value>> {
    Err(Fault::Unsupported(found.to_owned()))
}
