//! What encoders have in common: embeddings that are summed and normed, attention both ways, and the heads that they were
//! trained with.

use crate::Error;
use crate::decoder::{Decoder, Layer};
use crate::facts::{self, Facts};
use crate::names::hf;
use crate::sentence::Sentence;
use argand_graph::{BatchInput, Builder, Graph, Mask, NormKind, Pool, T, Unary};

/// Epsilon of norms where a configuration leaves it out, as DistilBERT's do (`layer_norm_eps` of `BertConfig`).
const USUAL_EPS: f64 = 1e-12;

/// What is wanted of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// The last state of each token, `[N, D]`.
    States,
    /// The first token's state through the pooler, `[B, D]`.
    Pooler,
    /// Logits over the vocabulary for the rows that are asked for, `[R, V]`.
    Words,
    /// Logits over labels for each sequence, `[B, L]`.
    Sequence,
    /// Logits over labels for each token, `[N, L]`.
    Tokens,
    /// A vector for each sequence, `[B, E]`.
    Sentence(Sentence),
}

impl Head {
    /// What it is for, as people say it.
    pub fn wanted(&self) -> &'static str {
        match self {
            Head::States | Head::Pooler | Head::Sentence(_) => "embedding texts",
            Head::Words => "filling in masked words",
            Head::Sequence => "classifying texts",
            Head::Tokens => "classifying tokens",
        }
    }

    /// The weight that a checkpoint without this head lacks.
    pub fn weight(&self) -> Option<&'static str> {
        match self {
            Head::States | Head::Sentence(_) => None,
            Head::Pooler => Some("pooler"),
            Head::Words => Some("head_norm"),
            Head::Sequence | Head::Tokens => Some("classifier"),
        }
    }
}

/// How a sequence becomes the vector that its labels are told by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Summary {
    /// The first row through the pooler: a product and tanh (Devlin et al. 2018).
    Pooler,
    /// The first row through a product and this function.
    Dense(Unary),
    /// Rows pooled like this, then what precedes words too: a product, the activation, a norm.
    Transform(Pool),
}

/// Sizes of an encoder, and its heads.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Its layers.
    pub body: Decoder,
    /// Width of the embeddings.
    pub width: usize,
    /// The row of the table of positions that position 0 has.
    pub first_position: usize,
    /// Texts that are joined to one sequence are told apart by an embedding: rows of its table.
    pub types: Option<usize>,
    /// There is a norm behind the last layer.
    pub output_norm: bool,
    /// The product before the heads has a bias.
    pub head_bias: bool,
    /// Function behind that product before words.
    pub head_act: Unary,
    /// What labels of sequences are told by.
    pub summary: Summary,
}

impl Encoder {
    /// Reads what BERT and its kin have in common (Devlin et al. 2018): norms with biases behind each part, learned positions.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read(f: &Facts<'_>) -> Result<Encoder, Error> {
        if f.str(hf("position_embedding_type"))?.is_some_and(|kind| kind != "absolute") {
            return Err(f.unsupported("positions that are not learned row by row"));
        }
        let eps = f.maybe_f64(facts::EPS)?.unwrap_or(USUAL_EPS);
        let c = Decoder::with_eps(f, eps)?.classical(f, Unary::GeluErf)?;
        let positions = f.rows("pos_embd").map_or_else(|| f.positive(facts::CONTEXT), Ok)?;
        let types = match f.rows("type_embd") {
            None if f.has("type_embd").is_none() => f.maybe_usize(hf("type_vocab_size"))?.filter(|n| *n > 0),
            rows => rows,
        };
        Ok(Encoder {
            width: f.maybe_usize(hf("embedding_size"))?.unwrap_or(c.dim),
            first_position: 0,
            types,
            output_norm: false,
            head_bias: true,
            head_act: c.act,
            summary: Summary::Pooler,
            body: Decoder { mask: Mask::Full, positions: Some(positions), ..c },
        })
    }

    /// The same for families that count positions from behind the number of the padding token (Liu et al. 2019).
    ///
    /// # Errors
    /// As [`Encoder::read`].
    pub fn after_padding(f: &Facts<'_>) -> Result<Encoder, Error> {
        let padding = f.maybe_usize(hf("pad_token_id"))?.unwrap_or(1);
        Ok(Encoder { first_position: padding + 1, summary: Summary::Dense(Unary::Tanh), ..Encoder::read(f)? })
    }

    /// Layers with a norm behind attention and behind the feed-forward part, and the frame around them.
    ///
    /// # Errors
    /// The first mistake in the graph.
    pub fn post_norm_graph(&self, f: &Facts<'_>) -> Result<Graph, Error> {
        let plain = Layer { window: None, rope: None };
        self.graph(f, &vec![plain; self.body.layers], |x, layer| {
            let x = self.body.norm(x + self.body.attention(x, layer), "attn_out_norm");
            self.body.norm(x + self.body.feed_forward(x), "layer_out_norm")
        })
    }

    /// The frame: embeddings, layers, and the head that is wanted.
    ///
    /// # Errors
    /// A missing fact of the head, or the first mistake in the graph.
    pub fn graph<L: PartialEq>(
        &self,
        f: &Facts<'_>,
        layers: &[L],
        block: impl for<'b> Fn(T<'b>, &L) -> T<'b>,
    ) -> Result<Graph, Error> {
        let head = f.head()?;
        let labels = if matches!(head, Head::Sequence | Head::Tokens) { labels(f)? } else { 0 };
        let g = Builder::new(f.architecture());
        let x = self.embed(&g, f).repeat("layers", layers, block);
        let x = if self.output_norm { self.body.norm(x, "output_norm") } else { x };
        let classify = |x: T<'_>| x.linear_bias("classifier", labels, true).named("logits").value();
        let output = match &head {
            Head::States => x.value(),
            Head::Pooler => self.pooler(x).value(),
            Head::Words => {
                let x = self.transform(x.logit_rows());
                x.linear_bias("output", self.body.vocab, true).named("logits").value()
            }
            Head::Sequence => classify(match self.summary {
                Summary::Pooler => self.pooler(x),
                Summary::Dense(act) => self.dense(x.pool(Pool::First)).unary(act),
                Summary::Transform(pool) => self.transform(x.pool(pool)),
            }),
            Head::Tokens if matches!(self.summary, Summary::Transform(_)) => classify(self.transform(x)),
            Head::Tokens => classify(x),
            Head::Sentence(sentence) => sentence.apply(x).value(),
        };
        Ok(g.finish(output)?)
    }

    /// The sum of what tokens, positions and types are looked up as, normed, and made as wide as the layers.
    fn embed<'g>(&self, g: &'g Builder, f: &Facts<'_>) -> T<'g> {
        let table = |name, rows, by, first| g.look_up(name, rows, self.width, by, first);
        let x = g.embed("token_embd", self.body.vocab, self.width);
        let x = self.types.map_or(x, |rows| x + table("type_embd", rows, BatchInput::TokenTypes, 0));
        let positions = |rows| table("pos_embd", rows, BatchInput::Positions, self.first_position);
        let x = self.body.positions.map_or(x, |rows| x + positions(rows));
        let x = self.body.norm(x, "token_embd_norm");
        match f.has("embd_proj").unwrap_or(self.width != self.body.dim) {
            true => x.linear_bias("embd_proj", self.body.dim, true).named("embed"),
            false => x,
        }
    }

    fn pooler<'g>(&self, x: T<'g>) -> T<'g> {
        x.pool(Pool::First).linear_bias("pooler", self.body.dim, true).named("pooler_dense").tanh().named("pooler")
    }

    fn dense<'g>(&self, x: T<'g>) -> T<'g> {
        x.linear_bias("head_dense", self.body.dim, self.head_bias)
    }

    /// What precedes words, as wide as their embeddings.
    fn transform<'g>(&self, x: T<'g>) -> T<'g> {
        let x = x.linear_bias("head_dense", self.width, self.head_bias).unary(self.head_act);
        x.norm(NormKind::Layer, "head_norm", self.body.eps, self.body.norm_bias)
    }
}

/// How many labels a classifier tells apart.
fn labels(f: &Facts<'_>) -> Result<usize, Error> {
    let named = f.group(hf("id2label"))?.map(|names| names.len());
    let said = f.maybe_usize(hf("num_labels"))?.or(named);
    // Two is what transformers assumes (`PretrainedConfig.num_labels`).
    Ok(f.rows("classifier").or(said).unwrap_or(2))
}

/// Names of the labels in the order of the logits; where the configuration names none, `LABEL_0` and so on, as in transformers.
///
/// # Errors
/// When the names are something else.
pub fn label_names(f: &Facts<'_>) -> Result<Vec<String>, Error> {
    let named = f.group(hf("id2label"))?.unwrap_or_default();
    let name = |i: usize| {
        let own = named.iter().find(|(id, _)| id.parse() == Ok(i));
        own.map_or_else(|| format!("LABEL_{i}"), |(_, name)| name.clone())
    };
    Ok((0..labels(f)?).map(name).collect())
}

/// Names of the weights of BERT's kin, which differ by their first part; more rows can be put before them.
macro_rules! bert_names {
    ($model:literal $(, $own:expr)* $(,)?) => {
        &[
            $($own,)*
            $crate::names::name("token_embd", "", concat!($model, ".embeddings.word_embeddings")),
            $crate::names::name("pos_embd", "", concat!($model, ".embeddings.position_embeddings")),
            $crate::names::name("type_embd", "", concat!($model, ".embeddings.token_type_embeddings")),
            $crate::names::name("token_embd_norm", "", concat!($model, ".embeddings.LayerNorm")),
            $crate::names::name("attn_q", "", concat!($model, ".encoder.layer.{}.attention.self.query")),
            $crate::names::name("attn_k", "", concat!($model, ".encoder.layer.{}.attention.self.key")),
            $crate::names::name("attn_v", "", concat!($model, ".encoder.layer.{}.attention.self.value")),
            $crate::names::name("attn_out", "", concat!($model, ".encoder.layer.{}.attention.output.dense")),
            $crate::names::name("attn_out_norm", "", concat!($model, ".encoder.layer.{}.attention.output.LayerNorm")),
            $crate::names::name("ffn_up", "", concat!($model, ".encoder.layer.{}.intermediate.dense")),
            $crate::names::name("ffn_down", "", concat!($model, ".encoder.layer.{}.output.dense")),
            $crate::names::name("layer_out_norm", "", concat!($model, ".encoder.layer.{}.output.LayerNorm")),
            $crate::names::name("pooler", "", concat!($model, ".pooler.dense")),
            $crate::names::name("classifier", "", "classifier.out_proj|classifier"),
        ]
    };
}
pub(crate) use bert_names;
