//! What is said on the streams for manifests and for the creator's own copy.
//!
//! One request frame, one reply frame with a length, then that many bytes. A length above what was asked for ends it.

use std::time::Duration;

use bytes::Bytes;
use edge_jobs::{ContentHash, read_frame_async, write_frame_async};
use edge_mesh::{Fault, MeshHandle, MeshStream, PeerId, Protocol};
use edge_streams::{MAX_MANIFEST_BYTES, SignedManifest, StreamId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ONE_ANSWER, SOURCE};

/// How long a segment may take, besides the time for its bytes.
const ONE_SEGMENT: Duration = Duration::from_secs(5);
/// Bytes a second that it has to come with, at least.
const SLOWEST: u64 = 50_000;

/// Asks for a manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ManifestRequest {
    pub stream: StreamId,
}

/// Asks the creator's node for a segment of a stream that it published.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SegmentRequest {
    pub stream: StreamId,
    pub hash: ContentHash,
}

/// So many bytes follow; none when it is not here.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub bytes: Option<u64>,
}

/// Answers a request.
pub(super) async fn answer(
    stream: &mut MeshStream,
    content: Option<&[u8]>,
) -> Result<(), edge_jobs::FrameError> {
    write_frame_async(stream, &Answer { bytes: content.map(|content| content.len() as u64) }).await?;
    if let Some(content) = content {
        stream.write_all(content).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// A peer's manifest of a stream; nothing when it has none, or sends something else.
pub(super) async fn get_manifest(mesh: &MeshHandle, peer: PeerId, id: StreamId) -> Option<SignedManifest> {
    let request = ManifestRequest { stream: id };
    let bytes = ask(mesh, peer, Protocol::MANIFESTS, &request, MAX_MANIFEST_BYTES as u64, ONE_ANSWER).await?;
    match SignedManifest::decode(&bytes) {
        Ok(found) if found.id() == id => Some(found),
        Ok(_) => blame(mesh, peer, Fault::Garbage, "a manifest of another stream").await,
        Err(error) => blame(mesh, peer, Fault::Garbage, &error.to_string()).await,
    }
}

/// A segment from its creator's node, with the right hash.
pub(super) async fn get_segment(
    mesh: &MeshHandle,
    peer: PeerId,
    stream: StreamId,
    hash: ContentHash,
    size: u64,
) -> Option<Bytes> {
    let within = ONE_SEGMENT + Duration::from_millis(size.saturating_mul(1_000) / SLOWEST);
    let bytes = ask(mesh, peer, SOURCE, &SegmentRequest { stream, hash }, size, within).await?;
    if ContentHash::of(&bytes) == hash {
        return Some(bytes.into());
    }
    blame(mesh, peer, Fault::CorruptContent, "a segment with the wrong bytes").await
}

async fn ask<T: Serialize>(
    mesh: &MeshHandle,
    peer: PeerId,
    protocol: Protocol,
    request: &T,
    most: u64,
    within: Duration,
) -> Option<Vec<u8>> {
    let asked = async {
        let mut stream = mesh.open(peer, protocol).await.ok()?;
        write_frame_async(&mut stream, request).await.ok()?;
        let Answer { bytes } = read_frame_async(&mut stream).await.ok()??;
        let length = bytes?;
        if length > most {
            return blame(mesh, peer, Fault::Oversize, "an answer that is longer than what was asked for")
                .await;
        }
        let mut content = Vec::with_capacity(usize::try_from(length).ok()?);
        (&mut stream).take(length).read_to_end(&mut content).await.ok()?;
        (content.len() as u64 == length).then_some(content)
    };
    tokio::time::timeout(within, asked).await.ok()?
}

async fn blame<T>(mesh: &MeshHandle, peer: PeerId, fault: Fault, what: &str) -> Option<T> {
    tracing::warn!(%peer, what, "a peer sent what it should not");
    // When the overlay has ended there is nobody to blame.
    let _ = mesh.report(peer, fault).await;
    None
}
