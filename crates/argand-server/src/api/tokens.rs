//! `/tokenize` and `/detokenize`, as llama.cpp's server has them.

use super::{Answer, aside, json};
use crate::account::Caller;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::models::AnyLease;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::json;
use std::sync::Arc;

/// `POST /tokenize`: `content` to `tokens`.
pub async fn tokenize(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: Option<String> = fields.take("model")?;
    let text: String = fields.need("content")?;
    let special = fields.take("add_special")?.unwrap_or(false);
    let parse = fields.take("parse_special")?.unwrap_or(true);
    fields.done()?;
    let lease = lease(&app, &caller, model).await?;
    let tokens = aside(|| lease.tokenizer().encode(&text, special, parse))?;
    Ok(json(json!({ "tokens": tokens })))
}

/// `POST /detokenize`: `tokens` to `content`.
pub async fn detokenize(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: Option<String> = fields.take("model")?;
    let tokens: Vec<u32> = fields.need("tokens")?;
    fields.done()?;
    let lease = lease(&app, &caller, model).await?;
    let size = lease.tokenizer().vocab_size();
    if let Some(unknown) = tokens.iter().find(|token| **token as usize >= size) {
        return Err(ApiError::field("tokens", format!("tokens has {unknown}, and the vocabulary has {size} tokens")));
    }
    Ok(json(json!({ "content": lease.tokenizer().decode(&tokens, false) })))
}

/// The model, or the first one, if the key may use it.
async fn lease(app: &App, caller: &Caller, model: Option<String>) -> Result<AnyLease, ApiError> {
    let name = app.models.canonical(&app.models.or_first(model)?)?;
    caller.sees(&name)?;
    app.models.get(&name).await
}
