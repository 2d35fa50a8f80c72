//! When a provider trusts, and when it settles.

use theta_types::Wei;

use crate::payer::FEE;

/// Settings of a provider. Amounts are TFuelWei.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayeeTerms {
    /// Fee of a payment; the provider pays it.
    pub fee: Wei,
    /// A line is settled when it exceeds this many fees.
    pub settle_at_fees: u64,
    /// A line is settled, and no more work is done on its reserve, when this many blocks or fewer are left of it.
    pub settle_before_end: u64,
    /// How much one payer may owe without a reserve, and how much of it may be lost before it is refused.
    pub credit: Wei,
    /// Sessions that one payer may have open. Each may owe one unit.
    pub sessions_per_payer: usize,
    /// Payers without a reserve that may be served at one time on credit, so that fresh wallets cannot draw without end.
    pub payers_on_credit: usize,
    /// Blocks in which a fee's worth of what a payer left unpaid (or the credit, if that is more) is forgiven, so that it may
    /// have a session again.
    pub forgive_after: u64,
    /// Seconds that a payer with open sessions gets to send its last voucher of a line before the line is settled.
    pub freeze_wait: u64,
}

impl Default for PayeeTerms {
    fn default() -> Self {
        Self {
            fee: Wei::from(FEE),
            settle_at_fees: 10,
            settle_before_end: 20,
            credit: Wei::from(50_000_000_000_000_000u128),
            sessions_per_payer: 16,
            payers_on_credit: 32,
            // An hour, at six seconds a block.
            forgive_after: 600,
            freeze_wait: 5,
        }
    }
}

impl PayeeTerms {
    /// The line total from which it is settled.
    pub fn threshold(&self) -> Wei {
        &self.fee * self.settle_at_fees
    }
}
