//! Appending RLP items to a buffer.

const SHORT_LIMIT: usize = 56;

/// Appends a byte string.
pub fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        [byte] if *byte < 0x80 => out.push(*byte),
        _ => {
            let (header, length) = header(0x80, bytes.len());
            out.extend_from_slice(&header[..length]);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends an unsigned integer given as big-endian bytes; leading zeros are dropped.
pub fn encode_uint_bytes(big_endian: &[u8], out: &mut Vec<u8>) {
    let first = big_endian.iter().position(|byte| *byte != 0).unwrap_or(big_endian.len());
    encode_string(&big_endian[first..], out);
}

/// Appends a list whose elements `write_elements` appends.
pub fn encode_list(out: &mut Vec<u8>, write_elements: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write_elements(out);
    // The header is known only now. Its bytes go to the end, and one rotation brings them before the elements.
    let (header, length) = header(0xc0, out.len() - start);
    out.extend_from_slice(&header[..length]);
    out[start..].rotate_right(length);
}

/// Header bytes of an item of `length` payload bytes, and how many of them are used. `base` is 0x80 or 0xc0.
fn header(base: u8, length: usize) -> ([u8; 9], usize) {
    let mut header = [0u8; 9];
    if length < SHORT_LIMIT {
        header[0] = base + length as u8;
        return (header, 1);
    }
    let bytes = (length as u64).to_be_bytes();
    let skip = (length as u64).leading_zeros() as usize / 8;
    let used = bytes.len() - skip;
    header[0] = base + 55 + used as u8;
    header[1..=used].copy_from_slice(&bytes[skip..]);
    (header, used + 1)
}
