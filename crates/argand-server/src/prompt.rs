//! From a conversation to tokens, as a model's own template writes it.

use crate::error::ApiError;
use crate::speech::Speech;
use crate::tools::{Dialect, Tool, instructions};
use argand_text::{ChatTemplate, Message, RenderOptions, StreamDecoder, TemplateError, Tokenizer};
use serde_json::{Map, Value as Json};

/// The text side of a model that writes.
pub struct Writer {
    /// From text to tokens and back.
    pub tokenizer: Tokenizer,
    template: Result<ChatTemplate, TemplateError>,
    dialect: Dialect,
    /// Whether the template knows of tools.
    teaches: bool,
}

/// A conversation that is to be continued.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// What was said.
    pub messages: Vec<Message>,
    /// What may be called.
    pub tools: Vec<Tool>,
    /// More variables of the template (`enable_thinking`, ...).
    pub variables: Map<String, Json>,
}

/// A prompt, and how to listen to what follows.
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Takes the answer apart.
    pub speech: Speech,
    /// Whether special tokens are to be heard.
    pub special: bool,
}

impl Writer {
    /// The text side of a model.
    pub fn new(tokenizer: Tokenizer, template: Result<ChatTemplate, TemplateError>) -> Self {
        let source = template.as_ref().map_or("", |template| template.source());
        let (dialect, teaches) = (Dialect::of(source), source.contains("tools"));
        Writer { tokenizer, template, dialect, teaches }
    }

    /// Whether the model can hold conversations.
    pub fn chats(&self) -> bool {
        self.template.is_ok()
    }

    /// How the model writes calls.
    pub fn dialect(&self) -> Dialect {
        if self.teaches { self.dialect } else { Dialect::Hermes }
    }

    /// Writes a conversation up to where the answer begins.
    ///
    /// # Errors
    /// The model has no template, or the template refuses the conversation.
    pub fn prompt(&self, conversation: &Conversation) -> Result<Prompt, ApiError> {
        let template = self.template.as_ref().map_err(|error| {
            ApiError::bad(format!("the model cannot hold conversations: {error}; use /v1/completions"))
        })?;
        let Conversation { messages, tools, variables } = conversation;
        let mut messages = messages.clone();
        messages.iter_mut().for_each(Message::parse_tool_arguments);
        if !tools.is_empty() && !self.teaches {
            teach(&mut messages, tools);
        }
        let options = RenderOptions {
            add_generation_prompt: true,
            tools: (!tools.is_empty() && self.teaches).then(|| tools.iter().map(|tool| tool.whole.clone()).collect()),
            extra: variables.clone(),
            ..RenderOptions::default()
        };
        let text = template.render(&messages, &options)?;
        let dialect = (!tools.is_empty()).then(|| self.dialect());
        Ok(Prompt {
            tokens: self.tokenizer.encode(&text, false, true)?,
            speech: Speech::new(text.trim_end().ends_with("<think>"), dialect),
            special: dialect.is_some_and(Dialect::is_special),
        })
    }

    /// Plain text to be continued.
    ///
    /// # Errors
    /// It cannot be tokenised.
    pub fn text(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        Ok(self.tokenizer.encode(text, true, false)?)
    }

    /// A decoder of what is generated: with special tokens, and with the blank that it may begin with, or without.
    pub fn decoder(&self, special: bool, continuing: bool) -> Box<dyn argand_engine::TextStream> {
        let stream = self.tokenizer.stream();
        let stream = if special { stream.with_special() } else { stream };
        Box::new(Decoder(if continuing { stream.continuing() } else { stream }))
    }
}

/// Tells a model whose template knows of no tools how to call them: before everything else, and results as words of the user.
fn teach(messages: &mut Vec<Message>, tools: &[Tool]) {
    let lesson = instructions(tools);
    for message in messages.iter_mut() {
        let text = message.content.as_ref().and_then(Json::as_str).unwrap_or_default().to_string();
        if message.role == "tool" {
            *message = Message::new("user", format!("<tool_response>\n{text}\n</tool_response>"));
        } else if let Some(Json::Array(calls)) = message.extra.remove("tool_calls") {
            let written = calls.iter().map(|call| format!("<tool_call>\n{}\n</tool_call>", call["function"]));
            let parts: Vec<String> = (!text.is_empty()).then_some(text).into_iter().chain(written).collect();
            message.content = Some(Json::String(parts.join("\n")));
        }
    }
    match messages.first_mut().filter(|message| message.role == "system") {
        Some(system) => {
            let text = system.content.as_ref().and_then(Json::as_str).unwrap_or_default();
            system.content = Some(Json::String(format!("{text}\n\n{lesson}")));
        }
        None => messages.insert(0, Message::new("system", lesson)),
    }
}

/// The tokenizer's decoder as the engine wants it.
struct Decoder(StreamDecoder);

impl argand_engine::TextStream for Decoder {
    fn push(&mut self, id: u32) -> String {
        self.0.push(id)
    }

    fn finish(&mut self) -> String {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_without_tools_is_taught_them() {
        let tool = json!({ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } });
        let tools = Tool::read_all(vec![tool]).expect("a tool");
        let mut called = Message::new("assistant", "");
        let call = json!([{ "id": "1", "type": "function", "function": { "name": "weather", "arguments": { "city": "Bonn" } } }]);
        called.extra.insert("tool_calls".into(), call);
        let mut messages =
            vec![Message::new("system", "Be kind."), Message::new("user", "Rain?"), called, Message::new("tool", "no")];
        teach(&mut messages, &tools);
        let said = |i: usize| messages[i].content.as_ref().and_then(Json::as_str).expect("text").to_string();
        assert!(
            said(0).starts_with("Be kind.\n\nYou may call functions") && said(0).contains("\"weather\""),
            "{}",
            said(0)
        );
        assert_eq!(said(2), "<tool_call>\n{\"name\":\"weather\",\"arguments\":{\"city\":\"Bonn\"}}\n</tool_call>");
        assert_eq!((messages[3].role.as_str(), said(3).as_str()), ("user", "<tool_response>\nno\n</tool_response>"));
    }
}
