//! Theta chain types: RLP, hashes, keys, coins, transactions, votes, blocks.
//!
//! This crate owns the bytes of the chain: how each value is written, read, hashed, signed and shown as JSON. It does no I/O, keeps no
//! state, and knows nothing of what a transaction does. The rules that differ between networks are data: [`ChainRules`].
#![warn(missing_docs)]

pub mod json;
pub mod rlp;

mod account;
mod aggregated_votes;
mod block;
mod chain_rules;
mod coin_text;
mod coins;
mod contract_address;
mod hash;
mod hash_rand;
mod header;
mod height;
mod keys;
mod resource;
mod signature;
mod split_rule;
mod stake;
mod text;
mod tx;
mod validators;
mod vote;
mod wei;

pub use account::{Account, RESERVED_FUND_FREEZE_PERIOD, ReservedFund, TransferRecord};
pub use aggregated_votes::{BlsSignature, EdgeNodeVotes, GuardianVotes};
pub use alloy_primitives::{Address, B256, Bloom};
pub use block::{Block, Proposal};
pub use chain_rules::{
    ChainRules, ForkHeights, ForksFileError, MAINNET_GENESIS_HASH, PRIVATENET_GENESIS_HASH,
};
pub use coin_text::{ParseCoinError, format_coins, parse_coin_amount};
pub use coins::Coins;
pub use contract_address::contract_address;
pub use hash::{BlockHash, EMPTY_CODE_HASH, EMPTY_ROOT_HASH, SELF_DESTRUCTED_CODE_HASH, TxHash, keccak256};
pub use hash_rand::HashRand;
pub use header::{BlockHeader, HeaderError, HeaderForm};
pub use height::{CHECKPOINT_INTERVAL, Epoch, Height, Timestamp};
pub use keys::{KeyError, PublicKey, SecretKey};
pub use resource::ResourceId;
pub use rlp::{Decode, Encode, RlpError};
pub use signature::Signature;
pub use split_rule::{Split, SplitRule};
pub use stake::{INVALID_RETURN_HEIGHT, Stake, StakeHolder};
pub use text::{
    HexError, checksum_text, is_address, lenient_address, lenient_hash, parse_address, parse_hash,
};
pub use tx::{
    CoinbaseTx, MAX_ACCOUNTS_PER_TX, MAX_RAW_TX_LENGTH, MAX_RESERVE_DURATION, MIN_RESERVE_DURATION,
    ReleaseFundTx, ReserveFundTx, SendTx, ServicePaymentTx, SignWrapper, SmartContractTx, SplitRuleTx,
    Transaction, TxError, TxInput, TxKind, TxOutput, signature_accepted,
};
pub use validators::{HeightList, MAX_VALIDATORS, Validator, ValidatorCandidatePool, ValidatorSet};
pub use vote::{CommitCertificate, Vote, VoteSet};
pub use wei::{DECIMALS, ParseWeiError, Wei};
