//! The upload limit, measured.

use std::time::{Duration, Instant};

use edge_mesh::{MeshHandle, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::{config, start, tcp};

/// Sends zeros on each of `streams` streams from the server to the client until the streams are dropped.
async fn flood(server: &MeshHandle, client: &MeshHandle, streams: usize) {
    let mut incoming = client.accept(Protocol::SEGMENTS).await.unwrap();
    tokio::spawn(async move {
        while let Some((_, _, mut stream)) = incoming.next().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    server.dial(tcp(client)).await.unwrap();
    for _ in 0..streams {
        let mut stream = server.open(client.local_peer(), Protocol::SEGMENTS).await.unwrap();
        tokio::spawn(async move {
            let zeros = vec![0; 256 * 1024];
            while stream.write_all(&zeros).await.is_ok() {}
        });
    }
}

/// Bytes per second that the client received during `time`.
async fn received_rate(client: &MeshHandle, time: Duration) -> f64 {
    let (before, start) = (client.traffic().received, Instant::now());
    tokio::time::sleep(time).await;
    (client.traffic().received - before) as f64 / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upload_limit_holds_within_ten_percent_and_follows_changes() {
    let (server, client) = (start(config(&[])).await, start(config(&[])).await);
    server.upload_limit().set(Some(2_000_000));
    flood(&server, &client, 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rate = received_rate(&client, Duration::from_secs(4)).await;
    println!("limit 2.00 MB/s, measured {:.2} MB/s", rate / 1e6);
    assert!((1_800_000.0..2_200_000.0).contains(&rate), "{rate}");

    server.upload_limit().set(Some(4_000_000));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let rate = received_rate(&client, Duration::from_secs(3)).await;
    println!("limit 4.00 MB/s, measured {:.2} MB/s", rate / 1e6);
    assert!((3_600_000.0..4_400_000.0).contains(&rate), "{rate}");

    server.upload_limit().set(Some(0));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rate = received_rate(&client, Duration::from_secs(1)).await;
    assert!(rate < 50_000.0, "paused, and still {rate} bytes a second");

    server.upload_limit().set(None);
    let rate = received_rate(&client, Duration::from_secs(1)).await;
    println!("no limit, measured {:.0} MB/s", rate / 1e6);
    // How fast it goes is the bench's business; here the limit is gone, also on a machine that has much else to do.
    assert!(rate > 6_000_000.0, "unlimited, and only {rate} bytes a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tcp_connection_is_not_taken_for_dead() {
    let (server, client) = (start(config(&[])).await, start(config(&[])).await);
    let mut incoming = client.accept(Protocol::SEGMENTS).await.unwrap();
    server.dial(tcp(&client)).await.unwrap();
    let mut stream = server.open(client.local_peer(), Protocol::SEGMENTS).await.unwrap();
    let sending = tokio::spawn(async move {
        let zeros = vec![0; 1024 * 1024];
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            stream.write_all(&zeros).await?;
        }
        stream.shutdown().await
    });
    let (_, _, mut stream) = incoming.next().await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer).await.unwrap() > 0 {}
    sending.await.unwrap().unwrap();
}
