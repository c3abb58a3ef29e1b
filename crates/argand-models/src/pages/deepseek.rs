//! DeepSeek V2 and V3 (DeepSeek-AI 2024): latent attention, many small experts of which some are shared by all rows.

use crate::decoder::Decoder;
use crate::facts::{Fact, Facts};
use crate::latent::Latent;
use crate::moe::Experts;
use crate::names::{Fix, Heads, Name, hf, name};
use crate::rope::RopeConfig;
use crate::{Error, Page};
use argand_graph::{F, Graph, Groups, Rope, RopeStyle, Routing, Score, T};

/// The architecture.
pub const PAGE: Page =
    Page { name: "DeepSeek", gguf: &["deepseek2"], hf: &["deepseek_v2", "deepseek_v3"], names: NAMES, graph };

const KV_B: &str = "model.layers.{}.self_attn.kv_b_proj";

const NAMES: &[Name] = &[
    name("attn_q_a", "blk.{}.attn_q_a", "model.layers.{}.self_attn.q_a_proj"),
    name("attn_q_a_norm", "blk.{}.attn_q_a_norm", "model.layers.{}.self_attn.q_a_layernorm"),
    name("attn_q_b", "blk.{}.attn_q_b", "model.layers.{}.self_attn.q_b_proj"),
    name("attn_kv_a_mqa", "blk.{}.attn_kv_a_mqa", "model.layers.{}.self_attn.kv_a_proj_with_mqa"),
    name("attn_kv_a_norm", "blk.{}.attn_kv_a_norm", "model.layers.{}.self_attn.kv_a_layernorm"),
    name("attn_k_b", "blk.{}.attn_k_b|blk.{}.attn_kv_b", KV_B).fixed(Fix::LatentHead(Heads::Key)),
    name("attn_v_b", "blk.{}.attn_v_b|blk.{}.attn_kv_b", KV_B).fixed(Fix::LatentHead(Heads::Value)),
    name("ffn_gate_inp_correction", "blk.{}.exp_probs_b.bias", "model.layers.{}.mlp.gate.e_score_correction_bias"),
    name("ffn_gate_shexp", "blk.{}.ffn_gate_shexp", "model.layers.{}.mlp.shared_experts.gate_proj"),
    name("ffn_up_shexp", "blk.{}.ffn_up_shexp", "model.layers.{}.mlp.shared_experts.up_proj"),
    name("ffn_down_shexp", "blk.{}.ffn_down_shexp", "model.layers.{}.mlp.shared_experts.down_proj"),
];

fn graph(f: &Facts<'_>) -> Result<Graph, Error> {
    let (c, l) = (Decoder::read(f)?, Latent::read(f)?);
    let config = RopeConfig::read(f, l.turned)?;
    if f.bool(hf("rope_interleave"))? == Some(false) {
        return Err(f.unsupported("`rope_interleave` that is false"));
    }
    // Both kinds of files keep the components that turn together side by side.
    let rope = Rope { style: RopeStyle::Pairs, ..config.rope()? };
    let scale = config.attention_factor()? / ((l.nope + l.turned) as f32).sqrt();
    let dense = f.maybe_usize(Fact("leading_dense_block_count", "first_k_dense_replace"))?.unwrap_or(0);
    let period = f.maybe_usize(hf("moe_layer_freq"))?.unwrap_or(1).max(1);
    let mixed: Vec<bool> = (0..c.layers).map(|i| i >= dense && i.is_multiple_of(period)).collect();
    let experts = experts(f, &c)?;
    let shared = f.maybe_usize(Fact("expert_shared_count", "n_shared_experts"))?.unwrap_or(0) * experts.width;
    c.graph("deepseek", &mixed, |x, mixed| {
        let x = x + l.attention(&c, c.norm(x, "attn_norm"), &rope, scale);
        let h = c.norm(x, "ffn_norm");
        x + match (*mixed, shared) {
            (false, _) => c.feed_forward(h),
            (true, 0) => experts.feed_forward(&c, h),
            (true, width) => experts.feed_forward(&c, h) + shared_experts(&c, h, width),
        }
    })
}

fn shared_experts<'g>(c: &Decoder, h: T<'g>, width: usize) -> T<'g> {
    let gate = h.linear("ffn_gate_shexp", width).unary(c.act);
    (gate * h.linear("ffn_up_shexp", width)).linear("ffn_down_shexp", c.dim)
}

fn experts(f: &Facts<'_>, c: &Decoder) -> Result<Experts, Error> {
    let e = Experts::read(f, c)?;
    // V3 has sigmoids and a correction; configurations of V2 name neither.
    let function = if f.is_gguf() { f.maybe_usize(Fact("expert_gating_func", ""))? } else { None };
    let sigmoid = match (function, f.str(hf("scoring_func"))?) {
        (None, None) => f.str(hf("model_type"))? == Some("deepseek_v3"),
        (Some(1), _) | (None, Some("softmax")) => false,
        (Some(2), _) | (None, Some("sigmoid")) => true,
        (Some(other), _) => return Err(f.unsupported(format!("`expert_gating_func` {other}"))),
        (None, Some(other)) => return Err(f.unsupported(format!("`scoring_func` {other}"))),
    };
    let count = f.maybe_usize(Fact("expert_group_count", "n_group"))?.unwrap_or(1);
    let limited = match f.str(hf("topk_method"))? {
        Some("greedy") => false,
        None | Some("group_limited_greedy" | "noaux_tc") => count > 1,
        Some(other) => return Err(f.unsupported(format!("`topk_method` {other}"))),
    };
    let kept = f.maybe_usize(Fact("expert_group_used_count", "topk_group"))?.unwrap_or(count);
    let best = if sigmoid { 2 } else { 1 };
    let normalised = f.bool(Fact("expert_weights_norm", "norm_topk_prob"))?.unwrap_or(sigmoid);
    let routing = Routing {
        chosen: e.routing.chosen,
        score: if sigmoid { Score::Sigmoid } else { Score::Softmax },
        groups: limited.then_some(Groups { count, kept, best }),
        normalised,
        scale: F(f.maybe_f64(Fact("expert_weights_scale", "routed_scaling_factor"))?.unwrap_or(1.0) as f32),
    };
    Ok(Experts { routing, correction: sigmoid, ..e })
}
