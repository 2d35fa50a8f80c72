//! The kinds of transactions of the chain.

/// A kind of transaction, with its number on the wire (spec 01 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum TxKind {
    /// The proposer's, at most one a block.
    Coinbase = 0,
    /// Never executed.
    Slash = 1,
    /// Coins from accounts to accounts.
    Send = 2,
    /// Sets coins aside for payments.
    ReserveFund = 3,
    /// Asks for reserved coins back.
    ReleaseFund = 4,
    /// A payment from a reserved fund.
    ServicePayment = 5,
    /// A rule that splits payments.
    SplitRule = 6,
    /// Creates or calls a contract.
    SmartContract = 7,
    /// Stakes to a validator or guardian.
    DepositStake = 8,
    /// Takes a stake back.
    WithdrawStake = 9,
    /// Stakes to a guardian or elite edge node, with its voting key.
    DepositStakeV2 = 10,
    /// A rule that splits stake rewards.
    StakeRewardDistribution = 11,
}

impl TxKind {
    const ALL: [TxKind; 12] = [
        Self::Coinbase,
        Self::Slash,
        Self::Send,
        Self::ReserveFund,
        Self::ReleaseFund,
        Self::ServicePayment,
        Self::SplitRule,
        Self::SmartContract,
        Self::DepositStake,
        Self::WithdrawStake,
        Self::DepositStakeV2,
        Self::StakeRewardDistribution,
    ];

    /// The kind with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Its name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coinbase => "CoinbaseTx",
            Self::Slash => "SlashTx",
            Self::Send => "SendTx",
            Self::ReserveFund => "ReserveFundTx",
            Self::ReleaseFund => "ReleaseFundTx",
            Self::ServicePayment => "ServicePaymentTx",
            Self::SplitRule => "SplitRuleTx",
            Self::SmartContract => "SmartContractTx",
            Self::DepositStake => "DepositStakeTx",
            Self::WithdrawStake => "WithdrawStakeTx",
            Self::DepositStakeV2 => "DepositStakeTxV2",
            Self::StakeRewardDistribution => "StakeRewardDistributionTx",
        }
    }
}
