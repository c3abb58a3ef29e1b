//! What an answer has to look like, as a grammar that the engine follows.

use crate::error::ApiError;
use crate::models::Lease;
use crate::tools::{Dialect, Tool, ToolChoice};
use argand_grammar::{CallChoice, CallFormat, Calls, Compiled, Grammar, GrammarError};
use serde_json::Value as Json;
use std::time::Duration;

/// What an answer has to look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Anything.
    #[default]
    Free,
    /// Any JSON object.
    Object,
    /// JSON of this schema.
    Schema(Json),
    /// One of these texts.
    Choice(Vec<String>),
    /// What a regular expression matches whole.
    Regex(String),
    /// A grammar in llguidance's dialect of Lark.
    Lark(String),
}

/// The grammar of an answer; none where anything goes. `thinking` says that thoughts come first; `field` is where the shape was said.
///
/// # Errors
/// Two things are asked for that exclude each other.
pub fn grammar(
    shape: &Shape,
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
    dialect: Dialect,
    thinking: bool,
    field: &str,
) -> Result<Option<Grammar>, ApiError> {
    let called = match choice {
        _ if tools.is_empty() => None,
        ToolChoice::None => None,
        ToolChoice::Auto => Some(CallChoice::Auto),
        ToolChoice::Required => Some(CallChoice::Required),
        ToolChoice::Named(name) => Some(CallChoice::Named(name.clone())),
    };
    let grammar = match (called, shape) {
        (None, Shape::Free) => return Ok(None),
        (None, Shape::Object) => Grammar::Object,
        (None, Shape::Schema(schema)) => Grammar::Schema(schema.clone()),
        (None, Shape::Choice(texts)) => Grammar::Choice(texts.clone()),
        (None, Shape::Regex(regex)) => Grammar::Regex(regex.clone()),
        (None, Shape::Lark(lark)) => Grammar::Lark(lark.clone()),
        (Some(choice), Shape::Free) => {
            let tool = |tool: &Tool| argand_grammar::Tool {
                name: tool.name.clone(),
                parameters: Some(tool.parameters.clone()),
            };
            let format = match dialect {
                Dialect::Hermes => CallFormat::hermes(),
                Dialect::Mistral => CallFormat::mistral(),
                Dialect::Llama => CallFormat::llama3(),
            };
            Grammar::Calls(Calls { tools: tools.iter().map(tool).collect(), format, choice, parallel })
        }
        (Some(_), _) => {
            let message = "an answer cannot be both of a given form and a call of a tool; send tool_choice \"none\" or leave the form out";
            return Err(ApiError::field(field, message));
        }
    };
    Ok(Some(if thinking { grammar.after("</think>") } else { grammar }))
}

/// Makes a grammar ready for a model.
///
/// # Errors
/// It cannot be followed, or costs too much.
pub async fn compile(lease: &Lease, grammar: Grammar, field: &str) -> Result<Compiled, ApiError> {
    let lease = lease.clone();
    // It may take seconds, which nobody else should wait for.
    let compiled = tokio::task::spawn_blocking(move || lease.grammars()?.compile(&grammar)).await;
    let compiled = compiled.map_err(|_| ApiError::internal("a mistake in reading the grammar"))?;
    compiled.map_err(|error| match error {
        GrammarError::Busy { .. } => ApiError::busy(error.to_string(), Duration::from_secs(1)),
        GrammarError::Tokenizer(_) | GrammarError::Machine(_) => ApiError::internal(error.to_string()),
        GrammarError::Tool { .. } | GrammarError::UnknownTool { .. } => ApiError::field("tools", error.to_string()),
        _ => ApiError::field(field, error.to_string()).with_code("invalid_schema"),
    })
}
