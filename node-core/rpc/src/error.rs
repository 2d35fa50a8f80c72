//! What a call is answered with when it fails.

use serde::Serialize;

/// An error object of JSON-RPC, with the reference's numbers and texts (spec 06 section 1.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code} {message}")]
pub struct RpcError {
    /// What kind of error.
    pub code: i32,
    /// What the client shows, or parses.
    pub message: String,
}

impl RpcError {
    /// The text is no JSON. Correct it.
    pub fn parse() -> Self {
        Self { code: -32700, message: "parse error".into() }
    }

    /// The JSON is no request. Correct it.
    pub fn invalid_request() -> Self {
        Self { code: -32600, message: "invalid request".into() }
    }

    /// A batch with more requests than this node takes. Split it up.
    pub fn batch_too_large(most: usize) -> Self {
        Self { code: -32600, message: format!("a batch holds at most {most} requests") }
    }

    /// There is no such method.
    pub fn no_method(message: String) -> Self {
        Self { code: -32601, message }
    }

    /// The arguments are not those of the method. Correct them.
    pub fn arguments(reason: impl ToString) -> Self {
        Self { code: -32602, message: reason.to_string() }
    }

    /// The method failed; the text says why.
    pub fn failed(reason: impl ToString) -> Self {
        Self { code: -32000, message: reason.to_string() }
    }
}
