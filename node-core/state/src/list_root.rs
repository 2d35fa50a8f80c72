//! The root of a list: how a header commits to its transactions.

use std::sync::Arc;

use theta_types::B256;
use theta_types::rlp::Encode;

use crate::nodes::MemoryNodes;
use crate::trie::Trie;

/// Root of the trie from each element's RLP-encoded index to the element (spec 03 section 3.3). An empty element does not count.
pub fn list_root<T: AsRef<[u8]>>(elements: impl IntoIterator<Item = T>) -> B256 {
    let mut trie = Trie::empty(Arc::new(MemoryNodes::default()));
    for (index, element) in (0u64..).zip(elements) {
        trie.insert(&index.to_rlp(), element.as_ref()).expect("a trie that is in memory whole lacks no node");
    }
    trie.root()
}
