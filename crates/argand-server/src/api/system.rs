//! How the server is.

use super::{Answer, json};
use crate::app::App;
use crate::error::ApiError;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// `GET /health`: the process lives.
pub async fn health() -> Response {
    json(json!({ "status": "ok" }))
}

/// `GET /ready`: requests should come here.
pub async fn ready(State(app): State<Arc<App>>) -> Answer {
    if app.is_ready() { Ok(json(json!({ "status": "ready" }))) } else { Err(ApiError::unavailable("not ready")) }
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut response = app.metrics.text(&app.models).into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `GET /openapi.json`: everything that can be asked, for programs.
pub async fn openapi() -> Response {
    let mut response = include_str!("../openapi.json").into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `GET /admin/v1/state`, for the administrator's page.
pub async fn state(State(app): State<Arc<App>>) -> Response {
    json(app.metrics.state(&app.models))
}

/// `POST /v1/images/generations`.
pub async fn no_images() -> Answer {
    Err(ApiError::not_implemented("this server makes no pictures yet"))
}
