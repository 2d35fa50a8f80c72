//! The Thetis node: configuration, supervisor, governor, app database, control API and command line.
//!
//! The only crate that knows all the others. It owns the data folder, starts the parts that the settings ask for, and
//! gives each the narrow traits it declared. It links neither GStreamer nor a GPU driver: those live in the worker
//! programs that [`workers`] starts and watches.
#![warn(missing_docs)]

pub mod chain;
pub mod cli;
mod clock;
pub mod control;
pub mod data_folder;
pub mod database;
pub mod governor;
pub mod node;
pub mod settings;
pub mod workers;
