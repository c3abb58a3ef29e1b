//! What a sequence may say: a set of tokens for each position, from somebody who knows a grammar.
//!
//! The engine asks for the set once for each position, chooses among it, and tells what it chose. Nothing here knows of
//! grammars or of text.

/// A set of tokens, a bit for each token of the vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
    len: usize,
}

impl TokenSet {
    /// No token of a vocabulary of `len`.
    pub fn none(len: usize) -> Self {
        let mut set = Self::default();
        set.clear(len);
        set
    }

    /// Forgets all tokens; the vocabulary has `len` from now on. Allocates only when it grows.
    pub fn clear(&mut self, len: usize) {
        self.len = len;
        self.words.clear();
        self.words.resize(len.div_ceil(32), 0);
    }

    /// Tokens of the vocabulary, in the set or not.
    pub fn vocab(&self) -> usize {
        self.len
    }

    /// Takes every token in.
    pub fn fill(&mut self) {
        self.words.fill(u32::MAX);
        self.trim();
    }

    /// Takes the tokens of `bits` in, the lowest bit first, and no other; bits beyond the vocabulary are nothing.
    pub fn set_words(&mut self, bits: &[u32]) {
        let n = bits.len().min(self.words.len());
        self.words[..n].copy_from_slice(&bits[..n]);
        self.words[n..].fill(0);
        self.trim();
    }

    /// Takes a token in or out; nothing happens outside of the vocabulary.
    pub fn set(&mut self, token: u32, within: bool) {
        let token = token as usize;
        if token < self.len {
            let bit = 1 << (token % 32);
            let word = &mut self.words[token / 32];
            *word = if within { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a token is in the set.
    pub fn contains(&self, token: u32) -> bool {
        (token as usize) < self.len && self.words[token as usize / 32] >> (token % 32) & 1 == 1
    }

    /// How many tokens are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The tokens of the set by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).step_by(32).zip(&self.words).flat_map(|(start, word)| {
            let rest = |word: &u32| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let words = std::iter::successors(Some(*word).filter(|word| *word != 0), rest);
            words.map(move |word| start + word.trailing_zeros())
        })
    }

    /// The bits, 32 tokens in a word.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    fn trim(&mut self) {
        if let (Some(last), used @ 1..) = (self.words.last_mut(), self.len % 32) {
            *last &= (1 << used) - 1;
        }
    }
}

/// Why a constraint could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The output is not whole, and the vocabulary has nothing that would lead on.
    #[error("the output is not whole and no token of the vocabulary can continue it as the grammar asks")]
    Stuck,
    /// What may come next costs too much to find out.
    #[error("what the grammar allows next takes too much work to find out: {what}")]
    TooComplex {
        /// The limit that was reached.
        what: String,
    },
    /// A token was accepted that is not allowed: a mistake of the caller.
    #[error("token {token} is not allowed here")]
    Refused {
        /// The token.
        token: u32,
    },
    /// The grammar's machine failed.
    #[error("the grammar's machine failed: {what}")]
    Machine {
        /// What it says.
        what: String,
    },
}

/// Decides which tokens may come next. Its state follows from the accepted tokens alone.
///
/// Tokens that end the sequence ([`StopRules::tokens`](crate::StopRules::tokens)) are the engine's: they are allowed exactly
/// where [`may_end`](Self::may_end) says so, and never accepted.
pub trait Constraint: Send {
    /// Puts the tokens that may come next into `allowed`, which is empty and as wide as the vocabulary.
    ///
    /// # Errors
    /// [`ConstraintError`]; the sequence ends then.
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintError>;

    /// Goes on by a token that was allowed.
    ///
    /// # Errors
    /// [`ConstraintError`]; the sequence ends then, without the token.
    fn accept(&mut self, token: u32) -> Result<(), ConstraintError>;

    /// How many of these tokens could be accepted one after another. More than is true costs speed, less costs it too.
    fn accepts(&mut self, tokens: &[u32]) -> usize {
        tokens.len()
    }

    /// Whether the output is whole.
    fn may_end(&mut self) -> bool;

    /// Whether the output is whole and nothing can follow.
    fn must_end(&mut self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = TokenSet::none(70);
        set.fill();
        assert_eq!((set.count(), set.contains(69), set.contains(70)), (70, true, false));
        set.set_words(&[1, 0x8000_0000]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        set.set_words(&[0, 0, u32::MAX, 7]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [64, 65, 66, 67, 68, 69]);
        set.set(64, false);
        set.set(3, true);
        set.set(1000, true);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 65, 66, 67, 68, 69]);
        set.clear(3);
        assert_eq!((set.count(), set.vocab(), set.contains(2)), (0, 3, false));
    }
}
