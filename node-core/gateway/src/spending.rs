//! Spending limits: the most a job can cost is reserved before it starts, and what it did cost is booked when it ends.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use theta_types::Wei;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{Clock, KeyId, KeyRecord, StoreError, identifiers::random_text};

/// Reserves and books what keys spend. Reservations that a crash left open count in full.
pub struct Spending {
    store: Arc<dyn SpendingStore>,
    clock: Clock,
    daily_limit: Option<Wei>,
    ended: mpsc::UnboundedSender<Ended>,
    booking: JoinHandle<()>,
}

/// Keeps reservations and sums.
#[async_trait]
pub trait SpendingStore: Send + Sync {
    /// Keeps a reservation if, with it, no limit is passed: what is booked and what is reserved count together. All or
    /// nothing, and one call at a time.
    async fn reserve(
        &self,
        reservation: Reservation,
        limits: SpendingLimits,
    ) -> Result<Result<(), SpendingRefused>, StoreError>;
    /// Ends a reservation and books what was spent to its key and day. Ending it again changes nothing.
    async fn book(&self, id: &ReservationId, spent: &Wei) -> Result<(), StoreError>;
    /// Books every open reservation in full; called once, before the first [`SpendingStore::reserve`].
    async fn book_open_in_full(&self) -> Result<(), StoreError>;
    /// What a key has booked and reserved.
    async fn spent(&self, key: &KeyId, day: Day) -> Result<Spent, StoreError>;
}

/// The most that one job may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// Who spends.
    pub key: KeyId,
    /// The day that it counts for.
    pub day: Day,
    /// TFuelWei.
    pub amount: Wei,
}

/// A reservation's id: random text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReservationId(pub String);

/// A UTC day: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time in Unix milliseconds.
    pub fn of(unix_ms: i64) -> Self {
        Self(unix_ms.div_euclid(86_400_000))
    }
}

/// Limits that a reservation must fit, in TFuelWei; absent means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendingLimits {
    /// Of the key, for the day.
    pub key_day: Option<Wei>,
    /// Of the key, for its life.
    pub key_total: Option<Wei>,
    /// Of all keys together, for the day.
    pub all_day: Option<Wei>,
}

/// What a key has spent, in TFuelWei; open reservations count in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On the day that was asked for.
    pub day: Wei,
    /// In the key's life.
    pub total: Wei,
}

/// A limit that the next job would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendingRefused {
    /// Wait for the next UTC day, or raise the key's limit.
    #[error("this key's spending limit for today is reached; it starts anew at midnight UTC")]
    KeyDay,
    /// Make another key, or raise this one's limit.
    #[error("this key's spending limit is reached; ask the gateway's owner for another key")]
    KeyTotal,
    /// Wait for the next UTC day, or raise the gateway's limit.
    #[error("this gateway's spending limit for today is reached; it starts anew at midnight UTC")]
    AllDay,
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
    id: ReservationId,
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
        let booking = tokio::spawn(book_ended(store.clone(), receiver));
        Ok(Self { store, clock, daily_limit, ended, booking })
    }

    /// Reserves `amount` TFuelWei for a job of a key.
    ///
    /// # Errors
    /// A limit would be passed, or the store failed.
    pub async fn open(&self, key: &KeyRecord, amount: Wei) -> Result<Bill, SpendingError> {
        let id = ReservationId(random_text(24));
        let limits = SpendingLimits {
            key_day: key.daily_limit.clone(),
            key_total: key.total_limit.clone(),
            all_day: self.daily_limit.clone(),
        };
        let day = Day::of(self.clock.now_ms());
        let reservation = Reservation { id: id.clone(), key: key.id.clone(), day, amount: amount.clone() };
        // The bill exists before the reservation is written: if the caller goes away meanwhile, dropping it frees the
        // reservation, and booking an id that was never written changes nothing.
        let bill = Bill(Arc::new(OpenBill {
            id,
            limit: amount,
            charged: Mutex::default(),
            ended: self.ended.clone(),
        }));
        self.store.reserve(reservation, limits).await??;
        Ok(bill)
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

async fn book_ended(store: Arc<dyn SpendingStore>, mut ended: mpsc::UnboundedReceiver<Ended>) {
    while let Some(Ended { id, spent }) = ended.recv().await {
        if let Err(error) = store.book(&id, &spent).await {
            // The reservation stays open, and so counts in full: the limits err on the safe side.
            tracing::error!(%error, reservation = id.0, "what a job cost could not be booked");
        }
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
        let spent = std::mem::take(self.charged.get_mut().unwrap_or_else(PoisonError::into_inner));
        // The receiver lives until every sender is gone; when the whole program ends, the reservation stays open.
        let _ = self.ended.send(Ended { id: self.id.clone(), spent });
    }
}
