//! Serves a store of segments over HTTP, for `bench/relay.sh`.
//!
//! `serve_segments FOLDER COUNT BYTES`: fills FOLDER with COUNT segments of BYTES bytes, prints the address and one path a line, then
//! serves until it is killed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::{ContentHash, Rendition, SegmentInfo};
use edge_streams::{Manifest, Origin, SegmentStore, SignedManifest, SourceError, StreamId, StreamSource};
use theta_types::SecretKey;

/// Knows the manifest; every segment is in the store.
struct OnlyTheManifest(Arc<SignedManifest>);

#[async_trait]
impl StreamSource for OnlyTheManifest {
    async fn manifest(&self, _: StreamId) -> Result<Arc<SignedManifest>, SourceError> {
        Ok(self.0.clone())
    }

    async fn segment(&self, _: &SignedManifest, _: ContentHash) -> Result<Bytes, SourceError> {
        Err(SourceError::Unknown)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, bytes] = arguments.as_slice() else { return Err("FOLDER COUNT BYTES".into()) };
    let (count, bytes): (u32, usize) = (count.parse()?, bytes.parse()?);
    let store = SegmentStore::open(folder, u64::MAX / 2)?;
    let mut segments = Vec::new();
    for index in 0..count {
        let content: Bytes =
            (0..bytes).map(|at| (at as u32 ^ index).wrapping_mul(2_654_435_761) as u8).collect();
        let hash = ContentHash::of(&content);
        segments.push(SegmentInfo {
            index,
            file: String::new(),
            duration_ms: 2_000,
            bytes: bytes as u64,
            hash,
        });
        store.put(hash, content).await?;
    }
    let key = SecretKey::random()?;
    let stream = Manifest {
        creator: key.address(),
        nonce: [0; 16],
        revision: 0,
        created: 0,
        title: "bench".into(),
        duration_ms: u64::from(count) * 2_000,
        renditions: vec![Rendition {
            name: "720p".into(),
            width: 1280,
            height: 720,
            bandwidth: 8_000_000,
            average_bandwidth: 8_000_000,
            codecs: "avc1.64001f".into(),
            frame_rate: (25, 1),
            segments,
        }],
        thumbnails: vec![],
    }
    .sign(&key)?;
    let id = stream.id();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    for index in 0..count {
        println!("/hls/{id}/720p/{index}.ts");
    }
    axum::serve(listener, Origin::new(store, Arc::new(OnlyTheManifest(Arc::new(stream)))).router()).await?;
    Ok(())
}
