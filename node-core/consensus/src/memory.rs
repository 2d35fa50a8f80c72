//! What a validator must not forget.

use theta_types::rlp::{Reader, encode_list};
use theta_types::{BlockHash, Decode, Encode, Epoch, Height, RlpError, Vote};

/// The consensus state that survives a crash (spec 03 section 2.12). It is durable before anything that follows from it is sent, so that
/// a validator never contradicts what it said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The block that the chain begins with here.
    pub(crate) root: BlockHash,
    /// The highest block with a majority of votes. Never goes back.
    pub(crate) highest_commit: BlockHash,
    /// The last final block.
    pub(crate) last_final: BlockHash,
    /// The epoch now.
    pub(crate) epoch: Epoch,
    /// The last own proposal. No second block is signed for its epoch or an earlier one.
    pub(crate) last_proposal: Option<(Epoch, BlockHash)>,
    /// The last own vote for a new block.
    pub(crate) last_vote: Option<Vote>,
    /// The highest block ever voted for. No other block of this height or a lower one is.
    pub(crate) highest_voted: Height,
}

impl Memory {
    /// Of a chain that begins with this block.
    pub(crate) fn at_root(root: BlockHash, epoch: Epoch) -> Self {
        Self {
            root,
            highest_commit: root,
            last_final: root,
            epoch,
            last_proposal: None,
            last_vote: None,
            highest_voted: Height(0),
        }
    }
}

impl Encode for Memory {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.root.encode_to(out);
            self.highest_commit.encode_to(out);
            self.last_final.encode_to(out);
            self.epoch.encode_to(out);
            encode_list(out, |out| {
                if let Some((epoch, block)) = &self.last_proposal {
                    epoch.encode_to(out);
                    block.encode_to(out);
                }
            });
            encode_list(out, |out| {
                if let Some(vote) = &self.last_vote {
                    vote.encode_to(out);
                }
            });
            self.highest_voted.encode_to(out);
        });
    }
}

impl Decode for Memory {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut items = reader.list()?;
        let memory = Self {
            root: Decode::decode_from(&mut items)?,
            highest_commit: Decode::decode_from(&mut items)?,
            last_final: Decode::decode_from(&mut items)?,
            epoch: Decode::decode_from(&mut items)?,
            last_proposal: optional(&mut items, |item| {
                Ok((Decode::decode_from(item)?, Decode::decode_from(item)?))
            })?,
            last_vote: optional(&mut items, Vote::decode_from)?,
            highest_voted: Decode::decode_from(&mut items)?,
        };
        items.finish()?;
        Ok(memory)
    }
}

fn optional<T>(
    items: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, RlpError>,
) -> Result<Option<T>, RlpError> {
    let mut item = items.list()?;
    if item.is_empty() {
        return Ok(None);
    }
    let value = read(&mut item)?;
    item.finish()?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use theta_types::{B256, SecretKey};

    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let hash = |byte| BlockHash(B256::repeat_byte(byte));
        let fresh = Memory::at_root(hash(1), Epoch(0));
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let full = Memory {
            highest_commit: hash(3),
            last_final: hash(2),
            epoch: Epoch(9),
            last_proposal: Some((Epoch(8), hash(4))),
            last_vote: Some(Vote::signed(hash(4), Height(3), Epoch(9), &key)),
            highest_voted: Height(3),
            ..fresh.clone()
        };
        for memory in [fresh, full] {
            assert_eq!(Memory::from_rlp(&memory.to_rlp()).unwrap(), memory);
        }
    }
}
