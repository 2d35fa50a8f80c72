//! Genesis files: snapshots of version 1 (spec 05 sections 2 and 8).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use theta_types::rlp::{Reader, encode_list, encode_string};
use theta_types::{BlockHeader, Encode, ForkHeights, RlpError, VoteSet};

use super::records::{RecordReader, write_record};
use super::{Genesis, GenesisError};
use crate::nodes::MemoryNodes;
use crate::trie::Trie;

const BEGIN: &[u8] = &[0];
const END: &[u8] = &[1];
const SNAPSHOT_MAGIC: &[u8] = b"ThetaToDaMoon";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

impl Genesis {
    /// Reads a genesis file, plain or compressed by gzip, and checks it: form, order of keys, state root, and for the main network the
    /// block's hash. For other networks follow with [`Genesis::require`].
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(source: impl Read) -> Result<Self, GenesisError> {
        let mut source = BufReader::with_capacity(64 * 1024, source);
        if source.fill_buf()?.starts_with(GZIP_MAGIC) {
            Self::read_plain(GzDecoder::new(source))
        } else {
            Self::read_plain(source)
        }
    }

    fn read_plain(source: impl Read) -> Result<Self, GenesisError> {
        let mut file = StateFile { records: RecordReader::new(source), index: 0 };
        let metadata = file.require()?;
        if let Some(version) = snapshot_version(&metadata) {
            return Err(GenesisError::Snapshot(version));
        }
        let header = genesis_header(&metadata).map_err(|error| GenesisError::Record { index: 0, error })?;
        let height = header.height.0.to_le_bytes();

        if file.pair()? != (BEGIN.to_vec(), height.to_vec()) {
            return Err(file.refused("the state does not begin with its height"));
        }
        let mut state = Trie::empty(Arc::new(MemoryNodes::default()));
        let mut last = Vec::new();
        loop {
            let (key, value) = file.pair()?;
            if key == END {
                if value != height {
                    return Err(file.refused("the state does not end with its height"));
                }
                break;
            }
            // This refuses the begin of another view, too: contracts, which have one of their own, come after genesis.
            if key <= last {
                return Err(file.refused("keys are not in ascending order"));
            }
            if value.is_empty() {
                return Err(file.refused("a key without a value"));
            }
            state.insert(&key, value)?;
            last = key;
        }
        if file.records.next_record()?.is_some() {
            file.index += 1;
            return Err(file.refused("something follows the state"));
        }
        Self::checked(header, state)
    }

    /// Writes the plain file that [`Genesis::read`] reads.
    ///
    /// # Errors
    /// The destination fails, or the state cannot be read.
    pub fn write(&self, mut to: impl Write) -> Result<(), GenesisError> {
        write_record(&metadata(&self.header), &mut to)?;
        let height = self.header.height.0.to_le_bytes();
        write_record(&pair(BEGIN, &height), &mut to)?;
        for entry in self.state.entries(b"") {
            let (key, value) = entry?;
            write_record(&pair(&key, &value), &mut to)?;
        }
        write_record(&pair(END, &height), &mut to)?;
        Ok(to.flush()?)
    }
}

/// The records, and the number of the one read last.
struct StateFile<R> {
    records: RecordReader<R>,
    index: u64,
}

impl<R: Read> StateFile<R> {
    fn require(&mut self) -> Result<Vec<u8>, GenesisError> {
        self.records.next_record()?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    /// The next record as a key and a value.
    fn pair(&mut self) -> Result<(Vec<u8>, Vec<u8>), GenesisError> {
        let record = self.require()?;
        self.index += 1;
        let read = || {
            let mut reader = Reader::new(&record);
            let mut items = reader.list()?;
            reader.finish()?;
            let pair = (items.string()?.to_vec(), items.string()?.to_vec());
            items.finish()?;
            Ok(pair)
        };
        read().map_err(|error| GenesisError::Record { index: self.index, error })
    }

    fn refused(&self, why: &'static str) -> GenesisError {
        GenesisError::Record { index: self.index, error: RlpError::Refused(why) }
    }
}

fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_list(&mut out, |out| {
        encode_string(key, out);
        encode_string(value, out);
    });
    out
}

/// The version of a later snapshot; a genesis file does not begin with the magic word.
fn snapshot_version(record: &[u8]) -> Option<u64> {
    let mut items = Reader::new(record).list().ok()?;
    if items.string().ok()? != SNAPSHOT_MAGIC {
        return None;
    }
    items.u64().ok()
}

/// Metadata of a genesis file: no proof trios, and a tail trio that has nothing but the genesis header in its middle.
fn metadata(header: &BlockHeader) -> Vec<u8> {
    let absent = BlockHeader::default();
    let mut out = Vec::new();
    encode_list(&mut out, |out| {
        encode_list(out, |_| {});
        encode_list(out, |out| {
            encode_list(out, |out| {
                absent.encode_to(out);
                encode_list(out, |_| {});
            });
            encode_list(out, |out| header.encode_to(out));
            encode_list(out, |out| {
                absent.encode_to(out);
                VoteSet::new().encode_to(out);
            });
        });
    });
    out
}

fn genesis_header(record: &[u8]) -> Result<BlockHeader, RlpError> {
    let mut reader = Reader::new(record);
    let mut items = reader.list()?;
    reader.finish()?;
    items.list()?;
    let mut trio = items.list()?;
    items.finish()?;
    trio.list()?;
    let mut second = trio.list()?;
    trio.list()?;
    trio.finish()?;
    // At height 0 no rule holds yet, on any network.
    let header = BlockHeader::decode_from(&mut second, &ForkHeights::mainnet())?;
    second.finish()?;
    if header.height.0 == 0 && metadata(&header) != record {
        return Err(RlpError::Refused("metadata of a genesis file hold the genesis header alone"));
    }
    Ok(header)
}
