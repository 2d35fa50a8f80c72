//! Still pictures of a video.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
};

use edge_jobs::{ContentHash, Thumbnail, ThumbnailOrder, thumbnail_file};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;

use crate::{MediaError, PictureSize, Rung, fitting_rungs, ladder::SCALER, pipeline::running_time};

/// The most still pictures of one video.
const MAX_THUMBNAILS: u64 = 10_000;

/// The order's size and distance for a source of `width` by `height` and `duration_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThumbnailPlan {
    size: Rung,
    every_ms: u64,
    /// The first one that is made: the one at so many times their distance.
    first: u64,
}

impl ThumbnailPlan {
    pub(crate) fn new(
        order: &ThumbnailOrder,
        width: u32,
        height: u32,
        duration_ms: u64,
        first: u64,
    ) -> Result<Self, MediaError> {
        if order.every_ms == 0 || duration_ms / order.every_ms > MAX_THUMBNAILS {
            return Err(MediaError::TooMuch(format!(
                "A still picture for every {} ms of this video is not made; at most {MAX_THUMBNAILS} are.",
                order.every_ms
            )));
        }
        let short_side = order.short_side.min(width).min(height);
        let ladder = edge_jobs::Ladder { short_sides: vec![short_side], source_size: false };
        let size = fitting_rungs(&ladder, width, height)?.remove(0);
        Ok(Self { size, every_ms: order.every_ms, first })
    }

    /// Leaves out those up to `at_ms`.
    pub(crate) fn go_on_after(&mut self, at_ms: u64) {
        self.first = at_ms / self.every_ms + 1;
    }

    /// The size of each picture.
    pub(crate) fn size(&self) -> PictureSize {
        PictureSize { width: self.size.width, height: self.size.height }
    }
}

/// Adds a branch to `pipeline` that writes a picture below `output` for each step of the plan and tells `made` about it.
/// Times count from the first picture, which comes at `start_ns`. Returns the pad that takes the decoded pictures.
pub(crate) fn add_thumbnails(
    pipeline: &gst::Pipeline,
    plan: &ThumbnailPlan,
    start_ns: u64,
    output: &Path,
    made: Sender<Result<Thumbnail, MediaError>>,
) -> Result<gst::Pad, MediaError> {
    if let Some(folder) = output.join(thumbnail_file(0)).parent() {
        fs::create_dir_all(folder).map_err(|error| MediaError::file(folder, error))?;
    }

    let Rung { width, height, .. } = plan.size;
    let description = format!(
        "queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! {SCALER} ! \
         video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! jpegenc quality=85"
    );
    let scaler = gst::parse::bin_from_description(&description, true)?;
    let every_ms = plan.every_ms;
    let writer = Writer { output: output.to_owned(), every_ms };
    let sink = app::AppSink::builder()
        .sync(false)
        .async_(false)
        .callbacks(
            app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    if let (Some(buffer), Some(time)) = (sample.buffer(), due_time(&sample)) {
                        let _ = made.send(writer.write(buffer, time.saturating_sub(start_ns) / 1_000_000));
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        )
        .build();
    pipeline.add_many([scaler.upcast_ref::<gst::Element>(), sink.upcast_ref()])?;
    scaler.link(&sink)?;

    let input =
        scaler.static_pad("sink").ok_or_else(|| MediaError::Pipeline("the scaler has no input".into()))?;
    // Only the pictures of the plan go further; the others cost nothing.
    let mut next_ms = plan.first.saturating_mul(every_ms);
    let state = std::sync::Mutex::new(move |now_ms: u64| {
        let due = now_ms >= next_ms;
        if due {
            next_ms = (now_ms / every_ms + 1) * every_ms;
        }
        due
    });
    input.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let now = info.buffer().and_then(|buffer| running_time(pad, buffer));
        let mut is_due = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match now {
            Some(now) if is_due(now.saturating_sub(start_ns) / 1_000_000) => gst::PadProbeReturn::Ok,
            _ => gst::PadProbeReturn::Handled,
        }
    });
    Ok(input)
}

struct Writer {
    output: PathBuf,
    every_ms: u64,
}

impl Writer {
    /// Files are numbered by their time, so that those of a ladder's tail follow those of its beginning.
    fn write(&self, buffer: &gst::BufferRef, now_ms: u64) -> Result<Thumbnail, MediaError> {
        let bytes = buffer.map_readable()?;
        let number = now_ms / self.every_ms;
        let file = thumbnail_file(number);
        let path = self.output.join(&file);
        fs::write(&path, bytes.as_slice()).map_err(|error| MediaError::file(&path, error))?;
        Ok(Thumbnail {
            at_ms: number * self.every_ms,
            file,
            bytes: bytes.len() as u64,
            hash: ContentHash::of(&bytes),
        })
    }
}

fn due_time(sample: &gst::Sample) -> Option<u64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(sample.buffer()?.pts()?).map(gst::ClockTime::nseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(every_ms: u64, short_side: u32) -> ThumbnailOrder {
        ThumbnailOrder { every_ms, short_side }
    }

    #[test]
    fn pictures_are_never_larger_than_the_source() {
        let plan = ThumbnailPlan::new(&order(1000, 360), 320, 240, 5000, 0).unwrap();
        assert_eq!((plan.size.width, plan.size.height), (320, 240));
        let plan = ThumbnailPlan::new(&order(1000, 90), 1920, 1080, 5000, 0).unwrap();
        assert_eq!((plan.size.width, plan.size.height), (160, 90));
    }

    #[test]
    fn a_flood_of_pictures_is_refused() {
        assert!(ThumbnailPlan::new(&order(0, 90), 320, 240, 5000, 0).is_err());
        assert!(ThumbnailPlan::new(&order(1, 90), 320, 240, 3_600_000, 0).is_err());
    }
}
