//! What handlers take out of a call. What is refused here has the Video API's envelope too.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, request},
};
use serde::de::DeserializeOwned;

use super::envelope::VideoApiError;
use crate::{KeyRecord, authentication::authenticate, gateway::Parts};

/// The key that a call's headers prove. It stands before everything else among a handler's arguments, so that nothing
/// of a stranger is read.
pub(super) struct Caller(pub KeyRecord);

impl FromRequestParts<Arc<Parts>> for Caller {
    type Rejection = VideoApiError;

    async fn from_request_parts(
        call: &mut request::Parts,
        parts: &Arc<Parts>,
    ) -> Result<Self, VideoApiError> {
        Ok(Self(authenticate(&call.headers, &parts.keys).await?))
    }
}

/// The id in an address.
pub(super) struct IdText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdText {
    type Rejection = VideoApiError;

    async fn from_request_parts(call: &mut request::Parts, state: &S) -> Result<Self, VideoApiError> {
        match Path::from_request_parts(call, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(VideoApiError::bad_request("the id in the address is no text")),
        }
    }
}

/// What stands behind the `?` of an address.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = VideoApiError;

    async fn from_request_parts(call: &mut request::Parts, state: &S) -> Result<Self, VideoApiError> {
        match Query::from_request_parts(call, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => {
                Err(VideoApiError::bad_request(format!("the query is not understood: {}", error.body_text())))
            }
        }
    }
}

/// A whole body of JSON.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Parts>> for JsonBody<T> {
    type Rejection = VideoApiError;

    async fn from_request(call: Request, parts: &Arc<Parts>) -> Result<Self, VideoApiError> {
        let body = Bytes::from_request(call, parts).await.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => VideoApiError::too_large(super::LARGEST_BODY as u64),
            _ => VideoApiError::bad_request("the body broke off; send it again"),
        })?;
        let read = serde_json::from_slice(&body);
        read.map(Self)
            .map_err(|error| VideoApiError::bad_request(format!("the body is not understood: {error}")))
    }
}
