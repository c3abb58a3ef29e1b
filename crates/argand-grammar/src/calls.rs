//! Calls of tools: which tools, and the texts that a model was trained to write around a call.

use crate::GrammarError;
use crate::grammar::{Bounds, Plan, schema_grammar};
use crate::lead::Lead;
use crate::words::Words;
use llguidance::api::GrammarWithLexer;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// A tool that can be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name: letters, digits, `_`, `-`, `.` and `:`.
    pub name: String,
    /// Schema of its arguments; none when it takes none.
    pub parameters: Option<Json>,
}

/// Whether a tool has to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallChoice {
    /// Free text or calls. What begins like a call is one.
    Auto,
    /// At least one call and nothing else.
    Required,
    /// One call, of this tool.
    Named(String),
}

/// The texts around calls: `begin before_name NAME before_arguments ARGUMENTS after (between before_name ...)* end`. The text of a
/// steering token stands for that token. Tokens that end an answer are left out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallFormat {
    /// In front of the first call.
    #[serde(default)]
    pub begin: String,
    /// In front of a tool's name.
    pub before_name: String,
    /// Between name and arguments.
    pub before_arguments: String,
    /// Behind the arguments.
    #[serde(default)]
    pub after: String,
    /// Between calls.
    #[serde(default)]
    pub between: String,
    /// Behind the last call.
    #[serde(default)]
    pub end: String,
    /// What begins a call in free text: the beginning of `begin` and `before_name`.
    pub trigger: String,
}

impl CallFormat {
    /// `<tool_call>` with a JSON object, of Hermes, Qwen 2.5 and 3, SmolLM 3 and many more.
    pub fn hermes() -> Self {
        Self {
            begin: String::new(),
            before_name: "<tool_call>\n{\"name\": \"".into(),
            before_arguments: "\", \"arguments\": ".into(),
            after: "}\n</tool_call>".into(),
            between: "\n".into(),
            end: String::new(),
            trigger: "<tool_call>".into(),
        }
    }

    /// `[TOOL_CALLS]` with a JSON list, of Mistral.
    pub fn mistral() -> Self {
        Self {
            begin: "[TOOL_CALLS] [".into(),
            before_name: "{\"name\": \"".into(),
            before_arguments: "\", \"arguments\": ".into(),
            after: "}".into(),
            between: ", ".into(),
            end: "]".into(),
            trigger: "[TOOL_CALLS]".into(),
        }
    }

    /// A bare JSON object with `parameters`, of Llama 3.1 and 3.2, which begins an answer.
    pub fn llama3() -> Self {
        Self {
            begin: String::new(),
            before_name: "{\"name\": \"".into(),
            before_arguments: "\", \"parameters\": ".into(),
            after: "}".into(),
            between: "; ".into(),
            end: String::new(),
            trigger: "{\"name\": \"".into(),
        }
    }
}

/// Calls of tools in the words of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// The tools.
    pub tools: Vec<Tool>,
    /// How calls are written.
    pub format: CallFormat,
    /// Whether there has to be one.
    pub choice: CallChoice,
    /// Whether several may follow one another.
    pub parallel: bool,
}

impl Calls {
    pub(crate) fn plan(&self, words: &Words, bounds: &Bounds) -> Result<Plan, GrammarError> {
        let tools = self.chosen()?;
        let format = &self.format;
        let mut grammars = vec![];
        let mut calls = vec![];
        for (i, tool) in tools.iter().enumerate() {
            let none = json!({ "type": "object", "properties": {}, "additionalProperties": false });
            let grammar = schema_grammar(tool.parameters.as_ref().unwrap_or(&none), bounds);
            let grammar = grammar.map_err(|error| tool.wrong(error.to_string()))?;
            grammars.push(GrammarWithLexer { name: Some(format!("tool_{i}")), ..grammar });
            let head = words.lark(&[&format.before_name, tool.name.as_str(), &format.before_arguments].concat())?;
            let tail = words.lark(&format.after)?;
            calls.push(format!("call_{i}: {head} @tool_{i} {tail}\n"));
        }
        let names: Vec<String> = (0..calls.len()).map(|i| format!("call_{i}")).collect();
        let (begin, between, end) =
            (words.lark(&format.begin)?, words.lark(&format.between)?, words.lark(&format.end)?);
        let several = self.parallel && !matches!(self.choice, CallChoice::Named(_));
        let more = if several { format!("({between} call)*") } else { String::new() };
        let start = format!("start: {begin} call {more} {end}\ncall: {}\n{}", names.join(" | "), calls.concat());
        grammars.insert(0, GrammarWithLexer::from_lark(start));
        let mut plan = Plan { grammars, leads: Vec::new(), begun: Vec::new() };
        if self.choice == CallChoice::Auto {
            let (begun, head) =
                (words.read(&format.trigger), words.read(&(format.begin.clone() + &format.before_name)));
            if begun.is_empty() || !head.starts_with(&begun) {
                let what =
                    "what begins a call in free text has to be the beginning of what stands before the first name";
                return Err(GrammarError::Text { text: format.trigger.clone(), what });
            }
            plan.leads.push(Lead::new(begun.clone(), true));
            plan.begun = begun;
        }
        Ok(plan)
    }

    /// The tools that may be called, checked.
    fn chosen(&self) -> Result<Vec<&Tool>, GrammarError> {
        let mut names = BTreeSet::new();
        for tool in &self.tools {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
            if tool.name.is_empty() || tool.name.len() > 128 || !tool.name.chars().all(plain) {
                return Err(tool.wrong("its name should be 1 to 128 letters, digits or any of _ - . :".into()));
            }
            if !names.insert(&tool.name) {
                return Err(tool.wrong("there are two of this name".into()));
            }
        }
        let tools: Vec<&Tool> = match &self.choice {
            CallChoice::Named(name) => self.tools.iter().filter(|tool| tool.name == *name).collect(),
            CallChoice::Auto | CallChoice::Required => self.tools.iter().collect(),
        };
        match (&self.choice, tools.is_empty()) {
            (_, false) => Ok(tools),
            (CallChoice::Named(name), true) => {
                let known = self.tools.iter().map(|tool| tool.name.clone()).collect();
                Err(GrammarError::UnknownTool { name: name.clone(), known })
            }
            (_, true) => Err(GrammarError::Refused("there are no tools that could be called".into())),
        }
    }
}

impl Tool {
    fn wrong(&self, what: String) -> GrammarError {
        GrammarError::Tool { name: self.name.clone(), what }
    }
}
