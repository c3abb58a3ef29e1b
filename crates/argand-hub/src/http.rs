//! Plain HTTP towards one hub: timeouts, redirects, and a token that never reaches another origin.
//!
//! Knows nothing of repositories; answers and errors carry the address that was asked, never a signed one.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use crate::config::Config;
use crate::error::{HubError, Result};
use crate::progress::Progress;

const MAX_REDIRECTS: usize = 10;
const MAX_RETRIES: u32 = 5;
/// Longest JSON document accepted: a file list of a hundred thousand names fits.
const MAX_JSON: u64 = 64 << 20;
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A client of one endpoint.
pub(crate) struct Client<'a> {
    agent: Agent,
    config: &'a Config,
}

/// An answer after its redirects.
pub(crate) struct Answer {
    /// The address that was asked.
    pub(crate) url: String,
    /// Headers of the hub's own answer, which tell commit and digest also where it redirects to a storage.
    pub(crate) hub: HeaderMap,
    /// The final answer.
    pub(crate) last: Response<Body>,
}

impl Answer {
    /// A header as text, from the hub's answer first.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.hub.get(name).or_else(|| self.last.headers().get(name))?.to_str().ok()
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("argand/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(config.response_timeout))
            .timeout_recv_response(Some(config.response_timeout))
            .timeout_per_read(Some(config.read_timeout))
            .build()
            .new_agent();
        Self { agent, config }
    }

    /// Asks for a path of the endpoint, from a byte offset on. Statuses from 400 on are errors.
    pub(crate) fn get(&self, path: &str, from: u64) -> Result<Answer> {
        let first = format!("{}{path}", self.config.endpoint);
        let home = origin(&first).ok_or_else(|| bad_address(&first))?;
        let (mut url, mut hub) = (first.clone(), None);
        for _ in 0..=MAX_REDIRECTS {
            let here = origin(&url).ok_or_else(|| bad_address(&first))?;
            if home.0 == "https" && here.0 != "https" {
                let reason = "it redirects to an address without encryption".into();
                return Err(HubError::Protocol { url: first, reason });
            }
            let mut request = self.agent.get(&url);
            if let Some(token) = self.config.token.as_ref().filter(|_| here == home) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| network(&first, &error.to_string()))?;
            let headers = hub.get_or_insert_with(|| answer.headers().clone());
            match answer.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    let target = answer.headers().get("location").and_then(|value| value.to_str().ok());
                    let next = target.and_then(|target| join(&url, target));
                    let lost =
                        || HubError::Protocol { url: first.clone(), reason: "a redirect without a target".into() };
                    url = next.ok_or_else(lost)?;
                    // A move within the hub (a renamed repository) is answered by the hub again.
                    if origin(&url).as_ref() == Some(&home) {
                        hub = None;
                    }
                }
                200..=299 => return Ok(Answer { url: first, hub: headers.clone(), last: answer }),
                status => return Err(status_error(&first, status, headers.clone(), answer)),
            }
        }
        Err(HubError::Protocol { url: first, reason: format!("more than {MAX_REDIRECTS} redirects") })
    }

    /// Reads a JSON document.
    pub(crate) fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let Answer { url, last, .. } = self.get(path, 0)?;
        let mut text = Vec::new();
        last.into_body()
            .into_reader()
            .take(MAX_JSON)
            .read_to_end(&mut text)
            .map_err(|e| network(&url, &e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| HubError::Protocol { url, reason: format!("bad JSON: {e}") })
    }

    /// Runs `attempt` until it succeeds or fails for good. `attempt` tells by its first value whether it came
    /// further than the last time; then the count of failures starts anew. The same cause is told once.
    pub(crate) fn retrying<T>(
        &self,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> (bool, Result<T>),
    ) -> Result<T> {
        let mut failures = 0;
        let mut told: Option<String> = None;
        loop {
            let (progressed, outcome) = attempt(progress);
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures = if progressed { 1 } else { failures + 1 };
            let Some(wait) = self.pause_after(&error, failures) else { return Err(error) };
            let cause = error.cause();
            let known = told.as_ref() == Some(&cause);
            let again = format!("trying again in {} s", wait.as_secs_f32());
            progress.note(&if known { again } else { format!("{cause}; {again}") });
            told = Some(cause);
            self.config.pause(wait)?;
        }
    }

    /// How long to wait before the next try; `None` if trying again is of no use.
    fn pause_after(&self, error: &HubError, failures: u32) -> Option<Duration> {
        if failures > MAX_RETRIES {
            return None;
        }
        let asked = match error {
            HubError::Network { .. } => None,
            HubError::Status { status: 408 | 429 | 500..=599, retry_after, .. } => *retry_after,
            _ => return None,
        };
        let doubled = self.config.retry_pause.saturating_mul(1 << (failures - 1));
        Some(asked.map_or(doubled, Duration::from_secs).min(MAX_WAIT))
    }
}

fn status_error(url: &str, status: u16, hub: HeaderMap, answer: Response<Body>) -> HubError {
    let header = |name: &str| hub.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = String::new();
    // The message is a courtesy; failing to read it changes nothing.
    let _ = answer.into_body().into_reader().take(2000).read_to_string(&mut body);
    let json = serde_json::from_str::<serde_json::Value>(&body).ok();
    let message = header("x-error-message")
        .or_else(|| Some(json?.get("error")?.as_str()?.to_owned()))
        .unwrap_or_else(|| if body.trim_start().starts_with('<') { String::new() } else { body.trim().to_owned() });
    let message = message.chars().filter(|c| !c.is_control()).take(300).collect();
    let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
    HubError::Status { url: url.to_owned(), status, code: header("x-error-code"), message, retry_after }
}

/// A failure below HTTP.
pub(crate) fn network(url: &str, reason: &str) -> HubError {
    HubError::Network { url: url.to_owned(), reason: reason.to_owned() }
}

fn bad_address(url: &str) -> HubError {
    HubError::Protocol { url: url.to_owned(), reason: "it is no http or https address; check HF_ENDPOINT".into() }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(port)))
}

/// The address that a `Location` header names, seen from `base` (RFC 9110, 10.2.2; without dot segments).
fn join(base: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return Some(target.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let scheme = uri.scheme_str()?;
    if target.starts_with("//") {
        return Some(format!("{scheme}:{target}"));
    }
    let authority = uri.authority()?.as_str();
    if target.starts_with('/') {
        return Some(format!("{scheme}://{authority}{target}"));
    }
    let folder = uri.path().rsplit_once('/')?.0;
    Some(format!("{scheme}://{authority}{folder}/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        assert_eq!(origin("https://A.co/x"), origin("https://a.co:443/y?z"));
        for other in ["http://a.co/", "https://b.co/", "https://a.co:8443/", "https://a.co.evil/"] {
            assert_ne!(origin("https://a.co/x"), origin(other), "{other}");
        }
        assert_eq!(origin("file:///etc/passwd"), None);
    }

    #[test]
    fn redirect_targets_are_joined() {
        let base = "https://a.co:1/x/y?q";
        assert_eq!(join(base, "/z").unwrap(), "https://a.co:1/z");
        assert_eq!(join(base, "z").unwrap(), "https://a.co:1/x/z");
        assert_eq!(join(base, "//b/z").unwrap(), "https://b/z");
        assert_eq!(join(base, "http://c/").unwrap(), "http://c/");
    }
}
