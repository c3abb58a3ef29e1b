//! From a vocabulary table to the pipeline that a tokenizer.json of the same model would describe.

use crate::bpe::{Bpe, Merges, TokenTable, WholeWords};
use crate::detokenize::Spelling;
use crate::pre_tokenizer::{Alphabet, PreTokenizer};
use crate::tokenizer::{Model, Parts};
use crate::vocabulary::{Algorithm, SpecialIds, TokenType, Vocabulary};
use crate::{Error, Tokenizer, eog};
use argand_weights::Metadata;
use std::collections::HashMap;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Precompiled, Prepend, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, AddedVocabulary, NormalizerWrapper, PreTokenizerWrapper};

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// A key that is missing, malformed or unknown; an unknown or missing pre-tokenizer (never guessed).
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, Error> {
        Self::from_vocabulary(&Vocabulary::from_gguf(metadata)?)
    }

    /// Builds a tokenizer from a table.
    ///
    /// # Errors
    /// Lists whose lengths disagree, a malformed merge, an unknown or missing pre-tokenizer, a special token that
    /// sequences need and the table lacks.
    pub fn from_vocabulary(vocabulary: &Vocabulary<'_>) -> Result<Self, Error> {
        check(vocabulary)?;
        Error::guard("vocabulary", || Self::convert(vocabulary))
    }

    fn convert(vocabulary: &Vocabulary<'_>) -> Result<Self, Error> {
        let types = settle_types(vocabulary);
        let stages = match vocabulary.algorithm {
            Algorithm::Bpe => bpe(vocabulary)?,
            Algorithm::SentencePiece => sentence_piece(vocabulary, &types)?,
            Algorithm::Unigram => unigram(vocabulary)?,
            Algorithm::WordPiece => word_piece(vocabulary, &types)?,
        };
        let (prefix, suffix) = frame(vocabulary, stages.add_bos)?;
        let SpecialIds { eos, eot, eom, .. } = vocabulary.special;
        let find = finder(vocabulary);
        let parts = Parts {
            parsing: added(vocabulary, &types, &stages.model, true)?,
            literal: added(vocabulary, &types, &stages.model, false)?,
            special: types.iter().map(|kind| matches!(kind, TokenType::Control | TokenType::Unknown)).collect(),
            end_of_generation: eog::collect([eos, eot, eom].into_iter().flatten(), |text| find.get(text).copied()),
            prefix,
            suffix,
            pair: None,
            model: stages.model,
            normalizer: stages.normalizer,
            pre_tokenizer: stages.pre_tokenizer,
            spelling: stages.spelling,
            ids: vocabulary.special,
            vocab_size: vocabulary.tokens.len(),
        };
        Ok(Self::new(parts))
    }
}

/// What an algorithm settles.
struct Stages {
    model: Model,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    spelling: Spelling,
    add_bos: bool,
}

fn check(vocabulary: &Vocabulary<'_>) -> Result<(), Error> {
    let tokens = vocabulary.tokens.len();
    for (what, found) in [("token scores", vocabulary.scores.len()), ("token types", vocabulary.types.len())] {
        if found != 0 && found < tokens {
            return Err(Error::Length { what, found, tokens });
        }
    }
    if matches!(vocabulary.algorithm, Algorithm::SentencePiece | Algorithm::Unigram) && vocabulary.scores.is_empty() {
        return Err(Error::Length { what: "token scores", found: 0, tokens });
    }
    if tokens == 0 { Err(Error::Size { tokens, bytes: 0 }) } else { Ok(()) }
}

/// Ids of the texts that decide about end of generation.
fn finder<'a>(vocabulary: &Vocabulary<'a>) -> HashMap<&'a str, u32> {
    let known = |token: &&str| eog::TEXTS.contains(token);
    let ids = vocabulary.tokens.iter().zip(0..).filter(|(token, _)| token.len() < 32 && known(token));
    ids.map(|(token, id)| (*token, id)).collect()
}

/// Types as the model means them: tokens that end a turn are control tokens even where the file forgot.
fn settle_types(vocabulary: &Vocabulary<'_>) -> Vec<TokenType> {
    let mut types: Vec<TokenType> = (0..vocabulary.tokens.len()).map(|id| vocabulary.token_type(id)).collect();
    let find = finder(vocabulary);
    for id in eog::collect([], |text| find.get(text).copied()) {
        types[id as usize] = TokenType::Control;
    }
    types
}

/// Tokens that are cut out of text: user-defined ones always, control and unknown ones when `special`.
fn added(
    vocabulary: &Vocabulary<'_>,
    types: &[TokenType],
    model: &Model,
    special: bool,
) -> Result<AddedVocabulary, Error> {
    let token = |(id, kind): (usize, &TokenType)| {
        let is_special = match kind {
            TokenType::UserDefined => false,
            TokenType::Control | TokenType::Unknown if special => true,
            _ => return None,
        };
        let token = AddedToken::from(vocabulary.tokens[id], is_special).normalized(false);
        let is_mask = vocabulary.special.mask == Some(id as u32);
        let keeps_space = ["<unk>", "<s>", "<|endoftext|>"].contains(&vocabulary.tokens[id]);
        let token = token.rstrip(vocabulary.strip_after_control && !keeps_space);
        Some(token.lstrip(vocabulary.strip_before_mask && is_mask))
    };
    let tokens: Vec<AddedToken> = types.iter().enumerate().filter_map(token).collect();
    let mut added = AddedVocabulary::new();
    let none = None::<&NormalizerWrapper>;
    let result = match model {
        Model::Bpe(bpe) => added.add_tokens(tokens, bpe, none),
        Model::Library(model) => added.add_tokens(tokens, model.get_model(), none),
    };
    result.map_err(Error::library("special tokens"))?;
    Ok(added)
}

/// Tokens around a sequence.
fn frame(vocabulary: &Vocabulary<'_>, add_bos: bool) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let tokens = vocabulary.tokens.len();
    let need = |id: Option<u32>, which| id.map(|id| vec![id]).ok_or(Error::MissingSpecial { which, tokens });
    let SpecialIds { bos, eos, separator, .. } = vocabulary.special;
    if vocabulary.algorithm == Algorithm::WordPiece {
        return Ok((need(bos, "CLS")?, need(separator, "SEP")?));
    }
    let add_eos = vocabulary.add_eos.unwrap_or(vocabulary.algorithm == Algorithm::Unigram);
    let prefix = if vocabulary.add_bos.unwrap_or(add_bos) { need(bos, "BOS")? } else { Vec::new() };
    let suffix = if add_eos { need(eos, "EOS")? } else { Vec::new() };
    Ok((prefix, suffix))
}

fn table(tokens: &[&str]) -> Result<TokenTable, Error> {
    let bytes = || tokens.iter().map(|token| token.len()).sum();
    TokenTable::new(tokens).ok_or_else(|| Error::Size { tokens: tokens.len(), bytes: bytes() })
}

fn bpe(vocabulary: &Vocabulary<'_>) -> Result<Stages, Error> {
    let row = PreTokenizer::named(vocabulary.pre.ok_or(Error::MissingPreTokenizer)?)?;
    let tokens = table(&vocabulary.tokens)?;
    let merges = Merges::ranked(&tokens, &vocabulary.merges)
        .map_err(|index| Error::BadMerge { index, found: vocabulary.merges[index].to_owned() })?;
    let (normalizer, spelling) = match row.alphabet {
        Alphabet::Bytes => (None, Spelling::Bytes),
        Alphabet::Spaces => (Some(spaces_to_marks()?), Spelling::Spaces { prefix: false }),
        Alphabet::Words => (vocabulary.lowercase.then(|| Lowercase.into()), Spelling::Plain),
    };
    Ok(Stages {
        model: Model::Bpe(Bpe::new(tokens, merges, row.whole_words, vocabulary.special.unknown)),
        normalizer,
        pre_tokenizer: Some(row.build()?),
        spelling,
        // A file without a BOS token cannot ask for one by its pre-tokenizer's name alone.
        add_bos: row.add_bos && vocabulary.special.bos.is_some(),
    })
}

fn sentence_piece(vocabulary: &Vocabulary<'_>, types: &[TokenType]) -> Result<Stages, Error> {
    let reserved = [TokenType::Control, TokenType::Unknown, TokenType::Byte];
    let scores = vocabulary.scores.iter().zip(types);
    let merges = Merges::scored(scores.map(|(score, kind)| (!reserved.contains(kind)).then_some(*score)));
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let mut steps = vec![spaces_to_marks()?];
    if prefix {
        steps.insert(0, Prepend::new("\u{2581}".to_owned()).into());
    }
    Ok(Stages {
        model: Model::Bpe(Bpe::new(table(&vocabulary.tokens)?, merges, WholeWords::Never, vocabulary.special.unknown)),
        normalizer: Some(Sequence::new(steps).into()),
        pre_tokenizer: None,
        spelling: Spelling::Spaces { prefix },
        add_bos: true,
    })
}

fn spaces_to_marks() -> Result<NormalizerWrapper, Error> {
    Ok(Replace::new(" ", "\u{2581}").map_err(Error::library("normalizer"))?.into())
}

/// The map begins with the length of its first part, for which the library allocates before it looks.
fn check_charsmap(charsmap: &[u8]) -> Result<(), Error> {
    let length = charsmap.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    if length.is_some_and(|length| length >= 4 && length <= charsmap.len() - 4) {
        return Ok(());
    }
    Err(Error::Field {
        key: "tokenizer.ggml.precompiled_charsmap".to_owned(),
        found: format!("a map of {} bytes whose first part has {} bytes", charsmap.len(), length.unwrap_or(0)),
        expected: "a first part of at least 4 bytes that ends inside the map",
    })
}

fn unigram(vocabulary: &Vocabulary<'_>) -> Result<Stages, Error> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if !vocabulary.charsmap.is_empty() {
        check_charsmap(&vocabulary.charsmap)?;
        steps.push(Precompiled::from(&vocabulary.charsmap).map_err(Error::library("precompiled_charsmap"))?.into());
    }
    if vocabulary.remove_extra_whitespaces {
        let runs = tokenizers::normalizers::replace::ReplacePattern::Regex(" {2,}".to_owned());
        steps.push(Strip::new(true, true).into());
        steps.push(Replace::new(runs, " ").map_err(Error::library("normalizer"))?.into());
    }
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let scheme = if prefix { PrependScheme::Always } else { PrependScheme::Never };
    let pieces = vocabulary.tokens.iter().zip(&vocabulary.scores);
    let pieces = pieces.map(|(token, score)| ((*token).to_owned(), f64::from(*score))).collect();
    let unknown = vocabulary.special.unknown.map(|id| id as usize);
    let model = Unigram::from(pieces, unknown, false).map_err(Error::library("unigram vocabulary"))?;
    Ok(Stages {
        model: Model::Library(Box::new(tokenizers::Tokenizer::new(model))),
        normalizer: Some(Sequence::new(steps).into()),
        pre_tokenizer: Some(Metaspace::new('\u{2581}', scheme, true).into()),
        spelling: Spelling::Spaces { prefix },
        add_bos: false,
    })
}

/// Converters write BERT's `word` and `##piece` as `▁word` and `piece`.
fn word_piece(vocabulary: &Vocabulary<'_>, types: &[TokenType]) -> Result<Stages, Error> {
    let spelled = |(token, kind): (&&str, &TokenType)| match (kind, token.strip_prefix('\u{2581}')) {
        (TokenType::Normal, Some(word)) => word.to_owned(),
        (TokenType::Normal, None) => format!("##{token}"),
        _ => (*token).to_owned(),
    };
    let words = vocabulary.tokens.iter().zip(types).map(spelled).zip(0..);
    let tokens = vocabulary.tokens.len();
    let unknown = vocabulary.special.unknown.ok_or(Error::MissingSpecial { which: "unknown", tokens })?;
    let mut vocab = WordPiece::read_bytes(b"").map_err(Error::library("word piece vocabulary"))?;
    vocab.extend(words);
    let model = WordPiece::builder()
        .vocab(vocab)
        .unk_token(vocabulary.tokens[unknown as usize].to_owned())
        .build()
        .map_err(Error::library("word piece vocabulary"))?;
    let normalizer = BertNormalizer::new(true, true, vocabulary.strip_accents, vocabulary.lowercase);
    Ok(Stages {
        model: Model::Library(Box::new(tokenizers::Tokenizer::new(model))),
        normalizer: Some(normalizer.into()),
        pre_tokenizer: Some(BertPreTokenizer.into()),
        spelling: Spelling::Words { inside: "##".to_owned(), tidy: true },
        add_bos: true,
    })
}
