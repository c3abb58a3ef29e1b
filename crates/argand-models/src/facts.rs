//! Facts about a model in one vocabulary, whichever dialect its file speaks: GGUF metadata or Hugging Face `config.json`.

use crate::encoder::Head;
use crate::names::hf;
use crate::sentence::Sentence;
use crate::{Error, PAGES, Page};
use argand_weights::{Checkpoint, Metadata, Value};
use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A fact's name in both dialects: the GGUF key without the architecture, and the path in `config.json`. Where families
/// disagree, the names stand in one word with `|` between them, and the first that is there counts.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'n>(pub &'static str, pub &'n str);

/// Longest sequence the model was made for.
pub const CONTEXT: Fact<'static> = Fact("context_length", "max_position_embeddings|n_positions|seq_length");
/// Layers.
pub const LAYERS: Fact<'static> = Fact("block_count", "num_hidden_layers|n_layer|num_layers|n_layers|depth");
/// Width of the residual stream.
pub const DIM: Fact<'static> = Fact("embedding_length", "hidden_size|n_embd|n_embed|d_model|dim");
/// Width of the feed-forward layer.
pub const FFN: Fact<'static> = Fact("feed_forward_length", "intermediate_size|n_inner|ffn_hidden_size|d_ff|hidden_dim");
/// Query heads.
pub const HEADS: Fact<'static> = Fact("attention.head_count", "num_attention_heads|n_head|num_heads|n_heads");
/// Key heads.
pub const KV_HEADS: Fact<'static> = Fact("attention.head_count_kv", "num_key_value_heads|num_kv_heads");
/// Components of a head.
pub const HEAD_DIM: Fact<'static> = Fact("attention.key_length", "head_dim|d_kv");
/// Epsilon of norms.
pub const EPS: Fact<'static> = Fact(
    "attention.layer_norm_rms_epsilon|attention.layer_norm_epsilon",
    "rms_norm_eps|layer_norm_epsilon|layer_norm_eps|norm_eps",
);
/// Tokens of the vocabulary.
pub const VOCAB: Fact<'static> = Fact("vocab_size", "vocab_size");
/// Sliding window in tokens.
const WINDOW: Fact<'static> = Fact("attention.sliding_window", "sliding_window");

/// Facts of one model.
pub struct Facts<'a> {
    file: String,
    architecture: String,
    dialect: Dialect<'a>,
    checkpoint: Option<&'a Checkpoint>,
    planned: Option<&'a Plan>,
    context: Option<usize>,
    head: Option<Head>,
    picture: Option<[usize; 2]>,
    /// The language model is a part of a larger one, whose configuration is around it.
    part: bool,
    /// Rows of pictures may stand in the places of tokens.
    sees: bool,
    /// Of a model that reads and looks, the part that looks is meant.
    looks: bool,
    /// Numbers that a part of a configuration leaves out when they are the usual ones.
    usual: Usual,
    told: RefCell<Told>,
}

/// Shapes and, where they are few, values of the tensors of a file that is still to be written.
pub type Plan = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What a page has read of a `config.json`, in the words of GGUF.
#[derive(Clone, Default)]
struct Told {
    /// By key without the architecture.
    entries: Metadata,
    /// What GGUF files say by tensors.
    tensors: Plan,
}

/// Names of fields with their usual values.
pub(crate) type Usual = &'static [(&'static str, f64)];

/// Most pixels on a side of a picture.
const MOST_PIXELS: usize = 8192;

/// Height and width of pictures where a configuration does not say: those of ImageNet's classifiers.
const USUAL_PICTURE: usize = 224;

/// The architecture that a configuration names.
fn type_of(config: &Json) -> Option<&str> {
    config.get("model_type").and_then(Json::as_str)
}

#[derive(Clone, Copy)]
enum Dialect<'a> {
    Gguf(&'a Metadata),
    Hf(&'a Json),
}

impl<'a> Facts<'a> {
    /// Facts of a checkpoint that is to run sequences of up to `context` tokens.
    ///
    /// # Errors
    /// When it names no architecture.
    pub fn of_checkpoint(checkpoint: &'a Checkpoint, context: Option<usize>) -> Result<Self, Error> {
        let file = checkpoint.path().display().to_string();
        let dialect = match checkpoint.config() {
            Some(config) => Dialect::Hf(config),
            None => Dialect::Gguf(checkpoint.metadata()),
        };
        Self::new(file, dialect, Some(checkpoint), context)
    }

    /// Facts of a `config.json`.
    ///
    /// # Errors
    /// When it names no architecture.
    pub fn of_config(config: &'a Json, context: Option<usize>) -> Result<Self, Error> {
        Self::new("config.json".into(), Dialect::Hf(config), None, context)
    }

    /// Facts of a GGUF file that is still to be written.
    ///
    /// # Errors
    /// When the metadata names no architecture.
    pub fn of_plan(metadata: &'a Metadata, tensors: &'a Plan, context: Option<usize>) -> Result<Self, Error> {
        let facts = Self::new("the GGUF file".into(), Dialect::Gguf(metadata), None, context)?;
        Ok(Facts { planned: Some(tensors), ..facts })
    }

    fn new(
        file: String,
        dialect: Dialect<'a>,
        checkpoint: Option<&'a Checkpoint>,
        context: Option<usize>,
    ) -> Result<Self, Error> {
        let (dialect, part) = match dialect {
            // Models that join text and image say what reads the text; it runs alone.
            Dialect::Hf(config) if !type_of(config).is_some_and(|name| PAGES.iter().any(|p| p.hf.contains(&name))) => {
                let text = config.get("text_config").filter(|text| type_of(text).is_some());
                (Dialect::Hf(text.unwrap_or(config)), text.is_some())
            }
            whole => (whole, false),
        };
        let architecture = match dialect {
            Dialect::Gguf(meta) => meta.get_str("general.architecture"),
            Dialect::Hf(config) => type_of(config),
        };
        match architecture {
            Some(name) => Ok(Facts {
                architecture: name.to_string(),
                file,
                dialect,
                checkpoint,
                planned: None,
                context,
                head: None,
                picture: None,
                part,
                sees: false,
                looks: false,
                usual: &[],
                told: RefCell::default(),
            }),
            None => Err(Error::NoArchitecture { file }),
        }
    }

    /// Whether the language model is a part of a larger one.
    pub(crate) fn is_part(&self) -> bool {
        self.part
    }

    /// Whether rows of pictures may stand in the places of tokens.
    pub(crate) fn sees(&self) -> bool {
        self.sees
    }

    /// Whether the part that looks at pictures is meant, of a model that also reads.
    pub(crate) fn looks(&self) -> bool {
        self.looks
    }

    /// The same facts for the part that looks at pictures.
    pub(crate) fn looking(self) -> Self {
        Facts { looks: true, ..self }
    }

    /// Facts of a part of the configuration; without a name, of all of it. What it leaves out is as usual.
    ///
    /// # Errors
    /// When it is missing.
    pub(crate) fn within(&self, key: &str, usual: Usual) -> Result<Facts<'a>, Error> {
        let (file, dialect) = match key {
            "" => (self.file.clone(), self.dialect),
            key => {
                let fact = Fact("", key);
                (format!("{}, {key}", self.file), Dialect::Hf(self.need(fact, self.json(key))?))
            }
        };
        Ok(Facts {
            file,
            dialect,
            architecture: self.architecture.clone(),
            head: None,
            usual,
            told: RefCell::default(),
            ..*self
        })
    }

    /// Facts of the language model that reads what a model sees, if it has one on a page of its own.
    pub(crate) fn text(&self) -> Option<Facts<'a>> {
        let Dialect::Hf(whole) = self.dialect else { return None };
        // Older configurations of some families have all of it in one.
        let own = format!("{}_text", self.architecture);
        let nested = self.json("text_config").and_then(|text| Some((text, type_of(text)?.to_string())));
        let (config, architecture) = nested.unwrap_or((whole, own));
        let known = !self.part && PAGES.iter().any(|p| p.hf.contains(&architecture.as_str()));
        let usual = if architecture == "llama" { crate::vision::LLAMA } else { &[] };
        known.then(|| Facts {
            file: self.file.clone(),
            architecture,
            dialect: Dialect::Hf(config),
            head: None,
            part: true,
            sees: true,
            usual,
            told: RefCell::default(),
            ..*self
        })
    }

    /// The usual value of a field that is not there.
    fn usual(&self, fact: Fact<'_>) -> Option<f64> {
        let known = |name: &str| self.usual.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        fact.1.split('|').find_map(known)
    }

    /// The page of the architecture.
    pub(crate) fn page(&self) -> Result<&'static Page, Error> {
        let listed = |page: &Page| if self.is_gguf() { page.gguf } else { page.hf };
        PAGES.iter().find(|p| listed(p).contains(&self.architecture.as_str())).copied().ok_or_else(|| {
            Error::UnknownArchitecture {
                file: self.file.clone(),
                found: self.architecture.clone(),
                known: PAGES.iter().flat_map(|p| listed(p)).copied().collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// Whether the facts come from a GGUF file.
    pub fn is_gguf(&self) -> bool {
        matches!(self.dialect, Dialect::Gguf(_))
    }

    /// The file that the facts come from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The longest sequence that is to be run.
    ///
    /// # Errors
    /// When nobody says.
    pub fn context(&self) -> Result<usize, Error> {
        self.context.map_or_else(|| self.usize(CONTEXT), Ok)
    }

    /// The same with another head than the checkpoint was made for.
    pub(crate) fn with_head(self, head: Head) -> Self {
        Facts { head: Some(head), ..self }
    }

    /// What is wanted of an encoder: what was asked for, else what the folder or the configuration says.
    ///
    /// # Errors
    /// As [`Sentence::read`].
    pub fn head(&self) -> Result<Head, Error> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        if let Some(sentence) = self.checkpoint.map(Sentence::read).transpose()?.flatten() {
            return Ok(Head::Sentence(sentence));
        }
        let class = self.words(hf("architectures"))?.and_then(|all| all.into_iter().next()).unwrap_or_default();
        Ok(match class.split_once("For").map_or("", |(_, task)| task) {
            "MaskedLM" | "PreTraining" => Head::Words,
            "SequenceClassification" => Head::Sequence,
            "TokenClassification" => Head::Tokens,
            _ if self.has("pooler") == Some(true) => Head::Pooler,
            _ => Head::States,
        })
    }

    /// Name of the architecture, as the file says it.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The same facts for pictures of that height and width.
    pub(crate) fn with_picture(self, size: Option<[usize; 2]>) -> Self {
        Facts { picture: size, ..self }
    }

    /// Height and width of the pictures that are to be looked at.
    ///
    /// # Errors
    /// When the configuration says something odd.
    pub fn picture(&self) -> Result<[usize; 2], Error> {
        let size = match self.picture {
            Some(size) => size,
            None => [self.maybe_usize(Fact("", "image_size"))?.unwrap_or(USUAL_PICTURE); 2],
        };
        match size {
            [1..=MOST_PIXELS, 1..=MOST_PIXELS] => Ok(size),
            [height, width] => Err(self.unsupported(format!(
                "pictures of {height} x {width} pixels; at least 1 and at most {MOST_PIXELS} on a side are supported"
            ))),
        }
    }

    /// Whole numbers of a list.
    ///
    /// # Errors
    /// When it is missing or something else, or there is none or a number beyond any model's size.
    pub fn usizes(&self, fact: Fact<'_>) -> Result<Vec<usize>, Error> {
        let values = self.maybe_f64s(fact)?;
        let values = self.need(fact, values)?;
        match values.iter().all(|v| v.fract() == 0.0 && (1.0..=1e6).contains(v)) && !values.is_empty() {
            true => Ok(values.into_iter().map(|v| v as usize).collect()),
            false => self.odd(fact, format!("{values:?}"), "numbers of at least 1"),
        }
    }

    /// The facts of each object of a list.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn list(&self, fact: Fact<'_>) -> Result<Vec<Facts<'a>>, Error> {
        let items = self.need(fact, self.json(fact.1))?;
        let Some(items) = items.as_array() else { return self.odd(fact, items.to_string(), "a list") };
        let part = |(i, item)| Facts {
            file: format!("{}, {}[{i}]", self.file, fact.1),
            architecture: self.architecture.clone(),
            dialect: Dialect::Hf(item),
            head: None,
            told: RefCell::default(),
            ..*self
        };
        Ok(items.iter().enumerate().map(part).collect())
    }

    /// Keeps what a `config.json` says for the GGUF file that would say the same.
    pub(crate) fn tell(&self, fact: Fact<'_>, value: Value) {
        let mut told = self.told.borrow_mut();
        fact.0.split('|').filter(|key| !key.is_empty() && !self.is_gguf()).for_each(|key| {
            told.entries.set(key, value.clone());
        });
    }

    /// The same for what GGUF files say by a tensor.
    pub(crate) fn tell_tensor(&self, name: &str, values: &[f64]) {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        self.told.borrow_mut().tensors.insert(name.to_string(), (vec![values.len()], values));
    }

    /// What has been read so far, as metadata and tensors of a GGUF file of that architecture.
    pub fn told(&self, architecture: &str) -> (Metadata, Plan) {
        let told = self.told.borrow().clone();
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", Value::Str(architecture.to_string()));
        told.entries.iter().for_each(|(key, value)| {
            metadata.set(format!("{architecture}.{key}"), value.clone());
        });
        (metadata, told.tensors)
    }

    fn key(&self, fact: Fact<'_>) -> String {
        match self.dialect {
            Dialect::Gguf(_) => self.gguf_key(fact.0.split('|').next().unwrap_or(fact.0)),
            Dialect::Hf(_) => fact.1.to_string(),
        }
    }

    fn gguf_key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// The key of a fact that is there.
    fn gguf(&self, meta: &Metadata, fact: Fact<'_>) -> Option<String> {
        fact.0.split('|').map(|name| self.gguf_key(name)).find(|key| meta.get(key).is_some())
    }

    fn odd<T>(&self, fact: Fact<'_>, found: String, expected: &'static str) -> Result<T, Error> {
        Err(Error::Odd { file: self.file.clone(), field: self.key(fact), found, expected })
    }

    fn need<T>(&self, fact: Fact<'_>, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::Missing { file: self.file.clone(), field: self.key(fact) })
    }

    /// A value of `config.json` by a path with dots; `null` is no value.
    fn json(&self, path: &str) -> Option<&'a Json> {
        match self.dialect {
            Dialect::Hf(config) => path
                .split('|')
                .find_map(|path| path.split('.').try_fold(config, |v, key| v.get(key)).filter(|v| !v.is_null())),
            Dialect::Gguf(_) => None,
        }
    }

    /// A whole number, if it is there. A GGUF array counts when all its values are equal.
    ///
    /// # Errors
    /// When it is something else, or beyond any model's size.
    pub fn maybe_usize(&self, fact: Fact<'_>) -> Result<Option<usize>, Error> {
        let (value, found) = match self.dialect {
            Dialect::Gguf(meta) => {
                let Some(key) = self.gguf(meta, fact) else { return Ok(None) };
                let Some(value) = meta.get(&key) else { return Ok(None) };
                let all = meta.get_u64s(&key).filter(|v| v.windows(2).all(|w| w[0] == w[1]));
                (value.as_u64().or(all.and_then(|v| v.first().copied())), value.type_name().into_owned())
            }
            Dialect::Hf(_) => {
                let Some(value) = self.json(fact.1) else { return Ok(self.usual(fact).map(|value| value as usize)) };
                (value.as_u64(), value.to_string())
            }
        };
        match value {
            Some(v) if v < 1 << 31 => {
                self.tell(fact, Value::U32(v as u32));
                Ok(Some(v as usize))
            }
            Some(v) => self.odd(fact, v.to_string(), "less than 2^31"),
            None => self.odd(fact, found, "a whole number"),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn usize(&self, fact: Fact<'_>) -> Result<usize, Error> {
        let value = self.maybe_usize(fact)?;
        self.need(fact, value)
    }

    /// A whole number that is not zero.
    ///
    /// # Errors
    /// When it is missing, zero or something else.
    pub fn positive(&self, fact: Fact<'_>) -> Result<usize, Error> {
        match self.usize(fact)? {
            0 => self.odd(fact, "0".into(), "at least 1"),
            v => Ok(v),
        }
    }

    /// Rows of the weight of a canonical name, which a number of the configuration tells too, if it is there. Files of GGUF say
    /// what their vocabulary lists, whatever their tables are filled up to.
    ///
    /// # Errors
    /// When the number says otherwise.
    pub(crate) fn agreed(&self, fact: Fact<'_>, rows: usize, canonical: &str) -> Result<usize, Error> {
        // A tower has no vocabulary, whatever is usual.
        let says = self.json(fact.1).is_some() && !self.looks;
        match self.maybe_usize(fact)?.filter(|said| says && *said != rows) {
            Some(said) => {
                let (field, tensor) = (self.key(fact), self.stored(canonical).unwrap_or_default());
                Err(self.unsupported(format!(
                    "field `{field}` is {said}, and tensor `{tensor}` has {rows} rows; one is wrong"
                )))
            }
            None => Ok(rows),
        }
    }

    /// A number, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn maybe_f64(&self, fact: Fact<'_>) -> Result<Option<f64>, Error> {
        let (value, found) = match self.dialect {
            Dialect::Gguf(meta) => {
                let Some(value) = self.gguf(meta, fact).and_then(|key| meta.get(&key)) else { return Ok(None) };
                (value.as_f64(), value.type_name().into_owned())
            }
            Dialect::Hf(_) => {
                let Some(value) = self.json(fact.1) else { return Ok(self.usual(fact)) };
                (value.as_f64(), value.to_string())
            }
        };
        match value.filter(|v| v.is_finite()) {
            Some(v) => {
                self.tell(fact, Value::F32(v as f32));
                Ok(Some(v))
            }
            None => self.odd(fact, found, "a finite number"),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn f64(&self, fact: Fact<'_>) -> Result<f64, Error> {
        let value = self.maybe_f64(fact)?;
        self.need(fact, value)
    }

    /// Numbers, if they are there.
    ///
    /// # Errors
    /// When they are something else.
    pub fn maybe_f64s(&self, fact: Fact<'_>) -> Result<Option<Vec<f64>>, Error> {
        let Some(value) = self.json(fact.1) else { return Ok(None) };
        let numbers = value.as_array().and_then(|a| a.iter().map(Json::as_f64).collect());
        numbers.map_or_else(|| self.odd(fact, value.to_string(), "an array of numbers"), |v| Ok(Some(v)))
    }

    /// Words or numbers of a list as text, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn words(&self, fact: Fact<'_>) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.json(fact.1) else { return Ok(None) };
        let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_string);
        let list = value.as_array().map(|items| items.iter().map(text).collect());
        list.map_or_else(|| self.odd(fact, value.to_string(), "a list"), |words| Ok(Some(words)))
    }

    /// The members of an object, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, fact: Fact<'_>) -> Result<Option<&'a serde_json::Map<String, Json>>, Error> {
        let Some(value) = self.json(fact.1) else { return Ok(None) };
        value.as_object().map_or_else(|| self.odd(fact, value.to_string(), "an object"), |o| Ok(Some(o)))
    }

    /// Members of a group of fields and their words or numbers as text, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn group(&self, fact: Fact<'_>) -> Result<Option<Vec<(&'a str, String)>>, Error> {
        let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_string);
        let members = self.object(fact)?;
        Ok(members.map(|members| members.iter().map(|(name, value)| (name.as_str(), text(value))).collect()))
    }

    /// Width of the sliding window in tokens; none, as files say, is also 0.
    ///
    /// # Errors
    /// When it is something else.
    pub fn window(&self) -> Result<Option<usize>, Error> {
        Ok(self.maybe_usize(WINDOW)?.filter(|window| *window > 0))
    }

    /// Whether each of `layers` layers slides, if the configuration lists it.
    ///
    /// # Errors
    /// The list is too short, or has another word than `sliding_attention` and `full_attention`.
    pub fn sliding_layers(&self, layers: usize) -> Result<Option<Vec<bool>>, Error> {
        const TYPES: Fact<'_> = Fact("", "layer_types");
        let Some(types) = self.words(TYPES)? else { return Ok(None) };
        let slides = |word: &String| match word.as_str() {
            "sliding_attention" => Some(true),
            "full_attention" => Some(false),
            _ => None,
        };
        match types.iter().map(slides).collect::<Option<Vec<bool>>>() {
            Some(all) if all.len() >= layers => Ok(Some(all)),
            _ => self.odd(TYPES, types.join(", "), "sliding_attention or full_attention for each layer"),
        }
    }

    /// How many classes the model tells apart.
    ///
    /// # Errors
    /// When nothing says.
    pub fn labels(&self) -> Result<usize, Error> {
        match self.object(Fact("", "id2label"))? {
            Some(labels) => Ok(labels.len()),
            None => self.positive(Fact("", "num_labels")),
        }
    }

    /// A word, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn str(&self, fact: Fact<'_>) -> Result<Option<&'a str>, Error> {
        let told = |word: &&str| Value::Str((*word).to_string());
        self.plain(fact, "a word", Value::as_str, Json::as_str, told)
    }

    /// A truth value, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn bool(&self, fact: Fact<'_>) -> Result<Option<bool>, Error> {
        self.plain(fact, "true or false", Value::as_bool, Json::as_bool, |truth| Value::Bool(*truth))
    }

    /// A value of one kind, if it is there, as each dialect reads it.
    fn plain<T>(
        &self,
        fact: Fact<'_>,
        expected: &'static str,
        gguf: impl Fn(&'a Value) -> Option<T>,
        json: impl Fn(&'a Json) -> Option<T>,
        told: impl Fn(&T) -> Value,
    ) -> Result<Option<T>, Error> {
        let (read, found) = match self.dialect {
            Dialect::Gguf(meta) => {
                let Some(value) = self.gguf(meta, fact).and_then(|key| meta.get(&key)) else { return Ok(None) };
                (gguf(value), value.type_name().into_owned())
            }
            Dialect::Hf(_) => {
                let Some(value) = self.json(fact.1) else { return Ok(None) };
                (json(value), value.to_string())
            }
        };
        let Some(read) = read else { return self.odd(fact, found, expected) };
        self.tell(fact, told(&read));
        Ok(Some(read))
    }

    /// Whether the checkpoint holds a tensor, foreign ones included; `None` when there is only a configuration.
    pub fn has_tensor(&self, name: &str) -> Option<bool> {
        match self.planned {
            Some(plan) => Some(plan.contains_key(name)),
            None => self.checkpoint.map(|c| c.tensor(name).is_some() || c.foreign_bytes(name).is_some()),
        }
    }

    /// Whether the checkpoint holds the weight of a canonical name, that of the first layer if it lies in layers; `None` when
    /// there is only a configuration, or no such name.
    pub fn has(&self, canonical: &str) -> Option<bool> {
        self.has_tensor(&self.stored(canonical)?)
    }

    /// Rows of the weight of a canonical name, if the checkpoint holds it.
    pub fn rows(&self, canonical: &str) -> Option<usize> {
        self.tensor_rows(&self.stored(canonical)?)
    }

    fn stored(&self, canonical: &str) -> Option<String> {
        let (base, suffix) = canonical.strip_suffix(".bias").map_or((canonical, "weight"), |base| (base, "bias"));
        Some(crate::names::stored(crate::names::row(self.page().ok()?, base)?, self, &["0"], "0", suffix))
    }

    /// Rows of a tensor of the checkpoint.
    pub fn tensor_rows(&self, name: &str) -> Option<usize> {
        match self.planned {
            Some(plan) => plan.get(name)?.0.first().copied(),
            None => self.checkpoint?.tensor(name)?.info.shape.first().copied(),
        }
    }

    /// All values of a small tensor of the checkpoint.
    pub fn tensor_values(&self, name: &str) -> Option<Vec<f64>> {
        if let Some(plan) = self.planned {
            return Some(plan.get(name)?.1.iter().copied().map(f64::from).collect());
        }
        let tensor = self.checkpoint?.tensor(name)?;
        let mut values = vec![0.0f32; tensor.info.elements().min(1 << 16)];
        tensor.info.codec.decode(tensor.bytes, &mut values).ok()?;
        Some(values.into_iter().map(f64::from).collect())
    }

    /// An error about something that no page supports.
    pub fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.file.clone(), what: what.into() }
    }
}
