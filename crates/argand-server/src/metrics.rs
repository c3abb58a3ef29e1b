//! What has happened so far, for Prometheus and for the page of the administrator.

use crate::answer::Total;
use crate::models::{Models, State};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should.
    Finished,
    /// The client went away.
    Cancelled,
    /// By an error of the server, or by its end.
    Failed,
}

impl Outcome {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        }
    }
}

/// Upper bounds of the buckets of a histogram, in seconds.
const BOUNDS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 300.0];

/// Durations by size.
#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.count += 1;
        self.sum += seconds;
        BOUNDS.iter().zip(&mut self.buckets).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        for (bound, n) in BOUNDS.iter().zip(self.buckets) {
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {n}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {}", self.sum, self.count);
    }
}

/// What has been counted for a model.
#[derive(Clone, Debug, Default)]
struct Counts {
    outcomes: BTreeMap<Outcome, u64>,
    prompt: u64,
    cached: u64,
    generated: u64,
    first: Histogram,
    whole: Histogram,
}

/// A moment of the last ten minutes.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: f64,
    prompt: f64,
    generated: f64,
    running: usize,
    queued: usize,
}

/// Samples that are kept, and the time between two.
const SAMPLES: usize = 300;
/// Time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// All counters of a server.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: f64,
    counts: Mutex<BTreeMap<String, Counts>>,
    refused: AtomicU64,
    /// Tokens as they come, which the counts have only after the end of a request.
    live: [AtomicU64; 2],
    samples: Mutex<(VecDeque<Sample>, [u64; 2])>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            started: Instant::now(),
            started_at: now(),
            counts: Mutex::default(),
            refused: AtomicU64::new(0),
            live: Default::default(),
            samples: Mutex::default(),
        }
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Metrics {
    /// When the server started, in seconds since 1970.
    pub fn started_at(&self) -> f64 {
        self.started_at
    }

    /// A request has ended.
    pub fn count(&self, model: &str, total: &Total, outcome: Outcome, first: Option<Duration>, whole: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry(model.to_string()).or_default();
        *counts.outcomes.entry(outcome).or_default() += 1;
        counts.prompt += total.prompt as u64;
        counts.cached += total.cached as u64;
        counts.generated += total.completion as u64;
        if let Some(first) = first {
            counts.first.add(first);
        }
        counts.whole.add(whole);
    }

    /// A request was refused because there is too much to do, or too much was used.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Tokens were computed just now.
    pub fn live(&self, prompt: usize, generated: usize) {
        self.live[0].fetch_add(prompt as u64, Relaxed);
        self.live[1].fetch_add(generated as u64, Relaxed);
    }

    /// Takes a sample; to be called every [`SAMPLE_EVERY`].
    pub fn sample(&self, models: &Models) {
        let (running, queued) = models.load();
        let now_at = [self.live[0].load(Relaxed), self.live[1].load(Relaxed)];
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = |i: usize| (now_at[i] - samples.1[i]) as f64 / SAMPLE_EVERY.as_secs_f64();
        let sample = Sample { at: now(), prompt: rate(0), generated: rate(1), running, queued };
        samples.1 = now_at;
        if samples.0.len() == SAMPLES {
            samples.0.pop_front();
        }
        samples.0.push_back(sample);
    }

    /// For the administrator's page.
    pub fn state(&self, models: &Models) -> Json {
        let (running, queued) = models.load();
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&Counts) -> u64| counts.values().map(of).sum::<u64>();
        let outcomes = |wanted: &dyn Fn(&Outcome) -> bool| {
            sum(&|c| c.outcomes.iter().filter(|(outcome, _)| wanted(outcome)).map(|(_, n)| n).sum())
        };
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let rates = samples.0.iter().map(|s| {
            json!({ "at": s.at, "prompt_per_second": s.prompt, "generated_per_second": s.generated,
                    "running": s.running, "queued": s.queued })
        });
        let resident: u64 = models.states().iter().map(|state| state.bytes_resident).sum();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "requests": { "running": running, "queued": queued, "total": outcomes(&|_| true),
                          "failed": outcomes(&|o| *o == Outcome::Failed), "refused": self.refused.load(Relaxed) },
            "tokens": { "prompt": sum(&|c| c.prompt), "cached": sum(&|c| c.cached), "generated": sum(&|c| c.generated) },
            "rates": rates.collect::<Vec<_>>(),
            "models": models.states().iter().map(State::json).collect::<Vec<_>>(),
            "memory": { "budget_bytes": models.budget(), "resident_bytes": resident },
        })
    }

    /// For Prometheus: text format 0.0.4.
    pub fn text(&self, models: &Models) -> String {
        let mut out = String::new();
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, String)>| {
            let _ = writeln!(out, "# HELP argand_{name} {help}\n# TYPE argand_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(out, "argand_{name}{{{labels}}} {value}");
            }
        };
        let of = |value: &dyn Fn(&Counts) -> u64| -> Vec<(String, String)> {
            counts.iter().map(|(model, c)| (label(model), value(c).to_string())).collect()
        };
        let ended = counts.iter().flat_map(|(model, c)| {
            let line = |(outcome, n): (&Outcome, &u64)| {
                (format!("{},outcome=\"{}\"", label(model), outcome.word()), n.to_string())
            };
            c.outcomes.iter().map(line).collect::<Vec<_>>()
        });
        family("requests_total", "counter", "Requests that have ended.", ended.collect());
        let refused = vec![("reason=\"overload\"".into(), self.refused.load(Relaxed).to_string())];
        family("requests_refused_total", "counter", "Requests that were answered with 429.", refused);
        family("prompt_tokens_total", "counter", "Tokens of prompts.", of(&|c| c.prompt));
        family(
            "cached_prompt_tokens_total",
            "counter",
            "Tokens of prompts that were there already.",
            of(&|c| c.cached),
        );
        family("generated_tokens_total", "counter", "Tokens that were generated.", of(&|c| c.generated));
        let states = models.states();
        let gauge = |value: &dyn Fn(&State) -> u64| -> Vec<(String, String)> {
            states.iter().map(|s| (label(&s.id), value(s).to_string())).collect()
        };
        family("requests_running", "gauge", "Requests that are being computed.", gauge(&|s| s.running as u64));
        family("requests_queued", "gauge", "Requests that wait.", gauge(&|s| s.queued as u64));
        family("model_loaded", "gauge", "Whether the model is in memory.", gauge(&|s| u64::from(s.is_loaded())));
        family("model_resident_bytes", "gauge", "Weights and cache in memory.", gauge(&|s| s.bytes_resident));
        let pages = states.iter().filter_map(|s| Some((s, s.pages?))).flat_map(|(s, pages)| {
            let line = |(word, n): (&str, usize)| (format!("{},state=\"{word}\"", label(&s.id)), n.to_string());
            [("held", pages.held), ("cached", pages.cached), ("free", pages.free)].map(line)
        });
        family("cache_pages", "gauge", "Pages of the key-value cache.", pages.collect());
        let uptime = vec![("version=\"".to_string() + env!("CARGO_PKG_VERSION") + "\"", self.started_at.to_string())];
        family("start_time_seconds", "gauge", "When the server started, in seconds since 1970.", uptime);
        for (name, help, of) in [
            (
                "time_to_first_token_seconds",
                "From the request to its first token.",
                (|c| &c.first) as fn(&Counts) -> &Histogram,
            ),
            ("request_duration_seconds", "From the request to its end.", |c| &c.whole),
        ] {
            let _ = writeln!(out, "# HELP argand_{name} {help}\n# TYPE argand_{name} histogram");
            counts.iter().for_each(|(model, c)| of(c).write(&mut out, &format!("argand_{name}"), &label(model)));
        }
        out
    }
}

/// A label, escaped.
fn label(model: &str) -> String {
    format!("model=\"{}\"", model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_a_histogram_add_up() {
        let mut histogram = Histogram::default();
        for ms in [5, 10, 11, 400, 1_000_000] {
            histogram.add(Duration::from_millis(ms));
        }
        let mut text = String::new();
        histogram.write(&mut text, "h", "model=\"m\"");
        assert!(text.contains("h_bucket{model=\"m\",le=\"0.01\"} 2\n"), "{text}");
        assert!(text.contains("h_bucket{model=\"m\",le=\"0.5\"} 4\n"), "{text}");
        assert!(text.contains("h_bucket{model=\"m\",le=\"300\"} 4\n"), "{text}");
        assert!(text.contains("h_bucket{model=\"m\",le=\"+Inf\"} 5\n"), "{text}");
        assert!(text.contains("h_sum{model=\"m\"} 1000.426\n") && text.ends_with("h_count{model=\"m\"} 5\n"), "{text}");
    }

    #[test]
    fn names_cannot_break_out_of_a_label() {
        assert_eq!(label("a\"b\\c\nd"), "model=\"a\\\"b\\\\c\\nd\"");
    }
}
