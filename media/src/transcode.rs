//! Making a ladder.

use std::{
    fs,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use edge_jobs::{MediaInfo, Rendition, SegmentInfo, Thumbnail, TranscodeTask, bandwidth, segment_file};
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    MASTER_PLAYLIST, MEDIA_PLAYLIST, MediaError, Rung, Source, Stop, TransportSegment,
    codecs::codecs,
    fitting_rungs, inspect,
    ladder::{LadderPlan, Reach, build, place_of_writer},
    master_playlist, media_playlist,
    pipeline::{RunningPipeline, StallWatch, failure},
    plugins::encoder_works,
    segment::read_segment,
    thumbnails::ThumbnailPlan,
};

/// The most segments of a ladder over all its renditions, so that the report of it fits into one message.
const MAX_SEGMENTS: u64 = 30_000;
/// What the sound of every ladder is named as, after the picture.
const AAC_LC: &str = ",mp4a.40.2";
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
/// `master.m3u8`, and `thumbnails/{index:05}.jpg`. The tail of a ladder has its segments and pictures alone: whoever has the
/// rest writes the playlists. What an ended task leaves in the folder is the caller's to remove.
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
        Some(order) => Some(ThumbnailPlan::new(order, width, height, duration_ms, task.from_thumbnail)?),
        None => None,
    };
    let mut plan = LadderPlan {
        file: &task.source,
        source: &source,
        output: &task.output,
        rungs: &rungs,
        thumbnails,
        encoder: task.encoder,
        threads: task.threads,
        first_segment: task.from_segment.saturating_sub(1),
        with_sound: true,
    };
    let mut made = Made::new(&plan, task.from_segment);
    match run(&plan, &mut made, patience, stop, tell) {
        // The sound ended before this tail: the writers wait for its format, and fail when it does not come.
        Err(MediaError::Pipeline(_)) if task.from_segment > 0 && made.is_without_sound() => {
            plan.with_sound = false;
            if let (Some(thumbnails), Some(last)) = (&mut plan.thumbnails, made.thumbnails.last()) {
                thumbnails.go_on_after(last.at_ms);
            }
            let thumbnails = std::mem::take(&mut made.thumbnails);
            made = Made { thumbnails, ..Made::new(&plan, task.from_segment) };
            run(&plan, &mut made, patience, stop, tell)?;
        }
        done => done?,
    }
    made.refuse_incomplete(&source)?;

    let renditions = made.renditions(&rungs, &source)?;
    if task.from_segment == 0 {
        write_playlists(&task.output, &renditions)?;
    }
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
                gst::MessageView::Error(_) => {
                    made.sound_came = reach.sound_came();
                    return Err(failure(&message));
                }
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
    /// The first segment wanted.
    from_segment: u32,
    rungs: Vec<MadeRung>,
    thumbnails: Vec<Thumbnail>,
    /// Whether there was sound before an error.
    sound_came: bool,
}

#[derive(Default)]
struct MadeRung {
    next: u32,
    segments: Vec<SegmentInfo>,
    starts: Vec<u64>,
    codecs: Option<String>,
}

impl Made {
    fn new(plan: &LadderPlan<'_>, from_segment: u32) -> Self {
        let rung = |_| MadeRung { next: plan.first_segment, ..MadeRung::default() };
        Self {
            from_segment,
            rungs: plan.rungs.iter().map(rung).collect(),
            thumbnails: Vec::new(),
            sound_came: false,
        }
    }

    /// Whether neither sound nor a segment has come.
    fn is_without_sound(&self) -> bool {
        !self.sound_came && self.rungs.iter().all(|rung| rung.segments.is_empty())
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
        if index != made.next {
            return Err(MediaError::Pipeline(format!("{} got segment {index} out of order", rung.name)));
        }
        made.next += 1;
        if index < self.from_segment {
            let path = plan.output.join(segment_file(&rung.name, index));
            return fs::remove_file(&path).map_err(|error| MediaError::file(path, error));
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
        let before_ms = source.ladder_rate.segment_start_ns(self.from_segment) / 1_000_000;
        let found_ms = before_ms + first.segments.iter().map(|segment| segment.duration_ms).sum::<u64>();
        if found_ms + (stated_ms / 50).max(1000) < stated_ms {
            return Err(MediaError::Truncated { stated_ms, found_ms });
        }
        Ok(())
    }

    fn renditions(&self, rungs: &[Rung], source: &Source) -> Result<Vec<Rendition>, MediaError> {
        let rate = source.ladder_rate;
        rungs
            .iter()
            .zip(&self.rungs)
            .map(|(rung, made)| {
                let (peak, average) = bandwidth(&made.segments);
                let mut codecs = made
                    .codecs
                    .clone()
                    .ok_or_else(|| MediaError::Pipeline("the encoder left its parameters out".into()))?;
                // The sound may have ended before this tail of the ladder.
                if self.from_segment > 0 && source.sound.is_some() && !codecs.contains(',') {
                    codecs.push_str(AAC_LC);
                }
                Ok(Rendition {
                    name: rung.name.clone(),
                    width: rung.width,
                    height: rung.height,
                    bandwidth: peak,
                    average_bandwidth: average,
                    codecs,
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
