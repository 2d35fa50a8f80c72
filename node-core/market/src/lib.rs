//! Offers, matching, checking of results, payment lines, settlement and reputation.
//!
//! This crate owns everything between "a provider offers" and "the chain has paid": the [`offer`]s, the [`session`]s in
//! which work is delivered and paid unit by unit, the [`requester`] and the [`provider`] that lead them, the books of both
//! sides ([`payer`], [`payee`]), the checks of what was delivered ([`check`]) and what follows from them ([`standing`]). It
//! does no work itself: a [`provider::Worker`] does. It keeps nothing itself: whoever runs it provides the narrow stores.
//! It reaches the chain through the wallet's `ChainAccess`, and other nodes through a [`requester::Dialer`].

#![warn(missing_docs)]

pub mod check;
mod clock;
pub mod jobs;
mod line;
pub mod offer;
mod owner;
pub mod payee;
pub mod payer;
pub mod provider;
pub mod requester;
pub mod session;
pub mod standing;
pub mod testing;

pub use clock::{Clock, SystemClock};
pub use line::{JobShare, LineId, StoreError};
pub use owner::Closed;
