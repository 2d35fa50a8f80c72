//! Checks of what providers deliver.

mod tokens;
mod vectors;
mod worker_judge;

pub use tokens::{TokenClaim, most_tokens};
pub use vectors::{check_dimensions, check_form, largest_difference};
pub use worker_judge::WorkerJudge;

use std::path::PathBuf;

use async_trait::async_trait;
use edge_jobs::{EmbeddingsOrder, Ladder, Rendition, Thumbnail, ThumbnailOrder};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was ordered.
    Good,
    /// It is not, for this reason.
    Bad(String),
    /// This node cannot tell, for this reason, and that is not the provider's fault.
    Unknown(String),
    /// This node's checker died of it or stood still, again and again. Honest work does not do that.
    Stuck(String),
}

/// A ladder to be compared with its source.
#[derive(Clone, Debug, PartialEq)]
pub struct LadderCheck {
    /// The source file.
    pub source: PathBuf,
    /// The folder with the segments.
    pub output: PathBuf,
    /// The renditions: all of them, or, of a ladder that is still being made, what is there of each.
    pub renditions: Vec<Rendition>,
    /// What was ordered.
    pub ladder: Ladder,
    /// Pictures are looked at from this segment on; the ones before were looked at.
    pub from_segment: u32,
    /// The still pictures: all of them, of a ladder that is finished.
    pub thumbnails: Vec<Thumbnail>,
    /// Which were ordered, if any.
    pub thumbnail_order: Option<ThumbnailOrder>,
}

/// Judges what providers deliver, by doing a part of it again.
#[async_trait]
pub trait Judge: Send + Sync + 'static {
    /// Whether `vectors` are those of the order's texts. May look at a part of them.
    async fn vectors(&self, order: &EmbeddingsOrder, vectors: &[Vec<f32>]) -> Verdict;

    /// How many tokens a model's text has; `None` when this node does not have the model.
    async fn count_tokens(&self, model: &str, text: &str) -> Option<u64>;

    /// Whether a finished ladder is what was ordered.
    async fn ladder(&self, check: LadderCheck) -> Verdict;

    /// Whether an unfinished ladder is what was ordered, as far as it is.
    async fn ladder_so_far(&self, check: LadderCheck) -> Verdict;
}
