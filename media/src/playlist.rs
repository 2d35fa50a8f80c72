//! HLS playlists of a finished ladder (RFC 8216), for players that read the folder as it is.

use std::fmt::Write as _;

use edge_jobs::{Rendition, SegmentInfo, target_seconds};

/// File name of the playlist that lists the renditions, in the ladder's folder.
pub const MASTER_PLAYLIST: &str = "master.m3u8";
/// File name of the playlist that lists a rendition's segments, in the rendition's folder.
pub const MEDIA_PLAYLIST: &str = "index.m3u8";

/// The playlist of a ladder's renditions.
pub fn master_playlist(renditions: &[Rendition]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for rendition in renditions {
        let Rendition { name, width, height, bandwidth, average_bandwidth, codecs, frame_rate, .. } =
            rendition;
        let rate = f64::from(frame_rate.0) / f64::from(frame_rate.1.max(1));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth},CODECS=\"{codecs}\",\
             RESOLUTION={width}x{height},FRAME-RATE={rate:.3}\n{name}/{MEDIA_PLAYLIST}\n",
        );
    }
    text
}

/// The playlist of one rendition, complete.
pub fn media_playlist(segments: &[SegmentInfo]) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n",
        target_seconds(segments)
    );
    for segment in segments {
        let name = segment.file.rsplit('/').next().unwrap_or_default();
        let (seconds, ms) = (segment.duration_ms / 1000, segment.duration_ms % 1000);
        let _ = write!(text, "#EXTINF:{seconds}.{ms:03},\n{name}\n");
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

#[cfg(test)]
mod tests {
    use edge_jobs::ContentHash;

    use super::*;

    #[test]
    fn playlists_state_what_players_need() {
        let segment = |index: u32, duration_ms| SegmentInfo {
            index,
            file: format!("360p/{index:05}.ts"),
            duration_ms,
            bytes: 1,
            hash: ContentHash([0; 32]),
        };
        let rendition = Rendition {
            name: "360p".into(),
            width: 640,
            height: 360,
            bandwidth: 900_000,
            average_bandwidth: 700_000,
            codecs: "avc1.64001e,mp4a.40.2".into(),
            frame_rate: (30_000, 1_001),
            segments: vec![segment(0, 2002), segment(1, 33)],
        };
        assert_eq!(
            media_playlist(&rendition.segments),
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXTINF:2.002,\n00000.ts\n#EXTINF:0.033,\n\
             00001.ts\n#EXT-X-ENDLIST\n"
        );
        assert_eq!(
            master_playlist(&[rendition]),
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=700000,CODECS=\"avc1.64001e,mp4a.40.2\",\
             RESOLUTION=640x360,FRAME-RATE=29.970\n360p/index.m3u8\n"
        );
    }
}
