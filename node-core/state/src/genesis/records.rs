//! The framing of snapshot files: length, then bytes (spec 05 section 1).

use std::io::{self, Read, Write};

use super::GenesisError;

/// Largest record. Accounts take about 150 bytes, the largest pools some hundred thousand.
pub(super) const MAX_RECORD: u64 = 64 << 20;

/// Largest sum of records. The main network's genesis has 4 MB.
const MAX_TOTAL: u64 = 1 << 30;

/// Takes records one by one. Memory grows with what is there, not with what a length claims.
#[derive(Debug)]
pub(super) struct RecordReader<R> {
    source: R,
    total: u64,
}

impl<R: Read> RecordReader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, total: 0 }
    }

    /// The next record's body; `None` at the end, which is only between records.
    pub(super) fn next_record(&mut self) -> Result<Option<Vec<u8>>, GenesisError> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        if length > MAX_RECORD {
            return Err(GenesisError::RecordTooLong { length, limit: MAX_RECORD });
        }
        self.total += length;
        if self.total > MAX_TOTAL {
            return Err(GenesisError::TooLarge(MAX_TOTAL));
        }
        let mut body = Vec::new();
        let read = self.source.by_ref().take(length).read_to_end(&mut body)?;
        if (read as u64) < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Some(body))
    }

    fn length(&mut self) -> Result<Option<u64>, GenesisError> {
        let mut bytes = Vec::with_capacity(8);
        match self.source.by_ref().take(8).read_to_end(&mut bytes)? {
            0 => Ok(None),
            _ => match <[u8; 8]>::try_from(bytes) {
                Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
                Err(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            },
        }
    }
}

/// Writes one record.
pub(super) fn write_record(body: &[u8], to: &mut impl Write) -> io::Result<()> {
    to.write_all(&(body.len() as u64).to_le_bytes())?;
    to.write_all(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let mut file = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            write_record(body, &mut file).unwrap();
        }
        let mut reader = RecordReader::new(&file[..]);
        let records: Vec<_> = std::iter::from_fn(|| reader.next_record().unwrap()).collect();
        assert_eq!(records, [b"one".to_vec(), vec![], b"three".to_vec()]);
    }

    #[test]
    fn a_cut_file_is_an_error_wherever_it_is_cut() {
        let mut file = Vec::new();
        write_record(b"a record", &mut file).unwrap();
        for end in 1..file.len() {
            let cut = RecordReader::new(&file[..end]).next_record();
            assert!(
                matches!(cut, Err(GenesisError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof),
                "{end}"
            );
        }
    }

    #[test]
    fn a_length_that_lies_costs_nothing() {
        for (length, refused) in [(u64::MAX, true), (MAX_RECORD + 1, true), (MAX_RECORD, false)] {
            let file = [&length.to_le_bytes()[..], b"short"].concat();
            let error = RecordReader::new(&file[..]).next_record().unwrap_err();
            assert_eq!(matches!(error, GenesisError::RecordTooLong { .. }), refused);
        }
    }
}
