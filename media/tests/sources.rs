//! Every kind of source becomes a ladder that passes the check, and that other readers agree with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use edge_jobs::{ContentHash, Ladder, ThumbnailOrder, VideoEncoder};
use edge_media::{MASTER_PLAYLIST, Stop, Update, init, inspect};
use support::{H264, bunny, ffmpeg, make, probe, video};
use tempfile::tempdir;

fn channels_and_rate(file: &std::path::Path) -> Vec<String> {
    probe(file, &["-select_streams", "a", "-show_entries", "stream=channels,sample_rate"])
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[test]
fn a_film_becomes_the_usual_ladder_with_pictures_and_plays_in_ffmpeg() {
    let made = make(&bunny(), |task| {
        task.ladder = Ladder::default();
        task.thumbnails = Some(ThumbnailOrder { every_ms: 2000, short_side: 90 });
    })
    .unwrap();
    assert_eq!(made.sizes(), [(640, 360), (1280, 720)]);
    made.assert_good();

    for rendition in &made.ladder.renditions {
        assert_eq!(rendition.frame_rate, (25, 1));
        assert_eq!(rendition.segments.iter().map(|s| s.duration_ms).collect::<Vec<_>>(), [2000, 2000, 1280]);
        assert!(rendition.codecs.starts_with("avc1.6400") && rendition.codecs.ends_with(",mp4a.40.2"));
        assert!(rendition.bandwidth >= rendition.average_bandwidth && rendition.average_bandwidth > 100_000);
        for segment in &rendition.segments {
            let bytes = fs::read(made.folder.path().join(&segment.file)).unwrap();
            assert_eq!((bytes.len() as u64, ContentHash::of(&bytes)), (segment.bytes, segment.hash));
            assert_eq!(segment.file, format!("{}/{:05}.ts", rendition.name, segment.index));
        }
    }
    // Sound of 5.1 channels came in.
    assert_eq!(channels_and_rate(&made.segment(0, 1)), ["48000,2"]);

    let at: Vec<u64> = made.ladder.thumbnails.iter().map(|thumbnail| thumbnail.at_ms).collect();
    assert_eq!(at, [0, 2000, 4000]);
    for thumbnail in &made.ladder.thumbnails {
        let file = made.folder.path().join(&thumbnail.file);
        assert_eq!(ContentHash::of(&fs::read(&file).unwrap()), thumbnail.hash);
        assert_eq!(probe(&file, &["-show_entries", "stream=codec_name,width,height"]), ["mjpeg,160,90"]);
    }

    let told: Vec<&Update> =
        made.updates.iter().filter(|update| matches!(update, Update::Segment { .. })).collect();
    assert_eq!(told.len(), 6, "each segment is told once");
    let permilles: Vec<u16> = made
        .updates
        .iter()
        .filter_map(|update| if let Update::Progress(permille) = update { Some(*permille) } else { None })
        .collect();
    assert!(permilles.is_sorted() && permilles.first() == Some(&0) && permilles.last() == Some(&1000));

    let played = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(made.folder.path().join(MASTER_PLAYLIST))
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .unwrap();
    assert!(played.status.success());
    assert_eq!(String::from_utf8_lossy(&played.stderr), "", "ffmpeg plays all of it without a complaint");
}

#[test]
fn broadcast_rates_keep_whole_frames_between_key_frames() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 4.4, "320x240", "30000/1001", H264);
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    let rendition = &made.ladder.renditions[1];
    assert_eq!(rendition.frame_rate, (30_000, 1_001));
    assert_eq!(made.ladder.source.frame_rate, (30_000, 1_001));
    assert_eq!(made.probed(1, 0).0, 60);
    assert_eq!(made.probed(1, 1).0, 60);
    assert_eq!(rendition.segments[0].duration_ms, 2002);
}

#[test]
fn a_variable_rate_is_made_even() {
    let folder = tempdir().unwrap();
    let drop = ["-vf", "select='lt(mod(n\\,30)\\,20)+not(mod(n\\,7))'", "-vsync", "vfr", "-an"];
    let source = video(folder.path(), "a.mkv", 4.0, "320x240", "30", &[H264, &drop].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.ladder.source.frame_rate, (0, 1), "variable");
    assert_eq!(made.ladder.renditions[0].frame_rate, (30, 1));
    assert_eq!(made.probed(0, 0).0, 60);
}

#[test]
fn portrait_sources_go_by_the_short_side_and_silent_ones_stay_silent() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 4.0, "240x426", "25", &[H264, &["-an"]].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.sizes(), [(120, 214), (240, 426)]);
    assert!(!made.ladder.source.audio);
    assert!(!made.ladder.renditions[0].codecs.contains("mp4a"));
}

#[test]
fn odd_sizes_become_even_ones() {
    let folder = tempdir().unwrap();
    let source = ffmpeg(
        folder.path(),
        "a.mkv",
        &["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4,crop=319:239:0:0:exact=1", "-c:v", "ffv1"],
    );
    let made = make(&source, |_| {}).unwrap();
    assert_eq!((made.ladder.source.width, made.ladder.source.height), (319, 239));
    assert_eq!(made.sizes(), [(160, 120), (318, 238)]);
    made.assert_good();
}

#[test]
fn mono_becomes_stereo() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "25", &[H264, &["-ac", "1"]].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(channels_and_rate(&made.segment(0, 0)), ["48000,2"]);
}

#[test]
fn surround_sound_is_mixed_down_and_cd_rates_stay() {
    let folder = tempdir().unwrap();
    let surround = ["-af", "pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0,aresample=44100"];
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "25", &[H264, &surround].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(channels_and_rate(&made.segment(0, 0)), ["44100,2"]);
}

#[test]
fn hevc_with_ten_bits() {
    let folder = tempdir().unwrap();
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1"];
    let rest = [&hevc[..], &["-pix_fmt", "yuv420p10le", "-c:a", "aac"]].concat();
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "24", &rest);
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert!(made.ladder.source.video_codec.contains("H.265"), "{}", made.ladder.source.video_codec);
    assert_eq!(made.probed(0, 0).0, 48);
    let format = probe(&made.segment(1, 0), &["-select_streams", "v", "-show_entries", "stream=pix_fmt"]);
    assert!(format.iter().all(|format| format == "yuv420p"), "{format:?}");
}

#[test]
fn hevc_and_h264_with_more_colour_than_players_take() {
    let folder = tempdir().unwrap();
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1", "-an"];
    make(&video(folder.path(), "a.mkv", 4.0, "320x240", "25", &hevc), |_| {}).unwrap().assert_good();
    let deep = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p10le", "-an"];
    make(&video(folder.path(), "b.mkv", 4.0, "320x240", "25", &deep), |_| {}).unwrap().assert_good();
}

#[test]
fn vp9_and_opus_in_webm() {
    let folder = tempdir().unwrap();
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"];
    let source = video(folder.path(), "a.webm", 4.0, "320x240", "25", &vp9);
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.ladder.source.video_codec, "VP9");
    assert!(made.ladder.renditions[0].codecs.ends_with("mp4a.40.2"));
}

#[test]
fn a_rotated_source_is_turned_upright() {
    let folder = tempdir().unwrap();
    let flat = video(folder.path(), "flat.mp4", 4.0, "426x240", "25", H264);
    let source = ffmpeg(
        folder.path(),
        "a.mp4",
        &["-i", flat.to_str().unwrap(), "-c", "copy", "-metadata:s:v", "rotate=90"],
    );
    let made = make(&source, |_| {}).unwrap();
    assert_eq!((made.ladder.source.width, made.ladder.source.height), (240, 426));
    assert_eq!(made.sizes(), [(120, 214), (240, 426)]);
    made.assert_good();
    // ffmpeg turns the source by itself: its first picture must be ours.
    let [ours, theirs] = [made.segment(1, 0), source].map(|file| {
        let picture = ffmpeg(
            folder.path(),
            &format!("{}.gray", file.extension().unwrap().to_str().unwrap()),
            &["-i", file.to_str().unwrap(), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray"],
        );
        fs::read(picture).unwrap()
    });
    assert_eq!(ours.len(), theirs.len());
    let difference: u64 = ours.iter().zip(&theirs).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(difference / (ours.len() as u64) < 8, "a mean difference of {}", difference / ours.len() as u64);
}

#[test]
fn pixels_become_square() {
    let folder = tempdir().unwrap();
    let source =
        video(folder.path(), "a.mp4", 4.0, "320x240", "25", &[H264, &["-vf", "setsar=4/3"]].concat());
    let made = make(&source, |_| {}).unwrap();
    assert_eq!(made.sizes(), [(214, 120), (426, 240)]);
    made.assert_good();
    let shapes =
        probe(&made.segment(1, 0), &["-select_streams", "v", "-show_entries", "stream=sample_aspect_ratio"]);
    assert!(shapes.iter().all(|shape| shape == "1:1"), "{shapes:?}");
}

#[test]
fn interlaced_television_in_a_transport_stream() {
    let folder = tempdir().unwrap();
    let fields =
        ["-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "4", "-c:a", "mp2"];
    let source = video(folder.path(), "a.ts", 4.0, "352x288", "50", &fields);
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.ladder.renditions[0].frame_rate, (25, 1), "one picture for two fields");
}

#[test]
fn sound_that_outlasts_the_picture_is_cut_and_sound_before_it_stays() {
    let folder = tempdir().unwrap();
    // Not five times as long: then GStreamer takes the picture for a preview, and leaves it out.
    let long = ["-f", "lavfi", "-i", "sine=330:d=18", "-map", "0:v", "-map", "2:a"];
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "25", &[&long, H264].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.ladder.source.duration_ms, 4000);
    let sound = probe(&made.segment(0, 1), &["-select_streams", "a", "-show_entries", "packet=pts_time"]);
    assert!(sound.len() < 2 * 50, "{} frames of sound in two seconds", sound.len());

    let late = [
        "-f",
        "lavfi",
        "-i",
        "sine=440:d=5",
        "-itsoffset",
        "1",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=320x240:r=25:d=4",
    ];
    let source = ffmpeg(folder.path(), "b.mkv", &[&late, H264].concat());
    let made = make(&source, |_| {}).unwrap();
    made.assert_good();
    assert_eq!(made.ladder.source.duration_ms, 4000);
}

#[test]
fn openh264_makes_the_same_ladder() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "25", H264);
    let made = make(&source, |task| task.encoder = VideoEncoder::Openh264).unwrap();
    made.assert_good();
    assert_eq!(made.sizes(), [(160, 120), (320, 240)]);
    assert!(made.ladder.renditions[0].codecs.starts_with("avc1.4d"), "{}", made.ladder.renditions[0].codecs);
}

#[test]
fn one_thread_makes_the_same_ladder_into_a_folder_of_any_name() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "100% video %05d.mp4", 4.0, "320x240", "25", H264);
    let output = folder.path().join("100% ready %s \u{e9}");
    fs::create_dir(&output).unwrap();
    let made = make(&source, |task| {
        task.threads = Some(1);
        task.output = output.clone();
        task.ladder = Ladder { short_sides: vec![120, 180], source_size: true };
    })
    .unwrap();
    assert_eq!(made.sizes(), [(160, 120), (240, 180), (320, 240)]);
    assert!(output.join("120p/00001.ts").is_file() && output.join(MASTER_PLAYLIST).is_file());
    let mut task = made.check_task(4);
    task.output = output;
    assert!(edge_media::check(&task, &Stop::new()).unwrap().iter().all(|verdict| verdict.passed));
}

#[test]
fn a_look_at_a_file_says_what_it_holds() {
    init().unwrap();
    let source = inspect(&bunny(), &Stop::new()).unwrap();
    let media = source.media;
    assert_eq!((media.width, media.height, media.frame_rate, media.audio), (1280, 720, (25, 1), true));
    assert_eq!(media.duration_ms, 5280);
    assert!(media.video_codec.starts_with("H.264"), "{}", media.video_codec);
    assert_eq!(source.sound.unwrap().channels, 6);
}
