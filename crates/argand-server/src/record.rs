//! What is told of a request at its end, to the counters and to the log.

use crate::account::Hold;
use crate::answer::Total;
use crate::app::App;
use crate::error::ApiError;
use crate::metrics::Outcome;
use serde_json::json;
use std::time::Duration;

/// A request that has ended.
pub struct Record<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Which endpoint was asked.
    pub endpoint: &'static str,
    /// What was reserved.
    pub hold: &'a Hold,
    /// What was done.
    pub total: &'a Total,
    /// How it ended.
    pub outcome: Outcome,
    /// Until the first token, where there was one.
    pub first: Option<Duration>,
    /// Until the end.
    pub whole: Duration,
    /// Why it failed, if it did.
    pub failure: Option<&'a ApiError>,
}

impl Record<'_> {
    /// Tells it.
    pub fn tell(&self, app: &App) {
        let Record { model, endpoint, hold, total, outcome, first, whole, failure } = *self;
        app.metrics.count(model, total, outcome, first, whole);
        let seconds = |d: Duration| (d.as_secs_f64() * 1000.0).round() / 1000.0;
        app.config.log.tell(
            "request",
            json!({
                "model": model, "endpoint": endpoint, "key": hold.key(), "request": hold.request(), "outcome": outcome.word(),
                "prompt": total.prompt, "cached": total.cached, "generated": total.completion,
                "first_s": first.map(seconds), "s": seconds(whole), "error": failure.map(|error| error.message.as_str()),
            }),
        );
    }
}
