//! `GET /v1/models`.

use std::sync::Arc;

use axum::{Json, extract::State};
use edge_jobs::JobKind;
use serde_json::{Value, json};

use super::{ApiError, Caller, ModelId};
use crate::{Model, gateway::Parts};

pub(super) async fn list(State(parts): State<Arc<Parts>>, _: Caller) -> Json<Value> {
    let models: Vec<_> = parts.ai.models().await.iter().map(shown).collect();
    Json(json!({ "object": "list", "data": models }))
}

pub(super) async fn one(
    State(parts): State<Arc<Parts>>,
    _: Caller,
    ModelId(id): ModelId,
) -> Result<Json<Value>, ApiError> {
    let models = parts.ai.models().await;
    let found = models.iter().find(|model| model.id == id).ok_or_else(|| ApiError::unknown_model(&id))?;
    Ok(Json(shown(found)))
}

/// The model that a call names, when it is of the kind that the call needs.
pub(super) async fn find(parts: &Parts, id: &str, kind: JobKind) -> Result<Model, ApiError> {
    let models = parts.ai.models().await;
    models.into_iter().find(|m| m.id == id && m.kind == kind).ok_or_else(|| ApiError::unknown_model(id))
}

fn shown(model: &Model) -> Value {
    json!({ "id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by })
}
