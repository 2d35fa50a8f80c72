//! Embeddings.

use std::sync::Arc;

use edge_jobs::{EmbeddingsOrder, Event, JobKind, Order};
use edge_mesh::Protocol;
use rand::RngExt;
use theta_types::{Address, Wei};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Purse, RequestError, Requester,
    attempts::Attempts,
    buyer::{BuyError, Buyer, Errand, unexpected},
};
use crate::{
    check::{Verdict, check_dimensions, check_form, largest_difference},
    offer::Need,
    session::{Frame, Reply, Work},
    standing::Fault,
};

/// How much of the whole, in thousandths, counts as getting on.
const PROGRESS_STEP: u16 = 100;
/// How far numbers of two providers may differ in one place.
const TOLERANCE: f32 = 1e-3;

/// The vectors of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingsResult {
    /// One vector of unit length for each input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs, as the provider counted them. Nothing is paid for them.
    pub prompt_tokens: u64,
    /// Who did it.
    pub provider: Address,
    /// TFuelWei that were paid, a second opinion included.
    pub paid: Wei,
}

impl Requester {
    /// Turns texts into vectors. Dropping the future stops the job.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn embed(
        &self,
        order: EmbeddingsOrder,
        purse: Arc<dyn Purse>,
    ) -> Result<EmbeddingsResult, RequestError> {
        let cancel = CancellationToken::new();
        let _guard = cancel.clone().drop_guard();
        let (reply, answer) = oneshot::channel();
        let requester = self.clone();
        tokio::spawn(async move {
            let check = rand::rng().random_bool(requester.shared.settings.check_share.clamp(0.0, 1.0));
            let outcome = requester.embed_in_task(order, purse, cancel, check).await;
            let _ = reply.send(outcome);
        });
        answer.await.map_err(|_| RequestError::Cancelled)?
    }

    async fn embed_in_task(
        &self,
        order: EmbeddingsOrder,
        purse: Arc<dyn Purse>,
        cancel: CancellationToken,
        check: bool,
    ) -> Result<EmbeddingsResult, RequestError> {
        let _turn = self.shared.turn().await?;
        let need = Need::of(&Order::Embeddings(order.clone()));
        let mut attempts = Attempts::new(self.shared.clone(), need, purse, cancel);
        loop {
            let (mut buyer, candidate) = attempts.next(|| errand(&order)).await?;
            let provider = candidate.offer.provider;
            let mut paid = Wei::zero();
            let dimensions = self.shared.dimensions(&order.model);
            let received = match receive(&mut buyer, &order, dimensions).await {
                Ok((vectors, prompt_tokens)) => {
                    let doubt = if check {
                        self.judge(&mut buyer, &mut attempts, &order, &vectors, &mut paid).await
                    } else {
                        Ok(())
                    };
                    match doubt {
                        Ok(()) => buyer.pay(1, false).await.map(|()| (vectors, prompt_tokens)),
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            match received {
                Ok((vectors, prompt_tokens)) => {
                    paid += candidate.price;
                    let _ = buyer.end(None).await;
                    return Ok(EmbeddingsResult { vectors, prompt_tokens, provider, paid });
                }
                Err(error) => attempts.fail(buyer, &candidate, error).await?,
            }
        }
    }

    /// Checks vectors before they are paid: on this node's own worker, or, when it cannot, by asking another provider for
    /// one of them.
    async fn judge(
        &self,
        buyer: &mut Buyer,
        attempts: &mut Attempts,
        order: &EmbeddingsOrder,
        vectors: &[Vec<f32>],
        paid: &mut Wei,
    ) -> Result<(), BuyError> {
        let judge = self.shared.judge.clone();
        let verdict = buyer.busy(judge.vectors(order, vectors)).await?;
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Bad(detail) => Err(BuyError::Lie { fault: Fault::WrongVectors, detail }),
            Verdict::Unknown(_) | Verdict::Stuck(_) => {
                self.compare(buyer, attempts, order, vectors, paid).await
            }
        }
    }

    /// Asks others for one of the vectors. Two against one is a lie; one against one is a doubt, and the result is not
    /// taken; nobody else there to ask is no reason not to take it.
    async fn compare(
        &self,
        buyer: &mut Buyer,
        attempts: &mut Attempts,
        order: &EmbeddingsOrder,
        vectors: &[Vec<f32>],
        paid: &mut Wei,
    ) -> Result<(), BuyError> {
        let chosen = rand::rng().random_range(0..order.inputs.len());
        let one = EmbeddingsOrder { model: order.model.clone(), inputs: vec![order.inputs[chosen].clone()] };
        let mut others: Vec<(Address, Vec<f32>)> = Vec::new();
        let need = Need::of(&Order::Embeddings(one.clone()));
        let (purse, cancel) = (attempts.purse.clone(), attempts.cancel.clone());
        let mut opinions = Attempts::new(self.shared.clone(), need, purse, cancel);
        opinions.exclude(buyer.record.counterparty);
        while others.len() < 2 {
            let asking = opinion(&mut opinions, &one, paid);
            let Ok((other, vector)) = buyer.busy(asking).await? else { break };
            let agree = largest_difference(&vector, &vectors[chosen]) <= TOLERANCE;
            if agree {
                // Whoever said otherwise before stands against two.
                for (liar, _) in others {
                    let detail = format!("text {chosen}: two others agree on another vector");
                    self.shared.standing.fault(liar, Fault::WrongVectors, detail).await;
                }
                return Ok(());
            }
            let two_others = others.iter().any(|(_, known)| largest_difference(known, &vector) <= TOLERANCE);
            if two_others {
                let detail = format!("text {chosen}: two others agree on another vector");
                return Err(BuyError::Lie { fault: Fault::WrongVectors, detail });
            }
            others.push((other, vector));
        }
        match others.first() {
            None => Ok(()),
            Some((other, _)) => {
                let detail = format!("text {chosen}: two providers differ");
                self.shared.standing.fault(*other, Fault::Doubtful, detail.clone()).await;
                Err(BuyError::Lie { fault: Fault::Doubtful, detail })
            }
        }
    }
}

/// One vector from one more provider, paid like any other.
async fn opinion(
    attempts: &mut Attempts,
    one: &EmbeddingsOrder,
    paid: &mut Wei,
) -> Result<(Address, Vec<f32>), RequestError> {
    loop {
        let (mut buyer, candidate) = attempts.next(|| errand(one)).await?;
        let dimensions = attempts.shared.dimensions(&one.model);
        let received = match receive(&mut buyer, one, dimensions).await {
            Ok((mut vectors, _)) => buyer.pay(1, false).await.map(|()| vectors.swap_remove(0)),
            Err(error) => Err(error),
        };
        match received {
            Ok(vector) => {
                *paid += &candidate.price;
                let _ = buyer.end(None).await;
                return Ok((candidate.offer.provider, vector));
            }
            Err(error) => attempts.fail(buyer, &candidate, error).await?,
        }
    }
}

/// The vectors as they come, well formed, not paid yet. `dimensions` is the size of the model's, if it is known.
async fn receive(
    buyer: &mut Buyer,
    order: &EmbeddingsOrder,
    dimensions: Option<u32>,
) -> Result<(Vec<Vec<f32>>, u64), BuyError> {
    let mut received = None;
    let (mut patience, mut reached) = (buyer.patience(), 0);
    loop {
        match buyer.next_by(patience).await? {
            Frame::Message(Reply::Event { event: Event::Embedded { vectors, prompt_tokens, .. } })
                if received.is_none() =>
            {
                check_form(order.inputs.len(), &vectors)
                    .and_then(|()| check_dimensions(&vectors, dimensions))
                    .map_err(|detail| BuyError::Lie { fault: Fault::WrongVectors, detail })?;
                buyer.record.units = 1;
                buyer.record.tokens = u64::from(prompt_tokens);
                buyer.record.bytes = vectors.iter().map(|vector| vector.len() as u64 * 4).sum();
                received = Some((vectors, u64::from(prompt_tokens)));
                patience = buyer.patience();
            }
            Frame::Message(Reply::Due { units }) => match received {
                Some(received) if units == 1 => return Ok(received),
                _ => {
                    let detail = format!("{units} units claimed");
                    return Err(BuyError::Lie { fault: Fault::Inflated, detail });
                }
            },
            // It may take long, but not for ever.
            Frame::Message(Reply::Event { event: Event::Progress { permille, .. } }) => {
                let step = permille.min(1_000) / PROGRESS_STEP;
                if step > reached {
                    reached = step;
                    patience = buyer.patience();
                }
            }
            other => return Err(unexpected(&other)),
        }
    }
}

fn errand(order: &EmbeddingsOrder) -> Errand {
    Errand {
        work: Work::Order { order: Order::Embeddings(order.clone()) },
        kind: JobKind::Embeddings,
        model: Some(order.model.clone()),
        first: None,
        protocol: Protocol::JOBS,
    }
}
