//! `thetis chain`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use theta_consensus::verify;

use super::{Place, output::columns, serve::read_settings};
use crate::{
    chain::{LocalKeys, rules_of},
    data_folder::DataFolder,
    settings::Network,
};

/// Commands on the chain's database.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Check every stored block, state and signature again, from genesis on
    ///
    /// The node must not run. Trusts nothing but the network's rules: each transaction is executed again, and each state
    /// root compared.
    Verify {
        /// The folder with the chain's database; by default the one in the data folder
        folder: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Verified {
    genesis: String,
    final_height: u64,
    final_hash: String,
    state_root: String,
    blocks: u64,
    transactions: u64,
    trie_nodes: u64,
}

impl ChainCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let ChainCommand::Verify { folder } = self;
        // Owning the data folder makes sure that no node changes the chain meanwhile.
        let (chain, network, _owned) = match folder {
            Some(chain) => (chain, Network::Local, None),
            None => {
                let data = DataFolder::open(place.folder()?)?;
                (data.chain(), read_settings(&data, &[])?.chain.network, Some(data))
            }
        };
        let genesis = expected_genesis(network, &chain)?;
        let quiet = place.json;
        let mut last = 0;
        let report = verify(&chain, &rules_of(network), genesis, |progress| {
            let percent = progress.height.0 * 100 / progress.of.0.max(1);
            if !quiet && percent >= last + 10 {
                last = percent;
                eprintln!("{percent}% (block {} of {})", progress.height, progress.of);
            }
        })
        .with_context(|| format!("the chain in {} is not in order", chain.display()))?;
        let verified = Verified {
            genesis: report.genesis_hash.to_string(),
            final_height: report.final_height.0,
            final_hash: report.final_hash.to_string(),
            state_root: report.state_root.to_string(),
            blocks: report.blocks,
            transactions: report.transactions,
            trie_nodes: report.nodes,
        };
        place.output().print(&verified, |verified| {
            columns(&[
                ("Result", "everything is in order".into()),
                ("Genesis", verified.genesis.clone()),
                ("Last final block", format!("{} ({})", verified.final_height, verified.final_hash)),
                ("State root", verified.state_root.clone()),
                (
                    "Checked",
                    format!(
                        "{} blocks, {} transactions, {} trie nodes",
                        verified.blocks, verified.transactions, verified.trie_nodes
                    ),
                ),
            ])
        })
    }
}

/// The genesis that the chain must begin with, when it is known: a local network's follows from the keys beside it.
fn expected_genesis(
    network: Network,
    chain: &std::path::Path,
) -> anyhow::Result<Option<theta_types::BlockHash>> {
    if network != Network::Local || !LocalKeys::are_in(chain) {
        return Ok(None);
    }
    let keys = LocalKeys::open(chain)?;
    let (network, _) = theta_consensus::local_network(keys.validator.address(), keys.faucet.address())?;
    Ok(Some(network.genesis_hash))
}
