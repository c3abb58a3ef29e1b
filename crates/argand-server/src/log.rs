//! What the server tells whoever runs it: a line for each thing that happened, on standard error.
//!
//! No line has anything of what was said to a model or by it, nor a secret.

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::fmt::Write as _;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// For people: `time what key=value ...`.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
    /// Nothing.
    Off,
}

impl std::str::FromStr for Log {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" => Ok(Log::Text),
            "json" => Ok(Log::Json),
            "off" => Ok(Log::Off),
            _ => Err(format!("{word:?} is none of text, json, off")),
        }
    }
}

impl Log {
    /// Something happened; `facts` is an object.
    pub fn tell(self, what: &str, facts: Json) {
        if let Some(line) = self.line(&argand_ledger::Time::now().to_string(), what, facts) {
            eprintln!("{line}");
        }
    }

    fn line(self, time: &str, what: &str, facts: Json) -> Option<String> {
        let facts = if let Json::Object(facts) = facts { facts } else { Map::new() };
        match self {
            Log::Off => None,
            Log::Json => {
                let mut line = Map::new();
                line.insert("time".into(), time.into());
                line.insert("event".into(), what.into());
                line.extend(facts);
                Some(Json::Object(line).to_string())
            }
            Log::Text => {
                let mut line = format!("{time} {what}");
                for (name, value) in facts.iter().filter(|(_, value)| !value.is_null()) {
                    let _ = match value.as_str() {
                        Some(text) if !text.contains(|c: char| c.is_whitespace() || c == '"') => {
                            write!(line, " {name}={text}")
                        }
                        _ => write!(line, " {name}={value}"),
                    };
                }
                Some(line)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_cannot_be_forged() {
        let facts = || json!({ "model": "a\nb c", "ms": 5, "key": null });
        assert_eq!(Log::Text.line("T", "request", facts()).as_deref(), Some("T request model=\"a\\nb c\" ms=5"));
        let json = Log::Json.line("T", "request", facts());
        assert_eq!(
            json.as_deref(),
            Some("{\"time\":\"T\",\"event\":\"request\",\"model\":\"a\\nb c\",\"ms\":5,\"key\":null}")
        );
        assert_eq!(Log::Off.line("T", "request", facts()), None);
    }
}
