//! Decoded pictures, one after the other.

use std::{path::Path, time::Duration};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;

use crate::{
    MediaError, Source, Stop,
    decoding::{add_source, upright_pictures},
    pipeline::{RunningPipeline, StallWatch, TICK},
};

/// The decoded pictures of a file, in the order in which they are shown.
#[derive(Debug)]
pub(super) struct Frames {
    running: RunningPipeline,
    sink: app::AppSink,
    patience: Duration,
    stop: Stop,
}

/// A decoded picture in I420.
#[derive(Debug)]
pub(super) struct Frame {
    /// When it is shown, in nanoseconds from the start of its stream.
    pub(super) at_ns: u64,
    pub(super) sample: gst::Sample,
}

impl Frames {
    /// The pictures of a source, upright, as a ladder is made from them.
    pub(super) fn of_source(
        file: &Path,
        source: &Source,
        patience: Duration,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::new();
        let upright = gst::parse::bin_from_description(&upright_pictures(source.interlaced), true)?;
        pipeline.add(&upright)?;
        let sink = add_sink(&pipeline, upright.upcast_ref())?;
        let input =
            upright.static_pad("sink").ok_or_else(|| MediaError::Pipeline("no input for pictures".into()))?;
        add_source(&pipeline, file, None, input, None)?;
        Self::start(pipeline, sink, patience, stop)
    }

    /// The pictures of a segment.
    pub(super) fn of_segment(file: &Path, patience: Duration, stop: &Stop) -> Result<Self, MediaError> {
        // The demuxer's outlet appears later and finds its way by itself, but only in a whole pipeline.
        let pipeline = gst::parse::launch(
            "filesrc name=file ! tsdemux ! h264parse ! avdec_h264 max-threads=1 ! videoconvert ! \
             video/x-raw,format=I420 ! identity name=last",
        )?
        .downcast::<gst::Pipeline>()
        .map_err(|_| MediaError::Pipeline("the segment's decoder is no pipeline".into()))?;
        let part = |name| {
            pipeline.by_name(name).ok_or_else(|| MediaError::Pipeline(format!("the decoder has no {name}")))
        };
        part("file")?.set_property("location", file);
        let last = part("last")?;
        let sink = add_sink(&pipeline, &last)?;
        Self::start(pipeline, sink, patience, stop)
    }

    /// The picture in a JPEG file.
    pub(super) fn of_still(file: &Path, patience: Duration, stop: &Stop) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::new();
        let reader = gst::ElementFactory::make("filesrc").property("location", file).build()?;
        // It has a time, though there is only one.
        let decoder = gst::parse::bin_from_description(
            "jpegparse ! jpegdec ! videoconvert ! video/x-raw,format=I420 ! \
             imagefreeze num-buffers=1",
            true,
        )?;
        pipeline.add_many([&reader, decoder.upcast_ref()])?;
        reader.link(&decoder)?;
        let sink = add_sink(&pipeline, decoder.upcast_ref())?;
        Self::start(pipeline, sink, patience, stop)
    }

    fn start(
        pipeline: gst::Pipeline,
        sink: app::AppSink,
        patience: Duration,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        Ok(Self { running: RunningPipeline::start(pipeline)?, sink, patience, stop: stop.clone() })
    }

    /// The next picture; `None` after the last, [`MediaError::Stalled`] when none comes for as long as there is patience.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, MediaError> {
        let mut watch = StallWatch::new(self.patience);
        loop {
            self.stop.check()?;
            let tick = gst::ClockTime::from_mseconds(TICK.as_millis() as u64);
            if let Some(sample) = self.sink.try_pull_sample(tick) {
                match time_of(&sample) {
                    Some(at_ns) => return Ok(Some(Frame { at_ns, sample })),
                    None => continue,
                }
            }
            self.running.failure()?;
            if self.sink.is_eos() {
                return Ok(None);
            }
            watch.tick(0)?;
        }
    }

    /// Goes on from the time `to_ns`, or from a little before. `false` if the file does not allow it; the next picture is then
    /// the one it would have been.
    pub(super) fn skip_to(&mut self, to_ns: u64) -> bool {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        self.running.pipeline().seek_simple(flags, gst::ClockTime::from_nseconds(to_ns)).is_ok()
    }
}

fn add_sink(pipeline: &gst::Pipeline, after: &gst::Element) -> Result<app::AppSink, MediaError> {
    let sink = app::AppSink::builder().sync(false).max_buffers(3).build();
    pipeline.add(&sink)?;
    after.link(&sink)?;
    Ok(sink)
}

fn time_of(sample: &gst::Sample) -> Option<u64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_stream_time(sample.buffer()?.pts()?).map(gst::ClockTime::nseconds)
}
