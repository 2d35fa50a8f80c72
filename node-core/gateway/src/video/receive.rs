//! `PUT` to an upload's address: bytes to disk, hashed on the way.

use std::{path::PathBuf, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
};
use edge_jobs::ContentHash;
use futures::StreamExt;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::{fs::File, io::AsyncWriteExt};

use super::{
    envelope::VideoApiError,
    record::{UploadRecord, UploadState},
    shop::VideoShop,
    upload::token_hash,
};
use crate::{UploadId, gateway::Parts};

#[derive(Deserialize)]
pub(super) struct Proof {
    #[serde(default)]
    token: String,
}

pub(super) async fn receive(
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Query(proof): Query<Proof>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, VideoApiError> {
    let shop = &parts.shop;
    let waiting = find(shop, &id, &proof.token, parts.clock.now_ms()).await?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let room = room_for(shop, announced).await?;

    let receiving = UploadRecord { state: UploadState::Receiving, ..waiting.clone() };
    if !shop.store.change_upload(UploadState::Waiting, receiving.clone()).await? {
        return Err(used_up());
    }
    // Whatever happens from here on, an incomplete file goes, and the address can be used again until it expires.
    let mut guard =
        Unfinished { shop: shop.clone(), waiting, file: shop.uploads.file(&receiving.id), armed: true };
    let (bytes, hash) = write(body, &guard.file, room, announced).await?;
    let received = UploadRecord {
        state: UploadState::Received,
        bytes: Some(bytes),
        hash: Some(hash),
        updated_ms: parts.clock.now_ms(),
        ..receiving
    };
    if !shop.store.change_upload(UploadState::Receiving, received).await? {
        return Err(used_up());
    }
    guard.armed = false;
    Ok(StatusCode::OK)
}

async fn find(shop: &VideoShop, id: &str, token: &str, now_ms: i64) -> Result<UploadRecord, VideoApiError> {
    let unknown = || {
        VideoApiError::new(StatusCode::FORBIDDEN, "this upload address is wrong; ask for one by POST /upload")
    };
    let id: UploadId = id.parse().map_err(|_| unknown())?;
    let upload = shop.store.upload(&id).await?.ok_or_else(unknown)?;
    if !bool::from(upload.token.ct_eq(&token_hash(token))) {
        return Err(unknown());
    }
    if upload.state != UploadState::Waiting {
        return Err(used_up());
    }
    if now_ms >= upload.expires_ms {
        return Err(VideoApiError::new(
            StatusCode::FORBIDDEN,
            "this upload address has expired; ask for a new one by POST /upload",
        ));
    }
    Ok(upload)
}

fn used_up() -> VideoApiError {
    VideoApiError::new(StatusCode::CONFLICT, "this upload address is used; ask for a new one by POST /upload")
}

fn too_large(limit: u64) -> VideoApiError {
    VideoApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit} bytes are taken"))
}

fn disk_full() -> VideoApiError {
    VideoApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "this gateway has no room for the file now; uploads that are not used are removed after a day",
    )
}

/// How many bytes are taken: the size cap, or what is left of the folder's capacity.
async fn room_for(shop: &VideoShop, announced: Option<u64>) -> Result<Room, VideoApiError> {
    let held: u64 = shop.store.uploads().await?.iter().filter_map(|upload| upload.bytes).sum();
    let free = shop.uploads.capacity.saturating_sub(held);
    let room = Room { largest: shop.uploads.largest, free };
    room.check(announced.unwrap_or(0))?;
    Ok(room)
}

#[derive(Clone, Copy)]
struct Room {
    largest: u64,
    free: u64,
}

impl Room {
    fn check(self, bytes: u64) -> Result<(), VideoApiError> {
        if bytes > self.largest {
            Err(too_large(self.largest))
        } else if bytes > self.free {
            Err(disk_full())
        } else {
            Ok(())
        }
    }
}

async fn write(
    body: Body,
    path: &PathBuf,
    room: Room,
    announced: Option<u64>,
) -> Result<(u64, ContentHash), VideoApiError> {
    let mut file = File::create(path).await.map_err(disk_error)?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0u64;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| VideoApiError::bad_request("the upload broke off; put the bytes again"))?;
        bytes += chunk.len() as u64;
        room.check(bytes)?;
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(disk_error)?;
    }
    if bytes == 0 || announced.is_some_and(|announced| announced != bytes) {
        return Err(VideoApiError::bad_request("the file is empty or incomplete; put the bytes again"));
    }
    file.sync_all().await.map_err(disk_error)?;
    Ok((bytes, ContentHash(*hasher.finalize().as_bytes())))
}

fn disk_error(error: std::io::Error) -> VideoApiError {
    tracing::warn!(%error, "an upload could not be written");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => disk_full(),
        _ => VideoApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the file could not be written; the gateway's log says why",
        ),
    }
}

/// Puts an upload that did not complete back to waiting, also when its client goes away.
struct Unfinished {
    shop: VideoShop,
    waiting: UploadRecord,
    file: PathBuf,
    armed: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (store, waiting, file) =
            (self.shop.store.clone(), self.waiting.clone(), std::mem::take(&mut self.file));
        self.shop.tasks.spawn(async move {
            if let Err(error) = tokio::fs::remove_file(&file).await {
                tracing::warn!(%error, file = %file.display(), "an incomplete upload could not be removed");
            }
            if let Err(error) = store.change_upload(UploadState::Receiving, waiting).await {
                tracing::warn!(%error, "an upload could not be put back to waiting");
            }
        });
    }
}
