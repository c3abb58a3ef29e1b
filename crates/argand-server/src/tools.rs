//! Functions that a model may call, and how its family writes a call.

use crate::error::ApiError;
use crate::fields::Fields;
use serde_json::{Value as Json, json};

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// JSON schema of its arguments.
    pub parameters: Json,
    /// All of it, as OpenAI writes it and templates expect it.
    pub whole: Json,
}

/// Which of them may or must be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Name of the function.
    pub name: String,
    /// Its arguments, as JSON text.
    pub arguments: String,
}

/// How a family of models writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM 3 and most others.
    Hermes,
    /// `[TOOL_CALLS] [{"name": ..., "arguments": {...}}]`.
    Mistral,
    /// The whole answer is `{"name": ..., "parameters": {...}}`.
    Llama,
}

impl Dialect {
    /// The dialect of a model, by its template. Models that know of no tools are taught the first.
    pub fn of(template: &str) -> Dialect {
        if template.contains("[TOOL_CALLS]") {
            Dialect::Mistral
        } else if template.contains("\"parameters\": ") && template.contains("<|python_tag|>") {
            Dialect::Llama
        } else {
            Dialect::Hermes
        }
    }

    /// What a call begins with.
    pub fn open(self) -> &'static str {
        match self {
            Dialect::Hermes => "<tool_call>",
            Dialect::Mistral => "[TOOL_CALLS]",
            Dialect::Llama => "{\"name\": ",
        }
    }

    /// What a call ends with; none where the answer ends with it.
    pub fn close(self) -> Option<&'static str> {
        match self {
            Dialect::Hermes => Some("</tool_call>"),
            Dialect::Mistral | Dialect::Llama => None,
        }
    }

    /// Whether a call is all of the answer, without a marker in front.
    pub fn is_bare(self) -> bool {
        self == Dialect::Llama
    }

    /// Whether the marker is a token that stands for no text, so that it has to be asked for.
    pub fn is_special(self) -> bool {
        self == Dialect::Mistral
    }

    /// The calls in what was said after [`open`](Self::open) and before [`close`](Self::close); none where it is no call.
    pub fn calls(self, inside: &str) -> Option<Vec<Call>> {
        let whole = if self.is_bare() { format!("{}{inside}", self.open()) } else { inside.to_string() };
        let mut rest = whole.trim();
        let mut calls = Vec::new();
        // Several stand in a list, or one behind the other.
        while !rest.is_empty() {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Json>();
            match values.next()?.ok()? {
                Json::Array(list) => calls.extend(list),
                one => calls.push(one),
            }
            rest = rest[values.byte_offset()..].trim_start_matches(|c: char| c == ';' || c.is_whitespace());
        }
        (!calls.is_empty()).then(|| calls.iter().map(call).collect())?
    }
}

fn call(json: &Json) -> Option<Call> {
    let arguments = json.get("arguments").or_else(|| json.get("parameters"));
    let arguments = match arguments {
        None | Some(Json::Null) => "{}".to_string(),
        // Some models write the arguments as a text that holds JSON.
        Some(Json::String(text)) => text.clone(),
        Some(object @ Json::Object(_)) => object.to_string(),
        Some(_) => return None,
    };
    Some(Call { name: json.get("name")?.as_str()?.to_string(), arguments })
}

impl Tool {
    /// Reads OpenAI's `tools`, of chat completions (`{"type": "function", "function": {...}}`) or of responses, where the
    /// function's fields stand beside the type.
    ///
    /// # Errors
    /// Something else is among them; names its place.
    pub fn read_all(list: Vec<Json>) -> Result<Vec<Tool>, ApiError> {
        list.into_iter().enumerate().map(|(i, tool)| Tool::read(tool, &format!("tools[{i}]"))).collect()
    }

    fn read(tool: Json, path: &str) -> Result<Tool, ApiError> {
        let mut outer = Fields::of(tool, path)?;
        let kind: String = outer.need("type")?;
        if kind != "function" {
            let message = format!("{path}.type is {kind:?}; functions are the only tools here");
            return Err(ApiError::field(&outer.name("type"), message).with_code("unsupported_tool"));
        }
        let mut function = outer.object("function")?.unwrap_or(outer);
        let name: String = function.need("name")?;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
            let message = format!("{} is {name:?}, expected letters, digits, _ and -", function.name("name"));
            return Err(ApiError::field(&function.name("name"), message));
        }
        let description: Option<String> = function.take("description")?;
        let parameters =
            function.take::<Json>("parameters")?.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        if !parameters.is_object() {
            let name = function.name("parameters");
            return Err(ApiError::field(&name, format!("{name} is no JSON schema: expected an object")));
        }
        function.ignore(&["strict"]);
        function.done()?;
        let inner = json!({ "name": name, "description": description.unwrap_or_default(), "parameters": parameters });
        Ok(Tool { whole: json!({ "type": "function", "function": inner }), name, parameters })
    }
}

impl ToolChoice {
    /// Reads OpenAI's `tool_choice`.
    ///
    /// # Errors
    /// It says something else, or names a tool that there is not.
    pub fn read(value: Option<Json>, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
        let wrong = |message: String| Err(ApiError::field("tool_choice", message));
        let choice = match &value {
            None => return Ok(ToolChoice::Auto),
            Some(Json::String(word)) => match word.as_str() {
                "auto" => ToolChoice::Auto,
                "none" => ToolChoice::None,
                "required" | "any" => ToolChoice::Required,
                _ => return wrong(format!("tool_choice is {word:?}, expected auto, none, required or a function")),
            },
            Some(object) => {
                let name = object.pointer("/function/name").or_else(|| object.get("name")).and_then(Json::as_str);
                match name {
                    Some(name) if tools.iter().any(|tool| tool.name == name) => ToolChoice::Named(name.to_string()),
                    Some(name) => return wrong(format!("tool_choice names {name:?}, which is not among the tools")),
                    None => return wrong("tool_choice has no function.name".into()),
                }
            }
        };
        match choice {
            ToolChoice::Required if tools.is_empty() => {
                wrong("tool_choice asks for a call, and there are no tools".into())
            }
            choice => Ok(choice),
        }
    }
}

/// What a model that was taught no tools is told about them.
pub fn instructions(tools: &[Tool]) -> String {
    let list: Vec<String> = tools.iter().map(|tool| tool.whole["function"].to_string()).collect();
    format!(
        "You may call functions to help with the user's request. These are there, one on each line:\n<tools>\n{}\n</tools>\n\
         To call one, answer with its name and arguments as JSON between these marks:\n\
         <tool_call>\n{{\"name\": \"function name\", \"arguments\": {{\"argument\": \"value\"}}}}\n</tool_call>",
        list.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_read_as_both_protocols_write_them() {
        let inner = json!({ "name": "f", "parameters": { "type": "object" } });
        let mut flat = inner.clone();
        flat["type"] = "function".into();
        let tools = Tool::read_all(vec![json!({ "type": "function", "function": inner }), flat]).expect("two tools");
        assert_eq!(tools[0], tools[1]);
        let error = Tool::read_all(vec![json!({ "type": "web_search" })]).expect_err("no function");
        assert_eq!(error.param.as_deref(), Some("tools[0].type"));
        let error =
            Tool::read_all(vec![json!({ "type": "function", "function": { "name": "a b" } })]).expect_err("name");
        assert_eq!(error.param.as_deref(), Some("tools[0].function.name"));
    }

    #[test]
    fn a_choice_must_be_there() {
        let tools = Tool::read_all(vec![json!({ "type": "function", "function": { "name": "f" } })]).expect("a tool");
        let read = |value: Json| ToolChoice::read(Some(value), &tools);
        assert_eq!(read(json!("required")), Ok(ToolChoice::Required));
        assert_eq!(read(json!({ "type": "function", "function": { "name": "f" } })), Ok(ToolChoice::Named("f".into())));
        assert_eq!(read(json!({ "type": "function", "name": "f" })), Ok(ToolChoice::Named("f".into())));
        assert!(read(json!({ "function": { "name": "g" } })).expect_err("unknown").message.contains("\"g\""));
        assert!(read(json!("sometimes")).is_err());
        assert!(ToolChoice::read(Some(json!("required")), &[]).is_err());
    }

    #[test]
    fn dialects_are_told_by_templates() {
        assert_eq!(Dialect::of("{% if tools %}<tool_call>"), Dialect::Hermes);
        assert_eq!(Dialect::of("[TOOL_CALLS] [{"), Dialect::Mistral);
        assert_eq!(Dialect::of("{\"name\": x, \"parameters\": y <|python_tag|>"), Dialect::Llama);
        assert_eq!(Dialect::of("no tools at all"), Dialect::Hermes);
    }
}
