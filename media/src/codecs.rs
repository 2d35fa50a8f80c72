//! Names of codecs.
//!
//! Players want them as in RFC 6381. They are read from the streams themselves: a name made from the encoder's settings
//! would be a guess, and players refuse what does not match.

use gstreamer as gst;
use gstreamer_pbutils as pbutils;

use crate::{TransportSegment, transport_stream::Sound};

/// The codecs of a segment, e.g. `avc1.64001f,mp4a.40.2`; `None` if its video lacks parameters.
pub(crate) fn codecs(segment: &TransportSegment) -> Option<String> {
    let video = avc1(segment.parameters.first()?)?;
    Some(match &segment.sound {
        Some(sound) => format!("{video},{}", mp4a(sound)),
        None => video,
    })
}

/// Profile, constraints and level: the three bytes after the header of a sequence parameter set.
fn avc1(parameters: &[u8]) -> Option<String> {
    let [profile, constraints, level] = parameters.get(1..4)?.try_into().ok()?;
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// MPEG-4 audio (object type indication 0x40) and its audio object type.
fn mp4a(sound: &Sound) -> String {
    format!("mp4a.40.{}", sound.object_type)
}

/// A codec in words, e.g. `H.264 (High Profile)`.
pub(crate) fn codec_name(caps: &gst::CapsRef) -> String {
    // Caps that leave something open have no description, and asking for one is an error.
    if caps.is_fixed() {
        return pbutils::pb_utils_get_codec_description(caps).to_string();
    }
    caps.structure(0).map_or_else(|| "an unknown codec".into(), |structure| structure.name().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_caps_have_a_name_too() {
        crate::init().unwrap();
        let caps = |text: &str| text.parse::<gst::Caps>().unwrap();
        assert_eq!(codec_name(&caps("video/x-vp9")), "VP9");
        assert_eq!(codec_name(&caps("video/x-h264, level=(string){ 1, 2 }")), "video/x-h264");
        assert_eq!(codec_name(&gst::Caps::new_any()), "an unknown codec");
    }

    #[test]
    fn names_come_from_the_streams() {
        let mut segment =
            TransportSegment { parameters: vec![vec![0x67, 0x64, 0x00, 0x1f, 0xac]], ..Default::default() };
        assert_eq!(codecs(&segment).unwrap(), "avc1.64001f");
        segment.sound = Some(Sound { object_type: 2, sample_rate: 48_000, channels: 2, frames: 1 });
        assert_eq!(codecs(&segment).unwrap(), "avc1.64001f,mp4a.40.2");
        segment.parameters = vec![vec![0x67]];
        assert_eq!(codecs(&segment), None);
    }
}
