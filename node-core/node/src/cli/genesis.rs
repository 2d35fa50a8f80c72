//! `thetis genesis`.

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::Context;
use clap::Subcommand;
use theta_state::{Genesis, GenesisSummary};
use theta_types::{checksum_text, format_coins};

use super::{Place, output::columns};

/// Commands on genesis files.
#[derive(Debug, Subcommand)]
pub enum GenesisCommand {
    /// Check a genesis file and show chain, hash, state root, accounts, sums and validators
    ///
    /// The file may be gzipped. Every account is read and the state root is computed anew; a file whose state is not what its
    /// header says is refused.
    Inspect {
        /// The genesis file
        file: PathBuf,
    },
}

impl GenesisCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let GenesisCommand::Inspect { file } = self;
        let named = || file.display().to_string();
        let source = File::open(&file).with_context(|| format!("{} cannot be opened", named()))?;
        let genesis = Genesis::read(BufReader::new(source))
            .with_context(|| format!("{} is not a valid genesis file", named()))?;
        let summary = genesis.summary().with_context(|| format!("{} holds a damaged state", named()))?;
        place.output().print(&summary, text)
    }
}

fn text(summary: &GenesisSummary) -> String {
    let mut text = columns(&[
        ("Chain", summary.chain_id.clone()),
        ("Hash", summary.hash.to_string()),
        ("State root", summary.state_root.to_string()),
        (
            "Time",
            summary.timestamp.map_or_else(|| "none".into(), |seconds| format!("{seconds} (Unix seconds)")),
        ),
        ("Accounts", summary.accounts.to_string()),
        (
            "THETA",
            format!(
                "{} in accounts, {} staked",
                format_coins(&summary.balances.theta),
                format_coins(&summary.staked)
            ),
        ),
        ("TFUEL", format_coins(&summary.balances.tfuel)),
        ("Validators", summary.validators.len().to_string()),
    ]);
    for validator in &summary.validators {
        text.push_str(&format!(
            "  {}  {} THETA\n",
            checksum_text(&validator.holder),
            format_coins(&validator.stake)
        ));
    }
    text
}
