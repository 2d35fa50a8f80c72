//! OpenAI's API, as its official clients speak it.

mod chat;
mod chat_request;
mod chunks;
mod embeddings;
mod error;
mod models;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::HeaderMap,
    routing::{any, get, post},
};
use edge_jobs::Order;
use serde::de::DeserializeOwned;

use self::error::ApiError;
use crate::{Bill, KeyRecord, Place, authentication::authenticate, gateway::Parts};

/// A request's body may be this large; it is text.
const LARGEST_BODY: usize = 8 << 20;

pub(crate) fn routes() -> Router<Arc<Parts>> {
    Router::new()
        .route("/v1/models", get(models::list))
        // A model's id may contain slashes.
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/{*rest}", any(|| async { ApiError::no_such_page() }))
        .method_not_allowed_fallback(|| async { ApiError::wrong_method() })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

/// The key of a call, or the 401 that its client expects.
async fn caller(parts: &Parts, headers: &HeaderMap) -> Result<KeyRecord, ApiError> {
    Ok(authenticate(headers, &parts.keys).await?)
}

/// The body as `T`, or a 400 that says what is wrong.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not understood: {error}")))
}

/// Reserves the money for an order, then waits for a place. The money first: who cannot pay need not wait.
async fn admit(parts: &Parts, key: &KeyRecord, orders: &[Order]) -> Result<(Bill, Place), ApiError> {
    let mut highest = theta_types::Wei::zero();
    for order in orders {
        highest += parts.ai.highest_cost(order).await?;
    }
    let bill = parts.spending.open(key, highest).await?;
    let place = parts.admission.enter().await?;
    Ok((bill, place))
}
