//! Keeps worker programs on so many processors.
//!
//! Threads are counted where they are made, but encoders, decoders and tensor libraries start more of them than one asks for. A set of
//! processors that a process may use holds whatever it starts.

/// Calls `start`, on this thread, so that the processes it starts have at most `most` processors. All workers get the same ones, so that
/// together they use no more.
#[cfg(target_os = "linux")]
pub(super) fn on_at_most<T>(most: Option<u32>, start: impl FnOnce() -> T) -> T {
    use rustix::thread::{sched_getaffinity, sched_setaffinity};

    let Some(most) = most else { return start() };
    // A process inherits the set of the thread that starts it.
    let before =
        sched_getaffinity(None).inspect_err(|error| tracing::warn!(%error, "the processors are not known"));
    let Ok(before) = before else { return start() };
    let fewer = last_of(&before, most);
    if let Err(error) = sched_setaffinity(None, &fewer) {
        tracing::warn!(%error, "a worker is not kept on so many processors");
    }
    let started = start();
    if let Err(error) = sched_setaffinity(None, &before) {
        tracing::warn!(%error, "a thread of this program stays on fewer processors");
    }
    started
}

/// Elsewhere the number of threads is all that is limited.
#[cfg(not(target_os = "linux"))]
pub(super) fn on_at_most<T>(_most: Option<u32>, start: impl FnOnce() -> T) -> T {
    start()
}

/// The last `most` processors of a set: what is started without a thought often lands on the first.
#[cfg(target_os = "linux")]
fn last_of(all: &rustix::thread::CpuSet, most: u32) -> rustix::thread::CpuSet {
    let mut fewer = rustix::thread::CpuSet::new();
    let allowed = (0..rustix::thread::CpuSet::MAX_CPU).rev().filter(|processor| all.is_set(*processor));
    allowed.take(most.max(1) as usize).for_each(|processor| fewer.set(processor));
    fewer
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::thread::sched_getaffinity;

    use super::*;

    fn processors_of_a_child(most: Option<u32>) -> u32 {
        let started =
            on_at_most(most, || Command::new("nproc").env_clear().env("PATH", "/usr/bin:/bin").output());
        String::from_utf8(started.unwrap().stdout).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn what_is_started_has_so_many_processors_and_this_thread_has_its_own_again() {
        let before = sched_getaffinity(None).unwrap();
        assert_eq!(processors_of_a_child(Some(1)), 1);
        assert_eq!(processors_of_a_child(Some(100_000)), before.count());
        assert_eq!(processors_of_a_child(None), before.count());
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn the_last_processors_are_taken() {
        let mut all = rustix::thread::CpuSet::new();
        [1, 4, 5].into_iter().for_each(|processor| all.set(processor));
        let taken = last_of(&all, 2);
        assert_eq!((taken.is_set(1), taken.is_set(4), taken.is_set(5)), (false, true, true));
        assert_eq!(last_of(&all, 0).count(), 1, "one always stays");
    }
}
