//! `/tokenize` and `/detokenize`, as llama.cpp's server has them.

use super::{Answer, json};
use crate::app::App;
use crate::fields::Fields;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::json;
use std::sync::Arc;

/// `POST /tokenize`: `content` to `tokens`.
pub async fn tokenize(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: Option<String> = fields.take("model")?;
    let text: String = fields.need("content")?;
    let special = fields.take("add_special")?.unwrap_or(false);
    let parse = fields.take("parse_special")?.unwrap_or(true);
    fields.done()?;
    let lease = app.models.get(&app.models.or_first(model)?).await?;
    let tokens = lease.tokenizer().encode(&text, special, parse)?;
    Ok(json(json!({ "tokens": tokens })))
}

/// `POST /detokenize`: `tokens` to `content`.
pub async fn detokenize(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let mut fields = Fields::parse(&body)?;
    let model: Option<String> = fields.take("model")?;
    let tokens: Vec<u32> = fields.need("tokens")?;
    fields.done()?;
    let lease = app.models.get(&app.models.or_first(model)?).await?;
    Ok(json(json!({ "content": lease.tokenizer().decode(&tokens, false) })))
}
