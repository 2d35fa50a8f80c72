//! Chats and embeddings at providers of the market.

use std::sync::Arc;

use async_trait::async_trait;
use edge_gateway::{AiBackend, BackendError, Bill, ChatEvent, ChatStream, Cost, Embeddings, Model};
use edge_jobs::{ChatOrder, EmbeddingsOrder, Order, TOKENS_PER_UNIT};
use edge_market::requester;
use futures::{StreamExt, stream};
use theta_types::Wei;

use super::{BilledPurse, MarketAccess, backend_error};
use crate::node::models;

/// Units beyond the order's own that may be paid for: one that each provider which died had delivered, and a second
/// opinion.
const SPARE_UNITS: u64 = 5;

/// The market as the gateway's AI API sees it.
pub(super) struct MarketAi {
    pub access: MarketAccess,
}

#[async_trait]
impl AiBackend for MarketAi {
    async fn models(&self) -> Vec<Model> {
        models::listed()
    }

    async fn cost(&self, order: &Order) -> Result<Cost, BackendError> {
        let edge = self.access.edge()?;
        let quote = edge.requester.quote(order).map_err(|error| backend_error(error, &Wei::zero()))?;
        let units = quote.units.unwrap_or_else(|| units_of_context(order));
        Ok(Cost { least: quote.highest(1), highest: quote.highest(units.saturating_add(SPARE_UNITS)) })
    }

    async fn chat(&self, order: ChatOrder, bill: Bill) -> Result<ChatStream, BackendError> {
        let limit = bill.limit().clone();
        let run = self.access.edge()?.requester.chat(order, Arc::new(BilledPurse(bill)));
        // The run is dropped with the stream, and with it the job.
        let events = stream::unfold(run, move |mut run| {
            let limit = limit.clone();
            async move {
                loop {
                    let event = match run.next().await? {
                        Ok(requester::ChatEvent::Provider { .. }) => continue,
                        Ok(requester::ChatEvent::Text { text, .. }) => Ok(ChatEvent::Text(text)),
                        Ok(requester::ChatEvent::Finished {
                            finish,
                            prompt_tokens,
                            completion_tokens,
                            ..
                        }) => Ok(ChatEvent::Finished { finish, prompt_tokens, completion_tokens }),
                        Err(error) => Err(backend_error(error, &limit)),
                    };
                    return Some((event, run));
                }
            }
        });
        Ok(events.boxed())
    }

    async fn embed(&self, order: EmbeddingsOrder, bill: Bill) -> Result<Embeddings, BackendError> {
        let limit = bill.limit().clone();
        let done = self.access.edge()?.requester.embed(order, Arc::new(BilledPurse(bill))).await;
        let done = done.map_err(|error| backend_error(error, &limit))?;
        Ok(Embeddings { vectors: done.vectors, prompt_tokens: done.prompt_tokens })
    }
}

/// Units of a chat that only the model's context ends.
fn units_of_context(order: &Order) -> u64 {
    let model = match order {
        Order::Chat(chat) => models::find(&chat.model),
        Order::Embeddings(_) | Order::Transcode(_) => None,
    };
    model.map_or(1, |model| u64::from(model.context_tokens).div_ceil(TOKENS_PER_UNIT))
}
