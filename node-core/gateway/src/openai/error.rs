//! Errors in OpenAI's shape: `{"error":{"message","type","param","code"}}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{BackendError, QueueFull, SpendingError, StoreError, authentication::Unauthenticated};

/// A field's name is repeated up to this many characters.
const LONGEST_PARAM: usize = 100;
/// How long a client should wait before it asks again when nobody could serve it.
const NO_PROVIDER_RETRY_S: u64 = 10;
/// The same, when other calls of its key hold the money.
const HELD_RETRY_S: u64 = 5;

/// An error on its way to an OpenAI client.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, kind, code, param: None, message: message.into(), retry_after_s: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message)
    }

    /// A 400 about one field.
    pub fn bad_field(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::bad_request(message) }
    }

    /// A 400 about a field that asks for what is not there. `param` may be a stranger's text.
    pub fn unsupported(param: &str, why: &str) -> Self {
        let param: String = param.chars().take(LONGEST_PARAM).collect();
        let message = format!("`{param}` is not supported: {why}");
        Self { code: Some("unsupported_parameter"), ..Self::bad_field(&param, message) }
    }

    pub fn unknown_model(id: &str) -> Self {
        Self {
            param: Some("model".into()),
            ..Self::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                Some("model_not_found"),
                BackendError::UnknownModel(id.chars().take(200).collect()).to_string(),
            )
        }
    }

    /// The body has more bytes than are read.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            Some("request_too_large"),
            format!("a body of at most {limit} bytes is read"),
        )
    }

    pub fn no_such_page() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            Some("unknown_url"),
            "this gateway has /v1/models, /v1/embeddings and /v1/chat/completions",
        )
    }

    pub fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            Some("method_not_allowed"),
            "this address does not take that method",
        )
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, message)
    }

    /// The body, which also stands in a stream that breaks.
    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Unauthenticated> for ApiError {
    fn from(error: Unauthenticated) -> Self {
        match error {
            Unauthenticated::Store(error) => error.into(),
            error => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_request_error",
                Some("invalid_api_key"),
                error.to_string(),
            ),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a call failed");
        Self::internal("the gateway could not read or write its database; its log says why")
    }
}

impl From<SpendingError> for ApiError {
    fn from(error: SpendingError) -> Self {
        match error {
            SpendingError::Store(error) => error.into(),
            // Calls of the same key hold the money: it may be there in a moment.
            SpendingError::Refused(refused) if refused.is_held_by_jobs() => Self {
                retry_after_s: Some(HELD_RETRY_S),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "requests",
                    Some("rate_limit_exceeded"),
                    refused.to_string(),
                )
            },
            SpendingError::Refused(refused) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                Some("insufficient_quota"),
                refused.to_string(),
            ),
        }
    }
}

impl From<QueueFull> for ApiError {
    fn from(full: QueueFull) -> Self {
        Self {
            retry_after_s: Some(full.retry_after_s),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "requests",
                Some("rate_limit_exceeded"),
                full.to_string(),
            )
        }
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        let unavailable = |code, retry_after_s| Self {
            retry_after_s,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", Some(code), message.clone())
        };
        match error {
            BackendError::UnknownModel(id) => Self::unknown_model(&id),
            BackendError::BadOrder(_) => Self::bad_request(message),
            BackendError::NoProvider(_) => unavailable("no_provider", Some(NO_PROVIDER_RETRY_S)),
            BackendError::CannotPay(_) => unavailable("cannot_pay", None),
            BackendError::Failed(_) => unavailable("provider_failed", Some(1)),
            BackendError::Later(_) => unavailable("not_now", Some(NO_PROVIDER_RETRY_S)),
            BackendError::OverLimit(_) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                Some("insufficient_quota"),
                message,
            ),
        }
    }
}
