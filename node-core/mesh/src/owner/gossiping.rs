//! Saying and hearing gossip.

use std::time::Instant;

use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError};
use tokio::sync::broadcast;

use super::Owner;
use crate::{
    Fault, MeshError, Topic,
    gossip::{GossipMessage, MAX_GOSSIP_BYTES, SUBSCRIPTION_QUEUE},
};

impl Owner {
    /// The topic as it is named on the wire.
    fn wire_topic(&self, topic: Topic) -> IdentTopic {
        IdentTopic::new(format!("{}/{}", self.config.chain_id, topic.name()))
    }

    pub(super) fn publish(&mut self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        let topic = self.wire_topic(topic);
        let bytes = data.len();
        match self.swarm.behaviour_mut().gossip.publish(topic, data) {
            Ok(_) | Err(PublishError::Duplicate) => Ok(()),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(MeshError::NobodyListens),
            Err(PublishError::AllQueuesFull(_)) => Err(MeshError::Busy("the queues to all peers are full")),
            Err(PublishError::MessageTooLarge) => {
                Err(MeshError::TooLarge { what: "a gossip message", bytes, limit: MAX_GOSSIP_BYTES })
            }
            Err(error) => Err(MeshError::Settings(error.to_string())),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        topic: Topic,
    ) -> Result<broadcast::Receiver<GossipMessage>, MeshError> {
        let topic = self.wire_topic(topic);
        self.swarm
            .behaviour_mut()
            .gossip
            .subscribe(&topic)
            .map_err(|error| MeshError::Settings(error.to_string()))?;
        let queue = self
            .subscriptions
            .entry(topic.hash())
            .or_insert_with(|| broadcast::channel(SUBSCRIPTION_QUEUE).0);
        Ok(queue.subscribe())
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source, message_id, message } = event else { return };
        // Strict validation leaves no message without its author.
        let Some(source) = message.source else { return };
        let banned = self.faults.ban_reason(&source).is_some();
        let verdict = if banned || message.data.len() > MAX_GOSSIP_BYTES {
            MessageAcceptance::Reject
        } else if !self.gossip_budget.allows(source, Instant::now()) {
            self.fault(source, Fault::Flood);
            MessageAcceptance::Ignore
        } else {
            MessageAcceptance::Accept
        };
        let accepted = matches!(verdict, MessageAcceptance::Accept);
        self.swarm.behaviour_mut().gossip.report_message_validation_result(
            &message_id,
            &propagation_source,
            verdict,
        );
        if accepted && let Some(queue) = self.subscriptions.get(&message.topic) {
            // Subscribers may all be gone.
            let _ = queue.send((source, self.wallets.get(&source).copied(), message.data));
        }
    }
}
