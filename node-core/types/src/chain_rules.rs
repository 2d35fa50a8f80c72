//! The rules that differ between networks: chain id, fork heights, locking periods.

use std::collections::BTreeMap;

use alloy_primitives::b256;
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use crate::hash::{BlockHash, keccak256};
use crate::height::Height;

/// From which block height each rule holds (spec 01 section 8.1). A rule is active when the height of the block that is built or
/// applied reaches it. JSON uses the reference's names, as in a `forks.json` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForkHeights {
    /// Validators earn TFuel at checkpoints.
    #[serde(rename = "HeightEnableValidatorReward")]
    pub validator_reward: Height,
    /// Guardians: header item 13 and the second form of the stake deposit.
    #[serde(rename = "HeightEnableTheta2")]
    pub theta2: Height,
    /// A guardian needs 1,000 Theta instead of 10,000.
    #[serde(rename = "HeightLowerGNStakeThresholdTo1000")]
    pub guardian_stake_1000: Height,
    /// Smart contracts; sends from or to contracts are refused.
    #[serde(rename = "HeightEnableSmartContract")]
    pub smart_contract: Height,
    /// Rewards go to a random sample.
    #[serde(rename = "HeightSampleStakingReward")]
    pub sample_staking_reward: Height,
    /// Fees of June 2021.
    #[serde(rename = "HeightJune2021FeeAdjustment")]
    pub june_2021_fees: Height,
    /// Elite edge nodes: header item 14 and their stakes and rewards.
    #[serde(rename = "HeightEnableTheta3")]
    pub theta3: Height,
    /// Signatures and chain ids in Ethereum's manner.
    #[serde(rename = "HeightRPCCompatibility")]
    pub rpc_compatibility: Height,
    /// The second wrapper of sign bytes is accepted too.
    #[serde(rename = "HeightTxWrapperExtension")]
    pub tx_wrapper_extension: Height,
    /// Contract transactions carry Theta.
    #[serde(rename = "HeightSupportThetaTokenInSmartContract")]
    pub theta_in_smart_contract: Height,
    /// A validator needs 200,000 Theta instead of 2,000,000.
    #[serde(rename = "HeightValidatorStakeChangedTo200K")]
    pub validator_stake_200k: Height,
    /// Wrapped Theta; gas is checked before a contract runs.
    #[serde(rename = "HeightSupportWrappedTheta")]
    pub wrapped_theta: Height,
    /// Chain ids of subchains.
    #[serde(rename = "HeightEnableMetachainSupport")]
    pub metachain_support: Height,
}

impl ForkHeights {
    /// The heights of mainnet and of the public test networks.
    pub const fn mainnet() -> Self {
        Self {
            validator_reward: Height(4_164_982),
            theta2: Height(5_877_350),
            guardian_stake_1000: Height(8_411_427),
            smart_contract: Height(8_411_427),
            sample_staking_reward: Height(9_497_418),
            june_2021_fees: Height(10_709_540),
            theta3: Height(10_968_061),
            rpc_compatibility: Height(11_354_820),
            tx_wrapper_extension: Height(12_749_952),
            theta_in_smart_contract: Height(13_123_789),
            validator_stake_200k: Height(14_526_120),
            wrapped_theta: Height(17_285_755),
            metachain_support: Height(17_790_756),
        }
    }

    /// Every rule from the same height.
    pub const fn all_at(height: Height) -> Self {
        Self {
            validator_reward: height,
            theta2: height,
            guardian_stake_1000: height,
            smart_contract: height,
            sample_staking_reward: height,
            june_2021_fees: height,
            theta3: height,
            rpc_compatibility: height,
            tx_wrapper_extension: height,
            theta_in_smart_contract: height,
            validator_stake_200k: height,
            wrapped_theta: height,
            metachain_support: height,
        }
    }
}

/// Hash of mainnet's genesis block (spec 01 section 5).
pub const MAINNET_GENESIS_HASH: BlockHash =
    BlockHash(b256!("d8836c6cf3c3ccea0b015b4ed0f9efb0ffe6254db793a515843c9d0f68cbab65"));

/// Hash of the genesis block that the reference ships for private networks.
pub const PRIVATENET_GENESIS_HASH: BlockHash =
    BlockHash(b256!("45c579eb4d435ffcd37f0f76beaa772072cea146c4ecec2e52066904b80f4e0a"));

/// The rules of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRules {
    /// The chain's name. It stands in block headers and in everything that is signed.
    pub chain_id: String,
    /// When each rule begins.
    pub forks: ForkHeights,
    /// Blocks that a withdrawn stake stays locked.
    pub return_locking_period: u64,
}

/// Why a file of fork heights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForksFileError {
    /// Not a JSON object of names and heights. Compare the file with the ones of the recorded chains.
    #[error("not a file of fork heights: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It says a height for a rule that this version does not know. Following that chain needs a newer version.
    #[error("unknown rule in the file of fork heights: {0}")]
    UnknownRule(String),
    /// It does not say how long stakes stay locked.
    #[error("the file of fork heights lacks ReturnLockingPeriod")]
    NoReturnLockingPeriod,
}

const MAINNET_RETURN_LOCKING_PERIOD: u64 = 28_800;
const PRIVATE_RETURN_LOCKING_PERIOD: u64 = 1_000;
const RETURN_LOCKING_PERIOD: &str = "ReturnLockingPeriod";

impl ChainRules {
    /// The main network.
    pub fn mainnet() -> Self {
        Self::public("mainnet")
    }

    /// The public test network.
    pub fn testnet() -> Self {
        Self::public("testnet")
    }

    /// A private network of reference nodes, built from the reference's `privatenet` branch.
    pub fn privatenet() -> Self {
        Self::private("privatenet")
    }

    /// The network of this machine alone.
    pub fn local() -> Self {
        Self::private("thetislocal")
    }

    /// Reads a `forks.json`: an object of the reference's names for fork heights, and `ReturnLockingPeriod`.
    ///
    /// # Errors
    /// A missing or unknown name, or something else than a JSON object of numbers.
    pub fn from_forks_json(chain_id: &str, text: &str) -> Result<Self, ForksFileError> {
        let heights: BTreeMap<String, u64> = serde_json::from_str(text)?;
        let forks: ForkHeights = serde_json::from_str(text)?;
        let known = serde_json::to_value(forks)?;
        let unknown = heights.keys().find(|name| known.get(name).is_none() && *name != RETURN_LOCKING_PERIOD);
        if let Some(name) = unknown {
            return Err(ForksFileError::UnknownRule(name.clone()));
        }
        let return_locking_period =
            *heights.get(RETURN_LOCKING_PERIOD).ok_or(ForksFileError::NoReturnLockingPeriod)?;
        Ok(Self { chain_id: chain_id.to_owned(), forks, return_locking_period })
    }

    /// The numeric chain id that Ethereum tools see, for a transaction in a block of `height` (spec 01 section 5).
    pub fn eth_chain_id(&self, height: Height) -> BigUint {
        eth_chain_id(&self.chain_id, height, &self.forks)
    }

    fn public(chain_id: &str) -> Self {
        Self {
            chain_id: chain_id.to_owned(),
            forks: ForkHeights::mainnet(),
            return_locking_period: MAINNET_RETURN_LOCKING_PERIOD,
        }
    }

    fn private(chain_id: &str) -> Self {
        Self {
            chain_id: chain_id.to_owned(),
            forks: ForkHeights::all_at(Height(2)),
            return_locking_period: PRIVATE_RETURN_LOCKING_PERIOD,
        }
    }
}

const ETH_CHAIN_ID_OFFSET: u64 = 360;
const SUBCHAIN_PREFIX: &str = "tsub";
const MIN_SUBCHAIN_NUMBER: i64 = 1000;

fn eth_chain_id(name: &str, height: Height, forks: &ForkHeights) -> BigUint {
    if height < forks.rpc_compatibility {
        return base_chain_id(name);
    }
    if height >= forks.metachain_support
        && let Some(number) = subchain_number(name)
    {
        return number;
    }
    base_chain_id(name) + ETH_CHAIN_ID_OFFSET
}

fn base_chain_id(name: &str) -> BigUint {
    match name {
        "mainnet" => BigUint::from(1u8),
        "testnet_sapphire" => BigUint::from(3u8),
        "testnet_amber" => BigUint::from(4u8),
        "testnet" => BigUint::from(5u8),
        "privatenet" => BigUint::from(6u8),
        _ => BigUint::from_bytes_be(keccak256(name).as_slice()),
    }
}

fn subchain_number(name: &str) -> Option<BigUint> {
    let digits = name.strip_prefix(SUBCHAIN_PREFIX)?;
    if digits.starts_with('0') {
        return None;
    }
    // A leading sign is read, as the reference's parser does; a negative number is below the least one anyway.
    let number: i64 = digits.parse().ok()?;
    (number >= MIN_SUBCHAIN_NUMBER).then(|| BigUint::from(number.unsigned_abs()))
}
