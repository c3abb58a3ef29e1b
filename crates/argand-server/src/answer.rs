//! An answer on its way from the engine to a client, and what it costs.
//!
//! A task stands between the two. When the client goes away the task cancels, waits for the engine's count and settles it;
//! the end is told to the client after it is on record. So what is counted is what was computed, however a request ends.

use crate::account::{Caller, Hold};
use crate::app::App;
use crate::error::ApiError;
use crate::metrics::Outcome;
use crate::models::Lease;
use crate::record::Record;
use crate::speech::{Part, Speech};
use crate::worker::{Ended, Out, Ticket};
use argand_engine::{Finish, Logprobs, Request, Usage};
use argand_ledger::Cost;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// How often it is noted what a running request has used; that much at most is lost when the process is killed.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Something that happens to an answer.
#[derive(Debug)]
pub enum Said {
    /// More of one of the choices.
    More {
        /// Which.
        choice: usize,
        /// What was said; may be empty while it is uncertain.
        parts: Vec<Part>,
        /// The token that brought it.
        token: Option<Token>,
    },
    /// One of the choices has ended.
    Ended {
        /// Which.
        choice: usize,
        /// `stop`, `length` or `tool_calls`.
        reason: &'static str,
        /// The stop string that ended it.
        stopped_by: Option<String>,
    },
    /// All have, and it is on record.
    Done(Bill),
    /// Nothing more comes.
    Failed(ApiError),
}

/// A token with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token.
    pub id: u32,
    /// Its probability, when asked for.
    pub logprobs: Option<Logprobs>,
}

/// What all choices of a request took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Tokens of the prompt, once.
    pub prompt: usize,
    /// Those of them that were there already.
    pub cached: usize,
    /// Tokens of all choices.
    pub completion: usize,
    /// Those of them that were thoughts.
    pub reasoning: usize,
    /// Drafted tokens that were right.
    pub accepted: usize,
    /// Drafted tokens that were wrong.
    pub rejected: usize,
}

/// What was put on record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// What was done.
    pub total: Total,
    /// What it costs, if a price list says so.
    pub cost: Option<Cost>,
}

/// A request in the words of no protocol.
pub struct Question {
    /// Requests of the engine, one for each choice. Those of the same prompt follow each other.
    pub requests: Vec<Request>,
    /// How many choices there are of each prompt.
    pub choices: usize,
    /// How to listen to each.
    pub speech: Speech,
    /// Which endpoint asks, for the record.
    pub endpoint: &'static str,
    /// The field of the request in which the prompt stands.
    pub field: &'static str,
}

/// The end of the wire at which a handler listens. Dropping it cancels.
#[derive(Debug)]
pub struct Answers {
    said: UnboundedReceiver<Said>,
    hold: Hold,
    prompt: usize,
}

impl Answers {
    /// The next thing that is said; none after [`Said::Done`] and [`Said::Failed`].
    pub async fn next(&mut self) -> Option<Said> {
        self.said.recv().await
    }

    /// A response with how the limits of the key stand.
    pub fn with_limits(hold: &Hold, mut response: Response) -> Response {
        hold.headers(response.headers_mut());
        response
    }

    /// Tokens of the prompt.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// What was reserved.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }
}

/// Hands a question to a model.
///
/// # Errors
/// It cannot be taken now, or the caller may not.
pub async fn ask(app: &Arc<App>, caller: &Caller, lease: Lease, question: Question) -> Result<Answers, ApiError> {
    // A client that goes away in the middle must not leave a reservation behind, so this goes on without it.
    let (app, caller) = (Arc::clone(app), caller.clone());
    let task = tokio::spawn(async move { begin(app, caller, lease, question).await });
    task.await.unwrap_or_else(|_| Err(ApiError::internal("a mistake of the server; its log says more")))
}

async fn begin(app: Arc<App>, caller: Caller, lease: Lease, question: Question) -> Result<Answers, ApiError> {
    let Question { requests, choices: each, speech, endpoint, field } = question;
    // The engine counts a prompt for each choice; it was asked for once.
    let prompts = requests.iter().step_by(each.max(1));
    let prompt = prompts.map(|request| request.source.len() + request.prompt.len()).sum();
    let most = requests.iter().map(|request| request.stop.max_tokens.unwrap_or(0)).fold(0, usize::saturating_add);
    let hold = caller.reserve(lease.name(), endpoint, prompt, most).await?;
    let choices = requests.len();
    let ticket = match lease.worker().submit(caller.tenant(), requests) {
        Ok(ticket) => ticket,
        Err(full) => {
            app.metrics.refused();
            hold.release();
            return Err(full.into());
        }
    };
    let (out, receiver) = unbounded_channel();
    let listeners = vec![Listening { speech, called: false, thoughts: 0, tokens: 0, ended: None }; choices];
    let tasks = Arc::clone(&app);
    let total = Total { prompt, ..Total::default() };
    let drive = Drive {
        app,
        lease,
        ticket,
        out,
        listeners,
        total,
        each,
        endpoint,
        field,
        started: Instant::now(),
        first: None,
    };
    tasks.tasks.spawn(drive.run(hold.clone()));
    Ok(Answers { said: receiver, hold, prompt })
}

/// One choice while it is heard.
#[derive(Clone)]
struct Listening {
    speech: Speech,
    called: bool,
    thoughts: usize,
    /// Tokens that were heard of.
    tokens: usize,
    ended: Option<Usage>,
}

struct Drive {
    app: Arc<App>,
    lease: Lease,
    ticket: Ticket,
    out: UnboundedSender<Said>,
    listeners: Vec<Listening>,
    total: Total,
    /// Choices of each prompt.
    each: usize,
    endpoint: &'static str,
    field: &'static str,
    started: Instant,
    /// When the first token came.
    first: Option<Instant>,
}

impl Drive {
    async fn run(mut self, hold: Hold) {
        let deadline = self.started + self.app.config.request_timeout();
        let mut failure: Option<ApiError> = None;
        let mut outcome = Outcome::Finished;
        let mut leaving = false;
        let mut notes = tokio::time::interval_at(self.started + NOTE_EVERY, NOTE_EVERY);
        loop {
            let heard = tokio::select! {
                heard = self.ticket.next() => heard,
                _ = notes.tick() => {
                    hold.note(&self.so_far());
                    continue;
                }
                () = self.out.closed(), if !leaving => {
                    (leaving, outcome) = (true, Outcome::Cancelled);
                    self.ticket.cancel();
                    continue;
                }
                () = sleep_until(deadline), if !leaving => {
                    (leaving, outcome) = (true, Outcome::Failed);
                    failure = Some(ApiError::unavailable("the request took longer than the server allows").with_code("timeout"));
                    self.ticket.cancel();
                    continue;
                }
                () = self.app.hurry(), if !leaving => {
                    (leaving, outcome) = (true, Outcome::Failed);
                    failure = Some(ApiError::unavailable("the server is shutting down").with_code("shutting_down"));
                    self.ticket.cancel();
                    continue;
                }
            };
            match heard {
                None => break,
                Some((choice, Out::Token { id, text, logprobs })) => self.token(choice, id, &text, logprobs),
                Some((choice, Out::Ended { how, text, usage })) => {
                    let wrong = self.end(choice, how, &text, usage);
                    if failure.is_none() && wrong.is_some() {
                        (failure, outcome, leaving) = (wrong, Outcome::Failed, true);
                        self.ticket.cancel();
                    }
                }
            }
        }
        if failure.is_none() && outcome == Outcome::Finished && self.listeners.iter().any(|one| one.ended.is_none()) {
            // The worker is gone without a word.
            failure = Some(ApiError::unavailable("the model has stopped after a failure"));
            outcome = Outcome::Failed;
        }
        let Drive { app, lease, ticket, out, listeners, mut total, each, endpoint, started, first, .. } = self;
        drop(ticket);
        let ends = || listeners.iter().filter_map(|one| one.ended);
        let firsts = listeners.iter().step_by(each.max(1)).filter_map(|one| one.ended);
        total.cached = firsts.map(|usage| usage.cached_tokens).sum();
        total.completion =
            listeners.iter().map(|one| one.ended.map_or(0, |u| u.completion_tokens).max(one.tokens)).sum();
        total.reasoning = listeners.iter().map(|one| one.thoughts).sum();
        total.accepted = ends().map(|usage| usage.accepted_tokens).sum();
        total.rejected = ends().map(|usage| usage.draft_tokens - usage.accepted_tokens).sum();
        // Nothing was computed for a request that never ran.
        if ends().all(|usage| usage == Usage::default()) && total.completion == 0 {
            total = Total::default();
        }
        let (model, failed, since) = (lease.name(), failure.as_ref(), first.map(|first| first - started));
        let whole = started.elapsed();
        Record { model, endpoint, hold: &hold, total: &total, outcome, first: since, whole, failure: failed }
            .tell(&app);
        let settled = hold.settle(&total, outcome).await;
        drop(lease);
        let last = match (failure, settled) {
            (Some(error), _) => Said::Failed(error),
            (None, Err(error)) => Said::Failed(error),
            (None, Ok(cost)) => Said::Done(Bill { total, cost }),
        };
        let _ = out.send(last);
    }

    /// What is certain to have been done.
    fn so_far(&self) -> Total {
        let completion = self.listeners.iter().map(|one| one.tokens).sum();
        let reasoning = self.listeners.iter().map(|one| one.thoughts).sum();
        let prompt = if self.first.is_some() { self.total.prompt } else { 0 };
        Total { prompt, completion, reasoning, ..Total::default() }
    }

    fn token(&mut self, choice: usize, id: u32, text: &str, logprobs: Option<Logprobs>) {
        let prompt = if self.first.is_none() { self.total.prompt } else { 0 };
        self.first.get_or_insert_with(Instant::now);
        self.app.metrics.live(prompt, 1);
        let one = &mut self.listeners[choice];
        one.tokens += 1;
        let parts = one.speech.push(text);
        one.thoughts += usize::from(one.speech.is_thinking());
        self.say(choice, parts, Some(Token { id, logprobs }));
    }

    fn say(&mut self, choice: usize, parts: Vec<Part>, token: Option<Token>) {
        self.listeners[choice].called |= parts.iter().any(|part| matches!(part, Part::Call(_)));
        let _ = self.out.send(Said::More { choice, parts, token });
    }

    /// Ends a choice; the error if it did not end well.
    fn end(&mut self, choice: usize, how: Ended, text: &str, usage: Usage) -> Option<ApiError> {
        let one = &mut self.listeners[choice];
        one.ended = Some(usage);
        let mut parts = one.speech.push(text);
        parts.extend(one.speech.finish());
        if !parts.is_empty() {
            self.say(choice, parts, None);
        }
        let finish = match how {
            Ended::Finished(finish) => finish,
            Ended::Refused(error) => return Some(ApiError::refused(error, self.field)),
            Ended::Cancelled => return None,
            Ended::Failed(why) => return Some(ApiError::unavailable(why)),
        };
        let Some(reason) = finish.openai() else { return Some(ApiError::internal(finish.to_string())) };
        let reason = if self.listeners[choice].called && reason == "stop" { "tool_calls" } else { reason };
        let stopped_by = if let Finish::StopString(text) = finish { Some(text) } else { None };
        let _ = self.out.send(Said::Ended { choice, reason, stopped_by });
        None
    }
}
