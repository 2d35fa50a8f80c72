//! Spending limits: the most a job can cost, as far as the limits leave it, is reserved before it starts, and what it
//! did cost is booked when it ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use theta_types::Wei;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    Clock, Cost, KeyId, KeyRecord, StoreError,
    identifiers::random_text,
    limits::{Day, Reservation, ReservationId, SpendingLimits, SpendingRefused, Spent},
};

/// How long a job waits for money that other jobs of its key hold. They may just be ending: a client that got its
/// answer asks again before the bill of the first call is booked.
const ENDING_WAIT: Duration = Duration::from_secs(1);

/// Reserves and books what keys spend. Reservations that a crash left open count in full.
pub struct Spending {
    store: Arc<dyn SpendingStore>,
    clock: Clock,
    daily_limit: Option<Wei>,
    ended: mpsc::UnboundedSender<Ended>,
    /// How many bills were booked; whoever waits for held money looks again when it changes.
    booked: watch::Sender<u64>,
    booking: JoinHandle<()>,
}

/// Keeps reservations and sums.
#[async_trait]
pub trait SpendingStore: Send + Sync {
    /// Keeps as much of a reservation as [`SpendingLimits::grant`] says, and returns it. One call at a time: what is
    /// counted must not change until the reservation is kept.
    async fn reserve(
        &self,
        reservation: Reservation,
        limits: SpendingLimits,
    ) -> Result<Result<Wei, SpendingRefused>, StoreError>;
    /// Ends a reservation and books what was spent to its key and day. Ending it again changes nothing.
    async fn book(&self, id: &ReservationId, spent: &Wei) -> Result<(), StoreError>;
    /// Books every open reservation in full; called once, before the first [`SpendingStore::reserve`].
    async fn book_open_in_full(&self) -> Result<(), StoreError>;
    /// What a key has booked and reserved.
    async fn spent(&self, key: &KeyId, day: Day) -> Result<Spent, StoreError>;
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// A limit is in the way.
    #[error(transparent)]
    Refused(#[from] SpendingRefused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A charge would pass the reservation. The payment must not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job reached the {limit} TFuelWei that were reserved for it, and was stopped")]
pub struct OverLimit {
    /// What was reserved.
    pub limit: Wei,
}

/// The bill of one job. Payments are charged to it before they are made; when its last clone is dropped, the sum is
/// booked and the rest of the reservation is free again.
#[derive(Clone, Debug)]
pub struct Bill(Arc<OpenBill>);

#[derive(Debug)]
struct OpenBill {
    /// `None` when nothing was reserved.
    id: Option<ReservationId>,
    limit: Wei,
    charged: Mutex<Wei>,
    ended: mpsc::UnboundedSender<Ended>,
}

/// A bill that has ended. As many of these can wait as there were jobs running, so the channel needs no bound.
struct Ended {
    id: ReservationId,
    spent: Wei,
}

impl Spending {
    /// Starts the task that books ended bills.
    ///
    /// # Errors
    /// The store failed.
    pub async fn start(
        store: Arc<dyn SpendingStore>,
        clock: Clock,
        daily_limit: Option<Wei>,
    ) -> Result<Self, StoreError> {
        store.book_open_in_full().await?;
        let (ended, receiver) = mpsc::unbounded_channel();
        let booked = watch::Sender::new(0);
        let booking = tokio::spawn(book_ended(store.clone(), receiver, booked.clone()));
        Ok(Self { store, clock, daily_limit, ended, booked, booking })
    }

    /// Reserves the most that a job of a key can cost, or what the limits leave of it. When jobs that run hold what is
    /// missing, it waits a moment for them to end.
    ///
    /// # Errors
    /// The limits leave less than the job costs at least, or the store failed.
    pub async fn open(&self, key: &KeyRecord, cost: &Cost) -> Result<Bill, SpendingError> {
        let deadline = Instant::now() + ENDING_WAIT;
        loop {
            let mut booked = self.booked.subscribe();
            match self.open_now(key, cost).await {
                Err(SpendingError::Refused(refused)) if refused.is_held_by_jobs() => {
                    if !matches!(timeout_at(deadline, booked.changed()).await, Ok(Ok(()))) {
                        return Err(refused.into());
                    }
                }
                other => return other,
            }
        }
    }

    async fn open_now(&self, key: &KeyRecord, cost: &Cost) -> Result<Bill, SpendingError> {
        let id = ReservationId(random_text(24));
        let limits = SpendingLimits {
            key_day: key.daily_limit.clone(),
            key_total: key.total_limit.clone(),
            all_day: self.daily_limit.clone(),
        };
        let reservation = Reservation {
            id: id.clone(),
            key: key.id.clone(),
            day: Day::of(self.clock.now_ms()),
            amount: cost.highest.clone(),
            least: cost.least.clone(),
        };
        // The bill exists before the reservation is written: if the caller goes away meanwhile, dropping it frees the
        // reservation, and booking an id that was never written changes nothing.
        let mut bill = OpenBill {
            id: Some(id),
            limit: Wei::zero(),
            charged: Mutex::default(),
            ended: self.ended.clone(),
        };
        match self.store.reserve(reservation, limits).await? {
            Ok(granted) => bill.limit = granted,
            Err(refused) => {
                bill.id = None;
                return Err(refused.into());
            }
        }
        Ok(Bill(Arc::new(bill)))
    }

    /// What a key has spent today and in its life.
    ///
    /// # Errors
    /// The store failed.
    pub async fn spent(&self, key: &KeyId) -> Result<Spent, StoreError> {
        self.store.spent(key, Day::of(self.clock.now_ms())).await
    }

    /// Waits until every bill has ended and is booked.
    pub async fn close(self) {
        drop(self.ended);
        if let Err(error) = self.booking.await {
            tracing::error!(%error, "the task that books spending ended early");
        }
    }
}

impl std::fmt::Debug for Spending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spending").field("daily_limit", &self.daily_limit).finish_non_exhaustive()
    }
}

async fn book_ended(
    store: Arc<dyn SpendingStore>,
    mut ended: mpsc::UnboundedReceiver<Ended>,
    booked: watch::Sender<u64>,
) {
    while let Some(Ended { id, spent }) = ended.recv().await {
        if let Err(error) = store.book(&id, &spent).await {
            // The reservation stays open, and so counts in full: the limits err on the safe side.
            tracing::error!(%error, reservation = id.0, "what a job cost could not be booked");
        }
        booked.send_modify(|count| *count += 1);
    }
}

impl Bill {
    /// What was reserved, in TFuelWei.
    pub fn limit(&self) -> &Wei {
        &self.0.limit
    }

    /// What was charged so far, in TFuelWei.
    pub fn charged(&self) -> Wei {
        self.0.charged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Charges one payment.
    ///
    /// # Errors
    /// The sum would pass the reservation; nothing was charged.
    pub fn charge(&self, amount: &Wei) -> Result<(), OverLimit> {
        let mut charged = self.0.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = &*charged + amount;
        if sum > self.0.limit {
            return Err(OverLimit { limit: self.0.limit.clone() });
        }
        *charged = sum;
        Ok(())
    }
}

impl Drop for OpenBill {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let spent = std::mem::take(self.charged.get_mut().unwrap_or_else(PoisonError::into_inner));
        // The receiver lives until every sender is gone; when the whole program ends, the reservation stays open.
        let _ = self.ended.send(Ended { id, spent });
    }
}
