//! What goes into the engine and what comes out: requests, events, usage, errors.

use serde::Serialize;
use std::sync::Arc;

use crate::constraint::Constraint;
use crate::lookup::LookupOptions;
use crate::picture::PictureRows;
use crate::sampler::{Logprobs, Sampling, SamplingError};
use crate::stop::{Finish, StopRules};

/// Turns tokens into text piece by piece; implemented by the tokenizer's stream decoder.
pub trait TextStream: Send {
    /// Adds a token and returns the complete characters it brought.
    fn push(&mut self, id: u32) -> String;
    /// The text of an incomplete end.
    fn finish(&mut self) -> String;
}

/// Names a sequence in the engine; never reused. A smaller one was added earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeqId(pub(crate) u64);

/// Names a session in the engine; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SessionId(pub(crate) u64);

/// A sequence to be continued.
pub struct Request {
    /// Text that an encoder reads before, where the model has one; empty otherwise.
    pub source: Vec<u32>,
    /// Tokens to start from, at least one. Rows of a picture stand in it as the picture's marks.
    pub prompt: Vec<u32>,
    /// The pictures whose marks stand in the prompt.
    pub pictures: Vec<Arc<PictureRows>>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What ends the sequence.
    pub stop: StopRules,
    /// Seed of the random numbers: same request, same seed, same tokens.
    pub seed: u64,
    /// Which of several answers to the same request this is; each draws its own random numbers.
    pub stream: u64,
    /// Report log-probabilities, with this many alternatives.
    pub logprobs: Option<usize>,
    /// Draft with prompt lookup.
    pub lookup: Option<LookupOptions>,
    /// Continue and keep the state of this session.
    pub session: Option<SessionId>,
    /// Prefixes are shared only among requests of the same namespace (a key, a tenant, an adapter).
    pub namespace: u64,
    /// Decoder of the generated text; needed for stop strings, and for text in events.
    pub text: Option<Box<dyn TextStream>>,
    /// What may be said. The sequence ends with [`Finish::Whole`] where nothing can follow.
    pub constraint: Option<Box<dyn Constraint>>,
}

impl Request {
    /// A request with the default of every option: the model's own distribution, seed 0, no stop rule.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self {
            source: Vec::new(),
            prompt,
            pictures: Vec::new(),
            sampling: Sampling::default(),
            stop: StopRules::default(),
            seed: 0,
            stream: 0,
            logprobs: None,
            lookup: None,
            session: None,
            namespace: 0,
            text: None,
            constraint: None,
        }
    }
}

/// Tokens that were really processed for a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt and of the text that was read before it.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose state was there already.
    pub cached_tokens: usize,
    /// Tokens chosen, a final stop token included.
    pub completion_tokens: usize,
    /// Tokens drafted by prompt lookup.
    pub draft_tokens: usize,
    /// Drafted tokens that were right.
    pub accepted_tokens: usize,
}

/// Something that happened in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was chosen. Stop tokens are not reported.
    Token {
        /// Its sequence.
        seq: SeqId,
        /// The token.
        id: u32,
        /// Text that is certain by now; may be empty, and may belong to earlier tokens.
        text: String,
        /// When asked for.
        logprobs: Option<Logprobs>,
    },
    /// The sequence ended; no event follows.
    Finished {
        /// Its sequence.
        seq: SeqId,
        /// Why.
        reason: Finish,
        /// Text that had been held back.
        text: String,
        /// What it cost.
        usage: Usage,
    },
}

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AddError {
    /// There is nothing to continue.
    #[error("the prompt is empty; a sequence starts from at least one token")]
    EmptyPrompt,
    /// A token does not exist.
    #[error("token {token} at position {position} is outside the vocabulary of {vocab} tokens")]
    Token {
        /// Token found.
        token: u32,
        /// Where in the prompt.
        position: usize,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// The prompt leaves no room to generate.
    #[error(
        "the prompt has {prompt} tokens, but the context holds {context} and one must be left to generate; shorten the prompt or load the model with a larger context"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The prompt needs more memory than the pool has.
    #[error(
        "the prompt needs {needed} pages of memory, but the pool has {pages}; load the model with more cache memory"
    )]
    PromptNeedsPages {
        /// Pages needed.
        needed: usize,
        /// Pages of the pool.
        pages: usize,
    },
    /// The model has an encoder, and there is nothing to read, or the other way round.
    #[error("{}", if *.reads {
        "the model reads a text before it writes one, and the request has none to be read"
    } else {
        "the request has a text to be read before, and the model has no encoder that could read it"
    })]
    Source {
        /// Whether the model has an encoder.
        reads: bool,
    },
    /// The text to be read is too long.
    #[error(
        "the text to be read has {tokens} tokens, and at most {most} can be read; shorten it or load the model with a larger context"
    )]
    SourceTooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Most that can be read.
        most: usize,
    },
    /// A session keeps no text that was read.
    #[error("a model that reads a text before it writes one keeps no sessions")]
    SourceInSession,
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Stop strings were given without a text stream.
    #[error("stop strings need the generated text, but the request has no text stream")]
    StopStringsWithoutText,
    /// The session does not exist.
    #[error("session {0:?} does not exist or was closed")]
    UnknownSession(SessionId),
    /// The session has a turn in progress.
    #[error("session {0:?} is busy; finish or cancel its turn first")]
    BusySession(SessionId),
}
