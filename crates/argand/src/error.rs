//! What can go wrong between a model's name and its answer.

/// Any failure of the façade. The message says what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be found or fetched.
    #[error(transparent)]
    Hub(#[from] argand_hub::HubError),
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] argand_engine::LoadError),
    /// The conversation could not be written as the model reads it.
    #[error(transparent)]
    Template(#[from] argand_text::TemplateError),
    /// Text could not be turned into tokens.
    #[error(transparent)]
    Text(#[from] argand_text::Error),
    /// The request was refused.
    #[error(transparent)]
    Request(#[from] argand_engine::AddError),
    /// What the answer was to look like cannot be followed.
    #[error(transparent)]
    Grammar(#[from] argand_grammar::GrammarError),
    /// A step failed.
    #[error(transparent)]
    Run(#[from] argand_engine::runner::RunError),
    /// The answer ended early.
    #[error("the answer ended early: {0}")]
    Ended(argand_engine::Finish),
    /// An encoder was asked for something else than it was opened for.
    #[error("the encoder was opened for {opened}, and {wanted} was asked for; open it for that task")]
    OtherTask {
        /// What was asked for.
        wanted: &'static str,
        /// What it was opened for.
        opened: &'static str,
    },
    /// A classifier of several labels was to tell relevance.
    #[error("the model tells {labels} labels apart; a reranker gives one score, so it was not made for that")]
    NoReranker {
        /// How many labels it has.
        labels: usize,
    },
    /// The vocabulary has no token for masked words.
    #[error("the tokenizer has no token for masked words; its files should name a `mask_token`")]
    NoMaskToken,
    /// There is nothing to fill in.
    #[error("the text has no masked word; write {mask} where one is missing")]
    NothingMasked {
        /// How a masked word is written.
        mask: String,
    },
    /// A file is no picture.
    #[error(transparent)]
    Picture(#[from] argand_image::Error),
    /// A picture cannot be made to fit.
    #[error(transparent)]
    Unfit(#[from] argand_image::ConfigError),
    /// Two configurations want pictures of different sizes.
    #[error(
        "{file}: preprocessor_config.json makes pictures of {} x {} pixels, and config.json has the model look at {} x {}; one is wrong",
        made[0], made[1], wanted[0], wanted[1]
    )]
    PictureSizes {
        /// The model.
        file: String,
        /// Height and width as the processor makes them.
        made: [usize; 2],
        /// Height and width as the model looks at them.
        wanted: [usize; 2],
    },
    /// What a configuration says of pictures cannot be followed.
    #[error("{file}: {error}")]
    Processor {
        /// The model.
        file: String,
        /// What is wrong.
        error: argand_image::ConfigError,
    },
    /// Nothing says what the model wants to see of a picture.
    #[error(
        "{file}: nothing says which size and colours the model wants; put its preprocessor_config.json beside the weights, \
         or a `pretrained_cfg` as timm writes it into its config.json"
    )]
    NoProcessor {
        /// The model.
        file: String,
    },
    /// A model of another kind was to label pictures.
    #[error("{file}: {page} gives no label for a picture; a classifier such as ResNet was expected")]
    NoImageClassifier {
        /// The model.
        file: String,
        /// Its architecture.
        page: &'static str,
    },
    /// A model of another kind was to read lines of text.
    #[error("{file}: {page} reads no lines of text from pictures; a recogniser such as CRNN was expected")]
    NoReader {
        /// The model.
        file: String,
        /// Its architecture.
        page: &'static str,
    },
    /// A model that only reads was shown a picture.
    #[error("{model} reads text and sees no pictures; a model such as SmolVLM was expected")]
    Blind {
        /// Its name.
        model: String,
    },
    /// The vocabulary has no token for rows of pictures.
    #[error("{file}: the tokenizer has no token {token}, in whose places pictures stand")]
    NoPictureToken {
        /// The model.
        file: String,
        /// Its number.
        token: u32,
    },
    /// The prompt has places for another number of pictures.
    #[error(
        "{shown} pictures were shown, and the prompt has another number of places for them, `{written}`; do not write that in texts"
    )]
    Pictures {
        /// How many pictures.
        shown: usize,
        /// How a place is written.
        written: String,
    },
    /// No more pictures can be told apart.
    #[error(transparent)]
    Marks(#[from] argand_engine::MarksSpent),
    /// A model that reads one text and writes another was asked to chat.
    #[error("{name} reads a text and writes another one; it holds no conversations")]
    NoConversation {
        /// Name of the model.
        name: String,
    },
    /// There is no answer to give again.
    #[error("there is no answer yet that could be given again")]
    NothingToRegenerate,
}
