//! What requester and provider say to each other on a stream.
//!
//! The requester opens with [`Request::Open`]; the provider answers [`Reply::Accepted`] or [`Reply::Refused`]. Then, unit
//! by unit: the provider delivers a unit and says how many it has delivered ([`Reply::Due`], or by the segment itself); the
//! requester checks it and pays ([`Request::Pay`]) with a voucher that covers everything so far; the provider delivers
//! nothing of the next unit before. So at most one unit is owed to the provider, and none is ever paid before it was
//! delivered.

use edge_jobs::{ContentHash, Event, JobError, JobErrorCode, JobId, JobKind, MAX_FRAME_BYTES, Order};
use serde::{Deserialize, Serialize};
use theta_types::Wei;
use theta_wallet::Voucher;

use super::SessionMessage;

/// From the requester to the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Request {
    /// The first message of a stream.
    Open(Box<Open>),
    /// Asks for a segment. In a relay session only.
    Get {
        /// Its hash.
        hash: ContentHash,
        /// The provider sends no more than this.
        max_bytes: u64,
    },
    /// So many units of this job were delivered, found good, and are paid.
    Pay {
        /// Units of the job in all.
        units: u64,
        /// Covers everything this payer agreed to pay this provider; `None` on credit.
        voucher: Option<Box<Voucher>>,
    },
    /// Nothing more is signed on a line. Answers [`Reply::Freeze`].
    Frozen {
        /// The line's reserve.
        reserve: u64,
        /// The line's payment sequence.
        sequence: u64,
        /// Its last voucher.
        voucher: Option<Box<Voucher>>,
    },
    /// The requester is busy with a check or a reserve; it has not gone away.
    Alive,
    /// Stop the work. A payment for what was delivered may follow.
    Cancel,
}

/// The longest body of a request other than [`Request::Open`], in bytes. A payment has some 700.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

impl SessionMessage for Request {
    /// An order may hold whole texts; nothing else that a requester says is long.
    fn longest(&self) -> usize {
        match self {
            Request::Open(_) => MAX_FRAME_BYTES,
            _ => MAX_REQUEST_BYTES,
        }
    }

    fn longest_after(&self) -> usize {
        match self {
            Request::Open(_) => MAX_REQUEST_BYTES,
            _ => MAX_FRAME_BYTES,
        }
    }
}

/// Vectors and the report on a ladder are long.
impl SessionMessage for Reply {}

/// What a requester wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The job's id.
    pub job: JobId,
    /// The work.
    pub work: Work,
    /// TFuelWei for one unit, as offered.
    pub price: Wei,
    /// A reserve that the requester has opened for this provider.
    pub reserve: Option<u64>,
    /// Covers everything agreed so far, in case an earlier voucher was lost.
    pub voucher: Option<Box<Voucher>>,
}

/// What kind of session it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Segments by hash, until the requester closes.
    Relay,
    /// One job.
    Order {
        /// The order.
        order: Order,
    },
}

impl Work {
    /// The kind that prices it.
    pub fn kind(&self) -> JobKind {
        match self {
            Work::Relay => JobKind::Relay,
            Work::Order { order } => order.kind(),
        }
    }
}

/// From the provider to the requester.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Reply {
    /// The session is open.
    Accepted {
        /// TFuelWei that this requester may owe while it has no reserve.
        credit: Wei,
    },
    /// It is not, and the stream ends.
    Refused {
        /// Why.
        reason: Refusal,
        /// In words.
        message: String,
    },
    /// The source file's bytes are wanted now, in chunks.
    NeedSource,
    /// The renditions that will come, by name.
    Ladder {
        /// Names.
        renditions: Vec<String>,
    },
    /// News of the job. The bytes of a segment or thumbnail follow in chunks.
    Event {
        /// The news.
        event: Event,
    },
    /// A segment; its bytes follow in chunks.
    Segment {
        /// Its hash.
        hash: ContentHash,
        /// Its length.
        bytes: u64,
    },
    /// The provider does not have the segment, or it is larger than asked. Nothing is due for that.
    NotHere {
        /// The hash asked for.
        hash: ContentHash,
    },
    /// So many units of the job are delivered in all. Payment is wanted.
    Due {
        /// Units.
        units: u64,
    },
    /// A line is about to be settled: sign nothing more on it, and send its last voucher.
    Freeze {
        /// The line's reserve.
        reserve: u64,
        /// The line's payment sequence.
        sequence: u64,
    },
    /// The payment was not good. The stream ends.
    Unpaid {
        /// Why.
        message: String,
    },
    /// The provider works, and has nothing to show yet.
    Alive,
}

/// Why a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not offered here, or not any more.
    NotOffered,
    /// The price has gone up.
    Price,
    /// No free place, or paused.
    Busy,
    /// No reserve covers it, and credit does not either.
    NotCovered,
    /// Earlier work was never paid.
    Unpaid,
    /// The order is not one that can be worked on.
    BadOrder,
    /// Something is broken here.
    Internal,
}

impl Refusal {
    /// As the error of a job.
    pub fn error(self, message: impl Into<String>) -> JobError {
        let code = match self {
            Refusal::NotOffered | Refusal::Price => JobErrorCode::Unsupported,
            Refusal::Busy | Refusal::NotCovered | Refusal::Unpaid => JobErrorCode::Busy,
            Refusal::BadOrder => JobErrorCode::BadInput,
            Refusal::Internal => JobErrorCode::Internal,
        };
        JobError::new(code, message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_json_objects_with_a_word_that_says_what_they_are() {
        let pay = Request::Pay { units: 3, voucher: None };
        assert_eq!(serde_json::to_string(&pay).unwrap(), r#"{"say":"pay","units":3,"voucher":null}"#);
        let open = Request::Open(Box::new(Open {
            job: JobId([1; 16]),
            work: Work::Relay,
            price: Wei::from(7u64),
            reserve: Some(2),
            voucher: None,
        }));
        let text = serde_json::to_string(&open).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), open);
        let event = Reply::Event { event: Event::Progress { job: JobId([1; 16]), permille: 5 } };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), event);
    }

    proptest! {
        #[test]
        fn any_text_is_a_message_or_an_error(text in ".{0,200}") {
            let _ = serde_json::from_str::<Request>(&text);
            let _ = serde_json::from_str::<Reply>(&text);
        }
    }
}
