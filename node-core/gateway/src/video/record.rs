//! What is kept of uploads and videos.

use std::collections::BTreeMap;

use async_trait::async_trait;
use edge_jobs::ContentHash;
use theta_types::Wei;

use crate::{KeyId, StoreError, UploadId, VideoId, VideoPhase};

/// Keeps uploads and videos.
#[async_trait]
pub trait VideoStore: Send + Sync {
    /// Keeps a new upload. False, and nothing is kept, when its key has `most_waiting` already that are not received and
    /// not expired when this one is created.
    async fn add_upload(&self, upload: UploadRecord, most_waiting: usize) -> Result<bool, StoreError>;
    /// An upload.
    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>, StoreError>;
    /// Replaces an upload's record if its state is still `from`; false when it is not, or there is no such upload.
    async fn change_upload(&self, from: UploadState, to: UploadRecord) -> Result<bool, StoreError>;
    /// Forgets an upload.
    async fn remove_upload(&self, id: &UploadId) -> Result<(), StoreError>;
    /// Every upload.
    async fn uploads(&self) -> Result<Vec<UploadRecord>, StoreError>;
    /// Keeps a new video.
    async fn add_video(&self, video: VideoRecord) -> Result<(), StoreError>;
    /// Replaces a video's record.
    async fn change_video(&self, video: VideoRecord) -> Result<(), StoreError>;
    /// A video.
    async fn video(&self, id: &VideoId) -> Result<Option<VideoRecord>, StoreError>;
    /// Videos of a key, newest first.
    async fn videos(&self, key: &KeyId, filter: VideoFilter) -> Result<Vec<VideoRecord>, StoreError>;
    /// Videos whose state is [`VideoState::Created`] or [`VideoState::Processing`], oldest first.
    async fn unfinished_videos(&self) -> Result<Vec<VideoRecord>, StoreError>;
}

/// Which videos are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoFilter {
    /// All of these keys must have these values.
    pub metadata: BTreeMap<String, String>,
    /// How many to leave out from the newest on.
    pub skip: u64,
    /// How many at most.
    pub take: u64,
}

/// A file that is or will be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRecord {
    /// Its id; its file has this name too.
    pub id: UploadId,
    /// Whose it is.
    pub key: KeyId,
    /// BLAKE3 of the token in its address.
    pub token: [u8; 32],
    /// When it was asked for, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
    /// Until when bytes are taken, Unix milliseconds.
    pub expires_ms: i64,
    /// How far it is.
    pub state: UploadState,
    /// Size in bytes, once it is there.
    pub bytes: Option<u64>,
    /// BLAKE3, once it is there.
    pub hash: Option<ContentHash>,
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// The bytes have not come.
    Waiting,
    /// The bytes are coming.
    Receiving,
    /// The bytes are there; the address is used up.
    Received,
}

impl UploadState {
    /// The state as it is kept.
    pub fn name(self) -> &'static str {
        match self {
            UploadState::Waiting => "waiting",
            UploadState::Receiving => "receiving",
            UploadState::Received => "received",
        }
    }

    /// The state of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        [UploadState::Waiting, UploadState::Receiving, UploadState::Received]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

/// A video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoRecord {
    /// Its id.
    pub id: VideoId,
    /// Whose it is.
    pub key: KeyId,
    /// Where its source came from.
    pub upload: UploadId,
    /// When it was ordered, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
    /// What the creator calls the file.
    pub file_name: Option<String>,
    /// The heights that were ordered; empty means the default ladder.
    pub resolutions: Vec<u32>,
    /// The creator's own keys and values.
    pub metadata: BTreeMap<String, String>,
    /// How far it is.
    pub state: VideoState,
    /// From 0 to 100.
    pub progress: u8,
    /// Why it failed.
    pub error: Option<String>,
    /// Duration of the source in milliseconds.
    pub duration_ms: Option<u64>,
    /// Length of the source's short side in pixels.
    pub short_side: Option<u32>,
    /// The share id, once it is published.
    pub stream: Option<String>,
    /// What it cost so far, in TFuelWei.
    pub cost: Wei,
}

/// How far a video is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoState {
    /// It waits for its turn.
    Created,
    /// The source is read; `None`, or a provider works on it.
    Processing(Option<VideoPhase>),
    /// It can be played.
    Success,
    /// It failed.
    Error,
}

impl VideoState {
    const ALL: [VideoState; 8] = [
        VideoState::Created,
        VideoState::Processing(None),
        VideoState::Processing(Some(VideoPhase::Dispatching)),
        VideoState::Processing(Some(VideoPhase::Transcoding)),
        VideoState::Processing(Some(VideoPhase::Checking)),
        VideoState::Processing(Some(VideoPhase::Publishing)),
        VideoState::Success,
        VideoState::Error,
    ];

    /// `state` and `sub_state` as the Video API shows them.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            VideoState::Created => ("created", "none"),
            VideoState::Processing(None) => ("processing", "inspecting"),
            VideoState::Processing(Some(VideoPhase::Dispatching)) => ("processing", "dispatching"),
            VideoState::Processing(Some(VideoPhase::Transcoding)) => ("processing", "transcoding"),
            VideoState::Processing(Some(VideoPhase::Checking)) => ("processing", "checking"),
            VideoState::Processing(Some(VideoPhase::Publishing)) => ("processing", "publishing"),
            VideoState::Success => ("success", "none"),
            VideoState::Error => ("error", "none"),
        }
    }

    /// The state of two names.
    pub fn of_names(state: &str, sub_state: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.names() == (state, sub_state))
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, VideoState::Success | VideoState::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_from_its_names() {
        for state in VideoState::ALL {
            let (name, sub) = state.names();
            assert_eq!(VideoState::of_names(name, sub), Some(state));
        }
        assert_eq!(VideoState::of_names("success", "checking"), None);
        for state in [UploadState::Waiting, UploadState::Receiving, UploadState::Received] {
            assert_eq!(UploadState::of_name(state.name()), Some(state));
        }
    }
}
