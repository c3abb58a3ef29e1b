//! The graphs that are run.

use super::weights::Weights;
use argand_codec::Codec;
use argand_graph::{
    AttentionSpec, BatchInput, Buckets, Builder, F, Graph, KvSpec, Mask, Pool, Rope, RopeFreqs, RopeStyle, Routing,
    Score, ScoreBias, T, Unary,
};
use std::sync::Arc;

pub const VOCAB: usize = 101;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const EPS: f32 = 1e-5;

/// A graph with its weights.
pub struct Model {
    pub name: &'static str,
    pub graph: Graph,
    pub weights: Arc<Weights>,
}

impl Model {
    pub fn new(name: &'static str, graph: Graph, codec: impl Fn(&str) -> Codec) -> Model {
        let weights = Arc::new(Weights::random(&graph, codec));
        Model { name, graph, weights }
    }
}

/// Floats, blocks of 32 and blocks of 256 values.
pub fn models() -> [Model; 5] {
    [llama(|_| Codec::F32), llama(legacy), gemma(), classic(legacy), mixture()]
}

pub fn legacy(name: &str) -> Codec {
    if name.contains("attn") || name == "output" { Codec::Q8_0 } else { Codec::Q4_0 }
}

/// Pre-norm blocks, SiLU, a head of its own, biases of queries, keys and values.
pub fn llama(codec: impl Fn(&str) -> Codec) -> Model {
    let g = Builder::new("llama");
    let dim = 64;
    let layer = Attention { head_dim: dim / HEADS, window: None, softcap: None, qk_norm: false, bias: true };
    let x = g.embed("token_embd", VOCAB, dim).repeat("layers", &[(); 2], |x, ()| {
        let x = x + attention(x.rms_norm("attn_norm", EPS), &layer);
        x + feed_forward(x.rms_norm("ffn_norm", EPS), 160, Unary::Silu)
    });
    let output = x.logit_rows().rms_norm("output_norm", EPS).linear("output", VOCAB).value();
    Model::new("llama", g.finish(output).unwrap(), codec)
}

/// Norms before and after, a window in the first layer, caps, norms of heads, GELU, scaled and tied embedding.
pub fn gemma() -> Model {
    let g = Builder::new("gemma");
    let dim = 256;
    let x = g.embed("token_embd", VOCAB, dim).scale((dim as f32).sqrt()).named("embed");
    let x = x.repeat("layers", &[Some(50), None], |x, window| {
        let layer = Attention { head_dim: 64, window: *window, softcap: Some(F(50.0)), qk_norm: true, bias: false };
        let x = x + attention(x.rms_norm("attn_norm", EPS), &layer).rms_norm("attn_post_norm", EPS);
        let h = feed_forward(x.rms_norm("ffn_norm", EPS), 512, Unary::GeluTanh);
        x + h.rms_norm("ffn_post_norm", EPS)
    });
    let x = x.logit_rows().rms_norm("output_norm", EPS).linear("token_embd", VOCAB).named("output");
    let output = x.softcap(Some(30.0)).value();
    let sixes = |name: &str| name == "token_embd" || name.ends_with("ffn_down") || name.ends_with("attn_v");
    let codec = |name: &str| if sixes(name) { Codec::Q6K } else { Codec::Q4K };
    Model::new("gemma", g.finish(output).unwrap(), codec)
}

/// Layer norms, learned positions from the second row on, slopes in one layer and bucketed biases in the other, sinks, one
/// product after the activation, and a softmax that gates it.
pub fn classic(codec: impl Fn(&str) -> Codec) -> Model {
    let g = Builder::new("classic");
    let (dim, head_dim) = (64, 16);
    let kv = KvSpec { heads: HEADS, dim_k: head_dim, dim_v: head_dim, window: None, memory: false };
    let slopes = ScoreBias::Slopes((0..HEADS).map(|h| F(0.5f32.powi(h as i32 + 1))).collect());
    let buckets = ScoreBias::Buckets(Buckets { count: 8, max_distance: 40, both_ways: false });
    let positions = g.look_up("pos_embd", 160, dim, BatchInput::Positions, 1);
    let types = g.look_up("type_embd", 2, dim, BatchInput::TokenTypes, 0);
    let x = (g.embed("token_embd", VOCAB, dim) + positions + types).layer_norm("embd_norm", EPS, true);
    let x = x.repeat("layers", &[slopes, buckets], |x, bias| {
        let spec = AttentionSpec { bias: Some(bias.clone()), sinks: true, ..AttentionSpec::new(HEADS, kv, 0.25) };
        let h = x.layer_norm("attn_norm", EPS, true);
        let head = |name| h.linear_bias(name, dim, true).heads(HEADS);
        let x = x + head("attn_q").attend(head("attn_k"), head("attn_v"), &spec).linear_bias("attn_out", dim, true);
        let h = x.layer_norm("ffn_norm", EPS, false).linear_bias("ffn_up", 96, true);
        x + (h.unary(Unary::GeluQuick) * h.softmax().unary(Unary::Sigmoid)).unary(Unary::Relu2).linear("ffn_down", dim)
    });
    let output = x.logit_rows().layer_norm("output_norm", EPS, true).linear("output", VOCAB).value();
    Model::new("classic", g.finish(output).unwrap(), codec)
}

/// Two mixtures of experts, of which the first is gated and the second clamped, and attention whose queries meet a matrix for
/// each head. Both routers see the embedding itself, because rounding before a choice may change it.
pub fn mixture() -> Model {
    let g = Builder::new("mixture");
    let (dim, experts, width) = (64, 6, 96);
    let kv = KvSpec { heads: 1, dim_k: 40, dim_v: 32, window: None, memory: false };
    let softmax = Routing { chosen: 2, score: Score::Softmax, groups: None, normalised: true, scale: F(1.0) };
    let sigmoid = Routing { chosen: 3, score: Score::Sigmoid, normalised: false, scale: F(0.5), ..softmax };
    let x = g.embed("token_embd", VOCAB, dim);
    let x = x.repeat("layers", &[()], |x, ()| {
        let routes = x.linear("router", experts).route(&softmax, None);
        let met = |h, name, out| T::linear_routed(h, name, routes, 2, out, false);
        let h = met(x, "ffn_gate_exps", width).unary(Unary::Silu) * met(x, "ffn_up_exps", width);
        let y = met(h, "ffn_down_exps", dim).combine(routes);
        let routes = x.linear_bias("router_2", experts, true).route(&sigmoid, Some("correction"));
        let up = x.linear_routed("up_exps", routes, 3, width, true).clamp(-0.5, 1.0);
        let y = y + up.linear_routed("down_exps", routes, 3, dim, true).combine(routes);
        let x = x + y;
        let q = x.linear("attn_q", HEADS * 24).heads(HEADS);
        let q = q.slice(0, 16).linear_each("attn_k_b", 32).concat(q.slice(16, 8));
        let k = x.linear("attn_k", 40).heads(1);
        let seen = q.attend(k, k.slice(0, 32), &AttentionSpec::new(HEADS, kv, 0.2));
        x + seen.heads(HEADS).linear_each("attn_v_b", 16).merge().linear("attn_out", dim)
    });
    let output = x.logit_rows().rms_norm("output_norm", EPS).linear("output", VOCAB).value();
    let exact = |name: &str| name.contains("router") || name == "token_embd";
    Model::new("mixture", g.finish(output).unwrap(), |name| if exact(name) { Codec::F32 } else { Codec::Q8_0 })
}

/// Layers that see both ways, one of them near tokens only, biases by distance, and one vector of length 1 for each sequence.
pub fn encoder(pool: Pool) -> Model {
    let g = Builder::new("encoder");
    let (dim, head_dim) = (64, 16);
    let both_ways = ScoreBias::Buckets(Buckets { count: 8, max_distance: 30, both_ways: true });
    let x = g.embed("token_embd", VOCAB, dim).repeat("layers", &[Some(20), None], |x, window| {
        let kv = KvSpec { heads: HEADS, dim_k: head_dim, dim_v: head_dim, window: *window, memory: false };
        let spec = AttentionSpec { mask: Mask::Full, ..AttentionSpec::new(HEADS, kv, 0.25) };
        let spec = AttentionSpec { bias: window.is_none().then(|| both_ways.clone()), ..spec };
        let head = |name| x.linear_bias(name, dim, true).heads(HEADS);
        let h = head("attn_q").attend(head("attn_k"), head("attn_v"), &spec).linear_bias("attn_out", dim, true);
        let x = (x + h).layer_norm("attn_norm", EPS, true);
        let h = x.linear_bias("ffn_up", 96, true).unary(Unary::GeluTanh).linear_bias("ffn_down", dim, true);
        (x + h).layer_norm("ffn_norm", EPS, true)
    });
    let output = x.pool(pool).linear("output", VOCAB).l2_norm().value();
    Model::new("encoder", g.finish(output).unwrap(), legacy)
}

/// An encoder and a decoder of other sizes: layers of the decoder keep states of their own and recall the memory, in that order and
/// the other way round.
pub fn pair(codec: impl Fn(&str) -> Codec) -> Model {
    let dim = 64;
    let memory = KvSpec { heads: KV_HEADS, dim_k: 24, dim_v: 16, window: None, memory: true };
    let both_ways = ScoreBias::Buckets(Buckets { count: 8, max_distance: 30, both_ways: true });
    let g = Builder::new("encoder");
    let x = g.embed("token_embd", VOCAB, dim).repeat("enc", &[(); 2], |x, ()| {
        let kv = KvSpec { heads: HEADS, dim_k: 16, dim_v: 16, window: None, memory: false };
        let spec =
            AttentionSpec { mask: Mask::Full, bias: Some(both_ways.clone()), ..AttentionSpec::new(HEADS, kv, 0.25) };
        let h = x.rms_norm("attn_norm", EPS);
        let head = |name| h.linear(name, dim).heads(HEADS);
        let x = x + head("attn_q").attend(head("attn_k"), head("attn_v"), &spec).linear("attn_out", dim);
        x + feed_forward(x.rms_norm("ffn_norm", EPS), 96, Unary::Relu)
    });
    let read = x.rms_norm("enc.output_norm", EPS).repeat("dec", &[(); 3], |x, ()| {
        x.remember(x.linear("cross_k", 48).heads(KV_HEADS), x.linear("cross_v", 32).heads(KV_HEADS), memory)
    });
    let read = read.value();
    let encoder = g.finish(read).unwrap();

    let g = Builder::new("decoder");
    let own = Attention { head_dim: 16, window: None, softcap: None, qk_norm: false, bias: false };
    let spec = AttentionSpec { mask: Mask::Full, ..AttentionSpec::new(HEADS, memory, 0.2) };
    let x = g.embed("token_embd", VOCAB, dim).repeat("dec", &[true, false, true], |x, own_first| {
        let x = if *own_first { x + attention(x.rms_norm("attn_norm", EPS), &own) } else { x };
        let q = x.rms_norm("cross_norm", EPS).linear("cross_q", HEADS * 24).heads(HEADS);
        let x = x + q.recall(&spec).linear("cross_out", dim);
        let x = if *own_first { x } else { x + attention(x.rms_norm("attn_norm", EPS), &own) };
        x + feed_forward(x.rms_norm("ffn_norm", EPS), 96, Unary::Silu)
    });
    let output = x.logit_rows().rms_norm("output_norm", EPS).linear("output", VOCAB).value();
    Model::new("pair", g.finish(output).unwrap().with_encoder(encoder), codec)
}

/// One gated layer that is wide enough to be cut into pieces by size.
pub fn gated(gate: Codec, up: Codec) -> Model {
    let g = Builder::new("gated");
    let x = g.embed("token_embd", VOCAB, 512);
    let x = x.repeat("layers", &[()], |x, ()| x + feed_forward(x, 2064, Unary::Silu));
    let output = x.logit_rows().linear("output", VOCAB).value();
    Model::new("gated", g.finish(output).unwrap(), move |name| match name {
        "layers.0.ffn_gate" => gate,
        "layers.0.ffn_up" => up,
        _ => Codec::F32,
    })
}

/// A graph around two layers that each add a product of their input.
pub fn around(name: &'static str, main: impl for<'g> Fn(T<'g>, T<'g>) -> T<'g>) -> Model {
    let g = Builder::new(name);
    let x = g.embed("token_embd", VOCAB, 64);
    let before = x.linear("before", 64);
    let output = main(x, before).logit_rows().linear("output", VOCAB).value();
    Model::new(name, g.finish(output).unwrap(), |_| Codec::F32)
}

/// Layers for [`around`].
pub fn layers(x: T<'_>, count: usize) -> T<'_> {
    x.repeat("layers", &vec![(); count], |x, ()| x + x.linear("inner", 64).unary(Unary::Relu))
}

/// A layer without state before one with it.
pub fn mixed() -> Model {
    let g = Builder::new("mixed");
    let layer = Attention { head_dim: 16, window: None, softcap: None, qk_norm: false, bias: false };
    let x = g.embed("token_embd", VOCAB, 64).repeat("layers", &[false, true], |x, attends| match attends {
        true => x + attention(x.rms_norm("attn_norm", EPS), &layer),
        false => x + feed_forward(x.rms_norm("ffn_norm", EPS), 96, Unary::Silu),
    });
    let output = x.logit_rows().linear("output", VOCAB).value();
    Model::new("mixed", g.finish(output).unwrap(), |_| Codec::F32)
}

struct Attention {
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<F>,
    qk_norm: bool,
    bias: bool,
}

fn attention<'g>(h: T<'g>, a: &Attention) -> T<'g> {
    let dim = h.ty().row_len().unwrap();
    let inv_freq = (0..a.head_dim / 2).map(|i| 1e4f64.powf(-2.0 * i as f64 / a.head_dim as f64)).collect();
    let rope =
        Rope { style: RopeStyle::Half, freqs: Arc::new(RopeFreqs { inv_freq, magnitude: 1.0 }), sections: vec![] };
    let head = |name, heads| h.linear_bias(name, heads * a.head_dim, a.bias).heads(heads);
    let (mut q, mut k, v) = (head("attn_q", HEADS), head("attn_k", KV_HEADS), head("attn_v", KV_HEADS));
    if a.qk_norm {
        (q, k) = (q.rms_norm("attn_q_norm", EPS), k.rms_norm("attn_k_norm", EPS));
    }
    let kv = KvSpec { heads: KV_HEADS, dim_k: a.head_dim, dim_v: a.head_dim, window: a.window, memory: false };
    let scale = 1.0 / (a.head_dim as f32).sqrt();
    let spec = AttentionSpec { softcap: a.softcap, ..AttentionSpec::new(HEADS, kv, scale) };
    q.rope(&rope).attend(k.rope(&rope), v, &spec).linear("attn_out", dim)
}

fn feed_forward(h: T<'_>, width: usize, act: Unary) -> T<'_> {
    let dim = h.ty().row_len().unwrap();
    (h.linear("ffn_gate", width).unary(act) * h.linear("ffn_up", width)).linear("ffn_down", dim)
}
