//! Chats.

use std::sync::Arc;

use edge_jobs::{ChatFinish, ChatMessage, ChatOrder, Event, Order, Role};
use edge_mesh::Protocol;
use rand::RngExt;
use theta_types::{Address, Wei};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Purse, RequestError, Requester,
    attempts::Attempts,
    buyer::{BuyError, Buyer, Errand, unexpected},
};
use crate::{
    check::TokenClaim,
    jobs::JobRecord,
    offer::Need,
    session::{Frame, Reply, Work, chat_units},
    standing::Fault,
};

/// Events that may wait for their reader. A slow reader slows the provider down.
const EVENTS_AHEAD: usize = 64;

/// A part of a chat's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// A provider has begun, or another one goes on.
    Provider {
        /// Its wallet.
        address: Address,
    },
    /// More text; may be empty.
    Text {
        /// The text.
        text: String,
        /// Completion tokens that it stands for.
        tokens: u32,
    },
    /// The end.
    Finished {
        /// Why it ended.
        finish: ChatFinish,
        /// Tokens of the conversation, as the provider counted them. Nothing is paid for them.
        prompt_tokens: u64,
        /// Completion tokens.
        completion_tokens: u64,
        /// TFuelWei that were paid, over all providers.
        paid: Wei,
    },
}

/// A chat that runs. Dropping it stops worker and payment within a second.
#[derive(Debug)]
pub struct ChatRun {
    events: mpsc::Receiver<Result<ChatEvent, RequestError>>,
    _cancel: DropGuard,
}

impl ChatRun {
    /// The next event; `None` after the last, which is [`ChatEvent::Finished`] or an error.
    pub async fn next(&mut self) -> Option<Result<ChatEvent, RequestError>> {
        self.events.recv().await
    }
}

impl Requester {
    /// Starts a chat. A provider that fails is followed by another, which goes on from the text so far.
    pub fn chat(&self, order: ChatOrder, purse: Arc<dyn Purse>) -> ChatRun {
        let cancel = CancellationToken::new();
        let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
        let need = Need::of(&Order::Chat(order.clone()));
        let attempts = Attempts::new(self.shared.clone(), need, purse, cancel.clone());
        tokio::spawn(async move {
            let mut chat = Chat::new(attempts, order, events.clone());
            if let Err(error) = chat.run().await {
                // Whoever asked may be gone.
                let _ = events.send(Err(error)).await;
            }
        });
        ChatRun { events: receiver, _cancel: cancel.drop_guard() }
    }
}

struct Chat {
    attempts: Attempts,
    order: ChatOrder,
    events: mpsc::Sender<Result<ChatEvent, RequestError>>,
    /// Text and tokens that earlier providers delivered.
    text: String,
    tokens: u64,
    paid: Wei,
    recount: bool,
}

impl Chat {
    fn new(
        attempts: Attempts,
        order: ChatOrder,
        events: mpsc::Sender<Result<ChatEvent, RequestError>>,
    ) -> Self {
        let recount = rand::rng().random_bool(attempts.shared.settings.check_share.clamp(0.0, 1.0));
        Self { attempts, order, events, text: String::new(), tokens: 0, paid: Wei::zero(), recount }
    }

    async fn run(&mut self) -> Result<(), RequestError> {
        let _turn = self.attempts.shared.turn().await?;
        loop {
            let Some(order) = self.rest() else {
                // The provider that died had delivered the last token that was wanted.
                return self.finish(ChatFinish::Length, 0).await;
            };
            let errand = || Errand {
                work: Work::Order { order: Order::Chat(order.clone()) },
                kind: edge_jobs::JobKind::Chat,
                model: Some(order.model.clone()),
                first: None,
                protocol: Protocol::JOBS,
            };
            let (mut buyer, candidate) = self.attempts.next(errand).await?;
            let _ = self.events.send(Ok(ChatEvent::Provider { address: candidate.offer.provider })).await;
            let mut claim = TokenClaim::new(&self.order.stop);
            let outcome = self.receive(&mut buyer, &mut claim).await;
            self.paid += &candidate.price * buyer.paid;
            match outcome {
                Ok((finish, prompt_tokens)) => {
                    let _ = buyer.end(None).await;
                    // A provider that went on counted the text so far among the prompt.
                    let prompt = prompt_tokens.saturating_sub(self.tokens);
                    self.tokens += claim.claimed();
                    return self.finish(finish, prompt).await;
                }
                Err(error) => {
                    let lied = matches!(error, BuyError::Lie { .. });
                    self.attempts.fail(buyer, &candidate, error).await?;
                    if !lied {
                        self.tokens += claim.claimed();
                    }
                    self.text.push_str(claim.text());
                }
            }
        }
    }

    /// What is still to be written; `None` when nothing is.
    fn rest(&self) -> Option<ChatOrder> {
        let mut order = self.order.clone();
        if !self.text.is_empty() {
            // A caller's order may end with an unfinished message itself: it is one message to the model.
            match order.messages.last_mut().filter(|_| order.continues) {
                Some(begun) => begun.content.push_str(&self.text),
                None => {
                    let begun = ChatMessage { role: Role::Assistant, content: self.text.clone() };
                    order.messages.push(begun);
                }
            }
            order.continues = true;
        }
        if let Some(wanted) = order.max_tokens {
            let left = u64::from(wanted).saturating_sub(self.tokens);
            if left == 0 {
                return None;
            }
            order.max_tokens = Some(u32::try_from(left).unwrap_or(wanted));
        }
        Some(order)
    }

    /// Takes what one provider delivers, and pays it.
    async fn receive(
        &mut self,
        buyer: &mut Buyer,
        claim: &mut TokenClaim,
    ) -> Result<(ChatFinish, u64), BuyError> {
        let most = self.attempts.shared.most_tokens(&self.order);
        let mut finished = None;
        // Tokens are what a chat gets on by, and payments, which this side makes.
        let mut patience = buyer.patience();
        loop {
            match buyer.next_by(patience).await? {
                Frame::Message(Reply::Event { event: Event::Tokens { text, count, .. } }) => {
                    claim.add(&text, count);
                    claim.check_size().map_err(BuyError::Nonsense)?;
                    claim.check_bytes().map_err(inflated)?;
                    // What is wanted is bounded, so what can be claimed is, too.
                    if claim.claimed() > most {
                        return Err(inflated("more tokens than were wanted".into()));
                    }
                    count_in(&mut buyer.record, claim);
                    if count == 0 && text.is_empty() {
                        continue;
                    }
                    if self.events.send(Ok(ChatEvent::Text { text, tokens: count })).await.is_err() {
                        return Err(BuyError::Cancelled);
                    }
                    if count > 0 {
                        patience = buyer.patience();
                    }
                }
                Frame::Message(Reply::Event {
                    event: Event::Chatted { finish, prompt_tokens, completion_tokens, .. },
                }) if finished.is_none() => {
                    if u64::from(completion_tokens) > claim.claimed() {
                        return Err(inflated(format!(
                            "{completion_tokens} tokens claimed at the end, {} delivered",
                            claim.claimed()
                        )));
                    }
                    finished = Some((finish, u64::from(prompt_tokens)));
                    patience = buyer.patience();
                    if claim.claimed() == 0 {
                        return Ok((finish, u64::from(prompt_tokens)));
                    }
                }
                Frame::Message(Reply::Due { units }) => {
                    let counted = chat_units(claim.claimed());
                    if units > counted {
                        return Err(inflated(format!("{units} units claimed, {counted} delivered")));
                    }
                    let complete = finished.is_some() && units == counted;
                    if units > buyer.paid || complete {
                        self.recount(buyer, claim, units, complete).await?;
                        buyer.pay(units, finished.is_none()).await?;
                        patience = buyer.patience();
                    }
                    if let Some(end) = finished.filter(|_| complete) {
                        return Ok(end);
                    }
                }
                // A chat has no length that could be a thousand thousandths: how far it is, its tokens say.
                Frame::Message(Reply::Event { event: Event::Progress { .. } }) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Counts the tokens of the text anew, on this node's own worker, before a unit is paid: in the share of chats that is
    /// checked, and when they are many for their text.
    async fn recount(
        &self,
        buyer: &mut Buyer,
        claim: &mut TokenClaim,
        units: u64,
        at_the_end: bool,
    ) -> Result<(), BuyError> {
        let wanted = self.recount || !claim.is_plausible();
        if !wanted || !claim.wants_recount(units, at_the_end) {
            return Ok(());
        }
        let judge = self.attempts.shared.judge.clone();
        let (model, text) = (self.order.model.clone(), claim.text().to_owned());
        let counting = async move { judge.count_tokens(&model, &text).await };
        // Who is paid has said good-bye: there is nobody to be told that this side is still there.
        let counted = if buyer.paid >= units { counting.await } else { buyer.busy(counting).await? };
        match counted {
            Some(counted) => claim.check_count(counted).map_err(inflated),
            None => Ok(()),
        }
    }

    async fn finish(&self, finish: ChatFinish, prompt_tokens: u64) -> Result<(), RequestError> {
        let event = ChatEvent::Finished {
            finish,
            prompt_tokens,
            completion_tokens: self.tokens,
            paid: self.paid.clone(),
        };
        self.events.send(Ok(event)).await.map_err(|_| RequestError::Cancelled)
    }
}

fn inflated(detail: String) -> BuyError {
    BuyError::Lie { fault: Fault::Inflated, detail }
}

fn count_in(record: &mut JobRecord, claim: &TokenClaim) {
    record.tokens = claim.claimed();
    record.bytes = claim.text().len() as u64;
    record.units = chat_units(claim.claimed());
}
