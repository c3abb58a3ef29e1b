//! What goes wrong, in words that clients understand.

use crate::load::Full;
use argand_engine::AddError;
use argand_engine::sampler::SamplingError;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use std::time::Duration;

/// An answer that is none, with what the client can do about it. Written as OpenAI does, or as Anthropic does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Class, in OpenAI's words.
    pub kind: &'static str,
    /// What was found, what was expected, what to do.
    pub message: String,
    /// Field of the request that is at fault.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, kind, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// The request cannot be understood or asks for what cannot be.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field of the request is at fault.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        ApiError { param: Some(name.to_string()), ..Self::bad(message) }
    }

    /// The engine did not take a request whose prompt stood in the field `prompt`.
    pub fn refused(error: AddError, prompt: &str) -> Self {
        let message = error.to_string();
        match error {
            AddError::PromptTooLong { .. } | AddError::PromptNeedsPages { .. } | AddError::SourceTooLong { .. } => {
                Self::field(prompt, message).with_code("context_length_exceeded")
            }
            AddError::Token { .. } | AddError::EmptyPrompt => Self::field(prompt, message),
            AddError::Sampling(SamplingError::BiasToken { .. }) => Self::field("logit_bias", message),
            AddError::Sampling(SamplingError::Range { name, .. }) => Self::field(name, message),
            _ => Self::bad(message),
        }
    }

    /// Nobody is known by this key.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
        ApiError { code: Some("invalid_api_key"), ..error }
    }

    /// The key is known and may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        ApiError { code: Some("not_found"), ..Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message) }
    }

    /// There is no such model.
    pub fn no_model(name: &str) -> Self {
        // Others may have models that this key is not to know of.
        let message = format!("there is no model {name:?} here; GET /v1/models lists those that your key may use");
        let error = ApiError { code: Some("model_not_found"), ..Self::not_found(message) };
        ApiError { param: Some("model".into()), ..error }
    }

    /// More than can be done now.
    pub fn busy(message: impl Into<String>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        ApiError { code: Some("rate_limit_exceeded"), retry_after: Some(retry_after), ..error }
    }

    /// The server is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The server goes down, or a model cannot be had now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        ApiError { retry_after: Some(Duration::from_secs(2)), ..error }
    }

    /// Meant to come, and not there yet.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "server_error", message)
    }

    /// Another status, same words.
    pub fn with_status(self, status: StatusCode) -> Self {
        ApiError { status, ..self }
    }

    /// Another word for programs.
    pub fn with_code(self, code: &'static str) -> Self {
        ApiError { code: Some(code), ..self }
    }

    /// As OpenAI writes it.
    pub fn openai(&self) -> Json {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }

    /// As Anthropic writes it.
    pub fn anthropic(&self) -> Json {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        json!({ "type": "error", "error": { "type": kind, "message": self.message } })
    }

    /// The answer with this body.
    pub fn response(&self, body: &Json) -> Response {
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if matches!(self.code, Some("idempotency_conflict" | "insufficient_quota")) {
            // Clients of OpenAI would try 409 and 429 again, in vain.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.response(&self.openai());
        // Whoever speaks another protocol writes it anew.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        match full {
            Full::Queue { retry_after, .. } => Self::busy(full.to_string(), retry_after),
            Full::Stopped => Self::unavailable(full.to_string()),
        }
    }
}

impl From<argand_text::Error> for ApiError {
    fn from(error: argand_text::Error) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<argand_text::TemplateError> for ApiError {
    fn from(error: argand_text::TemplateError) -> Self {
        Self::field("messages", error.to_string())
    }
}
