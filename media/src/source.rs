//! What a source file holds, measured and not only stated.

use std::{fs, path::Path, sync::mpsc, thread};

use edge_jobs::MediaInfo;
use gstreamer as gst;
use gstreamer_pbutils::{self as pbutils, prelude::*};

use crate::{
    FrameRate, MediaError, Pace, Stop,
    codecs::codec_name,
    pipeline::TICK,
    timeline::{Timeline, read_timeline},
};

/// The largest source that is taken: 8K, either way up.
const MAX_PIXELS: u64 = 7680 * 4320;
const MAX_SIDE: u64 = 16_384;
/// The longest source that is taken, in milliseconds: 12 hours.
const MAX_DURATION_MS: u64 = 12 * 3600 * 1000;
const LOOK_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(15);

/// A video file that can be worked on.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What nodes tell each other about it. Its duration is the picture's, as measured.
    pub media: MediaInfo,
    /// The frame rate that a ladder of it has.
    pub ladder_rate: FrameRate,
    /// Whether its frames are made of two fields.
    pub interlaced: bool,
    /// Its first sound track.
    pub sound: Option<SoundTrack>,
    /// When its picture starts and ends, in nanoseconds from the start of the file; sound may start earlier.
    pub picture_ns: std::ops::Range<u64>,
}

/// A sound track of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundTrack {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Milliseconds of sound while the picture lasts.
    pub duration_ms: u64,
}

/// Says what `file` holds.
///
/// A file that is no video, is cut off, is larger than 8K or longer than 12 hours, or needs a decoder that is not here,
/// is an error that says so.
pub fn inspect(file: &Path, stop: &Stop) -> Result<Source, MediaError> {
    let metadata = fs::metadata(file).map_err(|error| MediaError::file(file, error))?;
    if !metadata.is_file() {
        return Err(MediaError::NotAVideo("it is not a regular file".into()));
    }
    if metadata.len() == 0 {
        return Err(MediaError::NotAVideo("it is empty".into()));
    }
    // In this order: files that are cut off or no video at all fail the first within milliseconds.
    let timeline = read_timeline(file, stop)?;
    let stated = look(file, &timeline, stop)?;
    source(&stated, &timeline)
}

/// What GStreamer's discoverer says about a file's first video and audio streams.
struct Stated {
    width: u32,
    height: u32,
    rate: Option<FrameRate>,
    interlaced: bool,
    video_codec: String,
    sound: Option<(u32, u32)>,
}

/// The discoverer cannot be interrupted, so it works beside, and a stop leaves it to its own time limit.
fn look(file: &Path, timeline: &Timeline, stop: &Stop) -> Result<Stated, MediaError> {
    let path = file.canonicalize().map_err(|error| MediaError::file(file, error))?;
    let (found, answer) = mpsc::channel();
    let codec = timeline.picture_codec.clone();
    thread::spawn(move || found.send(discover(&path, &codec)));
    loop {
        stop.check()?;
        match answer.recv_timeout(TICK) {
            Ok(stated) => return stated,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(MediaError::Pipeline("the look at the file broke off".into()));
            }
        }
    }
}

fn discover(path: &Path, codec: &str) -> Result<Stated, MediaError> {
    let uri = gst::glib::filename_to_uri(path, None)?;
    let discoverer = pbutils::Discoverer::new(LOOK_LIMIT)?;
    let found = discoverer.discover_uri(&uri).map_err(|error| {
        if error.matches(gst::CoreError::MissingPlugin) || error.matches(gst::StreamError::CodecNotFound) {
            MediaError::MissingDecoder(format!("it needs one for {codec}"))
        } else {
            MediaError::NotAVideo(error.message().trim_end_matches('.').to_lowercase())
        }
    })?;
    if found.result() == pbutils::DiscovererResult::Timeout {
        return Err(MediaError::NotAVideo("its beginning cannot be read in reasonable time".into()));
    }
    if let Some(missing) = missing_decoder(&found) {
        return Err(MediaError::MissingDecoder(missing));
    }
    let videos = found.video_streams();
    let Some(video) = videos.iter().find(|video| !video.is_image()) else {
        let what = if videos.is_empty() { "it holds no picture" } else { "it is a still picture" };
        return Err(MediaError::NotAVideo(what.into()));
    };
    let (width, height) = displayed_size(&found, video)?;
    let rate = video.framerate();
    Ok(Stated {
        width,
        height,
        rate: FrameRate::new(rate.numer().max(0) as u32, rate.denom().max(0) as u32),
        interlaced: video.is_interlaced(),
        video_codec: video.caps().map_or_else(|| "unknown".into(), |caps| codec_name(&caps)),
        sound: found.audio_streams().first().map(|audio| (audio.sample_rate(), audio.channels())),
    })
}

/// The codec that nothing here decodes, in words. Streams that are neither picture nor sound do not count: cameras add
/// tracks of their own.
fn missing_decoder(found: &pbutils::DiscovererInfo) -> Option<String> {
    found.missing_elements_installer_details().iter().find_map(|detail| {
        // GStreamer's form: gstreamer|1.0|program|description|decoder-video/x-something.
        let mut parts = detail.split('|').skip(3);
        let (description, wanted) = (parts.next()?, parts.next()?);
        (wanted.starts_with("decoder-video/") || wanted.starts_with("decoder-audio/"))
            .then(|| format!("it needs one for {}", description.trim_end_matches(" decoder")))
    })
}

/// Width and height on a screen with square pixels, turned as the file says.
fn displayed_size(
    found: &pbutils::DiscovererInfo,
    video: &pbutils::DiscovererVideoInfo,
) -> Result<(u32, u32), MediaError> {
    let shape = video.par();
    let (wide, high) = (shape.numer().max(1) as u64, shape.denom().max(1) as u64);
    let width = (u64::from(video.width()) * wide + high / 2) / high;
    let height = u64::from(video.height());
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(MediaError::TooMuch(format!(
            "A picture of {width}x{height} pixels is not taken; 8K (7680x4320) is the largest."
        )));
    }
    // Both fit, as they are at most MAX_SIDE.
    let (width, height) = (width as u32, height as u32);
    let containers = found.container_streams();
    let tags = containers.iter().filter_map(|container| container.tags());
    let orientation = video
        .tags()
        .into_iter()
        .chain(tags)
        .find_map(|tags| tags.get::<gst::tags::ImageOrientation>().map(|value| value.get().to_owned()));
    let turned = orientation.is_some_and(|turn| turn.ends_with("90") || turn.ends_with("270"));
    Ok(if turned { (height, width) } else { (width, height) })
}

fn source(stated: &Stated, timeline: &Timeline) -> Result<Source, MediaError> {
    let pace = Pace::of(&timeline.frames, stated.rate);
    let (Some(start), Some(last)) = (timeline.frames.first().copied(), timeline.frames.last().copied())
    else {
        return Err(MediaError::Damaged("it holds no frame with a time".into()));
    };
    // The last frame is shown for a while too, which not every container says.
    let frame_ns = (pace.rate().frame_seconds() * 1e9) as u64;
    let mut picture_end = timeline.picture_end.max(last.saturating_add(frame_ns));
    if let Some(duration) = timeline.stated_duration {
        if timeline.complete {
            refuse_truncated(duration, timeline.end.max(picture_end))?;
        } else {
            picture_end = duration.max(picture_end);
        }
    }
    let duration_ms = (picture_end - start).div_ceil(1_000_000);
    if duration_ms > MAX_DURATION_MS {
        return Err(MediaError::TooMuch("Videos of more than 12 hours are not taken. Please cut it.".into()));
    }
    let sound = stated.sound.map(|(sample_rate, channels)| {
        let end = if timeline.complete { timeline.sound_end.min(picture_end) } else { picture_end };
        let from = timeline.sound_start.unwrap_or(0).max(start);
        let duration_ms = end.saturating_sub(from) / 1_000_000;
        SoundTrack { sample_rate, channels, duration_ms }
    });
    let frame_rate = match pace {
        Pace::Constant(rate) => (rate.frames, rate.per_seconds),
        Pace::Variable(_) => (0, 1),
    };
    Ok(Source {
        media: MediaInfo {
            duration_ms,
            width: stated.width,
            height: stated.height,
            frame_rate,
            audio: sound.is_some(),
            video_codec: stated.video_codec.clone(),
        },
        ladder_rate: pace.rate().for_ladder(),
        interlaced: stated.interlaced,
        sound,
        picture_ns: start..picture_end,
    })
}

/// Containers round, and some count a trailing pause; more than a second and 2% missing is a cut.
fn refuse_truncated(stated_ns: u64, found_ns: u64) -> Result<(), MediaError> {
    let slack = (stated_ns / 50).max(1_000_000_000);
    if found_ns.saturating_add(slack) < stated_ns {
        return Err(MediaError::Truncated {
            stated_ms: stated_ns / 1_000_000,
            found_ms: found_ns / 1_000_000,
        });
    }
    Ok(())
}
