//! What one says, the others hear.

use edge_mesh::{MAX_GOSSIP_BYTES, MeshError, Topic};

use crate::network::{config, start, three, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_the_largest_size_reaches_all_and_names_its_author() {
    let [first, second, third] = three().await;
    let mut heard =
        [first.subscribe(Topic::OFFERS).await.unwrap(), third.subscribe(Topic::OFFERS).await.unwrap()];
    let offer = vec![42; MAX_GOSSIP_BYTES];
    until("somebody listens", || async { second.publish(Topic::OFFERS, offer.clone()).await.is_ok() }).await;
    for heard in &mut heard {
        let (author, wallet, data) = heard.recv().await.unwrap();
        assert_eq!(author, second.local_peer());
        assert!(wallet.is_none_or(|wallet| wallet == second.wallet()));
        assert!(data == offer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_apart() {
    let [first, second, _] = three().await;
    let mut streams = first.subscribe(Topic::STREAMS).await.unwrap();
    let _offers = first.subscribe(Topic::OFFERS).await.unwrap();
    until("an offer is heard", || async { second.publish(Topic::OFFERS, b"offer".to_vec()).await.is_ok() })
        .await;
    until("a stream is heard", || async { second.publish(Topic::STREAMS, b"stream".to_vec()).await.is_ok() })
        .await;
    assert_eq!(streams.recv().await.unwrap().2, b"stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn speaking_into_the_void_and_too_much_are_said_so() {
    let node = start(config(&[])).await;
    assert!(matches!(node.publish(Topic::OFFERS, vec![1]).await, Err(MeshError::NobodyListens)));
    let too_much = node.publish(Topic::OFFERS, vec![0; MAX_GOSSIP_BYTES + 1]).await;
    assert!(matches!(too_much, Err(MeshError::TooLarge { bytes: 65537, .. })), "{too_much:?}");
}
