//! A compiled grammar, and the constraint of one sequence: free parts first, then the grammar's machine.

use crate::GrammarError;
use crate::lead::Lead;
use crate::words::{Sign, Words};
use argand_engine::{Constraint, ConstraintError, TokenSet};
use llguidance::Matcher;
use llguidance::api::StopReason;
use std::collections::HashMap;
use std::sync::Arc;

/// A grammar made ready for one vocabulary. Cloning is cheap, and so is a constraint for one more sequence.
#[derive(Clone)]
pub struct Compiled(Arc<Parts>);

struct Parts {
    words: Arc<Words>,
    leads: Vec<Lead>,
    /// Where the grammar stands when the last free part is over, or from the beginning.
    entry: Matcher,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("leads", &self.0.leads.len()).finish_non_exhaustive()
    }
}

impl Compiled {
    /// `begun` is what of the grammar the last lead's marker is already.
    pub(crate) fn new(
        words: Arc<Words>,
        mut leads: Vec<Lead>,
        mut entry: Matcher,
        begun: &[Sign],
    ) -> Result<Self, GrammarError> {
        let begin = words.write(begun).unwrap_or_default();
        entry.consume_tokens(&begin).map_err(|error| GrammarError::Refused(first_line(&error.to_string())))?;
        let mut seen: HashMap<Vec<Sign>, bool> = HashMap::new();
        if let Some(lead) = leads.last_mut() {
            lead.bar(&words, |left| {
                *seen.entry(left.to_vec()).or_insert_with(|| {
                    let tokens = words.write(left);
                    tokens.is_some_and(|tokens| entry.validate_tokens(&tokens).is_ok_and(|n| n == tokens.len()))
                })
            });
        }
        let compiled = Self(Arc::new(Parts { words, leads, entry }));
        let mut machine = Machine { place: Place::Inside, ..compiled.machine() };
        let mut allowed = TokenSet::none(machine.parts.words.trie().vocab_size());
        match machine.allow(&mut allowed) {
            Ok(()) => Ok(compiled),
            Err(ConstraintError::Stuck) => Err(GrammarError::Empty),
            Err(error) => Err(GrammarError::Refused(error.to_string())),
        }
    }

    /// A constraint for a sequence that begins.
    pub fn constraint(&self) -> Box<dyn Constraint> {
        Box::new(self.machine())
    }

    fn machine(&self) -> Machine {
        // Not a plain clone: caches that sequences share would let one of them use up what bounds the other's work.
        let matcher = self.0.entry.deep_clone();
        let place = if self.0.leads.is_empty() { Place::Inside } else { Place::Before { lead: 0, matched: 0 } };
        Machine { parts: Arc::clone(&self.0), matcher, place, over: false }
    }
}

/// Where a sequence is.
#[derive(Clone, Copy)]
enum Place {
    /// In a free part, with so many signs of its marker matched.
    Before { lead: usize, matched: usize },
    /// In the grammar.
    Inside,
}

struct Machine {
    parts: Arc<Parts>,
    matcher: Matcher,
    place: Place,
    /// The output is whole and no token can follow, which the machine does not know.
    over: bool,
}

impl Machine {
    /// Reads signs in free parts. Where that leads, and what is left for the grammar.
    fn read(&self, mut lead: usize, mut matched: usize, signs: Vec<Sign>) -> (Place, Vec<Sign>) {
        let mut signs = signs;
        while let Some(waiting) = self.parts.leads.get(lead) {
            match waiting.read(matched, signs.into_iter()) {
                Ok(matched) => return (Place::Before { lead, matched }, Vec::new()),
                Err(left) => (lead, matched, signs) = (lead + 1, 0, left),
            }
        }
        (Place::Inside, signs)
    }

    fn is_over(&self) -> bool {
        self.over || matches!(self.matcher.stop_reason(), StopReason::NoExtension | StopReason::EndOfSentence)
    }
}

/// What the machine means by an error; it has words for that alone.
fn failed(message: &str) -> ConstraintError {
    let what = first_line(message);
    let has = |word: &str| what.contains(word);
    match () {
        () if has("NoExtension") => ConstraintError::Stuck,
        () if has("lexer error") || has("parser error") || has("Parser Error") || has("TooComplex") => {
            ConstraintError::TooComplex { what }
        }
        () => ConstraintError::Machine { what },
    }
}

impl Constraint for Machine {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintError> {
        if let Place::Before { lead, matched } = self.place {
            allowed.fill();
            self.parts.leads[lead].barred[matched].iter().for_each(|token| allowed.set(*token, false));
            return Ok(());
        }
        if self.is_over() {
            return Ok(());
        }
        let whole = self.matcher.is_accepting().unwrap_or(false);
        match self.matcher.compute_mask().map_err(|error| failed(&error.to_string())) {
            Ok(mask) => allowed.set_words(mask.as_slice()),
            Err(ConstraintError::Stuck) if whole => self.over = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        let tokens = match self.place {
            Place::Inside => vec![token],
            Place::Before { lead, matched } => {
                let signs = self.parts.words.signs(token).collect();
                let (place, left) = self.read(lead, matched, signs);
                self.place = place;
                self.parts.words.write(&left).ok_or(ConstraintError::Refused { token })?
            }
        };
        if tokens.is_empty() {
            return Ok(());
        }
        match self.matcher.try_consume_tokens(&tokens) {
            Ok(n) if n == tokens.len() => Ok(()),
            Ok(_) => Err(ConstraintError::Refused { token }),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    fn accepts(&mut self, tokens: &[u32]) -> usize {
        let Place::Before { mut lead, mut matched } = self.place else {
            return self.matcher.validate_tokens(tokens).unwrap_or(0);
        };
        for (n, token) in tokens.iter().enumerate() {
            if self.parts.leads[lead].barred[matched].contains(token) {
                return n;
            }
            match self.read(lead, matched, self.parts.words.signs(*token).collect()).0 {
                Place::Before { lead: next, matched: signs } => (lead, matched) = (next, signs),
                // What follows in the grammar is not looked at, for that would need another machine.
                Place::Inside => return n + 1,
            }
        }
        tokens.len()
    }

    fn may_end(&mut self) -> bool {
        match self.place {
            Place::Before { lead, .. } => self.parts.leads[lead..].iter().all(|lead| lead.may_end),
            Place::Inside => self.is_over() || self.matcher.is_accepting().unwrap_or(false),
        }
    }

    fn must_end(&mut self) -> bool {
        matches!(self.place, Place::Inside) && self.is_over()
    }
}

/// The machine's messages go on with its state, and with where in its code it panicked.
pub(crate) fn first_line(message: &str) -> String {
    let message = message.split("\n<").next().unwrap_or_default();
    let joined = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    joined.chars().take(400).collect()
}
