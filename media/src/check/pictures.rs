//! Random pictures of each rendition beside the source's pictures of the same moment.
//!
//! The source is read once, forwards. Around each moment it is compared in two sizes: the rendition's own, for the
//! ratio that is reported, and a small one, in which coding noise fades and the question is only whether this is the
//! right picture. There, two things betray a wrong one: too much of the source's picture is missing from it, as from a
//! black one or one of another video; or it is clearly nearer to what the source shows at another moment, as a shifted or a
//! frozen one is.
//!
//! The limits come from ladders of films, drawings, test patterns, heavy grain and cellular automata by both encoders, and
//! from forged ones. In the small size honest pictures had 28 dB or more (grain of a sixth of the range: 28, cellular
//! automata: 20), at most 0.13 of the variance missing (automata: 0.43), and were always nearer to their own moment than to
//! another. Pictures a second off had 21 to 25 dB where the other moment had 35 or more, and black ones or ones of another
//! video missed the whole variance. Only white noise fails honestly: nothing of it survives an encoder.

use std::collections::VecDeque;

use edge_jobs::{CheckTask, FrameDifference};

use super::{
    claims::Claim,
    frames::{Frame, Frames},
    likeness::{Luma, Scaler, decibels},
    sample::sample,
};
use crate::{MediaError, Rung, Source, Stop};

/// Worst ratio that a picture may have at its own size, in dB; heavy grain has 19.
const LEAST_DB: f32 = 15.0;
/// Largest part of the source picture's variance that may be missing, in the small size.
const MOST_UNEXPLAINED: f64 = 0.5;
/// Another moment must be nearer by so many dB, in the small size, to be the one that is shown ...
const OTHER_MOMENT_DB: f32 = 3.0;
/// ... while the right one is below this many dB: above, the two look the same to anyone.
const SAME_DB: f32 = 38.0;
/// Short side of the small size.
const SMALL_SIDE: u32 = 180;

const SECOND: u64 = 1_000_000_000;
/// Other moments are looked at up to so far away ...
const WINDOW: u64 = SECOND;
/// ... and from so far on.
const OTHER_FROM: u64 = SECOND / 4;
/// A longer way to the next moment is skipped if the file allows it.
const FAR: u64 = 10 * SECOND;

/// Compares `count` random pictures of each claim that has segments, and adds differences and problems to it.
pub(super) fn compare(
    task: &CheckTask,
    source: &Source,
    rungs: &[Rung],
    claims: &mut [Claim],
    count: u32,
    stop: &Stop,
) -> Result<(), MediaError> {
    let pass = Pass { task, source, rungs, claims, count, stop };
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
}

/// One way through the source.
struct Pass<'a> {
    task: &'a CheckTask,
    source: &'a Source,
    rungs: &'a [Rung],
    claims: &'a [Claim],
    count: u32,
    stop: &'a Stop,
}

impl Pass<'_> {
    /// Compares everything; tells what was found for each claim, and whether parts of the source were skipped.
    fn run(&self, may_skip: bool) -> Result<(Vec<Found>, bool), MediaError> {
        let mut comparison = Comparison {
            rungs: self.rungs,
            claims: self.claims,
            found: self.claims.iter().map(|_| Found::default()).collect(),
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
        let mut frames = Frames::of_source(&self.task.source, self.source, self.stop)?;
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
        for (place, claim) in self.claims.iter().take(self.rungs.len()).enumerate() {
            let total = claim.segments.iter().map(|segment| segment.pictures).sum();
            let pictures = sample(self.task.seed, &claim.name, self.count, total);
            picks.extend(pictures.into_iter().map(|picture| Pick {
                claim: place,
                picture,
                at_ns: self.source.picture_ns.start + (picture as f64 * frame_ns) as u64,
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
    full: Option<Luma>,
    small: Luma,
    difference: f64,
    small_difference: f64,
    variance: f64,
}

struct Comparison<'a> {
    rungs: &'a [Rung],
    claims: &'a [Claim],
    found: Vec<Found>,
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
                look_at(active, &frame, &small, &mut self.scaler, self.rungs)?;
            } else if frame.at_ns > at && active.difference.is_infinite() {
                // Between two pictures that are far apart: either may have been taken.
                look_at(active, &frame, &small, &mut self.scaler, self.rungs)?;
                if let (Some(previous), Some((_, small))) = (&self.previous, self.past.back()) {
                    look_at(active, previous, small, &mut self.scaler, self.rungs)?;
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
            if active.difference.is_infinite() {
                if let (Some(last), Some((_, small))) = (&self.previous, self.past.back()) {
                    look_at(&mut active, last, small, &mut self.scaler, self.rungs)?;
                }
            }
            self.judge(&active);
        }
        Ok(self.found)
    }

    /// Decodes a chosen picture; `None`, and a problem, if that fails.
    fn decode(&mut self, pick: Pick) -> Result<Option<Active>, MediaError> {
        let (claim, problems) = (&self.claims[pick.claim], &mut self.found[pick.claim].problems);
        let mut place = pick.picture;
        let Some(segment) = claim.segments.iter().find(|segment| {
            let is_here = place < segment.pictures;
            if !is_here {
                place -= segment.pictures;
            }
            is_here
        }) else {
            return Ok(None);
        };
        let decoded = match nth_picture(&segment.path, place, self.stop) {
            Ok(decoded) => decoded,
            Err(error @ (MediaError::Cancelled | MediaError::Stalled(_))) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a segment does not decode");
                None
            }
        };
        let Some(frame) = decoded else {
            let at_ms = pick.at_ns.saturating_sub(self.start_ns) / 1_000_000;
            problems.push(format!("the picture at {at_ms} ms does not decode"));
            return Ok(None);
        };
        let Rung { width, height, .. } = self.rungs[pick.claim];
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

/// How a rendition's picture compares with the source.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// With the right moment, at the rendition's size and at the small one.
    full_db: f32,
    small_db: f32,
    /// With the nearest other moment around, at the small size.
    other_db: f32,
    /// The part of the right picture's variance that is missing, at the small size.
    unexplained: f64,
}

impl Measured {
    fn problem(&self) -> Option<String> {
        let Self { full_db, small_db, other_db, unexplained } = *self;
        if full_db < LEAST_DB {
            return Some(format!("differs from the source's ({full_db:.1} dB)"));
        }
        if small_db >= SAME_DB {
            return None;
        }
        if unexplained > MOST_UNEXPLAINED {
            return Some(format!("shows nothing of the source's ({full_db:.1} dB)"));
        }
        if other_db > small_db + OTHER_MOMENT_DB {
            return Some(format!(
                "shows another moment of the source ({other_db:.1} dB there, {small_db:.1} here)"
            ));
        }
        None
    }
}

fn look_at(
    active: &mut Active,
    frame: &Frame,
    small: &Luma,
    scaler: &mut Scaler,
    rungs: &[Rung],
) -> Result<(), MediaError> {
    let Rung { width, height, .. } = rungs[active.pick.claim];
    if let Some(full) = &active.full {
        let difference = full.difference(&scaler.luma(&frame.sample, width, height)?);
        active.difference = active.difference.min(difference);
    }
    let small_difference = active.small.difference(small);
    if small_difference < active.small_difference {
        active.small_difference = small_difference;
        active.variance = small.variance();
    }
    Ok(())
}

fn nth_picture(segment: &std::path::Path, place: usize, stop: &Stop) -> Result<Option<Frame>, MediaError> {
    let mut frames = Frames::of_segment(segment, stop)?;
    for _ in 0..place {
        if frames.next()?.is_none() {
            return Ok(None);
        }
    }
    frames.next()
}
