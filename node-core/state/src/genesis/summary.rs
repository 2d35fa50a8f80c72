//! What a genesis holds, in figures.

use serde::Serialize;
use theta_types::{
    Account, Address, B256, BlockHash, Coins, Decode, Height, Stake, ValidatorCandidatePool, Wei,
};

use super::{ACCOUNTS, Genesis, GenesisError, VALIDATOR_CANDIDATES};

/// Figures of a genesis, for people to compare with what they were told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenesisSummary {
    /// The chain's name.
    pub chain_id: String,
    /// Hash of the block.
    pub hash: BlockHash,
    /// Root of the state.
    pub state_root: B256,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// Entries of the state.
    pub entries: u64,
    /// Accounts.
    pub accounts: u64,
    /// Sum of all balances, without stakes.
    pub balances: Coins,
    /// ThetaWei staked by validators.
    pub staked: Wei,
    /// Validator candidates in the order of the pool.
    pub validators: Vec<GenesisValidator>,
}

/// A validator candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenesisValidator {
    /// Its address.
    pub holder: Address,
    /// ThetaWei that count.
    pub stake: Wei,
    /// Who staked how much.
    pub stakes: Vec<Stake>,
}

impl Genesis {
    /// Reads every account and the pool.
    ///
    /// # Errors
    /// A value is not of its key's type. The chain could not be run.
    pub fn summary(&self) -> Result<GenesisSummary, GenesisError> {
        let mut summary = GenesisSummary {
            chain_id: self.header.chain_id.clone(),
            hash: self.hash(),
            state_root: self.header.state_hash,
            timestamp: self.header.timestamp.seconds(),
            entries: 0,
            accounts: 0,
            balances: Coins::default(),
            staked: Wei::zero(),
            validators: Vec::new(),
        };
        for entry in self.state.entries(b"") {
            let (key, value) = entry?;
            summary.entries += 1;
            if let Some(address) = key.strip_prefix(ACCOUNTS) {
                let account: Account = decode(&key, &value)?;
                if account.address.as_slice() != address || account.last_updated_height != Height(0) {
                    let error = theta_types::RlpError::Refused("not the account of this key at height 0");
                    return Err(GenesisError::Value { key, error });
                }
                summary.accounts += 1;
                summary.balances += account.balance;
            } else if key == VALIDATOR_CANDIDATES {
                let pool: ValidatorCandidatePool = decode(&key, &value)?;
                for candidate in pool.sorted_candidates {
                    let stake = candidate.total_stake();
                    summary.staked += &stake;
                    summary.validators.push(GenesisValidator {
                        holder: candidate.holder,
                        stake,
                        stakes: candidate.stakes,
                    });
                }
            }
        }
        Ok(summary)
    }
}

fn decode<T: Decode>(key: &[u8], value: &[u8]) -> Result<T, GenesisError> {
    T::from_rlp(value).map_err(|error| GenesisError::Value { key: key.to_vec(), error })
}
