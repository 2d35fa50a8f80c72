//! What the gateway asks of the node: models, embeddings, chats and videos, done by providers of the market.

use std::path::PathBuf;

use async_trait::async_trait;
use edge_jobs::{ChatFinish, ChatOrder, ContentHash, EmbeddingsOrder, JobKind, MediaInfo, Order};
use futures::stream::BoxStream;
use theta_types::Wei;

use crate::{Bill, VideoId};

/// The most texts in one [`EmbeddingsOrder`]. A larger request becomes several orders, each a paid unit.
pub const MAX_INPUTS_PER_ORDER: usize = 256;

/// Runs models at providers of the market. Dropping a returned future or stream stops the job and its payment.
#[async_trait]
pub trait AiBackend: Send + Sync + 'static {
    /// The models that this network knows, those without a provider at the moment included.
    async fn models(&self) -> Vec<Model>;

    /// What an order can cost now. The least of a chat is one unit, that of an embeddings order is all of it.
    async fn cost(&self, order: &Order) -> Result<Cost, BackendError>;

    /// Starts a chat. Each payment is charged to the bill before it is made.
    async fn chat(&self, order: ChatOrder, bill: Bill) -> Result<ChatStream, BackendError>;

    /// Turns texts into vectors. The payment is charged to the bill before it is made.
    async fn embed(&self, order: EmbeddingsOrder, bill: Bill) -> Result<Embeddings, BackendError>;
}

/// Makes streams of videos at providers of the market. Dropping a returned future or stream stops the job.
#[async_trait]
pub trait VideoBackend: Send + Sync + 'static {
    /// What an uploaded file holds.
    async fn inspect(&self, source: &SourceFile) -> Result<MediaInfo, BackendError>;

    /// What a video can cost now. The least is that of one try which succeeds: half a video is of no use.
    async fn cost(&self, media: &MediaInfo) -> Result<Cost, BackendError>;

    /// Transcodes, checks and publishes a video. The last event is [`VideoEvent::Published`]. A video that did not come to its
    /// end goes on where it was.
    async fn publish(&self, request: VideoRequest, bill: Bill) -> Result<VideoStream, BackendError>;

    /// Removes what is kept of a video that came to its end.
    async fn discard(&self, video: &VideoId);

    /// Removes what is kept of videos that are not among these. Called once, before any work.
    async fn keep_only(&self, unfinished: &[VideoId]);

    /// Where a published stream can be played from on this machine, given its share id; `None` when it has no player.
    fn playback(&self, stream: &str) -> Option<Playback>;
}

/// What a job can cost, in TFuelWei.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// With less than this the job is not begun.
    pub least: Wei,
    /// The most, retries included; this much is reserved, if the key's limits leave it, before the job starts.
    pub highest: Wei,
}

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id in the registry.
    pub id: String,
    /// [`JobKind::Chat`] or [`JobKind::Embeddings`].
    pub kind: JobKind,
    /// When the model was published, Unix seconds.
    pub created: i64,
    /// Who made it.
    pub owned_by: String,
    /// Tokens of prompt and completion together, for a chat model.
    pub context_tokens: Option<u32>,
    /// Numbers in a vector, for an embeddings model.
    pub dimensions: Option<u32>,
}

/// A chat's events: any number of [`ChatEvent::Text`], then [`ChatEvent::Finished`], or an error and nothing after it.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, BackendError>>;

/// A part of a chat's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// More text; may be empty.
    Text(String),
    /// The end.
    Finished {
        /// Why it ended.
        finish: ChatFinish,
        /// Tokens of the conversation.
        prompt_tokens: u64,
        /// Completion tokens, as the requester counted them.
        completion_tokens: u64,
    },
}

/// The vectors of an order, in the order of its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One vector of unit length for each input.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs.
    pub prompt_tokens: u64,
}

/// A complete uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies.
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A video to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoRequest {
    /// The video's id at this gateway.
    pub id: VideoId,
    /// Its title, when the creator gave one.
    pub title: Option<String>,
    /// The source.
    pub source: SourceFile,
    /// What the source holds, as [`VideoBackend::inspect`] found it.
    pub media: MediaInfo,
    /// Heights wanted (lengths of the short side); empty means the default ladder.
    pub resolutions: Vec<u32>,
}

/// A video's events; an error ends them.
pub type VideoStream = BoxStream<'static, Result<VideoEvent, BackendError>>;

/// A step of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoEvent {
    /// What is done now.
    Phase(VideoPhase),
    /// How far the whole is, from 0 to 1000.
    Progress(u16),
    /// The stream is signed and can be played.
    Published {
        /// Its share id.
        stream: String,
    },
}

/// What is done with a video; the Video API's `sub_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoPhase {
    /// A provider is looked for, and gets the source.
    Dispatching,
    /// A provider makes the ladder.
    Transcoding,
    /// The ladder is compared with the source.
    Checking,
    /// The manifest is signed and spread.
    Publishing,
}

/// Addresses of a stream on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playback {
    /// The HLS master playlist.
    pub playback_uri: String,
    /// A page with a player.
    pub player_uri: String,
}

/// Why the node could not do it. Every text is for the caller: what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// No such model: choose one from the list.
    #[error("the model `{0}` does not exist, or is of another kind; GET /v1/models lists those that do")]
    UnknownModel(String),
    /// The order cannot be worked on by anyone: change it.
    #[error("{0}")]
    BadOrder(String),
    /// Nobody offers this now: try later, or start a provider.
    #[error("{0}")]
    NoProvider(String),
    /// The node cannot pay: unlock the wallet or fund it.
    #[error("{0}")]
    CannotPay(String),
    /// The next payment would pass what was reserved for this job.
    #[error("{0}")]
    OverLimit(#[from] crate::OverLimit),
    /// Every provider that was tried failed: try again.
    #[error("{0}")]
    Failed(String),
    /// Not now, for a reason that passes: a worker that is stopped, a wallet that is locked. A video waits for it.
    #[error("{0}")]
    Later(String),
}
