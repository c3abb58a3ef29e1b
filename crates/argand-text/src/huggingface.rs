//! Tokenizers that come as tokenizer.json, with the files beside it that name the special tokens.

use crate::detokenize::Spelling;
use crate::pair::PairFrame;
use crate::tokenizer::{Model, Parts};
use crate::vocabulary::SpecialIds;
use crate::{Error, Tokenizer, eog};
use serde_json::Value;
use std::path::Path;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{DecoderWrapper, Encoding, Model as _, PostProcessor as _, PostProcessorWrapper, Token};

/// How the token for hidden words is written where tokenizer_config.json does not name it.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

/// Files with vocabularies that only the libraries of their makers read.
const OTHER_FORMS: [&str; 5] =
    ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json"];

/// The largest vocabularies have some hundred thousand tokens.
const MOST_IDS: usize = 1 << 24;

impl Tokenizer {
    /// Loads tokenizer.json from a model directory, and tokenizer_config.json and generation_config.json where present.
    ///
    /// # Errors
    /// A file that cannot be read or parsed.
    pub fn from_hf_dir(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let json = match read_if_present(&path)? {
            Some(json) => json,
            None => {
                let other = OTHER_FORMS.into_iter().find(|name| dir.join(name).is_file());
                return Err(Error::NoFile { folder: dir.to_path_buf(), other });
            }
        };
        let beside = |name: &str| read_if_present(&dir.join(name));
        let (config, generation) = (beside("tokenizer_config.json")?, beside("generation_config.json")?);
        Self::from_json_bytes(&json, config.as_deref(), generation.as_deref())
    }

    /// Loads a tokenizer from the bytes of tokenizer.json, and of tokenizer_config.json (which names BOS and EOS) and
    /// generation_config.json (which may name more end tokens) where there are any.
    ///
    /// # Errors
    /// Malformed JSON, or a component that the `tokenizers` library does not know.
    pub fn from_json_bytes(json: &[u8], config: Option<&[u8]>, generation: Option<&[u8]>) -> Result<Self, Error> {
        Error::guard("tokenizer.json", || Self::from_json(json, config, generation))
    }

    fn from_json(json: &[u8], config: Option<&[u8]>, generation: Option<&[u8]>) -> Result<Self, Error> {
        let library = tokenizers::Tokenizer::from_bytes(json).map_err(Error::library("tokenizer.json"))?;
        let config = parse("tokenizer_config.json", config)?;
        let generation = parse("generation_config.json", generation)?;

        let parsing = library.get_added_vocabulary().clone();
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        let added = parsing.get_added_tokens_decoder();
        let ids = 1 + added.keys().max().map_or(0, |&id| id as usize);
        if ids > MOST_IDS {
            let (key, found) = ("added_tokens".to_owned(), format!("a token with the id {}", ids - 1));
            return Err(Error::Field { key, found, expected: "ids of a vocabulary, below 2^24" });
        }
        let special = |id: usize| added.get(&(id as u32)).is_some_and(|token| token.special);

        let (prefix, suffix) = frame(library.get_post_processor())?;
        let find = |text: &str| library.token_to_id(text);
        let named = |key: &str| special_text(&config, key).and_then(|text| find(&text));
        let special_ids = SpecialIds {
            bos: named("bos_token").or(prefix.first().copied()),
            eos: named("eos_token").or(suffix.last().copied()),
            unknown: named("unk_token"),
            separator: named("sep_token"),
            padding: named("pad_token"),
            mask: named("mask_token").or_else(|| MASKS.iter().find_map(|text| find(text))),
            eot: named("eot_token"),
            eom: named("eom_token"),
        };
        let ends = [special_ids.eos, special_ids.eot, special_ids.eom].into_iter().flatten();
        let ends = ends.chain(generation_ends(&generation));
        // A text that is no added token is an ordinary word here, whatever it looks like.
        let end_of_generation = eog::collect(ends, |text| find(text).filter(|id| added.contains_key(id)));

        let parts = Parts {
            special: (0..ids).map(special).collect(),
            vocab_size: library.get_model().get_vocab_size().max(if added.is_empty() { 0 } else { ids }),
            spelling: spelling(library.get_decoder()),
            normalizer: library.get_normalizer().cloned(),
            pre_tokenizer: library.get_pre_tokenizer().cloned(),
            parsing,
            literal,
            prefix,
            suffix,
            pair: PairFrame::of(library.get_post_processor())?,
            ids: special_ids,
            end_of_generation,
            model: Model::Library(Box::new(library)),
        };
        Ok(Self::new(parts))
    }
}

/// The file's bytes, or `None` if there is no such file.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// Parses a file; an absent one is `null`.
pub(crate) fn parse(file: &'static str, json: Option<&[u8]>) -> Result<Value, Error> {
    json.map_or(Ok(Value::Null), |json| serde_json::from_slice(json).map_err(|source| Error::Json { file, source }))
}

/// Text of a special token, which tokenizer_config.json writes as a string or as an object with `content`.
pub(crate) fn special_text(config: &Value, key: &str) -> Option<String> {
    let value = config.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// `eos_token_id` of generation_config.json: a number or a list.
fn generation_ends(generation: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match generation.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What the post-processor puts in front of and behind a sequence.
fn frame(processor: Option<&PostProcessorWrapper>) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let Some(processor) = processor else { return Ok((Vec::new(), Vec::new())) };
    // A marker that no vocabulary contains stands for the sequence.
    let sequence = Encoding::from_tokens(vec![Token::new(u32::MAX, String::new(), (0, 0))], 0);
    let framed = processor.process(sequence, None, true).map_err(Error::library("post-processor"))?;
    let mut parts = framed.get_ids().splitn(2, |&id| id == u32::MAX);
    let mut part = || parts.next().unwrap_or_default().to_vec();
    Ok((part(), part()))
}

fn spelling(decoder: Option<&DecoderWrapper>) -> Spelling {
    let Some(decoder) = decoder else { return Spelling::Words { inside: String::new(), tidy: false } };
    let steps = match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders(),
        single => std::slice::from_ref(single),
    };
    let strips = steps.iter().any(|step| matches!(step, DecoderWrapper::Strip(strip) if strip.start > 0));
    let spelled = |step: &DecoderWrapper| match step {
        DecoderWrapper::ByteLevel(_) => Some(Spelling::Bytes),
        DecoderWrapper::Metaspace(space) => {
            Some(Spelling::Spaces { prefix: space.get_prepend_scheme() != PrependScheme::Never })
        }
        DecoderWrapper::Replace(_) | DecoderWrapper::ByteFallback(_) => Some(Spelling::Spaces { prefix: strips }),
        DecoderWrapper::WordPiece(words) => Some(Spelling::Words { inside: words.prefix.clone(), tidy: words.cleanup }),
        DecoderWrapper::BPE(bpe) => Some(Spelling::Suffix { mark: bpe.suffix.clone() }),
        _ => None,
    };
    steps.iter().find_map(spelled).unwrap_or(Spelling::Plain)
}
