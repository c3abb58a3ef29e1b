//! Why a grammar was refused.

/// A grammar that cannot be followed. Every message names the place, what was found, and what to do where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A keyword of JSON Schema that cannot be enforced.
    #[error("the schema uses {keyword:?} at {at}, which cannot be enforced: {why}")]
    Keyword {
        /// The keyword.
        keyword: String,
        /// Where it stands, as a pointer into the schema.
        at: String,
        /// What is in the way, or what to write instead.
        why: String,
    },
    /// The schema is no schema.
    #[error("the schema at {at} is malformed: {what}")]
    Schema {
        /// Where, as a pointer into the schema.
        at: String,
        /// What was found and expected.
        what: String,
    },
    /// The grammar is larger than allowed.
    #[error("the grammar has {found} {what}, at most {most} are allowed")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much may be.
        most: usize,
    },
    /// The schema is nested deeper than allowed.
    #[error("the schema is nested deeper than {most} levels at {at}")]
    TooDeep {
        /// Where the first level too many is.
        at: String,
        /// Levels allowed.
        most: usize,
    },
    /// The grammar is malformed, contradicts itself, or asks for something unknown.
    #[error("the grammar is refused: {0}")]
    Refused(String),
    /// Compiling took too long.
    #[error("the grammar was not compiled within {} s; a simpler one is needed", .allowed.as_secs_f32())]
    TooSlow {
        /// Time allowed.
        allowed: std::time::Duration,
    },
    /// Others are still being compiled.
    #[error("{running} grammars are being compiled, and no more at a time may be; try again later")]
    Busy {
        /// How many.
        running: usize,
    },
    /// The compiler failed; a mistake in it, not in the grammar.
    #[error("the grammar could not be compiled: {0}")]
    Machine(String),
    /// The grammar has no text that it allows.
    #[error("the grammar allows no output")]
    Empty,
    /// A tool cannot be called.
    #[error("tool {name:?}: {what}")]
    Tool {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// There is no such tool.
    #[error("tool {name:?} is to be called and is not among the tools; there are {known:?}")]
    UnknownTool {
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// A text that stands around calls or ends a free part.
    #[error("the text {text:?} cannot be used: {what}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The tokenizer's tokens do not fit.
    #[error("no grammar can be followed with this tokenizer: {0}")]
    Tokenizer(String),
}
