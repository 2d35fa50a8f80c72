//! When a file's frames are shown, read without decoding them.
//!
//! Containers state a duration and a frame rate, and are often wrong: an upload that was cut off still states its full
//! length, phones and screen recorders write frames as they come. So the first frames' times are read, and the last
//! seconds are looked for.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    MediaError, Stop,
    codecs::codec_name,
    pipeline::{RunningPipeline, SOURCE_NAME, StallWatch, failure, stream_time},
};

/// So many frames tell the pace.
const HEAD_FRAMES: usize = 600;
/// The last part of a file that is read, from a key frame on.
const TAIL: gst::ClockTime = gst::ClockTime::from_seconds(3);
const PATIENCE: Duration = Duration::from_secs(20);
/// A pipeline whose threads rested at so many looks in a row has ended. At one look they may rest between two of its parts.
const LOOKS_AT_REST: u32 = 5;

const NO_CONTENTS: &str = "its contents cannot be found, maybe because it was cut off";

/// What was seen; all times in nanoseconds from the start of the stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// When the first frames are shown, ascending; at most [`HEAD_FRAMES`] and a few.
    pub(crate) frames: Vec<u64>,
    /// The end of the last frame, of the last sound, and of anything.
    pub(crate) picture_end: u64,
    pub(crate) sound_end: u64,
    pub(crate) end: u64,
    /// The start of the first sound.
    pub(crate) sound_start: Option<u64>,
    /// Whether the file's end was looked at.
    pub(crate) complete: bool,
    /// The container's word about its duration.
    pub(crate) stated_duration: Option<u64>,
    /// What the picture is encoded with, in words.
    pub(crate) picture_codec: String,
}

/// Reads the times of the file's first video stream and first audio stream. Where the container states no duration, the
/// whole file is read.
pub(crate) fn read_timeline(file: &Path, stop: &Stop) -> Result<Timeline, MediaError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let pipeline = gst::Pipeline::new();
    let reader = gst::ElementFactory::make("filesrc").property("location", file).build()?;
    let parser = gst::ElementFactory::make("parsebin").name(SOURCE_NAME).build()?;
    pipeline.add_many([&reader, &parser])?;
    reader.link(&parser)?;
    let (bin, state) = (pipeline.downgrade(), seen.clone());
    parser.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = bin.upgrade()
            && let Err(error) = watch_stream(&pipeline, pad, &state)
        {
            tracing::warn!(%error, "a stream is not watched");
        }
    });

    let running = RunningPipeline::start(pipeline)?;
    let mut watch = StallWatch::new(PATIENCE);
    let mut seeked = false;
    let mut looks_at_rest = 0;
    let mut duration = None;
    loop {
        stop.check()?;
        match running.next_message() {
            Some(message) if message.type_() == gst::MessageType::Eos => break,
            Some(message) if message.type_() == gst::MessageType::Error => {
                // A cut file often ends in an error; what was read before it still tells where it ends.
                if lock(&seen).timeline.frames.is_empty() {
                    return Err(unreadable(&message));
                }
                break;
            }
            _ => watch.tick(lock(&seen).buffers)?,
        }
        // An error of the demuxer is lost when it comes while parsebin still adds the demuxer; no stream comes then, and no other message.
        let at_rest = lock(&seen).streams == 0 && running.rests();
        looks_at_rest = if at_rest { looks_at_rest + 1 } else { 0 };
        if looks_at_rest == LOOKS_AT_REST {
            return Err(MediaError::NotAVideo(NO_CONTENTS.into()));
        }
        duration = duration.or_else(|| running.pipeline().query_duration::<gst::ClockTime>());
        let Some(duration) = duration.filter(|_| !seeked) else { continue };
        if enter_tail(&seen) {
            seeked = true;
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
            if running.pipeline().seek_simple(flags, duration.saturating_sub(TAIL)).is_err() {
                drop(running);
                return Ok(finish(&seen, Some(duration), false));
            }
        }
    }
    duration = duration.or_else(|| running.pipeline().query_duration::<gst::ClockTime>());
    drop(running);
    refuse_pictureless(&lock(&seen))?;
    Ok(finish(&seen, duration, true))
}

#[derive(Default)]
struct Seen {
    timeline: Timeline,
    buffers: u64,
    streams: u32,
    has_picture: bool,
    has_sound: bool,
    in_tail: bool,
}

impl Seen {
    fn note(&mut self, kind: Kind, start: u64, end: u64) {
        let timeline = &mut self.timeline;
        timeline.end = timeline.end.max(end);
        match kind {
            Kind::Picture => {
                timeline.picture_end = timeline.picture_end.max(end);
                if !self.in_tail && timeline.frames.len() < 2 * HEAD_FRAMES {
                    timeline.frames.push(start);
                }
            }
            Kind::Sound => {
                timeline.sound_end = timeline.sound_end.max(end);
                timeline.sound_start.get_or_insert(start);
            }
            Kind::Other => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Picture,
    Sound,
    Other,
}

fn watch_stream(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    seen: &Arc<Mutex<Seen>>,
) -> Result<(), gst::glib::BoolError> {
    let sink =
        gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build()?;
    pipeline.add(&sink)?;
    sink.sync_state_with_parent()?;
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
    let kind = {
        let mut seen = lock(seen);
        seen.streams += 1;
        if (name.starts_with("video/") || name.starts_with("image/")) && !seen.has_picture {
            seen.has_picture = true;
            seen.timeline.picture_codec = codec_name(&caps);
            Kind::Picture
        } else if name.starts_with("audio/") && !seen.has_sound {
            seen.has_sound = true;
            Kind::Sound
        } else {
            Kind::Other
        }
    };
    let state = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            let mut seen = lock(&state);
            seen.buffers += 1;
            if let Some(start) = stream_time(pad, buffer) {
                let length = buffer.duration().map_or(0, gst::ClockTime::nseconds);
                seen.note(kind, start, start.saturating_add(length));
            }
        }
        gst::PadProbeReturn::Ok
    });
    let target = sink.static_pad("sink").ok_or_else(|| gst::glib::bool_error!("a sink without a pad"))?;
    pad.link(&target).map_err(|error| gst::glib::bool_error!("a stream cannot be linked: {error}"))?;
    Ok(())
}

fn refuse_pictureless(seen: &Seen) -> Result<(), MediaError> {
    match (seen.has_picture, seen.has_sound) {
        (true, _) => Ok(()),
        (false, true) => Err(MediaError::NotAVideo("it holds sound but no picture".into())),
        (false, false) => Err(MediaError::NotAVideo("its format is not one that is taken".into())),
    }
}

/// Once the head is read: notes that what follows is the file's end.
fn enter_tail(seen: &Mutex<Seen>) -> bool {
    let mut seen = lock(seen);
    seen.in_tail = seen.timeline.frames.len() >= HEAD_FRAMES;
    seen.in_tail
}

fn finish(seen: &Mutex<Seen>, duration: Option<gst::ClockTime>, complete: bool) -> Timeline {
    let mut timeline = lock(seen).timeline.clone();
    timeline.frames.sort_unstable();
    timeline.complete = complete;
    timeline.stated_duration = duration.map(gst::ClockTime::nseconds).filter(|duration| *duration > 0);
    timeline
}

/// The error of a file that yields nothing: not one of a decoder, as nothing is decoded here.
fn unreadable(message: &gst::Message) -> MediaError {
    let gst::MessageView::Error(error) = message.view() else { return failure(message) };
    let kind = error.error();
    if kind.matches(gst::CoreError::MissingPlugin) || kind.matches(gst::StreamError::CodecNotFound) {
        return MediaError::NotAVideo("its format is not one that is taken".into());
    }
    if kind.matches(gst::StreamError::TypeNotFound) {
        return MediaError::NotAVideo("its format is unknown".into());
    }
    if kind.is::<gst::StreamError>() {
        return MediaError::NotAVideo(NO_CONTENTS.into());
    }
    failure(message)
}

// A thread that panicked while it held the lock has at worst missed a frame.
fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
