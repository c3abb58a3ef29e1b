//! What models that see have in common: towers of encoder layers over the patches of pictures, the towers that read captions, and
//! what stands between a tower and a language model.
//!
//! In a step of a tower each picture is a sequence, and its rows are its patches, behind a class token where there is one. What
//! it keeps of them is needed in that step alone.

use crate::Error;
use crate::decoder::{Decoder, Layer, pre_norm_block};
use crate::facts::{self, Facts, Usual};
use crate::names::{Fix, Name, hf, kernel, name};
use argand_graph::{At, BatchInput, Builder, Graph, Mask, Op, Pool, T, Unary, Walk};

/// What parts of configurations leave out when it is as in `CLIPTextConfig`, and so on for the others; a tower looks up its class
/// token alone, which counts as a vocabulary.
pub(crate) const CLIP_TEXT: Usual = &[
    ("vocab_size", 49408.0),
    ("hidden_size", 512.0),
    ("intermediate_size", 2048.0),
    ("num_hidden_layers", 12.0),
    ("num_attention_heads", 8.0),
    ("max_position_embeddings", 77.0),
    ("layer_norm_eps", 1e-5),
];
/// `CLIPVisionConfig`.
pub(crate) const CLIP_VISION: Usual = &[
    ("vocab_size", 1.0),
    ("hidden_size", 768.0),
    ("intermediate_size", 3072.0),
    ("num_hidden_layers", 12.0),
    ("num_attention_heads", 12.0),
    ("image_size", 224.0),
    ("patch_size", 32.0),
    ("layer_norm_eps", 1e-5),
];
/// `SiglipTextConfig`.
pub(crate) const SIGLIP_TEXT: Usual = &[
    ("vocab_size", 32000.0),
    ("hidden_size", 768.0),
    ("intermediate_size", 3072.0),
    ("num_hidden_layers", 12.0),
    ("num_attention_heads", 12.0),
    ("max_position_embeddings", 64.0),
    ("layer_norm_eps", 1e-6),
];
/// `SiglipVisionConfig`.
pub(crate) const SIGLIP_VISION: Usual = &[
    ("vocab_size", 1.0),
    ("hidden_size", 768.0),
    ("intermediate_size", 3072.0),
    ("num_hidden_layers", 12.0),
    ("num_attention_heads", 12.0),
    ("image_size", 224.0),
    ("patch_size", 16.0),
    ("layer_norm_eps", 1e-6),
];
/// `Idefics3VisionConfig` and `SmolVLMVisionConfig`.
pub(crate) const IDEFICS_VISION: Usual = &[
    ("vocab_size", 1.0),
    ("hidden_size", 1152.0),
    ("intermediate_size", 3072.0),
    ("num_hidden_layers", 12.0),
    ("num_attention_heads", 16.0),
    ("image_size", 224.0),
    ("patch_size", 32.0),
    ("layer_norm_eps", 1e-6),
];
/// `LlamaConfig`.
pub(crate) const LLAMA: Usual = &[
    ("vocab_size", 32000.0),
    ("hidden_size", 4096.0),
    ("intermediate_size", 11008.0),
    ("num_hidden_layers", 32.0),
    ("num_attention_heads", 32.0),
    ("max_position_embeddings", 2048.0),
    ("rms_norm_eps", 1e-6),
];

/// A name below the tower that sees, wherever checkpoints have it.
macro_rules! seen {
    ($name:literal) => {
        concat!(
            "vision_model.",
            $name,
            "|vision_tower.vision_model.",
            $name,
            "|model.vision_model.",
            $name,
            "|model.vision_tower.",
            $name,
            "|model.vision_tower.vision_model.",
            $name
        )
    };
}

/// Names of both towers of CLIP and SigLIP, and of what stands between the first and a language model.
pub(crate) const NAMES: &[Name] = &[
    kernel("v.patch_embd", seen!("embeddings.patch_embedding")),
    name("v.class_embd", "", seen!("embeddings.class_embedding")),
    name("v.pos_embd", "", seen!("embeddings.position_embedding")),
    name("v.pre_norm", "", seen!("pre_layrnorm")),
    name("v.layers.{}.attn_norm", "", seen!("encoder.layers.{}.layer_norm1")),
    name("v.layers.{}.attn_q", "", seen!("encoder.layers.{}.self_attn.q_proj")),
    name("v.layers.{}.attn_k", "", seen!("encoder.layers.{}.self_attn.k_proj")),
    name("v.layers.{}.attn_v", "", seen!("encoder.layers.{}.self_attn.v_proj")),
    name("v.layers.{}.attn_out", "", seen!("encoder.layers.{}.self_attn.out_proj")),
    name("v.layers.{}.ffn_norm", "", seen!("encoder.layers.{}.layer_norm2")),
    name("v.layers.{}.ffn_up", "", seen!("encoder.layers.{}.mlp.fc1")),
    name("v.layers.{}.ffn_down", "", seen!("encoder.layers.{}.mlp.fc2")),
    name("v.output_norm", "", seen!("post_layernorm")),
    name("v.projection", "", "visual_projection"),
    name("v.pool.{}.probe", "", seen!("head.probe")),
    name("v.pool.{}.attn_q", "", seen!("head.attention.in_proj_weight")).fixed(Fix::Third(0)),
    name("v.pool.{}.attn_k", "", seen!("head.attention.in_proj_weight")).fixed(Fix::Third(1)),
    name("v.pool.{}.attn_v", "", seen!("head.attention.in_proj_weight")).fixed(Fix::Third(2)),
    name("v.pool.{}.attn_q.bias", "", seen!("head.attention.in_proj_bias")).fixed(Fix::Third(0)),
    name("v.pool.{}.attn_k.bias", "", seen!("head.attention.in_proj_bias")).fixed(Fix::Third(1)),
    name("v.pool.{}.attn_v.bias", "", seen!("head.attention.in_proj_bias")).fixed(Fix::Third(2)),
    name("v.pool.{}.attn_out", "", seen!("head.attention.out_proj")),
    name("v.pool_norm", "", seen!("head.layernorm")),
    name("v.pool_up", "", seen!("head.mlp.fc1")),
    name("v.pool_down", "", seen!("head.mlp.fc2")),
    name("mm_up", "", "multi_modal_projector.linear_1|model.multi_modal_projector.linear_1"),
    name(
        "mm",
        "",
        "multi_modal_projector.linear_2|model.multi_modal_projector.linear_2|model.connector.modality_projection.proj",
    ),
    name("t.token_embd", "", "text_model.embeddings.token_embedding"),
    name("t.pos_embd", "", "text_model.embeddings.position_embedding"),
    name("t.layers.{}.attn_norm", "", "text_model.encoder.layers.{}.layer_norm1"),
    name("t.layers.{}.attn_q", "", "text_model.encoder.layers.{}.self_attn.q_proj"),
    name("t.layers.{}.attn_k", "", "text_model.encoder.layers.{}.self_attn.k_proj"),
    name("t.layers.{}.attn_v", "", "text_model.encoder.layers.{}.self_attn.v_proj"),
    name("t.layers.{}.attn_out", "", "text_model.encoder.layers.{}.self_attn.out_proj"),
    name("t.layers.{}.ffn_norm", "", "text_model.encoder.layers.{}.layer_norm2"),
    name("t.layers.{}.ffn_up", "", "text_model.encoder.layers.{}.mlp.fc1"),
    name("t.layers.{}.ffn_down", "", "text_model.encoder.layers.{}.mlp.fc2"),
    name("t.output_norm", "", "text_model.final_layer_norm"),
    name("t.projection", "", "text_projection|text_model.head"),
];

/// A stack of encoder layers over patches (Dosovitskiy et al. 2020).
#[derive(Clone, Debug)]
pub struct Tower {
    /// Its layers.
    pub body: Decoder,
    /// What names begin with.
    pub prefix: &'static str,
    /// Height and width of pictures.
    pub size: [usize; 2],
    /// Height and width of a patch.
    pub patch: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// A class token stands before the patches.
    pub class: bool,
    /// The product with patches has a bias.
    pub patch_bias: bool,
}

impl Tower {
    /// Reads the sizes; without a word the activation is `act`.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read(f: &Facts<'_>, prefix: &'static str, act: Unary) -> Result<Tower, Error> {
        let c = Decoder::read(f)?.classical(f, act)?;
        let patch = f.positive(hf("patch_size"))?;
        let size = f.picture()?;
        if size.iter().any(|side| *side < patch) {
            return Err(f.unsupported(format!("patches of {patch} pixels in pictures of {} x {}", size[0], size[1])));
        }
        Ok(Tower {
            body: Decoder { mask: Mask::Full, ..c },
            prefix,
            size,
            patch,
            channels: f.maybe_usize(hf("num_channels"))?.unwrap_or(3),
            class: false,
            patch_bias: true,
        })
    }

    /// The same with a class token before the patches.
    pub fn with_class(self, class: bool) -> Tower {
        Tower { class, ..self }
    }

    /// A value's or a weight's name.
    pub fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// Patches along each side of a picture.
    pub fn grid(&self) -> [usize; 2] {
        self.size.map(|side| side / self.patch)
    }

    /// Rows of pictures as the first layer (or the norm before it) has them: `[N, D]`.
    pub fn embed<'g>(&self, g: &'g Builder) -> T<'g> {
        let dim = self.body.dim;
        let walk = Walk::square(self.patch).stride(self.patch);
        let pictures = g.pictures(self.size, self.channels);
        let patches = pictures.conv(&self.name("patch_embd"), dim, walk, self.patch_bias).pixels;
        let class = self.class.then(|| g.look_up(&self.name("class_embd"), 1, dim, BatchInput::Tokens, 0));
        let [height, width] = self.grid();
        let rows = height * width + usize::from(self.class);
        patches.placed(class) + g.look_up(&self.name("pos_embd"), rows, dim, BatchInput::Positions, 0)
    }

    /// The first layers.
    pub fn layers<'g>(&self, x: T<'g>, count: usize) -> T<'g> {
        let plain = Layer { window: None, rope: None };
        x.repeat(&self.name("layers"), &vec![plain; count], |x, layer| pre_norm_block(&self.body, x, layer))
    }

    /// All layers and the norm behind them.
    pub fn states<'g>(&self, g: &'g Builder) -> T<'g> {
        self.body.norm(self.layers(self.embed(g), self.body.layers), &self.name("output_norm"))
    }
}

/// A tower that reads captions: its last row becomes a vector of length 1 and of `out` values.
///
/// # Errors
/// A missing or odd fact.
pub(crate) fn captions(f: &Facts<'_>, mask: Mask, act: Unary, out: usize, bias: bool) -> Result<Graph, Error> {
    let c = Decoder { mask, ..Decoder::read(f)?.classical(f, act)? };
    let g = Builder::new(f.architecture());
    let positions = g.look_up("t.pos_embd", f.positive(facts::CONTEXT)?, c.dim, BatchInput::Positions, 0);
    let x = g.embed("t.token_embd", c.vocab, c.dim) + positions;
    let plain = Layer { window: None, rope: None };
    let x = x.repeat("t.layers", &vec![plain; c.layers], |x, layer| pre_norm_block(&c, x, layer));
    let x = c.norm(x, "t.output_norm").pool(Pool::Last).linear_bias("t.projection", out, bias);
    let output = x.l2_norm().named("text_embd").value();
    Ok(g.finish(output)?)
}

/// The language model of a model that sees: that of its own page, with rows of pictures in the places of tokens.
///
/// # Errors
/// A language model that has no page, and what its page says.
pub(crate) fn language(f: &Facts<'_>) -> Result<Graph, Error> {
    let name = f.str(hf("text_config.model_type"))?.unwrap_or("without a name");
    let text = f.text().ok_or_else(|| f.unsupported(format!("a language model `{name}`")))?;
    (text.page()?.graph)(&text)
}

/// Whether rows of pictures may stand in the places of a graph's tokens.
pub fn reads_pictures(graph: &Graph) -> bool {
    graph.body.iter().any(|(_, node)| matches!(&node.op, Op::Given { name, .. } if name == "pictures"))
}

/// What a graph that looks at pictures wants of a step, read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Pictures of one size.
    Whole {
        /// Height, width and channels.
        size: [usize; 3],
        /// Rows of a picture: its patches, behind the class token if there is one.
        rows: usize,
        /// Whether there is a class token.
        class: bool,
        /// Rows of a picture from which the rows that go out are made; none when one goes out that is made of all.
        wanted: Vec<u32>,
    },
    /// Patches of pictures of any size.
    Patches {
        /// Values of a patch.
        len: usize,
        /// Neighbouring patches of which a row that goes out is made; they follow one another.
        merged: usize,
    },
}

impl Sight {
    /// Sizes of a step that looks at so many pictures; where their size is free, of so many patches each.
    pub fn step(&self, pictures: usize, patches: usize) -> At {
        let (rows, out) = match self {
            Sight::Whole { rows, wanted, .. } => (*rows, wanted.len()),
            Sight::Patches { merged, .. } => (patches, patches / merged),
        };
        At { n: pictures * rows, r: pictures * out, b: pictures, p: 0, s: rows }
    }

    /// Reads a graph; none of one that looks at no pictures, or at pictures without making rows of patches.
    pub fn of(graph: &Graph) -> Option<Sight> {
        let nodes = &graph.body.nodes;
        let gathered = nodes.iter().find_map(|node| match &node.op {
            Op::GatherRows { behind } => Some(behind.as_slice()),
            _ => None,
        });
        let given = nodes.iter().find_map(|node| match &node.op {
            Op::Given { name, len, .. } => Some((name.as_str(), *len)),
            _ => None,
        });
        match given? {
            ("patches", len) => Some(Sight::Patches { len, merged: gathered.map_or(1, <[usize]>::len) }),
            ("pixels", channels) => {
                let place = nodes.iter().find(|node| node.op == Op::Place)?;
                let Op::Conv { window, .. } = &graph.body.node(*place.ins.first()?).op else { return None };
                let ([height, width], [lines, columns]) = (window.size, window.out()?);
                let class = place.ins.len() > 2;
                let wanted = match gathered {
                    None => vec![],
                    Some(behind) => {
                        let side = behind.len().isqrt().max(1);
                        let lines = (0..lines).step_by(side);
                        let first =
                            lines.flat_map(|line| (0..columns).step_by(side).map(move |at| line * columns + at));
                        first.map(|row| (row + usize::from(class)) as u32).collect()
                    }
                };
                let rows = lines * columns + usize::from(class);
                Some(Sight::Whole { size: [height, width, channels], rows, class, wanted })
            }
            _ => None,
        }
    }
}
