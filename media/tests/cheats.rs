//! Honest ladders pass the check; each way of cheating fails it, and only in the rendition that cheats.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path, sync::OnceLock};

use edge_jobs::{CheckTask, ContentHash, RenditionCheck, ThumbnailOrder};
use edge_media::{Stop, check};
use support::{H264, Made, bunny, ffmpeg, make, video};
use tempfile::{TempDir, tempdir};

/// A real film, small, with sound.
fn film() -> &'static (TempDir, std::path::PathBuf) {
    static FILM: OnceLock<(TempDir, std::path::PathBuf)> = OnceLock::new();
    FILM.get_or_init(|| {
        let folder = tempdir().unwrap();
        let bunny = bunny();
        let rest = [&["-i", bunny.to_str().unwrap(), "-vf", "scale=426:240", "-ac", "2"], H264].concat();
        let file = ffmpeg(folder.path(), "film.mp4", &rest);
        (folder, file)
    })
}

fn honest() -> &'static Made {
    static HONEST: OnceLock<Made> = OnceLock::new();
    HONEST.get_or_init(|| make(&film().1, |_| {}).unwrap())
}

/// The film altered by ffmpeg, its length kept.
fn altered(folder: &Path, filter: &str) -> std::path::PathBuf {
    let film = film().1.to_str().unwrap();
    ffmpeg(folder, "altered.mp4", &[&["-i", film, "-vf", filter, "-t", "5.28"], H264].concat())
}

/// The verdicts on a ladder of `other` that is said to be one of the film.
fn verdicts_on_ladder_of(other: &Path) -> Vec<RenditionCheck> {
    let forged = make(other, |_| {}).unwrap();
    check(&CheckTask { source: film().1.clone(), ..forged.check_task(6) }, &Stop::new()).unwrap()
}

fn assert_every_rendition_fails(verdicts: &[RenditionCheck], because: &str) {
    assert_eq!(verdicts.len(), 2);
    for verdict in verdicts {
        assert!(!verdict.passed, "{verdict:#?}");
        assert!(verdict.problems.iter().any(|problem| problem.contains(because)), "{verdict:#?}");
    }
}

/// A copy of the honest ladder for `change` to spoil, and the verdicts on it.
fn verdicts_on_spoiled(change: impl FnOnce(&mut CheckTask)) -> Vec<RenditionCheck> {
    let honest = honest();
    let folder = tempdir().unwrap();
    for rendition in &honest.ladder.renditions {
        fs::create_dir(folder.path().join(&rendition.name)).unwrap();
        for segment in &rendition.segments {
            fs::copy(honest.folder.path().join(&segment.file), folder.path().join(&segment.file)).unwrap();
        }
    }
    let mut task = CheckTask { output: folder.path().to_owned(), ..honest.check_task(2) };
    change(&mut task);
    check(&task, &Stop::new()).unwrap()
}

/// Only the first rendition, 120p, was spoiled.
fn assert_first_fails(verdicts: &[RenditionCheck], because: &str) {
    assert!(!verdicts[0].passed, "{verdicts:#?}");
    assert!(verdicts[0].problems.iter().any(|problem| problem.contains(because)), "{verdicts:#?}");
    assert!(verdicts[1].passed, "{verdicts:#?}");
}

#[test]
fn an_honest_ladder_passes_whatever_is_looked_at() {
    for seed in 0..3 {
        let task = CheckTask { seed, ..honest().check_task(8) };
        let verdicts = check(&task, &Stop::new()).unwrap();
        assert_eq!(
            verdicts.iter().map(|verdict| verdict.rendition.as_str()).collect::<Vec<_>>(),
            ["120p", "240p"]
        );
        for verdict in verdicts {
            assert!(verdict.passed, "{verdict:#?}");
            assert_eq!(verdict.frames.len(), 8);
            assert!(verdict.frames.iter().all(|frame| frame.psnr_db > 28.0), "{verdict:#?}");
            assert!(verdict.frames.is_sorted_by_key(|frame| frame.at_ms));
            assert!(verdict.frames.iter().any(|frame| frame.at_ms < 1000), "the start is seen");
            assert!(verdict.frames.iter().any(|frame| frame.at_ms > 4500), "the end is seen");
        }
    }
}

#[test]
fn a_picture_that_is_a_second_late_fails() {
    let folder = tempdir().unwrap();
    let late = altered(folder.path(), "tpad=start_duration=1:start_mode=clone");
    assert_every_rendition_fails(&verdicts_on_ladder_of(&late), "another moment");
}

#[test]
fn a_frozen_picture_fails_even_if_it_goes_on_later() {
    let folder = tempdir().unwrap();
    let frozen = altered(folder.path(), "split[a][b];[a][b]freezeframes=first=25:last=100:replace=25");
    assert_every_rendition_fails(&verdicts_on_ladder_of(&frozen), "another moment");
}

#[test]
fn black_pictures_fail() {
    let folder = tempdir().unwrap();
    let black = altered(folder.path(), "drawbox=t=fill:c=black");
    assert_every_rendition_fails(&verdicts_on_ladder_of(&black), "the picture at");
}

#[test]
fn another_video_fails() {
    let folder = tempdir().unwrap();
    let other = video(folder.path(), "other.mp4", 5.28, "426x240", "25", &[H264, &["-ac", "2"]].concat());
    assert_every_rendition_fails(&verdicts_on_ladder_of(&other), "the picture at");
}

#[test]
fn a_picture_upside_down_fails() {
    let folder = tempdir().unwrap();
    let turned = altered(folder.path(), "vflip");
    assert_every_rendition_fails(&verdicts_on_ladder_of(&turned), "the picture at");
}

#[test]
fn a_shorter_video_and_one_without_sound_fail() {
    let folder = tempdir().unwrap();
    let film = film().1.to_str().unwrap();
    let short = ffmpeg(folder.path(), "short.mp4", &["-i", film, "-t", "3.5", "-c", "copy"]);
    assert_every_rendition_fails(&verdicts_on_ladder_of(&short), "it lasts");
    let silent = ffmpeg(folder.path(), "silent.mp4", &["-i", film, "-an", "-c", "copy"]);
    assert_every_rendition_fails(&verdicts_on_ladder_of(&silent), "of sound");
}

#[test]
fn other_key_frames_and_other_rates_fail() {
    let folder = tempdir().unwrap();
    let fast = altered(folder.path(), "fps=30");
    assert_every_rendition_fails(&verdicts_on_ladder_of(&fast), "instead of 50");
}

#[test]
fn one_black_rendition_among_honest_ones_is_found() {
    let folder = tempdir().unwrap();
    let black = altered(folder.path(), "drawbox=t=fill:c=black");
    let black = make(&black, |_| {}).unwrap();
    let verdicts = verdicts_on_spoiled(|task| {
        task.renditions[0] = black.ladder.renditions[0].clone();
        for segment in &task.renditions[0].segments {
            fs::copy(black.folder.path().join(&segment.file), task.output.join(&segment.file)).unwrap();
        }
    });
    assert_first_fails(&verdicts, "the picture at");
}

#[test]
fn a_missing_rung_and_one_that_nobody_ordered_are_named() {
    let verdicts = verdicts_on_spoiled(|task| {
        task.renditions.remove(0);
    });
    assert_first_fails(&verdicts, "is missing");

    let verdicts = verdicts_on_spoiled(|task| {
        let mut extra = task.renditions[0].clone();
        extra.name = "9000p".into();
        task.renditions.push(extra);
    });
    assert!(verdicts[0].passed && verdicts[1].passed);
    assert_eq!((verdicts[2].rendition.as_str(), verdicts[2].passed), ("9000p", false));

    let verdicts = verdicts_on_spoiled(|task| task.renditions.insert(0, task.renditions[0].clone()));
    assert_first_fails(&verdicts, "twice");
}

#[test]
fn bytes_that_are_not_what_was_reported_fail() {
    let verdicts = verdicts_on_spoiled(|task| {
        let file = task.output.join("120p/00001.ts");
        let mut bytes = fs::read(&file).unwrap();
        bytes[5000] ^= 1;
        fs::write(file, bytes).unwrap();
    });
    assert_first_fails(&verdicts, "hash is wrong");

    let verdicts = verdicts_on_spoiled(|task| fs::remove_file(task.output.join("120p/00002.ts")).unwrap());
    assert_first_fails(&verdicts, "not there");

    let verdicts = verdicts_on_spoiled(|task| {
        let garbage = vec![0x47; 188 * 9];
        let segment = &mut task.renditions[0].segments[0];
        fs::write(task.output.join(&segment.file), &garbage).unwrap();
        (segment.bytes, segment.hash) = (garbage.len() as u64, ContentHash::of(&garbage));
    });
    assert_first_fails(&verdicts, "segment 0");
}

#[test]
fn segments_left_out_or_exchanged_fail() {
    let verdicts = verdicts_on_spoiled(|task| {
        task.renditions[0].segments.pop();
    });
    assert_first_fails(&verdicts, "it lasts");

    let verdicts = verdicts_on_spoiled(|task| {
        let [first, second] = ["120p/00000.ts", "120p/00001.ts"].map(|file| task.output.join(file));
        let (a, b) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
        fs::write(first, b).unwrap();
        fs::write(second, a).unwrap();
        let segments = &mut task.renditions[0].segments;
        let (a, b) = (segments[0].clone(), segments[1].clone());
        (segments[0].bytes, segments[0].hash) = (b.bytes, b.hash);
        (segments[1].bytes, segments[1].hash) = (a.bytes, a.hash);
    });
    assert_first_fails(&verdicts, "does not start where");
}

#[test]
fn a_report_that_leads_out_of_the_folder_is_not_followed() {
    let verdicts = verdicts_on_spoiled(|task| {
        let outside = task.output.parent().unwrap().join("outside.ts");
        fs::copy(task.output.join("120p/00000.ts"), &outside).unwrap();
        task.renditions[0].segments[0].file = "../outside.ts".into();
    });
    assert_first_fails(&verdicts, "another file");

    let verdicts = verdicts_on_spoiled(|task| {
        let file = task.output.join("120p/00000.ts");
        fs::rename(&file, task.output.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(task.output.join("elsewhere"), file).unwrap();
    });
    assert_first_fails(&verdicts, "segment 0");
}

#[test]
fn untrue_figures_in_the_report_fail() {
    type Spoil = fn(&mut edge_jobs::Rendition);
    let spoil: [(&str, Spoil); 6] = [
        ("its size", |rendition| rendition.width = 640),
        ("frame rate", |rendition| rendition.frame_rate = (50, 1)),
        ("codecs", |rendition| rendition.codecs = "avc1.42e01e,mp4a.40.2".into()),
        ("bit/s", |rendition| rendition.bandwidth /= 2),
        ("lasts", |rendition| rendition.segments[1].duration_ms = u64::MAX),
        ("segments are no rendition", |rendition| {
            rendition.segments = rendition.segments.iter().cycle().take(10_000).cloned().collect();
        }),
    ];
    for (because, change) in spoil {
        assert_first_fails(&verdicts_on_spoiled(|task| change(&mut task.renditions[0])), because);
    }
}

/// The ladder as it is after some seconds: the smaller rendition is ahead, and nothing is reported but segments.
fn begun(task: &mut CheckTask) {
    task.unfinished = true;
    for (rendition, segments) in task.renditions.iter_mut().zip([2, 1]) {
        rendition.segments.truncate(segments);
        (rendition.width, rendition.height, rendition.frame_rate) = (0, 0, (0, 1));
        (rendition.bandwidth, rendition.average_bandwidth) = (0, 0);
        rendition.codecs.clear();
    }
}

#[test]
fn a_ladder_that_is_still_being_made_passes_as_far_as_it_is() {
    for verdict in verdicts_on_spoiled(begun) {
        assert!(verdict.passed && verdict.frames.len() == 2, "{verdict:#?}");
    }
    let verdicts = verdicts_on_spoiled(|task| {
        begun(task);
        task.renditions[1].segments = honest().ladder.renditions[1].segments[..2].to_vec();
        task.from_segment = 1;
    });
    for verdict in verdicts {
        assert!(verdict.passed && verdict.frames.len() == 2, "{verdict:#?}");
        assert!(verdict.frames.iter().all(|frame| frame.at_ms >= 2000), "{verdict:#?}");
    }
    // All of it, but without its report.
    let verdicts = verdicts_on_spoiled(|task| {
        begun(task);
        for (rendition, whole) in task.renditions.iter_mut().zip(&honest().ladder.renditions) {
            rendition.segments = whole.segments.clone();
        }
    });
    assert!(verdicts.iter().all(|verdict| verdict.passed), "{verdicts:#?}");
}

#[test]
fn a_beginning_with_other_names_rungs_lengths_or_pictures_fails() {
    let verdicts = verdicts_on_spoiled(|task| {
        begun(task);
        fs::copy(task.output.join("120p/00000.ts"), task.output.join("120p/first.ts")).unwrap();
        task.renditions[0].segments[0].file = "120p/first.ts".into();
    });
    assert_first_fails(&verdicts, "another file");

    let verdicts = verdicts_on_spoiled(|task| {
        begun(task);
        task.renditions[0].name = "144p".into();
    });
    assert_first_fails(&verdicts, "is missing");
    assert_eq!((verdicts[2].rendition.as_str(), verdicts[2].passed), ("144p", false));

    // The film's short last segment is no second one.
    let verdicts = verdicts_on_spoiled(|task| {
        begun(task);
        fs::copy(task.output.join("120p/00002.ts"), task.output.join("120p/00001.ts")).unwrap();
        let last = honest().ladder.renditions[0].segments[2].clone();
        let second = &mut task.renditions[0].segments[1];
        (second.bytes, second.hash, second.duration_ms) = (last.bytes, last.hash, last.duration_ms);
    });
    assert_first_fails(&verdicts, "instead of 50");

    let folder = tempdir().unwrap();
    let black = make(&altered(folder.path(), "drawbox=t=fill:c=black"), |_| {}).unwrap();
    let verdicts = verdicts_on_spoiled(|task| {
        task.renditions[0] = black.ladder.renditions[0].clone();
        begun(task);
        for segment in &task.renditions[0].segments {
            fs::copy(black.folder.path().join(&segment.file), task.output.join(&segment.file)).unwrap();
        }
    });
    assert_first_fails(&verdicts, "the picture at");
}

#[test]
fn pictures_of_another_size_are_named_before_they_are_decoded() {
    let large = make(&film().1, |task| task.ladder.short_sides = vec![180]).unwrap();
    let verdicts = verdicts_on_spoiled(|task| {
        let segments = large.ladder.renditions[0].segments.clone();
        for segment in &segments {
            let name = segment.file.replace("180p", "120p");
            fs::copy(large.folder.path().join(&segment.file), task.output.join(name)).unwrap();
        }
        for (stated, real) in task.renditions[0].segments.iter_mut().zip(segments) {
            (stated.bytes, stated.hash) = (real.bytes, real.hash);
        }
    });
    assert_first_fails(&verdicts, "are 320x180");
    assert!(verdicts[0].frames.is_empty(), "{verdicts:#?}");
}

/// The film with still pictures, and the verdict on them after `change` spoiled something.
fn stills_after(change: impl FnOnce(&mut CheckTask)) -> RenditionCheck {
    let made = make(&film().1, |task| {
        task.ladder.short_sides.clear();
        task.thumbnails = Some(ThumbnailOrder { every_ms: 1000, short_side: 90 });
    })
    .unwrap();
    let mut task = made.check_task(1);
    change(&mut task);
    let verdicts = check(&task, &Stop::new()).unwrap();
    assert!(verdicts[0].passed, "{verdicts:#?}");
    assert_eq!(verdicts[1].rendition, "thumbnails");
    verdicts[1].clone()
}

/// Puts other bytes in the place of the third still picture, and says so.
fn replace_still(task: &mut CheckTask, bytes: &[u8]) {
    let still = &mut task.thumbnails[2];
    fs::write(task.output.join(&still.file), bytes).unwrap();
    (still.bytes, still.hash) = (bytes.len() as u64, ContentHash::of(bytes));
}

#[test]
fn every_still_picture_is_compared_with_the_source() {
    let verdict = stills_after(|_| {});
    assert!(verdict.passed && verdict.frames.len() == 6, "{verdict:#?}");
    assert!(verdict.frames.iter().all(|frame| frame.psnr_db > 25.0), "{verdict:#?}");

    let refused = |because: &str, change: fn(&mut CheckTask)| {
        let verdict = stills_after(change);
        assert!(!verdict.passed, "{verdict:#?}");
        assert!(verdict.problems.iter().any(|problem| problem.contains(because)), "{verdict:#?}");
    };
    refused("no JPEG", |task| replace_still(task, b"<script>alert(1)</script>"));
    refused("hash is wrong", |task| {
        let file = task.output.join(&task.thumbnails[2].file);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
    });
    refused("instead of", |task| task.thumbnails.truncate(3));
    refused("out of order", |task| {
        task.thumbnails.remove(2);
    });
    refused("not ordered", |task| task.thumbnail_order = None);
    refused("pixels", |task| task.thumbnail_order.as_mut().unwrap().short_side = 120);
    refused("the picture at 2000 ms", |task| {
        let other = ["-f", "lavfi", "-i", "testsrc2=s=160x90", "-frames:v", "1", "-pix_fmt", "yuvj420p"];
        let other = ffmpeg(&task.output, "other.jpg", &other);
        replace_still(task, &fs::read(other).unwrap());
    });
    refused("does not decode", |task| {
        let file = task.output.join(&task.thumbnails[2].file);
        let bytes = fs::read(file).unwrap();
        // Its header is right, and nothing follows.
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        replace_still(task, &bytes[..frame + 19]);
    });
}
