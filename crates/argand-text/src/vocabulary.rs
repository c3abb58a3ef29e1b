//! A vocabulary as a table, the way model files carry it: what the tokenizer is built from when there is no
//! tokenizer.json. Knows the GGUF keys; never builds anything.

use crate::Error;
use argand_weights::{Array, Metadata, Value};

/// The algorithm that turns words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Byte pair encoding with a list of merges (`gpt2`, `gemma4`, `whitespace`).
    Bpe,
    /// SentencePiece byte pair encoding, ordered by token scores (`llama`).
    SentencePiece,
    /// Unigram language model (`t5`).
    Unigram,
    /// Longest match first (`bert`).
    WordPiece,
}

/// What a token is for. The numbers are those of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenType {
    /// Comes out of text.
    #[default]
    Normal = 1,
    /// Stands for text that has no token.
    Unknown = 2,
    /// Steers the model; text becomes it only when special tokens are parsed.
    Control = 3,
    /// Cut out of text before anything else.
    UserDefined = 4,
    /// Never comes out of text.
    Unused = 5,
    /// One byte, written `<0x41>`.
    Byte = 6,
}

/// Ids of the tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Beginning of a sequence (for BERT: `[CLS]`).
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message.
    pub eom: Option<u32>,
    /// Text without a token.
    pub unknown: Option<u32>,
    /// Between or after sequences (for BERT: `[SEP]`).
    pub separator: Option<u32>,
    /// Filling of short sequences.
    pub padding: Option<u32>,
    /// A blank to fill.
    pub mask: Option<u32>,
}

/// Everything a tokenizer is built from. Lists are in id order.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Token texts.
    pub tokens: Vec<&'a str>,
    /// Token scores; empty where the algorithm needs none.
    pub scores: Vec<f32>,
    /// Token types; empty means that all are normal.
    pub types: Vec<TokenType>,
    /// Merges `left right`, best first.
    pub merges: Vec<&'a str>,
    /// Name of the pre-tokenizer (byte pair encoding only).
    pub pre: Option<&'a str>,
    /// SentencePiece's compiled normalisation map; empty for none.
    pub charsmap: Vec<u8>,
    /// Tokens with a role.
    pub special: SpecialIds,
    /// Whether sequences begin with BOS; `None` leaves it to the algorithm and pre-tokenizer.
    pub add_bos: Option<bool>,
    /// Whether sequences end with EOS; `None` leaves it to the algorithm.
    pub add_eos: Option<bool>,
    /// Whether text gets a space in front (SentencePiece, Unigram).
    pub add_space_prefix: Option<bool>,
    /// Whether runs of spaces count as one (Unigram).
    pub remove_extra_whitespaces: bool,
    /// Whether letters are lowercased (WordPiece, whitespace).
    pub lowercase: bool,
    /// Whether letters lose their accents (WordPiece); `None` means when they are lowercased.
    pub strip_accents: Option<bool>,
    /// Whether white space after control tokens belongs to them (Phi-3).
    pub strip_after_control: bool,
    /// Whether white space before the mask token belongs to it.
    pub strip_before_mask: bool,
}

impl Default for Vocabulary<'_> {
    /// No tokens, byte pair encoding, nothing added.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Bpe,
            tokens: Vec::new(),
            scores: Vec::new(),
            types: Vec::new(),
            merges: Vec::new(),
            pre: None,
            charsmap: Vec::new(),
            special: SpecialIds::default(),
            add_bos: None,
            add_eos: None,
            add_space_prefix: None,
            remove_extra_whitespaces: false,
            lowercase: true,
            strip_accents: None,
            strip_after_control: false,
            strip_before_mask: false,
        }
    }
}

impl<'a> Vocabulary<'a> {
    /// Reads the `tokenizer.ggml.*` keys. Ids of special tokens outside the vocabulary count as absent, as converters
    /// write such ids for tokens that a model lacks.
    ///
    /// # Errors
    /// A missing key, a key of another type, or an unknown `tokenizer.ggml.model`. A missing or unknown pre-tokenizer
    /// is found when the tokenizer is built, so that `pre` can be set first.
    pub fn from_gguf(metadata: &'a Metadata) -> Result<Self, Error> {
        let keys = Keys(metadata);
        let model = keys.str("model")?.ok_or_else(|| Error::Missing { key: key("model") })?;
        let (algorithm, defaults) = algorithm(model)?;
        let tokens = keys.strings("tokens")?;
        let special = keys.special_ids(defaults, tokens.len())?;
        let pre = match model {
            "gemma4" => Some("gemma4"),
            "whitespace" => Some("whitespace"),
            _ => keys.str("pre")?,
        };
        let name = metadata.get("general.name").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let architecture = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            algorithm,
            scores: keys.scores()?,
            types: keys.types()?,
            merges: if algorithm == Algorithm::Bpe { keys.strings("merges")? } else { Vec::new() },
            pre,
            charsmap: keys.bytes("precompiled_charsmap")?,
            special,
            add_bos: keys.bool("add_bos_token")?,
            add_eos: keys.bool("add_eos_token")?,
            add_space_prefix: keys.bool("add_space_prefix")?,
            remove_extra_whitespaces: keys.bool("remove_extra_whitespaces")?.unwrap_or(false),
            lowercase: keys.bool("normalizer.lowercase")?.unwrap_or(model != "whitespace"),
            strip_accents: keys.bool("normalizer.strip_accents")?,
            strip_after_control: ["phi-3", "phi3"].iter().any(|phi| name.contains(phi)),
            strip_before_mask: ["jina-v2-de", "jina-v2-es", "jina-v2-code", "modern-bert"]
                .iter()
                .any(|mask| pre == Some(mask))
                || ["nomic-bert-moe", "jina-bert-v3"].contains(&architecture),
            tokens,
        })
    }

    /// The type of a token.
    pub fn token_type(&self, id: usize) -> TokenType {
        self.types.get(id).copied().unwrap_or_default()
    }
}

/// The algorithm of a `tokenizer.ggml.model`, and the special ids it has where the file names none.
fn algorithm(model: &str) -> Result<(Algorithm, SpecialIds), Error> {
    let none = SpecialIds::default();
    Ok(match model {
        "gpt2" | "gemma4" | "whitespace" => (Algorithm::Bpe, none),
        "llama" => (Algorithm::SentencePiece, SpecialIds { bos: Some(1), eos: Some(2), unknown: Some(0), ..none }),
        "t5" => (Algorithm::Unigram, SpecialIds { eos: Some(1), unknown: Some(2), padding: Some(0), ..none }),
        "bert" => (
            Algorithm::WordPiece,
            SpecialIds {
                bos: Some(101),
                unknown: Some(100),
                separator: Some(102),
                padding: Some(0),
                mask: Some(103),
                ..none
            },
        ),
        _ => return Err(Error::UnknownModel { name: model.to_owned() }),
    })
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

/// Typed access to the keys below `tokenizer.ggml.`.
struct Keys<'a>(&'a Metadata);

impl<'a> Keys<'a> {
    /// `None` when absent; an error when `read` cannot take the value.
    fn read<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.0.get(&key(name)) else { return Ok(None) };
        let found = || value.type_name().into_owned();
        read(value).map(Some).ok_or_else(|| Error::Field { key: key(name), found: found(), expected })
    }

    fn str(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.read(name, "a string", Value::as_str)
    }

    fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        self.read(name, "a bool", Value::as_bool)
    }

    fn strings(&self, name: &str) -> Result<Vec<&'a str>, Error> {
        let strings =
            self.read(name, "an array of strings", |value| Some(value.as_array()?.as_strs()?.iter().collect()))?;
        strings.ok_or_else(|| Error::Missing { key: key(name) })
    }

    /// Scores; some converters write integers.
    fn scores(&self) -> Result<Vec<f32>, Error> {
        let scores = self.read("scores", "an array of numbers", |value| match value.as_array()? {
            Array::I32(scores) => Some(scores.iter().map(|&score| score as f32).collect()),
            scores => Some(scores.to_f32s()?.into_owned()),
        })?;
        Ok(scores.unwrap_or_default())
    }

    fn types(&self) -> Result<Vec<TokenType>, Error> {
        let types = self.read("token_type", "an array of integers", |value| {
            Some(value.as_array()?.to_i64s()?.into_iter().map(token_type).collect())
        })?;
        Ok(types.unwrap_or_default())
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes = self.read(name, "an array of bytes", |value| match value.as_array()? {
            Array::U8(bytes) => Some(bytes.clone()),
            Array::I8(bytes) => Some(bytes.iter().map(|&byte| byte as u8).collect()),
            _ => None,
        })?;
        Ok(bytes.unwrap_or_default())
    }

    fn special_ids(&self, defaults: SpecialIds, tokens: usize) -> Result<SpecialIds, Error> {
        let id = |name: &str, default: Option<u32>| -> Result<Option<u32>, Error> {
            // Absent tokens are sometimes written as -1.
            let found = self.read(name, "an integer", |value| value.as_u64().or(value.as_i64().map(|_| u64::MAX)))?;
            let found = found.map_or(default, |id| u32::try_from(id).ok());
            Ok(found.filter(|&id| (id as usize) < tokens))
        };
        let first = |names: [&str; 2], default| -> Result<Option<u32>, Error> {
            Ok(id(names[0], None)?.or(id(names[1], default)?))
        };
        Ok(SpecialIds {
            bos: first(["bos_token_id", "cls_token_id"], defaults.bos)?,
            eos: id("eos_token_id", defaults.eos)?,
            eot: id("eot_token_id", defaults.eot)?,
            eom: id("eom_token_id", defaults.eom)?,
            unknown: id("unknown_token_id", defaults.unknown)?,
            // The misspelling is the format's.
            separator: first(["seperator_token_id", "separator_token_id"], defaults.separator)?,
            padding: id("padding_token_id", defaults.padding)?,
            mask: id("mask_token_id", defaults.mask)?,
        })
    }
}

fn token_type(number: i64) -> TokenType {
    match number {
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        4 => TokenType::UserDefined,
        5 => TokenType::Unused,
        6 => TokenType::Byte,
        _ => TokenType::Normal,
    }
}
