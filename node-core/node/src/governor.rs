//! The governor: what this machine may do for others right now, and why not.
//!
//! Pure decisions on inputs that are passed in (settings, time, the owner's pause), published as a watch. Whoever does
//! work asks it first and follows its changes; whoever shows a zero asks it for the reason.

use std::{collections::BTreeMap, sync::Arc};

use edge_jobs::JobKind;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::settings::{LocalTime, Schedule};

/// Why no work is taken. Every zero on a screen is explained by one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Halt {
    /// The owner paused the node, until a Unix time in seconds or until resumed.
    Paused {
        /// When it ends by itself.
        until: Option<u64>,
    },
    /// The schedule says no at this hour.
    Schedule,
    /// The wallet is locked: without its key no payment can be taken or made.
    WalletLocked,
    /// The node is stopping.
    Stopping,
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Halt::Paused { until: None } => "paused",
            Halt::Paused { until: Some(_) } => "paused for a while",
            Halt::Schedule => "paused by the schedule",
            Halt::WalletLocked => "the wallet is locked",
            Halt::Stopping => "stopping",
        })
    }
}

/// Why one job was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node takes no work at all.
    #[error("this node takes no work: {0}")]
    Halted(Halt),
    /// The owner did not choose this kind of work.
    #[error("this node does not offer {0}")]
    NotOffered(JobKind),
    /// All places for this kind are taken.
    #[error("all {places} places for {kind} are taken")]
    Full {
        /// The kind.
        kind: JobKind,
        /// How many there are.
        places: usize,
    },
}

/// A place for one job; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    halted: watch::Receiver<Option<Halt>>,
}

impl Place {
    /// Ends when the job has to stop because the node takes no more work.
    pub async fn halted(&mut self) -> Halt {
        match self.halted.wait_for(Option::is_some).await {
            Ok(halt) => halt.clone().unwrap_or(Halt::Stopping),
            Err(_) => Halt::Stopping,
        }
    }
}

/// What the decision is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inputs {
    paused: bool,
    paused_until: Option<u64>,
    wallet_locked: bool,
    stopping: bool,
    out_of_schedule: bool,
}

impl Inputs {
    fn halt(&self) -> Option<Halt> {
        // The most lasting reason first, so that a person fixes that one.
        if self.stopping {
            Some(Halt::Stopping)
        } else if self.wallet_locked {
            Some(Halt::WalletLocked)
        } else if self.paused {
            Some(Halt::Paused { until: self.paused_until })
        } else if self.out_of_schedule {
            Some(Halt::Schedule)
        } else {
            None
        }
    }

    /// Without its key the node takes no work, so its workers idle, and the owner's own videos may go on.
    fn rests(&self) -> bool {
        self.stopping || self.paused || self.out_of_schedule
    }
}

/// Decides what may run. Cheap to clone; all clones are one governor.
#[derive(Clone, Debug)]
pub struct Governor {
    inputs: watch::Sender<Inputs>,
    halted: watch::Sender<Option<Halt>>,
    rests: watch::Sender<bool>,
    places: Arc<BTreeMap<JobKind, (usize, Arc<Semaphore>)>>,
}

impl Governor {
    /// A governor with so many places for each kind; a kind with none is not offered. The wallet counts as locked until
    /// [`Governor::wallet_locked`] says otherwise.
    pub fn new(places: &BTreeMap<JobKind, usize>) -> Self {
        let inputs = Inputs { wallet_locked: true, ..Inputs::default() };
        let places = places
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(kind, count)| (*kind, (*count, Arc::new(Semaphore::new(*count)))));
        Self {
            halted: watch::Sender::new(inputs.halt()),
            rests: watch::Sender::new(inputs.rests()),
            inputs: watch::Sender::new(inputs),
            places: Arc::new(places.collect()),
        }
    }

    /// Takes a place for a job of `kind`, or says why not.
    pub fn admit(&self, kind: JobKind) -> Result<Place, Refusal> {
        if let Some(halt) = self.halted.borrow().clone() {
            return Err(Refusal::Halted(halt));
        }
        let (places, semaphore) = self.places.get(&kind).ok_or(Refusal::NotOffered(kind))?;
        let permit =
            semaphore.clone().try_acquire_owned().map_err(|_| Refusal::Full { kind, places: *places })?;
        Ok(Place { _permit: permit, halted: self.halted.subscribe() })
    }

    /// Places of a kind: (free, all).
    pub fn places(&self, kind: JobKind) -> (usize, usize) {
        self.places.get(&kind).map_or((0, 0), |(all, semaphore)| (semaphore.available_permits(), *all))
    }

    /// Why no work is taken, and its changes; `None` while work is taken.
    pub fn halted(&self) -> watch::Receiver<Option<Halt>> {
        self.halted.subscribe()
    }

    /// Whether the machine is to be left alone, by this node's own work too: then no worker may run.
    pub fn rests(&self) -> watch::Receiver<bool> {
        self.rests.subscribe()
    }

    /// Stops taking work, until a Unix time in seconds or until [`Governor::resume`].
    pub fn pause(&self, until: Option<u64>) {
        self.change(|inputs| (inputs.paused, inputs.paused_until) = (true, until));
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.change(|inputs| (inputs.paused, inputs.paused_until) = (false, None));
    }

    /// Says whether the wallet's key is there.
    pub fn wallet_locked(&self, locked: bool) {
        self.change(|inputs| inputs.wallet_locked = locked);
    }

    /// Stops taking work for good.
    pub fn stop(&self) {
        self.change(|inputs| inputs.stopping = true);
    }

    /// Follows the clock: ends a timed pause, applies the schedule. To be called at least once a minute.
    pub fn tick(&self, unix_seconds: u64, local: LocalTime, schedule: &Schedule) {
        self.change(|inputs| {
            if inputs.paused_until.is_some_and(|until| unix_seconds >= until) {
                (inputs.paused, inputs.paused_until) = (false, None);
            }
            inputs.out_of_schedule = !schedule.allows(local);
        });
    }

    fn change(&self, edit: impl FnOnce(&mut Inputs)) {
        self.inputs.send_if_modified(|inputs| {
            let before = inputs.clone();
            edit(inputs);
            if *inputs == before {
                return false;
            }
            publish(&self.halted, inputs.halt());
            publish(&self.rests, inputs.rests());
            true
        });
    }
}

fn publish<T: PartialEq>(watched: &watch::Sender<T>, value: T) {
    watched.send_if_modified(|current| {
        let changed = *current != value;
        *current = value;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Hours, Weekday};

    fn governor() -> Governor {
        let governor = Governor::new(&BTreeMap::from([(JobKind::Chat, 1), (JobKind::Relay, 0)]));
        governor.wallet_locked(false);
        governor
    }

    fn at(weekday: Weekday, hour: u8) -> LocalTime {
        LocalTime { weekday, minute_of_day: u16::from(hour) * 60 }
    }

    #[test]
    fn a_locked_wallet_takes_no_paid_work() {
        let governor = Governor::new(&BTreeMap::from([(JobKind::Chat, 1)]));
        assert_eq!(governor.admit(JobKind::Chat).unwrap_err(), Refusal::Halted(Halt::WalletLocked));
        governor.wallet_locked(false);
        governor.admit(JobKind::Chat).unwrap();
    }

    #[test]
    fn a_pause_rests_the_machine_also_while_the_wallet_is_locked() {
        let governor = Governor::new(&BTreeMap::from([(JobKind::Chat, 1)]));
        let rests = governor.rests();
        assert!(!*rests.borrow(), "a locked wallet alone lets the owner's own work go on");
        governor.pause(None);
        assert_eq!(*governor.halted().borrow(), Some(Halt::WalletLocked));
        assert!(*rests.borrow());
        governor.resume();
        assert!(!*rests.borrow());
    }

    #[test]
    fn a_place_is_free_again_when_its_job_ends() {
        let governor = governor();
        let place = governor.admit(JobKind::Chat).unwrap();
        assert_eq!(
            governor.admit(JobKind::Chat).unwrap_err(),
            Refusal::Full { kind: JobKind::Chat, places: 1 }
        );
        drop(place);
        governor.admit(JobKind::Chat).unwrap();
    }

    #[test]
    fn a_kind_without_places_is_not_offered() {
        assert_eq!(governor().admit(JobKind::Relay).unwrap_err(), Refusal::NotOffered(JobKind::Relay));
        assert_eq!(
            governor().admit(JobKind::Transcode).unwrap_err(),
            Refusal::NotOffered(JobKind::Transcode)
        );
    }

    #[tokio::test]
    async fn running_jobs_hear_of_a_pause() {
        let governor = governor();
        let mut place = governor.admit(JobKind::Chat).unwrap();
        governor.pause(None);
        assert_eq!(place.halted().await, Halt::Paused { until: None });
        assert_eq!(governor.admit(JobKind::Chat).unwrap_err(), Refusal::Halted(Halt::Paused { until: None }));
        drop(place);
        governor.resume();
        governor.admit(JobKind::Chat).unwrap();
    }

    #[test]
    fn a_timed_pause_ends_by_itself() {
        let governor = governor();
        governor.pause(Some(1000));
        governor.tick(999, at(Weekday::Mon, 12), &Schedule::default());
        assert!(governor.halted().borrow().is_some());
        governor.tick(1000, at(Weekday::Mon, 12), &Schedule::default());
        assert_eq!(*governor.halted().borrow(), None);
    }

    #[test]
    fn work_stops_outside_the_schedule_and_starts_inside() {
        let governor = governor();
        let nights = Schedule(vec![Hours { days: vec![Weekday::Mon], from: 22 * 60, to: 6 * 60 }]);
        governor.tick(0, at(Weekday::Mon, 12), &nights);
        assert_eq!(*governor.halted().borrow(), Some(Halt::Schedule));
        governor.tick(0, at(Weekday::Mon, 23), &nights);
        assert_eq!(*governor.halted().borrow(), None);
    }
}
