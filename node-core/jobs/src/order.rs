//! What one node asks of another: content by hash, never a path, never code.

use serde::{Deserialize, Serialize};

use crate::{ContentHash, VideoEncoder};

/// A transcode is paid for each piece of this many milliseconds of source video, over all its renditions.
pub const TRANSCODE_UNIT_MS: u64 = 2_000;

/// A chat is paid for each group of this many completion tokens; a last, smaller group counts whole.
pub const TOKENS_PER_UNIT: u64 = 16;

/// The most texts of an [`EmbeddingsOrder`], so that their vectors fit a frame.
pub const MAX_EMBEDDING_INPUTS: usize = 1024;

/// The kinds of paid work, as they are priced, shown and accounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Delivery of stream segments; a unit is one segment.
    Relay,
    /// Video in, HLS ladder out; a unit is [`TRANSCODE_UNIT_MS`] of source video.
    Transcode,
    /// Text to vectors; a unit is one request.
    Embeddings,
    /// A chat completion; a unit is [`TOKENS_PER_UNIT`] completion tokens.
    Chat,
}

impl JobKind {
    /// Every kind, in the order that tables show them.
    pub const ALL: [JobKind; 4] = [JobKind::Relay, JobKind::Transcode, JobKind::Embeddings, JobKind::Chat];

    /// The kind's name as it stands in messages, tables and settings.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Relay => "relay",
            JobKind::Transcode => "transcode",
            JobKind::Embeddings => "embeddings",
            JobKind::Chat => "chat",
        }
    }
}

impl std::fmt::Display for JobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A job as the requester orders it. (Relay needs no order: segments are asked for by hash.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// See [`TranscodeOrder`].
    Transcode(TranscodeOrder),
    /// See [`EmbeddingsOrder`].
    Embeddings(EmbeddingsOrder),
    /// See [`ChatOrder`].
    Chat(ChatOrder),
}

impl Order {
    /// The kind that prices this order.
    pub fn kind(&self) -> JobKind {
        match self {
            Order::Transcode(_) => JobKind::Transcode,
            Order::Embeddings(_) => JobKind::Embeddings,
            Order::Chat(_) => JobKind::Chat,
        }
    }
}

/// Makes an HLS ladder of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodeOrder {
    /// The source file.
    pub source: ContentHash,
    /// Its size in bytes; the provider takes no more than this.
    pub source_bytes: u64,
    /// Its duration in milliseconds as the requester measured it; it bounds the number of paid units.
    pub source_duration_ms: u64,
    /// The renditions wanted.
    pub ladder: Ladder,
    /// Still pictures wanted, if any.
    pub thumbnails: Option<ThumbnailOrder>,
    /// Where to begin, when another provider made what is before; absent means at the beginning.
    #[serde(default)]
    pub from: Option<LadderStart>,
}

impl TranscodeOrder {
    /// Milliseconds of source that are ordered and paid: all, or what is left of a ladder that another provider began.
    pub fn wanted_ms(&self) -> u64 {
        self.source_duration_ms.saturating_sub(self.from.as_ref().map_or(0, |from| from.ms))
    }
}

/// Where a ladder goes on that another provider began. What is before is there, checked and paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderStart {
    /// The first segment wanted of each rendition, by its index; at least 1.
    pub segment: u32,
    /// Milliseconds of source that are paid, a whole number of [`TRANSCODE_UNIT_MS`]. It stands beside the segment because
    /// segments are only about as long as a unit: 2002 ms at 29.97 frames/s.
    pub ms: u64,
    /// The first still picture wanted: the one at so many times the order's distance.
    pub thumbnail: u64,
    /// What the segments before are encoded with. A ladder has one encoding from its beginning to its end, or players
    /// stumble in the middle.
    pub encoder: VideoEncoder,
}

/// Which renditions a ladder has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Lengths of the short side in pixels, e.g. 360 and 720. Those above the source's are left out, never upscaled.
    pub short_sides: Vec<u32>,
    /// Whether a rendition in the source's own size is made too (once, if it equals a rung).
    pub source_size: bool,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { short_sides: vec![360, 720], source_size: true }
    }
}

/// Still pictures of a video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThumbnailOrder {
    /// One picture for every so many milliseconds, the first at 0.
    pub every_ms: u64,
    /// Length of the short side in pixels; never upscaled.
    pub short_side: u32,
}

/// Turns texts into vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingsOrder {
    /// The model's id in the registry, e.g. `all-minilm-l6-v2`.
    pub model: String,
    /// The texts, one vector each; 1 to [`MAX_EMBEDDING_INPUTS`].
    pub inputs: Vec<String>,
}

/// Continues a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatOrder {
    /// The model's id in the registry, e.g. `smollm2-135m-instruct`.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// The last message is the model's own, and unfinished: the completion goes on with its next token. Otherwise, and
    /// in orders of nodes that do not know this, the completion is a new message.
    #[serde(default)]
    pub continues: bool,
    /// The most completion tokens wanted; absent means up to the model's context limit.
    pub max_tokens: Option<u32>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Texts that end the completion; they are not part of it.
    pub stop: Vec<String>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Who says a [`ChatMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
}

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token; larger is more varied. At most 2.
    pub temperature: f32,
    /// Draw from the smallest set of tokens whose probabilities sum to this, in (0, 1].
    pub top_p: f32,
    /// Makes a draw repeatable; absent means fresh randomness.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, seed: None }
    }
}
