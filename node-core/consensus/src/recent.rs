//! A memory for the last few of many.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// Holds up to a number of values; the oldest goes first.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    capacity: usize,
    values: HashSet<T>,
    by_age: VecDeque<T>,
}

impl<T: Eq + Hash + Clone> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, values: HashSet::new(), by_age: VecDeque::new() }
    }

    pub(crate) fn insert(&mut self, value: T) {
        if !self.values.insert(value.clone()) {
            return;
        }
        self.by_age.push_back(value);
        if self.by_age.len() > self.capacity
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, value: &T) -> bool {
        self.values.contains(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut recent = Recent::new(2);
        for value in [1, 2, 1, 3] {
            recent.insert(value);
        }
        assert_eq!([1, 2, 3].map(|value| recent.contains(&value)), [false, true, true]);
    }
}
