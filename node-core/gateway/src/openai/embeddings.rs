//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use edge_jobs::{EmbeddingsOrder, JobKind, Order};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{Admitted, ApiError, Caller, JsonBody, admit, models, unsupported::OtherFields};
use crate::{MAX_INPUTS_PER_ORDER, gateway::Parts};

/// As many texts as OpenAI takes in one request.
const MOST_INPUTS: usize = 2048;

#[derive(Deserialize)]
pub(super) struct Request {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    dimensions: Option<u32>,
    /// For the caller's own records at OpenAI; it changes nothing.
    #[serde(rename = "user")]
    _user: Option<IgnoredAny>,
    #[serde(flatten)]
    unknown: OtherFields,
}

impl Request {
    fn refuse_what_is_not_there(&self) -> Result<(), ApiError> {
        match self.unknown.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(ApiError::unsupported(name, "there is no such setting here")),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Token numbers belong to OpenAI's own vocabulary; no model here shares it.
    Tokens(#[expect(dead_code, reason = "only its shape counts")] Vec<IgnoredAny>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian `f32`s, what the official clients ask for by default.
    Base64,
}

pub(super) async fn create(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Value>, ApiError> {
    request.refuse_what_is_not_there()?;
    let model = models::find(&parts, &request.model, JobKind::Embeddings).await?;
    let texts = texts(request.input)?;
    if let Some(wanted) = request.dimensions
        && Some(wanted) != model.dimensions
    {
        let offered = model.dimensions.map_or_else(|| "its own size".into(), |d| d.to_string());
        return Err(ApiError::bad_field(
            "dimensions",
            format!("{} makes vectors of {offered} numbers only", model.id),
        ));
    }

    let orders: Vec<EmbeddingsOrder> = texts
        .chunks(MAX_INPUTS_PER_ORDER)
        .map(|inputs| EmbeddingsOrder { model: model.id.clone(), inputs: inputs.to_vec() })
        .collect();
    let priced: Vec<Order> = orders.iter().cloned().map(Order::Embeddings).collect();
    let Admitted { bill, place: _place, .. } = admit(&parts, &key, &priced).await?;

    let mut data = Vec::with_capacity(texts.len());
    let mut tokens = 0;
    for order in orders {
        let done = parts.ai.embed(order, bill.clone()).await?;
        tokens += done.prompt_tokens;
        for vector in &done.vectors {
            data.push(json!({
                "object": "embedding",
                "index": data.len(),
                "embedding": encoded(vector, request.encoding_format),
            }));
        }
    }
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": model.id,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

fn texts(input: Input) -> Result<Vec<String>, ApiError> {
    let texts = match input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Tokens(_) => {
            return Err(ApiError::bad_field(
                "input",
                "give text or an array of texts; arrays of token numbers belong to another vocabulary",
            ));
        }
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(ApiError::bad_field("input", "there must be at least one text, and none may be empty"));
    }
    if texts.len() > MOST_INPUTS {
        return Err(ApiError::bad_field("input", format!("at most {MOST_INPUTS} texts fit one request")));
    }
    Ok(texts)
}

fn encoded(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            json!(BASE64_STANDARD.encode(bytes))
        }
    }
}
