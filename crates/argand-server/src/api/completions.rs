//! `/v1/completions`: plain text that is continued.

use super::asking::MOST_CHOICES;
use super::chat::usage;
use super::sampling::{Choosing, IGNORED};
use super::sse::{self, Event, Events};
use super::{Answer, aside, json, new_id};
use crate::account::Caller;
use crate::answer::{Answers, Question, Said, Token, ask};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::metrics::now;
use crate::models::Lease;
use crate::speech::{Part, Speech};
use argand_engine::{Request, StopRules};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value as Json, json};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// What to continue: tokens of each text, and the text to be repeated in front.
struct Text {
    tokens: Vec<u32>,
    echo: String,
}

/// `POST /v1/completions`.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: String = fields.need("model")?;
    let prompt: Json = fields.take("prompt")?.unwrap_or_else(|| "".into());
    let choosing = Choosing::read(&mut fields)?;
    let max_tokens: usize = fields.within("max_tokens", 1..=usize::MAX)?.unwrap_or(16);
    let n: usize = fields.within("n", 1..=MOST_CHOICES)?.unwrap_or(1);
    let logprobs: Option<usize> = fields.within("logprobs", 0..=20)?;
    let echo: bool = fields.take("echo")?.unwrap_or(false);
    let ignore_eos: bool = fields.take("ignore_eos")?.unwrap_or(false);
    let stream: bool = fields.take("stream")?.unwrap_or(false);
    let mut tell_usage = false;
    if let Some(mut options) = fields.object("stream_options")? {
        tell_usage = options.take("include_usage")?.unwrap_or(false);
        options.ignore(&["include_obfuscation"]);
        options.done()?;
    }
    fields.ignore(&IGNORED);
    if fields.take::<usize>("best_of")?.is_some_and(|best| best != n) {
        return Err(ApiError::field("best_of", "best_of can only be n here").with_code("unsupported_parameter"));
    }
    fields.refuse(&[("suffix", "no model here fills in the middle")])?;
    if echo && logprobs.is_some() {
        let message =
            "echo and logprobs together ask for probabilities of the prompt, which are not kept; leave one of them out";
        return Err(ApiError::field("echo", message).with_code("unsupported_parameter"));
    }
    fields.done()?;

    caller.sees(&app.models.canonical(&model)?)?;
    let lease = app.models.writer(&model).await?;
    let texts = aside(|| texts(&lease, prompt, echo))?;
    if texts.len() * n > MOST_CHOICES {
        return Err(ApiError::field(
            "prompt",
            format!("{} texts with n {n} are more than {MOST_CHOICES} answers", texts.len()),
        ));
    }
    let seed = choosing.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    let request = |text: &Text, stream: usize| Request {
        sampling: choosing.sampling.clone(),
        stop: StopRules {
            tokens: if ignore_eos { Default::default() } else { lease.writer.tokenizer.eog().clone() },
            strings: choosing.stop.clone(),
            max_tokens: Some(max_tokens.min(lease.context.saturating_sub(text.tokens.len()).max(1))),
        },
        seed,
        stream: stream as u64,
        logprobs,
        namespace: caller.tenant(),
        text: Some(lease.writer.decoder(false, true)),
        ..Request::new(text.tokens.clone())
    };
    let requests: Vec<Request> =
        texts.iter().flat_map(|text| (0..n).map(move |stream| (text, stream))).map(|(t, s)| request(t, s)).collect();
    let echoes: Vec<String> = texts.iter().flat_map(|text| std::iter::repeat_n(text.echo.clone(), n)).collect();
    let question = Question { requests, choices: n, speech: Speech::plain(), endpoint: "completions", field: "prompt" };
    let mut answers = ask(&app, &caller, lease.clone(), question).await?;
    let head = Head { id: new_id("cmpl-"), created: now() as u64, model: lease.name().to_string() };
    let hold = answers.hold();
    if stream {
        let first = answers.next().await;
        if let Some(Said::Failed(error)) = first {
            return Err(error);
        }
        let offsets = vec![0; echoes.len()];
        return Ok(Answers::with_limits(
            &hold,
            sse::response(Stream { head, answers, lease, first, echoes, offsets, tell_usage, over: false }),
        ));
    }
    Ok(Answers::with_limits(&hold, json(whole(&head, &lease, answers, echoes).await?)))
}

/// A text, a list of texts, tokens, or a list of lists of tokens.
fn texts(lease: &Lease, prompt: Json, echo: bool) -> Result<Vec<Text>, ApiError> {
    let wrong = || {
        ApiError::field(
            "prompt",
            "prompt is none of: a string, a list of strings, a list of tokens, a list of lists of tokens",
        )
    };
    let of_text = |text: &str| {
        let tokens = lease.writer.text(text)?;
        Ok(Text { tokens, echo: if echo { text.to_string() } else { String::new() } })
    };
    let of_tokens = |list: &[Json]| {
        let tokens = list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()));
        let tokens = tokens.collect::<Option<Vec<u32>>>().ok_or_else(wrong)?;
        let echo = if echo { lease.writer.tokenizer.decode(&tokens, true) } else { String::new() };
        Ok(Text { tokens, echo })
    };
    let texts: Vec<Text> = match &prompt {
        Json::String(text) => vec![of_text(text)?],
        Json::Array(list) if list.iter().all(Json::is_number) => vec![of_tokens(list)?],
        Json::Array(list) => list
            .iter()
            .map(|one| match one {
                Json::String(text) => of_text(text),
                Json::Array(tokens) => of_tokens(tokens),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    match texts.iter().all(|text| !text.tokens.is_empty()) {
        true if !texts.is_empty() => Ok(texts),
        _ => Err(ApiError::field("prompt", "prompt is empty; a text starts from at least one token")),
    }
}

struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn object(&self, choices: Json) -> Json {
        json!({ "id": self.id, "object": "text_completion", "created": self.created, "model": self.model, "choices": choices })
    }
}

/// Tokens as this old protocol lists them.
#[derive(Default)]
struct Tokens {
    any: bool,
    tokens: Vec<Json>,
    logprobs: Vec<Json>,
    top: Vec<Json>,
    offsets: Vec<usize>,
}

impl Tokens {
    fn push(&mut self, lease: &Lease, token: &Token, offset: usize) {
        let Some(logprobs) = &token.logprobs else { return };
        let text = |id: u32| String::from_utf8_lossy(&lease.writer.tokenizer.token_bytes(id)).into_owned();
        self.any = true;
        self.tokens.push(text(token.id).into());
        self.logprobs.push(json!(logprobs.chosen.max(-9999.0)));
        self.top
            .push(logprobs.top.iter().map(|(id, p)| (text(*id), json!(p))).collect::<serde_json::Map<_, _>>().into());
        self.offsets.push(offset);
    }

    fn json(self) -> Json {
        if !self.any {
            return Json::Null;
        }
        json!({ "tokens": self.tokens, "token_logprobs": self.logprobs, "top_logprobs": self.top, "text_offset": self.offsets })
    }
}

fn text_of(parts: Vec<Part>) -> String {
    let text = |part| match part {
        Part::Text(text) | Part::Thought(text) => text,
        Part::Call(call) => call.arguments,
    };
    parts.into_iter().map(text).collect()
}

async fn whole(head: &Head, lease: &Lease, mut answers: Answers, echoes: Vec<String>) -> Result<Json, ApiError> {
    let mut choices: Vec<(String, Tokens, Option<&'static str>)> =
        echoes.into_iter().map(|echo| (echo, Tokens::default(), None)).collect();
    let bill = loop {
        match answers.next().await {
            Some(Said::More { choice, parts, token }) => {
                let (text, tokens, _) = &mut choices[choice];
                if let Some(token) = token {
                    tokens.push(lease, &token, text.chars().count());
                }
                text.push_str(&text_of(parts));
            }
            Some(Said::Ended { choice, reason, .. }) => choices[choice].2 = Some(reason),
            Some(Said::Done(bill)) => break bill,
            Some(Said::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the answer broke off")),
        }
    };
    let choices = choices.into_iter().enumerate().map(|(index, (text, tokens, reason))| {
        json!({ "index": index, "text": text, "logprobs": tokens.json(), "finish_reason": reason })
    });
    let mut body = head.object(choices.collect());
    body["usage"] = usage(&bill);
    Ok(body)
}

struct Stream {
    head: Head,
    answers: Answers,
    lease: Lease,
    first: Option<Said>,
    /// Text that is still to be repeated in front of each choice.
    echoes: Vec<String>,
    /// Characters of each choice that were sent.
    offsets: Vec<usize>,
    tell_usage: bool,
    over: bool,
}

impl Stream {
    fn chunk(&self, choices: Json) -> Event {
        let mut chunk = self.head.object(choices);
        if self.tell_usage {
            chunk["usage"] = Json::Null;
        }
        Event::data(chunk)
    }
}

impl Events for Stream {
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.over {
            return None;
        }
        let said = match self.first.take() {
            Some(said) => said,
            None => self.answers.next().await?,
        };
        Some(match said {
            Said::More { choice, parts, token } => {
                let mut tokens = Tokens::default();
                if let Some(token) = token {
                    tokens.push(&self.lease, &token, self.offsets[choice]);
                }
                let text = std::mem::take(&mut self.echoes[choice]) + &text_of(parts);
                self.offsets[choice] += text.chars().count();
                if text.is_empty() && !tokens.any {
                    return Some(Vec::new());
                }
                vec![self.chunk(
                    json!([{ "index": choice, "text": text, "logprobs": tokens.json(), "finish_reason": null }]),
                )]
            }
            Said::Ended { choice, reason, .. } => {
                vec![self.chunk(json!([{ "index": choice, "text": "", "logprobs": null, "finish_reason": reason }]))]
            }
            Said::Done(bill) => {
                self.over = true;
                let mut last = self.head.object(json!([]));
                last["usage"] = usage(&bill);
                let last = self.tell_usage.then(|| Event::data(last));
                last.into_iter().chain([Event::done()]).collect()
            }
            Said::Failed(error) => {
                self.over = true;
                vec![Event::data(error.openai())]
            }
        })
    }
}
