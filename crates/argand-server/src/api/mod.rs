//! The endpoints, and what every request passes through: its origin, its key, the bounds of its body.

mod admin;
mod asking;
mod chat;
mod completions;
mod decisions;
mod embeddings;
mod messages;
mod models;
mod moderations;
mod questions;
mod reading;
mod rerank;
mod responses;
mod sampling;
mod sse;
mod system;
mod tokens;

pub use responses::Kept;

use crate::app::App;
use crate::error::ApiError;
use crate::pages;
use argand_ledger::Scope;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Answer = Result<Response, ApiError>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that can be asked.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(system::health))
        .route("/ready", get(system::ready))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(system::openapi))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/input_tokens", post(responses::count))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/rerank", post(rerank::create))
        .route("/rerank", post(rerank::create))
        .route("/v1/moderations", post(moderations::create))
        .route("/v1/decisions", post(decisions::create))
        .route("/v1/images/generations", post(system::no_images))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/admin/v1/state", get(system::state))
        .route("/admin/v1/keys", get(admin::keys).post(admin::create_key))
        .route("/admin/v1/keys/{id}", delete(admin::revoke_key))
        .route("/admin/v1/usage", get(admin::usage))
        .route("/admin/v1/models/{id}/{action}", post(models::manage))
        .fallback(async |request: Request| -> Answer {
            // Pages are seen without a key; what they show is not.
            if let Some(page) = pages::find(request.uri().path()) {
                return match *request.method() {
                    Method::GET | Method::HEAD => Ok(page),
                    _ => {
                        let mut response = wrong_method(&request).into_response();
                        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                        Ok(response)
                    }
                };
            }
            Err(ApiError::not_found(format!("there is no {}", request.uri().path())))
        })
        .method_not_allowed_fallback(async |request: Request| -> Answer { Err(wrong_method(&request)) })
        // The configuration bounds bodies, in `check`.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&app), admit))
        .layer(from_fn_with_state(Arc::clone(&app), frame))
        .with_state(app)
}

fn wrong_method(request: &Request) -> ApiError {
    let message = format!("{} cannot be asked with {}", request.uri().path(), request.method());
    ApiError::bad(message).with_status(StatusCode::METHOD_NOT_ALLOWED).with_code("method_not_allowed")
}

/// Outermost: a name for the request, and errors in the words of the protocol that is spoken.
async fn frame(State(_): State<Arc<App>>, request: Request, next: Next) -> Response {
    let anthropic = request.uri().path().starts_with("/v1/messages");
    let id = HeaderValue::from_str(&new_id("req_")).unwrap_or(HeaderValue::from_static("req"));
    let mut response = next.run(request).await;
    let told = response.extensions_mut().remove::<ApiError>();
    let status = response.status();
    match told {
        Some(error) if anthropic => response = error.response(&error.anthropic()),
        // The framework refuses a path or a query that is no text by itself, in words that are no JSON.
        None if status.is_client_error() => {
            let error = ApiError::bad("the path or the query of the request cannot be read").with_status(status);
            response = error.response(&if anthropic { error.anthropic() } else { error.openai() });
        }
        _ => {}
    }
    let headers = response.headers_mut();
    if anthropic {
        headers.insert(HeaderName::from_static("request-id"), id.clone());
    }
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Lets in who may come in, with the body that may be brought.
async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match check(&app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn check(app: &App, request: &mut Request) -> Result<(), ApiError> {
    let path = request.uri().path();
    same_origin(app, request.headers())?;
    if matches!(path, "/health" | "/ready") || pages::find(path).is_some() {
        return Ok(());
    }
    let idempotency = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_string);
    if idempotency.as_ref().is_some_and(|key| !(1..=255).contains(&key.len())) {
        return Err(ApiError::bad("Idempotency-Key needs 1 to 255 bytes"));
    }
    let caller = app.authenticate(secret(request.headers())?, idempotency).await?;
    if let Some(scope) = scope(path) {
        caller.permits(scope)?;
    }
    request.extensions_mut().insert(caller);
    if *request.method() == Method::POST {
        let body = std::mem::replace(request.body_mut(), Body::empty());
        let read = to_bytes(body, app.config.max_body_bytes);
        let bytes = tokio::time::timeout(app.config.read_timeout(), read).await.map_err(|_| {
            let error = ApiError::bad("the body of the request did not arrive in time");
            error.with_status(StatusCode::REQUEST_TIMEOUT)
        })?;
        let bytes = bytes.map_err(|error| {
            let most = app.config.max_body_bytes;
            let large =
                std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("length limit"));
            let message = format!("the body of the request is larger than {most} bytes");
            if large {
                ApiError::bad(message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            } else {
                ApiError::bad(error.to_string())
            }
        })?;
        *request.body_mut() = Body::from(bytes);
    }
    Ok(())
}

/// What a key has to be for; none where any key will do.
fn scope(path: &str) -> Option<Scope> {
    match path {
        "/v1/embeddings" | "/v1/rerank" | "/rerank" => Some(Scope::Embeddings),
        "/metrics" => Some(Scope::Usage),
        _ if path.starts_with("/admin/") => Some(Scope::Admin),
        "/openapi.json" => None,
        _ if path.starts_with("/v1/models") => None,
        _ => Some(Scope::Inference),
    }
}

/// Web pages of others may not use a key that a browser keeps.
fn same_origin(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = origin.split_once("://").is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest == host);
    if (own && !host.is_empty()) || app.config.origins.iter().any(|known| known == origin) {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "pages of {origin:?} may not ask here; the setting `origins` of the server names who may"
    )))
}

/// The key of a request, as OpenAI's clients send it or as Anthropic's do.
fn secret(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret.trim());
    bearer.or_else(|| text(HeaderName::from_static("x-api-key"))).filter(|secret| !secret.is_empty()).ok_or_else(|| {
        ApiError::unauthorized("no key was sent; send `Authorization: Bearer KEY` (`argand key create` makes one)")
    })
}

/// A name that nothing else has.
pub(crate) fn new_id(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    let hash = || RandomState::new().hash_one(count);
    format!("{prefix}{:016x}{:08x}", hash(), hash() as u32)
}

/// Work that takes long where texts are long. Everybody else goes on on other threads meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn json(value: serde_json::Value) -> Response {
    Json(value).into_response()
}
