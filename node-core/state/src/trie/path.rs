//! Paths through the trie: keys as nibbles, and their compact form inside nodes.

/// A key or a part of one, a nibble a byte, high nibble first.
pub(super) type Nibbles = Box<[u8]>;

/// The nibbles of a key.
pub(super) fn nibbles_of(key: &[u8]) -> Vec<u8> {
    key.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).collect()
}

/// The key of nibbles; `None` when their number is odd, as it can only be in a foreign trie.
pub(super) fn key_of(nibbles: &[u8]) -> Option<Vec<u8>> {
    let pairs = nibbles.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// How many leading nibbles two paths share.
pub(super) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// `a` followed by `b`.
pub(super) fn joined(a: &[u8], b: &[u8]) -> Nibbles {
    [a, b].concat().into()
}

const ODD: u8 = 0x10;
const LEAF: u8 = 0x20;

/// The hex-prefix form: a flag nibble (leaf or extension, odd or even), then the path, two nibbles a byte.
pub(super) fn compact(path: &[u8], leaf: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len() / 2 + 1);
    let flag = if leaf { LEAF } else { 0 };
    let even = if path.len() % 2 == 1 {
        bytes.push(flag | ODD | path[0]);
        &path[1..]
    } else {
        bytes.push(flag);
        path
    };
    bytes.extend(even.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    bytes
}

/// Reads the hex-prefix form: the path, and whether it is a leaf's. `None` when it is not the one form of any path.
pub(super) fn from_compact(bytes: &[u8]) -> Option<(Nibbles, bool)> {
    let (first, rest) = bytes.split_first()?;
    let leaf = first & LEAF != 0;
    let odd = first & ODD != 0;
    if first & 0xc0 != 0 || (!odd && first & 0x0f != 0) {
        return None;
    }
    let head = odd.then_some(first & 0x0f);
    Some((head.into_iter().chain(rest.iter().flat_map(|byte| [byte >> 4, byte & 0x0f])).collect(), leaf))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compact_form_has_the_four_flags() {
        assert_eq!(compact(&[1, 2, 3, 4, 5], false), [0x11, 0x23, 0x45]);
        assert_eq!(compact(&[0, 1, 2, 3, 4, 5], false), [0x00, 0x01, 0x23, 0x45]);
        assert_eq!(compact(&[0xf, 1, 0xc, 0xb, 8], true), [0x3f, 0x1c, 0xb8]);
        assert_eq!(compact(&[], true), [0x20]);
    }

    proptest! {
        #[test]
        fn compact_form_reads_back(path in proptest::collection::vec(0u8..16, 0..40), leaf: bool) {
            let (read, read_leaf) = from_compact(&compact(&path, leaf)).unwrap();
            prop_assert_eq!(&*read, &path[..]);
            prop_assert_eq!(read_leaf, leaf);
        }

        #[test]
        fn what_reads_as_compact_form_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Some((path, leaf)) = from_compact(&bytes) {
                prop_assert_eq!(compact(&path, leaf), bytes);
            }
        }
    }
}
