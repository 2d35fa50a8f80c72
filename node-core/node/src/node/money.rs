//! Both sides of payments, from this node's settings. They run whether the wallet is locked or not: vouchers are kept, and
//! what the chain says is taken in.

use std::sync::Arc;

use anyhow::Context;
use edge_jobs::JobKind;
use edge_market::{
    SystemClock,
    payee::{Payee, PayeeConfig, PayeeStore, PayeeTerms},
    payer::{Payer, PayerConfig, PayerTerms},
};
use theta_types::Wei;
use theta_wallet::{TransactionSender, Wallet, fee_height, regular_fee};

use crate::{
    chain::NodeChain,
    database::{Database, PayeeBooks, PayerBooks},
    settings::Settings,
};

/// The two sides.
#[derive(Clone, Debug)]
pub(crate) struct Money {
    /// Pays others.
    pub payer: Payer,
    /// Is paid; absent on a node that never offered work, so that it registers nothing on the chain.
    pub payee: Option<Payee>,
}

impl Money {
    pub fn start(
        settings: &Settings,
        database: &Database,
        chain: &NodeChain,
        transactions: &TransactionSender,
        wallet: &Wallet,
    ) -> anyhow::Result<Self> {
        let height = fee_height(*chain.access.heights().borrow());
        let fee = regular_fee(height, &chain.rules.forks);
        let payer = Payer::start(PayerConfig {
            wallet: wallet.clone(),
            chain: chain.access.clone(),
            transactions: transactions.clone(),
            store: Arc::new(PayerBooks(database.clone())),
            terms: payer_terms(settings, fee.clone()),
            clock: Arc::new(SystemClock),
        })
        .context("the record of what this node pays cannot be read")?;
        let store = Arc::new(PayeeBooks(database.clone()));
        let offers = JobKind::ALL.into_iter().any(|kind| settings.offers(kind));
        let earned_before =
            store.load().context("the record of what this node earned cannot be read")?.resource.is_some();
        let payee = match offers || earned_before {
            true => Some(
                Payee::start(PayeeConfig {
                    wallet: wallet.clone(),
                    chain: chain.access.clone(),
                    transactions: transactions.clone(),
                    store,
                    terms: payee_terms(settings, fee),
                    clock: Arc::new(SystemClock),
                })
                .context("the record of what this node earned cannot be read")?,
            ),
            false => None,
        };
        Ok(Self { payer, payee })
    }
}

fn payer_terms(settings: &Settings, fee: Wei) -> PayerTerms {
    let payments = &settings.payments;
    let daily = payments.daily_limit.wei().clone();
    PayerTerms {
        fee,
        fund: payments.reserve.wei().clone(),
        duration: payments.reserve_blocks,
        // What may be spent in a day may be locked, with as much collateral.
        max_locked: &daily * 2,
        per_day: Some(daily),
        ..PayerTerms::default()
    }
}

fn payee_terms(settings: &Settings, fee: Wei) -> PayeeTerms {
    PayeeTerms {
        fee,
        settle_at_fees: settings.payments.settle_at_fees,
        credit: settings.payments.credit.wei().clone(),
        ..PayeeTerms::default()
    }
}
