//! From tokens back to bytes and text. Text is only ever given out in whole characters.

use crate::Tokenizer;
use std::borrow::Cow;
use tokenizers::decoders::wordpiece::cleanup;

/// How a token's text stands for bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's alphabet: each character is a byte.
    Bytes,
    /// U+2581 is a space and `<0x41>` a byte. `prefix`: encoding put a space in front of the text.
    Spaces { prefix: bool },
    /// Words with a space between, pieces inside a word marked in front (`##`). `tidy`: no space before punctuation.
    Words { inside: String, tidy: bool },
    /// Pieces inside a word are plain, the last one ends with a mark (`</w>`), which stands for a space.
    Suffix { mark: String },
    /// As written.
    Plain,
}

impl Spelling {
    /// The bytes of a token that came out of text.
    pub(crate) fn bytes<'a>(&self, token: &'a str) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes => byte_level(token).map_or(Cow::Borrowed(token.as_bytes()), Cow::Owned),
            Self::Spaces { .. } => match byte_token(token) {
                Some(byte) => Cow::Owned(vec![byte]),
                None if token.contains('\u{2581}') => Cow::Owned(token.replace('\u{2581}', " ").into_bytes()),
                None => Cow::Borrowed(token.as_bytes()),
            },
            Self::Words { inside, tidy } => match token.strip_prefix(inside.as_str()) {
                Some(piece) if !inside.is_empty() => Cow::Borrowed(piece.as_bytes()),
                _ if *tidy => Cow::Owned(cleanup(&format!(" {token}")).into_bytes()),
                _ => Cow::Owned(format!(" {token}").into_bytes()),
            },
            Self::Suffix { mark } => match token.strip_suffix(mark.as_str()) {
                Some(word) if !mark.is_empty() => Cow::Owned(format!("{word} ").into_bytes()),
                _ => Cow::Borrowed(token.as_bytes()),
            },
            Self::Plain => Cow::Borrowed(token.as_bytes()),
        }
    }

    /// Whether text that begins with a space begins with one that encoding or joining put there.
    pub(crate) fn drops_first_space(&self) -> bool {
        matches!(self, Self::Spaces { prefix: true } | Self::Words { .. })
    }
}

/// `<0x41>` is the byte 0x41.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Bytes of a token in GPT-2's alphabet; `None` if a character is outside of it.
fn byte_level(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

/// GPT-2 writes a printable Latin-1 byte as itself and the 68 others as U+0100 and following, in order.
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Takes the whole characters off the front of `bytes`; an incomplete character at the end stays (at most 3 bytes).
/// Bytes that can never become a character turn into U+FFFD, as in [`String::from_utf8_lossy`].
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                rest = after;
                let Some(invalid) = error.error_len() else { break };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &rest[invalid..];
            }
        }
    }
    let taken = bytes.len() - rest.len();
    bytes.drain(..taken);
    text
}

/// Decodes tokens as they come. All texts together are what [`Tokenizer::decode`] gives for all tokens together.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// Whether nothing has come out yet.
    at_start: bool,
    /// An incomplete character.
    pending: Vec<u8>,
}

impl StreamDecoder {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        let at_start = tokenizer.spelling().drops_first_space();
        Self { tokenizer, skip_special: true, at_start, pending: Vec::new() }
    }

    /// Shows special tokens too; by default they give no text.
    #[must_use]
    pub fn with_special(mut self) -> Self {
        self.skip_special = false;
        self
    }

    /// The tokens go on from earlier text: a space in front of the first word is kept.
    #[must_use]
    pub fn continuing(mut self) -> Self {
        self.at_start = false;
        self
    }

    /// Takes one token and gives the text that is complete by now; it may be empty. Ids outside the vocabulary give
    /// no text.
    pub fn push(&mut self, id: u32) -> String {
        if self.skip_special && self.tokenizer.is_special(id) {
            return String::new();
        }
        let bytes = self.tokenizer.bytes(id);
        let is_empty = bytes.is_empty();
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.at_start => rest,
            _ => &bytes,
        };
        self.pending.extend_from_slice(bytes);
        self.at_start &= is_empty;
        take_text(&mut self.pending)
    }

    /// Ends the text: an incomplete character becomes U+FFFD. The decoder can then be used for a new text.
    pub fn finish(&mut self) -> String {
        self.at_start = self.tokenizer.spelling().drops_first_space();
        let rest = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut seen = [false; 256];
        for c in (0..0x200).filter_map(char::from_u32) {
            if let Some(byte) = byte_of(c) {
                assert!(!std::mem::replace(&mut seen[usize::from(byte)], true), "{c:?}");
            }
        }
        assert!(seen.iter().all(|&seen| seen));
        assert_eq!(byte_level("Ġa").unwrap(), b" a");
        assert_eq!(byte_level("Ċ").unwrap(), b"\n");
    }

    #[test]
    fn byte_tokens_are_two_hexadecimal_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0x+A>"), None);
        assert_eq!(byte_token("<0x0AB>"), None);
        assert_eq!(byte_token("<0x>"), None);
    }

    proptest! {
        #[test]
        fn taking_in_parts_is_lossy_decoding(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            let mut pending = bytes[..cut].to_vec();
            let mut text = take_text(&mut pending);
            prop_assert!(pending.len() <= 3);
            pending.extend_from_slice(&bytes[cut..]);
            text += &take_text(&mut pending);
            text += &String::from_utf8_lossy(&pending);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
