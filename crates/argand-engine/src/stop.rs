//! When a sequence ends, and which text may be shown before that is known.
//!
//! Text that could be the beginning of a stop string is held back, so nothing shown ever has to be taken back. The result
//! does not depend on how the text was cut into pieces.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::constraint::ConstraintError;
use crate::sampler::SampleError;

/// What ends a sequence besides the context limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Tokens that end the sequence and are not shown: all end-of-turn and end-of-text tokens of the model.
    pub tokens: BTreeSet<u32>,
    /// Strings that end the sequence; the text is cut before them.
    pub strings: Vec<String>,
    /// Most tokens to generate.
    pub max_tokens: Option<usize>,
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model chose this stop token.
    StopToken(u32),
    /// The text reached this stop string.
    StopString(String),
    /// The requested number of tokens was generated.
    MaxTokens,
    /// The sequence reached this many tokens, all that the context holds.
    Context(usize),
    /// The sequence alone needs more pages than exist.
    OutOfPages {
        /// Pages the sequence needs.
        needed: usize,
        /// Pages of the pool.
        pages: usize,
    },
    /// The output is what the constraint asks for, and nothing can follow.
    Whole,
    /// No token could be chosen.
    Failed(SampleError),
    /// The constraint could not go on.
    Constraint(ConstraintError),
}

impl Finish {
    /// The `finish_reason` of OpenAI's API; none for failures, which are errors there.
    pub fn openai(&self) -> Option<&'static str> {
        match self {
            Self::StopToken(_) | Self::StopString(_) | Self::Whole => Some("stop"),
            Self::MaxTokens | Self::Context(_) => Some("length"),
            Self::OutOfPages { .. } | Self::Failed(_) | Self::Constraint(_) => None,
        }
    }
}

impl std::fmt::Display for Finish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StopToken(id) => write!(f, "stop token {id}"),
            Self::StopString(s) => write!(f, "stop string {s:?}"),
            Self::MaxTokens => write!(f, "the requested number of tokens was generated"),
            Self::Context(n) => write!(f, "the context of {n} tokens is full"),
            Self::OutOfPages { needed, pages } => {
                write!(f, "the sequence needs {needed} pages of memory and the pool has {pages}")
            }
            Self::Whole => write!(f, "the output is whole and nothing can follow"),
            Self::Failed(error) => error.fmt(f),
            Self::Constraint(error) => error.fmt(f),
        }
    }
}

/// Text that may be shown, and the stop string that was reached, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StopPiece {
    /// Text to show now.
    pub text: String,
    /// Index of the stop string; the text ends exactly before it and nothing may follow.
    pub hit: Option<usize>,
}

/// Looks for stop strings in streamed text.
#[derive(Clone, Debug, Default)]
pub struct StopStream {
    strings: Vec<String>,
    held: String,
}

impl StopStream {
    /// Watches for `strings`; empty ones are ignored.
    pub fn new(strings: Vec<String>) -> Self {
        Self { strings, held: String::new() }
    }

    /// Adds text and returns what is certain.
    ///
    /// Of several matches the one that is complete first counts, and of those the one that starts first.
    pub fn push(&mut self, text: &str) -> StopPiece {
        self.held.push_str(text);
        let matches = self.strings.iter().enumerate().filter(|(_, s)| !s.is_empty());
        let first = matches.filter_map(|(i, s)| self.held.find(s).map(|start| (start + s.len(), start, i))).min();
        if let Some((_, start, index)) = first {
            self.held.truncate(start);
            return StopPiece { text: std::mem::take(&mut self.held), hit: Some(index) };
        }
        let cut = self.first_possible_start();
        let rest = self.held.split_off(cut);
        StopPiece { text: std::mem::replace(&mut self.held, rest), hit: None }
    }

    /// The text still held back, once no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the longest suffix begins that a stop string could continue.
    fn first_possible_start(&self) -> usize {
        let could = |at: &usize| self.strings.iter().any(|s| s.starts_with(&self.held[*at..]));
        self.held.char_indices().map(|(at, _)| at).find(could).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run<'a>(strings: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<usize>) {
        let mut stream = StopStream::new(strings.iter().map(|s| s.to_string()).collect());
        let mut shown = String::new();
        for piece in pieces {
            let out = stream.push(piece);
            shown.push_str(&out.text);
            if out.hit.is_some() {
                return (shown, out.hit);
            }
        }
        (shown + &stream.finish(), None)
    }

    #[test]
    fn a_stop_string_split_over_pieces_is_cut_exactly() {
        assert_eq!(run(&["</end>"], ["a <", "/", "en", "d> b"]), ("a ".into(), Some(0)));
        assert_eq!(run(&["</end>"], ["a <", "/", "en", "t>"]), ("a </ent>".into(), None));
        assert_eq!(run(&["abab"], ["a", "b", "a", "a", "b", "a", "b", "c"]), ("aba".into(), Some(0)));
        assert_eq!(run(&["é!"], ["caf", "é", "é", "! x"]), ("café".into(), Some(0)));
    }

    #[test]
    fn text_that_cannot_become_a_stop_string_is_shown_at_once() {
        let mut stream = StopStream::new(vec!["stop".into(), String::new()]);
        assert_eq!(stream.push("hello st").text, "hello ");
        assert_eq!(stream.push("x").text, "stx");
        assert_eq!(stream.push("s").text, "");
        assert_eq!(stream.finish(), "s");
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            text in "[abé]{0,24}", stops in prop::collection::vec("[abé]{1,4}", 1..4), cuts in prop::collection::vec(any::<bool>(), 24)
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let whole = run(&stops, [text.as_str()]);
            let mut pieces = vec![String::new()];
            for (c, cut) in text.chars().zip(cuts) {
                if cut { pieces.push(String::new()); }
                if let Some(last) = pieces.last_mut() { last.push(c); }
            }
            prop_assert_eq!(&run(&stops, pieces.iter().map(String::as_str)), &whole);
            // Naive: the shortest prefix that ends with a stop string, cut before the longest one it ends with.
            let naive = text.char_indices().map(|(i, c)| &text[..i + c.len_utf8()]).find_map(|head| {
                stops.iter().filter(|s| head.ends_with(**s)).map(|s| head.len() - s.len()).min()
            });
            prop_assert_eq!(whole.0, text[..naive.unwrap_or(text.len())].to_string());
        }
    }
}
