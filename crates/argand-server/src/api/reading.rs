//! What is asked of models that read, in the words of no protocol.

use crate::account::Caller;
use crate::app::App;
use crate::errand::{self, Done, Errand};
use crate::error::ApiError;
use crate::fields::name_of;
use crate::models::{Lease, Reading};
use argand_text::Sequence;
use serde_json::Value as Json;
use std::sync::Arc;

/// Most texts of a request.
pub const MOST_TEXTS: usize = 2048;

/// A text, or tokens that stand for one.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A text.
    Text(String),
    /// Tokens, read as they are: what the model expects around a text must be among them.
    Tokens(Vec<u32>),
}

/// Reads a text, a list of texts, tokens, or a list of lists of tokens.
///
/// # Errors
/// Something else, too many, or an empty one; names its place.
pub fn inputs(value: Json, name: &str) -> Result<Vec<Input>, ApiError> {
    let wrong = |found: &Json| {
        let found = name_of(found);
        let expected = "a string, a list of strings, a list of tokens, or a list of lists of tokens";
        ApiError::field(name, format!("{name} is or has {found}, expected {expected}"))
    };
    let tokens = |list: &[Json]| {
        let token = |id: &Json| id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong(id));
        list.iter().map(token).collect::<Result<Vec<u32>, _>>().map(Input::Tokens)
    };
    let inputs = match value {
        Json::String(text) => vec![Input::Text(text)],
        Json::Array(list) if !list.is_empty() && list.iter().all(Json::is_number) => vec![tokens(&list)?],
        Json::Array(list) => {
            let one = |value| match value {
                Json::String(text) => Ok(Input::Text(text)),
                Json::Array(list) => tokens(&list),
                other => Err(wrong(&other)),
            };
            list.into_iter().map(one).collect::<Result<Vec<_>, _>>()?
        }
        other => return Err(wrong(&other)),
    };
    let empty = |input: &Input| match input {
        Input::Text(text) => text.is_empty(),
        Input::Tokens(tokens) => tokens.is_empty(),
    };
    if let Some(i) = inputs.iter().position(empty) {
        return Err(ApiError::field(name, format!("{name}[{i}] is empty")));
    }
    if inputs.is_empty() || inputs.len() > MOST_TEXTS {
        return Err(ApiError::field(name, format!("{name} has {} texts, expected 1 to {MOST_TEXTS}", inputs.len())));
    }
    Ok(inputs)
}

/// Makes sequences of texts on a thread where that may take its time.
///
/// # Errors
/// A text is too long or cannot be tokenised.
pub async fn sequences(
    lease: &Lease<Reading>,
    make: impl FnOnce(&Reading) -> Result<Vec<Sequence>, ApiError> + Send + 'static,
) -> Result<Vec<Sequence>, ApiError> {
    let lease = lease.clone();
    let made = tokio::task::spawn_blocking(move || make(&lease)).await;
    made.map_err(|_| ApiError::internal("a mistake in reading the texts"))?
}

/// The sequences of inputs.
///
/// # Errors
/// One is too long and not to be cut, or cannot be read; names its place.
pub fn prepare(model: &Reading, inputs: &[Input], name: &str, truncate: bool) -> Result<Vec<Sequence>, ApiError> {
    let one = |(i, input): (usize, &Input)| {
        let at = format!("{name}[{i}]");
        match input {
            Input::Text(text) => {
                let whole = model.tokenizer.sequence(text, usize::MAX, false)?;
                model.fit(&at, whole, truncate.then_some(|longest| model.tokenizer.sequence(text, longest, false)))
            }
            Input::Tokens(tokens) => {
                let known = model.tokenizer.vocab_size();
                if let Some(token) = tokens.iter().find(|token| **token as usize >= known) {
                    let message = format!("{at} has token {token}, and the model has {known} tokens");
                    return Err(ApiError::field(&at, message));
                }
                let cut = |n: usize| Ok(Sequence { tokens: tokens[..n].to_vec(), types: Vec::new() });
                let whole = Sequence { tokens: tokens.clone(), types: Vec::new() };
                model.fit(&at, whole, truncate.then_some(cut))
            }
        }
    };
    inputs.iter().enumerate().map(one).collect()
}

/// What comes out for each sequence; none of them is too long.
///
/// # Errors
/// The caller may not, it cannot be taken now, or the model fails.
pub async fn read(
    app: &Arc<App>,
    caller: &Caller,
    lease: &Lease<Reading>,
    endpoint: &'static str,
    sequences: Vec<Sequence>,
) -> Result<Done<Vec<Vec<f32>>>, ApiError> {
    let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
    let errand = Errand { endpoint, model: lease.name().to_string(), read: tokens, written: 0 };
    let (lease, tenant, counters) = (lease.clone(), caller.tenant(), Arc::clone(app));
    let work = async move |tally: errand::Tally, mut signal: errand::Signal| {
        let mut ticket = lease.reader().submit(tenant, sequences)?;
        let read = tokio::select! {
            read = ticket.read() => read,
            () = signal.given_up() => {
                ticket.give_up();
                ticket.read().await
            }
        };
        tally.add(read.tokens, 0, 0);
        counters.metrics.live(read.tokens, 0);
        read.rows.map_err(|why| ApiError::unavailable(why.to_string()))
    };
    errand::run(app, caller, errand, work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inputs_are_texts_or_tokens() {
        let text = |text: &str| Input::Text(text.into());
        assert_eq!(inputs(json!("a"), "input"), Ok(vec![text("a")]));
        assert_eq!(inputs(json!(["a", "b"]), "input"), Ok(vec![text("a"), text("b")]));
        assert_eq!(inputs(json!([1, 2]), "input"), Ok(vec![Input::Tokens(vec![1, 2])]));
        assert_eq!(inputs(json!([[1], "a"]), "input"), Ok(vec![Input::Tokens(vec![1]), text("a")]));
        let many = vec!["a"; MOST_TEXTS + 1];
        for bad in [
            json!(""),
            json!([]),
            json!([""]),
            json!([[]]),
            json!([-1]),
            json!([1.5]),
            json!(["a", 1]),
            json!(5),
            json!(many),
        ] {
            assert_eq!(inputs(bad.clone(), "input").expect_err("bad").param.as_deref(), Some("input"), "{bad}");
        }
    }
}
