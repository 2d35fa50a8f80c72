//! The theta.* methods (spec 06 section 1.8).

mod account;
mod block;
mod broadcast;
mod faucet;
mod split_rule;
mod status;
mod transaction;
mod version;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use theta_types::ChainRules;

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params::Params;
use crate::service::{Answer, Service, answer};
pub use faucet::Faucet;
pub use version::BuildInfo;

const METHODS: [&str; 10] = [
    "theta.GetVersion",
    "theta.GetStatus",
    "theta.GetAccount",
    "theta.GetSplitRule",
    "theta.GetBlock",
    "theta.GetBlockByHeight",
    "theta.GetTransaction",
    "theta.BroadcastRawTransaction",
    "theta.BroadcastRawTransactionAsync",
    FAUCET,
];
const FAUCET: &str = "thetis.Faucet";

/// The methods of a node, over its chain.
pub struct ThetaService {
    chain: Arc<dyn Chain>,
    build: BuildInfo,
    faucet: Option<Faucet>,
}

impl ThetaService {
    /// Without a faucet.
    pub fn new(chain: Arc<dyn Chain>, build: BuildInfo) -> Self {
        Self { chain, build, faucet: None }
    }

    /// With `thetis.Faucet`. On any other chain than this machine's own there is none, whatever is given here.
    #[must_use]
    pub fn with_faucet(mut self, faucet: Faucet) -> Self {
        let local = self.chain.status().chain_id == ChainRules::local().chain_id;
        self.faucet = local.then_some(faucet);
        self
    }
}

#[async_trait]
impl Service for ThetaService {
    fn methods(&self) -> &[&'static str] {
        // The faucet stands last.
        if self.faucet.is_some() { &METHODS } else { &METHODS[..METHODS.len() - 1] }
    }

    async fn call(&self, method: &str, params: Params) -> Answer {
        let chain = &*self.chain;
        match method {
            "theta.GetVersion" => answer(&self.build),
            "theta.GetStatus" => answer(&status::status(chain)),
            "theta.GetAccount" => answer(&account::account(chain, params.object()?).await?),
            "theta.GetSplitRule" => split_rule::split_rule(chain, params.object()?).await,
            "theta.GetBlock" => answer(&block::by_hash(chain, params.object()?).await?),
            "theta.GetBlockByHeight" => block::by_height(chain, params.object()?).await,
            "theta.GetTransaction" => answer(&transaction::transaction(chain, params.object()?).await?),
            "theta.BroadcastRawTransaction" => answer(&broadcast::and_wait(chain, params.object()?).await?),
            "theta.BroadcastRawTransactionAsync" => {
                answer(&broadcast::at_once(chain, params.object()?).await?)
            }
            FAUCET => match &self.faucet {
                Some(faucet) => answer(&faucet.call(chain, params.object()?).await?),
                None => Err(RpcError::no_method(format!("rpc: can't find method {FAUCET}"))),
            },
            other => Err(RpcError::no_method(format!("rpc: can't find method {other}"))),
        }
    }
}

impl fmt::Debug for ThetaService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThetaService")
            .field("build", &self.build)
            .field("faucet", &self.faucet)
            .finish_non_exhaustive()
    }
}
