//! `/v1/chat/completions`, as OpenAI's clients use it.

use super::asking::{Asking, MOST_CHOICES, messages};
use super::sampling::{Choosing, IGNORED, logprobs};
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
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// What a request says beside the question.
struct Wish {
    stream: bool,
    usage: bool,
}

/// `POST /v1/chat/completions`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let (asking, wish) = read(Fields::parse(&body)?)?;
    let n = asking.n;
    let (lease, mut answers) = asking.ask(&app, &caller).await?;
    let head =
        Head { id: new_id("chatcmpl-"), created: now() as u64, model: lease.name().to_string(), usage: wish.usage };
    let hold = answers.hold();
    if wish.stream {
        // The first thing decides whether there is an answer at all, so errors have their own status.
        let first = answers.next().await;
        if let Some(Said::Failed(error)) = first {
            return Err(error);
        }
        let begun = vec![Begun::default(); n];
        return Ok(Answers::with_limits(
            &hold,
            sse::response(Stream { head, answers, lease, first, begun, over: false }),
        ));
    }
    Ok(Answers::with_limits(&hold, json(whole(&head, &lease, answers, n).await?)))
}

fn read(mut fields: Fields) -> Result<(Asking, Wish), ApiError> {
    let model: String = fields.need("model")?;
    let messages = messages(fields.need("messages")?)?;
    let tools = Tool::read_all(fields.take("tools")?.unwrap_or_default())?;
    let choice = ToolChoice::read(fields.take("tool_choice")?, &tools)?;
    let parallel = fields.take("parallel_tool_calls")?.unwrap_or(true);
    let choosing = Choosing::read(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let shape = shape(&mut fields)?;
    let most = fields.within::<usize>("max_completion_tokens", 1..=usize::MAX)?;
    let max_tokens = most.or(fields.within("max_tokens", 1..=usize::MAX)?);
    let n = fields.within("n", 1..=MOST_CHOICES)?.unwrap_or(1);
    let ignore_eos = fields.take("ignore_eos")?.unwrap_or(false);
    let variables = variables(&mut fields)?;
    let wish = wish(&mut fields)?;
    fields.ignore(&IGNORED);
    if fields.take::<Vec<String>>("modalities")?.is_some_and(|kinds| kinds != ["text"]) {
        return Err(
            ApiError::field("modalities", "modalities can only be [\"text\"] here").with_code("unsupported_parameter")
        );
    }
    fields.refuse(&[
        ("audio", "no model here speaks"),
        ("web_search_options", "the server does not search the web"),
        ("prediction", "predicted outputs are not used"),
        ("moderation", "answers are not moderated"),
        ("functions", "send tools"),
        ("function_call", "send tool_choice"),
    ])?;
    fields.done()?;
    let conversation = Conversation { messages, tools, variables };
    let endpoint = "chat.completions";
    Ok((
        Asking {
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
            field: "messages",
        },
        wish,
    ))
}

/// Reads `response_format`, or `structured_outputs`, which vLLM has for what OpenAI has no words for.
fn shape(fields: &mut Fields) -> Result<(Shape, &'static str), ApiError> {
    if let Some(mut wanted) = fields.object("structured_outputs")? {
        let shapes = [
            wanted.take("json")?.map(Shape::Schema),
            wanted.take("regex")?.map(Shape::Regex),
            wanted.take("choice")?.map(Shape::Choice),
            wanted.take("grammar")?.map(Shape::Lark),
        ];
        wanted.done()?;
        let mut shapes = shapes.into_iter().flatten();
        return match (shapes.next(), shapes.next()) {
            (Some(shape), None) => Ok((shape, "structured_outputs")),
            _ => Err(ApiError::field(
                "structured_outputs",
                "structured_outputs needs one of json, regex, choice, grammar",
            )),
        };
    }
    let Some(mut format) = fields.object("response_format")? else { return Ok((Shape::Free, "response_format")) };
    let kind: String = format.need("type")?;
    let shape = match kind.as_str() {
        "text" => Shape::Free,
        "json_object" => Shape::Object,
        "json_schema" => {
            let name = format.name("json_schema");
            let missing = || ApiError::field(&name, format!("{name} is missing"));
            let mut outer = format.object("json_schema")?.ok_or_else(missing)?;
            let schema = outer.need::<Json>("schema")?;
            outer.ignore(&["name", "strict", "description"]);
            outer.done()?;
            Shape::Schema(schema)
        }
        _ => {
            let name = format.name("type");
            return Err(ApiError::field(
                &name,
                format!("{name} is {kind:?}, expected text, json_object or json_schema"),
            ));
        }
    };
    format.done()?;
    Ok((shape, "response_format"))
}

/// What the template is told beside the messages.
fn variables(fields: &mut Fields) -> Result<Map<String, Json>, ApiError> {
    let mut variables: Map<String, Json> = fields.take("chat_template_kwargs")?.unwrap_or_default();
    let effort = fields.take("reasoning_effort")?;
    reasoning(&mut variables, effort, "reasoning_effort")?;
    Ok(variables)
}

/// Tells the template how much to think.
///
/// # Errors
/// There is no such word.
pub fn reasoning(variables: &mut Map<String, Json>, effort: Option<String>, name: &str) -> Result<(), ApiError> {
    let Some(effort) = effort else { return Ok(()) };
    let known = ["none", "minimal", "low", "medium", "high", "xhigh"];
    if !known.contains(&effort.as_str()) {
        return Err(ApiError::field(name, format!("{name} is {effort:?}, expected one of {}", known.join(", "))));
    }
    variables.entry("enable_thinking").or_insert((effort != "none").into());
    variables.entry("reasoning_effort").or_insert(effort.into());
    Ok(())
}

fn wish(fields: &mut Fields) -> Result<Wish, ApiError> {
    let stream = fields.take("stream")?.unwrap_or(false);
    let mut usage = false;
    if let Some(mut options) = fields.object("stream_options")? {
        if !stream {
            return Err(ApiError::field("stream_options", "stream_options needs stream to be true"));
        }
        usage = options.take("include_usage")?.unwrap_or(false);
        options.ignore(&["include_obfuscation"]);
        options.done()?;
    }
    Ok(Wish { stream, usage })
}

/// What every chunk begins with.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
    /// Whether usage is told in streams.
    usage: bool,
}

impl Head {
    fn object(&self, object: &str, choices: Json) -> Json {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model,
                "system_fingerprint": concat!("argand-", env!("CARGO_PKG_VERSION")), "choices": choices })
    }

    fn chunk(&self, choices: Json, usage: Json) -> Event {
        let mut chunk = self.object("chat.completion.chunk", choices);
        if self.usage {
            chunk["usage"] = usage;
        }
        Event::data(chunk)
    }
}

/// As OpenAI writes it.
pub fn usage(bill: &Bill) -> Json {
    let total = &bill.total;
    let mut usage = json!({
        "prompt_tokens": total.prompt, "completion_tokens": total.completion,
        "total_tokens": total.prompt + total.completion,
        "prompt_tokens_details": { "cached_tokens": total.cached },
        "completion_tokens_details": {
            "reasoning_tokens": total.reasoning, "accepted_prediction_tokens": total.accepted,
            "rejected_prediction_tokens": total.rejected,
        },
    });
    if let Some(cost) = &bill.cost {
        usage["cost"] = json!({ "amount": cost.amount.to_string(), "currency": cost.currency.to_string() });
    }
    usage
}

fn call_json(call: &Call) -> Json {
    json!({ "id": new_id("call_"), "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

/// A token with its probability, as OpenAI writes it; none when it was not asked for.
pub fn token_json(lease: &Lease, token: &Token) -> Option<Json> {
    let logprobs = token.logprobs.as_ref()?;
    let one = |id: u32, logprob: f32| {
        let bytes = lease.writer.tokenizer.token_bytes(id);
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": logprob.max(-9999.0), "bytes": bytes })
    };
    let mut json = one(token.id, logprobs.chosen);
    json["top_logprobs"] = logprobs.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect();
    Some(json)
}

/// One choice of an answer that is given at once.
#[derive(Default)]
struct Collected {
    thoughts: String,
    text: String,
    calls: Vec<Json>,
    logprobs: Vec<Json>,
    reason: Option<&'static str>,
}

async fn whole(head: &Head, lease: &Lease, mut answers: Answers, n: usize) -> Result<Json, ApiError> {
    let mut choices: Vec<Collected> = (0..n).map(|_| Collected::default()).collect();
    let bill = loop {
        match answers.next().await {
            Some(Said::More { choice, parts, token }) => {
                let one = &mut choices[choice];
                one.logprobs.extend(token.and_then(|token| token_json(lease, &token)));
                for part in parts {
                    match part {
                        Part::Thought(text) => one.thoughts.push_str(&text),
                        Part::Text(text) => one.text.push_str(&text),
                        Part::Call(call) => one.calls.push(call_json(&call)),
                    }
                }
            }
            Some(Said::Ended { choice, reason, .. }) => choices[choice].reason = Some(reason),
            Some(Said::Done(bill)) => break bill,
            Some(Said::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the answer broke off")),
        }
    };
    let choice = |(index, one): (usize, Collected)| {
        let content = if one.text.is_empty() && !one.calls.is_empty() { Json::Null } else { one.text.into() };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !one.thoughts.is_empty() {
            message["reasoning_content"] = one.thoughts.into();
        }
        if !one.calls.is_empty() {
            message["tool_calls"] = one.calls.into();
        }
        let logprobs =
            if one.logprobs.is_empty() { Json::Null } else { json!({ "content": one.logprobs, "refusal": null }) };
        json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": one.reason })
    };
    let choices: Json = choices.into_iter().enumerate().map(choice).collect();
    let mut body = head.object("chat.completion", choices);
    body["usage"] = usage(&bill);
    Ok(body)
}

/// What of a choice has been sent.
#[derive(Clone, Debug, Default)]
struct Begun {
    role: bool,
    calls: usize,
    /// Tokens whose text is still uncertain.
    logprobs: Vec<Json>,
}

/// An answer that is given piece by piece.
struct Stream {
    head: Head,
    answers: Answers,
    lease: Lease,
    first: Option<Said>,
    begun: Vec<Begun>,
    over: bool,
}

impl Events for Stream {
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.over {
            return None;
        }
        loop {
            let said = match self.first.take() {
                Some(said) => Some(said),
                None => self.answers.next().await,
            };
            let events = self.events(said);
            if !events.is_empty() {
                return Some(events);
            }
        }
    }
}

impl Stream {
    fn events(&mut self, said: Option<Said>) -> Vec<Event> {
        match said {
            Some(Said::More { choice, parts, token }) => {
                let token = token.and_then(|token| token_json(&self.lease, &token));
                self.begun[choice].logprobs.extend(token);
                parts.into_iter().flat_map(|part| self.part(choice, part)).collect()
            }
            Some(Said::Ended { choice, reason, .. }) => {
                let mut events = Vec::new();
                let role = self.role(choice);
                let rest = !self.begun[choice].logprobs.is_empty();
                if role.is_some() || rest {
                    events.push(self.delta(choice, role, json!({ "content": "" })));
                }
                let end = json!([{ "index": choice, "delta": {}, "logprobs": null, "finish_reason": reason }]);
                events.push(self.head.chunk(end, Json::Null));
                events
            }
            Some(Said::Done(bill)) => {
                self.over = true;
                let usage = self.head.usage.then(|| self.head.chunk(json!([]), usage(&bill)));
                usage.into_iter().chain([Event::done()]).collect()
            }
            Some(Said::Failed(error)) => {
                self.over = true;
                vec![Event::data(error.openai())]
            }
            None => {
                self.over = true;
                vec![Event::data(ApiError::internal("the answer broke off").openai())]
            }
        }
    }

    /// The role, the first time.
    fn role(&mut self, choice: usize) -> Option<&'static str> {
        (!std::mem::replace(&mut self.begun[choice].role, true)).then_some("assistant")
    }

    fn part(&mut self, choice: usize, part: Part) -> Vec<Event> {
        let role = self.role(choice);
        match part {
            Part::Text(text) => vec![self.delta(choice, role, json!({ "content": text }))],
            Part::Thought(text) => vec![self.delta(choice, role, json!({ "reasoning_content": text }))],
            Part::Call(call) => {
                let index = self.begun[choice].calls;
                self.begun[choice].calls += 1;
                // First the name, then the arguments, as clients that add up fragments expect.
                let mut start = call_json(&Call { arguments: String::new(), ..call.clone() });
                start["index"] = index.into();
                let arguments = json!({ "index": index, "function": { "arguments": call.arguments } });
                vec![
                    self.delta(choice, role, json!({ "tool_calls": [start] })),
                    self.delta(choice, None, json!({ "tool_calls": [arguments] })),
                ]
            }
        }
    }

    fn delta(&mut self, choice: usize, role: Option<&str>, mut delta: Json) -> Event {
        if let Some(role) = role {
            delta["role"] = role.into();
        }
        let tokens = std::mem::take(&mut self.begun[choice].logprobs);
        let logprobs = if tokens.is_empty() { Json::Null } else { json!({ "content": tokens, "refusal": null }) };
        let choices = json!([{ "index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": null }]);
        self.head.chunk(choices, Json::Null)
    }
}
