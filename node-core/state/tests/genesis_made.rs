//! A genesis of one's own.
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unwrap_used)]

use theta_state::{Genesis, GenesisBuilder, GenesisError};
use theta_types::{Address, Coins, Wei};

fn coins(theta: u64, tfuel: u64) -> Coins {
    Coins { theta: Wei::from_coins(theta), tfuel: Wei::from_coins(tfuel) }
}

fn address(byte: u8) -> Address {
    Address::repeat_byte(byte)
}

fn builder() -> GenesisBuilder {
    GenesisBuilder::new("thetislocal", 1_700_000_000)
        .fund(address(1), coins(2_000_000, 10))
        .fund(address(2), coins(0, 1_000))
        .stake(address(1), address(3), Wei::from_coins(500_000))
        .stake(address(1), address(4), Wei::from_coins(1_500_000))
}

#[test]
fn the_same_input_makes_the_same_chain() {
    assert_eq!(builder().build().unwrap().hash(), builder().build().unwrap().hash());
    let later = GenesisBuilder::new("thetislocal", 1_700_000_001).build().unwrap();
    assert_ne!(later.hash(), GenesisBuilder::new("thetislocal", 1_700_000_000).build().unwrap().hash());
}

#[test]
fn stakes_move_from_balances_to_the_pool() {
    let summary = builder().build().unwrap().summary().unwrap();
    assert_eq!(summary.balances, coins(0, 1_010));
    assert_eq!(summary.staked, Wei::from_coins(2_000_000));
    let holders: Vec<_> = summary.validators.iter().map(|validator| validator.holder).collect();
    assert_eq!(holders, [address(4), address(3)]);
    assert_eq!(summary.accounts, 2);
}

#[test]
fn nobody_stakes_more_than_he_has() {
    let poor = builder().stake(address(1), address(3), Wei::from(1u64)).build();
    assert!(matches!(poor, Err(GenesisError::StakeNotCovered(source)) if source == address(1)));
    let nobody = builder().stake(address(9), address(3), Wei::from(1u64)).build();
    assert!(matches!(nobody, Err(GenesisError::StakeNotCovered(source)) if source == address(9)));
}

#[test]
fn it_is_written_and_read_as_a_file() {
    let made = builder().build().unwrap();
    let mut file = Vec::new();
    made.write(&mut file).unwrap();
    let read = Genesis::read(&file[..]).unwrap();
    assert_eq!(read.hash(), made.hash());
    assert_eq!(read.summary().unwrap(), made.summary().unwrap());
}

#[test]
fn nobody_makes_another_mainnet() {
    assert!(matches!(GenesisBuilder::new("mainnet", 1).build(), Err(GenesisError::OtherChain { .. })));
}
