//! What the rest of the node holds of the overlay.

use std::{fmt, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId, StreamProtocol};
use theta_types::{Address, SecretKey};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Fault, MeshConfig, MeshError, MeshEvent, MeshStream, NatState, PeerInfo, Protocol, Reachability,
    SignedRecord, Subscription, Topic, TrafficTotals, UploadLimit, WalletBinding,
    gossip::MAX_GOSSIP_BYTES,
    overlay,
    owner::{Command, InboundStream, Opened, Owner, Published},
    peers::Peers,
    sessions::OpenFailure,
    stream::Traffic,
};

/// The overlay before it runs.
#[derive(Debug)]
pub struct Mesh;

/// Requests that wait for the owner.
const COMMAND_QUEUE: usize = 256;
/// News that a slow listener may be behind.
const EVENT_QUEUE: usize = 256;
/// How long opening a stream may take, the connection included.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// How long a dial may take, the proof of the wallet included.
const DIAL_WITHIN: Duration = Duration::from_secs(15);
/// How long the hash table may take.
const LOOKUP_WITHIN: Duration = Duration::from_secs(15);
const START_WITHIN: Duration = Duration::from_secs(10);

impl Mesh {
    /// Starts the overlay: signs with `wallet` that the node acts for it, listens, and dials the bootstrap nodes. The key is
    /// not kept.
    ///
    /// # Errors
    /// [`MeshError::Settings`] and [`MeshError::Listen`].
    pub async fn start(config: MeshConfig, wallet: &SecretKey) -> Result<MeshHandle, MeshError> {
        config.check()?;
        let peer = config.node_key.peer_id();
        let binding = WalletBinding::sign(wallet, &config.chain_id, &peer);
        let swarm = overlay::build(&config, binding.encode())?;
        let limit = UploadLimit::new(config.upload_limit);
        let traffic = Arc::new(Traffic::default());
        let nat = match config.reachability {
            Reachability::Detect => NatState::Unknown,
            Reachability::Public => NatState::Public,
        };
        let published = Published {
            peers: watch::Sender::new(Arc::default()),
            listening: watch::Sender::new(Vec::new()),
            nat: watch::Sender::new(nat),
            events: broadcast::Sender::new(EVENT_QUEUE),
        };
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let (ready, started) = oneshot::channel();
        let cancel = config.cancel.child_token();
        let ended = CancellationToken::new();
        let handle = MeshHandle {
            peer,
            wallet: wallet.address(),
            commands,
            peers: published.peers.subscribe(),
            listening: published.listening.subscribe(),
            nat: published.nat.subscribe(),
            events: published.events.clone(),
            limit: limit.clone(),
            traffic: traffic.clone(),
            cancel: cancel.clone(),
            ended: ended.clone(),
        };
        let owner = Owner::new(swarm, config, binding, queue, published, limit, traffic, ready)?;
        let ended = ended.drop_guard();
        tokio::spawn(async move {
            owner.run(cancel).await;
            drop(ended);
        });
        match tokio::time::timeout(START_WITHIN, started).await {
            Ok(Ok(Ok(()))) => Ok(handle),
            Ok(Ok(Err(error))) => {
                handle.shutdown().await;
                Err(error)
            }
            Ok(Err(_)) => Err(MeshError::Stopped),
            Err(_) => {
                handle.shutdown().await;
                Err(MeshError::Timeout(START_WITHIN))
            }
        }
    }
}

/// The overlay while it runs. Clones are the same overlay; it ends with the configured token, by
/// [`shutdown`](Self::shutdown), or when the last handle is dropped.
#[derive(Clone)]
pub struct MeshHandle {
    peer: PeerId,
    wallet: Address,
    commands: mpsc::Sender<Command>,
    peers: watch::Receiver<Arc<Peers>>,
    listening: watch::Receiver<Vec<Multiaddr>>,
    nat: watch::Receiver<NatState>,
    events: broadcast::Sender<MeshEvent>,
    limit: UploadLimit,
    traffic: Arc<Traffic>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl MeshHandle {
    /// Who this node is on the overlay.
    pub fn local_peer(&self) -> PeerId {
        self.peer
    }

    /// The wallet this node acts for.
    pub fn wallet(&self) -> Address {
        self.wallet
    }

    /// Where this node listens, ending in `/p2p/` and its peer id, as others can dial it; places at relays included.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.listening.borrow().clone()
    }

    /// Whether others reach this node.
    pub fn nat_state(&self) -> NatState {
        *self.nat.borrow()
    }

    /// Connects to an address and waits for the proof of the peer's wallet.
    ///
    /// # Errors
    /// [`MeshError::NoAnswer`], [`MeshError::Unproven`], [`MeshError::Timeout`].
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerId, MeshError> {
        self.ask(DIAL_WITHIN, |answer| Command::Dial { address, answer }).await
    }

    /// Opens a stream to a peer whose wallet is proven, connecting first if need be.
    ///
    /// # Errors
    /// [`MeshError::Unreachable`], [`MeshError::Unproven`], [`MeshError::NotSpoken`], [`MeshError::Banned`],
    /// [`MeshError::Broken`], [`MeshError::Busy`] and [`MeshError::Timeout`]: use another peer.
    pub async fn open(&self, peer: PeerId, protocol: Protocol) -> Result<MeshStream, MeshError> {
        let name = wire_name(protocol)?;
        let (answer, opened) = oneshot::channel();
        self.send(Command::Open { peer, protocol: name, answer }).await?;
        let opened: Opened = match tokio::time::timeout(OPEN_WITHIN, opened).await {
            Ok(Ok(opened)) => opened,
            // The connection went away with the request.
            Ok(Err(_)) => Err(OpenFailure::Unreachable("the connection closed".into())),
            Err(_) => return Err(MeshError::Timeout(OPEN_WITHIN)),
        };
        match opened {
            Ok((stream, pulse)) => {
                Ok(MeshStream::new(stream, self.limit.clone(), self.traffic.clone(), pulse, None))
            }
            Err(OpenFailure::NotSpoken) => Err(MeshError::NotSpoken { peer, protocol }),
            Err(OpenFailure::Broken(error)) => Err(MeshError::Broken(error)),
            Err(OpenFailure::Unreachable(reason)) => Err(MeshError::Unreachable { peer, reason }),
            Err(OpenFailure::Unproven(source)) => Err(MeshError::Unproven { peer, source }),
            Err(OpenFailure::Banned(reason)) => Err(MeshError::Banned { peer, reason }),
            Err(OpenFailure::Busy) => Err(MeshError::Busy("too many streams wait for one peer")),
        }
    }

    /// Accepts streams of a protocol, from peers whose wallets are proven. One part of the node accepts each protocol.
    ///
    /// # Errors
    /// [`MeshError::AlreadyAccepted`].
    pub async fn accept(&self, protocol: Protocol) -> Result<Incoming, MeshError> {
        let name = wire_name(protocol)?;
        let streams = self.ask(LOOKUP_WITHIN, |answer| Command::Accept { protocol, name, answer }).await?;
        Ok(Incoming { streams })
    }

    /// Says something to all who listen to the topic; at most [`MAX_GOSSIP_BYTES`].
    ///
    /// # Errors
    /// [`MeshError::NobodyListens`] when no connected peer does, [`MeshError::TooLarge`], [`MeshError::Busy`].
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        if data.len() > MAX_GOSSIP_BYTES {
            let bytes = data.len();
            return Err(MeshError::TooLarge { what: "a gossip message", bytes, limit: MAX_GOSSIP_BYTES });
        }
        self.ask(LOOKUP_WITHIN, |answer| Command::Publish { topic, data, answer }).await
    }

    /// Hears what others say on the topic from now on. Own messages are not heard.
    pub async fn subscribe(&self, topic: Topic) -> Result<Subscription, MeshError> {
        let receiver = self.ask(LOOKUP_WITHIN, |answer| Command::Subscribe { topic, answer }).await?;
        Ok(Subscription::new(receiver))
    }

    /// Announces that this node has the content of `key` (at most 128 bytes), now and again until
    /// [`stop_providing`](Self::stop_providing).
    ///
    /// # Errors
    /// [`MeshError::TooLarge`] and [`MeshError::Busy`].
    pub async fn provide(&self, key: &[u8]) -> Result<(), MeshError> {
        let key = key.to_vec();
        self.ask(LOOKUP_WITHIN, |answer| Command::Provide { key, answer }).await
    }

    /// Announces it no more; others forget it within half an hour.
    pub async fn stop_providing(&self, key: &[u8]) -> Result<(), MeshError> {
        self.send(Command::StopProviding { key: key.to_vec() }).await
    }

    /// Other nodes that announced they have the content of `key`; empty when there are none.
    ///
    /// # Errors
    /// [`MeshError::TooLarge`], [`MeshError::Busy`] and [`MeshError::Timeout`].
    pub async fn providers(&self, key: &[u8]) -> Result<Vec<PeerId>, MeshError> {
        let key = key.to_vec();
        self.ask(LOOKUP_WITHIN, |answer| Command::Providers { key, answer }).await
    }

    /// Publishes a small value under this node's wallet and a name, replacing the last one.
    ///
    /// # Errors
    /// [`MeshError::NobodyListens`] when no other node took it (it is kept here), [`MeshError::TooLarge`], [`MeshError::Busy`].
    pub async fn put_record(&self, name: &str, value: Vec<u8>) -> Result<(), MeshError> {
        let name = name.to_owned();
        self.ask(LOOKUP_WITHIN, |answer| Command::PutRecord { name, value, answer }).await
    }

    /// The newest value that a wallet's node published under a name, verified; `None` when nobody has one.
    ///
    /// # Errors
    /// [`MeshError::Busy`] and [`MeshError::Timeout`].
    pub async fn get_record(&self, wallet: Address, name: &str) -> Result<Option<SignedRecord>, MeshError> {
        let name = name.to_owned();
        self.ask(LOOKUP_WITHIN, |answer| Command::GetRecord { wallet, name, answer }).await
    }

    /// The wallet that a connected peer proved.
    pub fn wallet_of(&self, peer: PeerId) -> Option<Address> {
        self.peers.borrow().get(&peer).map(|info| info.wallet)
    }

    /// The connected peers that proved their wallets, nearest first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<PeerInfo> = self.peers.borrow().values().cloned().collect();
        peers.sort_by_key(|info| (info.rtt.unwrap_or(Duration::MAX), info.peer));
        peers
    }

    /// Waits until the set of peers is different from what was last seen by this handle's clone.
    pub async fn peers_changed(&mut self) -> Result<(), MeshError> {
        self.peers.changed().await.map_err(|_| MeshError::Stopped)
    }

    /// News from now on. A listener that falls more than 256 behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<MeshEvent> {
        self.events.subscribe()
    }

    /// Adds a fault to a peer's score; enough of them ban it.
    pub async fn report(&self, peer: PeerId, fault: Fault) -> Result<(), MeshError> {
        self.send(Command::Report { peer, fault }).await
    }

    /// Closes all connections to a peer and refuses it for an hour.
    pub async fn ban(&self, peer: PeerId, reason: impl Into<String>) -> Result<(), MeshError> {
        self.send(Command::Ban { peer, reason: reason.into() }).await
    }

    /// The upload limit of all streams; set it at any time.
    pub fn upload_limit(&self) -> &UploadLimit {
        &self.limit
    }

    /// Bytes over all streams since the start.
    pub fn traffic(&self) -> TrafficTotals {
        self.traffic.totals()
    }

    /// Tells peers goodbye and ends the overlay; returns when it has ended.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.ended.cancelled().await;
    }

    async fn send(&self, command: Command) -> Result<(), MeshError> {
        self.commands.send(command).await.map_err(|_| MeshError::Stopped)
    }

    async fn ask<T>(
        &self,
        within: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, MeshError>>) -> Command,
    ) -> Result<T, MeshError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        match tokio::time::timeout(within, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(MeshError::Stopped),
            Err(_) => Err(MeshError::Timeout(within)),
        }
    }
}

impl fmt::Debug for MeshHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshHandle").field("peer", &self.peer).field("wallet", &self.wallet).finish()
    }
}

/// Streams of one protocol that peers open to this node. At most 64 wait; more are dropped, and the log says so.
/// Dropping it ends the acceptance.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<InboundStream>,
}

impl Incoming {
    /// The next stream, with the peer that opened it and the wallet the peer proved; `None` when the overlay has ended.
    pub async fn next(&mut self) -> Option<(PeerId, Address, MeshStream)> {
        self.streams.recv().await
    }
}

fn wire_name(protocol: Protocol) -> Result<StreamProtocol, MeshError> {
    StreamProtocol::try_from_owned(protocol.name().to_owned())
        .map_err(|_| MeshError::Settings(format!("`{protocol}` does not start with `/`")))
}
