//! `PUT` to an upload's address: bytes to disk, hashed on the way.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
};
use edge_jobs::ContentHash;
use futures::StreamExt;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::{fs::File, io::AsyncWriteExt, time::timeout};

use super::{
    envelope::VideoApiError,
    extract::{Asked, IdText},
    record::{UploadRecord, UploadState},
    room::TakenRoom,
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
    IdText(id): IdText,
    Asked(proof): Asked<Proof>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, VideoApiError> {
    let shop = &parts.shop;
    let waiting = find(shop, &id, &proof.token, parts.clock.now_ms()).await?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let room = take_room(shop, announced.unwrap_or(0))?;

    let receiving = UploadRecord { state: UploadState::Receiving, ..waiting.clone() };
    if !shop.store.change_upload(UploadState::Waiting, receiving.clone()).await? {
        return Err(used_up());
    }
    // Whatever happens from here on, an incomplete file goes, and the address can be used again until it expires.
    let file = shop.uploads.file(&receiving.id);
    let mut unfinished = Unfinished { shop: shop.clone(), waiting, file, room: Some(room) };
    let (bytes, hash) = unfinished.write(body, announced).await?;
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
    unfinished.finish();
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

fn disk_full() -> VideoApiError {
    VideoApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "this gateway has no room for the file now; uploads that are not used are removed after a day",
    )
}

fn stalled(idle: Duration) -> VideoApiError {
    let seconds = idle.as_secs_f32();
    let message = format!("no bytes came for {seconds} s; put them again while the address is good");
    VideoApiError::new(StatusCode::REQUEST_TIMEOUT, message)
}

/// Room for so many bytes, when they are not more than one upload may have and the folder has it.
fn take_room(shop: &VideoShop, bytes: u64) -> Result<TakenRoom, VideoApiError> {
    if bytes > shop.uploads.largest {
        return Err(VideoApiError::too_large(shop.uploads.largest));
    }
    shop.room.take(bytes).ok_or_else(disk_full)
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

/// An upload whose bytes come. When it is dropped before [`Unfinished::finish`], also because its client went away, its
/// file goes and it waits again.
struct Unfinished {
    shop: VideoShop,
    waiting: UploadRecord,
    file: PathBuf,
    /// `None` once it is finished.
    room: Option<TakenRoom>,
}

impl Unfinished {
    /// Writes the body to the file. Without an announced length room is taken as the bytes come.
    async fn write(
        &mut self,
        body: Body,
        announced: Option<u64>,
    ) -> Result<(u64, ContentHash), VideoApiError> {
        let (largest, idle) = (self.shop.uploads.largest, self.shop.uploads.idle);
        let mut file = File::create(&self.file).await.map_err(disk_error)?;
        let mut hasher = blake3::Hasher::new();
        let mut bytes = 0u64;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = timeout(idle, chunks.next()).await.map_err(|_| stalled(idle))? {
            let chunk =
                chunk.map_err(|_| VideoApiError::bad_request("the upload broke off; put the bytes again"))?;
            bytes += chunk.len() as u64;
            if bytes > largest {
                return Err(VideoApiError::too_large(largest));
            }
            if self.room.as_mut().is_none_or(|room| !room.grow_to(bytes)) {
                return Err(disk_full());
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(disk_error)?;
        }
        if bytes == 0 || announced.is_some_and(|announced| announced != bytes) {
            return Err(VideoApiError::bad_request("the file is empty or incomplete; put the bytes again"));
        }
        file.sync_all().await.map_err(disk_error)?;
        Ok((bytes, ContentHash(*hasher.finalize().as_bytes())))
    }

    /// The upload is there, and keeps its room.
    fn finish(mut self) {
        if let Some(room) = self.room.take() {
            room.keep();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(room) = self.room.take() else { return };
        let (store, waiting, file) =
            (self.shop.store.clone(), self.waiting.clone(), std::mem::take(&mut self.file));
        self.shop.tasks.spawn(async move {
            if let Err(error) = tokio::fs::remove_file(&file).await {
                tracing::warn!(%error, file = %file.display(), "an incomplete upload could not be removed");
            }
            drop(room);
            if let Err(error) = store.change_upload(UploadState::Receiving, waiting).await {
                tracing::warn!(%error, "an upload could not be put back to waiting");
            }
        });
    }
}
