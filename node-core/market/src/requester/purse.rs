//! Who a request's payments are charged to.

use theta_types::Wei;

/// The purse does not hold the next payment. The job is stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PurseEmpty(pub String);

/// Something that payments of one request are charged to before they are made, such as a gateway key's budget.
pub trait Purse: Send + Sync + 'static {
    /// Charges TFuelWei, or says why not; then nothing is paid.
    fn charge(&self, amount: &Wei) -> Result<(), PurseEmpty>;
}

/// A purse without a bottom: the payer's own limits still hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenPurse;

impl Purse for OpenPurse {
    fn charge(&self, _amount: &Wei) -> Result<(), PurseEmpty> {
        Ok(())
    }
}
