//! Which parts of GStreamer this program uses.

use edge_jobs::VideoEncoder;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::MediaError;

/// Containers that a source may come in. None of them refers to other files or addresses.
const CONTAINERS: &[&str] = &[
    "qtdemux",
    "matroskademux",
    "tsdemux",
    "mpegpsdemux",
    "avidemux",
    "flvdemux",
    "oggdemux",
    "asfdemux",
    "mxfdemux",
    "ivfparse",
    "id3demux",
    "apedemux",
    "wavparse",
    "aiffparse",
];

/// Decoders of still pictures that also serve as video codecs.
const PICTURE_DECODERS: &[&str] = &["jpegdec", "pngdec", "avdec_mjpeg", "avdec_png"];

/// Starts GStreamer, and takes away from its automatic choice whatever could follow an address inside a stranger's
/// file (playlists, session descriptions) or has no business with video. Can be called again.
pub fn init() -> Result<(), MediaError> {
    gst::init()?;
    let factories = gst::Registry::get().features(gst::ElementFactory::static_type());
    for factory in factories.iter().filter_map(|feature| feature.downcast_ref::<gst::ElementFactory>()) {
        if factory.rank() > gst::Rank::NONE && !may_be_chosen(&factory.name(), factory.klass()) {
            factory.set_rank(gst::Rank::NONE);
        }
    }
    Ok(())
}

/// Whether decodebin may pick an element by itself. `class` is GStreamer's, e.g. `Codec/Demuxer/Adaptive`.
fn may_be_chosen(name: &str, class: &str) -> bool {
    if class.contains("Demuxer") || CONTAINERS.contains(&name) {
        CONTAINERS.contains(&name)
    } else if class.contains("Decoder") && class.contains("Image") {
        PICTURE_DECODERS.contains(&name)
    } else {
        !class.contains("Network")
    }
}

/// The encoders that work here. Each is brought to READY: a library or device that fails shows only then.
pub fn working_encoders() -> Vec<VideoEncoder> {
    [VideoEncoder::X264, VideoEncoder::Openh264]
        .into_iter()
        .filter(|encoder| encoder_works(*encoder))
        .collect()
}

pub(crate) fn encoder_works(encoder: VideoEncoder) -> bool {
    let Ok(element) = gst::ElementFactory::make(encoder_element(encoder)).build() else {
        return false;
    };
    let works = element.set_state(gst::State::Ready).is_ok();
    works & element.set_state(gst::State::Null).is_ok()
}

/// The name of an encoder's GStreamer element.
pub(crate) fn encoder_element(encoder: VideoEncoder) -> &'static str {
    match encoder {
        VideoEncoder::X264 => "x264enc",
        VideoEncoder::Openh264 => "openh264enc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_addresses_is_never_chosen() {
        init().unwrap();
        for name in ["hlsdemux", "hlsdemux2", "dashdemux", "dashdemux2", "mssdemux", "mssdemux2", "sdpdemux"]
        {
            if let Some(factory) = gst::ElementFactory::find(name) {
                assert_eq!(factory.rank(), gst::Rank::NONE, "{name}");
            }
        }
        for name in
            ["qtdemux", "matroskademux", "tsdemux", "avidemux", "h264parse", "avdec_h264", "avdec_aac"]
        {
            let factory = gst::ElementFactory::find(name).unwrap_or_else(|| panic!("{name} is installed"));
            assert!(factory.rank() > gst::Rank::NONE, "{name}");
        }
    }

    #[test]
    fn both_encoders_work_where_both_are_installed() {
        init().unwrap();
        assert_eq!(working_encoders(), [VideoEncoder::X264, VideoEncoder::Openh264]);
    }
}
