//! From a tokenizer.json to the keys with which GGUF files describe the same tokenizer. What comes out is read again and has to
//! cut probing texts into the same tokens.

use crate::bpe::WholeWords;
use crate::huggingface::read_if_present;
use crate::pre_tokenizer::{Alphabet, GPT_2, PreTokenizer, TABLE};
use crate::vocabulary::{SpecialIds, TokenType};
use crate::{ChatTemplate, Error, TemplateError, Tokenizer};
use argand_weights::{Array, Metadata, StrArray, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

/// Texts that tokenizers disagree about when one is described wrongly.
const PROBES: [&str; 8] = [
    "Hello, world! It's 7:30 pm, I'LL be there -- won't you?",
    " leading,  double   and trailing spaces  \n\n\t\ttabs\r\nlines\n",
    "1234567890 3.14159 0x1F 10,000 x² ½",
    "fn main() { let x: Vec<u8> = vec![0; 16]; } // TODO\n    return x;",
    "Straße, naïve façade, Ελληνικά, русский язык, עברית, العربية",
    "東京の天気は晴れです。 中文字符，标点！ 한국어 문장",
    "नमस्ते दुनिया ไทย 🙂👩‍🚀🏳️‍🌈 \u{200b}\u{a0}e\u{301}",
    "",
];

/// The `tokenizer.*` keys of a GGUF file for the tokenizer.json in a folder, and for the chat template beside it. None when the
/// folder has no tokenizer.json. A model with `rows` rows in its table of embeddings gets as many tokens.
///
/// # Errors
/// A file that cannot be read, or a tokenizer that GGUF has no words for: other algorithms than byte pair encoding, a rule for
/// cutting words that no converter has named.
pub fn gguf_vocabulary(dir: &Path, rows: usize) -> Result<Metadata, Error> {
    let mut metadata = Metadata::default();
    let Some(json) = read_if_present(&dir.join("tokenizer.json"))? else { return Ok(metadata) };
    let own = Tokenizer::from_hf_dir(dir)?;
    let json: Json = serde_json::from_slice(&json).map_err(|source| Error::Json { file: "tokenizer.json", source })?;
    Export { json: &json, tokenizer: &own }.write(rows, &mut metadata)?;
    compare(&own, &Tokenizer::from_gguf(&metadata)?)?;
    match ChatTemplate::from_hf_dir(dir) {
        Ok(template) => {
            metadata.set("tokenizer.chat_template", Value::Str(template.source().to_string()));
        }
        Err(Error::Template(TemplateError::None)) => {}
        Err(error) => return Err(error),
    }
    Ok(metadata)
}

/// Both have to encode all probes alike.
fn compare(own: &Tokenizer, written: &Tokenizer) -> Result<(), Error> {
    for text in PROBES {
        if own.encode(text, true, true)? != written.encode(text, true, true)? {
            return Err(Error::NoWords { what: format!("how it cuts {text:?}") });
        }
    }
    Ok(())
}

/// A tokenizer.json with what was built from it.
struct Export<'a> {
    json: &'a Json,
    tokenizer: &'a Tokenizer,
}

impl Export<'_> {
    fn write(&self, rows: usize, metadata: &mut Metadata) -> Result<(), Error> {
        let model = &self.json["model"];
        // Files of before there were several algorithms do not name theirs.
        let algorithm = model["type"].as_str().unwrap_or("BPE");
        if algorithm != "BPE" {
            return Err(Error::NoWords { what: format!("tokenizers of type {algorithm} yet, only BPE") });
        }
        let mut set = |key: &str, value: Value| {
            metadata.set(format!("tokenizer.ggml.{key}"), value);
        };
        let merges = merges(&model["merges"])?;
        let (tokens, types) = self.tokens(rows)?;
        if self.any("ByteLevel", &["pre_tokenizer", "decoder"]) {
            set("model", Value::Str("gpt2".into()));
            set("pre", Value::Str(self.pre_tokenizer()?.into()));
            set("merges", strings(merges.iter().map(|[left, right]| format!("{left} {right}"))));
        } else if model["byte_fallback"] == true {
            set("model", Value::Str("llama".into()));
            set("scores", Value::Array(Array::F32(scores(&tokens, &types, &merges))));
            let prefix = self.any("Prepend", &["normalizer"]) || self.metaspace();
            set("add_space_prefix", Value::Bool(prefix));
        } else {
            return Err(Error::NoWords { what: "byte pair encoding without bytes".into() });
        }
        set("token_type", Value::Array(Array::I32(types.iter().map(|kind| *kind as i32).collect())));
        set("tokens", strings(tokens.into_iter()));
        let SpecialIds { bos, eos, eot, eom, unknown, separator, padding, mask } = *self.tokenizer.special_ids();
        let ids = [
            ("bos_token_id", bos),
            ("eos_token_id", eos),
            ("eot_token_id", eot),
            ("eom_token_id", eom),
            ("unknown_token_id", unknown),
            ("seperator_token_id", separator),
            ("padding_token_id", padding),
            ("mask_token_id", mask),
        ];
        for (key, id) in ids {
            id.into_iter().for_each(|id| set(key, Value::U32(id)));
        }
        set("add_bos_token", Value::Bool(self.tokenizer.add_bos()));
        set("add_eos_token", Value::Bool(self.tokenizer.add_eos()));
        Ok(())
    }

    /// Texts and types of all tokens. Rows of the table without a token get one that never comes out of text.
    fn tokens(&self, rows: usize) -> Result<(Vec<String>, Vec<TokenType>), Error> {
        let bad = |what: &str| Error::NoWords { what: what.to_string() };
        let model = &self.json["model"];
        let vocabulary = model["vocab"].as_object().ok_or_else(|| bad("a vocabulary that is no table"))?;
        let known = self.tokenizer.vocab_size();
        if rows > 0 && known > rows {
            return Err(bad(&format!("{known} tokens for a table of {rows} embeddings")));
        }
        let count = if rows > 0 { rows } else { vocabulary.len() + self.added().count() };
        let mut tokens: Vec<String> = (0..count).map(|id| format!("[PAD{id}]")).collect();
        let mut types = vec![TokenType::Unused; count];
        let mut put = |id: &Json, text: &str, kind: TokenType| {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < count);
            let id = id.ok_or_else(|| bad(&format!("the id of token {text:?}")))?;
            if types[id] != TokenType::Unused && tokens[id] != text {
                return Err(bad(&format!("two tokens with the id {id}")));
            }
            tokens[id] = text.to_string();
            types[id] = kind;
            Ok(())
        };
        let fallback = model["byte_fallback"] == true;
        for (text, id) in vocabulary {
            let byte = fallback && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            put(id, text, if byte { TokenType::Byte } else { TokenType::Normal })?;
        }
        for token in self.added() {
            let text = token["content"].as_str().ok_or_else(|| bad("an added token without content"))?;
            let kind = match token["special"] == true {
                true if model["unk_token"] == text => TokenType::Unknown,
                true => TokenType::Control,
                false => TokenType::UserDefined,
            };
            put(&token["id"], text, kind)?;
        }
        let mut texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
        texts.sort_unstable();
        match texts.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(bad(&format!("two tokens with the text {:?}", pair[0]))),
            None => Ok((tokens, types)),
        }
    }

    fn added(&self) -> impl Iterator<Item = &Json> {
        self.json["added_tokens"].as_array().into_iter().flatten()
    }

    /// The steps of a part of the pipeline.
    fn steps(&self, part: &str) -> Vec<&Json> {
        let one = &self.json[part];
        let list = ["pretokenizers", "normalizers", "decoders"].iter().find_map(|name| one[name].as_array());
        list.map_or_else(|| vec![one], |steps| steps.iter().collect())
    }

    fn any(&self, kind: &str, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.steps(part).iter().any(|step| step["type"] == kind))
    }

    /// Whether a step puts a space in front of text.
    fn metaspace(&self) -> bool {
        let puts = |step: &Json| match step["prepend_scheme"].as_str() {
            Some(scheme) => scheme != "never",
            None => step["add_prefix_space"] == true,
        };
        self.steps("pre_tokenizer").iter().any(|step| step["type"] == "Metaspace" && puts(step))
    }

    /// The converters' name of the way in which words are cut.
    fn pre_tokenizer(&self) -> Result<&'static str, Error> {
        let mut patterns = Vec::new();
        for step in self.steps("pre_tokenizer") {
            match step["type"].as_str().unwrap_or_default() {
                "Split" => patterns.push(step["pattern"]["Regex"].as_str().unwrap_or_default()),
                "Digits" => patterns.push(if step["individual_digits"] == true { r"\p{N}" } else { r"\p{N}+" }),
                "ByteLevel" if step["use_regex"] != false => patterns.push(GPT_2),
                "ByteLevel" => {}
                other => return Err(Error::NoWords { what: format!("the pre-tokenizer {other}") }),
            }
        }
        let whole = self.json["model"]["ignore_merges"] == true;
        let fits = |row: &&PreTokenizer| {
            row.alphabet == Alphabet::Bytes
                && row.patterns == patterns
                && (row.whole_words == WholeWords::Always) == whole
        };
        let row = TABLE.iter().find(fits);
        let what = || format!("words cut by {patterns:?}, for which no converter has a name");
        row.map(|row| row.names[0]).ok_or_else(|| Error::NoWords { what: what() })
    }
}

/// Merges, which newer files have as pairs and older ones as lines.
fn merges(list: &Json) -> Result<Vec<[String; 2]>, Error> {
    let pair = |(index, one): (usize, &Json)| {
        let parts = match one.as_array().map(Vec::as_slice) {
            Some([left, right]) => left.as_str().zip(right.as_str()),
            _ => one.as_str().and_then(|line| line.split_once(' ')),
        };
        let owned = parts.map(|(left, right)| [left.to_string(), right.to_string()]);
        owned.ok_or_else(|| Error::BadMerge { index, found: one.to_string() })
    };
    list.as_array().into_iter().flatten().enumerate().map(pair).collect()
}

/// SentencePiece orders merges by the score of what they make: the rank of the first that makes it.
fn scores(tokens: &[String], types: &[TokenType], merges: &[[String; 2]]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, [left, right]) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let last = merges.len();
    let score = |(token, kind): (&String, &TokenType)| match kind {
        TokenType::Normal => -(ranks.get(token).copied().unwrap_or(last) as f32),
        _ => 0.0,
    };
    tokens.iter().zip(types).map(score).collect()
}

fn strings(texts: impl Iterator<Item = String>) -> Value {
    Value::Array(Array::Str(StrArray::from_iter(texts)))
}
