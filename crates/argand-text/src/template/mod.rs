//! Chat templates: Jinja programs that come with a model and write a conversation as the model was trained to read it.
//!
//! The environment is that of `transformers`' `apply_chat_template` (blocks trimmed, `raise_exception`,
//! `strftime_now`, a `tojson` without HTML escapes, Python's string methods, `{% generation %}`). Templates are
//! programs of strangers: they see nothing but their arguments and run out of fuel. Rendering never tokenises; encode
//! the result with `add_special` false, as the template has written BOS itself.
//!
//! Known differences from the reference: text marked `|safe` does not make the text it is joined with HTML, and very
//! small or large floating-point numbers are written in full unless they pass through `tojson`.

mod builtin;
mod error;
mod functions;
mod generation;
mod json;
mod python;
mod time;

pub use builtin::BUILTIN;
pub use error::TemplateError;

use crate::huggingface::{parse, read_if_present, special_text};
use crate::{Error, Tokenizer};
use argand_weights::{Metadata, Value as GgufValue};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// Instructions that a template may run: far beyond what any conversation needs, and about a second of work.
const FUEL: u64 = 10_000_000;

/// One message of a conversation. What a template may want beside role and content (`tool_calls`, `tool_call_id`,
/// `name`, `reasoning_content`, ...) is in `extra`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// Text, a list of parts (`{"type": "text", "text": ...}`), or null; `None` leaves the key out.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub content: Option<Json>,
    /// All other fields.
    #[serde(flatten)]
    pub extra: Map<String, Json>,
}

/// Keeps an explicit null apart from an absent key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(Json::String(content.into())), extra: Map::new() }
    }

    /// Templates read a model's thoughts under one of these names.
    fn with_reasoning(&self) -> Cow<'_, Self> {
        let given = |name: &&str| self.extra.get(*name).filter(|value| !value.is_null());
        let Some(thoughts) = ["reasoning_content", "thinking", "reasoning"].iter().find_map(given) else {
            return Cow::Borrowed(self);
        };
        let mut message = self.clone();
        message.extra.entry("thinking").or_insert_with(|| thoughts.clone());
        message.extra.insert("reasoning_content".to_owned(), thoughts.clone());
        Cow::Owned(message)
    }

    /// Turns the arguments of tool calls from JSON text, as the OpenAI protocol has them, into objects, as templates
    /// expect them. Text that is no JSON stays.
    pub fn parse_tool_arguments(&mut self) {
        let Some(Json::Array(calls)) = self.extra.get_mut("tool_calls") else { return };
        for call in calls {
            let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
            let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<Json>(text).ok());
            if let Some(parsed @ Json::Object(_)) = parsed {
                *arguments = parsed;
            }
        }
    }
}

/// What a rendering depends on beside the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Whether to end with the words that open the assistant's turn.
    pub add_generation_prompt: bool,
    /// Descriptions of functions that the model may call.
    pub tools: Option<Vec<Json>>,
    /// Documents to answer from.
    pub documents: Option<Vec<Json>>,
    /// More variables (`enable_thinking`, ...).
    pub extra: Map<String, Json>,
    /// The time that `strftime_now` tells, in UTC; `None` is the system's.
    pub now: Option<SystemTime>,
}

/// Texts of special tokens by the names that templates use (`bos_token`, `eos_token`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecialTokens(pub BTreeMap<String, String>);

impl SpecialTokens {
    /// BOS and EOS.
    pub fn new(bos: Option<&str>, eos: Option<&str>) -> Self {
        let tokens = [("bos_token", bos), ("eos_token", eos)];
        Self(tokens.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.to_owned()))).collect())
    }

    /// Those of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let ids = tokenizer.special_ids();
        let tokens = [
            ("bos_token", ids.bos),
            ("eos_token", ids.eos),
            ("unk_token", ids.unknown),
            ("sep_token", ids.separator),
            ("pad_token", ids.padding),
            ("mask_token", ids.mask),
        ];
        let text = |(name, id): (&str, Option<u32>)| Some((name.to_owned(), tokenizer.token_text(id?)?));
        Self(tokens.into_iter().filter_map(text).collect())
    }
}

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: SpecialTokens,
    sources: BTreeMap<String, String>,
}

/// Name of the template that renders unless there is a better one for the case.
const DEFAULT: &str = "default";
/// Name of the template that renders when there are tools.
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] with the line.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self, TemplateError> {
        Self::with_variants([(DEFAULT.to_owned(), source.to_owned())], special)
    }

    /// Compiles one of [`BUILTIN`].
    ///
    /// # Errors
    /// [`TemplateError::UnknownBuiltin`] with the names there are.
    pub fn builtin(name: &str, special: SpecialTokens) -> Result<Self, TemplateError> {
        let template = BUILTIN.iter().find(|(known, _)| *known == name);
        let (_, source) = template.ok_or_else(|| TemplateError::UnknownBuiltin { name: name.to_owned() })?;
        Self::new(source, special)
    }

    /// Compiles the template of a GGUF file (`tokenizer.chat_template`, and `tokenizer.chat_template.tool_use` where
    /// there is one).
    ///
    /// # Errors
    /// [`TemplateError::None`] if the file has no template, or a syntax error.
    pub fn from_gguf(metadata: &Metadata, special: SpecialTokens) -> Result<Self, TemplateError> {
        const KEY: &str = "tokenizer.chat_template";
        let text = |key: &str| metadata.get(key).and_then(GgufValue::as_str).map(str::to_owned);
        let default = text(KEY).map(|source| (DEFAULT.to_owned(), source));
        let tools = text(&format!("{KEY}.{TOOL_USE}")).map(|source| (TOOL_USE.to_owned(), source));
        Self::with_variants(default.into_iter().chain(tools), special)
    }

    /// Compiles the template of a model directory: chat_template.jinja, else `chat_template` of chat_template.json, where processors of
    /// pictures have theirs, else that of tokenizer_config.json.
    ///
    /// # Errors
    /// An unreadable file, [`TemplateError::None`] if there is no template, or a syntax error.
    pub fn from_hf_dir(dir: &Path) -> Result<Self, Error> {
        let config = read_if_present(&dir.join("tokenizer_config.json"))?;
        let config = parse("tokenizer_config.json", config.as_deref())?;
        let names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        let special = names.into_iter().filter_map(|name| Some((name.to_owned(), special_text(&config, name)?)));
        let special = SpecialTokens(special.collect());
        let variants = match read_if_present(&dir.join("chat_template.jinja"))? {
            Some(source) => vec![(DEFAULT.to_owned(), String::from_utf8_lossy(&source).into_owned())],
            None => {
                let beside = read_if_present(&dir.join("chat_template.json"))?;
                match parse("chat_template.json", beside.as_deref())? {
                    Json::Null => variants(&config["chat_template"]),
                    own => variants(&own["chat_template"]),
                }
            }
        };
        Ok(Self::with_variants(variants, special)?)
    }

    /// Compiles templates by name; `tool_use` renders when there are tools, `default` otherwise.
    ///
    /// # Errors
    /// [`TemplateError::None`] if there is none, or a syntax error.
    pub fn with_variants(
        variants: impl IntoIterator<Item = (String, String)>,
        special: SpecialTokens,
    ) -> Result<Self, TemplateError> {
        let mut environment = environment()?;
        let sources: BTreeMap<String, String> = variants.into_iter().collect();
        for (name, source) in &sources {
            let source = generation::replace_tags(source);
            environment
                .add_template_owned(name.clone(), source)
                .map_err(|error| TemplateError::from_library(name, &error))?;
        }
        if sources.is_empty() {
            return Err(TemplateError::None);
        }
        Ok(Self { environment, special, sources })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        self.sources.get(DEFAULT).or_else(|| self.sources.values().next()).map_or("", String::as_str)
    }

    /// Writes a conversation. Encode the text with `add_special` false and `parse_special` true.
    ///
    /// # Errors
    /// What the template raises (often: a role or an order of roles that the model does not know), an operation that
    /// fails, or a template that does not end. Each names the template and the line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        let name = self.variant(options);
        let template =
            self.environment.get_template(name).map_err(|error| TemplateError::from_library(name, &error))?;
        let mut variables: BTreeMap<&str, Value> = BTreeMap::new();
        variables.extend(self.special.0.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str()))));
        variables.extend(options.extra.iter().map(|(name, value)| (name.as_str(), serialized(value))));
        let now = options.now.unwrap_or_else(SystemTime::now);
        let arguments = context! {
            strftime_now => Value::from_function(move |format: &str| time::strftime(format, now)),
            messages => serialized(messages.iter().map(Message::with_reasoning).collect::<Vec<_>>()),
            tools => serialized(&options.tools),
            documents => serialized(&options.documents),
            add_generation_prompt => options.add_generation_prompt,
            ..serialized(variables)
        };
        template.render(arguments).map_err(|error| TemplateError::from_library(name, &error))
    }

    fn variant(&self, options: &RenderOptions) -> &str {
        let has = |name: &str| self.sources.contains_key(name);
        match &options.tools {
            Some(_) if has(TOOL_USE) => TOOL_USE,
            _ if has(DEFAULT) => DEFAULT,
            _ => self.sources.keys().next().map_or(DEFAULT, String::as_str),
        }
    }
}

/// `chat_template` of tokenizer_config.json: a text, or a list of named texts.
fn variants(config: &Json) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    match config {
        Json::String(source) => vec![(DEFAULT.to_owned(), source.clone())],
        Json::Array(list) => {
            list.iter().filter_map(|one| Some((text(&one["name"])?, text(&one["template"])?))).collect()
        }
        _ => Vec::new(),
    }
}

fn serialized(value: impl Serialize) -> Value {
    Value::from(Serde(value))
}

fn environment() -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| TemplateError::from_library(DEFAULT, &error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(python::method);
    environment.add_filter("tojson", json::to_json);
    environment.add_test("iterable", python::is_iterable);
    environment.add_function("raise_exception", functions::raise_exception);
    Ok(environment)
}

#[cfg(test)]
mod tests;
