//! The provider's own resource and the rule that pays it.

use std::{sync::Arc, time::Duration};

use theta_types::{Address, Height, ResourceId, SplitRule};
use theta_wallet::{
    ChainAccess, RULE_DURATION, SendError, TransactionSender, TxOutcome, TxRequest, random_resource_id,
};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::PayeeLedger;
use crate::owner::{Closed, Owner};

/// Without a new height for this long, the chain is asked all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// A rule with fewer blocks left is renewed: about half a year.
const RENEW_BELOW: u64 = 180 * 24 * 600;
/// Blocks until the next look while something is under way.
const SOON: u64 = 2;
/// Blocks until the next look when all is well.
const LATER: u64 = 500;

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

/// Keeps the rule of the provider's own resource on the chain. Without it no reserve is good, and nothing is earned.
pub(super) struct RuleKeeper {
    pub chain: Arc<dyn ChainAccess>,
    pub transactions: TransactionSender,
    pub ledger: Owner<PayeeLedger>,
    pub provider: Address,
    /// The resource, while its rule is in force.
    pub in_force: watch::Sender<Option<ResourceId>>,
    /// Requests in a row that were concluded and brought no rule.
    pub in_vain: u32,
}

impl RuleKeeper {
    /// Looks at every height that is due, for as long as there is a book.
    pub async fn run(mut self) {
        let mut heights = self.chain.heights();
        // After a failure, a little patience; afterwards a look every few hundred blocks.
        let mut next_look = Height(0);
        loop {
            let height = *heights.borrow_and_update();
            if height >= next_look {
                match self.look(height).await {
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
    async fn look(&mut self, height: Height) -> Result<u64, Closed> {
        let resource = self.ledger.with(|ledger| ledger.resource().clone()).await?;
        let rule = match self.chain.split_rule(&resource.to_string()).await {
            Ok(rule) => rule,
            Err(error) => {
                warn!(%error, "the provider's own rule could not be read");
                return Ok(SOON);
            }
        };
        let found = standing(rule.as_ref(), self.provider, height);
        let known = rule.clone();
        self.ledger.with(move |ledger| ledger.set_rule(known)).await?;
        match found {
            Standing::InForce => {
                self.in_vain = 0;
                self.in_force.send_if_modified(|current| {
                    let changed = current.as_ref() != Some(&resource);
                    *current = Some(resource.clone());
                    changed
                });
                Ok(LATER)
            }
            Standing::Foreign => {
                self.in_force.send_replace(None);
                self.change_resource(&resource).await?;
                Ok(0)
            }
            Standing::Ending | Standing::Missing => {
                // Its end says which period of the rule is asked for.
                let period = rule.map_or(0, |rule| rule.end_height.0);
                self.register(resource, period, height).await
            }
        }
    }

    async fn change_resource(&self, taken: &ResourceId) -> Result<(), Closed> {
        match random_resource_id() {
            Ok(fresh) => match self.ledger.with(move |ledger| ledger.change_resource(fresh)).await? {
                Ok(()) => {
                    warn!(resource = %taken, "somebody else took the resource's name; another one is registered")
                }
                Err(error) => warn!(%error, "a new resource could not be recorded"),
            },
            Err(error) => warn!(%error, "no new resource"),
        }
        Ok(())
    }

    /// Asks the chain for the rule, once the wallet can pay for it.
    async fn register(&mut self, resource: ResourceId, period: u64, height: Height) -> Result<u64, Closed> {
        let fee = self.ledger.with(|ledger| ledger.terms().fee.clone()).await?;
        match self.chain.account(self.provider).await {
            Ok(account) if account.as_ref().is_some_and(|account| account.balance.tfuel >= fee) => {}
            Ok(_) => {
                debug!(%resource, "the rule waits until the wallet holds its fee");
                return Ok(SOON);
            }
            Err(error) => {
                warn!(%error, "the provider's own account could not be read");
                return Ok(SOON);
            }
        }
        let name = request_name(&resource, period, (self.in_vain > 0).then_some(height));
        let request = TxRequest::OwnResource { resource_id: resource.clone(), duration: RULE_DURATION };
        let outcome = match self.transactions.send(&name, request).await {
            Ok(sent) => sent.outcome().await,
            Err(SendError::Refused(reason)) => Ok(TxOutcome::Refused { reason }),
            Err(error) => Err(error),
        };
        match outcome {
            // If the next look finds the rule, all is well. If not, the answer was about a transaction that brings none any
            // more: it was refused, or it stood on an earlier chain, or its rule has ended.
            Ok(outcome) => {
                match outcome {
                    TxOutcome::Final { height } => info!(%resource, %height, "the provider's rule is final"),
                    outcome => warn!(?outcome, "the provider's rule did not come about"),
                }
                self.in_vain = self.in_vain.saturating_add(1);
                Ok(pause_after(self.in_vain))
            }
            // Nothing was concluded: the same request goes on.
            Err(error) => {
                warn!(%error, "the provider's rule could not be registered yet");
                Ok(SOON)
            }
        }
    }
}

/// The request for a period of a rule.
///
/// The sender answers a name for ever as it was concluded. So the name is the same over a restart, which must not pay for
/// one rule twice; and it is another one (`anew_at` this height) when the request before it was concluded and the chain still
/// has no rule. Before that name is used, everything that an earlier run of the program left open has been concluded, because
/// the sender sees to that before it answers anything.
fn request_name(resource: &ResourceId, period: u64, anew_at: Option<Height>) -> String {
    match anew_at {
        None => format!("rule/{resource}/{period}"),
        Some(height) => format!("rule/{resource}/{period}/{height}"),
    }
}

/// Blocks until the look after a request that was concluded: longer each time, so that a chain that keeps refusing is not
/// asked at every block.
fn pause_after(in_vain: u32) -> u64 {
    SOON.saturating_mul(2u64.saturating_pow(in_vain.saturating_sub(1))).min(LATER)
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

    #[test]
    fn a_request_keeps_its_name_until_it_was_in_vain() {
        let resource = ResourceId::from("r");
        assert_eq!(request_name(&resource, 7, None), "rule/r/7");
        assert_eq!(request_name(&resource, 7, Some(Height(90))), "rule/r/7/90");
        assert_eq!([1, 2, 3].map(pause_after), [2, 4, 8]);
        assert_eq!(pause_after(u32::MAX), LATER);
    }
}
