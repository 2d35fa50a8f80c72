//! A local network in a temporary folder, fast.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use theta_consensus::{Chain, ChainConfig, ChainHandle, GenesisSource, Network, Timing, local_network};
use theta_ledger::MempoolLimits;
use theta_state::Genesis;
use theta_types::{Coins, Height, SecretKey, SendTx, Transaction, TxInput, TxOutput, Wei};

pub fn validator() -> SecretKey {
    SecretKey::from_bytes(&[1; 32]).unwrap()
}

pub fn faucet() -> SecretKey {
    SecretKey::from_bytes(&[2; 32]).unwrap()
}

pub fn somebody(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

/// The local network with a block every so many milliseconds.
pub fn network(block_ms: u64) -> (Network, Genesis) {
    let (mut network, genesis) = local_network(validator().address(), faucet().address()).unwrap();
    network.timing = Timing {
        min_block_interval: Duration::from_millis(block_ms),
        max_epoch_length: Duration::from_millis(2 * block_ms),
    };
    (network, genesis)
}

pub fn config(folder: &Path, block_ms: u64) -> ChainConfig {
    let (network, genesis) = network(block_ms);
    ChainConfig {
        data_dir: folder.to_path_buf(),
        network,
        genesis: GenesisSource::Made(Box::new(genesis)),
        validator: Some(validator()),
        mempool: MempoolLimits::default(),
    }
}

pub fn start(folder: &Path, block_ms: u64) -> ChainHandle {
    Chain::start(config(folder, block_ms)).unwrap()
}

/// Sends whole TFuel from the faucet.
pub fn payment(sequence: u64, to: &SecretKey, tfuel: u64) -> Vec<u8> {
    let fee = Coins::tfuel(Wei::from(300_000_000_000_000_000u64));
    let amount = Coins::tfuel(Wei::from_coins(tfuel));
    let mut tx = SendTx {
        fee: fee.clone(),
        inputs: vec![TxInput::unsigned(faucet().address(), amount.clone() + fee, sequence)],
        outputs: vec![TxOutput { address: to.address(), coins: amount }],
    };
    tx.sign("thetislocal", &faucet());
    Transaction::from(tx).encode()
}

pub async fn wait_for(chain: &ChainHandle, height: u64) {
    let mut heights = chain.final_heights();
    let reached = heights.wait_for(|final_height| *final_height >= Height(height));
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the chain goes on").unwrap();
}
