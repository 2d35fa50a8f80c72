//! The worker programs: started, watched, stopped.
//!
//! A worker is a child process that takes [`Command`](edge_jobs::Command) frames on its standard input and answers with
//! [`Event`](edge_jobs::Event) frames. One task owns the process. When it dies its jobs fail, the node does not, and the
//! worker is started again after a growing pause. When the governor says stop, it is killed at once.

mod back_off;
mod crew;
mod process;
mod processors;
mod program;

pub use back_off::BackOff;
pub use crew::Crew;
pub use process::{Running, Worker, WorkerError, WorkerState};
pub use program::{WorkerProgram, find_program};
