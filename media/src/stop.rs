//! The wish that a task end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::MediaError;

/// A switch that its holder throws once to end a task; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A switch that is not thrown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the task to end. It answers with [`MediaError::Cancelled`] within a second.
    pub fn throw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once the switch is thrown, so that a loop can say `stop.check()?`.
    pub fn check(&self) -> Result<(), MediaError> {
        if self.0.load(Ordering::Relaxed) { Err(MediaError::Cancelled) } else { Ok(()) }
    }
}
