//! Makes a ladder of a file in a folder and prints its renditions: `ladder SOURCE FOLDER [x264|openh264] [THREADS]`.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use edge_jobs::{Ladder, TranscodeTask, VideoEncoder};
use edge_media::{Stop, init, transcode};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source = PathBuf::from(arguments.next().context("which file?")?);
    let output = PathBuf::from(arguments.next().context("into which folder?")?);
    let encoder = match arguments.next().as_deref() {
        None | Some("x264") => VideoEncoder::X264,
        Some("openh264") => VideoEncoder::Openh264,
        Some(other) => anyhow::bail!("{other} is no encoder; say x264 or openh264"),
    };
    let threads = arguments.next().map(|threads| threads.parse()).transpose()?;
    std::fs::create_dir_all(&output)?;
    init()?;
    let task = TranscodeTask {
        source,
        output,
        ladder: Ladder::default(),
        thumbnails: None,
        encoder,
        threads,
        from_segment: 0,
        from_thumbnail: 0,
    };
    let ladder = transcode(&task, Duration::from_secs(30), &Stop::new(), &mut |_| {})?;
    for rendition in ladder.renditions {
        let bytes: u64 = rendition.segments.iter().map(|segment| segment.bytes).sum();
        println!("{} {} {} {bytes}", rendition.name, rendition.width, rendition.height);
    }
    Ok(())
}
