//! What every protocol asks of a model that writes, in the words of none of them.

use super::aside;
use super::sampling::Choosing;
use crate::account::Caller;
use crate::answer::{Answers, Question, ask};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, name_of};
use crate::models::Lease;
use crate::prompt::{Conversation, Prompt};
use crate::shape::{Shape, compile, grammar};
use crate::tools::ToolChoice;
use argand_engine::{Request, StopRules};
use argand_grammar::Compiled;
use argand_text::Message;
use serde_json::{Value as Json, json};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Most messages of a conversation, and most choices of a request.
const MOST_MESSAGES: usize = 4096;
/// Most choices of a request.
pub const MOST_CHOICES: usize = 128;

/// A question to a model.
#[derive(Debug)]
pub struct Asking {
    /// Which.
    pub model: String,
    /// What was said.
    pub conversation: Conversation,
    /// Which tools may be called.
    pub choice: ToolChoice,
    /// Whether several may be called at once.
    pub parallel: bool,
    /// What the answer has to look like, and the field that says so.
    pub shape: (Shape, &'static str),
    /// How tokens are chosen.
    pub choosing: Choosing,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// Go on after tokens that end an answer.
    pub ignore_eos: bool,
    /// How many answers.
    pub n: usize,
    /// How many alternatives are told with each token.
    pub logprobs: Option<usize>,
    /// For the record.
    pub endpoint: &'static str,
    /// The field of the request in which the conversation stands.
    pub field: &'static str,
}

impl Asking {
    /// The conversation as the model reads it.
    ///
    /// # Errors
    /// The caller may not use the model, or the model cannot read the conversation.
    pub async fn prompt(&self, app: &Arc<App>, caller: &Caller) -> Result<(Lease, Prompt), ApiError> {
        caller.sees(&app.models.canonical(&self.model)?)?;
        let lease = app.models.writer(&self.model).await?;
        let prompt = aside(|| lease.writer.prompt(&self.conversation))?;
        Ok((lease, prompt))
    }

    /// Asks.
    ///
    /// # Errors
    /// The question cannot be understood by the model, or cannot be taken now.
    pub async fn ask(mut self, app: &Arc<App>, caller: &Caller) -> Result<(Lease, Answers), ApiError> {
        if self.choice == ToolChoice::None {
            self.conversation.tools.clear();
        }
        let (lease, prompt) = self.prompt(app, caller).await?;
        let (tools, dialect) = (&self.conversation.tools, lease.writer.dialect());
        let (shape, field) = &self.shape;
        let thinking = prompt.speech.is_thinking();
        let grammar = grammar(shape, tools, &self.choice, self.parallel, dialect, thinking, field)?;
        let compiled = match grammar {
            Some(grammar) => Some(compile(&lease, grammar, field).await?),
            None => None,
        };
        let answers = self.hand_over(app, caller, &lease, prompt, compiled).await?;
        Ok((lease, answers))
    }

    async fn hand_over(
        &self,
        app: &Arc<App>,
        caller: &Caller,
        lease: &Lease,
        prompt: Prompt,
        compiled: Option<Compiled>,
    ) -> Result<Answers, ApiError> {
        let seed = self.choosing.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let room = lease.context.saturating_sub(prompt.tokens.len()).max(1);
        let request = |stream: usize| Request {
            sampling: self.choosing.sampling.clone(),
            stop: StopRules {
                tokens: if self.ignore_eos { Default::default() } else { lease.writer.tokenizer.eog().clone() },
                strings: self.choosing.stop.clone(),
                max_tokens: Some(self.max_tokens.unwrap_or(room).min(room)),
            },
            seed,
            stream: stream as u64,
            logprobs: self.logprobs,
            namespace: caller.tenant(),
            text: Some(lease.writer.decoder(prompt.special, compiled.is_some())),
            constraint: compiled.as_ref().map(Compiled::constraint),
            ..Request::new(prompt.tokens.clone())
        };
        let requests = (0..self.n).map(request).collect();
        ask(
            app,
            caller,
            lease.clone(),
            Question { requests, choices: self.n, speech: prompt.speech, endpoint: self.endpoint, field: self.field },
        )
        .await
    }
}

/// Reads a conversation as OpenAI's chat completions write it.
///
/// # Errors
/// A message is malformed, or has parts that the model cannot read; names its place.
pub fn messages(list: Vec<Json>) -> Result<Vec<Message>, ApiError> {
    if list.is_empty() || list.len() > MOST_MESSAGES {
        return Err(ApiError::field(
            "messages",
            format!("messages has {} of them, expected 1 to {MOST_MESSAGES}", list.len()),
        ));
    }
    list.into_iter().enumerate().map(|(i, one)| message(one, &format!("messages[{i}]"))).collect()
}

fn message(value: Json, path: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(value, path)?;
    let role: String = fields.need("role")?;
    let role = match role.as_str() {
        "developer" => "system".to_string(),
        "system" | "user" | "assistant" | "tool" => role,
        "function" => "tool".to_string(),
        _ => {
            let name = fields.name("role");
            return Err(ApiError::field(
                &name,
                format!("{name} is {role:?}, expected system, developer, user, assistant or tool"),
            ));
        }
    };
    let content = fields.take::<Json>("content")?;
    let calls: Option<Vec<Json>> = fields.take("tool_calls")?;
    let text = match content {
        None if role == "assistant" => String::new(),
        None => return Err(ApiError::field(&fields.name("content"), format!("{path}.content is missing"))),
        Some(content) => text_of(content, &format!("{path}.content"))?,
    };
    let mut message = Message::new(role, text);
    if let Some(calls) = calls.filter(|calls| !calls.is_empty()) {
        for (i, call) in calls.iter().enumerate() {
            if call.pointer("/function/name").and_then(Json::as_str).is_none() {
                let at = format!("{path}.tool_calls[{i}].function.name");
                return Err(ApiError::field(&at, format!("{at} is missing")));
            }
        }
        message.extra.insert("tool_calls".into(), json!(calls));
    }
    for name in ["tool_call_id", "name", "reasoning_content"] {
        if let Some(value) = fields.take::<String>(name)? {
            message.extra.insert(name.into(), value.into());
        }
    }
    fields.ignore(&[
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "reasoning",
        "reasoning_details",
        "provider_specific_fields",
        "thinking_blocks",
        "images",
    ]);
    fields.done()?;
    Ok(message)
}

/// The text of a message: itself, or its parts joined.
pub fn text_of(content: Json, path: &str) -> Result<String, ApiError> {
    let parts = match content {
        Json::String(text) => return Ok(text),
        Json::Array(parts) => parts,
        other => {
            return Err(ApiError::field(
                path,
                format!("{path} is {}, expected a string or a list of parts", name_of(&other)),
            ));
        }
    };
    let mut text = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        match (kind, part["text"].as_str().or_else(|| part["refusal"].as_str())) {
            ("text" | "input_text" | "output_text" | "refusal", Some(part)) => text.push_str(part),
            ("image_url" | "input_image" | "image", _) => {
                let message = format!("{path}[{i}] is a picture, and this model reads text only");
                return Err(ApiError::field(path, message).with_code("unsupported_content"));
            }
            _ => {
                let message = format!("{path}[{i}] is of type {kind:?} without text, expected a part of type text");
                return Err(ApiError::field(path, message).with_code("unsupported_content"));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_or_refused_by_place() {
        let read = |value: Json| messages(value.as_array().cloned().expect("a list"));
        let good = read(json!([
            { "role": "developer", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "done" },
        ]))
        .expect("good");
        assert_eq!((good[0].role.as_str(), good[1].content.as_ref()), ("system", Some(&json!("ab"))));
        assert_eq!(good[3].extra["tool_call_id"], "1");
        for (bad, param) in [
            (json!([{ "role": "king", "content": "" }]), "messages[0].role"),
            (json!([{ "role": "user" }]), "messages[0].content"),
            (json!([{ "role": "user", "content": 5 }]), "messages[0].content"),
            (json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]), "messages[0].content"),
            (json!([{ "role": "assistant", "tool_calls": [{}] }]), "messages[0].tool_calls[0].function.name"),
            (json!([{ "role": "user", "content": "", "colour": 1 }]), "messages[0].colour"),
            (json!([]), "messages"),
            (json!(["hello"]), "messages[0]"),
        ] {
            assert_eq!(read(bad.clone()).expect_err("bad").param.as_deref(), Some(param), "{bad}");
        }
    }
}
