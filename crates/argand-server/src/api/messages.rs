//! `/v1/messages`, as Anthropic's clients use it.

use super::asking::{Asking, text_of};
use super::sampling::{Choosing, stop};
use super::sse::{self, Event, Events};
use super::{Answer, json, new_id};
use crate::account::Caller;
use crate::answer::{Answers, Bill, Said};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::prompt::Conversation;
use crate::shape::Shape;
use crate::speech::Part;
use crate::tools::{Call, Tool, ToolChoice};
use argand_text::Message;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// `POST /v1/messages`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let (asking, stream) = read(Fields::parse(&body)?, true)?;
    let (lease, mut answers) = asking.ask(&app, &caller).await?;
    let hold = answers.hold();
    let mut message = Writing { id: new_id("msg_"), model: lease.name().to_string(), ..Writing::default() };
    if stream {
        let first = answers.next().await;
        if let Some(Said::Failed(error)) = first {
            return Err(error);
        }
        let stream = Stream { message, prompt: answers.prompt(), answers, first, begun: false, over: false };
        return Ok(Answers::with_limits(&hold, sse::response(stream)));
    }
    let bill = loop {
        match answers.next().await {
            Some(Said::More { parts, .. }) => parts.into_iter().for_each(|part| drop(message.part(part))),
            Some(Said::Ended { reason, stopped_by, .. }) => message.end(reason, stopped_by),
            Some(Said::Done(bill)) => break bill,
            Some(Said::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the answer broke off")),
        }
    };
    message.close();
    Ok(Answers::with_limits(&hold, json(message.json(usage(&bill)))))
}

/// `POST /v1/messages/count_tokens`.
pub async fn count(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let (asking, _) = read(Fields::parse(&body)?, false)?;
    let (_, prompt) = asking.prompt(&app, &caller).await?;
    Ok(json(json!({ "input_tokens": prompt.tokens.len() })))
}

fn read(mut fields: Fields, answers: bool) -> Result<(Asking, bool), ApiError> {
    let model: String = fields.need("model")?;
    let max_tokens: Option<usize> = fields.within("max_tokens", 1..=usize::MAX)?;
    if answers && max_tokens.is_none() {
        return Err(ApiError::field("max_tokens", "max_tokens is missing"));
    }
    let mut messages = system(&mut fields)?;
    for (i, one) in fields.need::<Vec<Json>>("messages")?.into_iter().enumerate() {
        messages.extend(message(one, &format!("messages[{i}]"))?);
    }
    if messages.iter().all(|message| message.role == "system") {
        return Err(ApiError::field("messages", "messages is empty"));
    }
    let tools = tools(fields.take("tools")?.unwrap_or_default())?;
    let (choice, parallel) = choice(&mut fields, &tools)?;
    let shape = (shape(&mut fields)?, "output_config.format.schema");
    let mut choosing = Choosing::read(&mut fields)?;
    choosing.stop.extend(stop(&mut fields, "stop_sequences")?);
    let mut variables = Map::new();
    if let Some(mut thinking) = fields.object("thinking")? {
        let kind: String = thinking.need("type")?;
        thinking.ignore(&["budget_tokens", "display"]);
        thinking.done()?;
        variables.insert("enable_thinking".into(), (kind != "disabled").into());
    }
    let stream = fields.take("stream")?.unwrap_or(false);
    fields.ignore(&["metadata", "service_tier", "cache_control", "inference_geo", "speed"]);
    fields.refuse(&[
        ("container", "the server runs no code"),
        ("mcp_servers", "the server asks no others"),
        ("context_management", "conversations are taken as they are"),
    ])?;
    fields.done()?;
    let conversation = Conversation { messages, tools, variables };
    let asking = Asking {
        model,
        conversation,
        choice,
        parallel,
        shape,
        choosing,
        max_tokens,
        ignore_eos: false,
        n: 1,
        logprobs: None,
        endpoint: "messages",
        field: "messages",
    };
    Ok((asking, stream))
}

fn system(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let system = fields.take::<Json>("system")?.map(|system| text_of(system, "system")).transpose()?;
    Ok(system.filter(|text| !text.is_empty()).map(|text| Message::new("system", text)).into_iter().collect())
}

/// A message; results of tools are messages of their own in the words of templates.
fn message(value: Json, path: &str) -> Result<Vec<Message>, ApiError> {
    let mut fields = Fields::of(value, path)?;
    let role: String = fields.need("role")?;
    if !matches!(role.as_str(), "user" | "assistant" | "system") {
        let name = fields.name("role");
        return Err(ApiError::field(&name, format!("{name} is {role:?}, expected user or assistant")));
    }
    let blocks = match fields.need::<Json>("content")? {
        Json::String(text) => vec![json!({ "type": "text", "text": text })],
        Json::Array(blocks) => blocks,
        _ => return Err(ApiError::field(path, format!("{path}.content is neither a string nor a list of blocks"))),
    };
    fields.done()?;
    let (mut text, mut thoughts, mut calls, mut results) = (String::new(), String::new(), Vec::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        let at = format!("{path}.content[{i}]");
        let word = |name: &str| block[name].as_str().unwrap_or_default();
        match word("type") {
            "text" => text.push_str(word("text")),
            "thinking" => thoughts.push_str(word("thinking")),
            "redacted_thinking" => {}
            "tool_use" if !word("name").is_empty() => calls.push(json!({
                "id": block["id"], "type": "function",
                "function": { "name": block["name"], "arguments": block["input"] },
            })),
            "tool_result" => {
                let content = block.get("content").cloned().filter(|content| !content.is_null());
                let content = content.map(|content| text_of(content, &at)).transpose()?.unwrap_or_default();
                let mut result = Message::new("tool", content);
                result.extra.insert("tool_call_id".into(), block["tool_use_id"].clone());
                results.push(result);
            }
            kind => {
                let message = format!("{at} is of type {kind:?}, which this model cannot read");
                return Err(ApiError::field(&at, message).with_code("unsupported_content"));
            }
        }
    }
    let mut messages = results;
    if !text.is_empty() || !calls.is_empty() || messages.is_empty() {
        let mut message = Message::new(role, text);
        if !calls.is_empty() {
            message.extra.insert("tool_calls".into(), json!(calls));
        }
        if !thoughts.is_empty() {
            message.extra.insert("reasoning_content".into(), thoughts.into());
        }
        messages.push(message);
    }
    Ok(messages)
}

/// Tools, whose schema has another name here.
fn tools(list: Vec<Json>) -> Result<Vec<Tool>, ApiError> {
    let renamed = list.into_iter().map(|mut tool| {
        if let Some(object) = tool.as_object_mut() {
            if let Some(schema) = object.remove("input_schema") {
                object.insert("parameters".into(), schema);
            }
            // Tools of Anthropic's own have other types, which are refused by name.
            if matches!(object.get("type").and_then(Json::as_str), None | Some("custom")) {
                object.insert("type".into(), "function".into());
            }
            ["cache_control", "defer_loading", "eager_input_streaming"]
                .iter()
                .for_each(|name| drop(object.remove(*name)));
        }
        tool
    });
    Tool::read_all(renamed.collect())
}

fn choice(fields: &mut Fields, tools: &[Tool]) -> Result<(ToolChoice, bool), ApiError> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((ToolChoice::Auto, true)) };
    let kind: String = choice.need("type")?;
    let parallel = !choice.take("disable_parallel_tool_use")?.unwrap_or(false);
    let said = if kind == "tool" { json!({ "name": choice.need::<String>("name")? }) } else { kind.into() };
    choice.done()?;
    Ok((ToolChoice::read(Some(said), tools)?, parallel))
}

fn shape(fields: &mut Fields) -> Result<Shape, ApiError> {
    let inner = match fields.object("output_config")? {
        Some(mut config) => {
            config.ignore(&["effort"]);
            let format = config.object("format")?;
            config.done()?;
            format
        }
        None => fields.object("output_format")?,
    };
    let Some(mut format) = inner else { return Ok(Shape::Free) };
    let kind: String = format.need("type")?;
    if kind != "json_schema" {
        let name = format.name("type");
        return Err(ApiError::field(&name, format!("{name} is {kind:?}, expected json_schema")));
    }
    let schema = format.need("schema")?;
    format.done()?;
    Ok(Shape::Schema(schema))
}

fn usage(bill: &Bill) -> Json {
    let total = &bill.total;
    json!({ "input_tokens": total.prompt - total.cached.min(total.prompt), "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": total.cached, "output_tokens": total.completion })
}

/// A message while it is written: blocks that follow each other.
#[derive(Clone, Debug, Default)]
struct Writing {
    id: String,
    model: String,
    content: Vec<Json>,
    /// Whether the last block goes on.
    open: bool,
    reason: Json,
    sequence: Json,
}

impl Writing {
    fn json(&self, usage: Json) -> Json {
        json!({ "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": self.content,
                "stop_reason": self.reason, "stop_sequence": self.sequence, "usage": usage })
    }

    /// Adds a part, and tells what of it a stream says.
    fn part(&mut self, part: Part) -> Vec<Event> {
        match part {
            Part::Text(text) => self.more("text", "text", "text_delta", &text),
            Part::Thought(text) => self.more("thinking", "thinking", "thinking_delta", &text),
            Part::Call(Call { name, arguments }) => {
                let mut events = self.close();
                let index = self.content.len();
                let input = serde_json::from_str(&arguments).unwrap_or_else(|_| json!({}));
                let mut block = json!({ "type": "tool_use", "id": new_id("toolu_"), "name": name, "input": {} });
                let start = json!({ "type": "content_block_start", "index": index, "content_block": block });
                events.push(Event::named("content_block_start", start));
                events.push(delta(index, json!({ "type": "input_json_delta", "partial_json": arguments })));
                block["input"] = input;
                self.content.push(block);
                self.open = true;
                events.extend(self.close());
                events
            }
        }
    }

    fn more(&mut self, kind: &str, field: &str, of: &str, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.open || self.content.last().is_none_or(|block| block["type"] != kind) {
            events = self.close();
            let mut block = json!({ "type": kind });
            block[field] = "".into();
            if kind == "thinking" {
                block["signature"] = "".into();
            }
            let start = json!({ "type": "content_block_start", "index": self.content.len(), "content_block": block });
            events.push(Event::named("content_block_start", start));
            self.content.push(block);
            self.open = true;
        }
        let index = self.content.len() - 1;
        let whole = self.content[index][field].as_str().unwrap_or_default().to_string() + text;
        self.content[index][field] = whole.into();
        let mut more = json!({ "type": of });
        more[field] = text.into();
        events.push(delta(index, more));
        events
    }

    /// Ends the block that is open.
    fn close(&mut self) -> Vec<Event> {
        if !std::mem::replace(&mut self.open, false) {
            return Vec::new();
        }
        let stop = json!({ "type": "content_block_stop", "index": self.content.len() - 1 });
        vec![Event::named("content_block_stop", stop)]
    }

    fn end(&mut self, reason: &'static str, stopped_by: Option<String>) {
        self.reason = match (reason, &stopped_by) {
            ("length", _) => "max_tokens",
            ("tool_calls", _) => "tool_use",
            (_, Some(_)) => "stop_sequence",
            _ => "end_turn",
        }
        .into();
        self.sequence = stopped_by.map_or(Json::Null, Json::from);
    }
}

fn delta(index: usize, delta: Json) -> Event {
    Event::named("content_block_delta", json!({ "type": "content_block_delta", "index": index, "delta": delta }))
}

struct Stream {
    message: Writing,
    answers: Answers,
    prompt: usize,
    first: Option<Said>,
    begun: bool,
    over: bool,
}

impl Events for Stream {
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let usage = json!({ "input_tokens": self.prompt, "cache_creation_input_tokens": 0,
                                "cache_read_input_tokens": 0, "output_tokens": 0 });
            let start = json!({ "type": "message_start", "message": self.message.json(usage) });
            return Some(vec![Event::named("message_start", start), Event::named("ping", json!({ "type": "ping" }))]);
        }
        let said = match self.first.take() {
            Some(said) => Some(said),
            None => self.answers.next().await,
        };
        Some(match said {
            Some(Said::More { parts, .. }) => parts.into_iter().flat_map(|part| self.message.part(part)).collect(),
            Some(Said::Ended { reason, stopped_by, .. }) => {
                self.message.end(reason, stopped_by);
                self.message.close()
            }
            Some(Said::Done(bill)) => {
                self.over = true;
                let ending = json!({ "stop_reason": self.message.reason, "stop_sequence": self.message.sequence });
                let last = json!({ "type": "message_delta", "delta": ending, "usage": usage(&bill) });
                vec![
                    Event::named("message_delta", last),
                    Event::named("message_stop", json!({ "type": "message_stop" })),
                ]
            }
            Some(Said::Failed(error)) => {
                self.over = true;
                vec![Event::named("error", error.anthropic())]
            }
            None => {
                self.over = true;
                vec![Event::named("error", ApiError::internal("the answer broke off").anthropic())]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_messages_of_templates() {
        let value = json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "12 C" }] },
            { "type": "text", "text": "And now?" },
        ] });
        let read = message(value, "messages[0]").expect("good");
        assert_eq!((read[0].role.as_str(), read[1].role.as_str()), ("tool", "user"));
        assert_eq!(read[0].extra["tool_call_id"], "t1");
        let bad = message(json!({ "role": "user", "content": [{ "type": "image" }] }), "messages[0]");
        assert_eq!(bad.expect_err("a picture").param.as_deref(), Some("messages[0].content[0]"));
    }

    #[test]
    fn what_is_streamed_adds_up_to_the_message() {
        let mut message = Writing::default();
        let call = Call { name: "f".into(), arguments: "{\"x\":1}".into() };
        let parts = [Part::Thought("hm".into()), Part::Text("a".into()), Part::Text("b".into()), Part::Call(call)];
        let events: Vec<Event> = parts.into_iter().flat_map(|part| message.part(part)).collect();
        let names: Vec<&str> = events.iter().filter_map(|event| event.name).collect();
        let (start, more, stop) = ("content_block_start", "content_block_delta", "content_block_stop");
        assert_eq!(names, [start, more, stop, start, more, more, stop, start, more, stop]);
        assert_eq!(message.content[1], json!({ "type": "text", "text": "ab" }));
        assert_eq!(
            (&message.content[2]["type"], &message.content[2]["input"]),
            (&json!("tool_use"), &json!({ "x": 1 }))
        );
    }
}
