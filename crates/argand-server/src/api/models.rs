//! `/v1/models`, and what an administrator does with them.

use super::{Answer, json};
use crate::account::Caller;
use crate::app::App;
use crate::error::ApiError;
use axum::Extension;
use axum::extract::{Path, State};
use serde_json::json;
use std::sync::Arc;

/// `GET /v1/models`.
pub async fn list(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Answer {
    app.models.look().await;
    let states = app.models.states();
    let mine = states.iter().filter(|state| caller.sees(&state.id).is_ok());
    let data: Vec<_> = mine.map(|state| state.openai(app.started())).collect();
    Ok(json(json!({ "object": "list", "data": data })))
}

/// `GET /v1/models/{id}`; names may have slashes in them.
pub async fn one(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>, Path(id): Path<String>) -> Answer {
    let name = app.models.canonical(&id)?;
    caller.sees(&name)?;
    app.models.look().await;
    let state = app.models.states().into_iter().find(|state| state.id == name);
    let state = state.ok_or_else(|| ApiError::no_model(&id))?;
    Ok(json(state.openai(app.started())))
}

/// `POST /admin/v1/models/{id}/{action}`.
pub async fn manage(State(app): State<Arc<App>>, Path((id, action)): Path<(String, String)>) -> Answer {
    match action.as_str() {
        "load" => drop(app.models.get(&id).await?),
        "unload" => app.models.unload(&id)?,
        "pin" => app.models.pin(&id, true)?,
        "unpin" => app.models.pin(&id, false)?,
        _ => return Err(ApiError::not_found(format!("{action:?} is none of load, unload, pin, unpin"))),
    }
    let name = app.models.canonical(&id)?;
    let state = app.models.states().into_iter().find(|state| state.id == name);
    Ok(json(state.map_or(json!({}), |state| state.json())))
}
