//! Answers and errors in the Video API's envelope: `{"status":"success","body":{…}}`, `{"status":"error","message":"…"}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{StoreError, authentication::Unauthenticated};

/// A body in the envelope of success.
pub(super) fn success(body: Value) -> Json<Value> {
    Json(json!({ "status": "success", "body": body }))
}

/// An error on its way to a Video API client.
#[derive(Debug)]
pub(crate) struct VideoApiError {
    status: StatusCode,
    message: String,
    retry_after_s: Option<u64>,
}

impl VideoApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after_s: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what} under this service account"))
    }

    pub fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit} bytes are taken"))
    }

    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method")
    }

    pub fn try_later(message: impl Into<String>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }
}

impl IntoResponse for VideoApiError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "status": "error", "message": self.message }));
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Unauthenticated> for VideoApiError {
    fn from(error: Unauthenticated) -> Self {
        match error {
            Unauthenticated::Store(error) => error.into(),
            error => Self::new(StatusCode::UNAUTHORIZED, error.to_string()),
        }
    }
}

impl From<StoreError> for VideoApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a call failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gateway could not read or write its database; its log says why",
        )
    }
}

/// The answer to an address that no API has.
pub(crate) async fn no_such_page() -> VideoApiError {
    VideoApiError::new(
        StatusCode::NOT_FOUND,
        "this gateway has the OpenAI API under /v1 and the Video API under /upload and /video",
    )
}
