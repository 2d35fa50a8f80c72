//! A file that arrives in chunks.

use std::path::Path;

use edge_jobs::ContentHash;
use tokio::{fs::File, io::AsyncWriteExt};

use super::buyer::{BuyError, Buyer};
use crate::{provider::path_below, standing::Fault};

/// Takes a file of exactly `bytes` bytes into `folder` under a name that the provider gave; keeps it only when its bytes
/// are those of its hash.
pub(super) async fn receive_file(
    buyer: &mut Buyer,
    folder: &Path,
    name: &str,
    bytes: u64,
    hash: ContentHash,
    most_bytes: u64,
) -> Result<(), BuyError> {
    if bytes == 0 || bytes > most_bytes {
        return Err(BuyError::Nonsense(format!("a file of {bytes} bytes")));
    }
    let path = path_below(folder, name)
        .ok_or_else(|| BuyError::Nonsense(format!("a file with the name {name:?}")))?;
    if path.exists() {
        return Err(BuyError::Nonsense(format!("the file {name} came twice")));
    }
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(local)?;
    }
    let mut file = File::create(&path).await.map_err(local)?;
    let mut hasher = blake3::Hasher::new();
    let mut left = bytes;
    while left > 0 {
        let chunk = buyer.next_chunk().await?;
        let Some(rest) = left.checked_sub(chunk.len() as u64).filter(|_| !chunk.is_empty()) else {
            return Err(BuyError::Nonsense(format!("the file {name} is longer than announced")));
        };
        left = rest;
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(local)?;
    }
    file.flush().await.map_err(local)?;
    buyer.record.bytes += bytes;
    if ContentHash(*hasher.finalize().as_bytes()) != hash {
        drop(file);
        let _ = tokio::fs::remove_file(&path).await;
        let detail = format!("the bytes of {name} are not those of its hash");
        return Err(BuyError::Lie { fault: Fault::CorruptSegment, detail });
    }
    Ok(())
}

pub(super) fn local(error: std::io::Error) -> BuyError {
    BuyError::Local(format!("this node's disk: {error}"))
}
