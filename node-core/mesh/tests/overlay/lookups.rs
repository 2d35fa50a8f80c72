//! Providers and records of the hash table, and places at relays.

use std::time::Duration;

use edge_mesh::{MAX_RECORD_BYTES, MeshError, MeshEvent, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::{config, quic, start, tcp, three, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provides_the_others_find() {
    let [first, second, third] = three().await;
    second.provide(b"stream 1").await.unwrap();
    until("the provider is found", || async {
        third.providers(b"stream 1").await.unwrap() == [second.local_peer()]
            && first.providers(b"stream 1").await.unwrap() == [second.local_peer()]
    })
    .await;
    assert!(third.providers(b"stream 2").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_provided_before_anybody_was_there_is_announced_later() {
    let first = start(config(&[])).await;
    first.provide(b"early").await.unwrap();
    let second = start(config(&[quic(&first)])).await;
    let third = start(config(&[quic(&second)])).await;
    until("the provider is found", || async {
        third.providers(b"early").await.unwrap() == [first.local_peer()]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_of_a_wallet_is_found_by_all() {
    let [first, second, third] = three().await;
    second.put_record("offers", b"old".to_vec()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    second.put_record("offers", b"new".to_vec()).await.unwrap();
    for node in [&first, &third] {
        let record = node.get_record(second.wallet(), "offers").await.unwrap().unwrap();
        assert_eq!((record.peer, record.value.as_slice()), (second.local_peer(), b"new".as_slice()));
    }
    assert_eq!(third.get_record(first.wallet(), "offers").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_above_the_limit_is_refused() {
    let node = start(config(&[])).await;
    let refused = node.put_record("offers", vec![0; MAX_RECORD_BYTES + 1]).await;
    assert!(matches!(refused, Err(MeshError::TooLarge { limit: MAX_RECORD_BYTES, .. })), "{refused:?}");
    let refused = node.providers(&[0; 200]).await;
    assert!(matches!(refused, Err(MeshError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_place_at_a_relay_is_reached_through_it() {
    let relay = start(config(&[])).await;
    let mut hidden = config(&[]);
    hidden.listen = Vec::new();
    hidden.relays = vec![tcp(&relay)];
    let hidden = start(hidden).await;
    let mut news = hidden.events();
    let reserved = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            if let MeshEvent::Relayed { address } = news.recv().await.unwrap() {
                return address;
            }
        }
    });
    let address = match hidden.listen_addresses().into_iter().next() {
        Some(address) => address,
        None => reserved.await.expect("a place at the relay within 15 s"),
    };
    let mut incoming = hidden.accept(Protocol::JOBS).await.unwrap();
    let caller = start(config(&[])).await;
    assert_eq!(caller.dial(address).await.unwrap(), hidden.local_peer());
    let mut stream = caller.open(hidden.local_peer(), Protocol::JOBS).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let (peer, wallet, mut stream) = incoming.next().await.unwrap();
    assert_eq!((peer, wallet), (caller.local_peer(), caller.wallet()));
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}
