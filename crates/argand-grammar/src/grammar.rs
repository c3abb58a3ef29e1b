//! Grammars and their compilation, which is bounded in size, time and number.

use crate::calls::Calls;
use crate::lead::Lead;
use crate::machine::{Compiled, first_line};
use crate::words::{Words, quoted};
use crate::{GrammarError, schema};
use argand_text::Tokenizer;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value as Json, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Compilers recurse as deep as grammars are nested or long; memory is taken as it is touched.
const STACK: usize = 256 << 20;
/// States of the machine that cuts text into lexemes, about 2 kB each.
const LEXER_STATES: usize = 50_000;
/// Blanks that may stand between the end of a free part and what follows it.
const GAP: &str = r"/[ \t\r\n]{1,4}/";

/// What an output looks like.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    Object,
    /// JSON that a schema describes: draft 2020-12, or the one that `$schema` names.
    Schema(Json),
    /// A text that a regular expression matches whole, in the syntax of the crate `regex`, without anchors and look-around.
    Regex(String),
    /// A grammar in llguidance's dialect of Lark.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// Calls of tools.
    Calls(Calls),
    /// Free text up to and with `marker`, a few blanks, then another grammar. The output cannot end before.
    After {
        /// What ends the free part, such as `</think>`; a steering token's text stands for that token.
        marker: String,
        /// What follows.
        then: Box<Grammar>,
    },
}

impl Grammar {
    /// The same behind free text that ends with `marker`.
    #[must_use]
    pub fn after(self, marker: &str) -> Self {
        Self::After { marker: marker.into(), then: Box::new(self) }
    }
}

/// What a grammar may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of its text, all schemas together.
    pub bytes: usize,
    /// Levels that a schema is nested.
    pub depth: usize,
    /// Schemas within a schema, itself and what is referred to included.
    pub schemas: usize,
    /// Time to compile it.
    pub time: Duration,
    /// Grammars that are compiled at the same time.
    pub at_once: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 256 << 10, depth: 64, schemas: 10_000, time: Duration::from_secs(5), at_once: 4 }
    }
}

/// Compiles grammars for the tokens of one model. Cloning is cheap: clones share the tokens.
#[derive(Clone)]
pub struct Grammars(Arc<Shared>);

struct Shared {
    words: Arc<Words>,
    factory: ParserFactory,
    bounds: Bounds,
    running: AtomicUsize,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

impl Grammars {
    /// Reads a tokenizer's tokens. It takes a fraction of a second; once for a model is enough.
    ///
    /// # Errors
    /// [`GrammarError::Tokenizer`].
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        Self::with_bounds(tokenizer, Bounds::default())
    }

    /// The same with other bounds for grammars.
    ///
    /// # Errors
    /// [`GrammarError::Tokenizer`].
    pub fn with_bounds(tokenizer: &Tokenizer, bounds: Bounds) -> Result<Self, GrammarError> {
        let words = Words::new(tokenizer)?;
        let factory = ParserFactory::new_simple(&words.env);
        let mut factory: ParserFactory = factory.map_err(|error| GrammarError::Tokenizer(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        factory.limits_mut().max_lexer_states = LEXER_STATES;
        let words = Arc::new(words);
        Ok(Self(Arc::new(Shared { words, factory, bounds, running: AtomicUsize::new(0) })))
    }

    /// Compiles a grammar. It may take as long as [`Bounds::time`], so not on a thread that others wait for.
    ///
    /// # Errors
    /// [`GrammarError`] says what is wrong with it, or which bound it breaks.
    pub fn compile(&self, grammar: &Grammar) -> Result<Compiled, GrammarError> {
        let plan = Plan::of(grammar, &self.0.words, &self.0.bounds)?;
        let slot = Slot::take(&self.0)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let shared = Arc::clone(&self.0);
        // A thread of its own, for the depth of its stack, and to be left behind when it takes too long.
        let work = move || {
            let compiled = plan.compile(&shared);
            // Before the answer, so that who has it finds the place free.
            drop(slot);
            // Nobody waits any more when it took too long.
            let _ = sender.send(compiled);
        };
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK).spawn(work);
        thread.map_err(|error| GrammarError::Machine(error.to_string()))?;
        match receiver.recv_timeout(self.0.bounds.time) {
            Ok(compiled) => compiled,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(GrammarError::TooSlow { allowed: self.0.bounds.time }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(GrammarError::Machine("its compiler panicked".into())),
        }
    }
}

/// The right to compile, given back when dropped.
struct Slot(Arc<Shared>);

impl Slot {
    fn take(shared: &Arc<Shared>) -> Result<Self, GrammarError> {
        let most = shared.bounds.at_once.max(1);
        let more = |running: usize| (running < most).then_some(running + 1);
        match shared.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Self(Arc::clone(shared))),
            Err(running) => Err(GrammarError::Busy { running }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A grammar as the compiler takes it.
pub(crate) struct Plan {
    /// The first one is the beginning.
    pub grammars: Vec<GrammarWithLexer>,
    pub leads: Vec<Lead>,
    /// What of the grammar the last lead's marker is already.
    pub begun: Vec<crate::words::Sign>,
}

impl Plan {
    fn of(grammar: &Grammar, words: &Words, bounds: &Bounds) -> Result<Self, GrammarError> {
        let one = |grammar| Ok(Self { grammars: vec![grammar], leads: Vec::new(), begun: Vec::new() });
        match grammar {
            Grammar::Object => one(schema_grammar(&json!({ "type": "object" }), bounds)?),
            Grammar::Schema(schema) => one(schema_grammar(schema, bounds)?),
            Grammar::Regex(regex) => {
                bounded(regex.len(), bounds)?;
                one(GrammarWithLexer::from_regex(regex))
            }
            Grammar::Lark(lark) => {
                bounded(lark.len(), bounds)?;
                one(GrammarWithLexer::from_lark(lark.clone()))
            }
            Grammar::Choice(texts) => {
                bounded(texts.iter().map(String::len).sum(), bounds)?;
                if texts.is_empty() || texts.iter().any(String::is_empty) {
                    return Err(GrammarError::Refused("a choice needs texts, none of them empty".into()));
                }
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                one(GrammarWithLexer::from_lark(format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | "))))
            }
            Grammar::Calls(calls) => calls.plan(words, bounds),
            Grammar::After { marker, then } => Self::of(then, words, bounds)?.after(marker, words),
        }
    }

    fn after(mut self, marker: &str, words: &Words) -> Result<Self, GrammarError> {
        if marker.is_empty() || self.leads.len() > 8 {
            let what = "a free part needs a text that ends it, and there are at most eight";
            return Err(GrammarError::Text { text: marker.into(), what });
        }
        if self.leads.is_empty() {
            if let Some(body) = self.grammars.first_mut() {
                body.name = Some("body".into());
            }
            let start = format!("start: GAP? @body\nGAP: {GAP}\n");
            self.grammars.insert(0, GrammarWithLexer::from_lark(start));
        }
        self.leads.insert(0, Lead::new(words.read(marker), false));
        Ok(self)
    }

    fn compile(self, shared: &Shared) -> Result<Compiled, GrammarError> {
        let grammar = TopLevelGrammar { grammars: self.grammars, max_tokens: None };
        let parser = shared.factory.create_parser(grammar).map_err(|error| {
            let message = first_line(&format!("{error:#}"));
            match message.strip_prefix("panic: ") {
                Some(panic) => GrammarError::Machine(panic.into()),
                None => GrammarError::Refused(message),
            }
        })?;
        Compiled::new(Arc::clone(&shared.words), self.leads, Matcher::new(Ok(parser)), &self.begun)
    }
}

pub(crate) fn schema_grammar(schema: &Json, bounds: &Bounds) -> Result<GrammarWithLexer, GrammarError> {
    Ok(GrammarWithLexer::from_json_schema(schema::prepare(schema, bounds)?))
}

pub(crate) fn bounded(bytes: usize, bounds: &Bounds) -> Result<(), GrammarError> {
    match bytes <= bounds.bytes {
        true => Ok(()),
        false => Err(GrammarError::TooLarge { what: "bytes", found: bytes, most: bounds.bytes }),
    }
}
