//! Why a transaction is refused.

use theta_types::{
    Address, Coins, Height, MAX_ACCOUNTS_PER_TX, MAX_RESERVE_DURATION, MIN_RESERVE_DURATION, ResourceId,
    RlpError, TxKind, Wei,
};

use crate::result_code::ResultCode;

/// Why a transaction is refused. Display gives the reference's words, which clients of the RPC match or show.
///
/// What its sender can do: correct the named value and sign anew. A block that holds such a transaction is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no transaction.
    #[error("Error decoding tx: {0}")]
    Undecodable(RlpError),
    /// The number of its kind is none of the chain's.
    #[error("Error decoding tx: Unknown TX type: {0}")]
    UnknownKind(u16),
    /// A kind of transaction that this version does not execute. The chain may well accept it.
    #[error("{} transactions are not supported by this version of Thetis", .0.name())]
    UnsupportedKind(TxKind),
    /// A slash: it decodes, and no node executes it.
    #[error("Unknown tx type")]
    NeverExecuted,
    /// Only proposers make such a transaction, inside a block.
    #[error("Unauthorized transaction, should skip")]
    Unauthorized,
    /// Nobody pays or nobody receives.
    #[error("Transaction needs at least one input and one output")]
    NoInputOrOutput,
    /// More accounts than one transaction may touch.
    #[error("Transaction affects {0} accounts, at most {MAX_ACCOUNTS_PER_TX} are allowed")]
    TooManyAccounts(usize),
    /// The same address pays twice.
    #[error("getInputs - Duplicated address: {0}")]
    DuplicateInput(Address),
    /// The same address receives twice, or pays and receives.
    #[error("getOrMakeOutputs - Duplicated address: {0}")]
    DuplicateOutput(Address),
    /// The account that should pay or sign does not exist.
    #[error("getOrMakeInputImpl - Unknown address: {0}")]
    UnknownAddress(Address),
    /// Native sends neither come from nor go to contracts.
    #[error("Sending Theta/TFuel from or to a smart contract through a SendTx is not allowed: {0}")]
    Contract(Address),
    /// Not the account's next sequence.
    #[error("ValidateInputAdvanced: Got {got}, expected {expected}. (acc.seq={account})")]
    Sequence {
        /// What the transaction says.
        got: u64,
        /// What it should say.
        expected: u64,
        /// What the account has.
        account: u64,
    },
    /// The balance is less than the input.
    #[error("Insufficient fund: balance is {}, tried to send {}", Amount(.balance), Amount(.needed))]
    InsufficientFund {
        /// What is there.
        balance: Coins,
        /// What the input names.
        needed: Coins,
    },
    /// The balance is less than everything that the transaction takes from it.
    #[error("Insufficient fund: balance is {}, required minimal balance is {}", Amount(.balance), Amount(.needed))]
    BelowMinimalBalance {
        /// What is there.
        balance: Coins,
        /// What it takes.
        needed: Coins,
        /// The code of this rule: some kinds have their own.
        code: ResultCode,
    },
    /// The signature is missing, broken, or of another key.
    #[error("Signature verification failed, SignBytes: {}", hex::encode(.sign_bytes))]
    Signature {
        /// What should have been signed.
        sign_bytes: Vec<u8>,
        /// The code of this rule: payments and coinbases count it as generic.
        code: ResultCode,
    },
    /// The fee is too small, or names Theta.
    #[error("Insufficient fee. Transaction fee needs to be at least {minimum} TFuelWei")]
    Fee {
        /// Smallest fee for this transaction.
        minimum: Wei,
    },
    /// The account cannot pay the fee at the moment when it is charged.
    #[error("failed to charge transaction fee")]
    FeeNotCharged,
    /// What comes in is not what goes out.
    #[error("Input total ({}) != output total + fees ({})", Amount(.inputs), Amount(.outputs_and_fee))]
    Unbalanced {
        /// Sum of the inputs.
        inputs: Coins,
        /// Sum of the outputs and the fee.
        outputs_and_fee: Coins,
    },
    /// A reservation of nothing.
    #[error("Reserved fund not specified")]
    NothingReserved,
    /// Only TFuel can be reserved.
    #[error("Only TFuel can be reserved for payments")]
    ThetaReserved,
    /// Too short or too long.
    #[error("A duration of {0} blocks is not within [{MIN_RESERVE_DURATION}, {MAX_RESERVE_DURATION}]")]
    Duration(u64),
    /// The balance does not cover fund and collateral.
    #[error("Not enough balance for fund and collateral: balance is {}, needed are {}", Amount(.balance), Amount(.needed))]
    ReserveNotCovered {
        /// What is there.
        balance: Coins,
        /// Fund and collateral.
        needed: Coins,
    },
    /// The collateral has to exceed the fund.
    #[error("Collateral {} must exceed the reserved fund {}", Amount(.collateral), Amount(.fund))]
    Collateral {
        /// What would be locked.
        collateral: Coins,
        /// What payments could take.
        fund: Coins,
    },
    /// An existing reserve has the same or a later sequence.
    #[error("Reserve sequence {0} is not above that of an existing reserve")]
    ReserveSequence(u64),
    /// No such reserve, for a release.
    #[error("No matching ReserveSequence")]
    NothingToRelease,
    /// The reserve cannot be released yet.
    #[error("Fund cannot be released until blockheight {0}")]
    NotReleasable(Height),
    /// Payer and payee are the same.
    #[error("Source and target address for the service payment cannot be identical: {0}")]
    PaysItself(Address),
    /// Only TFuel can be paid from a reserve.
    #[error("Only TFuel can be used for service payments")]
    ThetaPaid,
    /// The payer has no such reserve.
    #[error("No matching ReservedFund with reserveSequence {0}")]
    NoReserve(u64),
    /// The reserve has ended.
    #[error(
        "ReservedFund with reserveSequence {reserve_sequence} expired at blockheight {end}, the current blockheight is {height}"
    )]
    ReserveExpired {
        /// The reserve.
        reserve_sequence: u64,
        /// Last height at which it pays.
        end: Height,
        /// Parent's height now.
        height: Height,
    },
    /// A payment of this or a later sequence is recorded already.
    #[error("Invalid payment sequence: got {got}, the last one recorded is {last}")]
    PaymentSequence {
        /// What the payment says.
        got: u64,
        /// The largest one on record for this target.
        last: u64,
    },
    /// The parts add up to more than the payment.
    #[error("The split rule of resource {0} gives away more than the payment")]
    OverSplit(ResourceId),
    /// A part above the whole, or parts above the whole together.
    #[error("Invalid split percentage: {0}")]
    SplitPercentage(u64),
    /// Somebody else made the rule for this resource.
    #[error("Cannot create multiple split rules for the same resourceID")]
    ForeignSplitRule,
    /// A block has one coinbase at most.
    #[error("Another coinbase transaction has been processed for the current block")]
    SecondCoinbase,
    /// The coinbase's proposer is no validator.
    #[error("The coinbase's proposer {0} is not a validator")]
    NotAValidator(Address),
    /// The coinbase is made for another block.
    #[error(
        "Invalid block height for the coinbase transaction, tx_block_height = {got}, state_height = {expected}"
    )]
    CoinbaseHeight {
        /// What the transaction says.
        got: Height,
        /// The parent's height.
        expected: Height,
    },
    /// The coinbase pays something else than the rewards.
    #[error("The coinbase pays {address} {}, its reward is {}", Amount(.paid), Amount(.reward))]
    CoinbaseReward {
        /// Whom.
        address: Address,
        /// What the transaction gives.
        paid: Coins,
        /// What it should give.
        reward: Coins,
    },
    /// The coinbase pays others than those who have a reward.
    #[error("The coinbase has {outputs} outputs, rewards go to {rewards} accounts")]
    CoinbaseOutputs {
        /// Accounts that it pays.
        outputs: usize,
        /// Accounts that have a reward.
        rewards: usize,
    },
}

impl Refusal {
    /// The reference's number for it.
    pub fn code(&self) -> ResultCode {
        match self {
            Self::Unauthorized => ResultCode::UnauthorizedTx,
            Self::Sequence { .. } => ResultCode::InvalidSequence,
            Self::InsufficientFund { .. } => ResultCode::InsufficientFund,
            Self::BelowMinimalBalance { code, .. } | Self::Signature { code, .. } => *code,
            Self::Fee { .. } => ResultCode::InvalidFee,
            Self::NothingReserved => ResultCode::ReservedFundNotSpecified,
            Self::ThetaReserved => ResultCode::InvalidFundToReserve,
            Self::Duration(_)
            | Self::ReserveNotCovered { .. }
            | Self::Collateral { .. }
            | Self::ReserveSequence(_) => ResultCode::ReserveFundCheckFailed,
            Self::NothingToRelease | Self::NotReleasable(_) => ResultCode::ReleaseFundCheckFailed,
            Self::NoReserve(_) | Self::ReserveExpired { .. } | Self::PaymentSequence { .. } => {
                ResultCode::CheckTransferReservedFundFailed
            }
            Self::ForeignSplitRule => ResultCode::UnauthorizedToUpdateSplitRule,
            Self::Undecodable(_)
            | Self::UnsupportedKind(_)
            | Self::UnknownKind(_)
            | Self::NeverExecuted
            | Self::NoInputOrOutput
            | Self::TooManyAccounts(_)
            | Self::DuplicateInput(_)
            | Self::DuplicateOutput(_)
            | Self::UnknownAddress(_)
            | Self::Contract(_)
            | Self::FeeNotCharged
            | Self::Unbalanced { .. }
            | Self::PaysItself(_)
            | Self::ThetaPaid
            | Self::OverSplit(_)
            | Self::SplitPercentage(_)
            | Self::SecondCoinbase
            | Self::NotAValidator(_)
            | Self::CoinbaseHeight { .. }
            | Self::CoinbaseReward { .. }
            | Self::CoinbaseOutputs { .. } => ResultCode::GenericError,
        }
    }
}

/// Coins as the reference prints them: clients extract the numbers (spec 06 section 1.8).
struct Amount<'a>(&'a Coins);

impl std::fmt::Display for Amount<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ThetaWei, {} TFuelWei", self.0.theta, self.0.tfuel)
    }
}
