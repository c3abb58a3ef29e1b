//! A model with its conversation.

use crate::eyes::{Eyes, Shown, fill_in, mark};
use crate::opening::threaded;
use crate::{Answer, Error};
use argand_engine::{
    CpuRunner, Engine, EngineOptions, LoadOptions, Loading, LookupOptions, Request, Sampling, SeqId, SessionId,
    StopRules, TextStream,
};
use argand_grammar::{Compiled, Grammar, Grammars};
use argand_graph::Graph;
use argand_hub::{Progress, Silent, Store};
use argand_image::Picture;
use argand_text::{ChatTemplate, Message, RenderOptions, StreamDecoder, TemplateError, Tokenizer};
use serde_json::{Value as Json, json};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a model is to be opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// How it is loaded. Threads that are not given are chosen by [`Machine::threads`](crate::machine::Machine::threads).
    pub load: LoadOptions,
    /// Most rows of one prompt in a step; none for the engine's own.
    pub prefill_chunk: Option<usize>,
}

/// How answers are made.
#[derive(Clone, Debug)]
pub struct Generation {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Seed of the random numbers; none for another one with each answer.
    pub seed: Option<u64>,
    /// Most tokens of an answer; none for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Go on after tokens that end an answer.
    pub ignore_eos: bool,
    /// Draft tokens that the text so far suggests and check several in one step. It changes speed only.
    pub lookup: Option<LookupOptions>,
    /// What an answer looks like; none for free text. Where a prompt ends inside of a `<think>`, the thought is free and ends before.
    pub grammar: Option<Grammar>,
}

impl Default for Generation {
    /// llama.cpp's sampling, another seed each time, no limit.
    fn default() -> Self {
        Generation {
            sampling: Sampling::llama_cpp(),
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            ignore_eos: false,
            lookup: None,
            grammar: None,
        }
    }
}

/// A loaded model and a conversation with it.
///
/// The state of the conversation is kept between turns: a new turn computes only what is new.
pub struct Model {
    name: String,
    graph: Graph,
    tokenizer: Tokenizer,
    /// Made with the first answer that has a grammar.
    grammars: Option<Grammars>,
    template: Result<ChatTemplate, TemplateError>,
    pub(crate) engine: Engine<CpuRunner>,
    file_bytes: u64,
    generation: Generation,
    messages: Vec<Message>,
    session: SessionId,
    sight: Option<Sight>,
    /// What an answer begins with, where the model reads a text and writes another one.
    start: Option<u32>,
}

/// What a model that sees has been shown.
struct Sight {
    path: PathBuf,
    options: LoadOptions,
    /// Loaded with the first picture.
    eyes: Option<Eyes>,
    /// The pictures of the conversation, in order.
    shown: Vec<Shown>,
    /// How many of them belong to the next turn.
    waiting: usize,
}

/// Where a model lies on this machine; it is fetched where it has to be.
pub(crate) fn locate(name: &str, fetching: &mut dyn Progress) -> Result<PathBuf, Error> {
    let store = Store::open_default()?;
    match store.resolve(name) {
        Err(argand_hub::HubError::NotPulled { .. } | argand_hub::HubError::Incomplete { .. }) => {
            Ok(store.pull(name, fetching)?.path)
        }
        found => Ok(found?.path),
    }
}

/// The tokenizer's decoder as the engine wants it.
struct Decoder(StreamDecoder);

impl TextStream for Decoder {
    fn push(&mut self, id: u32) -> String {
        self.0.push(id)
    }

    fn finish(&mut self) -> String {
        self.0.finish()
    }
}

impl Model {
    /// Opens a model by catalogue name, path, or `owner/name[:file-or-quantisation][@revision]` of the Hugging Face hub,
    /// fetching it first where it has to be.
    ///
    /// # Errors
    /// The model cannot be found, fetched or loaded.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_with(name, &OpenOptions::default(), &mut Silent, &mut |_| {})
    }

    /// Opens a model with options, and tells how far fetching and loading have come.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(
        name: &str,
        options: &OpenOptions,
        fetching: &mut dyn Progress,
        loading: &mut dyn FnMut(Loading),
    ) -> Result<Self, Error> {
        Self::load(&locate(name, fetching)?, options, loading)
    }

    /// Loads a model from a file or directory.
    ///
    /// # Errors
    /// The model cannot be loaded.
    pub fn load(path: &Path, options: &OpenOptions, loading: &mut dyn FnMut(Loading)) -> Result<Self, Error> {
        let load = threaded(&options.load);
        let model = argand_engine::Model::load(path, &load, loading)?;
        let (name, graph) = (model.name().to_string(), model.graph().clone());
        let template = model.template().cloned().map_err(Clone::clone);
        let (file_bytes, start) = (model.file_bytes(), model.start());
        let (tokenizer, runner) = model.into_parts();
        let defaults = EngineOptions::default();
        let prefill_chunk = options.prefill_chunk.unwrap_or(defaults.prefill_chunk);
        let mut engine = Engine::new(runner, EngineOptions { prefill_chunk, ..defaults });
        let session = engine.open_session();
        let sees = argand_models::vision::reads_pictures(&graph);
        let sight = || Sight { path: path.to_path_buf(), options: load, eyes: None, shown: Vec::new(), waiting: 0 };
        Ok(Model {
            sight: sees.then(sight),
            name,
            graph,
            tokenizer,
            grammars: None,
            template,
            engine,
            file_bytes,
            generation: Generation::default(),
            messages: Vec::new(),
            session,
            start,
        })
    }

    /// The name that the model gives itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// From text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether the model has an encoder that reads a text whole, and writes another one: a translation, a summary, an answer. Then
    /// [`Model::complete`] gives it a text, and there are no conversations.
    pub fn reads(&self) -> bool {
        self.start.is_some()
    }

    /// The chat template.
    ///
    /// # Errors
    /// [`TemplateError::None`] when the model has none, or what is wrong with it.
    pub fn template(&self) -> Result<&ChatTemplate, &TemplateError> {
        self.template.as_ref()
    }

    /// Takes another chat template.
    pub fn set_template(&mut self, template: ChatTemplate) {
        self.template = Ok(template);
    }

    /// Size of the model's files in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Longest sequence in tokens.
    pub fn context(&self) -> usize {
        self.engine.limits().context
    }

    /// The engine below, for many sequences at once.
    pub fn engine_mut(&mut self) -> &mut Engine<CpuRunner> {
        &mut self.engine
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine<CpuRunner> {
        &self.engine
    }

    /// How answers are made.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Changes how answers are made, from the next one on.
    pub fn generation_mut(&mut self) -> &mut Generation {
        &mut self.generation
    }

    /// The conversation so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Forgets the conversation, but for the system message.
    pub fn reset(&mut self) {
        self.messages.retain(|m| m.role == "system");
        if let Some(sight) = &mut self.sight {
            sight.shown.clear();
            sight.waiting = 0;
        }
    }

    /// Whether the model can be shown pictures.
    pub fn sees(&self) -> bool {
        self.sight.is_some()
    }

    /// Shows a picture; the next turn of the conversation begins with it.
    ///
    /// # Errors
    /// The model sees no pictures, what it wants to see of them is not said, or the part of it that looks cannot be loaded.
    pub fn show(&mut self, picture: &Picture) -> Result<(), Error> {
        self.open_eyes(&mut |_| {})?;
        let Some(sight) = &mut self.sight else { return Ok(()) };
        if let Some(eyes) = &mut sight.eyes {
            sight.shown.push(eyes.look(picture)?);
            sight.waiting += 1;
        }
        Ok(())
    }

    /// Loads the part of the model that looks at pictures, unless it is there, and tells how far it has come; [`Model::show`]
    /// does so with the first picture.
    ///
    /// # Errors
    /// The model sees no pictures, what it wants to see of them is not said, or that part cannot be loaded.
    pub fn open_eyes(&mut self, loading: &mut dyn FnMut(Loading)) -> Result<(), Error> {
        let sight = self.sight.as_mut().ok_or_else(|| Error::Blind { model: self.name.clone() })?;
        if sight.eyes.is_none() {
            sight.eyes = Some(Eyes::load(&sight.path, &sight.options, &self.tokenizer, loading)?);
        }
        Ok(())
    }

    /// A message as the model's template wants it: in parts where pictures may be among them.
    fn message(&self, role: &str, pictures: usize, text: &str) -> Message {
        let mut message = Message::new(role, text);
        if self.sees() {
            let mut parts = vec![json!({ "type": "image" }); pictures];
            parts.push(json!({ "type": "text", "text": text }));
            message.content = Some(Json::Array(parts));
        }
        message
    }

    /// Sets the system message, or removes it when empty. It counts from the next turn on.
    pub fn set_system(&mut self, text: &str) {
        self.messages.retain(|m| m.role != "system");
        if !text.is_empty() {
            self.messages.insert(0, self.message("system", 0, text));
        }
    }

    /// Says something and streams the answer, which becomes part of the conversation.
    ///
    /// # Errors
    /// The model holds no conversations, has no chat template or a malformed one, the template refuses the conversation, or it is longer than the context; the
    /// conversation is then as before.
    pub fn chat(&mut self, text: &str) -> Result<Answer<'_>, Error> {
        let waiting = self.sight.as_mut().map_or(0, |sight| std::mem::take(&mut sight.waiting));
        self.messages.push(self.message("user", waiting, text));
        match self.ask() {
            Ok(seq) => Ok(Answer::new(self, seq, true)),
            Err(error) => {
                self.messages.pop();
                if let Some(sight) = &mut self.sight {
                    sight.waiting = waiting;
                }
                Err(error)
            }
        }
    }

    /// Takes the last answer back and gives another one.
    ///
    /// # Errors
    /// There is none, or as [`Model::chat`].
    pub fn regenerate(&mut self) -> Result<Answer<'_>, Error> {
        let last = self.messages.pop_if(|m| m.role == "assistant").ok_or(Error::NothingToRegenerate)?;
        match self.ask() {
            Ok(seq) => Ok(Answer::new(self, seq, true)),
            Err(error) => {
                self.messages.push(last);
                Err(error)
            }
        }
    }

    /// Hands the conversation to the engine.
    fn ask(&mut self) -> Result<SeqId, Error> {
        if self.reads() {
            return Err(Error::NoConversation { name: self.name.clone() });
        }
        self.add(Request::new(self.chat_prompt()?), Some(self.session), self.decoder())
    }

    /// The conversation as tokens, up to where the answer begins.
    fn chat_prompt(&self) -> Result<Vec<u32>, Error> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let text = template.render(&self.messages, &options)?;
        let Some((eyes, shown)) = self.seen() else { return Ok(self.tokenizer.encode(&text, false, true)?) };
        let odd = || Error::Pictures { shown: shown.len(), written: eyes.written.clone() };
        let text = fill_in(&text, &eyes.written, shown).ok_or_else(odd)?;
        let tokens = self.tokenizer.encode(&text, false, true)?;
        mark(&tokens, eyes.token, shown).ok_or_else(odd)
    }

    /// The pictures of the conversation, and what looked at them.
    fn seen(&self) -> Option<(&Eyes, &[Shown])> {
        let sight = self.sight.as_ref()?;
        Some((sight.eyes.as_ref()?, &sight.shown))
    }

    /// Continues plain text, without a chat template and outside of the conversation. A model that [reads](Model::reads) answers
    /// to it with another text; tokens that the text names, such as `<extra_id_0>`, count then.
    ///
    /// # Errors
    /// The text is empty, cannot be tokenised, or is longer than the context.
    pub fn complete(&mut self, text: &str) -> Result<Answer<'_>, Error> {
        let tokens = self.tokenizer.encode(text, true, self.reads())?;
        let seq = match self.start {
            Some(start) => {
                let request = Request { source: tokens, ..Request::new(vec![start]) };
                self.add(request, None, self.decoder())
            }
            None => self.add(Request::new(tokens), None, self.decoder().continuing()),
        }?;
        Ok(Answer::new(self, seq, false))
    }

    fn decoder(&self) -> StreamDecoder {
        self.tokenizer.stream()
    }

    fn add(&mut self, what: Request, session: Option<SessionId>, decoder: StreamDecoder) -> Result<SeqId, Error> {
        let Generation { sampling, seed, max_tokens, stop, ignore_eos, lookup, grammar } = self.generation.clone();
        let compiled = grammar.map(|grammar| self.compile(grammar, &what.prompt)).transpose()?;
        // A grammar's text is all that is written, a first blank included.
        let decoder = if compiled.is_some() { decoder.continuing() } else { decoder };
        let tokens = if ignore_eos { Default::default() } else { self.tokenizer.eog().clone() };
        let request = Request {
            sampling,
            stop: StopRules { tokens, strings: stop, max_tokens },
            seed: seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
            lookup,
            session,
            pictures: self.seen().map_or(Vec::new(), |(_, shown)| shown.iter().map(|s| Arc::clone(&s.rows)).collect()),
            text: Some(Box::new(Decoder(decoder))),
            constraint: compiled.map(|compiled| compiled.constraint()),
            ..what
        };
        Ok(self.engine.add(request)?)
    }

    fn compile(&mut self, grammar: Grammar, prompt: &[u32]) -> Result<Compiled, Error> {
        let grammars = match self.grammars.take() {
            Some(grammars) => grammars,
            None => Grammars::new(&self.tokenizer)?,
        };
        let grammars = self.grammars.insert(grammars);
        let last = &prompt[prompt.len().saturating_sub(8)..];
        let thinks = self.tokenizer.decode(last, false).trim_end().ends_with("<think>");
        Ok(grammars.compile(&if thinks { grammar.after("</think>") } else { grammar })?)
    }

    pub(crate) fn remember_answer(&mut self, text: String) {
        self.messages.push(self.message("assistant", 0, &text));
    }
}
