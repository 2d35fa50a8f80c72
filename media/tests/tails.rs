//! A ladder that another provider goes on with: its tail, made elsewhere, joins the beginning without a seam.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path, process::Command};

use edge_jobs::{CheckTask, Rendition, SegmentInfo, Thumbnail, ThumbnailOrder, VideoEncoder, bandwidth};
use edge_media::{MASTER_PLAYLIST, MEDIA_PLAYLIST, Stop, check, master_playlist, media_playlist};
use support::{H264, Made, ffmpeg, make, probe, video};
use tempfile::{TempDir, tempdir};

/// The first `segments` of each rendition of one ladder, and all of the other's, in one folder with playlists.
struct Joined {
    folder: TempDir,
    renditions: Vec<Rendition>,
    thumbnails: Vec<Thumbnail>,
}

impl Joined {
    fn of(first: &Made, segments: usize, second: &Made) -> Self {
        let folder = tempdir().unwrap();
        let mut renditions = second.ladder.renditions.clone();
        for (rendition, before) in renditions.iter_mut().zip(&first.ladder.renditions) {
            fs::create_dir(folder.path().join(&rendition.name)).unwrap();
            let copy = |made: &Made, segments: &[SegmentInfo]| {
                for segment in segments {
                    fs::copy(made.folder.path().join(&segment.file), folder.path().join(&segment.file))
                        .unwrap();
                }
            };
            copy(first, &before.segments[..segments]);
            copy(second, &rendition.segments);
            rendition.segments.splice(0..0, before.segments[..segments].iter().cloned());
            (rendition.bandwidth, rendition.average_bandwidth) = bandwidth(&rendition.segments);
            let playlist = media_playlist(&rendition.segments);
            fs::write(folder.path().join(&rendition.name).join(MEDIA_PLAYLIST), playlist).unwrap();
        }
        fs::write(folder.path().join(MASTER_PLAYLIST), master_playlist(&renditions)).unwrap();

        let after = &second.ladder.thumbnails;
        let before = first.ladder.thumbnails.iter().filter(|picture| picture.at_ms < after[0].at_ms);
        let mut thumbnails: Vec<Thumbnail> = Vec::new();
        if !after.is_empty() {
            fs::create_dir(folder.path().join("thumbnails")).unwrap();
            for (made, pictures) in [(first, before.cloned().collect()), (second, after.clone())] {
                for picture in &pictures {
                    fs::copy(made.folder.path().join(&picture.file), folder.path().join(&picture.file))
                        .unwrap();
                }
                thumbnails.extend(pictures);
            }
        }
        Self { folder, renditions, thumbnails }
    }

    fn check_task(&self, made: &Made) -> CheckTask {
        CheckTask {
            output: self.folder.path().to_owned(),
            renditions: self.renditions.clone(),
            thumbnails: self.thumbnails.clone(),
            ..made.check_task(6)
        }
    }
}

/// The times of a rendition's packets, in ticks, in the order of the file.
fn packet_ticks(folder: &Path, rendition: &str, kind: &str) -> Vec<i64> {
    let playlist = folder.join(rendition).join(MEDIA_PLAYLIST);
    let lines = probe(&playlist, &["-select_streams", kind, "-show_entries", "packet=pts"]);
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

/// The sound of a rendition as ffmpeg decodes it: samples of one channel.
fn samples(folder: &Path, rendition: &str, work: &Path) -> Vec<i16> {
    let playlist = folder.join(rendition).join(MEDIA_PLAYLIST);
    let input = ["-i", playlist.to_str().unwrap(), "-map", "0:a", "-ac", "1", "-f", "s16le"];
    let bytes = fs::read(ffmpeg(work, "samples", &input)).unwrap();
    bytes.as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect()
}

#[test]
fn a_tail_goes_on_where_the_beginning_ends_in_pictures_sound_and_time() {
    let cases = [("25", "48000", 25, 1), ("30000/1001", "44100", 30_000, 1_001)];
    for (rate, sound, frames, per_seconds) in cases {
        let folder = tempdir().unwrap();
        let rest = [H264, &["-ar", sound, "-bf", "2"]].concat();
        let source = video(folder.path(), "a.mp4", 9.0, "320x240", rate, &rest);
        let pictures = probe(
            &source,
            &["-select_streams", "v", "-count_packets", "-show_entries", "stream=nb_read_packets"],
        );
        let whole = make(&source, |_| {}).unwrap();
        let tail = make(&source, |task| task.from_segment = 3).unwrap();
        assert_eq!(whole.ladder.renditions[0].segments.len(), 5, "{rate}");
        for rendition in &tail.ladder.renditions {
            assert_eq!(rendition.segments.iter().map(|segment| segment.index).collect::<Vec<_>>(), [3, 4]);
            assert_eq!(rendition.frame_rate, (frames, per_seconds));
            let left = fs::read_dir(tail.folder.path().join(&rendition.name)).unwrap().count();
            assert_eq!(left, 2, "the segment that was encoded for a start is gone");
        }

        let joined = Joined::of(&whole, 3, &tail);
        for verdict in check(&joined.check_task(&whole), &Stop::new()).unwrap() {
            assert!(verdict.passed && verdict.frames.len() == 6, "{rate}: {verdict:#?}");
        }
        let played = Command::new("ffmpeg")
            .args(["-v", "warning", "-i"])
            .arg(joined.folder.path().join(MASTER_PLAYLIST))
            .args(["-map", "0", "-f", "null", "-"])
            .output()
            .unwrap();
        assert!(played.status.success());
        assert_eq!(
            String::from_utf8_lossy(&played.stderr),
            "",
            "{rate}: ffmpeg plays it without a complaint"
        );

        for rendition in &joined.renditions {
            let [ours, all] = [joined.folder.path(), whole.folder.path()];
            let playlist = ours.join(&rendition.name).join(MEDIA_PLAYLIST);
            let decoded = ["-select_streams", "v", "-count_frames", "-show_entries", "stream=nb_read_frames"];
            assert_eq!(
                probe(&playlist, &decoded)[0],
                pictures[0],
                "{rate}: as many pictures as the source has"
            );
            // A tick is 1/90000 s: rounding may differ by one.
            for kind in ["v", "a"] {
                let (ours, all) =
                    (packet_ticks(ours, &rendition.name, kind), packet_ticks(all, &rendition.name, kind));
                assert_eq!(ours.len(), all.len(), "{rate} {kind}");
                for (one, other) in ours.iter().zip(&all) {
                    assert!((one - other).abs() <= 1, "{rate} {kind}: {one} {other}");
                }
            }
            let [ours, all] = [ours, all].map(|ladder| samples(ladder, &rendition.name, folder.path()));
            assert_eq!(ours.len(), all.len());
            let loudest = all.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            let largest = ours.iter().zip(&all).map(|(one, other)| one.abs_diff(*other)).max().unwrap();
            assert!(largest < loudest / 20, "{rate}: a crack of {largest} in a sound of {loudest}");
        }
    }
}

#[test]
fn still_pictures_go_on_too_and_silent_sources_stay_silent() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 9.0, "320x240", "30000/1001", &[H264, &["-an"]].concat());
    let order = ThumbnailOrder { every_ms: 1500, short_side: 90 };
    let whole = make(&source, |task| task.thumbnails = Some(order.clone())).unwrap();
    let tail = make(&source, |task| {
        task.thumbnails = Some(order);
        (task.from_segment, task.from_thumbnail, task.threads) = (2, 2, Some(1));
    })
    .unwrap();
    assert_eq!(whole.ladder.thumbnails.len(), 6);
    // Those of the tail begin before its pictures do: each is named by its own number.
    let named = |pictures: &[Thumbnail]| -> Vec<(u64, String)> {
        pictures.iter().map(|picture| (picture.at_ms, picture.file.clone())).collect()
    };
    assert_eq!(named(&tail.ladder.thumbnails), named(&whole.ladder.thumbnails[2..]));
    let joined = Joined::of(&whole, 2, &tail);
    for verdict in check(&joined.check_task(&whole), &Stop::new()).unwrap() {
        assert!(verdict.passed, "{verdict:#?}");
    }
}

#[test]
fn another_encoding_does_not_join() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 6.0, "320x240", "25", H264);
    let whole = make(&source, |_| {}).unwrap();
    let tail = make(&source, |task| {
        (task.from_segment, task.encoder) = (1, VideoEncoder::Openh264);
    })
    .unwrap();
    let joined = Joined::of(&whole, 1, &tail);
    let task = CheckTask { unfinished: true, from_segment: 1, ..joined.check_task(&whole) };
    for verdict in check(&task, &Stop::new()).unwrap() {
        assert!(
            verdict.problems.iter().any(|problem| problem.contains("changes the encoding")),
            "{verdict:#?}"
        );
    }
}

#[test]
fn a_tail_of_sound_that_has_ended_names_it_all_the_same() {
    let folder = tempdir().unwrap();
    let short = ["-f", "lavfi", "-i", "sine=330:d=3", "-map", "0:v", "-map", "2:a"];
    let source = video(folder.path(), "a.mp4", 9.0, "320x240", "25", &[&short, H264].concat());
    let whole = make(&source, |_| {}).unwrap();
    let tail = make(&source, |task| task.from_segment = 4).unwrap();
    let joined = Joined::of(&whole, 4, &tail);
    assert_eq!(joined.renditions[0].codecs, whole.ladder.renditions[0].codecs);
    for verdict in check(&joined.check_task(&whole), &Stop::new()).unwrap() {
        assert!(verdict.passed, "{verdict:#?}");
    }
}
