//! What handles ask of the owner.

use std::time::Instant;

use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use theta_types::Address;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{ACCEPT_QUEUE, InboundStream, Owner};
use crate::{
    Fault, MeshError, Protocol, SignedRecord, Topic, gossip::GossipMessage, sessions::OpenFailure,
    stream::Pulse,
};

/// A stream as the sessions opened it.
pub(crate) type Opened = Result<(Stream, Pulse), OpenFailure>;

type Answer<T> = oneshot::Sender<Result<T, MeshError>>;

/// A request of a handle.
pub(crate) enum Command {
    Dial { address: Multiaddr, answer: Answer<PeerId> },
    Open { peer: PeerId, protocol: StreamProtocol, answer: oneshot::Sender<Opened> },
    Accept { protocol: Protocol, name: StreamProtocol, answer: Answer<mpsc::Receiver<InboundStream>> },
    Publish { topic: Topic, data: Vec<u8>, answer: Answer<()> },
    Subscribe { topic: Topic, answer: Answer<broadcast::Receiver<GossipMessage>> },
    Provide { key: Vec<u8>, answer: Answer<()> },
    StopProviding { key: Vec<u8> },
    Providers { key: Vec<u8>, answer: Answer<Vec<PeerId>> },
    PutRecord { name: String, value: Vec<u8>, answer: Answer<()> },
    GetRecord { wallet: Address, name: String, answer: Answer<Option<SignedRecord>> },
    Report { peer: PeerId, fault: Fault },
    Ban { peer: PeerId, reason: String },
}

impl Owner {
    pub(super) fn obey(&mut self, command: Command) {
        // An answer that nobody waits for any more is dropped.
        match command {
            Command::Dial { address, answer } => self.dial(address, Some(answer)),
            Command::Open { peer, protocol, answer } => self.open(peer, protocol, answer),
            Command::Accept { protocol, name, answer } => {
                let _ = answer.send(self.accept(protocol, name));
            }
            Command::Publish { topic, data, answer } => {
                let _ = answer.send(self.publish(topic, data));
            }
            Command::Subscribe { topic, answer } => {
                let _ = answer.send(self.subscribe(topic));
            }
            Command::Provide { key, answer } => self.provide(key, answer),
            Command::StopProviding { key } => self.stop_providing(key),
            Command::Providers { key, answer } => self.find_providers(key, answer),
            Command::PutRecord { name, value, answer } => self.put_record(&name, &value, answer),
            Command::GetRecord { wallet, name, answer } => self.get_record(&wallet, &name, answer),
            Command::Report { peer, fault } => self.fault(peer, fault),
            Command::Ban { peer, reason } => self.ban(peer, reason, Instant::now()),
        }
    }

    fn open(&mut self, peer: PeerId, protocol: StreamProtocol, answer: oneshot::Sender<Opened>) {
        if let Some(reason) = self.faults.ban_reason(&peer) {
            let _ = answer.send(Err(OpenFailure::Banned(reason.to_owned())));
            return;
        }
        self.swarm.behaviour_mut().sessions.open(peer, protocol, answer);
    }

    fn accept(
        &mut self,
        protocol: Protocol,
        name: StreamProtocol,
    ) -> Result<mpsc::Receiver<InboundStream>, MeshError> {
        if self.accepting.get(&name).is_some_and(|queue| !queue.is_closed()) {
            return Err(MeshError::AlreadyAccepted(protocol));
        }
        let (queue, streams) = mpsc::channel(ACCEPT_QUEUE);
        self.accepting.insert(name, queue);
        self.tell_accepted();
        Ok(streams)
    }

    pub(super) fn tell_accepted(&mut self) {
        let names = self.accepting.keys().cloned().collect();
        self.swarm.behaviour_mut().sessions.accept(names);
    }
}
