//! `POST /upload`: an address to put bytes to.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    envelope::{VideoApiError, success},
    extract::Caller,
    record::{UploadRecord, UploadState},
};
use crate::{UploadId, clock::iso_text, gateway::Parts, identifiers::random_text};

/// When a client should ask again if too many of its addresses wait.
const FULL_RETRY_S: u64 = 60;
/// Characters of the token in an upload address: it stands for the key while the address lives.
const TOKEN_LENGTH: usize = 32;

pub(super) async fn create(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
) -> Result<Json<Value>, VideoApiError> {
    let token = random_text(TOKEN_LENGTH);
    let now_ms = parts.clock.now_ms();
    let lifetime_ms = i64::try_from(parts.shop.uploads.lifetime.as_millis()).unwrap_or(i64::MAX);
    let upload = UploadRecord {
        id: UploadId::random(),
        key: key.id,
        token: token_hash(&token),
        created_ms: now_ms,
        updated_ms: now_ms,
        expires_ms: now_ms.saturating_add(lifetime_ms),
        state: UploadState::Waiting,
        bytes: None,
        hash: None,
    };
    if !parts.shop.store.add_upload(upload.clone(), parts.shop.uploads.most_waiting).await? {
        return Err(VideoApiError::try_later(
            "too many upload addresses of this service account wait for their bytes; use those, or wait until they expire",
            FULL_RETRY_S,
        ));
    }
    let address = format!("{}/upload/{}?token={token}", parts.shop.uploads.public_base, upload.id);
    Ok(success(json!({ "uploads": [{
        "id": upload.id,
        "service_account_id": upload.key,
        "presigned_url": address,
        "presigned_url_expiration": iso_text(upload.expires_ms),
        "presigned_url_expired": false,
        "create_time": iso_text(upload.created_ms),
        "update_time": iso_text(upload.updated_ms),
    }]})))
}

/// What is kept of an address's token.
pub(super) fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}
