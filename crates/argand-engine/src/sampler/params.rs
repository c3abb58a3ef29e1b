//! What a caller may ask of the sampler, in which order it happens, and how that reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One stage of the chain. A stage whose parameter is neutral does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Adds [`Sampling::logit_bias`].
    LogitBias,
    /// Divides positive and multiplies negative logits of tokens seen before (Keskar et al. 2019, CTRL).
    Repetition,
    /// Subtracts the frequency penalty once per occurrence and the presence penalty once per token seen.
    Frequency,
    /// Divides logits by the temperature.
    Temperature,
    /// Keeps the `top_k` largest logits; among equals, the lowest ids.
    TopK,
    /// Keeps the smallest set of most likely tokens whose probability reaches `top_p` (Holtzman et al. 2019).
    TopP,
    /// Keeps tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024).
    MinP,
    /// Keeps the tokens closest to the expected surprise until `typical_p` is reached (Meister et al. 2022).
    TypicalP,
}

/// The order of Hugging Face transformers: temperature before truncation.
pub const HF_ORDER: [Stage; 8] = [
    Stage::LogitBias,
    Stage::Repetition,
    Stage::Frequency,
    Stage::Temperature,
    Stage::TopK,
    Stage::TopP,
    Stage::MinP,
    Stage::TypicalP,
];

/// The order of llama.cpp: truncation on the model's own distribution, temperature last.
pub const LLAMA_CPP_ORDER: [Stage; 8] = [
    Stage::LogitBias,
    Stage::Repetition,
    Stage::Frequency,
    Stage::TopK,
    Stage::TypicalP,
    Stage::TopP,
    Stage::MinP,
    Stage::Temperature,
];

/// Parameters of the sampler. The default draws from the model's own distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Stages in the order they run, each at most once; a stage left out never runs.
    pub order: Vec<Stage>,
    /// Divisor of the logits; 0 means greedy: the largest logit after bias and penalties, lowest id among equals.
    pub temperature: f32,
    /// Tokens kept by top-k; 0 keeps all.
    pub top_k: usize,
    /// Probability kept by top-p, in `(0, 1]`; 1 keeps all.
    pub top_p: f32,
    /// Share of the largest probability below which tokens go, in `[0, 1]`; 0 keeps all.
    pub min_p: f32,
    /// Probability kept by typical-p, in `(0, 1]`; 1 keeps all.
    pub typical_p: f32,
    /// Repetition penalty, above 0; 1 changes nothing.
    pub repetition_penalty: f32,
    /// OpenAI's frequency penalty; 0 changes nothing.
    pub frequency_penalty: f32,
    /// OpenAI's presence penalty; 0 changes nothing.
    pub presence_penalty: f32,
    /// Penalties look at this many last tokens; 0 means all.
    pub penalty_window: usize,
    /// Whether frequency and presence count the prompt too (llama.cpp) or only generated tokens (OpenAI).
    pub penalize_prompt: bool,
    /// Added to the logits of these tokens; negative infinity forbids a token.
    pub logit_bias: BTreeMap<u32, f32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            order: HF_ORDER.to_vec(),
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 0,
            penalize_prompt: false,
            logit_bias: BTreeMap::new(),
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A number is outside its range.
    #[error("sampling parameter {name} is {value}, expected {expected}")]
    Range {
        /// Name of the field.
        name: &'static str,
        /// Value found.
        value: f32,
        /// Values allowed, in words.
        expected: &'static str,
    },
    /// A stage occurs twice in the order.
    #[error("sampling order names {0:?} twice, expected each stage at most once")]
    Repeated(Stage),
    /// A biased token does not exist.
    #[error("logit_bias names token {token}, but the vocabulary has {vocab} tokens")]
    BiasToken {
        /// Token found.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Order and defaults of Hugging Face transformers' `generate(do_sample=True)`.
    pub fn hf() -> Self {
        Self { top_k: 50, ..Self::default() }
    }

    /// Order and defaults of llama.cpp.
    pub fn llama_cpp() -> Self {
        Self {
            order: LLAMA_CPP_ORDER.to_vec(),
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            penalty_window: 64,
            penalize_prompt: true,
            ..Self::default()
        }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// [`SamplingError`] names the first parameter outside its range.
    pub fn check(&self, vocab: usize) -> Result<(), SamplingError> {
        let finite = |v: f32| v.is_finite();
        let share = |v: f32| v > 0.0 && v <= 1.0;
        let rules: [(&'static str, f32, bool, &'static str); 7] = [
            (
                "temperature",
                self.temperature,
                finite(self.temperature) && self.temperature >= 0.0,
                "a number from 0 up",
            ),
            ("top_p", self.top_p, share(self.top_p), "a number above 0 and at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "a number from 0 to 1"),
            ("typical_p", self.typical_p, share(self.typical_p), "a number above 0 and at most 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                "a number above 0",
            ),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "a finite number"),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "a finite number"),
        ];
        for (name, value, good, expected) in rules {
            if !good {
                return Err(SamplingError::Range { name, value, expected });
            }
        }
        for (i, stage) in self.order.iter().enumerate() {
            if self.order[..i].contains(stage) {
                return Err(SamplingError::Repeated(*stage));
            }
        }
        for (&token, &value) in &self.logit_bias {
            if token as usize >= vocab {
                return Err(SamplingError::BiasToken { token, vocab });
            }
            if value.is_nan() || value == f32::INFINITY {
                let expected = "a finite number, or negative infinity";
                return Err(SamplingError::Range { name: "logit_bias", value, expected });
            }
        }
        Ok(())
    }

    /// Whether a stage would change anything.
    pub fn is_active(&self, stage: Stage) -> bool {
        match stage {
            Stage::LogitBias => !self.logit_bias.is_empty(),
            Stage::Repetition => self.repetition_penalty != 1.0,
            Stage::Frequency => self.frequency_penalty != 0.0 || self.presence_penalty != 0.0,
            Stage::Temperature => self.temperature != 1.0,
            Stage::TopK => self.top_k > 0,
            Stage::TopP => self.top_p < 1.0,
            Stage::MinP => self.min_p > 0.0,
            Stage::TypicalP => self.typical_p < 1.0,
        }
    }

    /// The stages that will run, in order. Greedy choice needs no truncation and no temperature.
    pub fn active(&self) -> impl Iterator<Item = Stage> + '_ {
        let greedy = self.temperature == 0.0;
        let adjusts = |s: Stage| matches!(s, Stage::LogitBias | Stage::Repetition | Stage::Frequency);
        self.order.iter().copied().filter(move |s| self.is_active(*s) && (!greedy || adjusts(*s)))
    }

    /// The chain as one line, in the order it runs.
    pub fn explain(&self) -> String {
        let mut line = String::from("logits");
        let window = match self.penalty_window {
            0 => String::from("all tokens"),
            n => format!("last {n} tokens"),
        };
        for stage in self.active() {
            line.push_str(" -> ");
            let written = match stage {
                Stage::LogitBias => write!(line, "logit-bias({} tokens)", self.logit_bias.len()),
                Stage::Repetition => {
                    write!(line, "repetition({}, {window})", self.repetition_penalty)
                }
                Stage::Frequency => {
                    let whose = if self.penalize_prompt { "" } else { " generated" };
                    let (f, p) = (self.frequency_penalty, self.presence_penalty);
                    write!(line, "frequency({f}) and presence({p}, {window}{whose})")
                }
                Stage::Temperature => write!(line, "temperature({})", self.temperature),
                Stage::TopK => write!(line, "top-k({})", self.top_k),
                Stage::TopP => write!(line, "top-p({})", self.top_p),
                Stage::MinP => write!(line, "min-p({})", self.min_p),
                Stage::TypicalP => write!(line, "typical-p({})", self.typical_p),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        line.push_str(if self.temperature == 0.0 { " -> greedy" } else { " -> draw (philox4x32-10)" });
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_shows_only_what_runs_in_its_order() {
        assert_eq!(
            Sampling::llama_cpp().explain(),
            "logits -> top-k(40) -> top-p(0.95) -> min-p(0.05) -> temperature(0.8) -> draw (philox4x32-10)"
        );
        let hf = Sampling { temperature: 0.7, top_p: 0.9, ..Sampling::hf() };
        assert_eq!(hf.explain(), "logits -> temperature(0.7) -> top-k(50) -> top-p(0.9) -> draw (philox4x32-10)");
        let greedy = Sampling { temperature: 0.0, repetition_penalty: 1.1, ..Sampling::llama_cpp() };
        assert_eq!(greedy.explain(), "logits -> repetition(1.1, last 64 tokens) -> greedy");
    }

    #[test]
    fn wrong_parameters_are_named() {
        let bad = |s: Sampling| s.check(10).expect_err("out of range").to_string();
        assert!(bad(Sampling { temperature: f32::NAN, ..Sampling::hf() }).contains("temperature"));
        assert!(bad(Sampling { top_p: 0.0, ..Sampling::hf() }).contains("top_p is 0"));
        assert!(bad(Sampling { repetition_penalty: -1.0, ..Sampling::hf() }).contains("repetition_penalty"));
        assert!(bad(Sampling { order: vec![Stage::TopK, Stage::TopK], ..Sampling::hf() }).contains("twice"));
        assert!(bad(Sampling { logit_bias: [(10, 1.0)].into(), ..Sampling::hf() }).contains("token 10"));
        assert!(Sampling::llama_cpp().check(10).is_ok());
    }
}
