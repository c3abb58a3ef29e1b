//! The tokens of a model as grammars see them: bytes, or one indivisible sign for a token that steers the model.

use crate::GrammarError;
use argand_text::Tokenizer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

/// Signs above are steering tokens, by id; below are bytes.
const FIRST_STEERING: u32 = 256;
/// Longest token that a trie holds.
const LONGEST: usize = 1000;

/// A byte, or a steering token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sign(u32);

impl Sign {
    fn steering(id: u32) -> Self {
        Self(FIRST_STEERING.saturating_add(id))
    }

    /// The byte, or the id of the steering token.
    pub fn read(self) -> Result<u8, u32> {
        u8::try_from(self.0).map_err(|_| self.0 - FIRST_STEERING)
    }
}

/// A vocabulary.
pub(crate) struct Words {
    pub env: TokEnv,
    /// Steering tokens by their text, which is not empty.
    steering: BTreeMap<String, u32>,
    ending: Vec<u32>,
    /// Tokens that bring bytes and are in no grammar.
    never: BTreeSet<u32>,
}

impl Words {
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let mut words = Vec::with_capacity(tokenizer.vocab_size());
        let (mut steering, mut never) = (BTreeMap::new(), BTreeSet::new());
        for id in 0..tokenizer.vocab_size() as u32 {
            let mut bytes = tokenizer.token_bytes(id);
            if tokenizer.is_special(id) && !bytes.is_empty() {
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    steering.entry(text.to_string()).or_insert(id);
                }
                bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            // The byte 0xFF, which no text has, and what is too long for a trie.
            let marked = !tokenizer.is_special(id) && bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER);
            if marked || bytes.len() > LONGEST {
                bytes.clear();
                never.insert(id);
            }
            words.push(bytes);
        }
        let count = u32::try_from(words.len()).ok().filter(|count| *count < 1 << 21);
        let count = count.ok_or_else(|| GrammarError::Tokenizer(format!("it has {} tokens", words.len())))?;
        if words.iter().all(|word| word.is_empty() || word[0] == TokTrie::SPECIAL_TOKEN_MARKER) {
            return Err(GrammarError::Tokenizer("it has no token that stands for text".into()));
        }
        // Where a text may end is the engine's to know, so the trie has no token for it.
        let info = TokRxInfo::new(count, INVALID_TOKEN);
        let env = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        Ok(Self { env, steering, ending: tokenizer.eog().iter().copied().collect(), never })
    }

    pub fn trie(&self) -> &TokTrie {
        self.env.tok_trie()
    }

    /// Whether a token ends generation.
    pub fn ends(&self, id: u32) -> bool {
        self.ending.contains(&id)
    }

    /// What a token brings.
    pub fn signs(&self, token: u32) -> impl Iterator<Item = Sign> + '_ {
        let word = self.trie().token(token);
        let steers = word.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER);
        let bytes = if steers { &[][..] } else { word };
        let alone = (steers || self.never.contains(&token)).then(|| Sign::steering(token));
        alone.into_iter().chain(bytes.iter().map(|byte| Sign(u32::from(*byte))))
    }

    /// What a text is made of, steering tokens that are written in it taken as such.
    pub fn read(&self, text: &str) -> Vec<Sign> {
        let mut signs = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let longest = self.steering.iter().filter(|(name, _)| rest.starts_with(name.as_str()));
            if let Some((name, id)) = longest.max_by_key(|(name, _)| name.len()) {
                signs.push(Sign::steering(*id));
                at += name.len();
            } else {
                let len = rest.chars().next().map_or(1, char::len_utf8);
                signs.extend(rest.as_bytes()[..len].iter().map(|byte| Sign(u32::from(*byte))));
                at += len;
            }
        }
        signs
    }

    /// Tokens that bring these signs; none where the vocabulary lacks a byte.
    pub fn write(&self, signs: &[Sign]) -> Option<Vec<u32>> {
        let mut tokens = Vec::new();
        for run in signs.chunk_by(|a, b| a.read().is_ok() && b.read().is_ok()) {
            if let Err(id) = run[0].read() {
                tokens.push(id);
                continue;
            }
            let bytes: Vec<u8> = run.iter().filter_map(|sign| sign.read().ok()).collect();
            let written = self.trie().greedy_tokenize(&bytes);
            if written.iter().map(|token| self.trie().token(*token).len()).sum::<usize>() != bytes.len() {
                return None;
            }
            tokens.extend(written);
        }
        Some(tokens)
    }

    /// Signs as terms of a Lark rule.
    pub fn lark(&self, text: &str) -> Result<String, GrammarError> {
        let mut terms = Vec::new();
        for run in self.read(text).chunk_by(|a, b| a.read().is_ok() && b.read().is_ok()) {
            match run[0].read() {
                Err(id) if self.ends(id) => {
                    let what =
                        "it holds a token that ends the answer; leave that out, for an answer may end there anyway";
                    return Err(GrammarError::Text { text: text.into(), what });
                }
                Err(id) => terms.push(format!("<[{id}]>")),
                Ok(_) => {
                    let bytes: Vec<u8> = run.iter().filter_map(|sign| sign.read().ok()).collect();
                    terms.push(quoted(&String::from_utf8_lossy(&bytes)));
                }
            }
        }
        Ok(terms.join(" "))
    }
}

/// A text as a string of Lark.
pub(crate) fn quoted(text: &str) -> String {
    // Lark does not take this one as it is, which JSON does.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A vocabulary of single bytes and the steering tokens `<s>`, `<call>`, `<end>`, of which the last ends an answer.
    pub(crate) fn bytes() -> Words {
        let mut words: Vec<Vec<u8>> = (0..=255u8).map(|byte| if byte == 255 { vec![] } else { vec![byte] }).collect();
        let names = ["<s>", "<call>", "<end>"];
        words.extend(names.iter().map(|name| [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()));
        let env = Arc::new(ApproximateTokEnv::new(TokTrie::from(&TokRxInfo::new(259, INVALID_TOKEN), &words)));
        let steering = names.iter().zip(256..).map(|(name, id)| (name.to_string(), id)).collect();
        Words { env, steering, ending: vec![258], never: BTreeSet::from([255]) }
    }

    #[test]
    fn texts_are_read_with_their_steering_tokens() {
        let words = bytes();
        let read: Vec<_> = words.read("é<call>x<cal").iter().map(|sign| sign.read()).collect();
        let text = [Ok(0xC3), Ok(0xA9), Err(257), Ok(b'x'), Ok(b'<'), Ok(b'c'), Ok(b'a'), Ok(b'l')];
        assert_eq!(read, text);
        assert_eq!(words.write(&words.read("a<call>")), Some(vec![97, 257]));
        assert_eq!(words.lark("a\"\n<call>b").unwrap(), r#""a\"\n" <[257]> "b""#);
        assert!(matches!(words.lark("x<end>"), Err(GrammarError::Text { .. })));
        assert_eq!(words.signs(257).collect::<Vec<_>>(), [Sign::steering(257)]);
        assert_eq!(words.signs(97).collect::<Vec<_>>(), [Sign(97)]);
    }
}
