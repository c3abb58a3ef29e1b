//! Server-sent events (WHATWG HTML, section 9.2).

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream::unfold;
use serde_json::Value as Json;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

/// After this much silence a comment shows that the connection lives.
const SILENCE: Duration = Duration::from_secs(15);

/// Something that gives out events, several at a time, until there are no more.
pub trait Events: Send + 'static {
    /// The next ones; none at the end.
    fn next(&mut self) -> impl Future<Output = Option<Vec<Event>>> + Send;
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, where the protocol gives names.
    pub name: Option<&'static str>,
    /// What it says.
    pub data: Data,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// JSON on one line.
    Json(Json),
    /// The end of OpenAI's streams.
    Done,
}

impl Event {
    /// An event without a name.
    pub fn data(value: Json) -> Event {
        Event { name: None, data: Data::Json(value) }
    }

    /// An event with a name.
    pub fn named(name: &'static str, value: Json) -> Event {
        Event { name: Some(name), data: Data::Json(value) }
    }

    /// `[DONE]`.
    pub fn done() -> Event {
        Event { name: None, data: Data::Done }
    }

    fn write(&self, out: &mut String) {
        if let Some(name) = self.name {
            let _ = writeln!(out, "event: {name}");
        }
        let _ = match &self.data {
            Data::Json(value) => write!(out, "data: {value}\n\n"),
            Data::Done => write!(out, "data: [DONE]\n\n"),
        };
    }
}

/// A response that streams events. When the client goes away the source is dropped.
pub fn response(events: impl Events) -> Response {
    let body = unfold(Some(events), |events| async {
        let mut events = events?;
        let mut out = String::new();
        match tokio::time::timeout(SILENCE, events.next()).await {
            Err(_) => out.push_str(": still here\n\n"),
            Ok(None) => return None,
            Ok(Some(list)) => list.iter().for_each(|event| event.write(&mut out)),
        }
        Some((Ok::<_, Infallible>(out), Some(events)))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx would hold back what has to flow.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_lines() {
        let mut out = String::new();
        Event::data(json!({ "text": "a\nb" })).write(&mut out);
        Event::named("ping", json!({})).write(&mut out);
        Event::done().write(&mut out);
        assert_eq!(out, "data: {\"text\":\"a\\nb\"}\n\nevent: ping\ndata: {}\n\ndata: [DONE]\n\n");
    }
}
