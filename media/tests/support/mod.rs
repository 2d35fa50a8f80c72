//! Videos made for a test, and ladders made of them.
#![allow(dead_code)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use edge_jobs::{
    CheckTask, Ladder as LadderOrder, RenditionCheck, ThumbnailOrder, TranscodeTask, VideoEncoder,
};
use edge_media::{Ladder, MediaError, Stop, Update, check, init, transcode};
use tempfile::TempDir;

/// A moving test picture and a tone, `seconds` long; the rest of ffmpeg's command follows.
pub fn video(folder: &Path, name: &str, seconds: f32, size: &str, rate: &str, rest: &[&str]) -> PathBuf {
    let picture = format!("testsrc2=s={size}:r={rate}:d={seconds}");
    let tone = format!("sine=440:r=48000:d={seconds}");
    let mut arguments = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    arguments.extend(rest);
    ffmpeg(folder, name, &arguments)
}

/// Runs ffmpeg; its output is `name` in `folder`.
pub fn ffmpeg(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(&file)
        .output()
        .expect("ffmpeg is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    file
}

/// What ffprobe prints for `entries` (its `-show_entries`), line by line.
pub fn probe(file: &Path, arguments: &[&str]) -> Vec<String> {
    let done = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(arguments)
        .arg(file)
        .output()
        .expect("ffprobe is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

pub const H264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"];

/// A small ladder, so that encoding takes no time: the short side 120, and the source's size.
pub fn small_ladder() -> LadderOrder {
    LadderOrder { short_sides: vec![120], source_size: true }
}

pub struct Made {
    pub folder: TempDir,
    pub source: PathBuf,
    pub order: LadderOrder,
    pub thumbnail_order: Option<ThumbnailOrder>,
    pub ladder: Ladder,
    pub updates: Vec<Update>,
}

pub fn task(source: &Path, output: &Path) -> TranscodeTask {
    TranscodeTask {
        source: source.to_owned(),
        output: output.to_owned(),
        ladder: small_ladder(),
        thumbnails: None,
        encoder: VideoEncoder::X264,
        threads: None,
        from_segment: 0,
        from_thumbnail: 0,
    }
}

/// Makes a ladder of `source`; `change` may alter the small ladder's task.
pub fn make(source: &Path, change: impl FnOnce(&mut TranscodeTask)) -> Result<Made, MediaError> {
    init().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut task = task(source, folder.path());
    change(&mut task);
    let mut updates = Vec::new();
    let ladder = transcode(&task, Duration::from_secs(30), &Stop::new(), &mut |update| updates.push(update))?;
    let TranscodeTask { source, ladder: order, thumbnails: thumbnail_order, .. } = task;
    Ok(Made { folder, source, order, thumbnail_order, ladder, updates })
}

impl Made {
    pub fn check_task(&self, frames: u32) -> CheckTask {
        CheckTask {
            source: self.source.clone(),
            output: self.folder.path().to_owned(),
            renditions: self.ladder.renditions.clone(),
            ladder: self.order.clone(),
            frames_per_rendition: frames,
            seed: 7,
            unfinished: false,
            from_segment: 0,
            thumbnails: self.ladder.thumbnails.clone(),
            thumbnail_order: self.thumbnail_order.clone(),
        }
    }

    pub fn check(&self, frames: u32) -> Vec<RenditionCheck> {
        check(&self.check_task(frames), &Stop::new()).unwrap()
    }

    /// Sizes, smallest first.
    pub fn sizes(&self) -> Vec<(u32, u32)> {
        self.ladder.renditions.iter().map(|rendition| (rendition.width, rendition.height)).collect()
    }

    pub fn segment(&self, rendition: usize, index: usize) -> PathBuf {
        self.folder.path().join(&self.ladder.renditions[rendition].segments[index].file)
    }

    /// What ffprobe says about a segment: pictures, whether the first is a key frame, the first one's time.
    pub fn probed(&self, rendition: usize, index: usize) -> (usize, bool, f64) {
        let file = self.segment(rendition, index);
        let lines = probe(&file, &["-select_streams", "v", "-show_entries", "packet=pts_time,flags"]);
        let first_is_key = lines[0].contains('K');
        let start = lines
            .iter()
            .map(|line| line.split(',').next().unwrap().parse::<f64>().unwrap())
            .fold(f64::INFINITY, f64::min);
        (lines.len(), first_is_key, start)
    }

    /// The ladder passes the check, its report and another reader agree, and every rung is aligned.
    pub fn assert_good(&self) {
        for verdict in self.check(5) {
            assert!(verdict.passed, "{verdict:#?}");
            assert!(!verdict.frames.is_empty());
        }
        let segments = self.ladder.renditions[0].segments.len();
        for index in 0..segments {
            let (pictures, is_key, start) = self.probed(0, index);
            assert!(is_key, "segment {index} starts with a key frame");
            for rendition in 1..self.ladder.renditions.len() {
                let (others, is_key, other_start) = self.probed(rendition, index);
                assert!(is_key && others == pictures && (other_start - start).abs() < 1e-4);
            }
        }
    }
}

pub fn bunny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bigbuckbunny.mp4")
}
