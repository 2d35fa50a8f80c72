//! The pipeline of a ladder: one decoder, and for each rendition a scaler, an encoder and a writer of segments.
//!
//! ```text
//! source ─ upright ─ videorate ─ tee ─┬─ queue ─ scale ─ encode ─ parse ─ splitmuxsink (mpegtsmux)
//!    │                                ├─ ...                                │
//!    │                                └─ thumbnails                         │
//!    └─ convert ─ AAC ─ tee ─ queue ─ ... ──────────────────────────────────┘
//! ```

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
};

use edge_jobs::{Thumbnail, VideoEncoder};
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    FrameRate, MediaError, Rung, Source, Threads,
    decoding::{add_source, upright_pictures},
    pipeline::running_time,
    segment::segment_file,
    thumbnails::{ThumbnailPlan, add_thumbnails},
};

/// Bits per second of the sound, once for all renditions.
const SOUND_BITS: u32 = 128_000;
/// The scaler, with a filter that takes in every pixel: the element's default leaves most out when it shrinks, and the sharper
/// filters cost twice as much. The check's own
/// scaler uses the same filter.
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
}

/// How far the renditions are, updated by the pipeline's threads.
#[derive(Debug)]
pub(crate) struct Reach {
    encoded_ns: Vec<AtomicU64>,
    activity: AtomicU64,
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
    if let Some(sound) = &plan.source.sound {
        // 44.1 kHz stays, everything else becomes 48 kHz: what players play.
        let sample_rate = if sound.sample_rate == 44_100 { 44_100 } else { 48_000 };
        let chain = part(
            &pipeline,
            &format!(
                "audioconvert ! audioresample ! audiorate ! audio/x-raw,channels=2,rate={sample_rate} ! \
                 avenc_aac bitrate={SOUND_BITS} ! aacparse"
            ),
        )?;
        let input = pad(&chain, "sink")?;
        count(&input, &reach);
        drop_after(&input, plan.source.picture_ns.end);
        sound_tee = Some(tee(&pipeline, &chain)?);
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
            watch_encoded(&pad(&encoded, "src")?, &reach, place);
            let writer = segment_writer(&pipeline, plan.output, &plan.rungs[place], place, rate)?;
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
    output: &Path,
    rung: &Rung,
    place: usize,
    rate: FrameRate,
) -> Result<gst::Element, MediaError> {
    let folder = output.join(&rung.name);
    fs::create_dir_all(&folder).map_err(|error| MediaError::file(&folder, error))?;
    let writer = gst::ElementFactory::make("splitmuxsink")
        .name(writer_name(place))
        .property("muxer", gst::ElementFactory::make("mpegtsmux").build()?)
        .property("max-size-time", rate.segment_duration().as_nanos() as u64 / 2)
        .build()?;
    // By signal instead of by pattern, in which a `%` of the folder's name would mean something.
    let (output, name) = (output.to_owned(), rung.name.clone());
    writer.connect("format-location", false, move |arguments| {
        let index = arguments.get(1)?.get::<u32>().ok()?;
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
