//! `POST /video`: makes a stream of an upload.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use theta_types::Wei;

use super::{
    envelope::{VideoApiError, success},
    extract::{Caller, JsonBody},
    read::shown,
    record::{UploadState, VideoRecord, VideoState},
};
use crate::{KeyRecord, UploadId, VideoId, gateway::Parts};

/// When a client should ask again if too many videos wait.
const FULL_RETRY_S: u64 = 30;
const MOST_RESOLUTIONS: usize = 8;
const RESOLUTIONS: std::ops::RangeInclusive<u32> = 144..=4320;
const MOST_METADATA: usize = 64;
const LONGEST_TEXT: usize = 1024;

#[derive(Deserialize)]
pub(super) struct Request {
    source_upload_id: Option<String>,
    source_uri: Option<String>,
    playback_policy: Option<String>,
    resolutions: Option<Vec<u32>>,
    metadata: Option<BTreeMap<String, Value>>,
    file_name: Option<String>,
    use_drm: Option<bool>,
    drm_rules: Option<Vec<Value>>,
    nft_collection: Option<String>,
}

pub(super) async fn create(
    State(parts): State<Arc<Parts>>,
    Caller(key): Caller,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Value>, VideoApiError> {
    request.refuse_what_is_not_there()?;
    let upload = request.upload(&parts, &key).await?;
    let resolutions = request.resolutions()?;
    let file_name = request.file_name.filter(|name| !name.is_empty());
    if file_name.as_ref().is_some_and(|name| name.len() > LONGEST_TEXT) {
        return Err(VideoApiError::bad_request(format!("file_name is at most {LONGEST_TEXT} bytes long")));
    }
    let metadata = read_metadata(request.metadata.unwrap_or_default())?;
    let now_ms = parts.clock.now_ms();
    let video = VideoRecord {
        id: VideoId::random(),
        key: key.id,
        upload,
        created_ms: now_ms,
        updated_ms: now_ms,
        file_name,
        resolutions,
        metadata,
        state: VideoState::Created,
        progress: 0,
        error: None,
        duration_ms: None,
        short_side: None,
        stream: None,
        cost: Wei::zero(),
    };
    let place = parts.shop.reserve_place().ok_or_else(|| {
        VideoApiError::try_later("too many videos wait already; order this one again later", FULL_RETRY_S)
    })?;
    parts.shop.store.add_video(video.clone()).await?;
    place.send(video.id.clone());
    Ok(success(json!({ "videos": [shown(&video, &parts)] })))
}

impl Request {
    fn refuse_what_is_not_there(&self) -> Result<(), VideoApiError> {
        if self.source_uri.as_ref().is_some_and(|uri| !uri.is_empty()) {
            return Err(VideoApiError::bad_request(
                "source_uri is not supported by this gateway; upload the file (POST /upload) and give source_upload_id",
            ));
        }
        let gated = self.use_drm == Some(true)
            || self.drm_rules.as_ref().is_some_and(|rules| !rules.is_empty())
            || self.nft_collection.as_ref().is_some_and(|collection| !collection.is_empty());
        if gated {
            return Err(VideoApiError::bad_request(
                "this gateway makes public videos only; leave out the DRM fields",
            ));
        }
        match self.playback_policy.as_deref() {
            None | Some("public") => Ok(()),
            Some(_) => Err(VideoApiError::bad_request("playback_policy must be \"public\"")),
        }
    }

    async fn upload(&self, parts: &Parts, key: &KeyRecord) -> Result<UploadId, VideoApiError> {
        let text = self.source_upload_id.as_deref().ok_or_else(|| {
            VideoApiError::bad_request("source_upload_id is needed; POST /upload gives one")
        })?;
        let id: UploadId = text.parse().map_err(|_| VideoApiError::not_found("upload"))?;
        let upload = parts.shop.store.upload(&id).await?.filter(|upload| upload.key == key.id);
        match upload.ok_or_else(|| VideoApiError::not_found("upload"))?.state {
            UploadState::Received => Ok(id),
            _ => Err(VideoApiError::bad_request(
                "the upload is not complete; PUT its bytes to the presigned_url first",
            )),
        }
    }

    fn resolutions(&self) -> Result<Vec<u32>, VideoApiError> {
        let mut wanted = self.resolutions.clone().unwrap_or_default();
        if wanted.len() > MOST_RESOLUTIONS || wanted.iter().any(|height| !RESOLUTIONS.contains(height)) {
            return Err(VideoApiError::bad_request(format!(
                "resolutions are at most {MOST_RESOLUTIONS} heights from {} to {}",
                RESOLUTIONS.start(),
                RESOLUTIONS.end()
            )));
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }
}

/// A free map of strings; numbers and truth values are taken as their text.
fn read_metadata(given: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, VideoApiError> {
    if given.len() > MOST_METADATA {
        return Err(VideoApiError::bad_request(format!("metadata has at most {MOST_METADATA} entries")));
    }
    given
        .into_iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                _ => return Err(VideoApiError::bad_request("metadata is a map of strings")),
            };
            if name.len() > LONGEST_TEXT || text.len() > LONGEST_TEXT {
                return Err(VideoApiError::bad_request(format!(
                    "metadata texts are at most {LONGEST_TEXT} bytes long"
                )));
            }
            Ok((name, text))
        })
        .collect()
}
