//! The provider's own resource and the rule that pays it.

use std::{sync::Arc, time::Duration};

use theta_types::{Address, Height, ResourceId, SplitRule};
use theta_wallet::{ChainAccess, RULE_DURATION, TransactionSender, TxOutcome, TxRequest, random_resource_id};
use tokio::sync::watch;
use tracing::{info, warn};

use super::PayeeLedger;
use crate::owner::{Closed, Owner};

/// Without a new height for this long, the chain is asked all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// A rule with fewer blocks left is renewed: about half a year.
const RENEW_BELOW: u64 = 180 * 24 * 600;

/// Where the rule stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is on the chain and lasts.
    InForce,
    /// It is on the chain, and ends before long.
    Ending,
    /// The chain has none.
    Missing,
    /// Somebody else took the name. Whoever listens to the network can do that once; another name is another chance.
    Foreign,
}

fn standing(rule: Option<&SplitRule>, provider: Address, height: Height) -> Standing {
    match rule {
        None => Standing::Missing,
        Some(rule) if rule.initiator_address != provider => Standing::Foreign,
        Some(rule) if rule.end_height.0.saturating_sub(height.0) < RENEW_BELOW => Standing::Ending,
        Some(_) => Standing::InForce,
    }
}

/// Keeps the rule in force, and says so by `in_force`.
pub(super) async fn keep(
    chain: Arc<dyn ChainAccess>,
    transactions: TransactionSender,
    ledger: Owner<PayeeLedger>,
    provider: Address,
    in_force: watch::Sender<Option<ResourceId>>,
) {
    let mut heights = chain.heights();
    // After a failure, a little patience; afterwards a look every few hundred blocks.
    let mut next_look = Height(0);
    loop {
        let height = *heights.borrow_and_update();
        if height >= next_look {
            match look(&*chain, &transactions, &ledger, provider, height, &in_force).await {
                Ok(pause) => next_look = Height(height.0.saturating_add(pause)),
                Err(Closed) => return,
            }
        }
        match tokio::time::timeout(PATIENCE, heights.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

/// Looks at the rule and does what it needs. Blocks until the next look.
async fn look(
    chain: &dyn ChainAccess,
    transactions: &TransactionSender,
    ledger: &Owner<PayeeLedger>,
    provider: Address,
    height: Height,
    in_force: &watch::Sender<Option<ResourceId>>,
) -> Result<u64, Closed> {
    const SOON: u64 = 2;
    const LATER: u64 = 500;
    let resource = ledger.with(|ledger| ledger.resource().clone()).await?;
    let rule = match chain.split_rule(&resource.to_string()).await {
        Ok(rule) => rule,
        Err(error) => {
            warn!(%error, "the provider's own rule could not be read");
            return Ok(SOON);
        }
    };
    let found = standing(rule.as_ref(), provider, height);
    let known = rule.clone();
    ledger.with(move |ledger| ledger.set_rule(known)).await?;
    match found {
        Standing::InForce => {
            in_force.send_if_modified(|current| {
                let changed = current.as_ref() != Some(&resource);
                *current = Some(resource.clone());
                changed
            });
            return Ok(LATER);
        }
        Standing::Foreign => {
            in_force.send_replace(None);
            match random_resource_id() {
                Ok(fresh) => match ledger.with(move |ledger| ledger.change_resource(fresh)).await? {
                    Ok(()) => {
                        warn!(%resource, "somebody else took the resource's name; another one is registered")
                    }
                    Err(error) => warn!(%error, "a new resource could not be recorded"),
                },
                Err(error) => warn!(%error, "no new resource"),
            }
            return Ok(0);
        }
        Standing::Ending | Standing::Missing => {}
    }
    // The name says which period of the rule it is for, so that a restart does not register it twice.
    let period = rule.map_or(0, |rule| rule.end_height.0);
    let name = format!("rule/{resource}/{period}");
    let request = TxRequest::OwnResource { resource_id: resource.clone(), duration: RULE_DURATION };
    match transactions.send(&name, request).await {
        Ok(sent) => match sent.outcome().await {
            Ok(TxOutcome::Final { height }) => {
                info!(%resource, %height, "the provider's rule is on the chain")
            }
            Ok(outcome) => warn!(?outcome, "the provider's rule did not come about"),
            Err(error) => warn!(%error, "the provider's rule is not final yet"),
        },
        Err(error) => warn!(%error, "the provider's rule could not be registered"),
    }
    Ok(SOON)
}

#[cfg(test)]
mod tests {
    use theta_types::Split;

    use super::*;

    #[test]
    fn a_rule_is_renewed_before_it_ends_and_a_foreign_one_is_left() {
        let (own, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let rule = |initiator_address, end| SplitRule {
            initiator_address,
            resource_id: "r".into(),
            splits: vec![Split { address: own, percentage: 100 }],
            end_height: Height(end),
        };
        assert_eq!(standing(None, own, Height(5)), Standing::Missing);
        assert_eq!(standing(Some(&rule(other, u64::MAX)), own, Height(5)), Standing::Foreign);
        assert_eq!(standing(Some(&rule(own, 5 + RENEW_BELOW)), own, Height(5)), Standing::InForce);
        assert_eq!(standing(Some(&rule(own, 4 + RENEW_BELOW)), own, Height(5)), Standing::Ending);
    }
}
