//! The pipeline of a ladder: one decoder, and for each rendition a scaler, an encoder and a writer of segments.
//!
//! ```text
//! source ─ upright ─ videorate ─ tee ─┬─ queue ─ scale ─ encode ─ parse ─ splitmuxsink (mpegtsmux)
//!    │                                ├─ ...                                │
//!    │                                └─ thumbnails                         │
//!    └─ convert ─ AAC ─ tee ─ queue ─ ... ──────────────────────────────────┘
//! ```
//!
//! A tail of a ladder comes from the same pipeline: pictures before it are counted and sound before it is cut where the
//! encoders take them in, so that every clock runs as if the whole had been made. It is encoded from one segment earlier
//! than wanted. In that first one the encoders find their feet (AAC starts with silence, and which piece of sound goes
//! into which segment is decided at a cut), and it is thrown away.

use std::{
    fs,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Sender,
    },
};

use edge_jobs::{Thumbnail, VideoEncoder, segment_file};
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    MediaError, Rung, Source, Threads,
    decoding::{add_source, upright_pictures},
    pipeline::running_time,
    thumbnails::{ThumbnailPlan, add_thumbnails},
};

/// Bits per second of the sound, once for all renditions.
const SOUND_BITS: u32 = 128_000;
/// The scaler, with a filter that takes in every pixel: the element's default leaves most out when it shrinks, and the
/// sharper filters cost twice as much. The check's own scaler uses the same filter.
pub(crate) const SCALER: &str = "videoconvertscale add-borders=false method=bilinear2";
/// Decoded pictures that may wait for an encoder.
const WAITING_PICTURES: u32 = 3;
/// Seconds of sound that may wait for the pictures: more than any encoder's delay.
const WAITING_SOUND_SECONDS: u64 = 30;

/// What a ladder is made of and how.
#[derive(Debug)]
pub(crate) struct LadderPlan<'a> {
    pub(crate) file: &'a Path,
    pub(crate) source: &'a Source,
    pub(crate) output: &'a Path,
    pub(crate) rungs: &'a [Rung],
    pub(crate) thumbnails: Option<ThumbnailPlan>,
    pub(crate) encoder: VideoEncoder,
    pub(crate) threads: Option<u32>,
    /// The first segment that is encoded.
    pub(crate) first_segment: u32,
    /// Whether the source's sound, if any, comes along.
    pub(crate) with_sound: bool,
}

/// How far the renditions are, updated by the pipeline's threads.
#[derive(Debug)]
pub(crate) struct Reach {
    encoded_ns: Vec<AtomicU64>,
    activity: AtomicU64,
    sound_came: AtomicBool,
}

impl Reach {
    /// What every rendition has reached, in nanoseconds from the start of the file.
    pub(crate) fn slowest_ns(&self) -> u64 {
        self.encoded_ns.iter().map(|reached| reached.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// What some rendition has reached, in nanoseconds from the start of the file.
    pub(crate) fn fastest_ns(&self) -> u64 {
        self.encoded_ns.iter().map(|reached| reached.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Whether there was any sound to be encoded so far.
    pub(crate) fn sound_came(&self) -> bool {
        self.sound_came.load(Ordering::Relaxed)
    }

    /// A count that grows with every picture and every piece of sound.
    pub(crate) fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }
}

/// Builds the pipeline. Its writers are named by the place of their rendition in the ladder, and announce each finished
/// segment by the message `splitmuxsink-fragment-closed`.
pub(crate) fn build(
    plan: &LadderPlan<'_>,
    thumbnails: Sender<Result<Thumbnail, MediaError>>,
) -> Result<(gst::Pipeline, Arc<Reach>), MediaError> {
    let pipeline = gst::Pipeline::new();
    let rate = plan.source.ladder_rate;
    let reach = Arc::new(Reach {
        encoded_ns: plan.rungs.iter().map(|_| AtomicU64::new(0)).collect(),
        activity: AtomicU64::new(0),
        sound_came: AtomicBool::new(false),
    });

    let upright = format!(
        "{} ! videorate skip-to-first=true ! capsfilter caps=video/x-raw,framerate={}/{}",
        upright_pictures(plan.source.interlaced),
        rate.frames,
        rate.per_seconds
    );
    let pictures = part(&pipeline, &upright)?;
    let picture_tee = tee(&pipeline, &pictures)?;
    let picture_input = pad(&pictures, "sink")?;
    count(&picture_input, &reach);

    let mut sound_input = None;
    let mut sound_tee = None;
    if let Some(sound) = plan.source.sound.as_ref().filter(|_| plan.with_sound) {
        // 44.1 kHz stays, everything else becomes 48 kHz: what players play.
        let sample_rate = if sound.sample_rate == 44_100 { 44_100 } else { 48_000 };
        let samples = part(
            &pipeline,
            &format!(
                "audioconvert ! audioresample ! audiorate ! \
                 capsfilter caps=audio/x-raw,format=F32LE,layout=interleaved,channels=2,rate={sample_rate}"
            ),
        )?;
        let encoded = part(&pipeline, &format!("avenc_aac bitrate={SOUND_BITS} ! aacparse"))?;
        samples.link(&encoded)?;
        let input = pad(&samples, "sink")?;
        count(&input, &reach);
        drop_after(&input, plan.source.picture_ns.end);
        let start_ns = match plan.first_segment {
            0 => 0,
            first => plan.source.picture_ns.start + rate.segment_start_ns(first),
        };
        clip_sound(&pad(&samples, "src")?, sample_rate, start_ns..plan.source.picture_ns.end);
        let came = reach.clone();
        pad(&encoded, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            came.sound_came.store(true, Ordering::Relaxed);
            gst::PadProbeReturn::Remove
        });
        sound_tee = Some(tee(&pipeline, &encoded)?);
        sound_input = Some(input);
    }

    let threads = Threads::share(plan.rungs, plan.threads);
    for group in &threads.groups {
        // A group of several encodes them in turn in one thread, which is the queue's or, alone, the decoder's own.
        let mut outlet = picture_tee.clone();
        if threads.groups.len() > 1 || plan.threads.is_none() {
            let queue = part(
                &pipeline,
                &format!("queue max-size-buffers={WAITING_PICTURES} max-size-bytes=0 max-size-time=0"),
            )?;
            outlet.link(&queue)?;
            outlet = tee(&pipeline, &queue)?;
        }
        for &place in group {
            let encoder =
                crate::encoder::encoder(plan.encoder, &plan.rungs[place], rate, threads.of_encoder[place]);
            let encoded = part(&pipeline, &scaled_and_encoded(&plan.rungs[place], &encoder))?;
            outlet.link(&encoded)?;
            let skipped = u64::from(plan.first_segment) * u64::from(rate.frames_per_segment());
            skip_pictures(&pad(&encoded, "sink")?, skipped);
            watch_encoded(&pad(&encoded, "src")?, &reach, place);
            let writer = segment_writer(&pipeline, plan, place)?;
            encoded.link_pads(Some("src"), &writer, Some("video"))?;
            if let Some(sound) = &sound_tee {
                let queue = part(
                    &pipeline,
                    &format!(
                        "queue max-size-buffers=0 max-size-bytes=0 max-size-time={}",
                        WAITING_SOUND_SECONDS * 1_000_000_000
                    ),
                )?;
                sound.link(&queue)?;
                queue.link_pads(Some("src"), &writer, Some("audio_%u"))?;
            }
        }
    }

    if let Some(thumbnail_plan) = &plan.thumbnails {
        let start_ns = plan.source.picture_ns.start;
        let input = add_thumbnails(&pipeline, thumbnail_plan, start_ns, plan.output, thumbnails)?;
        let outlet = picture_tee
            .request_pad_simple("src_%u")
            .ok_or_else(|| MediaError::Pipeline("the tee has no free outlet".into()))?;
        outlet.link(&input).map_err(|error| MediaError::Pipeline(format!("thumbnails: {error}")))?;
    }
    add_source(&pipeline, plan.file, plan.threads, picture_input, sound_input)?;
    Ok((pipeline, reach))
}

fn scaled_and_encoded(rung: &Rung, encoder: &str) -> String {
    let Rung { width, height, .. } = rung;
    format!(
        "{SCALER} ! \
         video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! {encoder} ! \
         h264parse config-interval=-1"
    )
}

/// Cuts at every key frame: a limit below the distance of two key frames does that, as no group is split.
fn segment_writer(
    pipeline: &gst::Pipeline,
    plan: &LadderPlan<'_>,
    place: usize,
) -> Result<gst::Element, MediaError> {
    let (rung, rate) = (&plan.rungs[place], plan.source.ladder_rate);
    let folder = plan.output.join(&rung.name);
    fs::create_dir_all(&folder).map_err(|error| MediaError::file(&folder, error))?;
    let writer = gst::ElementFactory::make("splitmuxsink")
        .name(writer_name(place))
        .property("muxer", gst::ElementFactory::make("mpegtsmux").build()?)
        .property("max-size-time", rate.segment_duration().as_nanos() as u64 / 2)
        .build()?;
    // By signal instead of by pattern, in which a `%` of the folder's name would mean something.
    let (output, name, first) = (plan.output.to_owned(), rung.name.clone(), plan.first_segment);
    writer.connect("format-location", false, move |arguments| {
        let index = first.saturating_add(arguments.get(1)?.get::<u32>().ok()?);
        Some(output.join(segment_file(&name, index)).to_value())
    });
    pipeline.add(&writer)?;
    Ok(writer)
}

fn writer_name(place: usize) -> String {
    format!("rung-{place}")
}

/// The place of the rendition whose writer has the element name `name`.
pub(crate) fn place_of_writer(name: &str) -> Option<usize> {
    name.strip_prefix("rung-")?.parse().ok()
}

fn part(pipeline: &gst::Pipeline, description: &str) -> Result<gst::Element, MediaError> {
    let bin = gst::parse::bin_from_description(description, true)?.upcast::<gst::Element>();
    pipeline.add(&bin)?;
    Ok(bin)
}

fn tee(pipeline: &gst::Pipeline, after: &gst::Element) -> Result<gst::Element, MediaError> {
    let tee = gst::ElementFactory::make("tee").build()?;
    pipeline.add(&tee)?;
    after.link(&tee)?;
    Ok(tee)
}

fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, MediaError> {
    element.static_pad(name).ok_or_else(|| MediaError::Pipeline(format!("{} has no {name}", element.name())))
}

fn count(pad: &gst::Pad, reach: &Arc<Reach>) {
    let reach = reach.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        reach.activity.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
}

fn watch_encoded(pad: &gst::Pad, reach: &Arc<Reach>, place: usize) {
    let reach = reach.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        reach.activity.fetch_add(1, Ordering::Relaxed);
        if let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) {
            reach.encoded_ns[place].fetch_max(time, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets the first `skipped` pictures go nowhere. They are counted, as segments are whole numbers of pictures.
fn skip_pictures(pad: &gst::Pad, skipped: u64) {
    if skipped == 0 {
        return;
    }
    let seen = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if seen.fetch_add(1, Ordering::Relaxed) < skipped {
            gst::PadProbeReturn::Handled
        } else {
            gst::PadProbeReturn::Ok
        }
    });
}

/// Lets sound go on only from `range.start` to `range.end`, in nanoseconds; its beginning is a whole number of AAC frames
/// from where the sound begins, so that the encoder's frames lie where those of the whole sound lie.
///
/// It sits behind `audiorate`, which fills a stream to its stated end when that comes: sound that was cut off before it
/// would go on as silence, and all of it in the last segment.
fn clip_sound(pad: &gst::Pad, sample_rate: u32, range: Range<u64>) {
    const FRAME: u64 = 1024;
    // Two channels of four bytes, as the filter before this says.
    const SAMPLE_BYTES: usize = 8;
    let rate = u128::from(sample_rate);
    let at_ns = move |samples: u64| (u128::from(samples) * 1_000_000_000 / rate) as u64;
    let samples_in = move |ns: u64| (u128::from(ns) * rate / 1_000_000_000) as u64;
    // Samples that came, and the first and the last that go on: known when the first ones say when they are due.
    let state = Mutex::new((0, None));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, wanted) = &mut *state;
        let wanted: &Range<u64> = wanted.get_or_insert_with(|| {
            let base_ns = running_time(pad, buffer).unwrap_or(0);
            let first = samples_in(range.start.saturating_sub(base_ns)) / FRAME * FRAME;
            first..samples_in(range.end.saturating_sub(base_ns))
        });
        let came = *seen..*seen + (buffer.size() / SAMPLE_BYTES) as u64;
        *seen = came.end;
        let kept = came.start.max(wanted.start)..came.end.min(wanted.end);
        if kept == came {
            return gst::PadProbeReturn::Ok;
        }
        if kept.is_empty() {
            return gst::PadProbeReturn::Handled;
        }
        let byte = |sample: u64| (sample - came.start) as usize * SAMPLE_BYTES;
        let Ok(mut part) = buffer.copy_region(gst::BufferCopyFlags::MEMORY, byte(kept.start)..byte(kept.end))
        else {
            return gst::PadProbeReturn::Handled;
        };
        if let Some(part) = part.get_mut() {
            let later = gst::ClockTime::from_nseconds(at_ns(kept.start - came.start));
            part.set_pts(buffer.pts().map(|pts| pts + later));
            part.set_duration(gst::ClockTime::from_nseconds(at_ns(kept.end - kept.start)));
        }
        info.data = Some(gst::PadProbeData::Buffer(part));
        gst::PadProbeReturn::Ok
    });
}

/// The picture decides how long the video is: sound that goes on after it would all land in the last segment.
///
/// (The probe answers "handled" and not "drop", for which this GStreamer complains about the buffer that is gone.)
fn drop_after(pad: &gst::Pad, end_ns: u64) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        match info.buffer().and_then(|buffer| running_time(pad, buffer)) {
            Some(time) if time >= end_ns => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        }
    });
}
