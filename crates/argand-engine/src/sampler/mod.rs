//! From logits to a token: an explicit, ordered, printable chain and a random number that depends on nothing but its keys.
//!
//! The sampler holds scratch memory only. What it returns is a function of the parameters, the logits, the sequence's own
//! history and (seed, stream, position); it never looks at other sequences and never allocates per token once warm.

mod params;
mod philox;
mod stages;

pub use params::{HF_ORDER, LLAMA_CPP_ORDER, Sampling, SamplingError, Stage};
pub use philox::{philox4x32_10, uniform};

use crate::constraint::TokenSet;
use serde::Serialize;
use stages::Candidates;

/// What the sampler may know of the sequence besides its logits.
#[derive(Clone, Copy, Debug)]
pub struct SampleContext<'a> {
    /// Prompt and generated tokens so far; the token to be chosen has position `history.len()`.
    pub history: &'a [u32],
    /// How many tokens of the history are prompt.
    pub prompt: usize,
    /// Seed of the request.
    pub seed: u64,
    /// Which of several sequences of the same seed this is.
    pub stream: u64,
}

/// Why no token could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The model produced a logit that is no number or is positive infinity.
    #[error(
        "the logit of token {token} at position {position} is not a number; the model's weights or kernels are at fault"
    )]
    NotFinite {
        /// Token whose logit it is.
        token: u32,
        /// Position that was to be chosen.
        position: usize,
    },
    /// Every token is forbidden.
    #[error(
        "no token is allowed at position {position}: every logit is negative infinity, or forbidden by the constraint"
    )]
    Nothing {
        /// Position that was to be chosen.
        position: usize,
    },
}

/// Log-probabilities of the model at one position, before any stage of the sampler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logprobs {
    /// Natural logarithm of the probability of the chosen token.
    pub chosen: f32,
    /// The likeliest tokens with their log-probabilities, best first.
    pub top: Vec<(u32, f32)>,
}

/// The distribution that one stage left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTrace {
    /// The stage.
    pub stage: Stage,
    /// Tokens in play with their probabilities, by ascending id.
    pub tokens: Vec<(u32, f64)>,
}

/// Scratch memory of the sampling chain; one serves any number of sequences.
#[derive(Debug, Default)]
pub struct Sampler {
    candidates: Candidates,
    counts: Vec<u32>,
    seen: Vec<u32>,
}

impl Sampler {
    /// A sampler without scratch memory; the first token allocates it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the next token. `params` must have passed [`Sampling::check`].
    ///
    /// # Errors
    /// [`SampleError`] when a logit is not a number or nothing is allowed.
    pub fn sample(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        context: &SampleContext<'_>,
    ) -> Result<u32, SampleError> {
        self.sample_among(params, logits, None, context)
    }

    /// Chooses the next token among `allowed`, all if none: the others have no part in any stage, and no bias brings them back.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_among(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        allowed: Option<&TokenSet>,
        context: &SampleContext<'_>,
    ) -> Result<u32, SampleError> {
        let position = context.history.len();
        self.load(logits, position)?;
        if let Some(allowed) = allowed {
            self.candidates.keep(allowed);
        }
        for stage in params.active() {
            self.apply(stage, params, context);
        }
        let chosen = if params.temperature == 0.0 {
            self.candidates.best()
        } else {
            self.candidates.draw(uniform(context.seed, context.stream, position as u64))
        };
        chosen.ok_or(SampleError::Nothing { position })
    }

    /// The distribution after each active stage; what `sample` draws from is the last.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn trace(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        context: &SampleContext<'_>,
    ) -> Result<Vec<StageTrace>, SampleError> {
        self.load(logits, context.history.len())?;
        let mut stages = Vec::new();
        for stage in params.active() {
            self.apply(stage, params, context);
            let tokens = self.candidates.distribution();
            stages.push(StageTrace { stage, tokens });
        }
        Ok(stages)
    }

    /// The model's log-probabilities of the chosen token and of the `top` likeliest.
    ///
    /// # Errors
    /// [`SampleError::NotFinite`].
    pub fn logprobs(
        &mut self,
        logits: &[f32],
        chosen: u32,
        top: usize,
        position: usize,
    ) -> Result<Logprobs, SampleError> {
        self.load(logits, position)?;
        let sum = self.candidates.log_sum_exp();
        let relative = |logit: f32| (f64::from(logit) - sum) as f32;
        let chosen = self.candidates.logit_mut(chosen).map_or(f32::NEG_INFINITY, |l| relative(*l));
        let top = match top {
            0 => Vec::new(),
            n => self.candidates.ranked(n).map(|(id, logit)| (id, relative(logit))).collect(),
        };
        Ok(Logprobs { chosen, top })
    }

    fn load(&mut self, logits: &[f32], position: usize) -> Result<(), SampleError> {
        self.counts.resize(logits.len(), 0);
        self.candidates.load(logits).map_err(|token| SampleError::NotFinite { token, position })
    }

    fn apply(&mut self, stage: Stage, params: &Sampling, context: &SampleContext<'_>) {
        match stage {
            Stage::LogitBias => {
                for (&id, &bias) in &params.logit_bias {
                    if let Some(logit) = self.candidates.logit_mut(id) {
                        *logit += bias;
                    }
                }
            }
            Stage::Repetition => {
                let penalty = params.repetition_penalty;
                let repeat = |l: &mut f32, _: f32| {
                    if *l > 0.0 { *l /= penalty } else { *l *= penalty }
                };
                self.penalize(windowed(context.history, params.penalty_window), repeat);
            }
            Stage::Frequency => {
                let (each, once) = (params.frequency_penalty, params.presence_penalty);
                let from = if params.penalize_prompt { 0 } else { context.prompt };
                let tokens = windowed(&context.history[from..], params.penalty_window);
                self.penalize(tokens, |l, count| *l -= each * count + once);
            }
            Stage::Temperature => self.candidates.divide(params.temperature),
            Stage::TopK => self.candidates.top_k(params.top_k),
            Stage::TopP => self.candidates.top_p(params.top_p),
            Stage::MinP => self.candidates.min_p(params.min_p),
            Stage::TypicalP => self.candidates.typical_p(params.typical_p),
        }
    }

    /// Applies `change(logit, occurrences)` once to every distinct token of `tokens` that is in play.
    fn penalize(&mut self, tokens: &[u32], change: impl Fn(&mut f32, f32)) {
        for &id in tokens {
            let Some(count) = self.counts.get_mut(id as usize) else {
                continue;
            };
            if *count == 0 {
                self.seen.push(id);
            }
            *count += 1;
        }
        for id in self.seen.drain(..) {
            let count = std::mem::take(&mut self.counts[id as usize]);
            if let Some(logit) = self.candidates.logit_mut(id) {
                change(logit, count as f32);
            }
        }
    }
}

/// The last `window` tokens, all for 0.
fn windowed(tokens: &[u32], window: usize) -> &[u32] {
    if window == 0 { tokens } else { &tokens[tokens.len().saturating_sub(window)..] }
}
