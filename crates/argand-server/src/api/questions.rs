//! What `/v1/decisions` is asked: an input, and questions about it with the answers that each may have.

use super::asking::text_of;
use crate::error::ApiError;
use crate::fields::{Fields, name_of};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Most questions of a request.
const MOST_QUESTIONS: usize = 400;
/// Fewest and most options of a question.
const OPTIONS: std::ops::RangeInclusive<usize> = 2..=255;
/// Levels of a part of JSON.
const JSON_DEPTH: usize = 32;
/// Bytes of a part of JSON.
const JSON_BYTES: usize = 256 << 10;

/// What kind of answer a question has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How likely a statement is true.
    Predicate,
    /// One of several values.
    Choice,
    /// A place on a scale.
    Score,
}

/// One of the answers that a question may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it is: a string or a boolean.
    pub value: Json,
    /// What it means, where that is said.
    description: Option<String>,
}

impl Choice {
    fn new(value: Json, description: Option<String>) -> Self {
        Choice { value, description }
    }

    /// The value as a word, without its type.
    pub fn word(&self) -> String {
        self.value.as_str().map_or_else(|| self.value.to_string(), str::to_string)
    }
}

/// A question about the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the client calls it.
    pub name: Option<String>,
    /// What kind of answer it has.
    pub kind: Kind,
    instructions: String,
    /// All answers; of a predicate yes and no, of a score the levels from the lowest to the highest.
    pub choices: Vec<Choice>,
}

impl Question {
    /// Reads all questions of a request.
    ///
    /// # Errors
    /// One is malformed; names its place.
    pub fn read_all(list: Vec<Json>) -> Result<Vec<Question>, ApiError> {
        if !(1..=MOST_QUESTIONS).contains(&list.len()) {
            let message = format!("questions has {} of them, expected 1 to {MOST_QUESTIONS}", list.len());
            return Err(ApiError::field("questions", message));
        }
        list.into_iter().enumerate().map(|(i, one)| Question::read(one, &format!("questions[{i}]"))).collect()
    }

    fn read(value: Json, path: &str) -> Result<Question, ApiError> {
        let mut fields = Fields::of(value, path)?;
        let kind: String = fields.need("type")?;
        let name = fields.take("name")?;
        let instructions = content(fields.need("instructions")?, &fields.name("instructions"))?;
        let (kind, choices) = match kind.as_str() {
            "predicate" => (Kind::Predicate, ["Yes", "No"].map(|word| Choice::new(word.into(), None)).to_vec()),
            "choice" => (Kind::Choice, choices(&mut fields, "choices", "value")?),
            "score" => (Kind::Score, choices(&mut fields, "levels", "label")?),
            other => {
                let at = fields.name("type");
                let message = format!("{at} is {other:?}, expected predicate, choice or score");
                return Err(ApiError::field(&at, message));
            }
        };
        fields.done()?;
        Ok(Question { name, kind, instructions, choices })
    }

    /// How a model writes an answer. Values are JSON, so that none is the beginning of another, and a string is told from a boolean.
    pub fn written(&self, choice: &Choice) -> String {
        if self.kind == Kind::Predicate { choice.word() } else { choice.value.to_string() }
    }

    /// The question behind an input, which comes first: what all questions have in common is read once.
    pub fn prompt(&self, input: &str) -> String {
        let mut prompt = format!("Read this:\n\n{input}\n\n---\n\n");
        let instructions = &self.instructions;
        let _ = match self.kind {
            Kind::Predicate => write!(
                prompt,
                "Is this statement about the text above true?\n\n{instructions}\n\nAnswer with Yes or No and nothing else."
            ),
            Kind::Choice => write!(prompt, "{instructions}\n\nChoose one of these values:\n"),
            Kind::Score => {
                write!(prompt, "{instructions}\n\nChoose one of these levels, from the lowest to the highest:\n")
            }
        };
        if self.kind != Kind::Predicate {
            for choice in &self.choices {
                let meaning = choice.description.as_ref().map_or(String::new(), |text| format!(": {text}"));
                let _ = writeln!(prompt, "- {}{meaning}", choice.value);
            }
            prompt.push_str("\nAnswer with the chosen one, written exactly as in the list, and nothing else.");
        }
        prompt
    }

    /// The answer, from the probabilities of all choices. Levels count from 1.
    pub fn answer(&self, probabilities: &[f64]) -> Json {
        let best = (0..probabilities.len()).rev().max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
        let best = best.unwrap_or(0);
        let all = self.choices.iter().zip(probabilities);
        match self.kind {
            Kind::Predicate => json!({ "type": "predicate", "name": self.name, "probability": probabilities[0] }),
            Kind::Choice => {
                let each = all.map(|(choice, p)| json!({ "value": choice.value, "probability": p }));
                json!({ "type": "choice", "name": self.name, "choice": self.choices[best].value,
                        "confidence": probabilities[best], "probabilities": each.collect::<Vec<_>>() })
            }
            Kind::Score => {
                let each = all
                    .zip(1..)
                    .map(|((choice, p), value)| json!({ "label": choice.value, "value": value, "probability": p }));
                let score: f64 = probabilities.iter().zip(1..).map(|(p, value)| p * f64::from(value)).sum();
                json!({ "type": "score", "name": self.name, "score": score, "confidence": probabilities[best],
                        "probabilities": each.collect::<Vec<_>>() })
            }
        }
    }
}

fn choices(fields: &mut Fields, list: &str, value: &str) -> Result<Vec<Choice>, ApiError> {
    let path = fields.name(list);
    let given: Vec<Json> = fields.need(list)?;
    if !OPTIONS.contains(&given.len()) {
        let message = format!("{path} has {} of them, expected {} to {}", given.len(), OPTIONS.start(), OPTIONS.end());
        return Err(ApiError::field(&path, message));
    }
    let mut seen = BTreeSet::new();
    let one = |(i, one): (usize, Json)| {
        let mut fields = Fields::of(one, &format!("{path}[{i}]"))?;
        let found: Json = fields.need(value)?;
        let at = fields.name(value);
        let wrong = |message: String| Err(ApiError::field(&at, message));
        if !(found.is_string() || (found.is_boolean() && value == "value")) {
            return wrong(format!(
                "{at} is {}, expected a string{}",
                name_of(&found),
                if value == "value" { " or a boolean" } else { "" }
            ));
        }
        if found == "" {
            return wrong(format!("{at} is empty"));
        }
        if !seen.insert(found.to_string()) {
            return wrong(format!("{at} is {found}, which was there before"));
        }
        let description = fields.take("description")?;
        fields.done()?;
        Ok(Choice::new(found, description))
    };
    given.into_iter().enumerate().map(one).collect()
}

/// Reads the input: a text, or messages and calls with what came of them, written one below the other.
///
/// # Errors
/// Something else, a picture, or the result of a call that was not made; names its place.
pub fn input(value: Json) -> Result<String, ApiError> {
    let items = match value {
        Json::String(text) if !text.is_empty() => return Ok(text),
        Json::Array(items) if !items.is_empty() => items,
        other => {
            let message = format!("input is {} or empty, expected a string or a list of items", name_of(&other));
            return Err(ApiError::field("input", message));
        }
    };
    let mut called = BTreeSet::new();
    let one = |(i, one): (usize, Json)| item(one, &format!("input[{i}]"), &mut called);
    Ok(items.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?.join("\n\n"))
}

fn item(value: Json, path: &str, called: &mut BTreeSet<String>) -> Result<String, ApiError> {
    let mut fields = Fields::of(value, path)?;
    let kind: String = fields.take("type")?.unwrap_or_else(|| "message".into());
    let wrong = |at: String, message: String| Err(ApiError::field(&at, message));
    let text = match kind.as_str() {
        "message" => {
            let role: String = fields.need("role")?;
            if !["user", "developer", "system", "assistant"].contains(&role.as_str()) {
                let at = fields.name("role");
                return wrong(at.clone(), format!("{at} is {role:?}, expected user, developer, system or assistant"));
            }
            fields.ignore(&["phase", "id", "status"]);
            format!("{role}: {}", content(fields.need("content")?, &fields.name("content"))?)
        }
        "function_call" | "custom_tool_call" => {
            let name: String = fields.need("name")?;
            let given: String = fields.need(if kind == "function_call" { "arguments" } else { "input" })?;
            called.insert(fields.need("call_id")?);
            fields.ignore(&["id", "namespace", "status"]);
            format!("assistant calls {name}: {given}")
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id: String = fields.need("call_id")?;
            if !called.contains(&id) {
                let at = fields.name("call_id");
                return wrong(at.clone(), format!("{at} is {id:?}, and no call before it has that id"));
            }
            fields.ignore(&["id", "status"]);
            format!("result: {}", content(fields.need("output")?, &fields.name("output"))?)
        }
        other => {
            let at = fields.name("type");
            let expected = "message, function_call, function_call_output, custom_tool_call or custom_tool_call_output";
            return wrong(at.clone(), format!("{at} is {other:?}, expected {expected}"));
        }
    };
    fields.done()?;
    Ok(text)
}

/// A text, or parts of it, of which some may be JSON.
fn content(value: Json, path: &str) -> Result<String, ApiError> {
    let Json::Array(parts) = value else { return text_of(value, path) };
    let as_text = |(i, mut part): (usize, Json)| {
        if part["type"] != "input_json" {
            return Ok(part);
        }
        let data = part["data"].take();
        let text = data.to_string();
        if !(data.is_object() || data.is_array()) || depth(&data) > JSON_DEPTH || text.len() > JSON_BYTES {
            let at = format!("{path}[{i}].data");
            let message = format!(
                "{at} is {} of {} bytes and {} levels, expected an object or an array of at most {JSON_BYTES} bytes and {JSON_DEPTH} levels",
                name_of(&data),
                text.len(),
                depth(&data)
            );
            return Err(ApiError::field(&at, message));
        }
        Ok(json!({ "type": "input_text", "text": text }))
    };
    text_of(parts.into_iter().enumerate().map(as_text).collect::<Result<_, _>>()?, path)
}

/// Levels of a value; no deeper than its reader allowed.
fn depth(value: &Json) -> usize {
    match value {
        Json::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Json::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Json) -> Result<Question, ApiError> {
        Question::read(value, "questions[0]")
    }

    #[test]
    fn questions_are_read_or_refused_by_place() {
        let choices = json!([{ "value": "true" }, { "value": true, "description": "surely" }]);
        let question =
            read(json!({ "type": "choice", "instructions": "Which?", "name": "q", "choices": choices })).expect("good");
        let written: Vec<String> = question.choices.iter().map(|choice| question.written(choice)).collect();
        assert_eq!(written, ["\"true\"", "true"]);
        assert!(question.prompt("A text.").starts_with("Read this:\n\nA text.\n\n"));
        assert!(question.prompt("").contains("- true: surely\n"));
        for (bad, param) in [
            (json!({ "instructions": "x" }), "questions[0].type"),
            (json!({ "type": "guess", "instructions": "x" }), "questions[0].type"),
            (json!({ "type": "predicate" }), "questions[0].instructions"),
            (json!({ "type": "choice", "instructions": "x", "choices": [{ "value": "a" }] }), "questions[0].choices"),
            (
                json!({ "type": "choice", "instructions": "x", "choices": [{ "value": "a" }, { "value": "a" }] }),
                "questions[0].choices[1].value",
            ),
            (
                json!({ "type": "score", "instructions": "x", "levels": [{ "label": "a" }, { "label": true }] }),
                "questions[0].levels[1].label",
            ),
            (json!({ "type": "predicate", "instructions": "x", "choices": [] }), "questions[0].choices"),
            (
                json!({ "type": "predicate", "instructions": [{ "type": "input_json", "data": 5 }] }),
                "questions[0].instructions[0].data",
            ),
        ] {
            assert_eq!(read(bad.clone()).expect_err("bad").param.as_deref(), Some(param), "{bad}");
        }
        assert!(Question::read_all(vec![json!({ "type": "predicate", "instructions": "x" }); 401]).is_err());
        assert!(Question::read_all(Vec::new()).is_err());
    }

    #[test]
    fn inputs_are_written_one_below_the_other() {
        let call = json!({ "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}" });
        let output = json!({ "type": "function_call_output", "call_id": "1", "output": [{ "type": "input_text", "text": "done" }] });
        let user = json!({ "role": "user", "content": [{ "type": "input_text", "text": "a " }, { "type": "input_json", "data": { "b": 1 } }] });
        let text = input(json!([user, call, output])).expect("good");
        assert_eq!(text, "user: a {\"b\":1}\n\nassistant calls f: {}\n\nresult: done");
        assert_eq!(input(json!("a")), Ok("a".into()));
        for (bad, param) in [
            (json!(""), "input"),
            (json!([]), "input"),
            (json!([output]), "input[0].call_id"),
            (json!([{ "role": "king", "content": "x" }]), "input[0].role"),
            (json!([{ "type": "dance" }]), "input[0].type"),
            (json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": "x" }] }]), "input[0].content"),
        ] {
            assert_eq!(input(bad.clone()).expect_err("bad").param.as_deref(), Some(param), "{bad}");
        }
    }

    #[test]
    fn answers_tell_all_probabilities() {
        let question = |kind: &str, list: &str, key: &str| {
            read(json!({ "type": kind, "instructions": "x", list: [{ key: "a" }, { key: "b" }, { key: "c" }] }))
                .expect("good")
        };
        let choice = question("choice", "choices", "value").answer(&[0.25, 0.5, 0.25]);
        assert_eq!(
            (&choice["choice"], &choice["confidence"], &choice["name"]),
            (&json!("b"), &json!(0.5), &Json::Null)
        );
        let score = question("score", "levels", "label").answer(&[0.0, 0.5, 0.5]);
        assert_eq!((&score["score"], &score["confidence"]), (&json!(2.5), &json!(0.5)));
        assert_eq!(score["probabilities"][2], json!({ "label": "c", "value": 3, "probability": 0.5 }));
        let predicate = read(json!({ "type": "predicate", "instructions": "x" })).expect("good");
        assert_eq!(predicate.answer(&[0.75, 0.25]), json!({ "type": "predicate", "name": null, "probability": 0.75 }));
    }
}
