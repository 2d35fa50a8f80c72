//! How misbehaviour adds up to a ban.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Something that a peer did which an honest one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It claimed a wallet that did not sign for it.
    WrongBinding,
    /// It did not say which wallet it acts for.
    NoBinding,
    /// Bytes that are no message of the protocol.
    Garbage,
    /// A message above the protocol's limit.
    Oversize,
    /// A record that is forged, stale or in somebody else's place.
    BadRecord,
    /// More gossip than any honest node has to say.
    Flood,
    /// Content whose hash is not what was asked for.
    CorruptContent,
}

impl Fault {
    /// How many points it costs. At [`BAN_AT`] points the peer is banned.
    pub fn points(self) -> f64 {
        match self {
            Fault::WrongBinding | Fault::CorruptContent => 40.0,
            Fault::Garbage | Fault::Oversize | Fault::BadRecord => 30.0,
            Fault::NoBinding => 20.0,
            Fault::Flood => 2.0,
        }
    }
}

/// The points at which a peer is banned.
pub const BAN_AT: f64 = 100.0;

/// How long a ban lasts.
pub const BAN_FOR: Duration = Duration::from_secs(60 * 60);

/// Points that a peer loses again in a second of good behaviour.
const FORGIVEN_PER_SECOND: f64 = 0.1;

/// More peers than this are not remembered; those with the fewest points are forgotten first.
const MAX_PEERS: usize = 4096;

/// Points and bans of peers. Time is passed in.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    points: HashMap<PeerId, (f64, Instant)>,
    bans: HashMap<PeerId, Ban>,
}

#[derive(Debug)]
struct Ban {
    reason: String,
    until: Instant,
}

impl Faults {
    /// Adds a fault; true when it is the one that earns the ban.
    pub fn add(&mut self, peer: PeerId, fault: Fault, now: Instant) -> bool {
        if self.bans.contains_key(&peer) {
            return false;
        }
        if self.points.len() >= MAX_PEERS && !self.points.contains_key(&peer) {
            self.forget_the_best(now);
        }
        let (points, since) = self.points.entry(peer).or_insert((0.0, now));
        *points = remaining(*points, *since, now) + fault.points();
        *since = now;
        *points >= BAN_AT
    }

    /// Bans a peer from now on.
    pub fn ban(&mut self, peer: PeerId, reason: String, now: Instant) {
        self.points.remove(&peer);
        if self.bans.len() >= MAX_PEERS
            && let Some(oldest) = self.bans.iter().min_by_key(|(_, ban)| ban.until).map(|(peer, _)| *peer)
        {
            self.bans.remove(&oldest);
        }
        self.bans.insert(peer, Ban { reason, until: now + BAN_FOR });
    }

    /// Why a peer is banned, if it is.
    pub fn ban_reason(&self, peer: &PeerId) -> Option<&str> {
        self.bans.get(peer).map(|ban| ban.reason.as_str())
    }

    /// Ends the bans that have lasted long enough, and says whose they were.
    pub fn end_bans(&mut self, now: Instant) -> Vec<PeerId> {
        let over: Vec<PeerId> =
            self.bans.iter().filter(|(_, ban)| ban.until <= now).map(|(peer, _)| *peer).collect();
        for peer in &over {
            self.bans.remove(peer);
        }
        over
    }

    fn forget_the_best(&mut self, now: Instant) {
        let best = self
            .points
            .iter()
            .map(|(peer, (points, since))| (*peer, remaining(*points, *since, now)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((peer, _)) = best {
            self.points.remove(&peer);
        }
    }
}

fn remaining(points: f64, since: Instant, now: Instant) -> f64 {
    (points - now.saturating_duration_since(since).as_secs_f64() * FORGIVEN_PER_SECOND).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_wrong_binding_in_a_row_earns_a_ban() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut faults = Faults::default();
        assert!(!faults.add(peer, Fault::WrongBinding, now));
        assert!(!faults.add(peer, Fault::WrongBinding, now));
        assert!(faults.add(peer, Fault::WrongBinding, now));
    }

    #[test]
    fn faults_far_apart_are_forgiven() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut faults = Faults::default();
        for hour in 0..50 {
            assert!(!faults.add(peer, Fault::WrongBinding, start + Duration::from_secs(hour * 3600)));
        }
    }

    #[test]
    fn a_ban_ends_after_its_time() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut faults = Faults::default();
        faults.ban(peer, "lied".into(), now);
        assert_eq!(faults.ban_reason(&peer), Some("lied"));
        assert!(faults.end_bans(now + BAN_FOR - Duration::from_secs(1)).is_empty());
        assert_eq!(faults.end_bans(now + BAN_FOR), vec![peer]);
        assert_eq!(faults.ban_reason(&peer), None);
    }

    #[test]
    fn a_crowd_of_strangers_takes_bounded_memory_and_hides_no_sinner() {
        let now = Instant::now();
        let mut faults = Faults::default();
        let sinner = PeerId::random();
        faults.add(sinner, Fault::WrongBinding, now);
        faults.add(sinner, Fault::WrongBinding, now);
        for _ in 0..MAX_PEERS + 10 {
            faults.add(PeerId::random(), Fault::Flood, now);
        }
        assert!(faults.points.len() <= MAX_PEERS);
        assert!(faults.add(sinner, Fault::WrongBinding, now));
    }
}
