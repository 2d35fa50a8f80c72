//! Sessions between a requester and a provider: frames, messages, and how units are counted.

mod count;
mod message;
mod order_limits;
mod wire;

pub use count::{LadderCount, chat_units, segments_of_units, transcode_units};
pub use message::{MAX_REQUEST_BYTES, Open, Refusal, Reply, Request, Work};
pub use order_limits::check_order;
pub use wire::{Frame, Inbound, MAX_CHUNK_BYTES, Outbound, SessionMessage, read_frame};
