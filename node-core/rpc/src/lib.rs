//! The theta.* JSON-RPC of a node, as the reference's clients know it (spec 06 section 1), for programs of the same machine.
//!
//! [`serve`] is the HTTP server around any [`Service`]; [`ThetaService`] is the service over a [`Chain`].
#![warn(missing_docs)]

pub mod params;

mod chain;
mod envelope;
mod error;
mod methods;
mod server;
mod service;

pub use chain::Chain;
pub use error::RpcError;
pub use methods::{BuildInfo, Faucet, ThetaService};
pub use server::{DEFAULT_ADDRESS, ServerLimits, router, serve};
pub use service::{Answer, Service, answer};
