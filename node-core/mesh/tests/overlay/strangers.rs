//! A raw libp2p peer that does what it likes.

use std::time::Duration;

use edge_mesh::{Multiaddr, PeerId, WalletBinding};
use futures::{AsyncWriteExt, StreamExt};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use libp2p_stream::{Behaviour, Control};
use theta_types::SecretKey;
use tokio::task::JoinHandle;

use crate::network::CHAIN;

pub const HELLO: StreamProtocol = StreamProtocol::new("/thetis/hello/1");

/// A swarm that knows nothing but streams.
pub struct Stranger {
    pub peer: PeerId,
    pub control: Control,
    connected: tokio::sync::watch::Receiver<u32>,
    closed: tokio::sync::watch::Receiver<u32>,
    failed: tokio::sync::watch::Receiver<u32>,
    dials: tokio::sync::mpsc::Sender<Multiaddr>,
    task: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stranger {
    /// One that hears hellos.
    pub fn new() -> Self {
        let stranger = Self::deaf();
        let mut hellos = stranger.control.clone().accept(HELLO).unwrap();
        tokio::spawn(async move { while hellos.next().await.is_some() {} });
        stranger
    }

    /// One that does not know the hello.
    pub fn deaf() -> Self {
        let mut swarm: Swarm<Behaviour> = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|_| Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let control = swarm.behaviour().new_control();
        let (dials, mut dial) = tokio::sync::mpsc::channel::<Multiaddr>(8);
        let (connect, connected) = tokio::sync::watch::channel(0);
        let (close, closed) = tokio::sync::watch::channel(0);
        let (fail, failed) = tokio::sync::watch::channel(0);
        let peer = *swarm.local_peer_id();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(address) = dial.recv() => {
                        if swarm.dial(address).is_err() {
                            fail.send_modify(|count| *count += 1);
                        }
                    }
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { .. } => connect.send_modify(|count| *count += 1),
                        SwarmEvent::ConnectionClosed { .. } => close.send_modify(|count| *count += 1),
                        SwarmEvent::OutgoingConnectionError { .. } => fail.send_modify(|count| *count += 1),
                        _ => {}
                    }
                }
            }
        });
        Self { peer, control, connected, closed, failed, dials, task }
    }

    /// Dials, and waits until that led to a connection or to nothing; true for a connection.
    pub async fn dial(&self, address: &Multiaddr) -> bool {
        let (mut connected, mut failed) = (self.connected.clone(), self.failed.clone());
        connected.mark_unchanged();
        failed.mark_unchanged();
        self.dials.send(address.clone()).await.unwrap();
        tokio::select! {
            changed = connected.changed() => changed.is_ok(),
            changed = failed.changed() => { changed.unwrap(); false }
        }
    }

    /// Connects and sends these bytes as its hello.
    pub async fn say(&mut self, address: &Multiaddr, node: PeerId, hello: &[u8]) {
        if !self.dial(address).await {
            return;
        }
        let Ok(mut stream) = self.control.open_stream(node, HELLO).await else { return };
        // The node may hang up while the hello is still being sent.
        let _ = stream.write_all(hello).await;
        let _ = stream.close().await;
    }

    /// Waits until this many connections were closed or refused.
    pub async fn thrown_out(&mut self, times: u32) {
        let (mut closed, mut failed) = (self.closed.clone(), self.failed.clone());
        let waiting = async {
            while *closed.borrow_and_update() + *failed.borrow_and_update() < times {
                tokio::select! {
                    changed = closed.changed() => changed.unwrap(),
                    changed = failed.changed() => changed.unwrap(),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), waiting)
            .await
            .expect("the node throws the stranger out");
    }

    /// How many connections were closed after they were made.
    pub fn closed(&self) -> u32 {
        *self.closed.borrow()
    }

    /// A hello as an honest node with this wallet would send it.
    pub fn honest_hello(&self, wallet: &SecretKey) -> Vec<u8> {
        WalletBinding::sign(wallet, CHAIN, &self.peer).encode()
    }
}
