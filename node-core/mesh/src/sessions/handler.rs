//! The part of a session that runs beside its connection.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    PeerId, Stream, StreamProtocol,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use theta_types::Address;
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use super::{
    hello::{HELLO, hear, say},
    upgrade::AnyOf,
};
use crate::{
    BindingError,
    stream::{Place, Places, Pulse},
};

/// How long a peer may take to prove its wallet.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Streams that wait for the proof of the peer that opened them.
const MAX_HELD: usize = 16;
/// Streams that a peer may have open to us on one connection.
const MAX_INBOUND: usize = 128;

/// Where an opened stream, or the reason why there is none, is sent.
pub(crate) type Reply = oneshot::Sender<Result<(Stream, Pulse), OpenFailure>>;

/// Why a stream could not be opened on a connection.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// The peer does not know the protocol.
    NotSpoken,
    /// The connection broke, or took too long.
    Broken(io::Error),
    /// There is no connection, for this reason.
    Unreachable(String),
    /// The peer did not prove its wallet.
    Unproven(BindingError),
    /// The peer is banned, for this reason.
    Banned(String),
    /// Too many are waiting already.
    Busy,
}

/// What the swarm's part says to this one.
pub(crate) enum ToHandler {
    /// These protocols are accepted from now on.
    Accept(Vec<StreamProtocol>),
    /// Open a stream.
    Open(StreamProtocol, Reply),
}

/// What this part says to the swarm's.
pub(crate) enum FromHandler {
    /// The peer proved its wallet.
    Proven(Address),
    /// The peer proved nothing.
    Refused(BindingError),
    /// The peer, proven, opened a stream.
    Inbound(StreamProtocol, Stream, Pulse, Place),
}

/// What an outbound stream is for.
pub(crate) enum Purpose {
    Hello,
    Open(Reply),
}

type HandlerEvent = ConnectionHandlerEvent<AnyOf, Purpose, FromHandler>;

/// See the module above.
pub(crate) struct Handler {
    peer: PeerId,
    chain_id: Arc<str>,
    binding: Arc<[u8]>,
    accepted: Vec<StreamProtocol>,
    proof: Proof,
    saying: Option<BoxFuture<'static, io::Result<()>>>,
    hearing: Option<BoxFuture<'static, io::Result<Result<Address, BindingError>>>>,
    deadline: Pin<Box<Sleep>>,
    held: Vec<(StreamProtocol, Stream, Place)>,
    places: Places,
    pulse: Pulse,
    outbox: VecDeque<HandlerEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Awaited,
    Given,
    Failed,
}

impl Handler {
    pub fn new(
        peer: PeerId,
        chain_id: Arc<str>,
        binding: Arc<[u8]>,
        accepted: Vec<StreamProtocol>,
        pulse: Pulse,
    ) -> Self {
        let hello = ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(AnyOf(vec![HELLO]), Purpose::Hello),
        };
        Self {
            peer,
            chain_id,
            binding,
            accepted,
            proof: Proof::Awaited,
            saying: None,
            hearing: None,
            deadline: Box::pin(sleep(HELLO_WITHIN)),
            held: Vec::new(),
            places: Places::default(),
            pulse,
            outbox: VecDeque::from([hello]),
        }
    }

    fn tell(&mut self, news: FromHandler) {
        self.outbox.push_back(ConnectionHandlerEvent::NotifyBehaviour(news));
    }

    fn conclude(&mut self, verdict: Result<Address, BindingError>) {
        if self.proof != Proof::Awaited {
            return;
        }
        match verdict {
            Ok(wallet) => {
                self.proof = Proof::Given;
                self.tell(FromHandler::Proven(wallet));
                for (protocol, stream, place) in std::mem::take(&mut self.held) {
                    self.hand_out(protocol, stream, place);
                }
            }
            Err(error) => {
                self.proof = Proof::Failed;
                self.held.clear();
                self.tell(FromHandler::Refused(error));
            }
        }
    }

    fn hand_out(&mut self, protocol: StreamProtocol, stream: Stream, place: Place) {
        self.tell(FromHandler::Inbound(protocol, stream, self.pulse.clone(), place));
    }

    fn receive(&mut self, protocol: StreamProtocol, stream: Stream) {
        if protocol == HELLO {
            // One hello a connection: a second one is nobody's business.
            if self.proof == Proof::Awaited && self.hearing.is_none() {
                self.hearing = Some(hear(stream, self.chain_id.clone(), self.peer).boxed());
            }
            return;
        }
        let Some(place) = self.places.take(MAX_INBOUND) else {
            tracing::debug!(peer = %self.peer, %protocol, "too many streams of one peer, one is dropped");
            return;
        };
        match self.proof {
            Proof::Given => self.hand_out(protocol, stream, place),
            Proof::Awaited if self.held.len() < MAX_HELD => self.held.push((protocol, stream, place)),
            Proof::Awaited | Proof::Failed => {}
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = AnyOf;
    type OutboundProtocol = AnyOf;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyOf> {
        let mut protocols = vec![HELLO];
        protocols.extend(self.accepted.iter().cloned());
        SubstreamProtocol::new(AnyOf(protocols), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.proof == Proof::Awaited
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HandlerEvent> {
        if let Some(saying) = &mut self.saying
            && saying.poll_unpin(cx).is_ready()
        {
            // If it failed, the peer notices that nothing came.
            self.saying = None;
        }
        if let Some(hearing) = &mut self.hearing
            && let Poll::Ready(heard) = hearing.poll_unpin(cx)
        {
            self.hearing = None;
            if let Ok(verdict) = heard {
                self.conclude(verdict);
            }
        }
        if self.proof == Proof::Awaited && self.deadline.as_mut().poll(cx).is_ready() {
            self.conclude(Err(BindingError::Missing));
        }
        match self.outbox.pop_front() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Accept(protocols) => self.accepted = protocols,
            ToHandler::Open(_, reply) if reply.is_closed() => {}
            ToHandler::Open(protocol, reply) => {
                self.outbox.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: SubstreamProtocol::new(AnyOf(vec![protocol]), Purpose::Open(reply)),
                });
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyOf, AnyOf, (), Purpose>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream),
                ..
            }) => self.receive(protocol, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (_, stream),
                info,
            }) => match info {
                Purpose::Hello => self.saying = Some(say(stream, self.binding.clone()).boxed()),
                // Nobody waits any more when this fails; the stream closes by being dropped.
                Purpose::Open(reply) => drop(reply.send(Ok((stream, self.pulse.clone())))),
            },
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => match info {
                // Whoever does not know the hello will not say it. Other errors are the connection's.
                Purpose::Hello if matches!(error, StreamUpgradeError::NegotiationFailed) => {
                    self.conclude(Err(BindingError::Missing));
                }
                Purpose::Hello => {}
                Purpose::Open(reply) => drop(reply.send(Err(failure(error)))),
            },
            _ => {}
        }
    }
}

fn failure(error: StreamUpgradeError<std::convert::Infallible>) -> OpenFailure {
    match error {
        StreamUpgradeError::NegotiationFailed => OpenFailure::NotSpoken,
        StreamUpgradeError::Timeout => OpenFailure::Broken(io::ErrorKind::TimedOut.into()),
        StreamUpgradeError::Io(error) => OpenFailure::Broken(error),
        StreamUpgradeError::Apply(never) => match never {},
    }
}

impl fmt::Debug for ToHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToHandler::Accept(protocols) => f.debug_tuple("Accept").field(protocols).finish(),
            ToHandler::Open(protocol, _) => f.debug_tuple("Open").field(protocol).finish(),
        }
    }
}

impl fmt::Debug for FromHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FromHandler::Proven(wallet) => f.debug_tuple("Proven").field(wallet).finish(),
            FromHandler::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
            FromHandler::Inbound(protocol, ..) => f.debug_tuple("Inbound").field(protocol).finish(),
        }
    }
}
