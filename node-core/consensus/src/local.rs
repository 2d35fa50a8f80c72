//! The network of one machine.

use theta_state::{Genesis, GenesisBuilder, GenesisError};
use theta_types::{Address, ChainRules, Coins, Wei};

use crate::network::{Network, Timing};

/// When the chains of this kind begin: 1 January 2026. A fixed time, so that the same keys give the same chain.
const BEGIN: u64 = 1_767_225_600;
const VALIDATOR_STAKE_THETA: u64 = 50_000_000;
const FAUCET_THETA: u64 = 950_000_000;
const FAUCET_TFUEL: u64 = 5_000_000_000;

/// A chain of its own with one validator, and one account that has all the coins (design section 7). The addresses decide its hash.
///
/// # Errors
/// None but for a lack of memory: the amounts cover each other.
pub fn local_network(validator: Address, faucet: Address) -> Result<(Network, Genesis), GenesisError> {
    let rules = ChainRules::local();
    let genesis = GenesisBuilder::new(rules.chain_id.clone(), BEGIN)
        .fund(validator, Coins { theta: Wei::from_coins(VALIDATOR_STAKE_THETA), tfuel: Wei::zero() })
        .stake(validator, validator, Wei::from_coins(VALIDATOR_STAKE_THETA))
        .fund(faucet, Coins { theta: Wei::from_coins(FAUCET_THETA), tfuel: Wei::from_coins(FAUCET_TFUEL) })
        .build()?;
    let network = Network { rules, genesis_hash: genesis.hash(), timing: Timing::local() };
    Ok((network, genesis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_decide_the_chain() {
        let (one, two) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (network, genesis) = local_network(one, two).unwrap();
        assert_eq!(network.genesis_hash, genesis.hash());
        assert_eq!(network, local_network(one, two).unwrap().0);
        assert_ne!(network.genesis_hash, local_network(two, one).unwrap().0.genesis_hash);
        assert_eq!(genesis.header().chain_id, "thetislocal");
    }

    #[test]
    fn supply_is_that_of_the_main_network() {
        let summary =
            local_network(Address::repeat_byte(1), Address::repeat_byte(2)).unwrap().1.summary().unwrap();
        assert_eq!(summary.balances.theta + summary.staked, Wei::from_coins(1_000_000_000));
        assert_eq!(summary.balances.tfuel, Wei::from_coins(5_000_000_000));
        assert_eq!(summary.validators.len(), 1);
    }
}
