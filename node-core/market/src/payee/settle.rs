//! What brings vouchers to the chain, and sees to it that they got there.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use theta_types::{Coins, Height, Transaction};
use theta_wallet::{ChainAccess, ChainError, TxStatus, Voucher, Wallet};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{PayeeLedger, SettlementDue, SubmittedPayment, handle::report};
use crate::{
    Clock, LineId,
    owner::{Closed, Owner},
};

/// Without a new height for this long, the chain is asked all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks, each at another height, after which a payment that is refused and unknown to the chain is given up.
const REFUSALS_UNTIL_GIVEN_UP: u32 = 10;

/// The task that settles.
pub(super) struct Settler {
    pub chain: Arc<dyn ChainAccess>,
    pub wallet: Wallet,
    pub ledger: Owner<PayeeLedger>,
    pub clock: Arc<dyn Clock>,
    pub closing: watch::Sender<u64>,
    pub poked: watch::Receiver<u64>,
    /// How often a payment was refused, and the height of the last time.
    pub refusals: HashMap<LineId, (u32, Height)>,
}

impl Settler {
    pub async fn run(mut self) {
        let mut heights = self.chain.heights();
        loop {
            let height = *heights.borrow_and_update();
            if self.look(height).await.is_err() {
                return;
            }
            let changed = async {
                tokio::select! {
                    changed = heights.changed() => changed.is_ok(),
                    changed = self.poked.changed() => changed.is_ok(),
                }
            };
            match tokio::time::timeout(PATIENCE, changed).await {
                Ok(true) | Err(_) => {}
                // The chain or the payee is gone; the latter ends this task.
                Ok(false) => tokio::time::sleep(PATIENCE).await,
            }
        }
    }

    /// Takes in what the chain says, follows payments that were sent, and sends those that are due.
    async fn look(&mut self, height: Height) -> Result<(), Closed> {
        let mut seen = HashSet::new();
        for payer in self.ledger.with(|ledger| ledger.watched()).await? {
            match self.chain.account(payer).await {
                Ok(account) => {
                    let taken =
                        self.ledger.with(move |ledger| ledger.observe(payer, account.as_ref(), height));
                    match taken.await? {
                        Ok(()) => drop(seen.insert(payer)),
                        Err(error) => report(&error, "a payer's account could not be recorded"),
                    }
                }
                Err(error) => report(&error, "a payer's account could not be read"),
            }
        }
        // What the account says decides whether a payment moved anything, so it must be as new as the look at the payment.
        let pending = self.ledger.with(|ledger| ledger.pending()).await?;
        for payment in pending.into_iter().filter(|payment| seen.contains(&payment.line.counterparty)) {
            self.follow(payment, height).await?;
        }
        let now = self.clock.unix_seconds();
        let due = self.ledger.with(move |ledger| ledger.due(now)).await?;
        self.closing.send_modify(|count| *count += 1);
        for settlement in due {
            self.submit(settlement, height).await?;
        }
        Ok(())
    }

    /// Makes a payment, keeps it, sends it.
    async fn submit(&mut self, due: SettlementDue, height: Height) -> Result<(), Closed> {
        let voucher = match Voucher::decode(&due.voucher) {
            Ok(voucher) => voucher,
            Err(error) => {
                report(&error, "a voucher in the book cannot be read");
                return Ok(());
            }
        };
        let fee = self.ledger.with(|ledger| ledger.terms().fee.clone()).await?;
        let payment = match voucher.settlement(&self.chain.chain_id(), fee, &self.wallet) {
            Ok(payment) => payment,
            Err(error) => {
                report(&error, "vouchers wait to be settled");
                return Ok(());
            }
        };
        debug_assert_eq!(payment.source.coins, Coins::tfuel(due.amount.clone()));
        let transaction = Transaction::ServicePayment(payment);
        let (raw, hash) = (transaction.encode(), transaction.hash());
        let (line, amount, kept) = (due.line, due.amount.clone(), raw.clone());
        let recorded = self.ledger.with(move |ledger| ledger.submitted(line, amount, hash, kept)).await?;
        if let Err(error) = recorded {
            report(&error, "a payment could not be recorded, so it is not sent");
            return Ok(());
        }
        info!(payer = %due.line.counterparty, amount = %due.amount, transaction = %hash, "settling");
        self.send(due.line, raw, height).await
    }

    async fn send(&mut self, line: LineId, raw: Vec<u8>, height: Height) -> Result<(), Closed> {
        match self.chain.submit(raw).await {
            Ok(_) => {}
            Err(ChainError::Refused(why)) => {
                debug!(%why, "the chain refused a payment");
                let (count, last) = self.refusals.entry(line).or_insert((0, Height(0)));
                if height > *last {
                    (*count, *last) = (*count + 1, height);
                }
                if *count >= REFUSALS_UNTIL_GIVEN_UP {
                    warn!(%why, "a payment is given up");
                    self.refusals.remove(&line);
                    self.give_up(line).await?;
                }
            }
            Err(error) => report(&error, "a payment could not be sent, it is tried again"),
        }
        Ok(())
    }

    /// A payment that was sent and that the payer's account does not record.
    async fn follow(&mut self, payment: SubmittedPayment, height: Height) -> Result<(), Closed> {
        match self.chain.transaction(payment.transaction).await {
            Ok(TxStatus::Finalized { height: included }) if included <= height => {
                // It stood in a block whose effects were taken in above, and the account does not record it: it moved
                // nothing, because the reserve had been drained to less. A smaller voucher may still do.
                warn!(payer = %payment.line.counterparty, transaction = %payment.transaction,
                    "a payment moved nothing");
                self.refusals.remove(&payment.line);
                self.give_up(payment.line).await
            }
            Ok(TxStatus::NotFound | TxStatus::Abandoned) => {
                self.send(payment.line, payment.raw, height).await
            }
            Ok(TxStatus::Pending | TxStatus::Finalized { .. }) => Ok(()),
            Err(error) => {
                report(&error, "a payment could not be looked up");
                Ok(())
            }
        }
    }

    async fn give_up(&self, line: LineId) -> Result<(), Closed> {
        if let Err(error) = self.ledger.with(move |ledger| ledger.submission_failed(line)).await? {
            report(&error, "a payment that failed could not be recorded");
        }
        Ok(())
    }
}
