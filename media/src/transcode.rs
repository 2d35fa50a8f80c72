//! Making a ladder.

use std::{
    fs,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use edge_jobs::{MediaInfo, Rendition, SegmentInfo, Thumbnail, TranscodeTask};
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    FrameRate, MASTER_PLAYLIST, MEDIA_PLAYLIST, MediaError, Rung, Source, Stop, TransportSegment,
    codecs::codecs,
    fitting_rungs, inspect,
    ladder::{LadderPlan, Reach, build, place_of_writer},
    master_playlist, media_playlist,
    pipeline::{RunningPipeline, StallWatch, failure},
    plugins::encoder_works,
    segment::{bandwidth, read_segment},
    thumbnails::ThumbnailPlan,
};

/// The most segments of a ladder over all its renditions, so that the report of it fits into one message.
const MAX_SEGMENTS: u64 = 30_000;
/// Progress is told at least as often.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What happens while a ladder is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// How far the slowest rendition is, from 0 to 1000.
    Progress(u16),
    /// A segment is complete on disk.
    Segment {
        /// Name of its rendition.
        rendition: String,
        /// The segment.
        segment: SegmentInfo,
    },
    /// A still picture is complete on disk.
    Thumbnail(Thumbnail),
}

/// A finished ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// What the source held.
    pub source: MediaInfo,
    /// The renditions, smallest first.
    pub renditions: Vec<Rendition>,
    /// The still pictures, in order.
    pub thumbnails: Vec<Thumbnail>,
}

/// Makes the ladder of `task` in its output folder: `{rendition}/{index:05}.ts`, a playlist in each rendition's folder,
/// `master.m3u8`, and `thumbnails/{index:05}.jpg`. What an ended task leaves in the folder is the caller's to remove.
///
/// `patience` is how long nothing may move before the task is given up. `tell` is called from this thread.
pub fn transcode(
    task: &TranscodeTask,
    patience: Duration,
    stop: &Stop,
    tell: &mut dyn FnMut(Update),
) -> Result<Ladder, MediaError> {
    tell(Update::Progress(0));
    let source = inspect(&task.source, stop)?;
    let MediaInfo { width, height, duration_ms, .. } = source.media;
    let rungs = fitting_rungs(&task.ladder, width, height)?;
    refuse_too_long(&source, &rungs)?;
    if !encoder_works(task.encoder) {
        return Err(MediaError::MissingEncoder(task.encoder));
    }
    let thumbnails = match &task.thumbnails {
        Some(order) => Some(ThumbnailPlan::new(order, width, height, duration_ms)?),
        None => None,
    };
    let plan = LadderPlan {
        file: &task.source,
        source: &source,
        output: &task.output,
        rungs: &rungs,
        thumbnails,
        encoder: task.encoder,
        threads: task.threads,
    };
    let mut made = Made::new(&rungs);
    run(&plan, &mut made, patience, stop, tell)?;
    made.refuse_incomplete(&source)?;

    let renditions = made.renditions(&rungs, source.ladder_rate)?;
    write_playlists(&task.output, &renditions)?;
    tell(Update::Progress(1000));
    Ok(Ladder { source: source.media, renditions, thumbnails: made.thumbnails })
}

fn refuse_too_long(source: &Source, rungs: &[Rung]) -> Result<(), MediaError> {
    let segment_ms = source.ladder_rate.segment_duration().as_millis() as u64;
    let segments = source.media.duration_ms.div_ceil(segment_ms.max(1)) * rungs.len() as u64;
    if segments > MAX_SEGMENTS {
        return Err(MediaError::TooMuch(format!(
            "This ladder would have {segments} segments; at most {MAX_SEGMENTS} are made. Please cut the video, or \
             order fewer renditions."
        )));
    }
    Ok(())
}

fn run(
    plan: &LadderPlan<'_>,
    made: &mut Made,
    patience: Duration,
    stop: &Stop,
    tell: &mut dyn FnMut(Update),
) -> Result<(), MediaError> {
    let (thumbnail_made, thumbnails) = mpsc::channel();
    let (pipeline, reach) = build(plan, thumbnail_made)?;
    let running = RunningPipeline::start(pipeline)?;
    let mut watch = StallWatch::new(patience);
    let mut told = Instant::now();
    let take_thumbnails = |made: &mut Made, tell: &mut dyn FnMut(Update)| -> Result<(), MediaError> {
        for thumbnail in thumbnails.try_iter() {
            let thumbnail = thumbnail?;
            made.thumbnails.push(thumbnail.clone());
            tell(Update::Thumbnail(thumbnail));
        }
        Ok(())
    };
    loop {
        stop.check()?;
        match running.next_message() {
            None => watch.tick(reach.activity())?,
            Some(message) => match message.view() {
                gst::MessageView::Error(_) => return Err(failure(&message)),
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Element(element) => {
                    if let Some((place, index)) = closed_segment(element) {
                        made.take_segment(plan, place, index, tell)?;
                    }
                }
                _ => {}
            },
        }
        take_thumbnails(made, tell)?;
        refuse_endless(&reach, plan.source)?;
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tell(Update::Progress(permille(&reach, plan.source)));
        }
    }
    drop(running);
    take_thumbnails(made, tell)
}

/// Reads `splitmuxsink-fragment-closed`: which rendition, and how many segments of it were complete before.
fn closed_segment(message: &gst::message::Element) -> Option<(usize, u32)> {
    let structure =
        message.structure().filter(|structure| structure.name() == "splitmuxsink-fragment-closed")?;
    let location = structure.get::<String>("location").ok()?;
    let index = Path::new(&location).file_stem()?.to_str()?.parse().ok()?;
    Some((place_of_writer(&message.src()?.name())?, index))
}

fn permille(reach: &Reach, source: &Source) -> u16 {
    let reached_ms = reach.slowest_ns().saturating_sub(source.picture_ns.start) / 1_000_000;
    // 1000 is told when the playlists are written.
    (reached_ms * 1000 / source.media.duration_ms.max(1)).min(999) as u16
}

/// A forged time stamp could make the frame rate converter repeat a frame for years.
fn refuse_endless(reach: &Reach, source: &Source) -> Result<(), MediaError> {
    let slack_ns = (source.picture_ns.end / 10).max(10_000_000_000);
    if reach.fastest_ns() > source.picture_ns.end.saturating_add(slack_ns) {
        return Err(MediaError::Damaged("its time stamps run past its end".into()));
    }
    Ok(())
}

/// What has been made so far.
struct Made {
    rungs: Vec<MadeRung>,
    thumbnails: Vec<Thumbnail>,
}

#[derive(Default)]
struct MadeRung {
    segments: Vec<SegmentInfo>,
    starts: Vec<u64>,
    codecs: Option<String>,
}

impl Made {
    fn new(rungs: &[Rung]) -> Self {
        Self { rungs: rungs.iter().map(|_| MadeRung::default()).collect(), thumbnails: Vec::new() }
    }

    fn take_segment(
        &mut self,
        plan: &LadderPlan<'_>,
        place: usize,
        index: u32,
        tell: &mut dyn FnMut(Update),
    ) -> Result<(), MediaError> {
        let (Some(rung), Some(made)) = (plan.rungs.get(place), self.rungs.get_mut(place)) else {
            return Err(MediaError::Pipeline("an unknown writer reported a segment".into()));
        };
        if index as usize != made.segments.len() {
            return Err(MediaError::Pipeline(format!("{} got segment {index} out of order", rung.name)));
        }
        let (segment, contents) = read_segment(plan.output, &rung.name, index, plan.source.ladder_rate)?;
        made.take(&segment, &contents)?;
        tell(Update::Segment { rendition: rung.name.clone(), segment });
        Ok(())
    }

    /// Segments of all renditions must start at the same times, and last as long as the source's picture.
    fn refuse_incomplete(&self, source: &Source) -> Result<(), MediaError> {
        let Some(first) = self.rungs.first().filter(|rung| !rung.segments.is_empty()) else {
            return Err(MediaError::Damaged("none of its frames could be decoded".into()));
        };
        if self.rungs.iter().any(|rung| rung.starts != first.starts) {
            return Err(MediaError::Pipeline("the renditions came out unaligned".into()));
        }
        let stated_ms = source.media.duration_ms;
        let found_ms: u64 = first.segments.iter().map(|segment| segment.duration_ms).sum();
        if found_ms + (stated_ms / 50).max(1000) < stated_ms {
            return Err(MediaError::Truncated { stated_ms, found_ms });
        }
        Ok(())
    }

    fn renditions(&self, rungs: &[Rung], rate: FrameRate) -> Result<Vec<Rendition>, MediaError> {
        rungs
            .iter()
            .zip(&self.rungs)
            .map(|(rung, made)| {
                let (peak, average) = bandwidth(&made.segments);
                Ok(Rendition {
                    name: rung.name.clone(),
                    width: rung.width,
                    height: rung.height,
                    bandwidth: peak,
                    average_bandwidth: average,
                    codecs: made
                        .codecs
                        .clone()
                        .ok_or_else(|| MediaError::Pipeline("the encoder left its parameters out".into()))?,
                    frame_rate: (rate.frames, rate.per_seconds),
                    segments: made.segments.clone(),
                })
            })
            .collect()
    }
}

impl MadeRung {
    fn take(&mut self, segment: &SegmentInfo, contents: &TransportSegment) -> Result<(), MediaError> {
        if !contents.starts_with_key_picture {
            return Err(MediaError::Pipeline(format!("segment {} starts without a key frame", segment.file)));
        }
        // The first segment with sound names it: the sound may start later than the picture.
        match &self.codecs {
            Some(known) if known.contains(',') => {}
            _ => self.codecs = codecs(contents),
        }
        self.starts.push(contents.start());
        self.segments.push(segment.clone());
        Ok(())
    }
}

fn write_playlists(output: &Path, renditions: &[Rendition]) -> Result<(), MediaError> {
    let write = |path: std::path::PathBuf, text: String| {
        fs::write(&path, text).map_err(|error| MediaError::file(&path, error))
    };
    for rendition in renditions {
        write(output.join(&rendition.name).join(MEDIA_PLAYLIST), media_playlist(&rendition.segments))?;
    }
    write(output.join(MASTER_PLAYLIST), master_playlist(renditions))
}
