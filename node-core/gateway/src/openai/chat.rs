//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use edge_jobs::{ChatFinish, JobKind, Order, TOKENS_PER_UNIT};
use futures::StreamExt;
use serde_json::{Value, json};
use theta_types::Wei;

use super::{
    Admitted, ApiError, Caller, JsonBody, admit,
    chat_request::ChatRequest,
    chunks::{self, Completion},
    models,
};
use crate::{BackendError, ChatEvent, ChatStream, gateway::Parts, identifiers::random_text};

/// The job lives in this future or in the body of its response: when the client goes away, both are dropped, and with
/// them the job.
pub(super) async fn create(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let model = models::find(&parts, &request.model, JobKind::Chat).await?;
    let (streams, usage) = (request.streams(), request.wants_usage_chunk());
    let mut order = request.into_order()?;
    if let (Some(wanted), Some(context)) = (order.max_tokens, model.context_tokens)
        && wanted > context
    {
        return Err(ApiError::bad_field(
            "max_tokens",
            format!("{} takes {context} tokens of prompt and completion together", model.id),
        ));
    }

    let Admitted { bill, place, cost } = admit(&parts, &key, &[Order::Chat(order.clone())]).await?;
    if bill.limit() < &cost.highest {
        // The answer ends as one that reached `max_tokens`, and not with an error after it was paid for.
        let affordable = affordable_tokens(bill.limit(), &cost.least);
        order.max_tokens = Some(order.max_tokens.map_or(affordable, |wanted| wanted.min(affordable)));
    }
    let mut events = parts.ai.chat(order, bill).await?;
    let completion = Completion {
        id: format!("chatcmpl-{}", random_text(29)),
        created: parts.clock.now().as_second(),
        model: model.id,
    };
    if streams {
        // A failure before the first word is still an ordinary error response.
        let first = match events.next().await {
            Some(Err(error)) => return Err(error.into()),
            other => other,
        };
        let events = futures::stream::iter(first).chain(events).boxed();
        return Ok(chunks::respond(completion, events, usage, place));
    }
    let whole = Whole::gather(events).await?;
    Ok(Json(whole.shown(&completion)).into_response())
}

/// Completion tokens that an amount pays for, at the price of a unit.
fn affordable_tokens(amount: &Wei, unit: &Wei) -> u32 {
    let units =
        if unit.is_zero() { None } else { Wei::from(amount.as_biguint() / unit.as_biguint()).to_u64() };
    let tokens = units.and_then(|units| units.checked_mul(TOKENS_PER_UNIT));
    tokens.and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or(u32::MAX)
}

struct Whole {
    text: String,
    finish: ChatFinish,
    usage: Value,
}

impl Whole {
    async fn gather(mut events: ChatStream) -> Result<Self, ApiError> {
        let mut text = String::new();
        while let Some(event) = events.next().await {
            match event? {
                ChatEvent::Text(more) => text.push_str(&more),
                ChatEvent::Finished { finish, prompt_tokens, completion_tokens } => {
                    return Ok(Self { text, finish, usage: shown_usage(prompt_tokens, completion_tokens) });
                }
            }
        }
        Err(broken_off().into())
    }

    fn shown(&self, completion: &Completion) -> Value {
        json!({
            "id": completion.id,
            "object": "chat.completion",
            "created": completion.created,
            "model": completion.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": self.text, "refusal": null },
                "logprobs": null,
                "finish_reason": shown_finish(self.finish),
            }],
            "usage": self.usage,
        })
    }
}

/// The stream ended without saying how.
pub(super) fn broken_off() -> BackendError {
    BackendError::Failed("the answer broke off before its end; try again".into())
}

pub(super) fn shown_finish(finish: ChatFinish) -> &'static str {
    match finish {
        ChatFinish::Stop => "stop",
        ChatFinish::Length => "length",
    }
}

pub(super) fn shown_usage(prompt: u64, completion: u64) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}
