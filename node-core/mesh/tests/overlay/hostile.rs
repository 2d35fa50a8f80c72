//! What the overlay does about peers that lie, babble, or say nothing.

use std::time::Duration;

use edge_mesh::{Fault, MeshError, MeshEvent, MeshHandle, Protocol, WalletBinding};
use futures::AsyncWriteExt;
use libp2p::StreamProtocol;
use theta_types::SecretKey;
use tokio::io::AsyncReadExt;

use crate::{
    network::{CHAIN, config, quic, start, tcp, until},
    strangers::{HELLO, Stranger},
};

fn wallet() -> SecretKey {
    SecretKey::random().unwrap()
}

/// The stranger says `hello` until it is banned; how many connections that took.
async fn connections_until_ban(node: &MeshHandle, stranger: &mut Stranger, hello: &[u8]) -> u32 {
    let mut news = node.events();
    for times in 1..=10 {
        stranger.say(&tcp(node), node.local_peer(), hello).await;
        stranger.thrown_out(times).await;
        assert_eq!(node.wallet_of(stranger.peer), None);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Ok(MeshEvent::Banned { peer, .. }) = news.try_recv() {
            assert_eq!(peer, stranger.peer);
            return times;
        }
    }
    panic!("the stranger is never banned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_another_wallet_signed_earns_a_ban_at_the_third_time() {
    let node = start(config(&[])).await;
    let mut stranger = Stranger::new();
    // The signature of a wallet over somebody else's peer id: stolen from an honest node's hello.
    let stolen = WalletBinding::sign(&wallet(), CHAIN, &node.local_peer()).encode();
    assert_eq!(connections_until_ban(&node, &mut stranger, &stolen).await, 3);

    // Not even an honest hello is listened to now.
    let closed_before = stranger.closed();
    let honest = stranger.honest_hello(&wallet());
    stranger.say(&tcp(&node), node.local_peer(), &honest).await;
    stranger.thrown_out(4).await;
    assert_eq!(node.wallet_of(stranger.peer), None);
    assert!(stranger.closed() <= closed_before + 1);
    let refused = node.open(stranger.peer, Protocol::JOBS).await;
    assert!(matches!(refused, Err(MeshError::Banned { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_endless_hellos_are_cut_and_banned() {
    for (name, hello) in [("garbage", vec![0xA5; 40]), ("endless", vec![1; 4 * 1024 * 1024])] {
        let node = start(config(&[])).await;
        let mut stranger = Stranger::new();
        let times = connections_until_ban(&node, &mut stranger, &hello).await;
        println!("{name}: banned after {times} connections");
        assert!(times <= 5, "{name}: {times}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_before_the_proof_is_held_back_and_handed_out_after_it() {
    let node = start(config(&[])).await;
    let mut incoming = node.accept(Protocol::JOBS).await.unwrap();
    let mut stranger = Stranger::new();
    assert!(stranger.dial(&quic(&node)).await);
    let jobs = StreamProtocol::new("/thetis/jobs/1");
    let mut early = stranger.control.open_stream(node.local_peer(), jobs).await.unwrap();
    early.write_all(b"early").await.unwrap();
    early.flush().await.unwrap();
    let handed_out = tokio::time::timeout(Duration::from_millis(500), incoming.next()).await;
    assert!(handed_out.is_err(), "a stream was handed out before the proof");

    let wallet = wallet();
    let mut hello = stranger.control.open_stream(node.local_peer(), HELLO).await.unwrap();
    hello.write_all(&stranger.honest_hello(&wallet)).await.unwrap();
    hello.close().await.unwrap();
    let (peer, address, mut stream) = incoming.next().await.unwrap();
    assert_eq!((peer, address), (stranger.peer, wallet.address()));
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_proves_nothing_is_disconnected_and_its_streams_are_dropped() {
    let node = start(config(&[])).await;
    let mut incoming = node.accept(Protocol::JOBS).await.unwrap();
    let mut stranger = Stranger::new();
    assert!(stranger.dial(&tcp(&node)).await);
    let jobs = StreamProtocol::new("/thetis/jobs/1");
    let _early = stranger.control.open_stream(node.local_peer(), jobs).await.unwrap();
    stranger.thrown_out(1).await;
    let handed_out = tokio::time::timeout(Duration::from_millis(200), incoming.next()).await;
    assert!(handed_out.is_err(), "a stream was handed out without a proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_know_the_hello_is_disconnected_at_once() {
    let node = start(config(&[])).await;
    let mut stranger = Stranger::deaf();
    let since = std::time::Instant::now();
    assert!(stranger.dial(&quic(&node)).await);
    stranger.thrown_out(1).await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(node.wallet_of(stranger.peer), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialler_is_told_that_the_peer_proved_nothing() {
    let node = start(config(&[])).await;
    let other = {
        let mut settings = config(&[]);
        settings.chain_id = "privatenet".into();
        start(settings).await
    };
    let refused = node.dial(tcp(&other)).await;
    assert!(
        matches!(refused, Err(MeshError::Unproven { .. } | MeshError::NoAnswer { .. })),
        "a node of another chain: {refused:?}"
    );
    assert!(node.peers().is_empty() && other.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_the_rest_of_the_node_reports_end_in_a_ban() {
    let (node, other) = (start(config(&[])).await, start(config(&[])).await);
    let mut news = node.events();
    node.dial(quic(&other)).await.unwrap();
    for _ in 0..3 {
        node.report(other.local_peer(), Fault::CorruptContent).await.unwrap();
    }
    let banned = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            if let MeshEvent::Banned { peer, reason } = news.recv().await.unwrap() {
                return (peer, reason);
            }
        }
    });
    let (peer, reason) = banned.await.unwrap();
    assert_eq!(peer, other.local_peer());
    assert!(reason.contains("CorruptContent"), "{reason}");
    let refused = node.open(peer, Protocol::JOBS).await;
    assert!(matches!(refused, Err(MeshError::Banned { .. })), "{refused:?}");
    until("the banned one is disconnected", || async { other.peers().is_empty() }).await;
    assert!(other.dial(quic(&node)).await.is_err());
    assert!(node.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_protocols_of_libp2p_harms_nobody() {
    let node = start(config(&[])).await;
    let mut stranger = Stranger::new();
    let hello = stranger.honest_hello(&wallet());
    stranger.say(&tcp(&node), node.local_peer(), &hello).await;
    for protocol in [
        format!("/thetis/{CHAIN}/kad/1"),
        format!("/thetis/{CHAIN}/gossip/1.1.0"),
        "/ipfs/id/1.0.0".into(),
        "/ipfs/ping/1.0.0".into(),
        "/libp2p/circuit/relay/0.2.0/hop".into(),
    ] {
        for bytes in [vec![0xFF; 200_000], vec![0; 10], b"\x0a\x05hello".to_vec()] {
            let name = StreamProtocol::try_from_owned(protocol.clone()).unwrap();
            let Ok(mut stream) = stranger.control.open_stream(node.local_peer(), name).await else {
                continue;
            };
            let _ = stream.write_all(&bytes).await;
            let _ = stream.close().await;
        }
    }
    // The node is still of use to an honest one.
    let mut incoming = node.accept(Protocol::JOBS).await.unwrap();
    let honest = start(config(&[quic(&node)])).await;
    honest.dial(quic(&node)).await.unwrap();
    let _stream = honest.open(node.local_peer(), Protocol::JOBS).await.unwrap();
    assert_eq!(incoming.next().await.unwrap().0, honest.local_peer());
}
