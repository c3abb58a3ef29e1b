//! Byte pair encoding of one word (or of a whole text), for vocabularies that come as tables.
//!
//! Two rules say which pair merges first: a list of merges by rank (GPT-2 and its heirs), or the score of the merged
//! token (SentencePiece). The loop is one and takes O(n log n) for a word of n characters, whatever the text is.

mod merges;
mod table;

pub(crate) use merges::Merges;
pub(crate) use table::TokenTable;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Token};

/// Which words that are tokens by themselves skip the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeWords {
    /// None: merges decide.
    Never,
    /// All (`ignore_merges` of tokenizer.json).
    Always,
    /// Runs of line feeds.
    LineFeeds,
}

/// A byte pair encoding model.
#[derive(Debug, Clone)]
pub(crate) struct Bpe {
    tokens: TokenTable,
    merges: Merges,
    whole_words: WholeWords,
    /// Ids of `<0x00>` to `<0xFF>`, for characters that are no token.
    bytes: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
}

/// A character that the vocabulary cannot express: no token, no byte tokens, no unknown token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the vocabulary has no token for {0:?}, no byte tokens and no unknown token")]
pub(crate) struct Unencodable(pub(crate) char);

/// A piece of the word while pairs merge. Dead symbols have no length.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
    id: u32,
}

/// No neighbour, or no token.
const NONE: u32 = u32::MAX;

/// A pair that may merge; the least entry goes first: by priority, then from the left.
type Candidate = Reverse<(u32, u32, u32, u32)>;

impl Bpe {
    pub(crate) fn new(tokens: TokenTable, merges: Merges, whole_words: WholeWords, unknown: Option<u32>) -> Self {
        let mut bytes = Box::new([0u32; 256]);
        let complete = (0..=255u8).all(|byte| match tokens.id(&format!("<0x{byte:02X}>")) {
            Some(id) => {
                bytes[usize::from(byte)] = id;
                true
            }
            None => false,
        });
        Self { tokens, merges, whole_words, bytes: complete.then_some(bytes), unknown }
    }

    pub(crate) fn tokens(&self) -> &TokenTable {
        &self.tokens
    }

    /// Appends the ids of `word` to `ids`.
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), Unencodable> {
        if let Some(id) = self.whole(word) {
            ids.push(id);
            return Ok(());
        }
        let mut symbols = self.characters(word);
        self.merge(word, &mut symbols);
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            match symbol.id {
                NONE => {
                    let start = symbol.start as usize;
                    self.fall_back(&word[start..start + symbol.len as usize], ids)?;
                }
                id => ids.push(id),
            }
        }
        Ok(())
    }

    fn whole(&self, word: &str) -> Option<u32> {
        match self.whole_words {
            WholeWords::Always => self.tokens.id(word),
            WholeWords::LineFeeds if word.bytes().all(|byte| byte == b'\n') => self.tokens.id(word),
            _ => None,
        }
    }

    fn characters(&self, word: &str) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(word.len());
        for (start, c) in word.char_indices() {
            let index = symbols.len() as u32;
            let len = c.len_utf8();
            let id = self.tokens.id(&word[start..start + len]).filter(|&id| self.merges.is_piece(id));
            let prev = index.wrapping_sub(1);
            symbols.push(Symbol {
                start: start as u32,
                len: len as u32,
                prev,
                next: index + 1,
                id: id.unwrap_or(NONE),
            });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        symbols
    }

    fn merge(&self, word: &str, symbols: &mut [Symbol]) {
        let mut queue: BinaryHeap<Candidate> = BinaryHeap::new();
        for left in 0..symbols.len().saturating_sub(1) {
            queue.extend(self.candidate(word, symbols, left as u32));
        }
        while let Some(Reverse((_, left, len, id))) = queue.pop() {
            let first = symbols[left as usize];
            if first.len == 0 || first.next == NONE {
                continue;
            }
            let second = symbols[first.next as usize];
            // A stale entry: one of the two has merged meanwhile, so the pair is longer now.
            if first.len + second.len != len {
                continue;
            }
            symbols[first.next as usize].len = 0;
            symbols[left as usize] = Symbol { len, next: second.next, id, ..first };
            if second.next != NONE {
                symbols[second.next as usize].prev = left;
                queue.extend(self.candidate(word, symbols, left));
            }
            if first.prev != NONE {
                queue.extend(self.candidate(word, symbols, first.prev));
            }
        }
    }

    fn candidate(&self, word: &str, symbols: &[Symbol], left: u32) -> Option<Candidate> {
        let first = symbols[left as usize];
        let second = symbols[first.next as usize];
        let len = first.len + second.len;
        let text = &word[first.start as usize..(first.start + len) as usize];
        let (priority, id) = self.merges.find(&self.tokens, (first.id, second.id), text)?;
        Some(Reverse((priority, left, len, id)))
    }

    /// A character that is no token: its bytes, else the unknown token (one for a run of such characters).
    fn fall_back(&self, character: &str, ids: &mut Vec<u32>) -> Result<(), Unencodable> {
        match (&self.bytes, self.unknown) {
            (Some(bytes), _) => ids.extend(character.bytes().map(|byte| bytes[usize::from(byte)])),
            (None, Some(unknown)) if ids.last() == Some(&unknown) => {}
            (None, Some(unknown)) => ids.push(unknown),
            (None, None) => return Err(Unencodable(character.chars().next().unwrap_or_default())),
        }
        Ok(())
    }
}

/// What the library's added vocabulary asks of a model: ids by text. It never trains or saves this model.
impl Model for Bpe {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        let mut ids = Vec::new();
        self.encode(sequence, &mut ids)?;
        let token = |id: u32| Token::new(id, self.tokens.text(id).unwrap_or_default().to_owned(), (0, 0));
        Ok(ids.into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokens.id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokens.text(id).map(str::to_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        let ids = 0..self.tokens.len() as u32;
        ids.filter_map(|id| Some((self.tokens.text(id)?.to_owned(), id))).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.tokens.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a tokenizer made from a vocabulary table is not written back to files".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        BpeTrainer::default().into()
    }
}

#[cfg(test)]
mod tests;
