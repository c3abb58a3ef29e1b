//! The tokenizer: one pipeline (cut out special tokens, normalise, cut into words, encode), however it was loaded.

use crate::bpe::{Bpe, Unencodable};
use crate::detokenize::Spelling;
use crate::pair::PairFrame;
use crate::vocabulary::SpecialIds;
use crate::{Error, StreamDecoder};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tokenizers::{
    AddedVocabulary, Model as _, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizer as _,
    PreTokenizerWrapper,
};

/// Turns words into tokens.
pub(crate) enum Model {
    Bpe(Bpe),
    /// The library's tokenizer, of which only the model is used.
    Library(Box<tokenizers::Tokenizer>),
}

/// The parts that a loader fills.
pub(crate) struct Parts {
    pub(crate) model: Model,
    pub(crate) normalizer: Option<NormalizerWrapper>,
    pub(crate) pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Cuts special and user-defined tokens out of text.
    pub(crate) parsing: AddedVocabulary,
    /// Cuts user-defined tokens out of text and leaves special ones as text.
    pub(crate) literal: AddedVocabulary,
    /// Whether the token with this id is special. Shorter than the vocabulary: the rest is not.
    pub(crate) special: Vec<bool>,
    /// Ids that go in front of and behind a sequence.
    pub(crate) prefix: Vec<u32>,
    pub(crate) suffix: Vec<u32>,
    /// What stands around and between two texts, if the files say.
    pub(crate) pair: Option<PairFrame>,
    pub(crate) spelling: Spelling,
    pub(crate) ids: SpecialIds,
    pub(crate) end_of_generation: BTreeSet<u32>,
    pub(crate) vocab_size: usize,
}

/// A tokenizer. Cloning is cheap: clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer(Arc<Parts>);

impl fmt::Debug for Tokenizer {
    /// Names the tokenizer's kind and size, not its quarter million tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { vocab_size, spelling, ids, .. } = &*self.0;
        let mut shown = f.debug_struct("Tokenizer");
        shown.field("vocab_size", vocab_size).field("spelling", spelling).field("ids", ids).finish_non_exhaustive()
    }
}

/// Longest text that is tokenised at once.
const MAX_TEXT: usize = i32::MAX as usize;

impl Tokenizer {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Token ids of `text`. `add_special` puts the tokens around it that begin and end a sequence; `parse_special`
    /// reads special tokens that are written in the text (`<|im_end|>`), which text from users must not do.
    ///
    /// A rendered chat template holds its special tokens itself: encode it with `add_special` false and
    /// `parse_special` true, else a sequence begins with two BOS tokens.
    ///
    /// # Errors
    /// A character that the vocabulary cannot express, or text above 2 GiB.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>, Error> {
        if text.len() > MAX_TEXT {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let Parts { prefix, suffix, parsing, literal, normalizer, pre_tokenizer, .. } = &*self.0;
        let mut ids = if add_special { prefix.clone() } else { Vec::new() };
        let added = if parse_special { parsing } else { literal };
        Error::guard("encode", || {
            let mut pieces = added.extract_and_normalize(normalizer.as_ref(), text);
            if let Some(pre_tokenizer) = pre_tokenizer {
                pre_tokenizer.pre_tokenize(&mut pieces).map_err(Error::library("pre-tokenizer"))?;
            }
            for (piece, _, added) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                match added {
                    Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                    None => self.0.model.encode(piece, &mut ids)?,
                }
            }
            Ok(())
        })?;
        if add_special {
            ids.extend_from_slice(suffix);
        }
        Ok(ids)
    }

    /// Text of tokens; bytes that are no UTF-8 become U+FFFD, ids outside the vocabulary give nothing.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let stream = self.stream();
        let mut stream = if skip_special { stream } else { stream.with_special() };
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        text
    }

    /// A decoder for tokens that come one by one. It gives no text for special tokens.
    pub fn stream(&self) -> StreamDecoder {
        StreamDecoder::new(self.clone())
    }

    /// The bytes that a token stands for; special tokens stand for their own text. Empty outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.bytes(id)
    }

    /// The token as the vocabulary writes it (`Ġthe`, `▁the`, `<0x0A>`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        let added = self.0.parsing.get_added_tokens_decoder().get(&id).map(|token| token.content.clone());
        added.or_else(|| self.0.model.text(id).map(Cow::into_owned))
    }

    /// The id of a token as the vocabulary writes it.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        match &self.0.model {
            Model::Bpe(bpe) => self.0.parsing.token_to_id(text, bpe),
            Model::Library(model) => self.0.parsing.token_to_id(text, model.get_model()),
        }
    }

    /// Number of ids, special tokens included: one more than the greatest id.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<u32> {
        self.0.ids.bos
    }

    /// The token that ends a sequence.
    pub fn eos(&self) -> Option<u32> {
        self.0.ids.eos
    }

    /// All tokens with a role.
    pub fn special_ids(&self) -> &SpecialIds {
        &self.0.ids
    }

    /// Whether encoding with `add_special` begins with [`bos`](Self::bos).
    pub fn add_bos(&self) -> bool {
        self.0.ids.bos.is_some_and(|bos| self.0.prefix.contains(&bos))
    }

    /// Whether encoding with `add_special` ends with [`eos`](Self::eos).
    pub fn add_eos(&self) -> bool {
        self.0.ids.eos.is_some_and(|eos| self.0.suffix.contains(&eos))
    }

    /// Every token after which generation stops: end of sequence, of turn, of message, and what the files beside the
    /// model add.
    pub fn eog(&self) -> &BTreeSet<u32> {
        &self.0.end_of_generation
    }

    /// Whether the token steers the model instead of standing for text.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.special.get(id as usize).copied().unwrap_or(false)
    }

    /// What stands in front of and behind a text.
    pub(crate) fn around(&self) -> (&[u32], &[u32]) {
        (&self.0.prefix, &self.0.suffix)
    }

    pub(crate) fn pair_frame(&self) -> Option<&PairFrame> {
        self.0.pair.as_ref()
    }

    pub(crate) fn spelling(&self) -> &Spelling {
        &self.0.spelling
    }

    pub(crate) fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some(token) = self.0.parsing.get_added_tokens_decoder().get(&id) {
            return match self.0.spelling {
                Spelling::Words { .. } => format!(" {}", token.content).into_bytes(),
                _ => token.content.clone().into_bytes(),
            };
        }
        let Some(text) = self.0.model.text(id) else { return Vec::new() };
        if self.is_special(id) {
            return text.into_owned().into_bytes();
        }
        self.0.spelling.bytes(&text).into_owned()
    }
}

impl Model {
    fn encode(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        match self {
            Self::Bpe(bpe) => bpe.encode(word, ids).map_err(|Unencodable(character)| Error::Unencodable { character }),
            Self::Library(model) => {
                let tokens = model.get_model().tokenize(word).map_err(Error::library("model"))?;
                ids.extend(tokens.into_iter().map(|token| token.id));
                Ok(())
            }
        }
    }

    fn text(&self, id: u32) -> Option<Cow<'_, str>> {
        match self {
            Self::Bpe(bpe) => bpe.tokens().text(id).map(Cow::Borrowed),
            Self::Library(model) => model.get_model().id_to_token(id).map(Cow::Owned),
        }
    }
}
