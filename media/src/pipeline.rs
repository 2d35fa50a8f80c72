//! A pipeline that runs: started, listened to, and always brought to its end.

use std::{sync::mpsc, thread, time::Duration};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::MediaError;

/// Name of the element that everything of a source file is read through; its errors are the file's fault.
pub(crate) const SOURCE_NAME: &str = "source";

/// How long one look at a pipeline takes at most; a stop is noticed as quickly.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How long a pipeline may take to end before its threads are left behind.
const END_LIMIT: Duration = Duration::from_secs(3);

/// A pipeline in PLAYING. Dropping it ends it and all its threads.
#[derive(Debug)]
pub(crate) struct RunningPipeline {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

impl RunningPipeline {
    /// Starts a pipeline that is completely built.
    pub(crate) fn start(pipeline: gst::Pipeline) -> Result<Self, MediaError> {
        let bus = pipeline.bus().ok_or_else(|| MediaError::Pipeline("the pipeline has no bus".into()))?;
        let running = Self { pipeline, bus };
        if running.pipeline.set_state(gst::State::Playing).is_err() {
            // The reason is on the bus; the state change itself says nothing.
            running.failure()?;
            return Err(MediaError::Pipeline("it did not start".into()));
        }
        Ok(running)
    }

    pub(crate) fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// The next message, or `None` after [`TICK`].
    pub(crate) fn next_message(&self) -> Option<gst::Message> {
        let kinds = [gst::MessageType::Error, gst::MessageType::Eos, gst::MessageType::Element];
        self.bus.timed_pop_filtered(gst::ClockTime::from_mseconds(TICK.as_millis() as u64), &kinds)
    }

    /// Whether none of the pipeline's threads works any more.
    pub(crate) fn rests(&self) -> bool {
        self.pipeline
            .iterate_recurse()
            .into_iter()
            .flatten()
            .all(|element| element.pads().iter().all(|pad| pad.task_state() != gst::TaskState::Started))
    }

    /// The error that has been reported meanwhile, if any. Other messages are dropped.
    pub(crate) fn failure(&self) -> Result<(), MediaError> {
        match self.bus.pop_filtered(&[gst::MessageType::Error]) {
            Some(message) => Err(failure(&message)),
            None => Ok(()),
        }
    }
}

impl Drop for RunningPipeline {
    fn drop(&mut self) {
        // A hung driver must not hang the worker: the state change waits for the pipeline's threads, so it happens
        // beside, and is waited for only so long.
        let (ended, end) = mpsc::channel();
        let pipeline = self.pipeline.clone();
        thread::spawn(move || {
            let _ = pipeline.set_state(gst::State::Null);
            let _ = ended.send(());
        });
        if end.recv_timeout(END_LIMIT).is_err() {
            tracing::error!("a pipeline does not end; its threads are left behind");
        }
    }
}

/// Notices that nothing moves.
#[derive(Debug)]
pub(crate) struct StallWatch {
    patience: Duration,
    seen: u64,
    idle: Duration,
}

impl StallWatch {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, seen: 0, idle: Duration::ZERO }
    }

    /// To be called after each [`TICK`] without a message; `activity` is any count that grows while work goes on.
    ///
    /// Ticks are counted instead of asking a clock: a process that the system has frozen does not tick, and so does
    /// not give its work up when it wakes.
    pub(crate) fn tick(&mut self, activity: u64) -> Result<(), MediaError> {
        if activity != self.seen {
            (self.seen, self.idle) = (activity, Duration::ZERO);
            return Ok(());
        }
        self.idle += TICK;
        if self.idle < self.patience { Ok(()) } else { Err(MediaError::Stalled(self.patience.as_secs())) }
    }
}

/// What an error message means for the task.
pub(crate) fn failure(message: &gst::Message) -> MediaError {
    let gst::MessageView::Error(error) = message.view() else {
        return MediaError::Pipeline("it ended early".into());
    };
    let (kind, from) = (error.error(), error.src());
    let detail = error.debug().unwrap_or_default();
    tracing::warn!(error = %kind, %detail, source = ?from.map(|from| from.path_string()), "pipeline error");
    if kind.matches(gst::ResourceError::NoSpaceLeft) {
        return MediaError::DiskFull;
    }
    if kind.matches(gst::CoreError::MissingPlugin) || kind.matches(gst::StreamError::CodecNotFound) {
        return MediaError::MissingDecoder(kind.message().to_owned());
    }
    if from.is_some_and(is_part_of_source) {
        return MediaError::Damaged(kind.message().trim_end_matches('.').to_owned());
    }
    MediaError::Pipeline(kind.message().trim_end_matches('.').to_owned())
}

fn is_part_of_source(object: &gst::Object) -> bool {
    let mut current = Some(object.clone());
    while let Some(object) = current {
        if object.name() == SOURCE_NAME {
            return true;
        }
        current = object.parent();
    }
    false
}

/// When a buffer is shown, in nanoseconds from the start of its stream; `None` outside the stream's segment.
pub(crate) fn stream_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<u64> {
    let time = buffer.pts().or(buffer.dts())?;
    segment_of(pad)?.to_stream_time(time).map(gst::ClockTime::nseconds)
}

/// When a buffer is due, in nanoseconds from the start of the pipeline.
pub(crate) fn running_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<u64> {
    segment_of(pad)?.to_running_time(buffer.pts()?).map(gst::ClockTime::nseconds)
}

fn segment_of(pad: &gst::Pad) -> Option<gst::FormattedSegment<gst::ClockTime>> {
    pad.sticky_event::<gst::event::Segment>(0)?.segment().downcast_ref::<gst::ClockTime>().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_without_progress_is_given_up() {
        crate::init().unwrap();
        let pipeline = gst::parse::launch("appsrc ! fakesink").unwrap().downcast::<gst::Pipeline>().unwrap();
        let running = RunningPipeline::start(pipeline).unwrap();
        let mut watch = StallWatch::new(TICK * 3);
        let outcome = loop {
            assert!(running.next_message().is_none());
            if let Err(error) = watch.tick(7) {
                break error;
            }
        };
        assert!(matches!(outcome, MediaError::Stalled(_)));
    }

    #[test]
    fn a_pipeline_rests_when_its_source_has_ended_and_not_before() {
        crate::init().unwrap();
        let start = |description: &str| {
            let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
            RunningPipeline::start(pipeline).unwrap()
        };
        let endless = start("fakesrc ! fakesink");
        let short = start("fakesrc num-buffers=3 ! fakesink");
        let end = short.next_message().unwrap();
        assert_eq!(end.type_(), gst::MessageType::Eos);
        // The message is sent by the thread that then comes to rest.
        std::thread::sleep(TICK);
        assert!(short.rests() && !endless.rests());
    }

    #[test]
    fn progress_renews_the_patience() {
        let mut watch = StallWatch::new(TICK * 2);
        for activity in 1..10 {
            watch.tick(activity).unwrap();
            watch.tick(activity).unwrap();
        }
        assert!(watch.tick(9).is_err());
    }
}
