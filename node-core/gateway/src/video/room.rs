//! Room for uploads: what lies in their folder, and what is coming, counted in one place.

use std::sync::{Arc, Mutex, PoisonError};

/// The bytes that uploads may take together. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct UploadRoom {
    capacity: u64,
    taken: Arc<Mutex<u64>>,
}

/// Room that one upload takes while its bytes come. Dropping it gives the room back.
#[derive(Debug)]
pub(super) struct TakenRoom {
    room: UploadRoom,
    bytes: u64,
}

impl UploadRoom {
    /// Room of `capacity` bytes, of which uploads that are there take some.
    pub fn new(capacity: u64, taken: u64) -> Self {
        Self { capacity, taken: Arc::new(Mutex::new(taken)) }
    }

    /// Takes room for an upload that comes; `None` when there is not so much.
    pub(super) fn take(&self, bytes: u64) -> Option<TakenRoom> {
        let mut taken = TakenRoom { room: self.clone(), bytes: 0 };
        taken.grow_to(bytes).then_some(taken)
    }

    /// Gives back the room of an upload that was there and is removed.
    pub fn give_back(&self, bytes: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(bytes);
    }
}

impl TakenRoom {
    /// Takes more room, up to so many bytes in all. False when there is not so much; then nothing changes.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = taken.saturating_add(more);
        let fits = more == 0 || sum <= self.room.capacity;
        if fits {
            *taken = sum;
            self.bytes += more;
        }
        fits
    }

    /// The upload is there: its room stays taken until [`UploadRoom::give_back`].
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_that_come_count_with_those_that_are_there() {
        let room = UploadRoom::new(100, 40);
        let mut one = room.take(30).unwrap();
        assert!(room.take(31).is_none());
        let other = room.take(20).unwrap();
        assert!(!one.grow_to(41) && one.grow_to(40) && one.grow_to(10));
        assert!(room.take(1).is_none());
        drop(other);
        one.keep();
        assert!(room.take(21).is_none());
        room.take(20).unwrap().keep();
        room.give_back(40);
        assert!(room.take(40).is_some());
    }

    #[test]
    fn a_folder_that_is_too_full_already_takes_nothing_more() {
        let room = UploadRoom::new(10, 12);
        assert!(room.take(1).is_none());
        assert!(room.take(u64::MAX).is_none());
        room.give_back(u64::MAX);
        assert!(room.take(10).is_some());
    }
}
