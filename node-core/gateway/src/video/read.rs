//! `GET /video/{id}`, and the lists of a service account.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    envelope::{VideoApiError, success},
    extract::{Asked, Caller, IdText},
    record::{VideoFilter, VideoRecord},
};
use crate::{KeyId, KeyRecord, VideoId, clock::iso_text, gateway::Parts};

/// Videos on one page at most.
const LARGEST_PAGE: u64 = 100;

pub(super) async fn one(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    IdText(id): IdText,
) -> Result<Json<Value>, VideoApiError> {
    let id: VideoId = id.parse().map_err(|_| VideoApiError::not_found("video"))?;
    let video = parts.shop.store.video(&id).await?.filter(|video| video.key == key.id);
    let video = video.ok_or_else(|| VideoApiError::not_found("video"))?;
    Ok(success(json!({ "videos": [shown(&video, &parts)] })))
}

#[derive(Deserialize)]
pub(super) struct Page {
    page: Option<u64>,
    number: Option<u64>,
}

pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    IdText(account): IdText,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, VideoApiError> {
    let take = page.number.unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    let skip = page.page.unwrap_or(1).saturating_sub(1).saturating_mul(take);
    find(&parts, &key, &account, VideoFilter { skip, take, ..VideoFilter::default() }).await
}

pub(super) async fn search(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    IdText(account): IdText,
    Asked(metadata): Asked<BTreeMap<String, String>>,
) -> Result<Json<Value>, VideoApiError> {
    find(&parts, &key, &account, VideoFilter { metadata, skip: 0, take: LARGEST_PAGE }).await
}

async fn find(
    parts: &Parts,
    key: &KeyRecord,
    account: &str,
    filter: VideoFilter,
) -> Result<Json<Value>, VideoApiError> {
    if account.parse::<KeyId>().ok().as_ref() != Some(&key.id) {
        return Err(VideoApiError::not_found("service account"));
    }
    let videos = parts.shop.store.videos(&key.id, filter).await?;
    let shown: Vec<_> = videos.iter().map(|video| shown(video, parts)).collect();
    Ok(success(json!({ "videos": shown })))
}

/// A video with the fields of spec 07 section 2.1, and what it cost.
pub(super) fn shown(video: &VideoRecord, parts: &Parts) -> Value {
    let (state, sub_state) = video.state.names();
    let playback = video.stream.as_deref().and_then(|stream| parts.shop.backend.playback(stream));
    json!({
        "id": video.id,
        "service_account_id": video.key,
        "create_time": iso_text(video.created_ms),
        "update_time": iso_text(video.updated_ms),
        "file_name": video.file_name,
        "state": state,
        "sub_state": sub_state,
        "source_upload_id": video.upload,
        "source_uri": null,
        "playback_policy": "public",
        "progress": video.progress,
        "error": video.error,
        "duration": video.duration_ms.map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000)),
        "resolution": video.short_side,
        "resolutions": video.resolutions,
        "metadata": video.metadata,
        "playback_uri": playback.as_ref().map(|playback| &playback.playback_uri),
        "player_uri": playback.as_ref().map(|playback| &playback.player_uri),
        "stream_id": video.stream,
        "cost_tfuelwei": video.cost,
    })
}
