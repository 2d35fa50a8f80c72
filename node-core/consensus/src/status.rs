//! How far a block has come.

/// What a node holds of a block (spec 03 section 2.13). The numbers are the reference's, which clients of the RPC see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum BlockStatus {
    /// It kept every rule.
    Valid = 1,
    /// And more than two thirds of the stake voted for it.
    Committed = 3,
    /// And so they did for a child that builds on their votes: it is final.
    DirectlyFinalized = 4,
    /// An ancestor of a final block: final, too.
    IndirectlyFinalized = 5,
    /// The block that the chain begins with here.
    Trusted = 6,
}

impl BlockStatus {
    /// Nothing can replace it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::DirectlyFinalized | Self::IndirectlyFinalized | Self::Trusted)
    }

    /// The reference's number.
    pub fn number(self) -> u16 {
        self as u16
    }

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        let all =
            [Self::Valid, Self::Committed, Self::DirectlyFinalized, Self::IndirectlyFinalized, Self::Trusted];
        all.into_iter().find(|status| status.number() == number)
    }
}
