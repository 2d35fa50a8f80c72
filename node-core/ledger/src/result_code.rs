//! The reference's numeric result codes.

/// How a transaction fared, as the reference counts it (spec 02 section 10). The codes are no consensus: only whether a transaction is
/// accepted is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ResultCode {
    /// Accepted.
    Ok = 0,
    /// Refused for a reason without a number of its own.
    GenericError = 100_000,
    /// A signature is missing or somebody else's.
    InvalidSignature = 100_001,
    /// The sequence is not the account's next one.
    InvalidSequence = 100_002,
    /// The balance does not cover what is sent, reserved or charged.
    InsufficientFund = 100_003,
    /// Only block proposers may make such a transaction.
    UnauthorizedTx = 100_005,
    /// The fee is below the minimum, or not in TFuel.
    InvalidFee = 100_006,
    /// A reservation's duration, collateral or order is wrong.
    ReserveFundCheckFailed = 101_001,
    /// A reservation of nothing.
    ReservedFundNotSpecified = 101_002,
    /// A reservation of Theta.
    InvalidFundToReserve = 101_003,
    /// The reserved fund is frozen or does not exist.
    ReleaseFundCheckFailed = 102_001,
    /// A payment without a fund, after its end, or out of order.
    CheckTransferReservedFundFailed = 103_001,
    /// The resource's rule belongs to somebody else.
    UnauthorizedToUpdateSplitRule = 104_001,
}

impl ResultCode {
    /// The number.
    pub fn number(self) -> u32 {
        self as u32
    }
}
