//! Why the control API did not do what was asked.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// A refusal, for the program and for the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What a program can act on.
    pub code: ErrorCode,
    /// What happened and what to do.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense.
    BadRequest,
    /// The caller may not ask.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The wallet has to be unlocked first.
    Locked,
    /// This node does not do that: it is not set up for it, or not now.
    Unavailable,
    /// The node failed; its log says more.
    Internal,
}

impl ControlError {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// The wallet is locked.
    pub fn locked() -> Self {
        Self::new(ErrorCode::Locked, "the wallet is locked: unlock it with `thetis wallet unlock`")
    }

    /// Something behind the API failed.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request of the control API failed");
        Self::new(ErrorCode::Internal, error.to_string())
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Locked => StatusCode::CONFLICT,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status(), Json(self)).into_response()
    }
}

/// A refusal with a status of its own.
#[derive(Debug)]
pub(super) struct Refused(pub StatusCode, pub ControlError);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
