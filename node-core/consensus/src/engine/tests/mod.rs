//! The engine against recorded chains, and against itself in a simulated network.

mod recorded;
mod simulation;
mod single;

use std::time::{Duration, Instant};

use theta_state::{Genesis, GenesisBuilder};
use theta_types::{ChainRules, Coins, SecretKey, Wei};

use super::Now;
use crate::network::{Network, Timing};

/// A point in simulated time.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    since: Duration,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), since: Duration::ZERO }
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.since, unix_seconds: 1_800_000_000 + self.since.as_secs() }
    }
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

/// A network of validators with these stakes, in millions of Theta, and a rich account with the last key.
fn network_of(stakes: &[(SecretKey, u64)], rich: &SecretKey) -> (Network, Genesis) {
    let rules = ChainRules::local();
    let rich_coins = Coins { theta: Wei::from_coins(1_000), tfuel: Wei::from_coins(1_000_000) };
    let mut genesis =
        GenesisBuilder::new(rules.chain_id.clone(), 1_800_000_000).fund(rich.address(), rich_coins);
    for (validator, millions) in stakes {
        let stake = Wei::from_coins(millions * 1_000_000);
        let address = validator.address();
        genesis = genesis
            .fund(address, Coins { theta: stake.clone(), tfuel: Wei::zero() })
            .stake(address, address, stake);
    }
    let genesis = genesis.build().unwrap();
    (Network { rules, genesis_hash: genesis.hash(), timing: Timing::local() }, genesis)
}
