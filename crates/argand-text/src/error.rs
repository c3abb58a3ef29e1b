//! What can go wrong with text.

use crate::template::TemplateError;

/// A tokenizer that cannot be built, or text that it cannot take. Every message names the field, what was found, and
/// what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of the model file is absent.
    #[error("the model file has no `{key}`: it carries no tokenizer; pass a tokenizer.json or convert the model again")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key of the model file holds something else than it should.
    #[error("`{key}` is {found}, expected {expected}")]
    Field {
        /// The key.
        key: String,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// `tokenizer.ggml.model` is none of the algorithms here.
    #[error("tokenizer model {name:?} is not supported; known are gpt2, gemma4, whitespace, llama, t5 and bert")]
    UnknownModel {
        /// The name in the file.
        name: String,
    },
    /// `tokenizer.ggml.pre` is absent from a byte pair encoding vocabulary.
    #[error(
        "the vocabulary does not name its pre-tokenizer (`tokenizer.ggml.pre`), so its words cannot be cut as the model \
         learnt them; convert the model again with a current converter, or name one yourself \
         (\"llama-bpe\", \"qwen2\", \"gpt-2\", ...; \"default\" is what old converters meant)"
    )]
    MissingPreTokenizer,
    /// `tokenizer.ggml.pre` is a name that no table row carries.
    #[error(
        "pre-tokenizer {name:?} is unknown; a guess would silently change every prompt. Use the model's tokenizer.json \
         instead, or name a known pre-tokenizer that cuts words in the same way"
    )]
    UnknownPreTokenizer {
        /// The name in the file.
        name: String,
    },
    /// A merge is not two parts.
    #[error("merge {index} is {found:?}, expected two parts with a space between")]
    BadMerge {
        /// Position in the list of merges, from 0.
        index: usize,
        /// The line in the file.
        found: String,
    },
    /// Two lists that go together differ in length.
    #[error("{what} has {found} entries, but there are {tokens} tokens")]
    Length {
        /// The shorter list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// Number of tokens.
        tokens: usize,
    },
    /// The vocabulary is empty, or too large for 32-bit offsets.
    #[error("the vocabulary holds {tokens} tokens and {bytes} bytes of text; both must be above 0 and below 2^32")]
    Size {
        /// Number of tokens.
        tokens: usize,
        /// Bytes of their texts.
        bytes: usize,
    },
    /// A special token that a sequence must begin or end with is absent or out of range.
    #[error("sequences of this vocabulary need a {which} token, but the file names none below {tokens}")]
    MissingSpecial {
        /// Its role.
        which: &'static str,
        /// Number of tokens.
        tokens: usize,
    },
    /// A character that the vocabulary has no token for.
    #[error("the vocabulary cannot express {character:?}: it has no token for it, no byte tokens and no unknown token")]
    Unencodable {
        /// The character.
        character: char,
    },
    /// Text longer than offsets can count.
    #[error("text of {bytes} bytes is too long to tokenise at once (limit: 2 GiB)")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Two texts were to be joined, and the tokenizer does not say how.
    #[error(
        "the tokenizer does not say how two texts are joined to one sequence; pairs need a tokenizer.json that does"
    )]
    NoPairs,
    /// The `tokenizers` library refuses: a malformed tokenizer.json, or an expression that does not compile.
    #[error("{part}: {message}")]
    Library {
        /// The part that was being built or run.
        part: &'static str,
        /// The library's message.
        message: String,
    },
    /// A tokenizer.json that GGUF has no words for.
    #[error("tokenizer.json: GGUF cannot express {what}; keep the model in .safetensors beside its tokenizer.json")]
    NoWords {
        /// What it cannot express.
        what: String,
    },
    /// A JSON file beside the tokenizer is malformed.
    #[error("{file}: {source}")]
    Json {
        /// Its name.
        file: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// There is no tokenizer.json.
    #[error(
        "there is no tokenizer.json{}; Python's transformers writes one: \
         `AutoTokenizer.from_pretrained({folder:?}).save_pretrained({folder:?})`",
        other.map_or(String::new(), |name| format!(", and {name} alone is not read"))
    )]
    NoFile {
        /// Where it was looked for.
        folder: std::path::PathBuf,
        /// A file that says the same in a form that is not read.
        other: Option<&'static str>,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A chat template does not compile or render.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Error {
    /// Runs a step of the `tokenizers` library. Where malformed files make the library panic, the answer is an error.
    pub(crate) fn guard<T>(part: &'static str, step: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        // The steps only read shared state, so a panic leaves none behind that is half changed.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(step))
            .unwrap_or_else(|_| Err(Self::Library { part, message: "the library cannot handle this file".to_owned() }))
    }

    /// Wraps an error of the `tokenizers` library.
    pub(crate) fn library<E: ToString>(part: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Library { part, message: error.to_string() }
    }
}
