//! Peers in processes of their own that are killed, frozen, or leave in good order.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use edge_mesh::{MeshEvent, MeshHandle, MeshStream, Multiaddr, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::{config, quic, start, tcp, until};

const CHILD: &str = "THETIS_MESH_TEST_CHILD";

/// Not a test by itself: the node of [`OtherProcess`], when it is asked to be one. It accepts streams, answers each with a
/// byte, and holds them open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_another_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let node = start(config(&[])).await;
    let mut incoming = node.accept(Protocol::JOBS).await.unwrap();
    for address in [quic(&node), tcp(&node)] {
        println!("address {address}");
    }
    std::io::stdout().flush().unwrap();
    let mut held = Vec::new();
    while let Some((_, _, mut stream)) = incoming.next().await {
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        held.push(stream);
    }
}

struct OtherProcess {
    child: Child,
    addresses: Vec<Multiaddr>,
}

impl OtherProcess {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "vanishing::a_node_in_another_process", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addresses = lines
            .filter_map(|line| {
                line.unwrap().split_once("address ").map(|(_, address)| address.parse().unwrap())
            })
            .take(2)
            .collect();
        Self { child, addresses }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        // It may be dead already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream to the other process on which it has answered.
async fn stream_to(node: &MeshHandle, address: &Multiaddr) -> MeshStream {
    let peer = node.dial(address.clone()).await.unwrap();
    let mut stream = node.open(peer, Protocol::JOBS).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
    stream
}

async fn lost_after(stream: &mut MeshStream, since: Instant) -> Duration {
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
    assert!(read.expect("the loss is noticed within 10 s").is_err());
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_peer_is_noticed_within_three_and_a_half_seconds() {
    for transport in 0..2 {
        let mut other = OtherProcess::start();
        let node = start(config(&[])).await;
        let mut news = node.events();
        let mut stream = stream_to(&node, &other.addresses[transport]).await;
        other.child.kill().unwrap();
        let after = lost_after(&mut stream, Instant::now()).await;
        println!("{}: killed, noticed after {after:?}", other.addresses[transport]);
        assert!(after < Duration::from_millis(3500), "{after:?}");
        let gone = tokio::time::timeout(Duration::from_secs(2), async {
            while !matches!(news.recv().await.unwrap(), MeshEvent::Left { .. }) {}
        });
        gone.await.expect("the peer is said to have left");
        assert!(node.peers().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_peer_is_noticed_within_four_seconds() {
    for transport in 0..2 {
        let other = OtherProcess::start();
        let node = start(config(&[])).await;
        let mut stream = stream_to(&node, &other.addresses[transport]).await;
        // Long enough for pings to be under way.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        other.signal("-STOP");
        let after = lost_after(&mut stream, Instant::now()).await;
        println!("{}: frozen, noticed after {after:?}", other.addresses[transport]);
        assert!(after < Duration::from_secs(4), "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_frozen_peer_whose_buffers_are_full_fails_too() {
    let other = OtherProcess::start();
    let node = start(config(&[])).await;
    let stream = stream_to(&node, &other.addresses[1]).await;
    let (mut reading, mut stream) = tokio::io::split(stream);
    let reading = tokio::spawn(async move { reading.read_u8().await });
    // The other side reads nothing, so this fills every buffer on the way.
    let zeros = vec![0; 1024 * 1024];
    let filling = async { while stream.write_all(&zeros).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(4), filling).await.is_err(), "a full stream is alive");
    other.signal("-STOP");
    let since = Instant::now();
    let failed = tokio::time::timeout(Duration::from_secs(10), async {
        while stream.write_all(&zeros).await.is_ok() {}
    });
    failed.await.expect("the write fails within 10 s");
    println!("frozen with full buffers, noticed after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(4));
    let read = tokio::time::timeout(Duration::from_secs(1), reading).await;
    assert!(read.expect("the reader of the same stream is told too").unwrap().is_err());
    until("the peer is gone", || async { node.peers().is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_in_good_order_is_gone_at_once() {
    for transport in [quic, tcp] {
        let (leaver, stayer) = (start(config(&[])).await, start(config(&[])).await);
        let mut incoming = leaver.accept(Protocol::JOBS).await.unwrap();
        stayer.dial(transport(&leaver)).await.unwrap();
        let mut stream = stayer.open(leaver.local_peer(), Protocol::JOBS).await.unwrap();
        let _held = incoming.next().await.unwrap();
        let since = Instant::now();
        leaver.shutdown().await;
        assert!(since.elapsed() < Duration::from_secs(1), "shutdown took {:?}", since.elapsed());
        let after = lost_after(&mut stream, since).await;
        assert!(after < Duration::from_secs(1), "{after:?}");
        assert!(incoming.next().await.is_none());
        assert!(leaver.accept(Protocol::SEGMENTS).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_token_ends_the_overlay() {
    let settings = config(&[]);
    let cancel = settings.cancel.clone();
    let node = start(settings).await;
    let mut heard = node.subscribe(edge_mesh::Topic::OFFERS).await.unwrap();
    cancel.cancel();
    assert!(heard.recv().await.is_none());
    node.shutdown().await;
}
