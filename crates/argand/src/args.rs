//! Options that several commands share: first what was typed, then what it means.

use crate::models;
use crate::opened::Opened;
use anyhow::{Context, Result, bail};
use argand::machine::Machine;
use argand::{ChatTemplate, Generation, LoadOptions, LookupOptions, Model, OpenOptions, Sampling};
use argand_codec::Codec;
use argand_cpu::kv::KvType;
use argand_cpu::tier::Tier;
use argand_text::SpecialTokens;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use std::io;
use std::path::Path;

/// The value of an option means nothing; for the user the same kind of mistake as one that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub String);

/// Reads how many of something are shown.
pub fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Option of every command that computes.
#[derive(Args, Debug, Clone)]
pub struct ThreadArgs {
    /// Threads; chosen by cores and quota unless given (`argand doctor` says how)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// How many threads will run. More than can run at once would wait for each other at every step: they are cut, and
    /// that is told.
    pub fn count(&self) -> usize {
        let machine = Machine::read();
        let Some(wanted) = self.threads.map(usize::from) else { return machine.threads().count };
        let most = machine.most_threads();
        if wanted > most {
            eprintln!("only {most} of {wanted} threads can run at once on this machine; {most} will be used");
        }
        wanted.min(most)
    }
}

/// How elements of the key-value cache are stored.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CacheType {
    /// Half floats.
    F16,
    /// Bytes with a scale for 32 of them: half the memory.
    #[value(name = "q8_0")]
    Q8,
}

/// Option of every command that opens a model.
#[derive(Args, Debug, Clone, Default)]
pub struct ConfigArgs {
    /// Configuration instead of the config.json beside the weights: a file, or the name of a built-in one
    #[arg(long, value_name = "FILE|NAME")]
    config: Option<String>,
}

impl ConfigArgs {
    /// What it names.
    pub fn read(&self) -> Result<Option<serde_json::Value>> {
        self.config.as_deref().map(config).transpose()
    }
}

/// Options of every command that loads a model.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Loading")]
pub struct LoadArgs {
    #[command(flatten)]
    threads: ThreadArgs,
    /// Longest sequence in tokens; what the model was made for, at most 8192, unless given
    #[arg(short, long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Number format of the key-value cache; f16 unless given
    #[arg(long, value_name = "TYPE")]
    kv: Option<CacheType>,
    /// Compute products in f32 instead of integers: slower, for comparisons
    #[arg(long)]
    exact: bool,
    /// Round matrices that are stored as plain floats to this format at loading, such as q8_0: integer products, less memory
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Instruction tier: scalar, scalar16, avx2 or avx512; the best one unless given
    #[arg(long, value_name = "TIER")]
    tier: Option<String>,
}

impl LoadArgs {
    /// What they mean for the model at a path that looks at pictures: one that would change nothing is refused.
    pub fn for_pictures(&self, path: &Path) -> Result<LoadOptions> {
        let load = self.options()?.load;
        if self.context.is_some() {
            bail!(BadValue("--context is for models that read texts; this one looks at pictures of one size".into()));
        }
        let opened = Opened::at(path, load.config.as_ref())?;
        if self.kv.is_some() && opened.model(None)?.graph.states().is_empty() {
            bail!(BadValue(
                "--kv is for models with attention; this one has none, and keeps no keys and values".into()
            ));
        }
        Ok(load)
    }

    /// What they mean.
    pub fn options(&self) -> Result<OpenOptions> {
        let mut options = OpenOptions::default();
        options.load.threads = Some(self.threads.count());
        options.load.context = self.context.map(|c| c as usize);
        options.load.kv = match self.kv {
            None | Some(CacheType::F16) => KvType::F16,
            Some(CacheType::Q8) => KvType::Q8_0,
        };
        options.load.exact = self.exact;
        let encoded = |name| format("--quantize", name, Codec::has_encoder);
        options.load.quantize = self.quantize.as_deref().map(encoded).transpose()?;
        options.load.config = self.config.read()?;
        let tier = self.tier.as_deref().map(str::parse::<Tier>).transpose();
        options.load.tier = tier.map_err(|error| BadValue(format!("--tier: {error}")))?;
        Ok(options)
    }
}

/// The configuration that `--config` names.
fn config(name: &str) -> Result<serde_json::Value> {
    if let Some(config) = argand::configs::built_in(name) {
        return Ok(config);
    }
    let text = std::fs::read(name).with_context(|| {
        let known = argand::configs::NAMES.join(", ");
        format!("--config {name} is no file that can be read, and no built-in configuration ({known})")
    })?;
    serde_json::from_slice(&text).with_context(|| format!("--config {name} is no JSON"))
}

/// The number format that an option names, among those that are good for it.
pub fn format(option: &str, name: &str, good: impl Fn(Codec) -> bool) -> Result<Codec, BadValue> {
    let known = || Codec::ALL.iter().copied().filter(|codec| good(*codec));
    known().find(|codec| codec.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = known().map(Codec::name).collect();
        BadValue(format!("{option} is {name:?}, expected one of {}", names.join(", ")))
    })
}

/// Options of every command that generates text.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Generation")]
pub struct GenerationArgs {
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f32,
    /// Choose among this many likeliest tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Choose among the likeliest tokens that reach this probability together
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    top_p: f32,
    /// Choose among tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    min_p: f32,
    /// Choose among tokens of about the expected surprise that reach this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    typical_p: f32,
    /// Make tokens that were seen less likely; 1 changes nothing
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Subtract this for each time a token was seen
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    frequency_penalty: f32,
    /// Subtract this once for each token that was seen
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    presence_penalty: f32,
    /// Penalties look at this many last tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 64)]
    penalty_window: usize,
    /// Add to the logit of a token: ID=VALUE; may be given several times
    #[arg(long, value_name = "ID=VALUE")]
    logit_bias: Vec<String>,
    /// Seed of the random numbers; another one each time unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Most tokens of an answer
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on after tokens that end an answer
    #[arg(long)]
    ignore_eos: bool,
    /// Draft tokens from repetitions in the text and check several in one step: same answer, other speed
    #[arg(long)]
    lookup: bool,
}

impl GenerationArgs {
    /// What they mean.
    pub fn generation(&self) -> Result<Generation> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_window: self.penalty_window,
            logit_bias: self.logit_bias.iter().map(|text| bias(text)).collect::<Result<_, _>>()?,
            ..Sampling::llama_cpp()
        };
        // The vocabulary is not known yet; the ranges of numbers are.
        sampling.check(usize::MAX).map_err(|error| BadValue(error.to_string()))?;
        if self.stop.iter().any(String::is_empty) {
            bail!(BadValue("--stop needs a text that is not empty".into()));
        }
        Ok(Generation {
            sampling,
            seed: self.seed,
            max_tokens: self.max_tokens.map(|n| n as usize),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            lookup: self.lookup.then(LookupOptions::default),
            grammar: None,
        })
    }
}

fn bias(text: &str) -> Result<(u32, f32), BadValue> {
    let parsed =
        text.split_once('=').and_then(|(id, value)| Some((id.trim().parse().ok()?, value.trim().parse().ok()?)));
    let wanted = "expected ID=VALUE such as 42=-1.5 or 42=-inf";
    parsed.ok_or_else(|| BadValue(format!("--logit-bias is {text:?}, {wanted}")))
}

/// Options of every command that writes a conversation.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Conversation")]
pub struct ConversationArgs {
    /// What the model should know or be before the first turn
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Another chat template: a file, or the name of a built-in one
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<String>,
}

impl ConversationArgs {
    /// Gives the model its system message and template.
    pub fn apply(&self, model: &mut Model) -> Result<()> {
        if model.reads() && (self.template.is_some() || self.system.is_some()) {
            bail!(
                "{} reads a text and writes another one: --system and --template are for conversations",
                model.name()
            );
        }
        if let Some(template) = &self.template {
            let special = SpecialTokens::of(model.tokenizer());
            let template = match std::fs::read_to_string(template) {
                Ok(source) => ChatTemplate::new(&source, special)?,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => bail!("--template {template} is not UTF-8"),
                Err(_) => ChatTemplate::builtin(template, special)
                    .with_context(|| format!("--template {template} is no file that can be read"))?,
            };
            model.set_template(template);
        }
        if let Some(system) = &self.system {
            model.set_system(system);
        }
        Ok(())
    }
}

/// Options of every command that lets a model write.
#[derive(Args, Debug, Clone)]
pub struct WriterArgs {
    /// Tell the speed of each answer on standard error
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    conversation: ConversationArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl WriterArgs {
    /// What they mean, before anything is fetched.
    pub fn read(&self) -> Result<Writer<'_>> {
        let generation = self.generation.generation()?;
        Ok(Writer { generation, options: self.load.options()?, conversation: &self.conversation })
    }
}

/// How a model is to be loaded and to write.
pub struct Writer<'a> {
    /// How it is to be loaded.
    pub options: OpenOptions,
    /// How it is to write.
    pub generation: Generation,
    conversation: &'a ConversationArgs,
}

impl Writer<'_> {
    /// Loads it.
    pub fn load(&self, path: &Path) -> Result<Model> {
        let mut model = models::load(path, &self.options)?;
        *model.generation_mut() = self.generation.clone();
        self.conversation.apply(&mut model)?;
        Ok(model)
    }
}
