//! `/v1/rerank`, as Jina, Cohere and their clients have it.

use super::reading::{MOST_TEXTS, read, sequences};
use super::{Answer, json, new_id};
use crate::account::Caller;
use crate::answer::Answers;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{Fields, name_of};
use crate::models::Ability;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// `POST /v1/rerank`, `POST /rerank`. Documents are in the answer only if `return_documents` asks for them; texts that are too
/// long are an error unless `truncate` has the longer one of query and document cut.
pub async fn create(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: String = fields.need("model")?;
    let query: String = fields.need("query")?;
    let given: Vec<Json> = fields.need("documents")?;
    let top: usize = fields.within("top_n", 1..=usize::MAX)?.unwrap_or(usize::MAX);
    let tell = fields.take("return_documents")?.unwrap_or(false);
    let truncate = fields.take("truncate")?.unwrap_or(false);
    fields.ignore(&["user"]);
    fields.refuse(&[("max_tokens_per_doc", "send `truncate`"), ("max_chunks_per_doc", "documents are read whole")])?;
    fields.done()?;
    let texts = documents(&given)?;

    caller.sees(&app.models.canonical(&model)?)?;
    let lease = app.models.reader(&model, Ability::Rerank).await?;
    let make = texts.clone();
    let sequences = sequences(&lease, move |model| {
        let pair = |(i, text): (usize, &String)| {
            let whole = model.tokenizer.pair(&query, text, usize::MAX)?;
            let cut = |longest| model.tokenizer.pair(&query, text, longest);
            model.fit(&format!("documents[{i}]"), whole, truncate.then_some(cut))
        };
        make.iter().enumerate().map(pair).collect()
    });
    let done = read(&app, &caller, &lease, "rerank", sequences.await?).await?;
    let scores: Vec<f64> = done.value.iter().flat_map(|row| lease.probabilities(row)).collect();
    let results = ranked(&scores, top).into_iter().map(|i| {
        let mut result = json!({ "index": i, "relevance_score": scores[i] });
        if tell {
            result["document"] = json!({ "text": texts[i] });
        }
        result
    });
    let tokens = done.total.prompt;
    let body = json!({
        "id": new_id("rerank-"), "object": "list", "model": lease.name(), "results": results.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Ok(Answers::with_limits(&done.hold, json(body)))
}

/// Texts: themselves, or `{"text": ...}`.
fn documents(given: &[Json]) -> Result<Vec<String>, ApiError> {
    if given.is_empty() || given.len() > MOST_TEXTS {
        let message = format!("documents has {} of them, expected 1 to {MOST_TEXTS}", given.len());
        return Err(ApiError::field("documents", message));
    }
    let text = |(i, one): (usize, &Json)| match one.as_str().or_else(|| one["text"].as_str()) {
        Some(text) => Ok(text.to_string()),
        None => {
            let at = format!("documents[{i}]");
            let message = format!("{at} is {} without text, expected a string or an object with `text`", name_of(one));
            Err(ApiError::field(&at, message))
        }
    };
    given.iter().enumerate().map(text).collect()
}

/// Places of the largest scores, the largest first; of equal ones the first.
fn ranked(scores: &[f64], top: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(top);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_texts() {
        assert_eq!(documents(&[json!("a"), json!({ "text": "b", "title": "c" })]), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(documents(&[]).expect_err("none").param.as_deref(), Some("documents"));
        assert_eq!(documents(&[json!("a"), json!(5)]).expect_err("5").param.as_deref(), Some("documents[1]"));
    }

    #[test]
    fn the_most_relevant_comes_first() {
        assert_eq!(ranked(&[0.1, 0.9, 0.5, 0.9], usize::MAX), [1, 3, 2, 0]);
        assert_eq!(ranked(&[0.1, 0.9, 0.5], 2), [1, 2]);
    }
}
