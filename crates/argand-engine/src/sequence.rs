//! One sequence on its way: its tokens, its pages, and what to do with the next token.

use crate::constraint::{Constraint, TokenSet};
use crate::lookup::Lookup;
use crate::pages::{PagePool, PageTable};
use crate::picture::{Course, PictureRows};
use crate::request::{Event, Request, SeqId, SessionId, TextStream, Usage};
use crate::sampler::{Logprobs, SampleContext, Sampling};
use crate::stop::{Finish, StopRules, StopStream};
use std::sync::Arc;

/// State of a sequence between steps. Invariant: `table.len() < tokens.len()`; the tokens beyond are still to be fed.
pub(crate) struct Sequence {
    pub id: SeqId,
    pub tokens: Vec<u32>,
    pub pictures: Vec<Arc<PictureRows>>,
    /// Where its tokens are, of pictures that have lines and columns.
    pub course: Option<Course>,
    pub table: PageTable,
    /// Text that an encoder reads before; empty where the model has none.
    pub source: Vec<u32>,
    /// What is kept of it: nothing or all.
    pub memory: PageTable,
    /// Takes part in steps; otherwise it waits for pages or its turn.
    pub running: bool,
    /// Number of the last step it took part in.
    pub served: u64,
    pub sampling: Sampling,
    pub logprobs: Option<usize>,
    pub lookup: Option<Lookup>,
    pub session: Option<SessionId>,
    pub usage: Usage,
    rules: StopRules,
    prompt: usize,
    seed: u64,
    stream: u64,
    text: Option<Box<dyn TextStream>>,
    constraint: Option<Box<dyn Constraint>>,
    stops: StopStream,
}

impl Sequence {
    pub fn new(id: SeqId, request: Request, table: PageTable) -> Self {
        let (prompt, prompt_tokens) = (request.prompt.len(), request.source.len() + request.prompt.len());
        let usage = Usage { prompt_tokens, cached_tokens: table.len(), ..Usage::default() };
        Self {
            id,
            course: Course::of(&request.prompt, &request.pictures),
            prompt,
            source: request.source,
            memory: PageTable::private(),
            tokens: request.prompt,
            pictures: request.pictures,
            table,
            running: false,
            served: 0,
            sampling: request.sampling,
            logprobs: request.logprobs,
            lookup: request.lookup.map(Lookup::new),
            session: request.session,
            usage,
            stops: StopStream::new(request.stop.strings.clone()),
            rules: request.stop,
            seed: request.seed,
            stream: request.stream,
            text: request.text,
            constraint: request.constraint,
        }
    }

    /// Tokens still to be fed; 1 while decoding.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.table.len()
    }

    /// Tokens that an encoder has still to read.
    pub fn unread(&self) -> usize {
        self.source.len() - self.memory.len()
    }

    /// Whether it holds any page.
    pub fn holds_pages(&self) -> bool {
        !self.table.pages().is_empty() || !self.memory.pages().is_empty()
    }

    /// Tokens whose state may come from elsewhere: all but the last, which must be fed to get logits.
    pub fn reusable(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// Takes over cached pages that hold the next tokens.
    pub fn adopt(&mut self, pool: &mut PagePool) {
        let reusable = &self.tokens[..self.tokens.len() - 1];
        let gained = pool.adopt(&mut self.table, reusable);
        // Before the first choice this is prompt that need not be computed; later it only repairs a pause.
        if self.usage.completion_tokens == 0 {
            self.usage.cached_tokens += gained;
        }
    }

    /// Most drafted tokens that could be of use.
    pub fn draft_room(&self, context: usize) -> usize {
        let by_rule = self.rules.max_tokens.map_or(usize::MAX, |m| m.saturating_sub(self.usage.completion_tokens + 1));
        by_rule.min(context - self.tokens.len())
    }

    pub fn context(&self) -> SampleContext<'_> {
        SampleContext { history: &self.tokens, prompt: self.prompt, seed: self.seed, stream: self.stream }
    }

    /// Puts the tokens that may be chosen next into `allowed`. False when it is free to say anything.
    ///
    /// # Errors
    /// Why the sequence ends, if nothing may be chosen.
    pub fn allow(&mut self, vocab: usize, allowed: &mut TokenSet) -> Result<bool, Finish> {
        let Some(constraint) = &mut self.constraint else {
            return Ok(false);
        };
        if constraint.must_end() {
            return Err(Finish::Whole);
        }
        allowed.clear(vocab);
        constraint.allow(allowed).map_err(Finish::Constraint)?;
        let may_end = constraint.may_end();
        self.rules.tokens.iter().for_each(|token| allowed.set(*token, may_end));
        Ok(true)
    }

    /// The beginning of a draft that could be chosen.
    pub fn permitted<'a>(&mut self, draft: &'a [u32]) -> &'a [u32] {
        let Some(constraint) = &mut self.constraint else {
            return draft;
        };
        let end = draft.iter().position(|token| self.rules.tokens.contains(token)).unwrap_or(draft.len());
        &draft[..constraint.accepts(&draft[..end]).min(end)]
    }

    /// Takes a chosen token. Returns why the sequence ends with it, if it does.
    pub fn accept(
        &mut self,
        id: u32,
        logprobs: Option<Logprobs>,
        context: usize,
        events: &mut Vec<Event>,
    ) -> Option<Finish> {
        self.tokens.push(id);
        self.usage.completion_tokens += 1;
        if self.rules.tokens.contains(&id) {
            return Some(Finish::StopToken(id));
        }
        let whole = match self.constraint.as_mut().map(|c| c.accept(id).map(|()| c.must_end())) {
            Some(Err(error)) => return Some(Finish::Constraint(error)),
            whole => whole == Some(Ok(true)),
        };
        let piece = self.text.as_mut().map(|t| self.stops.push(&t.push(id))).unwrap_or_default();
        events.push(Event::Token { seq: self.id, id, text: piece.text, logprobs });
        if let Some(hit) = piece.hit {
            Some(Finish::StopString(self.rules.strings[hit].clone()))
        } else if whole {
            Some(Finish::Whole)
        } else if self.rules.max_tokens.is_some_and(|m| self.usage.completion_tokens >= m) {
            Some(Finish::MaxTokens)
        } else {
            (self.tokens.len() >= context).then_some(Finish::Context(context))
        }
    }

    /// The last event of the sequence.
    pub fn finished(&mut self, mut reason: Finish) -> Event {
        let mut text = String::new();
        if !matches!(reason, Finish::StopString(_)) {
            let piece = self.text.as_mut().map(|t| self.stops.push(&t.finish())).unwrap_or_default();
            text = piece.text;
            match piece.hit {
                Some(hit) => reason = Finish::StopString(self.rules.strings[hit].clone()),
                None => text.push_str(&self.stops.finish()),
            }
        }
        Event::Finished { seq: self.id, reason, text, usage: self.usage }
    }
}
