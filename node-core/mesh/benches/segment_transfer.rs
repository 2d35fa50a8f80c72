//! 2 MB segments from node to node: over the overlay, and over raw libp2p streams.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edge_mesh::{Mesh, MeshConfig, MeshHandle, Multiaddr, NodeKey, PeerId, Protocol};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use libp2p_stream::{Behaviour, Control};
use theta_types::SecretKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};

const SEGMENT: usize = 2 * 1024 * 1024;
const RAW: StreamProtocol = StreamProtocol::new("/bench/segments/1");

/// A node whose answer to each stream is one segment.
async fn server() -> MeshHandle {
    let wallet = SecretKey::random().expect("randomness");
    let node = Mesh::start(MeshConfig::loopback(NodeKey::generate(), "bench"), &wallet).await.expect("start");
    let mut incoming = node.accept(Protocol::SEGMENTS).await.expect("accept");
    tokio::spawn(async move {
        let segment = vec![7; SEGMENT];
        while let Some((_, _, mut stream)) = incoming.next().await {
            if stream.write_all(&segment).await.is_ok() {
                let _ = stream.shutdown().await;
            }
        }
    });
    node
}

async fn fetch(client: &MeshHandle, server: PeerId) {
    let mut stream = client.open(server, Protocol::SEGMENTS).await.expect("open");
    let mut segment = vec![0; SEGMENT];
    stream.read_exact(&mut segment).await.expect("a segment");
}

fn raw_swarm() -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .expect("tcp")
        .with_quic()
        .with_behaviour(|_| Behaviour::new())
        .expect("behaviour")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

/// The same over libp2p alone.
async fn raw_pair(listen: &str) -> (Control, PeerId) {
    let (mut server, mut client) = (raw_swarm(), raw_swarm());
    server.listen_on(listen.parse().expect("an address")).expect("listen");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            break address;
        }
    };
    let mut incoming = server.behaviour().new_control().accept(RAW).expect("accept");
    let peer = *server.local_peer_id();
    tokio::spawn(async move {
        loop {
            server.select_next_some().await;
        }
    });
    tokio::spawn(async move {
        let segment = vec![7; SEGMENT];
        while let Some((_, mut stream)) = incoming.next().await {
            if stream.write_all(&segment).await.is_ok() {
                let _ = stream.close().await;
            }
        }
    });
    client.dial(address).expect("dial");
    loop {
        if let SwarmEvent::ConnectionEstablished { .. } = client.select_next_some().await {
            break;
        }
    }
    let control = client.behaviour().new_control();
    tokio::spawn(async move {
        loop {
            client.select_next_some().await;
        }
    });
    (control, peer)
}

async fn raw_fetch(control: &mut Control, peer: PeerId) {
    let mut stream = control.open_stream(peer, RAW).await.expect("open");
    let mut segment = vec![0; SEGMENT];
    stream.read_exact(&mut segment).await.expect("a segment");
}

fn segment_transfer(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("segment_transfer");
    group
        .throughput(Throughput::Bytes(SEGMENT as u64))
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    for (name, listen, part) in
        [("quic", "/ip4/127.0.0.1/udp/0/quic-v1", "/quic-v1/"), ("tcp", "/ip4/127.0.0.1/tcp/0", "/tcp/")]
    {
        let (client, server) = runtime.block_on(async {
            let server = server().await;
            let wallet = SecretKey::random().expect("randomness");
            let client = Mesh::start(MeshConfig::loopback(NodeKey::generate(), "bench"), &wallet)
                .await
                .expect("start");
            let address: Multiaddr = server
                .listen_addresses()
                .into_iter()
                .find(|address| address.to_string().contains(part))
                .expect("an address");
            client.dial(address).await.expect("dial");
            (client, server)
        });
        let peer = server.local_peer();
        group.bench_function(format!("mesh/{name}"), |bencher| {
            bencher.iter(|| runtime.block_on(fetch(&client, peer)));
        });
        runtime.block_on(async {
            client.shutdown().await;
            server.shutdown().await;
        });
        let (mut control, peer) = runtime.block_on(raw_pair(listen));
        group.bench_function(format!("raw_libp2p/{name}"), |bencher| {
            bencher.iter(|| runtime.block_on(raw_fetch(&mut control, peer)));
        });
    }
    group.finish();
}

criterion_group!(benches, segment_transfer);
criterion_main!(benches);
