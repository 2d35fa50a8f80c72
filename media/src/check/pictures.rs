//! Random pictures of each rendition beside the source's pictures of the same moment.
//!
//! The source is read once, forwards. Around each moment it is compared in two sizes: the rendition's own, for the
//! ratio that is reported, and a small one, in which coding noise fades and the question is only whether this is the
//! right picture. There, two things betray a wrong one: too much of the source's picture is missing from it, as from a
//! black one or one of another video; or it is clearly nearer to what the source shows at another moment, as a shifted or a
//! frozen one is.

use std::{collections::VecDeque, time::Duration};

use edge_jobs::{CheckTask, FrameDifference};

use super::{
    claims::{Claim, ReadSegment},
    frames::{Frame, Frames},
    likeness::{Luma, Scaler, decibels},
    measured::Measured,
    sample::sample,
};
use crate::{MediaError, PictureSize, Rung, Source, Stop};

/// Short side of the small size.
const SMALL_SIDE: u32 = 180;

/// How long one picture may take to be decoded.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

const SECOND: u64 = 1_000_000_000;
/// Other moments are looked at up to so far away ...
const WINDOW: u64 = SECOND;
/// ... and from so far on.
const OTHER_FROM: u64 = SECOND / 4;
/// A longer way to the next moment is skipped if the file allows it.
const FAR: u64 = 10 * SECOND;

/// Compares `count` random pictures of each claim that has segments and no problem yet, and adds differences and problems
/// to it. What is already known to be wrong is not decoded: it may be made to take for ever.
pub(super) fn compare(
    task: &CheckTask,
    source: &Source,
    rungs: &[Rung],
    claims: &mut [Claim],
    count: u32,
    patience: Duration,
    stop: &Stop,
) -> Result<(), MediaError> {
    let pass = Pass { task, source, rungs, claims, count, patience, stop };
    let (mut found, skipped) = pass.run(true)?;
    if skipped && found.iter().any(|found| !found.problems.is_empty()) {
        // Files without an index are skipped through by guesswork. Nobody is accused before all of it is read.
        (found, _) = pass.run(false)?;
    }
    for (claim, found) in claims.iter_mut().zip(found) {
        claim.frames = found.frames;
        claim.frames.sort_by_key(|frame| frame.at_ms);
        found.problems.into_iter().for_each(|problem| claim.add_problem(problem));
    }
    Ok(())
}

/// What the pictures of one claim showed.
#[derive(Debug, Default)]
struct Found {
    frames: Vec<FrameDifference>,
    problems: Vec<String>,
    /// A segment held the decoder up: one is enough.
    stood_still: bool,
}

/// One way through the source.
struct Pass<'a> {
    task: &'a CheckTask,
    source: &'a Source,
    rungs: &'a [Rung],
    claims: &'a [Claim],
    count: u32,
    patience: Duration,
    stop: &'a Stop,
}

impl Pass<'_> {
    /// Compares everything; tells what was found for each claim, and whether parts of the source were skipped.
    fn run(&self, may_skip: bool) -> Result<(Vec<Found>, bool), MediaError> {
        let mut comparison = Comparison {
            claims: self.claims,
            found: self.claims.iter().map(|_| Found::default()).collect(),
            patience: self.patience,
            stop: self.stop,
            scaler: Scaler::default(),
            small: small_size(self.rungs),
            start_ns: self.source.picture_ns.start,
            tolerance: (self.source.ladder_rate.frame_seconds() * 1.6e9) as u64,
            waiting: self.picks(),
            active: Vec::new(),
            past: VecDeque::new(),
            previous: None,
        };
        let mut frames = Frames::of_source(&self.task.source, self.source, self.patience, self.stop)?;
        let (mut skipped, mut skipped_to) = (false, 0);
        while let Some(next) = comparison.next_moment() {
            let reached = comparison.previous.as_ref().map_or(0, |frame| frame.at_ns);
            let start = next.saturating_sub(WINDOW + SECOND / 2);
            // A skip lands on a key frame, maybe far before: once for each moment, or it would never arrive.
            let is_far = comparison.active.is_empty() && start > reached.max(skipped_to) + FAR;
            if may_skip && is_far && frames.skip_to(start) {
                (skipped, skipped_to) = (true, start);
                comparison.forget();
            }
            match frames.next()? {
                Some(frame) => comparison.take(frame)?,
                None => break,
            }
        }
        Ok((comparison.end()?, skipped))
    }

    /// The chosen pictures, the last one first.
    fn picks(&self) -> Vec<Pick> {
        let frame_ns = self.source.ladder_rate.frame_seconds() * 1e9;
        let mut picks: Vec<Pick> = Vec::new();
        let ordered = self.claims.iter().take(self.rungs.len()).enumerate();
        for (place, claim) in ordered.filter(|(_, claim)| claim.problems.is_empty()) {
            let pictures = |segments: &[ReadSegment]| segments.iter().map(|segment| segment.pictures).sum();
            let seen = (self.task.from_segment as usize).min(claim.segments.len());
            let (skipped, total): (usize, usize) =
                (pictures(&claim.segments[..seen]), pictures(&claim.segments));
            let chosen = sample(self.task.seed, &claim.name, self.count, total - skipped);
            picks.extend(chosen.into_iter().map(|chosen| {
                let picture = skipped + chosen;
                let at_ns = self.source.picture_ns.start + (picture as f64 * frame_ns) as u64;
                Pick { claim: place, picture, at_ns }
            }));
        }
        for (place, claim) in self.claims.iter().enumerate().filter(|(_, claim)| claim.problems.is_empty()) {
            picks.extend(claim.stills.iter().enumerate().map(|(picture, still)| {
                let at_ns = self.source.picture_ns.start + still.at_ms * 1_000_000;
                Pick { claim: place, picture, at_ns }
            }));
        }
        picks.sort_by_key(|pick| std::cmp::Reverse(pick.at_ns));
        picks
    }
}

fn small_size(rungs: &[Rung]) -> (u32, u32) {
    let Some(smallest) = rungs.first() else { return (SMALL_SIDE, SMALL_SIDE) };
    let short = smallest.width.min(smallest.height);
    let scaled = |side: u32| if short <= SMALL_SIDE { side } else { (side * SMALL_SIDE / short).max(1) };
    (scaled(smallest.width), scaled(smallest.height))
}

/// A picture that was chosen.
#[derive(Clone, Copy, Debug)]
struct Pick {
    claim: usize,
    picture: usize,
    at_ns: u64,
}

/// A chosen picture that is decoded, and what came nearest to it so far.
struct Active {
    pick: Pick,
    /// It may be smaller than the small size, so it is compared in its own alone.
    is_still: bool,
    full: Option<Luma>,
    small: Luma,
    difference: f64,
    small_difference: f64,
    variance: f64,
}

struct Comparison<'a> {
    claims: &'a [Claim],
    found: Vec<Found>,
    patience: Duration,
    stop: &'a Stop,
    scaler: Scaler,
    small: (u32, u32),
    /// When the source's picture starts.
    start_ns: u64,
    /// How far a rendition's picture may be from the source's in time: it was taken from the nearest one.
    tolerance: u64,
    waiting: Vec<Pick>,
    active: Vec<Active>,
    /// The source's last pictures in the small size.
    past: VecDeque<(u64, Luma)>,
    previous: Option<Frame>,
}

impl Comparison<'_> {
    /// The earliest moment that is still looked for or at.
    fn next_moment(&self) -> Option<u64> {
        self.active
            .iter()
            .map(|active| active.pick.at_ns)
            .chain(self.waiting.last().map(|pick| pick.at_ns))
            .min()
    }

    fn forget(&mut self) {
        self.past.clear();
        self.previous = None;
    }

    /// Takes the source's next picture.
    fn take(&mut self, frame: Frame) -> Result<(), MediaError> {
        while let Some(pick) = self.waiting.pop_if(|pick| pick.at_ns <= frame.at_ns + self.tolerance) {
            if let Some(active) = self.decode(pick)? {
                self.active.push(active);
            }
        }
        let small = self.scaler.luma(&frame.sample, self.small.0, self.small.1)?;
        for active in &mut self.active {
            let at = active.pick.at_ns;
            if frame.at_ns.abs_diff(at) <= self.tolerance {
                look_at(active, &frame, &small, &mut self.scaler)?;
            } else if frame.at_ns > at && active.difference.is_infinite() {
                // Between two pictures that are far apart: either may have been taken.
                look_at(active, &frame, &small, &mut self.scaler)?;
                if let (Some(previous), Some((_, small))) = (&self.previous, self.past.back()) {
                    look_at(active, previous, small, &mut self.scaler)?;
                }
            }
            if frame.at_ns > at + self.tolerance {
                active.full = None;
            }
        }
        let now = frame.at_ns;
        self.past.push_back((now, small));
        self.previous = Some(frame);
        while let Some(place) = self.active.iter().position(|active| active.pick.at_ns + WINDOW < now) {
            let active = self.active.swap_remove(place);
            self.judge(&active);
        }
        let oldest = self.next_moment().unwrap_or(now).min(now).saturating_sub(WINDOW);
        while self.past.front().is_some_and(|(at, _)| *at < oldest) {
            self.past.pop_front();
        }
        Ok(())
    }

    /// Judges what is left when the source has ended; its last picture stays for what comes after it.
    fn end(mut self) -> Result<Vec<Found>, MediaError> {
        while let Some(pick) = self.waiting.pop() {
            if let Some(active) = self.decode(pick)? {
                self.active.push(active);
            }
        }
        for mut active in std::mem::take(&mut self.active) {
            if active.difference.is_infinite()
                && let (Some(last), Some((_, small))) = (&self.previous, self.past.back())
            {
                look_at(&mut active, last, small, &mut self.scaler)?;
            }
            self.judge(&active);
        }
        Ok(self.found)
    }

    /// Decodes a chosen picture; `None`, and a problem, if that fails.
    fn decode(&mut self, pick: Pick) -> Result<Option<Active>, MediaError> {
        let (claim, found) = (&self.claims[pick.claim], &mut self.found[pick.claim]);
        if found.stood_still {
            return Ok(None);
        }
        let decoded = match picture_of(claim, pick.picture, self.patience, self.stop) {
            Ok(decoded) => decoded,
            Err(error @ MediaError::Cancelled) => return Err(error),
            Err(error) => {
                // Whoever made the picture answers for what it does to a decoder.
                found.stood_still = matches!(error, MediaError::Stalled(_));
                tracing::debug!(%error, "a picture does not decode");
                None
            }
        };
        let problems = &mut found.problems;
        let Some(frame) = decoded else {
            let at_ms = pick.at_ns.saturating_sub(self.start_ns) / 1_000_000;
            problems.push(format!("the picture at {at_ms} ms does not decode"));
            return Ok(None);
        };
        let PictureSize { width, height } = claim.size;
        let size = frame.sample.caps().and_then(|caps| {
            let structure = caps.structure(0)?;
            Some((structure.get::<i32>("width").ok()?, structure.get::<i32>("height").ok()?))
        });
        if size != Some((width as i32, height as i32)) {
            problems.push(format!("its pictures are not {width}x{height}"));
            return Ok(None);
        }
        Ok(Some(Active {
            pick,
            is_still: !claim.stills.is_empty(),
            full: Some(self.scaler.luma(&frame.sample, width, height)?),
            small: self.scaler.luma(&frame.sample, self.small.0, self.small.1)?,
            difference: f64::INFINITY,
            small_difference: f64::INFINITY,
            variance: 0.0,
        }))
    }

    fn judge(&mut self, active: &Active) {
        let at = active.pick.at_ns;
        let other = self
            .past
            .iter()
            .filter(|(time, _)| (OTHER_FROM..=WINDOW).contains(&time.abs_diff(at)))
            .filter(|_| !active.is_still)
            .map(|(_, small)| active.small.difference(small))
            .fold(f64::INFINITY, f64::min);
        let found = &mut self.found[active.pick.claim];
        let at_ms = at.saturating_sub(self.start_ns) / 1_000_000;
        let measured = Measured {
            full_db: decibels(active.difference),
            small_db: decibels(active.small_difference),
            other_db: decibels(other),
            unexplained: active.small_difference / active.variance.max(1.0),
        };
        tracing::debug!(rendition = self.claims[active.pick.claim].name, at_ms, ?measured, "compared");
        found.frames.push(FrameDifference { at_ms, psnr_db: measured.full_db });
        if let Some(problem) = measured.problem() {
            found.problems.push(format!("the picture at {at_ms} ms {problem}"));
        }
    }
}

fn look_at(active: &mut Active, frame: &Frame, small: &Luma, scaler: &mut Scaler) -> Result<(), MediaError> {
    if let Some(full) = &active.full {
        let source = scaler.luma(&frame.sample, full.width, full.height)?;
        let difference = full.difference(&source);
        if active.is_still && difference < active.difference {
            (active.small_difference, active.variance) = (difference, source.variance());
        }
        active.difference = active.difference.min(difference);
    }
    let small_difference = active.small.difference(small);
    if !active.is_still && small_difference < active.small_difference {
        active.small_difference = small_difference;
        active.variance = small.variance();
    }
    Ok(())
}

/// The picture with the number `place` of a claim, decoded; `None` where there is none.
fn picture_of(
    claim: &Claim,
    mut place: usize,
    patience: Duration,
    stop: &Stop,
) -> Result<Option<Frame>, MediaError> {
    if let Some(still) = claim.stills.get(place) {
        return Frames::of_still(&still.path, patience, stop)?.next();
    }
    for segment in &claim.segments {
        if place < segment.pictures {
            return nth_picture(&segment.path, place, patience, stop);
        }
        place -= segment.pictures;
    }
    Ok(None)
}

fn nth_picture(
    segment: &std::path::Path,
    place: usize,
    patience: Duration,
    stop: &Stop,
) -> Result<Option<Frame>, MediaError> {
    let mut frames = Frames::of_segment(segment, patience, stop)?;
    for _ in 0..place {
        if frames.next()?.is_none() {
            return Ok(None);
        }
    }
    frames.next()
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, path::PathBuf, process::Command};

    use edge_jobs::Ladder;

    use super::*;
    use crate::{fitting_rungs, init, inspect};

    #[test]
    fn a_segment_that_holds_the_decoder_up_is_its_makers_fault() {
        init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // A pipe into which nobody writes: its reader waits for ever.
        let path = folder.path().join("00000.ts");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let _open = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let film = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/bigbuckbunny.mp4");
        let source = inspect(&film, &Stop::new()).unwrap();
        let ladder = Ladder { short_sides: vec![360], source_size: false };
        let rungs = fitting_rungs(&ladder, 1280, 720).unwrap();
        let mut claims = vec![Claim::new("360p", PictureSize { width: 640, height: 360 })];
        claims[0].segments.push(ReadSegment { path, pictures: 50, start: 0 });
        let task = CheckTask {
            source: film,
            output: folder.path().to_owned(),
            renditions: vec![],
            ladder,
            frames_per_rendition: 2,
            seed: 1,
            unfinished: true,
            from_segment: 0,
            thumbnails: vec![],
            thumbnail_order: None,
        };
        let patience = Duration::from_secs(3);
        compare(&task, &source, &rungs, &mut claims, 2, patience, &Stop::new()).unwrap();
        let [problem] = claims[0].problems.as_slice() else { panic!("{:?}", claims[0].problems) };
        assert!(problem.contains("does not decode"), "{problem}");
    }
}
