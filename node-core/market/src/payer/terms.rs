//! What a payer is willing to lock and to spend.

use theta_types::{MAX_RESERVE_DURATION, MIN_RESERVE_DURATION, Wei};

/// The fee of every payment, reserve and rule since June 2021, in TFuelWei: 0.3 TFuel (spec 02 section 6.0).
pub const FEE: u128 = 300_000_000_000_000_000;

/// Settings of a payer. Amounts are TFuelWei, times are blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayerTerms {
    /// Fee of a transaction that reserves a fund, and of a payment. So much of each fund stays free.
    pub fee: Wei,
    /// How much is reserved for a provider at a time. More, when one job needs more.
    pub fund: Wei,
    /// How long it is reserved: 300 to 43,200 blocks.
    pub duration: u64,
    /// A new reserve is opened when this many blocks, or fewer, are left of the old one and work goes on.
    pub renew_before_end: u64,
    /// Nothing more is signed on a reserve with this many blocks, or fewer, left.
    pub stop_before_end: u64,
    /// A new reserve is opened when less than this part of the old one is left and work goes on.
    pub refill_below_percent: u64,
    /// The most that may be locked at one time, funds and collaterals together.
    pub max_locked: Wei,
    /// The most that may be agreed to on one day (UTC); `None` for no limit.
    pub per_day: Option<Wei>,
}

impl Default for PayerTerms {
    fn default() -> Self {
        Self {
            fee: Wei::from(FEE),
            fund: Wei::from_coins(20),
            duration: 1_200,
            renew_before_end: 40,
            stop_before_end: 20,
            refill_below_percent: 25,
            max_locked: Wei::from_coins(500),
            per_day: None,
        }
    }
}

impl PayerTerms {
    /// The duration within what the chain takes.
    pub fn chain_duration(&self) -> u64 {
        self.duration.clamp(MIN_RESERVE_DURATION, MAX_RESERVE_DURATION)
    }

    /// The least collateral for a fund: it must exceed the fund (spec 02 section 6.2), and one wei does.
    pub fn collateral_for(fund: &Wei) -> Wei {
        fund + &Wei::from(1u64)
    }
}
