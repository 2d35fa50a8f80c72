//! How many streams each wallet has open here.
//!
//! A node serves so many streams in all, and a session costs it memory. One wallet must not take up the room of the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use theta_types::Address;

/// The streams that are open, by wallet.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<Address, usize>>>,
    /// Streams of one wallet that are served at one time.
    most: usize,
}

/// One stream. The seat is free when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    wallet: Address,
    /// The wallet has enough without this one. It is told so, and not served.
    pub one_too_many: bool,
}

impl Seats {
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A seat for one more stream of a wallet; `None` when even those that are turned away are as many again.
    pub fn take(&self, wallet: Address) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(wallet).or_default();
        if *count >= self.most.saturating_mul(2) {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), wallet, one_too_many: *count > self.most })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.wallet) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.wallet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_takes_its_own_seats_and_nobody_elses() {
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let seats = Seats::new(2);
        let mut taken: Vec<Seat> = (0..4).map(|_| seats.take(one).unwrap()).collect();
        assert_eq!(
            taken.iter().map(|seat| seat.one_too_many).collect::<Vec<_>>(),
            [false, false, true, true]
        );
        assert!(seats.take(one).is_none());
        assert!(!seats.take(other).unwrap().one_too_many);
        taken.truncate(1);
        assert!(!seats.take(one).unwrap().one_too_many);
        taken.clear();
        assert!(seats.taken.lock().unwrap().is_empty(), "nothing is kept of whoever has gone");
    }
}
