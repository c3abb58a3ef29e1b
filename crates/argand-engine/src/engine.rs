//! The loop: requests in, one ragged step over all of them, events out.
//!
//! A sequence's tokens depend only on its request and the model: not on its neighbours, on how its prompt was cut, on what
//! was cached, drafted or paused. The engine owns page numbers and knows nothing of devices, HTTP or text formats.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::constraint::TokenSet;
use crate::pages::{PagePool, PageTable, PageUse};
use crate::request::{AddError, Event, Request, SeqId, SessionId, Usage};
use crate::runner::{Limits, Memory, RunError, Runner, SeqRows, Source, StepBatch};
use crate::sampler::{Logprobs, Sampler};
use crate::schedule::{Pace, Work};
use crate::sequence::Sequence;
use crate::session::Sessions;
use crate::stop::Finish;

/// How the engine shares its runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most rows of one prompt in one step; smaller means smoother for others, larger means faster prompts.
    pub prefill_chunk: usize,
    /// Most sequences that run at once; others wait.
    pub max_sequences: usize,
    /// How long a step should take at most in which prompts are computed while other sequences are waiting for their next token.
    pub mixed_step: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { prefill_chunk: 512, max_sequences: 64, mixed_step: Duration::from_millis(200) }
    }
}

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineUse {
    /// Sequences that take part in steps.
    pub running: usize,
    /// Sequences that wait for pages or a place.
    pub waiting: usize,
    /// Pages of the pool.
    pub pages: PageUse,
}

/// A runner, its pages and the sequences that share them.
pub struct Engine<R> {
    pub(crate) runner: R,
    pub(crate) limits: Limits,
    pub(crate) options: EngineOptions,
    pub(crate) pool: PagePool,
    pub(crate) seqs: BTreeMap<SeqId, Sequence>,
    pub(crate) sessions: Sessions,
    pub(crate) steps: u64,
    pub(crate) pace: Pace,
    chooser: Chooser,
    next: u64,
    batch: Buffers,
    /// Events of a step whose run failed.
    unsent: Vec<Event>,
}

/// Arrays of a step, kept to be filled again.
#[derive(Default)]
struct Buffers {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    coordinates: Vec<[u32; 3]>,
    placed: Vec<u32>,
    pictures: Vec<f32>,
    logit_rows: Vec<u32>,
}

impl Buffers {
    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.coordinates.clear();
        self.placed.clear();
        self.pictures.clear();
        self.logit_rows.clear();
    }

    /// Adds the rows of one sequence; those of its pictures stand where their marks are.
    fn push(&mut self, seq: &Sequence, rows: usize, draft: &[u32]) {
        let past = seq.table.len();
        let mut placed = self.placed.iter().max().copied().unwrap_or(0);
        for token in seq.tokens[past..past + rows].iter().chain(draft) {
            let row = seq.pictures.iter().find_map(|picture| picture.row(*token));
            placed += u32::from(row.is_some());
            self.placed.push(if row.is_some() { placed } else { 0 });
            self.tokens.push(if row.is_some() { 0 } else { *token });
            self.pictures.extend_from_slice(row.unwrap_or_default());
        }
        let range = past..past + rows + draft.len();
        self.positions.extend(range.clone().map(|at| at as u32));
        let at = |at: usize| seq.course.as_ref().map_or([at as u32; 3], |course| course.at(at));
        self.coordinates.extend(range.map(at));
    }
}

impl<R: Runner> Engine<R> {
    /// An engine over all pages of a runner.
    pub fn new(runner: R, options: EngineOptions) -> Self {
        let limits = runner.limits();
        Self {
            pool: PagePool::new(limits.pages, limits.page_tokens),
            runner,
            limits,
            options,
            seqs: BTreeMap::new(),
            sessions: Sessions::default(),
            chooser: Chooser::default(),
            next: 0,
            steps: 0,
            pace: Pace::default(),
            batch: Buffers::default(),
            unsent: Vec::new(),
        }
    }

    /// Accepts a sequence; it takes part from the next step on.
    ///
    /// # Errors
    /// [`AddError`] says what is wrong with the request; nothing is changed then.
    pub fn add(&mut self, request: Request) -> Result<SeqId, AddError> {
        self.check(&request)?;
        self.next += 1;
        let id = SeqId(self.next);
        let reusable = &request.prompt[..request.prompt.len() - 1];
        let table = match request.session {
            Some(session) => self.sessions.begin(session, reusable, request.namespace, &mut self.pool),
            None if request.source.is_empty() => PageTable::new(request.namespace),
            // What a token's state is follows from the text that was read, too.
            None => PageTable::private(),
        };
        self.seqs.insert(id, Sequence::new(id, request, table));
        Ok(id)
    }

    /// Ends a sequence now, without further events. Its pages go back, or to its session. None when it is not here.
    pub fn cancel(&mut self, id: SeqId) -> Option<Usage> {
        let seq = self.seqs.remove(&id)?;
        let usage = seq.usage;
        self.put_away(seq);
        Some(usage)
    }

    /// Runs one step over everything that can run, and reports what happened. Call it until
    /// [`is_idle`](Self::is_idle).
    ///
    /// # Errors
    /// [`RunError`] of the runner; no sequence has advanced then, and the step may be tried again.
    pub fn step(&mut self) -> Result<Vec<Event>, RunError> {
        let mut events = std::mem::take(&mut self.unsent);
        let plan = self.plan(&mut events);
        if plan.is_empty() {
            return Ok(events);
        }
        self.steps += 1;
        match self.run(&plan, &mut events) {
            Ok(finished) => {
                for (id, reason) in finished {
                    self.finish(id, reason, &mut events);
                }
                Ok(events)
            }
            Err(error) => {
                self.unsent = events;
                Err(error)
            }
        }
    }

    /// True when no sequence is running or waiting and every event was reported.
    pub fn is_idle(&self) -> bool {
        self.seqs.is_empty() && self.unsent.is_empty()
    }

    /// What is running, waiting and held.
    pub fn usage(&self) -> EngineUse {
        let running = self.seqs.values().filter(|s| s.running).count();
        EngineUse { running, waiting: self.seqs.len() - running, pages: self.pool.usage() }
    }

    /// What the runner can hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The runner.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// The runner, for settings that leave its pages alone.
    pub fn runner_mut(&mut self) -> &mut R {
        &mut self.runner
    }

    /// Opens a session: requests that name it keep their state for the next one.
    pub fn open_session(&mut self) -> SessionId {
        self.sessions.open()
    }

    /// Closes a session and gives its pages back. A turn in progress goes on and keeps nothing.
    pub fn close_session(&mut self, id: SessionId) {
        self.sessions.close(id, &mut self.pool);
    }

    /// A second session with the same state, for another branch of the chat.
    ///
    /// # Errors
    /// [`AddError::UnknownSession`] and [`AddError::BusySession`].
    pub fn fork_session(&mut self, id: SessionId) -> Result<SessionId, AddError> {
        self.sessions.fork(id, &mut self.pool)
    }

    fn check(&self, request: &Request) -> Result<(), AddError> {
        let Limits { vocab, context, pages, source: most, .. } = self.limits;
        let (prompt, source) = (request.prompt.len(), request.source.len());
        if (source > 0) != (most > 0) {
            return Err(AddError::Source { reads: most > 0 });
        }
        if source > most {
            return Err(AddError::SourceTooLong { tokens: source, most });
        }
        if source > 0 && request.session.is_some() {
            return Err(AddError::SourceInSession);
        }
        if prompt == 0 {
            return Err(AddError::EmptyPrompt);
        }
        if prompt >= context {
            return Err(AddError::PromptTooLong { prompt, context });
        }
        let needed = self.limits.pages_for(prompt) + self.limits.pages_for(source);
        if needed > pages {
            return Err(AddError::PromptNeedsPages { needed, pages });
        }
        let marked = |t: u32| request.pictures.iter().any(|picture| picture.marks().contains(&t));
        for (tokens, pictures) in [(&request.source, false), (&request.prompt, true)] {
            if let Some(position) = tokens.iter().position(|t| *t as usize >= vocab && !(pictures && marked(*t))) {
                return Err(AddError::Token { token: tokens[position], position, vocab });
            }
        }
        request.sampling.check(vocab)?;
        if request.text.is_none() && !request.stop.strings.is_empty() {
            return Err(AddError::StopStringsWithoutText);
        }
        request.session.map_or(Ok(()), |s| self.sessions.check(s))
    }

    /// Feeds the planned rows and lets every sequence that got logits choose its tokens. Returns which ended.
    fn run(&mut self, plan: &[Work], events: &mut Vec<Event>) -> Result<Vec<(SeqId, Finish)>, RunError> {
        self.read(plan)?;
        let buffers = &mut self.batch;
        buffers.clear();
        let mut seqs = Vec::with_capacity(plan.len());
        for work in plan {
            let seq = &self.seqs[&work.id];
            let start = buffers.tokens.len() as u32;
            buffers.push(seq, work.rows, &work.draft);
            let end = buffers.tokens.len() as u32;
            if work.samples {
                buffers.logit_rows.extend(end - 1 - work.draft.len() as u32..end);
            }
            let memory = Memory { tokens: seq.memory.len() as u32, pages: seq.memory.pages() };
            seqs.push(SeqRows { rows: start..end, past: seq.table.len() as u32, pages: seq.table.pages(), memory });
        }
        let Buffers { tokens, positions, coordinates, placed, pictures, logit_rows } = buffers;
        let placed = if pictures.is_empty() { &[][..] } else { placed };
        let batch = StepBatch { tokens, positions, coordinates, placed, pictures, seqs: &seqs, logit_rows };
        let (rows, begin) = (batch.tokens.len(), Instant::now());
        let logits = self.runner.step(&batch)?;
        self.pace.step(rows, begin.elapsed());

        let expected = logit_rows.len() * self.limits.vocab;
        if logits.len() != expected {
            return Err(RunError::Logits { found: logits.len(), expected });
        }

        let mut logits = logits.chunks_exact(self.limits.vocab);
        let mut finished = Vec::new();
        for work in plan {
            let Some(seq) = self.seqs.get_mut(&work.id) else {
                continue;
            };
            seq.served = self.steps;
            self.pool.advance(&mut seq.table, work.rows, &seq.tokens);
            let rows = logits.by_ref().take(if work.samples { work.draft.len() + 1 } else { 0 });
            // Collecting the rows first keeps the iterator aligned when a draft is cut short.
            let rows: Vec<&[f32]> = rows.collect();
            if let Some(reason) =
                choose(seq, &rows, &work.draft, &mut self.chooser, &mut self.pool, self.limits.context, events)
            {
                finished.push((work.id, reason));
            }
        }
        Ok(finished)
    }

    /// Reads the texts of the planned sequences that begin.
    fn read(&mut self, plan: &[Work]) -> Result<(), RunError> {
        let begin = |work: &&Work| self.seqs[&work.id].unread() > 0;
        let ids: Vec<SeqId> = plan.iter().filter(begin).map(|work| work.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let source = |id: &SeqId| Source { tokens: &self.seqs[id].source, pages: self.seqs[id].memory.pages() };
        let sources: Vec<Source<'_>> = ids.iter().map(source).collect();
        self.runner.read(&sources)?;
        for id in ids {
            if let Some(seq) = self.seqs.get_mut(&id) {
                self.pool.advance(&mut seq.memory, seq.source.len(), &seq.source);
            }
        }
        Ok(())
    }

    /// Reports the end of a sequence and puts it away.
    pub(crate) fn finish(&mut self, id: SeqId, reason: Finish, events: &mut Vec<Event>) {
        if let Some(mut seq) = self.seqs.remove(&id) {
            events.push(seq.finished(reason));
            self.put_away(seq);
        }
    }

    fn put_away(&mut self, mut seq: Sequence) {
        self.pool.release(seq.memory);
        self.pool.trim(&mut seq.table);
        match seq.session {
            Some(session) => self.sessions.end(session, seq.tokens, seq.table, &mut self.pool),
            None => self.pool.release(seq.table),
        }
    }
}

/// Chooses tokens from successive rows for as long as each choice equals the draft that the next row was fed with.
fn choose(
    seq: &mut Sequence,
    rows: &[&[f32]],
    draft: &[u32],
    chooser: &mut Chooser,
    pool: &mut PagePool,
    context: usize,
    events: &mut Vec<Event>,
) -> Option<Finish> {
    let mut accepted = 0;
    let mut finish = None;
    for row in rows {
        let (id, logprobs) = match chooser.choose(seq, row) {
            Ok(chosen) => chosen,
            Err(reason) => {
                finish = Some(reason);
                break;
            }
        };
        finish = seq.accept(id, logprobs, context, events);
        if finish.is_some() || draft.get(accepted) != Some(&id) {
            break;
        }
        accepted += 1;
        pool.advance(&mut seq.table, 1, &seq.tokens);
    }
    pool.trim(&mut seq.table);
    seq.usage.draft_tokens += draft.len();
    seq.usage.accepted_tokens += accepted;
    if let (Some(lookup), false) = (&mut seq.lookup, draft.is_empty()) {
        lookup.learn(draft.len(), accepted);
    }
    finish
}

/// Scratch memory of the choice of a token.
#[derive(Default)]
struct Chooser {
    sampler: Sampler,
    allowed: TokenSet,
}

impl Chooser {
    fn choose(&mut self, seq: &mut Sequence, logits: &[f32]) -> Result<(u32, Option<Logprobs>), Finish> {
        let constrained = seq.allow(logits.len(), &mut self.allowed)?;
        let allowed = constrained.then_some(&self.allowed);
        let chosen = self.sampler.sample_among(&seq.sampling, logits, allowed, &seq.context());
        let id = chosen.map_err(Finish::Failed)?;
        let logprobs = seq.logprobs.map(|top| self.sampler.logprobs(logits, id, top, seq.tokens.len()));
        Ok((id, logprobs.transpose().map_err(Finish::Failed)?))
    }
}
