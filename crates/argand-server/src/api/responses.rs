//! `/v1/responses`, as OpenAI's clients use it.
//!
//! Answers are kept in memory, a bounded number for all keys together, so that they can be asked for again and be gone on from; they
//! are gone when the process ends.

use super::asking::{Asking, text_of};
use super::chat::{reasoning, token_json};
use super::sampling::{Choosing, IGNORED};
use super::sse::{self, Event, Events};
use super::{Answer, json, new_id};
use crate::account::Caller;
use crate::answer::{Answers, Bill, Said, Token};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::metrics::now;
use crate::models::Lease;
use crate::prompt::Conversation;
use crate::shape::Shape;
use crate::speech::Part;
use crate::tools::{Call, Tool, ToolChoice};
use argand_text::Message;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Most answers that are kept, for all keys together, and most bytes of their texts.
const KEPT: (usize, usize) = (1024, 64 << 20);

/// Answers that were given.
#[derive(Debug, Default)]
pub struct Kept(Mutex<VecDeque<(usize, One)>>);

#[derive(Clone, Debug)]
struct One {
    tenant: u64,
    id: String,
    /// What was said before the answer, the answers that it goes on from included.
    input: Vec<Json>,
    response: Json,
}

impl Kept {
    fn keep(&self, one: One) {
        let size = Json::from(one.input.clone()).to_string().len() + one.response.to_string().len();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((size, one));
        while kept.len() > KEPT.0 || kept.iter().map(|(size, _)| size).sum::<usize>() > KEPT.1 {
            kept.pop_front();
        }
    }

    fn find(&self, tenant: u64, id: &str) -> Result<One, ApiError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.iter().find(|(_, one)| one.tenant == tenant && one.id == id).map(|(_, one)| one.clone());
        one.ok_or_else(|| ApiError::not_found(format!("there is no response {id:?}; they are kept for a while only")))
    }

    fn forget(&self, tenant: u64, id: &str) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.len();
        kept.retain(|(_, one)| one.tenant != tenant || one.id != id);
        kept.len() < before
    }
}

/// `GET /v1/responses/{id}`.
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    Ok(json(app.responses.find(caller.tenant(), &id)?.response))
}

/// `DELETE /v1/responses/{id}`.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    if !app.responses.forget(caller.tenant(), &id) {
        return Err(ApiError::not_found(format!("there is no response {id:?}")));
    }
    Ok(json(json!({ "id": id, "object": "response.deleted", "deleted": true })))
}

/// `POST /v1/responses/{id}/cancel`: only background responses can be cancelled, and there are none.
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    app.responses.find(caller.tenant(), &id)?;
    Err(ApiError::bad("only background responses can be cancelled; close the connection to end others"))
}

/// Which items of a list are wanted.
#[derive(Debug, Deserialize)]
pub struct Page {
    order: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    /// The items, and whether there are more. The newest come first unless asked for otherwise.
    fn of(&self, mut items: Vec<Json>) -> Result<(Vec<Json>, bool), ApiError> {
        match self.order.as_deref().unwrap_or("desc") {
            "asc" => {}
            "desc" => items.reverse(),
            order => return Err(ApiError::field("order", format!("order is {order:?}, expected asc or desc"))),
        }
        if let Some(after) = &self.after {
            let at = items.iter().position(|item| item["id"] == after.as_str());
            let at = at.ok_or_else(|| {
                ApiError::field("after", format!("after names {after:?}, which is none of the items"))
            })?;
            items.drain(..=at);
        }
        let limit = self.limit.unwrap_or(20);
        if !(1..=100).contains(&limit) {
            return Err(ApiError::field("limit", format!("limit is {limit}, expected 1 to 100")));
        }
        let more = items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }
}

/// `GET /v1/responses/{id}/input_items`.
pub async fn input_items(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let one = app.responses.find(caller.tenant(), &id)?;
    let (items, more) = page.of(one.input)?;
    let ids = |at: Option<&Json>| at.map_or(Json::Null, |item| item["id"].clone());
    let (first, last) = (ids(items.first()), ids(items.last()));
    Ok(json(json!({ "object": "list", "data": items, "first_id": first, "last_id": last, "has_more": more })))
}

/// `POST /v1/responses/input_tokens`.
pub async fn count(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let (asking, _) = read(&app, &caller, Fields::parse(&body)?)?;
    let (_, prompt) = asking.prompt(&app, &caller).await?;
    Ok(json(json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() })))
}

/// `POST /v1/responses`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let (asking, wish) = read(&app, &caller, Fields::parse(&body)?)?;
    let (lease, mut answers) = asking.ask(&app, &caller).await?;
    let hold = answers.hold();
    let mut writing =
        Writing { response: wish.echo, items: Vec::new(), open: None, number: 0, length: false, tokens: Vec::new() };
    writing.response["id"] = new_id("resp_").into();
    writing.response["created_at"] = (now() as u64).into();
    writing.response["model"] = lease.name().into();
    let keep = wish.store.then(|| Keep { app: Arc::clone(&app), tenant: caller.tenant(), input: wish.input });
    if wish.stream {
        let first = answers.next().await;
        if let Some(Said::Failed(error)) = first {
            return Err(error);
        }
        let stream = Stream { writing, answers, lease, keep, first, begun: false, over: false };
        return Ok(Answers::with_limits(&hold, sse::response(stream)));
    }
    let bill = loop {
        match answers.next().await {
            Some(Said::More { parts, token, .. }) => {
                writing.token(&lease, token);
                parts.into_iter().for_each(|part| drop(writing.part(part)));
            }
            Some(Said::Ended { reason, .. }) => writing.length = reason == "length",
            Some(Said::Done(bill)) => break bill,
            Some(Said::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the answer broke off")),
        }
    };
    writing.close();
    let response = writing.finished(&bill);
    if let Some(keep) = keep {
        keep.keep(&response);
    }
    Ok(Answers::with_limits(&hold, json(response)))
}

/// What a request says beside the question.
struct Wish {
    stream: bool,
    store: bool,
    input: Vec<Json>,
    /// What of the request is repeated in the response.
    echo: Json,
}

struct Keep {
    app: Arc<App>,
    tenant: u64,
    input: Vec<Json>,
}

impl Keep {
    fn keep(self, response: &Json) {
        let id = response["id"].as_str().unwrap_or_default().to_string();
        self.app.responses.keep(One { tenant: self.tenant, id, input: self.input, response: response.clone() });
    }
}

fn read(app: &App, caller: &Caller, mut fields: Fields) -> Result<(Asking, Wish), ApiError> {
    let model: String = fields.need("model")?;
    let instructions: Option<String> = fields.take("instructions")?;
    let previous: Option<String> = fields.take("previous_response_id")?;
    let mut input = match &previous {
        None => Vec::new(),
        Some(id) => {
            let mut one = app
                .responses
                .find(caller.tenant(), id)
                .map_err(|error| ApiError { param: Some("previous_response_id".into()), ..error })?;
            let output = one.response["output"].as_array_mut().map(std::mem::take);
            one.input.into_iter().chain(output.unwrap_or_default()).collect()
        }
    };
    match fields.take::<Json>("input")?.unwrap_or_else(|| "".into()) {
        Json::String(text) => {
            let content = json!([{ "type": "input_text", "text": text }]);
            input.push(json!({ "id": new_id("msg_"), "type": "message", "role": "user", "content": content }));
        }
        Json::Array(items) => input.extend(items.into_iter().map(|mut item| {
            if item.is_object() {
                complete(&mut item);
            }
            item
        })),
        other => {
            return Err(ApiError::field("input", format!("input is {other}, expected a string or a list of items")));
        }
    }
    let mut messages: Vec<Message> = instructions.iter().map(|text| Message::new("system", text.as_str())).collect();
    for (i, item) in input.iter().enumerate() {
        add(&mut messages, item, &format!("input[{i}]"))?;
    }
    let listed: Vec<Json> = fields.take("tools")?.unwrap_or_default();
    let tools = Tool::read_all(listed.clone())?;
    let chosen: Option<Json> = fields.take("tool_choice")?;
    let choice = ToolChoice::read(chosen.clone(), &tools)?;
    let parallel = fields.take("parallel_tool_calls")?.unwrap_or(true);
    let (shape, format) = shape(&mut fields)?;
    let choosing = Choosing::read(&mut fields)?;
    let max_tokens: Option<usize> = fields.within("max_output_tokens", 1..=usize::MAX)?;
    let logprobs: Option<usize> = fields.within("top_logprobs", 0..=20)?;
    let included: Vec<String> = fields.take("include")?.unwrap_or_default();
    let logprobs = included.iter().any(|word| word == "message.output_text.logprobs").then_some(logprobs.unwrap_or(0));
    let mut variables = Map::new();
    let mut effort = Json::Null;
    if let Some(mut options) = fields.object("reasoning")? {
        let wanted: Option<String> = options.take("effort")?;
        effort = json!(wanted);
        reasoning(&mut variables, wanted, &options.name("effort"))?;
        options.ignore(&["summary", "generate_summary"]);
        options.done()?;
    }
    let stream = fields.take("stream")?.unwrap_or(false);
    let store = fields.take("store")?.unwrap_or(true);
    let metadata: Json = fields.take("metadata")?.unwrap_or_else(|| json!({}));
    fields.ignore(&IGNORED);
    fields.ignore(&["stream_options", "max_tool_calls"]);
    if fields.take::<String>("truncation")?.is_some_and(|word| word != "disabled") {
        return Err(ApiError::field("truncation", "truncation can only be \"disabled\" here")
            .with_code("unsupported_parameter"));
    }
    fields.refuse(&[
        ("background", "answers are given while you wait"),
        ("conversation", "send previous_response_id or all of the input"),
        ("prompt", "no prompts are kept here"),
        ("context_management", "conversations are taken as they are"),
        ("moderation", "answers are not moderated"),
    ])?;
    fields.done()?;
    let echo = json!({
        "id": "", "object": "response", "created_at": 0, "status": "in_progress", "background": false, "error": null,
        "incomplete_details": null, "instructions": instructions, "max_output_tokens": max_tokens, "model": model,
        "output": [], "parallel_tool_calls": parallel, "previous_response_id": previous,
        "reasoning": { "effort": effort, "summary": null }, "store": store, "temperature": choosing.sampling.temperature,
        "text": { "format": format }, "tool_choice": chosen.unwrap_or_else(|| "auto".into()), "tools": listed,
        "top_p": choosing.sampling.top_p, "truncation": "disabled", "usage": null, "user": null, "metadata": metadata,
        "presence_penalty": choosing.sampling.presence_penalty, "frequency_penalty": choosing.sampling.frequency_penalty,
        "top_logprobs": logprobs.unwrap_or(0), "service_tier": "default", "completed_at": null,
        "max_tool_calls": null, "safety_identifier": null, "prompt_cache_key": null,
    });
    let conversation = Conversation { messages, tools, variables };
    let shape = (shape, "text.format.schema");
    let (n, ignore_eos, endpoint) = (1, false, "responses");
    let asking = Asking {
        model,
        conversation,
        choice,
        parallel,
        shape,
        choosing,
        max_tokens,
        ignore_eos,
        n,
        logprobs,
        endpoint,
        field: "input",
    };
    Ok((asking, Wish { stream, store, input, echo }))
}

/// Adds what an item may leave out, so that it is given back as clients expect it.
fn complete(item: &mut Json) {
    if item["id"].is_null() {
        item["id"] = new_id("item_").into();
    }
    if item["type"].is_null() {
        item["type"] = "message".into();
    }
    if item["type"] == "message"
        && let Some(text) = item["content"].as_str()
    {
        let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
        item["content"] = json!([{ "type": kind, "text": text }]);
    }
}

/// Adds what an item says to a conversation.
fn add(messages: &mut Vec<Message>, item: &Json, path: &str) -> Result<(), ApiError> {
    let word = |name: &str| item[name].as_str().unwrap_or_default();
    let kind = if item["type"].is_null() { "message" } else { word("type") };
    match kind {
        "message" => {
            let role = match word("role") {
                "developer" => "system",
                role @ ("system" | "user" | "assistant") => role,
                role => {
                    let name = format!("{path}.role");
                    return Err(ApiError::field(
                        &name,
                        format!("{name} is {role:?}, expected system, developer, user or assistant"),
                    ));
                }
            };
            messages.push(Message::new(role, text_of(item["content"].clone(), &format!("{path}.content"))?));
        }
        "function_call" => {
            let call = json!({ "id": item["call_id"], "type": "function",
                               "function": { "name": item["name"], "arguments": item["arguments"] } });
            // Calls that were made together belong to one turn.
            match messages.last_mut().filter(|last| last.role == "assistant") {
                Some(last) => match last.extra.get_mut("tool_calls").and_then(Json::as_array_mut) {
                    Some(calls) => calls.push(call),
                    None => drop(last.extra.insert("tool_calls".into(), json!([call]))),
                },
                None => {
                    let mut message = Message::new("assistant", "");
                    message.extra.insert("tool_calls".into(), json!([call]));
                    messages.push(message);
                }
            }
        }
        "function_call_output" => {
            let mut message = Message::new("tool", text_of(item["output"].clone(), &format!("{path}.output"))?);
            message.extra.insert("tool_call_id".into(), item["call_id"].clone());
            messages.push(message);
        }
        // Thoughts of earlier turns are for the model that thought them; templates leave them out.
        "reasoning" => {}
        _ => {
            let message = format!("{path} is of type {kind:?}, which this model cannot read");
            return Err(ApiError::field(path, message).with_code("unsupported_content"));
        }
    }
    Ok(())
}

/// Reads `text.format`; the shape, and the format as it is repeated.
fn shape(fields: &mut Fields) -> Result<(Shape, Json), ApiError> {
    let plain = || (Shape::Free, json!({ "type": "text" }));
    let Some(mut text) = fields.object("text")? else { return Ok(plain()) };
    text.ignore(&["verbosity"]);
    let format: Option<Json> = text.take("format")?;
    text.done()?;
    let Some(whole) = format else { return Ok(plain()) };
    let mut format = Fields::of(whole.clone(), "text.format")?;
    let kind: String = format.need("type")?;
    let shape = match kind.as_str() {
        "text" => Shape::Free,
        "json_object" => Shape::Object,
        "json_schema" => Shape::Schema(format.need("schema")?),
        _ => {
            let name = format.name("type");
            return Err(ApiError::field(
                &name,
                format!("{name} is {kind:?}, expected text, json_object or json_schema"),
            ));
        }
    };
    format.ignore(&["name", "strict", "description"]);
    format.done()?;
    Ok((shape, whole))
}

/// A response while it is written: items that follow each other, each opened, filled and closed.
struct Writing {
    response: Json,
    items: Vec<Json>,
    /// Kind of the item that is open.
    open: Option<&'static str>,
    number: usize,
    length: bool,
    /// Tokens whose text has not come yet.
    tokens: Vec<Json>,
}

impl Writing {
    fn event(&mut self, name: &'static str, mut data: Json) -> Event {
        data["type"] = name.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        Event::named(name, data)
    }

    fn token(&mut self, lease: &Lease, token: Option<Token>) {
        self.tokens.extend(token.and_then(|token| token_json(lease, &token)));
    }

    fn part(&mut self, part: Part) -> Vec<Event> {
        match part {
            Part::Text(text) => self.more("message", &text),
            Part::Thought(text) => self.more("reasoning", &text),
            Part::Call(Call { name, arguments }) => {
                let mut events = self.close();
                let (index, id) = (self.items.len(), new_id("fc_"));
                let mut item = json!({ "id": id, "type": "function_call", "status": "in_progress",
                                       "call_id": new_id("call_"), "name": name, "arguments": "" });
                events.push(self.event("response.output_item.added", json!({ "output_index": index, "item": item })));
                let at = json!({ "item_id": id, "output_index": index });
                let with = |field: &str| {
                    let mut at = at.clone();
                    at[field] = arguments.clone().into();
                    at
                };
                events.push(self.event("response.function_call_arguments.delta", with("delta")));
                let mut done = with("arguments");
                done["name"] = item["name"].clone();
                events.push(self.event("response.function_call_arguments.done", done));
                item["arguments"] = arguments.clone().into();
                item["status"] = "completed".into();
                self.items.push(item.clone());
                events.push(self.event("response.output_item.done", json!({ "output_index": index, "item": item })));
                events
            }
        }
    }

    /// Names of the events and parts of an item of text.
    fn words(kind: &str) -> (&'static str, &'static str, &'static str) {
        match kind {
            "reasoning" => ("reasoning_text", "response.reasoning_text.delta", "response.reasoning_text.done"),
            _ => ("output_text", "response.output_text.delta", "response.output_text.done"),
        }
    }

    fn more(&mut self, kind: &'static str, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let (word, delta, _) = Self::words(kind);
        if self.open != Some(kind) {
            events = self.close();
            let index = self.items.len();
            let mut item = match kind {
                "reasoning" => {
                    json!({ "id": new_id("rs_"), "type": kind, "status": "in_progress", "summary": [], "content": [] })
                }
                _ => {
                    json!({ "id": new_id("msg_"), "type": kind, "status": "in_progress", "role": "assistant", "content": [] })
                }
            };
            events.push(self.event("response.output_item.added", json!({ "output_index": index, "item": item })));
            let part = match kind {
                "reasoning" => json!({ "type": word, "text": "" }),
                _ => json!({ "type": word, "text": "", "annotations": [], "logprobs": [] }),
            };
            let added = json!({ "item_id": item["id"], "output_index": index, "content_index": 0, "part": part });
            events.push(self.event("response.content_part.added", added));
            item["content"] = json!([part]);
            self.items.push(item);
            self.open = Some(kind);
        }
        let tokens = std::mem::take(&mut self.tokens);
        let index = self.items.len() - 1;
        let item = &mut self.items[index];
        let id = item["id"].clone();
        let part = &mut item["content"][0];
        part["text"] = (part["text"].as_str().unwrap_or_default().to_string() + text).into();
        if let Some(list) = part["logprobs"].as_array_mut() {
            list.extend(tokens.iter().cloned());
        }
        let mut data = json!({ "item_id": id, "output_index": index, "content_index": 0, "delta": text });
        if kind == "message" {
            data["logprobs"] = tokens.into();
        }
        events.push(self.event(delta, data));
        events
    }

    /// Ends the item that is open.
    fn close(&mut self) -> Vec<Event> {
        let Some(kind) = self.open.take() else { return Vec::new() };
        let index = self.items.len() - 1;
        self.items[index]["status"] = "completed".into();
        let item = self.items[index].clone();
        let part = item["content"][0].clone();
        let at = json!({ "item_id": item["id"], "output_index": index, "content_index": 0 });
        let mut text = at.clone();
        text["text"] = part["text"].clone();
        if kind == "message" {
            text["logprobs"] = part["logprobs"].clone();
        }
        let mut whole = at;
        whole["part"] = part;
        let done = Self::words(kind).2;
        vec![
            self.event(done, text),
            self.event("response.content_part.done", whole),
            self.event("response.output_item.done", json!({ "output_index": index, "item": item })),
        ]
    }

    fn finished(&mut self, bill: &Bill) -> Json {
        let total = &bill.total;
        let mut response = self.response.clone();
        response["output"] = self.items.clone().into();
        response["status"] = if self.length { "incomplete" } else { "completed" }.into();
        if self.length {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
            if let Some(last) = response["output"].as_array_mut().and_then(|items| items.last_mut()) {
                last["status"] = "incomplete".into();
            }
        } else {
            response["completed_at"] = (now() as u64).into();
        }
        response["usage"] = json!({
            "input_tokens": total.prompt, "input_tokens_details": { "cached_tokens": total.cached, "cache_write_tokens": 0 },
            "output_tokens": total.completion, "output_tokens_details": { "reasoning_tokens": total.reasoning },
            "total_tokens": total.prompt + total.completion,
        });
        response
    }
}

struct Stream {
    writing: Writing,
    answers: Answers,
    lease: Lease,
    keep: Option<Keep>,
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
            let response = json!({ "response": self.writing.response });
            let created = self.writing.event("response.created", response.clone());
            return Some(vec![created, self.writing.event("response.in_progress", response)]);
        }
        let said = match self.first.take() {
            Some(said) => Some(said),
            None => self.answers.next().await,
        };
        Some(match said {
            Some(Said::More { parts, token, .. }) => {
                self.writing.token(&self.lease, token);
                parts.into_iter().flat_map(|part| self.writing.part(part)).collect()
            }
            Some(Said::Ended { reason, .. }) => {
                self.writing.length = reason == "length";
                self.writing.close()
            }
            Some(Said::Done(bill)) => {
                self.over = true;
                let response = self.writing.finished(&bill);
                if let Some(keep) = self.keep.take() {
                    keep.keep(&response);
                }
                let name = if self.writing.length { "response.incomplete" } else { "response.completed" };
                vec![self.writing.event(name, json!({ "response": response }))]
            }
            Some(Said::Failed(error)) => self.failed(&error),
            None => self.failed(&ApiError::internal("the answer broke off")),
        })
    }
}

impl Stream {
    fn failed(&mut self, error: &ApiError) -> Vec<Event> {
        self.over = true;
        let mut response = self.writing.response.clone();
        response["status"] = "failed".into();
        response["error"] = json!({ "code": error.code.unwrap_or("server_error"), "message": error.message });
        response["output"] = self.writing.items.clone().into();
        vec![self.writing.event("response.failed", json!({ "response": response }))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_turns() {
        let mut messages = Vec::new();
        let items = [
            json!({ "role": "user", "content": "Rain?" }),
            json!({ "type": "reasoning", "content": [] }),
            json!({ "type": "function_call", "call_id": "1", "name": "f", "arguments": "{}" }),
            json!({ "type": "function_call", "call_id": "2", "name": "g", "arguments": "{}" }),
            json!({ "type": "function_call_output", "call_id": "1", "output": "no" }),
            json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Dry." }] }),
        ];
        for (i, item) in items.iter().enumerate() {
            add(&mut messages, item, &format!("input[{i}]")).expect("good");
        }
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
        assert_eq!(messages[1].extra["tool_calls"].as_array().map(Vec::len), Some(2));
        let bad = add(&mut messages, &json!({ "type": "web_search_call" }), "input[9]").expect_err("unknown");
        assert_eq!(bad.param.as_deref(), Some("input[9]"));
    }

    #[test]
    fn every_item_is_opened_filled_and_closed_in_numbered_events() {
        let mut writing = Writing {
            response: json!({}),
            items: Vec::new(),
            open: None,
            number: 0,
            length: false,
            tokens: Vec::new(),
        };
        let call = Call { name: "f".into(), arguments: "{}".into() };
        let parts = [Part::Thought("hm".into()), Part::Text("a".into()), Part::Text("b".into()), Part::Call(call)];
        let mut events: Vec<Event> = parts.into_iter().flat_map(|part| writing.part(part)).collect();
        events.extend(writing.close());
        let numbers: Vec<u64> = events
            .iter()
            .map(|event| match &event.data {
                sse::Data::Json(data) => data["sequence_number"].as_u64().expect("a number"),
                sse::Data::Done => panic!("no end here"),
            })
            .collect();
        assert!(numbers.iter().copied().eq(0..events.len() as u64));
        let count = |name: &str| events.iter().filter(|event| event.name == Some(name)).count();
        assert_eq!((count("response.output_item.added"), count("response.output_item.done")), (3, 3));
        assert_eq!((count("response.output_text.delta"), count("response.output_text.done")), (2, 1));
        let response = writing.finished(&Bill::default());
        assert_eq!(response["output"][1]["content"][0]["text"], "ab");
        assert_eq!(response["status"], "completed");
    }
}
