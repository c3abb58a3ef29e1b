//! An answer while it is made: an iterator over pieces of text.

use crate::{Error, Model};
use argand_engine::{Event, Finish, SeqId, Usage};
use std::time::{Duration, Instant};

/// How long an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// From the request to the first token.
    pub first: Duration,
    /// From the first token to the last.
    pub rest: Duration,
    /// Tokens chosen after the first.
    pub later_tokens: usize,
    /// Tokens of the prompt that had to be computed.
    pub computed: usize,
}

impl Timing {
    /// Tokens of the prompt computed per second; none when nothing had to be.
    pub fn prompt_rate(&self) -> Option<f64> {
        (self.computed > 0 && !self.first.is_zero()).then(|| self.computed as f64 / self.first.as_secs_f64())
    }

    /// Tokens generated per second after the first; none when there were no more.
    pub fn decode_rate(&self) -> Option<f64> {
        (self.later_tokens > 0 && !self.rest.is_zero()).then(|| self.later_tokens as f64 / self.rest.as_secs_f64())
    }
}

/// An answer that is being made. Each item is text that is certain; the end of the iterator is the end of the answer.
///
/// Dropping it early stops the answer; what was said so far stays in the conversation.
pub struct Answer<'m> {
    model: &'m mut Model,
    seq: SeqId,
    /// Whether the text goes into the conversation.
    chat: bool,
    text: String,
    tokens: Vec<u32>,
    /// Why it ended, if by itself, and what it cost.
    ended: Option<(Option<Finish>, Usage)>,
    closed: bool,
    asked: Instant,
    first: Option<Instant>,
    last: Instant,
}

impl<'m> Answer<'m> {
    pub(crate) fn new(model: &'m mut Model, seq: SeqId, chat: bool) -> Self {
        let now = Instant::now();
        Answer {
            model,
            seq,
            chat,
            text: String::new(),
            tokens: Vec::new(),
            ended: None,
            closed: false,
            asked: now,
            first: None,
            last: now,
        }
    }

    /// All text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All tokens so far, a final stop token left out.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Why the answer ended; none while it goes on, and when it was stopped.
    pub fn finish(&self) -> Option<&Finish> {
        self.ended.as_ref()?.0.as_ref()
    }

    /// What was processed; known when the answer has ended.
    pub fn usage(&self) -> Option<Usage> {
        self.ended.as_ref().map(|(_, usage)| *usage)
    }

    /// How long it took so far.
    pub fn timing(&self) -> Timing {
        let usage = self.usage().unwrap_or_default();
        let first = self.first.unwrap_or(self.last);
        Timing {
            first: first - self.asked,
            rest: self.last - first,
            later_tokens: usage.completion_tokens.max(self.tokens.len()).saturating_sub(1),
            computed: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        }
    }

    /// Stops the answer now.
    pub fn stop(&mut self) {
        if self.ended.is_none()
            && let Some(usage) = self.model.engine.cancel(self.seq)
        {
            self.ended = Some((None, usage));
        }
        self.close();
    }

    /// Runs one step and gives the text that it brought, which is empty while the prompt is computed or a character is
    /// not complete. None when the answer has ended. For those who want to stop an answer before its first word.
    ///
    /// # Errors
    /// The step failed, or the answer ended early.
    pub fn step(&mut self) -> Option<Result<String, Error>> {
        if self.ended.is_none() {
            return Some(self.advance().inspect_err(|_| self.stop()));
        }
        match self.finish().cloned() {
            Some(finish @ (Finish::OutOfPages { .. } | Finish::Failed(_) | Finish::Constraint(_))) if !self.closed => {
                self.closed = true;
                Some(Err(Error::Ended(finish)))
            }
            _ => None,
        }
    }

    /// Takes what the engine's next step brings.
    fn advance(&mut self) -> Result<String, Error> {
        let mut piece = String::new();
        let events = self.model.engine.step();
        self.last = Instant::now();
        for event in events? {
            match event {
                Event::Token { seq, id, text, .. } if seq == self.seq => {
                    self.first.get_or_insert(self.last);
                    self.tokens.push(id);
                    piece.push_str(&text);
                }
                Event::Finished { seq, reason, text, usage } if seq == self.seq => {
                    self.first.get_or_insert(self.last);
                    piece.push_str(&text);
                    self.ended = Some((Some(reason), usage));
                }
                Event::Token { .. } | Event::Finished { .. } => {}
            }
        }
        self.text.push_str(&piece);
        Ok(piece)
    }

    /// Puts the answer into the conversation, once.
    fn close(&mut self) {
        if self.chat && !std::mem::replace(&mut self.closed, true) {
            self.model.remember_answer(std::mem::take(&mut self.text));
        }
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok(piece) if piece.is_empty() => {}
                found => return Some(found),
            }
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
