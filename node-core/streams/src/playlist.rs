//! HLS playlists of a manifest (RFC 8216).

use std::fmt::Write;

use edge_jobs::Rendition;

use crate::Manifest;

/// The master playlist: one variant for each rendition, at `{name}/index.m3u8`.
pub fn master_playlist(manifest: &Manifest) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for rendition in &manifest.renditions {
        let Rendition { name, width, height, bandwidth, average_bandwidth, codecs, frame_rate, .. } =
            rendition;
        let (frames, seconds) = *frame_rate;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth},RESOLUTION={width}x{height},CODECS=\"{codecs}\""
        );
        if frames > 0 && seconds > 0 {
            let thousandths = u64::from(frames) * 1_000 / u64::from(seconds);
            let _ = write!(text, ",FRAME-RATE={}.{:03}", thousandths / 1_000, thousandths % 1_000);
        }
        let _ = write!(text, "\n{name}/index.m3u8\n");
    }
    text
}

/// The media playlist of a finished rendition: its segments at `{index}.ts`.
pub fn media_playlist(rendition: &Rendition) -> String {
    // RFC 8216 section 4.3.3.1: no duration, rounded to seconds, is above the target.
    let longest = rendition.segments.iter().map(|segment| segment.duration_ms).max().unwrap_or(0);
    let target = ((longest + 500) / 1_000).max(1);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    );
    for segment in &rendition.segments {
        let _ = write!(
            text,
            "#EXTINF:{}.{:03},\n{}.ts\n",
            segment.duration_ms / 1_000,
            segment.duration_ms % 1_000,
            segment.index
        );
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn the_master_playlist_names_each_variant() {
        let text = master_playlist(&manifest(1));
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=700000,RESOLUTION=640x360,CODECS=\"avc1.64001e,mp4a.40.2\",FRAME-RATE=25.000\n\
             360p/index.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=700000,RESOLUTION=1280x720,CODECS=\"avc1.64001e,mp4a.40.2\",FRAME-RATE=25.000\n\
             720p/index.m3u8\n"
        );
    }

    #[test]
    fn the_target_duration_covers_every_segment() {
        let mut rendition = manifest(3).renditions.remove(0);
        rendition.segments[1].duration_ms = 2_600;
        rendition.segments[2].duration_ms = 480;
        assert_eq!(
            media_playlist(&rendition),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXTINF:2.000,\n0.ts\n#EXTINF:2.600,\n1.ts\n#EXTINF:0.480,\n2.ts\n#EXT-X-ENDLIST\n"
        );
    }
}
