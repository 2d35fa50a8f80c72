//! theta.GetSplitRule.

use serde::Deserialize;
use theta_types::ResourceId;

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;
use crate::service::{Answer, answer};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Arguments {
    #[serde(deserialize_with = "params::text")]
    resource_id: String,
}

/// The rule; an empty object for a resource without one.
pub(super) async fn split_rule(chain: &dyn Chain, arguments: Arguments) -> Answer {
    if arguments.resource_id.is_empty() {
        return Err(RpcError::failed("ResourceID must be specified"));
    }
    let resource_id = ResourceId::from(arguments.resource_id);
    match chain.split_rule(&resource_id).await.map_err(RpcError::failed)? {
        Some(rule) => answer(&rule),
        None => answer(&serde_json::Map::new()),
    }
}
