//! The part of the sessions that lives in the swarm's task.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished,
    },
};
use theta_types::Address;

use super::handler::{FromHandler, Handler, OpenFailure, Reply, ToHandler};
use crate::{
    BindingError,
    stream::{Place, Pulse},
};

/// Requests for streams that wait for one peer's connection.
const MAX_WAITING: usize = 64;

/// All connections, what their peers proved, and requests for streams that wait for a connection.
pub(crate) struct Sessions {
    chain_id: Arc<str>,
    binding: Arc<[u8]>,
    accepted: Vec<StreamProtocol>,
    connections: HashMap<ConnectionId, Connection>,
    waiting: HashMap<PeerId, Vec<(StreamProtocol, Reply)>>,
    outbox: VecDeque<ToSwarm<SessionEvent, ToHandler>>,
    waker: Option<Waker>,
}

struct Connection {
    peer: PeerId,
    relayed: bool,
    proven: bool,
    dead: bool,
    pulse: Pulse,
}

/// News for the owner of the swarm.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A peer proved its wallet on a connection.
    Proven { peer: PeerId, connection: ConnectionId, wallet: Address },
    /// A peer proved nothing; the connection is being closed.
    Refused { peer: PeerId, connection: ConnectionId, error: BindingError },
    /// A proven peer opened a stream.
    Inbound { peer: PeerId, protocol: StreamProtocol, stream: Stream, pulse: Pulse, place: Place },
    /// A stream is wanted from a peer without a connection.
    ConnectionWanted { peer: PeerId },
}

impl Sessions {
    pub fn new(chain_id: &str, binding: Vec<u8>) -> Self {
        Self {
            chain_id: chain_id.into(),
            binding: binding.into(),
            accepted: Vec::new(),
            connections: HashMap::new(),
            waiting: HashMap::new(),
            outbox: VecDeque::new(),
            waker: None,
        }
    }

    /// Accepts these protocols from now on, on all connections.
    pub fn accept(&mut self, protocols: Vec<StreamProtocol>) {
        self.accepted = protocols;
        for (id, connection) in &self.connections {
            self.outbox.push_back(ToSwarm::NotifyHandler {
                peer_id: connection.peer,
                handler: NotifyHandler::One(*id),
                event: ToHandler::Accept(self.accepted.clone()),
            });
        }
        self.wake();
    }

    /// Opens a stream on the peer's best proven connection, or when it has one.
    pub fn open(&mut self, peer: PeerId, protocol: StreamProtocol, reply: Reply) {
        if let Some(connection) = self.best_connection(&peer) {
            self.open_on(peer, connection, protocol, reply);
            return;
        }
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|(_, reply)| !reply.is_closed());
        if waiting.len() >= MAX_WAITING {
            drop(reply.send(Err(OpenFailure::Busy)));
            return;
        }
        waiting.push((protocol, reply));
        if !self.is_connected(&peer) {
            self.outbox.push_back(ToSwarm::GenerateEvent(SessionEvent::ConnectionWanted { peer }));
        }
        self.wake();
    }

    /// Tells those who wait for this peer that there will be no connection.
    pub fn give_up(&mut self, peer: &PeerId, why: impl Fn() -> OpenFailure) {
        for (_, reply) in self.waiting.remove(peer).unwrap_or_default() {
            drop(reply.send(Err(why())));
        }
    }

    /// Whether somebody waits for a stream to this peer.
    pub fn is_wanted(&self, peer: &PeerId) -> bool {
        self.waiting.get(peer).is_some_and(|waiting| waiting.iter().any(|(_, reply)| !reply.is_closed()))
    }

    /// Whether there is any living connection to the peer, proven or not.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.connections.values().any(|connection| connection.peer == *peer && !connection.dead)
    }

    /// Whether the peer has a proven connection that does not pass a relay.
    pub fn is_direct(&self, peer: &PeerId) -> bool {
        self.connections
            .values()
            .any(|known| known.peer == *peer && known.proven && !known.dead && !known.relayed)
    }

    /// Notes that a ping came back on a connection.
    pub fn beat(&self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get(&connection) {
            connection.pulse.beat();
        }
    }

    /// Connections of proven peers that gave no sign of life for this long. Their streams fail from now on, and no new ones are
    /// opened on them. (Peers that have not proven themselves have their own deadline.)
    pub fn bury_the_dead(&mut self, dead_after: Duration) -> Vec<(PeerId, ConnectionId)> {
        let mut buried = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.proven && !connection.dead && connection.pulse.quiet_for() >= dead_after {
                connection.dead = true;
                connection.pulse.stop();
                buried.push((connection.peer, *id));
            }
        }
        buried
    }

    fn best_connection(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.peer == *peer && connection.proven && !connection.dead)
            .min_by_key(|(id, connection)| (connection.relayed, **id))
            .map(|(id, _)| *id)
    }

    fn open_on(&mut self, peer: PeerId, connection: ConnectionId, protocol: StreamProtocol, reply: Reply) {
        self.outbox.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: ToHandler::Open(protocol, reply),
        });
        self.wake();
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId, relayed: bool) -> Handler {
        let pulse = Pulse::new();
        self.connections
            .insert(id, Connection { peer, relayed, proven: false, dead: false, pulse: pulse.clone() });
        Handler::new(peer, self.chain_id.clone(), self.binding.clone(), self.accepted.clone(), pulse)
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        connection.pulse.stop();
        if !self.is_connected(&connection.peer) {
            self.give_up(&connection.peer, || OpenFailure::Unreachable("the connection closed".into()));
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Sessions {
    type ConnectionHandler = Handler;
    type ToSwarm = SessionEvent;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer, is_relayed(local)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer, is_relayed(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => self.forget(connection_id),
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                // What was accepted between the handler's making and now.
                if let Some(connection) = self.connections.get(&connection_id) {
                    self.outbox.push_back(ToSwarm::NotifyHandler {
                        peer_id: connection.peer,
                        handler: NotifyHandler::One(connection_id),
                        event: ToHandler::Accept(self.accepted.clone()),
                    });
                }
            }
            // Another behaviour may refuse a connection after this one made its handler.
            FromSwarm::DialFailure(failure) => self.forget(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        match event {
            FromHandler::Proven(wallet) => {
                known.proven = true;
                let news = SessionEvent::Proven { peer, connection, wallet };
                self.outbox.push_back(ToSwarm::GenerateEvent(news));
                for (protocol, reply) in self.waiting.remove(&peer).unwrap_or_default() {
                    self.open_on(peer, connection, protocol, reply);
                }
            }
            FromHandler::Refused(error) => {
                self.give_up(&peer, || OpenFailure::Unproven(error.clone()));
                let news = SessionEvent::Refused { peer, connection, error };
                self.outbox.push_back(ToSwarm::GenerateEvent(news));
                self.outbox.push_back(ToSwarm::CloseConnection {
                    peer_id: peer,
                    connection: CloseConnection::One(connection),
                });
            }
            FromHandler::Inbound(protocol, stream, pulse, place) => {
                let news = SessionEvent::Inbound { peer, protocol, stream, pulse, place };
                self.outbox.push_back(ToSwarm::GenerateEvent(news));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.outbox.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == libp2p::multiaddr::Protocol::P2pCircuit)
}
