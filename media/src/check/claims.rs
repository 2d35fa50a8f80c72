//! What a ladder's maker claims, against the files it sent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use edge_jobs::{
    CheckTask, ContentHash, FrameDifference, Rendition, RenditionCheck, SegmentInfo, bandwidth, segment_file,
};

use crate::{
    FrameRate, MediaError, PictureSize, Rung, Source, Stop, TransportSegment, codecs::codecs,
    segment::shown_ms, transport_stream::TICKS_PER_SECOND,
};

/// Longest list of faults that is kept of a rendition; one is enough to refuse it.
const MAX_PROBLEMS: usize = 16;
/// Renditions that nobody ordered are named one by one up to this number.
const MAX_EXTRAS: usize = 16;
/// The ladder may be this much shorter or longer than the source, besides two frames.
pub(super) const DURATION_SLACK_MS: u64 = 250;
/// Sound may be missing at both ends for so long.
const SOUND_SLACK_MS: u64 = 1_000;

/// One rendition, and what was found about it so far.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) name: String,
    /// The size that its pictures must have.
    pub(super) size: PictureSize,
    pub(super) problems: Vec<String>,
    pub(super) frames: Vec<FrameDifference>,
    /// The segments that can be read, in order from the first.
    pub(super) segments: Vec<ReadSegment>,
    /// Still pictures that can be read. No claim has both.
    pub(super) stills: Vec<ReadStill>,
}

/// A segment that is what its maker says.
#[derive(Debug)]
pub(super) struct ReadSegment {
    pub(super) path: PathBuf,
    pub(super) pictures: usize,
    pub(super) start: u64,
}

/// A still picture that has the size, hash and format that it should have.
#[derive(Debug)]
pub(super) struct ReadStill {
    pub(super) path: PathBuf,
    pub(super) at_ms: u64,
}

impl Claim {
    pub(super) fn new(name: &str, size: PictureSize) -> Self {
        Self {
            name: name.to_owned(),
            size,
            problems: Vec::new(),
            frames: Vec::new(),
            segments: Vec::new(),
            stills: Vec::new(),
        }
    }

    fn failed(name: &str, problem: &str) -> Self {
        Self { problems: vec![problem.to_owned()], ..Self::new(name, PictureSize { width: 0, height: 0 }) }
    }

    pub(super) fn add_problem(&mut self, problem: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem.into());
        }
    }

    pub(super) fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.add_problem(problem());
        }
    }

    pub(super) fn into_verdict(self) -> RenditionCheck {
        RenditionCheck {
            rendition: self.name,
            passed: self.problems.is_empty(),
            problems: self.problems,
            frames: self.frames,
        }
    }
}

/// Reads every segment of every ordered rendition: one claim for each of `rungs`, then those that were not ordered.
pub(super) fn check_claims(
    task: &CheckTask,
    source: &Source,
    rungs: &[Rung],
    stop: &Stop,
) -> Result<Vec<Claim>, MediaError> {
    let mut claims = Vec::new();
    for rung in rungs {
        let mut stated = task.renditions.iter().filter(|rendition| rendition.name == rung.name);
        let Some(rendition) = stated.next() else {
            claims.push(Claim::failed(&rung.name, "it was ordered and is missing"));
            continue;
        };
        let size = PictureSize { width: rung.width, height: rung.height };
        let mut claim = Claim::new(&rung.name, size);
        claim.expect(stated.next().is_none(), || "it is there twice".into());
        read_rendition(&mut claim, task, rendition, rung, source, stop)?;
        claims.push(claim);
    }
    refuse_unaligned(&mut claims, task.unfinished);
    let extras =
        task.renditions.iter().filter(|rendition| rungs.iter().all(|rung| rung.name != rendition.name));
    claims.extend(extras.take(MAX_EXTRAS).map(|extra| Claim::failed(&extra.name, "it was not ordered")));
    Ok(claims)
}

fn read_rendition(
    claim: &mut Claim,
    task: &CheckTask,
    rendition: &Rendition,
    rung: &Rung,
    source: &Source,
    stop: &Stop,
) -> Result<(), MediaError> {
    let rate = source.ladder_rate;
    if !task.unfinished {
        claim.expect((rendition.width, rendition.height) == (rung.width, rung.height), || {
            let Rung { width, height, .. } = rung;
            format!("its size is given as {}x{}, not {width}x{height}", rendition.width, rendition.height)
        });
        claim.expect(rendition.frame_rate == (rate.frames, rate.per_seconds), || {
            let (frames, seconds) = rendition.frame_rate;
            format!("its frame rate is given as {frames}/{seconds}, not {}/{}", rate.frames, rate.per_seconds)
        });
    }
    let segment_ms = rate.segment_duration().as_millis() as u64;
    let most = source.media.duration_ms / segment_ms.max(1) + 2;
    if rendition.segments.is_empty() || rendition.segments.len() as u64 > most {
        claim.add_problem(format!("{} segments are no rendition of this video", rendition.segments.len()));
        return Ok(());
    }

    let mut run = Run::new(rate, claim.size);
    for (place, segment) in rendition.segments.iter().enumerate() {
        stop.check()?;
        match read_segment(&task.output, &claim.name, place as u32, segment) {
            Ok((path, contents)) => {
                let ends_ms = rate.segment_start_ns(segment.index.saturating_add(1)) / 1_000_000;
                let is_last = place + 1 == rendition.segments.len()
                    && (!task.unfinished || ends_ms + DURATION_SLACK_MS >= source.media.duration_ms);
                run.add(claim, segment, &contents, is_last);
                claim.segments.push(ReadSegment {
                    path,
                    pictures: contents.shown_at.len(),
                    start: contents.start(),
                });
            }
            Err(problem) => {
                claim.add_problem(format!("segment {place}: {problem}"));
                return Ok(());
            }
        }
    }
    if !task.unfinished {
        run.finish(claim, rendition, source);
    }
    Ok(())
}

/// Reads a segment.
fn read_segment(
    output: &Path,
    rendition: &str,
    place: u32,
    stated: &SegmentInfo,
) -> Result<(PathBuf, TransportSegment), String> {
    // The name is a stranger's text: it is compared, never followed.
    let file = segment_file(rendition, place);
    if stated.index != place || stated.file != file {
        return Err(format!("it is listed as number {} in another file", stated.index));
    }
    let path = output.join(file);
    let bytes = read_stated(&path, stated.bytes, stated.hash)?;
    let contents = TransportSegment::parse(&bytes).map_err(|error| error.to_string())?;
    Ok((path, contents))
}

/// Reads a file after its size, and believes it after its hash.
pub(super) fn read_stated(path: &Path, bytes: u64, hash: ContentHash) -> Result<Vec<u8>, String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| format!("it is not there ({error})"))?;
    if !metadata.is_file() || metadata.len() != bytes {
        return Err(format!("it has {} bytes instead of {bytes}", metadata.len()));
    }
    let contents = fs::read(path).map_err(|error| format!("it cannot be read ({error})"))?;
    if ContentHash::of(&contents) == hash { Ok(contents) } else { Err("its hash is wrong".into()) }
}

/// What must hold from segment to segment.
struct Run {
    rate: FrameRate,
    size: PictureSize,
    frame_ticks: f64,
    next_start: Option<f64>,
    parameters: Option<Vec<u8>>,
    codecs: Option<String>,
    sound_ms: f64,
    measured: Vec<SegmentInfo>,
}

impl Run {
    fn new(rate: FrameRate, size: PictureSize) -> Self {
        let frame_ticks = rate.frame_seconds() * TICKS_PER_SECOND as f64;
        Self {
            rate,
            size,
            frame_ticks,
            next_start: None,
            parameters: None,
            codecs: None,
            sound_ms: 0.0,
            measured: Vec::new(),
        }
    }

    fn add(&mut self, claim: &mut Claim, stated: &SegmentInfo, contents: &TransportSegment, is_last: bool) {
        let place = stated.index;
        claim.expect(contents.starts_with_key_picture, || {
            format!("segment {place} does not start with a key frame")
        });

        let (pictures, whole) = (contents.shown_at.len(), self.rate.frames_per_segment() as usize);
        let right_count = if is_last { pictures <= whole } else { pictures == whole };
        claim.expect(right_count, || format!("segment {place} has {pictures} pictures instead of {whole}"));
        let even = contents
            .shown_at
            .windows(2)
            .all(|pair| ((pair[1] - pair[0]) as f64 - self.frame_ticks).abs() < self.frame_ticks / 2.0);
        claim.expect(even, || format!("the pictures of segment {place} are not evenly timed"));
        let follows =
            self.next_start.is_none_or(|due| (contents.start() as f64 - due).abs() < self.frame_ticks / 2.0);
        claim.expect(follows, || format!("segment {place} does not start where the one before it ends"));
        self.next_start = Some(contents.last() as f64 + self.frame_ticks);

        let duration_ms = shown_ms(contents, self.rate);
        claim.expect(stated.duration_ms.abs_diff(duration_ms) <= 2, || {
            format!("segment {place} lasts {duration_ms} ms instead of {}", stated.duration_ms)
        });
        self.measured.push(SegmentInfo { duration_ms, ..stated.clone() });

        // Before a decoder sets memory aside for whatever the segment says.
        if let Some(PictureSize { width, height }) = contents.sizes.iter().find(|size| **size != self.size) {
            claim.add_problem(format!("the pictures of segment {place} are {width}x{height}"));
        }
        // One set of parameters for all: players need not take another, and nothing can change where no frame is looked at.
        for parameters in &contents.parameters {
            let known = self.parameters.get_or_insert_with(|| parameters.clone());
            claim.expect(known == parameters, || format!("segment {place} changes the encoding"));
        }
        if let Some(sound) = &contents.sound {
            self.sound_ms += sound.frames as f64 * 1024.0 * 1000.0 / f64::from(sound.sample_rate);
            claim.expect(sound.channels == 2, || format!("the sound of segment {place} is not stereo"));
        }
        match &self.codecs {
            Some(known) if known.contains(',') => {}
            _ => self.codecs = codecs(contents),
        }
    }

    fn finish(self, claim: &mut Claim, stated: &Rendition, source: &Source) {
        let duration_ms: u64 = self.measured.iter().map(|segment| segment.duration_ms).sum();
        let slack = DURATION_SLACK_MS + (2000.0 * self.rate.frame_seconds()) as u64;
        claim.expect(duration_ms.abs_diff(source.media.duration_ms) <= slack, || {
            format!("it lasts {duration_ms} ms, the source {} ms", source.media.duration_ms)
        });
        claim.expect(self.codecs.as_deref() == Some(stated.codecs.as_str()), || {
            format!("its codecs are given as {:?}, not {:?}", stated.codecs, self.codecs.unwrap_or_default())
        });
        let (peak, average) = bandwidth(&self.measured);
        let near = |stated: u64, found: u64| stated.abs_diff(found) <= found / 50;
        claim.expect(near(stated.bandwidth, peak) && near(stated.average_bandwidth, average), || {
            format!("it needs {peak} bit/s at its peak and {average} on average, which it does not say")
        });
        match &source.sound {
            Some(sound) => {
                let least = (sound.duration_ms * 9 / 10).saturating_sub(SOUND_SLACK_MS) as f64;
                claim.expect(self.sound_ms >= least, || {
                    format!("it has {:.0} ms of sound, the source {} ms", self.sound_ms, sound.duration_ms)
                });
            }
            None => claim.expect(self.sound_ms == 0.0, || "it has sound, the source has none".into()),
        }
    }
}

/// Players change the rendition between any two segments, so each must start at the same time in all. While a ladder is
/// made, some renditions are ahead.
fn refuse_unaligned(claims: &mut [Claim], unfinished: bool) {
    let Some(reference) = claims.iter().find(|claim| claim.problems.is_empty()) else { return };
    let starts: Vec<u64> = reference.segments.iter().map(|segment| segment.start).collect();
    for claim in claims {
        let mut both = claim.segments.iter().map(|segment| segment.start).zip(&starts);
        let aligned = (unfinished || claim.segments.len() == starts.len()) && both.all(|(a, b)| a == *b);
        claim.expect(aligned || !claim.problems.is_empty(), || {
            "its segments start at other times than those of the other renditions".into()
        });
    }
}
