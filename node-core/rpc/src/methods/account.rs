//! theta.GetAccount.

use serde::Deserialize;
use theta_consensus::ChainError;
use theta_types::{Account, Address, Height, checksum_text, lenient_address};

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Arguments {
    #[serde(deserialize_with = "params::text")]
    address: String,
    #[serde(deserialize_with = "params::height")]
    height: u64,
    #[serde(deserialize_with = "params::flag")]
    preview: bool,
}

pub(super) async fn account(chain: &dyn Chain, arguments: Arguments) -> Result<Account, RpcError> {
    if arguments.address.is_empty() {
        return Err(RpcError::failed("Address must be specified"));
    }
    let address = lenient_address(&arguments.address);
    if arguments.height > 0 {
        return account_at(chain, address, Height(arguments.height)).await;
    }
    let found =
        if arguments.preview { chain.account_preview(&address).await } else { chain.account(&address).await };
    found.map_err(RpcError::failed)?.ok_or_else(|| not_found(&address))
}

async fn account_at(chain: &dyn Chain, address: Address, height: Height) -> Result<Account, RpcError> {
    if chain.any_block(height).await.map_err(RpcError::failed)?.is_none() {
        return Err(RpcError::failed("Historical data at given height is not available on current node"));
    }
    let found = chain.account_at(&address, height).await.map_err(|error| match error {
        ChainError::Trie(_) => RpcError::failed(format!(
            "the account details for height {height} is not available, it might have been pruned"
        )),
        other => RpcError::failed(other),
    })?;
    match found {
        Some(account) => account.ok_or_else(|| not_found(&address)),
        // The height has blocks, but none of them is final.
        None => Err(RpcError::failed(format!(
            "Account with address {} at height {height} is not found",
            checksum_text(&address)
        ))),
    }
}

fn not_found(address: &Address) -> RpcError {
    RpcError::failed(format!("Account with address {} is not found", checksum_text(address)))
}
