//! Comparing a ladder that somebody made with its source.
//!
//! The maker may be careless or a cheat. Its report is taken apart first: every rung that was ordered, every segment with
//! the size and hash that it states, times without gaps, key frames at the same places in all renditions. Then
//! pictures at random times are decoded and compared with the source's ([`likeness`]), and so is every still picture.

mod claims;
mod frames;
mod likeness;
mod measured;
mod pictures;
mod sample;
mod stills;

use edge_jobs::{CheckTask, RenditionCheck};

use crate::{MediaError, Stop, fitting_rungs, inspect};

/// The most frames of a rendition that are compared.
const MAX_FRAMES: u32 = 256;

/// Compares the ladder of `task` with its source: one verdict for each rendition that was ordered, smallest first, then
/// one for each that was not.
///
/// A bad ladder is a verdict, not an error; an error says that the source cannot be read, that this machine cannot
/// compare, or that the check was stopped.
pub fn check(task: &CheckTask, stop: &Stop) -> Result<Vec<RenditionCheck>, MediaError> {
    let source = inspect(&task.source, stop)?;
    let rungs = fitting_rungs(&task.ladder, source.media.width, source.media.height)?;
    let mut claims = claims::check_claims(task, &source, &rungs, stop)?;
    claims.extend(stills::check_stills(task, &source)?);
    let frames = task.frames_per_rendition.clamp(1, MAX_FRAMES);
    pictures::compare(task, &source, &rungs, &mut claims, frames, pictures::PATIENCE, stop)?;
    Ok(claims.into_iter().map(claims::Claim::into_verdict).collect())
}
