//! The decoding front of a pipeline: a file in, even, upright pictures in I420 out. Ladders and checks share it, so that
//! they see the same source.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{MediaError, pipeline::SOURCE_NAME};

/// Adds the reading and decoding of `file` to `pipeline`: its first video stream goes to `picture`, its first audio
/// stream to `sound` where that is wanted. `threads` limits the decoder.
pub(crate) fn add_source(
    pipeline: &gst::Pipeline,
    file: &Path,
    threads: Option<u32>,
    picture: gst::Pad,
    sound: Option<gst::Pad>,
) -> Result<(), MediaError> {
    let reader = gst::ElementFactory::make("filesrc").property("location", file).build()?;
    let decoder = gst::ElementFactory::make("decodebin").name(SOURCE_NAME).build()?;
    pipeline.add_many([&reader, &decoder])?;
    reader.link(&decoder)?;

    if let (Some(threads), Some(bin)) = (threads, decoder.downcast_ref::<gst::Bin>()) {
        bin.connect_deep_element_added(move |_, _, element| limit_threads(element, threads));
    }
    let wanted: Vec<gst::Pad> = [Some(picture.clone()), sound.clone()].into_iter().flatten().collect();
    decoder.connect_pad_added(move |decoder, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        let target = match name.as_str() {
            "video/x-raw" if !picture.is_linked() => &picture,
            "audio/x-raw" => match &sound {
                Some(sound) if !sound.is_linked() => sound,
                _ => return,
            },
            _ => return,
        };
        if let Err(error) = pad.link(target) {
            gst::element_error!(
                decoder,
                gst::StreamError::Format,
                ("the {name} stream cannot be used: {error}")
            );
        }
    });
    decoder.connect_no_more_pads(move |decoder| {
        // Otherwise the renditions would wait for a stream that never comes.
        if wanted.iter().any(|pad| !pad.is_linked()) {
            gst::element_error!(
                decoder,
                gst::StreamError::CodecNotFound,
                ("one of its streams has no decoder")
            );
        }
    });
    Ok(())
}

/// Elements that turn decoded pictures of any kind upright and into I420, as a part of a pipeline description.
pub(crate) fn upright_pictures(interlaced: bool) -> String {
    // One picture for two fields, so that the frame rate stays.
    let deinterlace = if interlaced { "! deinterlace fields=top " } else { "" };
    format!("videoconvert ! video/x-raw,format=I420 {deinterlace}! videoflip video-direction=auto")
}

fn limit_threads(element: &gst::Element, threads: u32) {
    // libav, libvpx and dav1d call the same thing by three names; libvpx takes no more than 16.
    let threads = threads.clamp(1, 16);
    for name in ["max-threads", "threads", "n-threads"] {
        if let Some(property) = element.find_property(name) {
            if property.value_type() == gst::glib::Type::I32 {
                element.set_property(name, threads as i32);
            } else if property.value_type() == gst::glib::Type::U32 {
                element.set_property(name, threads);
            }
        }
    }
}
