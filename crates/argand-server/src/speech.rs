//! What a model says, taken apart while it is being said: thoughts, text, calls of tools.
//!
//! What could be the beginning of a marker is held back until that is known, so nothing that was handed out has ever to be
//! taken back; the parts do not depend on how the text was cut into pieces.

use crate::tools::{Call, Dialect};

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// What the model thought before it answered.
    Thought(String),
    /// The answer.
    Text(String),
    /// A call of a tool, whole.
    Call(Call),
}

/// Where the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks has been said.
    Start,
    Thinking,
    /// Thoughts have ended, and blanks may follow before the answer.
    Thought,
    Speaking,
    Calling,
}

const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// The state of one answer.
#[derive(Clone, Debug)]
pub struct Speech {
    place: Place,
    held: String,
    dialect: Option<Dialect>,
    /// Whether a call has been made, so that blanks between calls are no text.
    called: bool,
}

impl Speech {
    /// An answer that begins. `thinking` says that the prompt has opened the thoughts already; `dialect` is how calls are
    /// written, where there are tools.
    pub fn new(thinking: bool, dialect: Option<Dialect>) -> Self {
        let place = if thinking { Place::Thinking } else { Place::Start };
        Speech { place, held: String::new(), dialect, called: false }
    }

    /// Text in which nothing has a meaning of its own.
    pub fn plain() -> Self {
        Speech { place: Place::Speaking, held: String::new(), dialect: None, called: false }
    }

    /// Whether what comes now are thoughts.
    pub fn is_thinking(&self) -> bool {
        self.place == Place::Thinking
    }

    /// Takes more of it, and gives out what is certain.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    /// The end: gives out what was held back.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        let rest = std::mem::take(&mut self.held);
        match self.place {
            Place::Start | Place::Thought if rest.trim().is_empty() => {}
            Place::Thinking => say(&mut parts, Part::Thought(rest)),
            Place::Calling => match self.dialect.and_then(|dialect| dialect.calls(&rest)) {
                Some(calls) => parts.extend(calls.into_iter().map(Part::Call)),
                // It was cut, or was no call after all.
                None => say(&mut parts, Part::Text(self.dialect.map_or("", Dialect::open).to_string() + &rest)),
            },
            Place::Speaking if self.called && rest.trim().is_empty() => {}
            Place::Start | Place::Thought | Place::Speaking => say(&mut parts, Part::Text(rest)),
        }
        parts
    }

    /// Goes on to the next place, if what is held says which. False when more has to be known.
    fn advance(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.place {
            Place::Start | Place::Thought => {
                let begun = self.held.trim_start();
                if begun.is_empty() {
                    return false;
                }
                if self.place == Place::Start && THINK.starts_with(begun) && begun != THINK {
                    return false;
                }
                if self.place == Place::Start && begun.starts_with(THINK) {
                    self.held = begun[THINK.len()..].to_string();
                    self.place = Place::Thinking;
                    return true;
                }
                if let Some(open) = self.dialect.filter(|d| d.is_bare()).map(Dialect::open) {
                    if open.starts_with(begun) && begun != open {
                        return false;
                    }
                    if let Some(rest) = begun.strip_prefix(open) {
                        // A bare call is all of its own text.
                        self.held = rest.to_string();
                        self.place = Place::Calling;
                        return false;
                    }
                }
                if self.place == Place::Thought {
                    self.held = begun.to_string();
                }
                self.place = Place::Speaking;
                true
            }
            Place::Thinking => {
                let (certain, found) = before(&self.held, THOUGHT);
                say(parts, Part::Thought(self.held[..certain].to_string()));
                self.held.drain(..certain + if found { THOUGHT.len() } else { 0 });
                if found {
                    self.place = Place::Thought;
                }
                found
            }
            Place::Speaking => {
                let open = self.dialect.filter(|d| !d.is_bare()).map(Dialect::open);
                let (certain, found) = open.map_or((self.held.len(), false), |open| before(&self.held, open));
                let text = &self.held[..certain];
                // Blanks around calls belong to their writing.
                let blank = (self.called || found) && text.trim().is_empty();
                if blank && !found {
                    return false;
                }
                if !blank {
                    say(parts, Part::Text(text.to_string()));
                }
                self.held.drain(..certain + if found { open.map_or(0, str::len) } else { 0 });
                if found {
                    self.place = Place::Calling;
                }
                found
            }
            Place::Calling => {
                let Some(dialect) = self.dialect else { return false };
                let Some(close) = dialect.close() else { return false };
                let Some(end) = self.held.find(close) else { return false };
                let inside = self.held[..end].to_string();
                self.held.drain(..end + close.len());
                match dialect.calls(&inside) {
                    Some(calls) => {
                        self.called = true;
                        parts.extend(calls.into_iter().map(Part::Call));
                    }
                    None => say(parts, Part::Text(format!("{}{inside}{close}", dialect.open()))),
                }
                self.place = Place::Speaking;
                true
            }
        }
    }
}

/// How much of the text is certainly before the marker, and whether the marker follows.
fn before(text: &str, marker: &str) -> (usize, bool) {
    if let Some(at) = text.find(marker) {
        return (at, true);
    }
    let possible = |at: &usize| text.is_char_boundary(*at) && marker.starts_with(&text[*at..]);
    let from = text.len().saturating_sub(marker.len() - 1);
    ((from..text.len()).find(possible).unwrap_or(text.len()), false)
}

fn say(parts: &mut Vec<Part>, part: Part) {
    match (&part, parts.last_mut()) {
        (Part::Text(text) | Part::Thought(text), _) if text.is_empty() => {}
        (Part::Text(text), Some(Part::Text(last))) | (Part::Thought(text), Some(Part::Thought(last))) => {
            last.push_str(text)
        }
        _ => parts.push(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Joins pieces, so that cuts do not matter.
    fn heard(text: &str, size: usize, thinking: bool, dialect: Option<Dialect>) -> Vec<Part> {
        let mut speech = Speech::new(thinking, dialect);
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        for piece in chars.chunks(size) {
            for part in speech.push(&piece.iter().collect::<String>()) {
                say(&mut parts, part);
            }
        }
        for part in speech.finish() {
            say(&mut parts, part);
        }
        parts
    }

    fn call(name: &str, arguments: serde_json::Value) -> Part {
        Part::Call(Call { name: name.into(), arguments: arguments.to_string() })
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn parts_do_not_depend_on_how_the_text_was_cut() {
        let cases = [
            ("Hello, world", false, None, vec![text("Hello, world")]),
            ("  indented", false, None, vec![text("  indented")]),
            ("<think>Hm.\n</think>\n\nYes.", false, None, vec![Part::Thought("Hm.\n".into()), text("Yes.")]),
            ("Hm.</think>Yes", true, None, vec![Part::Thought("Hm.".into()), text("Yes")]),
            ("never ends", true, None, vec![Part::Thought("never ends".into())]),
            ("a <think> b", false, None, vec![text("a <think> b")]),
            (
                "Let me look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>\n",
                false,
                Some(Dialect::Hermes),
                vec![text("Let me look.\n"), call("f", json!({"x": 1})), call("g", json!({}))],
            ),
            (
                "<tool_call>no json</tool_call>",
                false,
                Some(Dialect::Hermes),
                vec![text("<tool_call>no json</tool_call>")],
            ),
            ("<tool_call>{\"name\": \"f\"", false, Some(Dialect::Hermes), vec![text("<tool_call>{\"name\": \"f\"")]),
            ("a < b <tool", false, Some(Dialect::Hermes), vec![text("a < b <tool")]),
            (
                "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"y\": \"]\"}}]",
                false,
                Some(Dialect::Mistral),
                vec![call("f", json!({"y": "]"}))],
            ),
            (
                "{\"name\": \"f\", \"parameters\": {\"x\": 1}}",
                false,
                Some(Dialect::Llama),
                vec![call("f", json!({"x": 1}))],
            ),
            (
                "{\"name\": \"f\", \"parameters\": {\"x\": \"; \"}}; {\"name\": \"g\", \"parameters\": {}}",
                false,
                Some(Dialect::Llama),
                vec![call("f", json!({"x": "; "})), call("g", json!({}))],
            ),
            ("{\"other\": 1}", false, Some(Dialect::Llama), vec![text("{\"other\": 1}")]),
        ];
        for (said, thinking, dialect, expected) in cases {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(heard(said, size, thinking, dialect), expected, "{said:?} in pieces of {size}");
            }
        }
    }
}
