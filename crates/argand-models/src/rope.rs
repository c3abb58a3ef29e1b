//! Frequencies of rotary embeddings with every scaling that checkpoints ask for. All of it is host code in f64; the graph
//! sees a table of angles.

use crate::Error;
use crate::facts::{Fact, Facts};
use crate::names::hf;
use argand_graph::{Rope, RopeFreqs, RopeStyle};
use argand_weights::Value;
use std::f64::consts::PI;
use std::sync::Arc;

const BASE: Fact<'static> = Fact("rope.freq_base", "rope_theta|rotary_emb_base");
const ROT: Fact<'static> = Fact("rope.dimension_count", "");
const KIND: Fact<'static> = Fact("rope.scaling.type", "");
const FACTOR: Fact<'static> = Fact("rope.scaling.factor", "factor");
const MAGNITUDE: Fact<'static> = Fact("rope.scaling.attn_factor", "attention_factor");
const ORIGINAL: Fact<'static> = Fact("rope.scaling.original_context_length", "original_max_position_embeddings");

/// Tensors of GGUF files that divide frequencies.
const LLAMA_3: &str = "rope_freqs.weight";
const LONG: [(&str, &str); 2] = [("long", "rope_factors_long.weight"), ("short", "rope_factors_short.weight")];

/// How YaRN makes scores larger for contexts that are `factor` times longer (Peng et al. 2023).
fn grown(factor: f64, k: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * k * factor.ln() + 1.0 }
}

/// What a configuration says of a rotary embedding. Newer Hugging Face configurations put all of it under
/// `rope_parameters`, older ones under `rope_scaling` and beside it.
pub struct RopeConfig<'f, 'a> {
    facts: &'f Facts<'a>,
    /// Components of a head that turn.
    rot: usize,
    /// Base of the frequencies.
    base: f64,
    /// Whether the scaling of the configuration applies.
    scaled: bool,
    /// Where `config.json` has the fields, the most specific group first.
    groups: Vec<String>,
}

impl<'f, 'a> RopeConfig<'f, 'a> {
    /// Reads the usual fields for heads of `head_dim` components.
    ///
    /// # Errors
    /// An odd fact.
    pub fn read(facts: &'f Facts<'a>, head_dim: usize) -> Result<Self, Error> {
        Self::of_layers(facts, head_dim, "full_attention")
    }

    /// The same for the layers of one kind, where the configuration tells them apart.
    ///
    /// # Errors
    /// An odd fact.
    pub fn of_layers(facts: &'f Facts<'a>, head_dim: usize, kind: &str) -> Result<Self, Error> {
        let groups = vec![format!("rope_parameters.{kind}"), "rope_scaling".into(), "rope_parameters".into()];
        let mut config = RopeConfig { facts, rot: 0, base: 10_000.0, scaled: true, groups };
        config.base = config.field(BASE)?.unwrap_or(config.base);
        let part = config.field(hf("partial_rotary_factor|rotary_pct"))?;
        let base = config.base;
        let said = if facts.is_gguf() { facts.maybe_usize(ROT)? } else { None };
        let rot = said.unwrap_or((head_dim as f64 * part.unwrap_or(1.0)) as usize);
        if rot % 2 != 0 || rot > head_dim || base <= 0.0 {
            return Err(facts.unsupported(format!("rotary embedding of {rot} of {head_dim} components, base {base}")));
        }
        facts.tell(ROT, Value::U32(rot as u32));
        Ok(RopeConfig { rot, ..config })
    }

    /// Components of a head that turn.
    pub fn rot(&self) -> usize {
        self.rot
    }

    /// The same with another base and without the scaling.
    pub fn unscaled(self, base: f64) -> Self {
        RopeConfig { base, scaled: false, ..self }
    }

    /// The embedding with its angles.
    ///
    /// # Errors
    /// An odd or missing fact, or a scaling that is not known.
    pub fn rope(&self) -> Result<Rope, Error> {
        let freqs = if self.scaled {
            self.scaled_freqs()?
        } else {
            RopeFreqs { inv_freq: self.plain(self.base), magnitude: 1.0 }
        };
        let listed = |group: &String| self.facts.words(hf(&format!("{group}.mrope_section"))).transpose();
        let sections = self.groups.iter().find_map(listed).transpose()?;
        let sections = sections.unwrap_or_default().iter().map(|pairs| pairs.parse().ok()).collect::<Option<_>>();
        let sections = sections.ok_or_else(|| self.facts.unsupported("`mrope_section` is not a list of numbers"))?;
        Ok(Rope { style: RopeStyle::Half, freqs: Arc::new(freqs), sections })
    }

    /// `base^(-2i / rot)` (Su et al. 2021).
    fn plain(&self, base: f64) -> Vec<f64> {
        (0..self.rot / 2).map(|i| base.powf(-2.0 * i as f64 / self.rot as f64)).collect()
    }

    /// A field of the scaling.
    fn field(&self, fact: Fact<'_>) -> Result<Option<f64>, Error> {
        if self.facts.is_gguf() {
            return self.facts.maybe_f64(fact);
        }
        for group in &self.groups {
            for name in fact.1.split('|') {
                if let Some(v) = self.facts.maybe_f64(hf(&format!("{group}.{name}")))? {
                    self.tell(fact, v);
                    return Ok(Some(v));
                }
            }
        }
        let found = self.facts.maybe_f64(hf(fact.1))?;
        found.into_iter().for_each(|v| self.tell(fact, v));
        Ok(found)
    }

    /// Keeps a field for a GGUF file, where it says of the scaling only what no tensor says, and lengths as whole numbers.
    fn tell(&self, fact: Fact<'_>, v: f64) {
        let scaling = fact.0.starts_with("rope.scaling.");
        let said = match self.kind() {
            Ok("linear") => true,
            // Other readers multiply YaRN's own factor by the one of the file.
            Ok("yarn") => fact.0 != MAGNITUDE.0,
            Ok("longrope" | "su") => fact.0 != FACTOR.0,
            _ => !scaling,
        };
        if said {
            self.facts.tell(fact, if fact.0 == ORIGINAL.0 { Value::U32(v as u32) } else { Value::F32(v as f32) });
        }
    }

    fn need(&self, fact: Fact<'_>) -> Result<f64, Error> {
        self.field(fact)?.ok_or_else(|| {
            self.facts.unsupported(format!(
                "the rope scaling lacks its field `{}`",
                if self.facts.is_gguf() { fact.0 } else { fact.1 }
            ))
        })
    }

    fn kind(&self) -> Result<&'a str, Error> {
        if self.facts.is_gguf() {
            // Old files have a factor and no type.
            let scaled = self.facts.maybe_f64(FACTOR)?.is_some_and(|factor| factor != 0.0 && factor != 1.0);
            let type_ = self.facts.str(KIND)?;
            return Ok(type_.unwrap_or(if scaled { "linear" } else { "default" }));
        }
        let names = |group: &String| [format!("{group}.rope_type"), format!("{group}.type")];
        let said = self.groups.iter().flat_map(names).find_map(|path| self.facts.str(hf(&path)).transpose());
        let kind = said.transpose()?.unwrap_or("default");
        // The others are unknown there, or told by tensors.
        if matches!(kind, "linear" | "yarn") {
            self.facts.tell(KIND, Value::Str(kind.to_string()));
        }
        Ok(kind)
    }

    fn scaled_freqs(&self) -> Result<RopeFreqs, Error> {
        let plain = self.plain(self.base);
        if let Some(factors) = self.facts.tensor_values(LLAMA_3).filter(|_| self.facts.is_gguf()) {
            return self.divided(plain, &factors, 1.0);
        }
        let long = self.facts.tensor_values(LONG[0].1).filter(|_| self.facts.is_gguf());
        match (self.kind()?, long) {
            (_, Some(_)) | ("longrope" | "su", _) => self.long_rope(plain),
            ("default" | "none" | "mrope", _) => Ok(RopeFreqs { inv_freq: plain, magnitude: 1.0 }),
            ("linear", _) => {
                let factor = self.need(FACTOR)?;
                Ok(RopeFreqs { inv_freq: plain.iter().map(|f| f / factor).collect(), magnitude: 1.0 })
            }
            ("dynamic", _) => self.dynamic(),
            ("yarn", _) => self.yarn(&plain),
            ("llama3", _) => self.llama3(&plain),
            (other, _) => Err(self.facts.unsupported(format!("rope scaling `{other}` is not known"))),
        }
    }

    fn divided(&self, plain: Vec<f64>, factors: &[f64], magnitude: f64) -> Result<RopeFreqs, Error> {
        if factors.len() != plain.len() || factors.iter().any(|f| !(f.is_finite() && *f > 0.0)) {
            let what =
                format!("{} rope factors for {} frequencies, or one is not positive", factors.len(), plain.len());
            return Err(self.facts.unsupported(what));
        }
        let inv_freq = plain.iter().zip(factors).map(|(f, k)| f / k).collect();
        Ok(RopeFreqs { inv_freq, magnitude: magnitude as f32 })
    }

    /// The length that the model was first trained for.
    fn original(&self) -> Result<f64, Error> {
        match self.field(ORIGINAL)? {
            Some(v) => Ok(v),
            None => Ok(self.facts.usize(crate::facts::CONTEXT)? as f64),
        }
    }

    /// NTK-aware scaling by the length that is to be run (as transformers' `dynamic`).
    fn dynamic(&self) -> Result<RopeFreqs, Error> {
        let factor = self.need(FACTOR)?;
        let (trained, wanted) = (self.original()?, self.facts.context()? as f64);
        let rot = self.rot as f64;
        let stretch = factor * wanted.max(trained) / trained - (factor - 1.0);
        let base = self.base * stretch.powf(rot / (rot - 2.0));
        Ok(RopeFreqs { inv_freq: self.plain(base), magnitude: 1.0 })
    }

    /// Low frequencies are stretched, high ones kept, with a smooth passage (Llama 3.1).
    fn llama3(&self, plain: &[f64]) -> Result<RopeFreqs, Error> {
        let factor = self.need(FACTOR)?;
        let low = self.need(hf("low_freq_factor"))?;
        let high = self.need(hf("high_freq_factor"))?;
        let trained = self.need(ORIGINAL)?;
        let stretch = |f: &f64| {
            let turns = trained * f / (2.0 * PI);
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            f * keep + f / factor * (1.0 - keep)
        };
        let inv_freq: Vec<f64> = plain.iter().map(stretch).collect();
        let factors: Vec<f64> = plain.iter().zip(&inv_freq).map(|(plain, f)| plain / f).collect();
        self.facts.tell_tensor(LLAMA_3, &factors);
        Ok(RopeFreqs { inv_freq, magnitude: 1.0 })
    }

    /// YaRN (Peng et al. 2023).
    fn yarn(&self, plain: &[f64]) -> Result<RopeFreqs, Error> {
        let factor = self.need(FACTOR)?;
        let trained = self.original()?;
        let or = |fact, default| self.field(fact).map(|v| v.unwrap_or(default));
        let fast = or(Fact("rope.scaling.yarn_beta_fast", "beta_fast"), 32.0)?;
        let slow = or(Fact("rope.scaling.yarn_beta_slow", "beta_slow"), 1.0)?;
        let (rot, base) = (self.rot as f64, self.base);
        let turning = |turns: f64| rot * (trained / (turns * 2.0 * PI)).ln() / (2.0 * base.ln());
        let whole = self.facts.bool(hf("rope_scaling.truncate|rope_parameters.truncate"))?.unwrap_or(true);
        let (low, high) = (turning(fast), turning(slow));
        let (low, high) = if whole { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(rot - 1.0));
        let width = if low == high { 0.001 } else { high - low };
        let mix = |(i, f): (usize, &f64)| {
            let stretched = ((i as f64 - low) / width).clamp(0.0, 1.0);
            f / factor * stretched + f * (1.0 - stretched)
        };
        let magnitude = match self.field(MAGNITUDE)? {
            Some(v) => v,
            None => self.yarn_magnitude(factor)?,
        };
        Ok(RopeFreqs { inv_freq: plain.iter().enumerate().map(mix).collect(), magnitude: magnitude as f32 })
    }

    fn yarn_magnitude(&self, factor: f64) -> Result<f64, Error> {
        // GGUF files keep one of the two words only: no model tells them apart.
        let one = if self.facts.is_gguf() { self.mscale_all()? } else { self.field(hf("mscale"))? };
        Ok(match (one, self.mscale_all()?) {
            (Some(one), Some(all)) if one != 0.0 && all != 0.0 => grown(factor, one) / grown(factor, all),
            _ => grown(factor, 1.0),
        })
    }

    fn mscale_all(&self) -> Result<Option<f64>, Error> {
        const ALL: Fact<'_> = Fact("rope.scaling.yarn_log_multiplier", "mscale_all_dim");
        let value = self.field(ALL)?;
        value.into_iter().for_each(|v| self.tell(ALL, v / 10.0));
        Ok(value.map(|v| if self.facts.is_gguf() { 10.0 * v } else { v }))
    }

    /// Factor of the scores of attention where YaRN scales all components and not only those that turn (DeepSeek-AI 2024).
    ///
    /// # Errors
    /// An odd or missing fact.
    pub fn attention_factor(&self) -> Result<f32, Error> {
        let all = if self.kind()? == "yarn" { self.mscale_all()? } else { None };
        Ok(match all {
            Some(all) => grown(self.need(FACTOR)?, all).powi(2) as f32,
            None => 1.0,
        })
    }

    /// LongRoPE (Ding et al. 2024): a factor for each frequency, one list for short and one for long sequences.
    fn long_rope(&self, plain: Vec<f64>) -> Result<RopeFreqs, Error> {
        let (trained, longest) = (self.original()?, self.facts.usize(crate::facts::CONTEXT)? as f64);
        let which = usize::from(self.facts.context()? as f64 <= trained);
        let mut factors = Vec::new();
        for (list, tensor) in LONG {
            let found = if self.facts.is_gguf() {
                self.facts.tensor_values(tensor)
            } else {
                let lists =
                    self.groups.iter().map(|group| self.facts.maybe_f64s(hf(&format!("{group}.{list}_factor"))));
                lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next()
            };
            found.iter().for_each(|found| self.facts.tell_tensor(tensor, found));
            factors.push(found);
        }
        let chosen = factors.swap_remove(which);
        let chosen =
            chosen.ok_or_else(|| self.facts.unsupported(format!("LongRoPE without its {} factors", LONG[which].0)))?;
        let magnitude = match self.field(MAGNITUDE)? {
            Some(v) => v,
            None => {
                let factor = self.field(hf("factor"))?.unwrap_or(longest / trained);
                if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / trained.ln()).sqrt() }
            }
        };
        self.facts.tell(MAGNITUDE, Value::F32(magnitude as f32));
        self.divided(plain, &chosen, magnitude)
    }
}
