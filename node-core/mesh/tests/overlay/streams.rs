//! Finding each other, and streams over both transports.

use edge_mesh::{MeshError, MeshHandle, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::{config, quic, start, tcp, three, until};

/// Sends back what it reads, on every stream of the protocol.
async fn echo(node: &MeshHandle, protocol: Protocol) {
    let mut incoming = node.accept(protocol).await.unwrap();
    tokio::spawn(async move {
        while let Some((_, _, stream)) = incoming.next().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
}

async fn ask(node: &MeshHandle, other: &MeshHandle, bytes: &[u8]) -> Vec<u8> {
    let stream = node.open(other.local_peer(), Protocol::JOBS).await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let sending = async {
        to.write_all(bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(sending, from.read_to_end(&mut answer));
    read.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_one_bootstrap_node_find_each_other() {
    let [first, second, third] = three().await;
    until("the second and the third are connected", || async {
        second.wallet_of(third.local_peer()) == Some(third.wallet())
            && third.wallet_of(second.local_peer()) == Some(second.wallet())
    })
    .await;
    assert_eq!(first.wallet_of(second.local_peer()), Some(second.wallet()));
    assert!(first.peers().iter().all(|info| info.direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_carries_megabytes_both_ways_over_quic_and_over_tcp() {
    let payload: Vec<u8> = (0..3_000_000u32).map(|index| ((index * 7) >> 3) as u8).collect();
    for transport in [quic, tcp] {
        let server = start(config(&[])).await;
        echo(&server, Protocol::JOBS).await;
        let client = start(config(&[])).await;
        assert_eq!(client.dial(transport(&server)).await.unwrap(), server.local_peer());
        assert!(ask(&client, &server, &payload).await == payload, "over {}", transport(&server));
        assert_eq!(client.traffic().sent, 3_000_000);
        assert_eq!(client.traffic().received, 3_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_streams_opened_at_once_all_arrive() {
    let server = start(config(&[])).await;
    echo(&server, Protocol::JOBS).await;
    let client = start(config(&[quic(&server)])).await;
    client.dial(quic(&server)).await.unwrap();
    let asked = (0..40u8).map(|number| {
        let (client, server) = (&client, &server);
        async move { assert_eq!(ask(client, server, &[number; 1000]).await, [number; 1000]) }
    });
    futures::future::join_all(asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_a_peer_that_is_not_connected_finds_its_address() {
    let [_first, second, third] = three().await;
    echo(&third, Protocol::JOBS).await;
    assert_eq!(ask(&second, &third, b"where are you").await, b"where are you");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acceptor_learns_the_wallet_that_the_peer_proved() {
    let server = start(config(&[])).await;
    let mut incoming = server.accept(Protocol::SEGMENTS).await.unwrap();
    let client = start(config(&[])).await;
    client.dial(tcp(&server)).await.unwrap();
    let _stream = client.open(server.local_peer(), Protocol::SEGMENTS).await.unwrap();
    let (peer, wallet, _) = incoming.next().await.unwrap();
    assert_eq!((peer, wallet), (client.local_peer(), client.wallet()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_nobody_accepts_is_refused_by_name() {
    let server = start(config(&[])).await;
    let client = start(config(&[])).await;
    client.dial(quic(&server)).await.unwrap();
    let refused = client.open(server.local_peer(), Protocol::JOBS).await;
    assert!(matches!(refused, Err(MeshError::NotSpoken { protocol: Protocol::JOBS, .. })), "{refused:?}");

    let accepting = server.accept(Protocol::JOBS).await.unwrap();
    assert!(matches!(server.accept(Protocol::JOBS).await, Err(MeshError::AlreadyAccepted(_))));
    until("the acceptance is known", || async {
        client.open(server.local_peer(), Protocol::JOBS).await.is_ok()
    })
    .await;
    drop(accepting);
    assert!(server.accept(Protocol::JOBS).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_an_address_and_nobody_with_an_id_are_said_so() {
    let node = start(config(&[])).await;
    let gone = start(config(&[])).await;
    let (address, peer) = (quic(&gone), gone.local_peer());
    gone.shutdown().await;
    let nobody = node.dial(address).await;
    assert!(matches!(nobody, Err(MeshError::NoAnswer { .. } | MeshError::Timeout(_))), "{nobody:?}");
    let unknown = node.open(peer, Protocol::JOBS).await;
    assert!(matches!(unknown, Err(MeshError::Unreachable { .. })), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_fails_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = config(&[]);
    config.listen = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
    let wallet = theta_types::SecretKey::random().unwrap();
    let failed = edge_mesh::Mesh::start(config, &wallet).await;
    assert!(matches!(failed, Err(MeshError::Listen { .. })), "{failed:?}");
}
