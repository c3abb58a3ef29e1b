//! The feed-forward part as a mixture of experts (Shazeer et al. 2017), which several families share.

use crate::Error;
use crate::decoder::Decoder;
use crate::facts::{Fact, Facts};
use argand_graph::{F, Routing, Score, T};

/// Experts in all.
pub const EXPERTS: Fact<'static> = Fact("expert_count", "num_local_experts|num_experts|n_routed_experts");
/// More experts than this are a damaged file: the largest models have some hundreds.
const MOST_EXPERTS: usize = 1024;
const CHOSEN: Fact<'static> = Fact("expert_used_count", "num_experts_per_tok|experts_per_token");
const WIDTH: Fact<'static> = Fact("expert_feed_forward_length", "moe_intermediate_size");

/// The experts of a layer and how rows find them.
#[derive(Clone, Debug)]
pub struct Experts {
    /// How many.
    pub count: usize,
    /// Width of each.
    pub width: usize,
    /// Which of them a row meets.
    pub routing: Routing,
    /// Router and experts have biases.
    pub bias: bool,
    /// The choice is moved by a weight.
    pub correction: bool,
    /// `min(gate, limit)` and `clamp(up, -limit, limit) + 1` come before the product (Agarwal et al. 2025).
    pub limit: Option<f32>,
}

impl Experts {
    /// Reads what all families have: a softmax over all experts, normalised over the chosen ones. Without a width of their
    /// own, experts are as wide as the feed-forward part.
    ///
    /// # Errors
    /// A missing or odd fact.
    pub fn read(f: &Facts<'_>, c: &Decoder) -> Result<Experts, Error> {
        let (count, chosen) = (f.positive(EXPERTS)?, f.positive(CHOSEN)?);
        if count > MOST_EXPERTS {
            return Err(f.unsupported(format!("{count} experts; at most {MOST_EXPERTS} are believed")));
        }
        if chosen > count {
            return Err(f.unsupported(format!("{chosen} of {count} experts are to be chosen")));
        }
        let routing = Routing { chosen, score: Score::Softmax, groups: None, normalised: true, scale: F(1.0) };
        let width = f.maybe_usize(WIDTH)?.unwrap_or(c.ffn);
        Ok(Experts { count, width, routing, bias: false, correction: false, limit: None })
    }

    /// The mixture, from the normed input.
    #[track_caller]
    pub fn feed_forward<'g>(&self, c: &Decoder, h: T<'g>) -> T<'g> {
        let logits = h.linear_bias("ffn_gate_inp", self.count, self.bias);
        let correction = self.correction.then_some("ffn_gate_inp_correction");
        let routes = logits.route(&self.routing, correction).named("ffn_moe_routes");
        let met = |h: T<'g>, name, out| h.linear_routed(name, routes, self.routing.chosen, out, self.bias);
        let (gate, up) = (met(h, "ffn_gate_exps", self.width), met(h, "ffn_up_exps", self.width));
        let h = match self.limit {
            None => gate.unary(c.act) * up,
            Some(limit) => gate.clamp(f32::NEG_INFINITY, limit).unary(c.act) * up.clamp(-limit, limit).offset(1.0),
        };
        met(h, "ffn_down_exps", c.dim).combine(routes).named("ffn_moe_out")
    }
}
