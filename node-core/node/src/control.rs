//! The control API: what a person or a program can see of this node and tell it.
//!
//! One [`Control`], two doors (design section 2): local HTTP behind a token here, Tauri IPC in the app. Its types are all in
//! [`types`], so that they can be exported to TypeScript in one go. State comes as a [`Status`] and then as a stream of
//! those of its sections that changed; amounts are wei as decimal text, and never added up by who shows them.

mod client;
mod error;
mod guard;
mod server;
mod service;
pub mod types;

pub use client::{ClientError, ControlClient};
pub use error::{ControlError, ErrorCode};
pub use server::{ControlServer, serve};
pub use service::Control;
pub use types::Status;

use error::Refused;
