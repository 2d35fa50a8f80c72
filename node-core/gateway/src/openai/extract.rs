//! What handlers take out of a call. What is refused here has OpenAI's shape too.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{StatusCode, request},
};
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::{KeyRecord, authentication::authenticate, gateway::Parts};

/// The key that a call's headers prove. It stands before the body among a handler's arguments, so that a stranger's
/// body is not read.
pub(super) struct Caller(pub KeyRecord);

impl FromRequestParts<Arc<Parts>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(call: &mut request::Parts, parts: &Arc<Parts>) -> Result<Self, ApiError> {
        Ok(Self(authenticate(&call.headers, &parts.keys).await?))
    }
}

/// The model's id in an address.
pub(super) struct ModelId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ModelId {
    type Rejection = ApiError;

    async fn from_request_parts(call: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(call, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(ApiError::bad_request("the id in the address is no text")),
        }
    }
}

/// A whole body of JSON.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Parts>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(call: Request, parts: &Arc<Parts>) -> Result<Self, ApiError> {
        let body = Bytes::from_request(call, parts).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(super::LARGEST_BODY),
            _ => ApiError::bad_request("the body broke off; send it again"),
        })?;
        parse(&body).map(Self)
    }
}

/// The body as `T`, or a 400 that says what is wrong.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not understood: {error}")))
}
