//! OpenAI's API, as its official clients speak it.

mod chat;
mod chat_request;
mod chunks;
mod embeddings;
mod error;
mod extract;
mod models;
mod unsupported;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get, post},
};
use edge_jobs::Order;

use self::{
    error::ApiError,
    extract::{Caller, JsonBody, ModelId},
};
use crate::{Bill, Cost, KeyRecord, Place, gateway::Parts};

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

/// The right to begin a job.
struct Admitted {
    bill: Bill,
    place: Place,
    /// What the job can cost; the bill may be smaller than its highest.
    cost: Cost,
}

/// Reserves the money for an order, then waits for a place. The money first: who cannot pay need not wait.
async fn admit(parts: &Parts, key: &KeyRecord, orders: &[Order]) -> Result<Admitted, ApiError> {
    let mut cost = Cost::default();
    for order in orders {
        let more = parts.ai.cost(order).await?;
        cost.least += more.least;
        cost.highest += more.highest;
    }
    let bill = parts.spending.open(key, &cost).await?;
    let place = parts.admission.enter().await?;
    Ok(Admitted { bill, place, cost })
}
