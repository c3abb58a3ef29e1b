//! What OpenAI's protocols share: how tokens are chosen, when an answer ends, what may be sent without effect.

use crate::error::ApiError;
use crate::fields::Fields;
use argand_engine::Sampling;
use serde_json::{Map, Value as Json};

/// Fields that say who asks or how the service should go about it; they change nothing here.
pub const IGNORED: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "verbosity",
];

/// How the tokens of a request are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choosing {
    /// The chain.
    pub sampling: Sampling,
    /// Seed of the random numbers; none for another one each time.
    pub seed: Option<u64>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
}

/// Most texts that may end an answer, and their longest.
const STOPS: (usize, usize) = (16, 1024);

impl Choosing {
    /// Takes the fields that say it. What is not said is as in `argand chat`: llama.cpp's chain and defaults; penalties count what
    /// was generated, as OpenAI's do.
    ///
    /// # Errors
    /// A value is out of range.
    pub fn read(fields: &mut Fields) -> Result<Choosing, ApiError> {
        let usual = Sampling { penalize_prompt: false, penalty_window: 0, ..Sampling::llama_cpp() };
        let top_k: Option<i64> = fields.within("top_k", -1..=1_000_000)?;
        let sampling = Sampling {
            temperature: fields.within("temperature", 0.0..=2.0)?.unwrap_or(usual.temperature),
            top_k: top_k.map_or(usual.top_k, |k| k.max(0) as usize),
            top_p: fields.within("top_p", 0.0..=1.0)?.map_or(usual.top_p, |p: f32| p.max(f32::MIN_POSITIVE)),
            min_p: fields.within("min_p", 0.0..=1.0)?.unwrap_or(usual.min_p),
            typical_p: fields.within("typical_p", 0.0..=1.0)?.map_or(1.0, |p: f32| p.max(f32::MIN_POSITIVE)),
            repetition_penalty: fields.within("repetition_penalty", 0.01..=10.0)?.unwrap_or(1.0),
            frequency_penalty: fields.within("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence_penalty: fields.within("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            logit_bias: bias(fields)?,
            ..usual
        };
        let seed: Option<i64> = fields.take("seed")?;
        Ok(Choosing { sampling, seed: seed.map(|seed| seed as u64), stop: stop(fields, "stop")? })
    }
}

fn bias(fields: &mut Fields) -> Result<std::collections::BTreeMap<u32, f32>, ApiError> {
    let map: Map<String, Json> = fields.take("logit_bias")?.unwrap_or_default();
    let entry = |(token, value): (String, Json)| {
        let bias = value.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        match (token.parse(), bias) {
            // OpenAI's extremes mean never and always.
            (Ok(token), Some(-100.0)) => Ok((token, f32::NEG_INFINITY)),
            (Ok(token), Some(bias)) => Ok((token, bias as f32)),
            _ => Err(ApiError::field(
                "logit_bias",
                format!("logit_bias has {token:?}: {value}, expected token ids and numbers from -100 to 100"),
            )),
        }
    };
    map.into_iter().map(entry).collect()
}

/// Texts that end an answer: one, or a list.
///
/// # Errors
/// Something else, an empty text, too many or too long ones.
pub fn stop(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let wrong = |message: String| Err(ApiError::field(name, message));
    let stops = match fields.take::<Json>(name)? {
        None => Vec::new(),
        Some(Json::String(text)) => vec![text],
        Some(Json::Array(list)) => {
            let texts = list.into_iter().map(|one| one.as_str().map(str::to_string));
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => texts,
                None => return wrong(format!("{name} has something in it that is no string")),
            }
        }
        Some(other) => return wrong(format!("{name} is {other}, expected a string or a list of strings")),
    };
    if stops.len() > STOPS.0 || stops.iter().any(|stop| stop.is_empty() || stop.len() > STOPS.1) {
        return wrong(format!("{name} needs at most {} strings of 1 to {} bytes", STOPS.0, STOPS.1));
    }
    Ok(stops)
}

/// How many alternatives are to be told with each token; none when no probabilities are wanted.
///
/// # Errors
/// A value is out of range.
pub fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let wanted = fields.take::<bool>("logprobs")?.unwrap_or(false);
    let top = fields.within::<usize>("top_logprobs", 0..=20)?;
    match (wanted, top) {
        (false, Some(1..)) => Err(ApiError::field("top_logprobs", "top_logprobs needs logprobs to be true")),
        (false, _) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Choosing, ApiError> {
        Choosing::read(&mut Fields::parse(text.as_bytes()).expect("an object"))
    }

    #[test]
    fn values_mean_what_openai_says() {
        let choosing =
            read(r#"{"temperature": 0, "top_p": 0, "logit_bias": {"5": -100, "6": 1.5}, "stop": "x", "seed": -1}"#);
        let choosing = choosing.expect("good");
        assert_eq!(choosing.sampling.temperature, 0.0);
        assert_eq!(choosing.sampling.check(100), Ok(()));
        assert_eq!(choosing.sampling.logit_bias[&5], f32::NEG_INFINITY);
        assert_eq!((choosing.sampling.logit_bias[&6], choosing.seed), (1.5, Some(u64::MAX)));
        assert_eq!(choosing.stop, ["x"]);
        for (bad, param) in [
            (r#"{"temperature": 2.1}"#, "temperature"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"logit_bias": {"x": 1}}"#, "logit_bias"),
            (r#"{"logit_bias": {"1": 101}}"#, "logit_bias"),
            (r#"{"stop": [""]}"#, "stop"),
            (r#"{"stop": 7}"#, "stop"),
            (r#"{"frequency_penalty": -3}"#, "frequency_penalty"),
        ] {
            assert_eq!(read(bad).expect_err(bad).param.as_deref(), Some(param), "{bad}");
        }
    }
}
