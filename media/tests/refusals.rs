//! What cannot become a ladder says so quickly, in words that help, and with a code that a program can act on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use edge_jobs::{JobError, JobErrorCode, Ladder};
use edge_media::{MediaError, Stop, Update, init, inspect, transcode};
use support::{H264, bunny, ffmpeg, make, task, video};
use tempfile::tempdir;

/// The error of a file, which must come soon.
fn refusal(file: &Path) -> JobError {
    init().unwrap();
    let started = Instant::now();
    let error = inspect(file, &Stop::new()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    error.into()
}

fn assert_refused(file: &Path, code: JobErrorCode, words: &str) {
    let error = refusal(file);
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn cut_off_uploads_are_recognised() {
    let folder = tempdir().unwrap();
    let cut = |name: &str, whole: &Path| {
        let bytes = fs::read(whole).unwrap();
        let file = folder.path().join(name);
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        file
    };
    let index_last = video(folder.path(), "a.mp4", 4.0, "320x240", "25", H264);
    assert_refused(&cut("cut-a.mp4", &index_last), JobErrorCode::BadInput, "cut off");

    let index_first = [H264, &["-movflags", "+faststart"]].concat();
    let index_first = video(folder.path(), "b.mp4", 4.0, "320x240", "25", &index_first);
    assert_refused(&cut("cut-b.mp4", &index_first), JobErrorCode::BadInput, "should last 4000 ms");

    let matroska = video(folder.path(), "c.mkv", 4.0, "320x240", "25", H264);
    assert_refused(&cut("cut-c.mkv", &matroska), JobErrorCode::BadInput, "cut off");

    // Long enough that only head and tail are looked at.
    let name = folder.path().join("d.mp4");
    let loops =
        ["-stream_loop", "8", "-i", index_first.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart"];
    let long = ffmpeg(folder.path(), "d.mp4", &loops);
    assert_eq!(long, name);
    assert!(inspect(&long, &Stop::new()).is_ok());
    assert_refused(&cut("cut-d.mp4", &long), JobErrorCode::BadInput, "cut off");
}

#[test]
fn what_is_no_video_is_told_apart() {
    let folder = tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    assert_refused(
        &write("text.mp4", b"Dear all, please find the video attached."),
        JobErrorCode::BadInput,
        "unknown",
    );
    let noise: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_refused(&write("noise.mp4", &noise), JobErrorCode::BadInput, "video file");
    assert_refused(&write("empty.mp4", b""), JobErrorCode::BadInput, "empty");
    assert_refused(folder.path(), JobErrorCode::BadInput, "regular file");
    assert_eq!(refusal(&folder.path().join("missing.mp4")).code, JobErrorCode::Internal);

    let sound = ffmpeg(folder.path(), "a.m4a", &["-f", "lavfi", "-i", "sine=440:d=4", "-c:a", "aac"]);
    assert_refused(&sound, JobErrorCode::BadInput, "no picture");
    let picture =
        ffmpeg(folder.path(), "a.png", &["-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", "1"]);
    assert_refused(&picture, JobErrorCode::BadInput, "still picture");
}

#[test]
fn a_codec_without_a_decoder_may_be_decoded_elsewhere() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.avi", 2.0, "320x240", "25", &["-c:v", "utvideo", "-an"]);
    assert_refused(&source, JobErrorCode::Unsupported, "no decoder");
}

#[test]
fn a_playlist_in_disguise_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempdir().unwrap();
    let playlists = [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://{address}/a.ts\n#EXT-X-ENDLIST\n"),
        format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT4S\"><BaseURL>http://{address}/</BaseURL><Period><AdaptationSet \
             mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\"><BaseURL>a.mp4</BaseURL>\
             </Representation></AdaptationSet></Period></MPD>"
        ),
        format!(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            address.port()
        ),
        format!("[Reference]\nRef1=http://{address}/a.asf\n"),
    ];
    for (index, playlist) in playlists.iter().enumerate() {
        let file = folder.path().join(format!("{index}.mp4"));
        fs::write(&file, playlist).unwrap();
        assert_eq!(refusal(&file).code, JobErrorCode::BadInput);
    }
    assert!(listener.accept().is_err(), "nobody may call");
}

#[test]
fn orders_that_nothing_fits_are_refused() {
    let error = make(&bunny(), |task| task.ladder = Ladder { short_sides: vec![1080], source_size: false });
    assert_eq!(error.err().unwrap().code(), JobErrorCode::BadInput);
}

#[test]
fn a_full_disk_is_named() {
    let folder = tempdir().unwrap();
    let source = video(folder.path(), "a.mp4", 4.0, "320x240", "25", H264);
    let output = tempdir().unwrap();
    fs::create_dir(output.path().join("240p")).unwrap();
    std::os::unix::fs::symlink("/dev/full", output.path().join("240p/00000.ts")).unwrap();
    let error = make(&source, |task| task.output = output.path().to_owned()).err().unwrap();
    assert!(matches!(error, MediaError::DiskFull), "{error}");
    assert_eq!(error.code(), JobErrorCode::DiskFull);
}

#[test]
fn a_stop_ends_the_work_within_a_second_at_any_time() {
    init().unwrap();
    let folder = tempdir().unwrap();
    let short = video(folder.path(), "a.mp4", 4.0, "640x360", "30", H264);
    let loops = ["-stream_loop", "20", "-i", short.to_str().unwrap(), "-c", "copy"];
    let source = ffmpeg(folder.path(), "long.mp4", &loops);
    for delay_ms in [0, 60, 900] {
        let output = tempdir().unwrap();
        let stop = Stop::new();
        let switch = stop.clone();
        let thrower = thread::spawn(move || {
            thread::sleep(Duration::from_millis(delay_ms));
            switch.throw();
            Instant::now()
        });
        let mut last_update = Update::Progress(0);
        let error = transcode(&task(&source, output.path()), Duration::from_secs(30), &stop, &mut |update| {
            last_update = update;
        })
        .unwrap_err();
        let ended = Instant::now();
        assert!(matches!(error, MediaError::Cancelled), "{error}");
        let thrown = thrower.join().unwrap();
        assert!(ended.duration_since(thrown) < Duration::from_secs(1), "{:?}", ended.duration_since(thrown));
        assert_ne!(last_update, Update::Progress(1000));
    }
}
