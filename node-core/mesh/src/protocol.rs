//! The names of stream protocols and of gossip topics.

use std::fmt;

/// What is spoken on a stream. Two nodes that open and accept the same name understand each other; a change that
/// breaks this takes a new name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(&'static str);

impl Protocol {
    /// Segments by hash, paid one by one.
    pub const SEGMENTS: Self = Self("/thetis/segments/1");
    /// Jobs: an order, its events, and payment unit by unit.
    pub const JOBS: Self = Self("/thetis/jobs/1");
    /// The offers that a node knows, free of charge.
    pub const OFFERS: Self = Self("/thetis/offers/1");
    /// Stream manifests by stream id, free of charge.
    pub const MANIFESTS: Self = Self("/thetis/manifests/1");

    /// Another protocol. Names start with `/`; the overlay refuses others when they are used.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as it is negotiated.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({})", self.0)
    }
}

/// A gossip topic. Nodes of different chains never hear each other: the chain's id is part of the topic on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(&'static str);

impl Topic {
    /// What providers offer, and at what price.
    pub const OFFERS: Self = Self("offers");
    /// Streams that exist, and who has them.
    pub const STREAMS: Self = Self("streams");

    /// Another topic.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name without the chain's id.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.0)
    }
}
