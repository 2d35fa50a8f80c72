//! Small networks of one machine.

use std::{future::Future, time::Duration};

use edge_mesh::{Mesh, MeshConfig, MeshHandle, Multiaddr, NodeKey};
use theta_types::SecretKey;

pub const CHAIN: &str = "thetislocal";

/// The settings of a node of the test network that begins with `bootstrap`.
pub fn config(bootstrap: &[Multiaddr]) -> MeshConfig {
    MeshConfig { bootstrap: bootstrap.to_vec(), ..MeshConfig::loopback(NodeKey::generate(), CHAIN) }
}

/// A node with a wallet of its own.
pub async fn start(config: MeshConfig) -> MeshHandle {
    Mesh::start(config, &SecretKey::random().unwrap()).await.unwrap()
}

/// The node's QUIC address.
pub fn quic(node: &MeshHandle) -> Multiaddr {
    address(node, "/quic-v1/")
}

/// The node's TCP address.
pub fn tcp(node: &MeshHandle) -> Multiaddr {
    address(node, "/tcp/")
}

fn address(node: &MeshHandle, transport: &str) -> Multiaddr {
    let addresses = node.listen_addresses();
    addresses.iter().find(|address| address.to_string().contains(transport)).unwrap().clone()
}

/// Waits until something holds; a test that waits for longer than 15 s has failed.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 15 s: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Three nodes, of which the second and the third know only the first.
pub async fn three() -> [MeshHandle; 3] {
    let first = start(config(&[])).await;
    let begin = [quic(&first)];
    let second = start(config(&begin)).await;
    let third = start(config(&begin)).await;
    until("the second and the third found the first", || async { first.peers().len() == 2 }).await;
    [first, second, third]
}
