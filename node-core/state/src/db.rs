//! The chain's database.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};
use theta_types::B256;

use crate::nodes::{NodeStore, StoreError};

/// What the chain keeps (design section 6): byte strings by byte strings, in one file of one process.
///
/// The engine behind it is redb, chosen by measurement (docs/storage-engine.md); nothing of it shows here. A clone is another handle on
/// the same database, which closes with the last of them or by [`ChainDb::close`].
#[derive(Clone)]
pub struct ChainDb {
    engine: Arc<RwLock<Engine>>,
}

/// The tables. Keys of each are of one kind; who writes a table decides what its values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Trie nodes by hash.
    Nodes,
    /// Blocks by hash.
    Blocks,
    /// Blocks by height, big-endian, so that they are in order.
    Heights,
    /// Places of transactions by hash.
    Transactions,
    /// What the validator and the block tree must remember, by name.
    Consensus,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 5] =
        [Self::Nodes, Self::Blocks, Self::Heights, Self::Transactions, Self::Consensus];

    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Self::Nodes => "nodes",
            Self::Blocks => "blocks",
            Self::Heights => "heights",
            Self::Transactions => "transactions",
            Self::Consensus => "consensus",
        })
    }
}

/// A key and what it holds.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Changes that become durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a value, in place of what the key held.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push((table, key.into(), Some(value.into())));
    }

    /// Removes a key.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.changes.push((table, key.into(), None));
    }

    /// Stores trie nodes, as [`crate::Trie::unsaved_nodes`] gives them.
    pub fn put_nodes(&mut self, nodes: Vec<(B256, Vec<u8>)>) {
        self.changes.extend(nodes.into_iter().map(|(hash, node)| (Table::Nodes, hash.to_vec(), Some(node))));
    }

    /// True without changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What the engine may keep in memory, in bytes. The operating system caches the file besides.
const CACHE: usize = 64 << 20;

impl ChainDb {
    /// Opens the database at this path, or makes it. What was committed is there, whatever ended the process that wrote it.
    ///
    /// # Errors
    /// The file is open elsewhere, damaged, or cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), false)
    }

    /// Opens the database, which must exist, and reads every page of it for its checksum first.
    ///
    /// # Errors
    /// As [`ChainDb::open`]; and any damage.
    pub fn open_checked(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.is_file() {
            return Err(StoreError::new(format_args!("there is no database at {}", path.display())));
        }
        Self::open_with(path, true)
    }

    /// A database in memory, gone with its last handle: for simulations.
    ///
    /// # Errors
    /// Memory is exhausted.
    pub fn in_memory() -> Result<Self, StoreError> {
        let engine = Builder::new().create_with_backend(InMemoryBackend::new()).map_err(StoreError::new)?;
        Ok(Self { engine: Arc::new(RwLock::new(Engine(Some(engine)))) })
    }

    fn open_with(path: &Path, check: bool) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(check);
        let engine = unless_damaged(|| {
            builder.create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => {
                    StoreError::new(format_args!("{} is in use by another process", path.display()))
                }
                other => StoreError::new(other),
            })
        })?;
        Ok(Self { engine: Arc::new(RwLock::new(Engine(Some(engine)))) })
    }

    /// Closes the database for all handles, after what is being read and written now. From then on they give errors.
    pub fn close(&self) {
        self.engine.write().unwrap_or_else(PoisonError::into_inner).close();
    }

    fn opened(&self) -> Opened<'_> {
        Opened(self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes all changes of the batch durable, or none. Returns after they reached the disk.
    ///
    /// # Errors
    /// The engine failed, as on a full disk. Nothing of the batch is visible, then or later.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let Batch { mut changes } = batch;
        // Neighbours in a table are neighbours on its pages. Of two changes to a key the later one counts: the sort is stable.
        changes.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let opened = self.opened();
        let engine = opened.engine()?;
        unless_damaged(|| {
            let mut transaction = engine.begin_write().map_err(StoreError::new)?;
            // The next start after a crash then needs no walk over the whole file.
            transaction.set_quick_repair(true);
            for changes in changes.chunk_by(|a, b| a.0 == b.0) {
                let mut table = transaction.open_table(changes[0].0.definition()).map_err(StoreError::new)?;
                for (_, key, value) in changes {
                    match value {
                        Some(value) => {
                            table.insert(key.as_slice(), value.as_slice()).map_err(StoreError::new)?
                        }
                        None => table.remove(key.as_slice()).map_err(StoreError::new)?,
                    };
                }
            }
            transaction.commit().map_err(StoreError::new)
        })
    }

    /// What the key holds.
    ///
    /// # Errors
    /// The engine failed.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.opened();
        let engine = opened.engine()?;
        unless_damaged(|| {
            let transaction = engine.begin_read().map_err(StoreError::new)?;
            match transaction.open_table(table.definition()) {
                Ok(table) => Ok(table.get(key).map_err(StoreError::new)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(StoreError::new(error)),
            }
        })
    }

    /// Up to `limit` entries of a table by ascending key, beginning with `from`.
    ///
    /// # Errors
    /// The engine failed.
    pub fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let opened = self.opened();
        let engine = opened.engine()?;
        unless_damaged(|| {
            let transaction = engine.begin_read().map_err(StoreError::new)?;
            let table = match transaction.open_table(table.definition()) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(StoreError::new(error)),
            };
            let mut entries = Vec::new();
            for entry in table.range(from..).map_err(StoreError::new)?.take(limit) {
                let (key, value) = entry.map_err(StoreError::new)?;
                entries.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(entries)
        })
    }
}

/// The engine checks its pages' checksums only when it is asked to, and panics on some pages that make no sense. Such a page is damage to be
/// told like any other, and no reason for the node to end.
fn unless_damaged<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What the engine had begun is a transaction that is never committed.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::new("its file is damaged: restore a copy, or start anew")))
}

/// The engine, until it is closed.
struct Engine(Option<Database>);

impl Engine {
    /// It may find damage then, too. What was committed is on the disk; only a note for a faster start is not written.
    fn close(&mut self) {
        let engine = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Keeps the database from being closed in the middle of something.
struct Opened<'a>(RwLockReadGuard<'a, Engine>);

impl Opened<'_> {
    fn engine(&self) -> Result<&Database, StoreError> {
        self.0.0.as_ref().ok_or_else(|| StoreError::new("it is closed"))
    }
}

impl NodeStore for ChainDb {
    fn node(&self, hash: &B256) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Table::Nodes, hash.as_slice())
    }
}

impl fmt::Debug for ChainDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainDb").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Change = (usize, Vec<u8>, Option<Vec<u8>>);

    fn batch_of(changes: &[Change]) -> Batch {
        let mut batch = Batch::new();
        for (table, key, value) in changes {
            match value {
                Some(value) => batch.put(Table::ALL[*table], key.clone(), value.clone()),
                None => batch.delete(Table::ALL[*table], key.clone()),
            }
        }
        batch
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn holds_what_a_map_would_hold_after_reopening_too(
            batches in proptest::collection::vec(
                proptest::collection::vec((0..5usize, proptest::collection::vec(0u8..4, 0..3), any::<Option<Vec<u8>>>()), 0..20),
                1..4,
            ),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("chain.db");
            let mut wanted = vec![BTreeMap::new(); 5];
            let db = ChainDb::open(&path).unwrap();
            for changes in &batches {
                db.commit(batch_of(changes)).unwrap();
                for (table, key, value) in changes {
                    match value {
                        Some(value) => wanted[*table].insert(key.clone(), value.clone()),
                        None => wanted[*table].remove(key),
                    };
                }
            }
            drop(db);
            let db = ChainDb::open_checked(&path).unwrap();
            for (table, wanted) in Table::ALL.iter().zip(&wanted) {
                let found: BTreeMap<_, _> = db.scan(*table, &[], usize::MAX).unwrap().into_iter().collect();
                prop_assert_eq!(&found, wanted);
                for (key, value) in wanted {
                    let held = db.get(*table, key).unwrap();
                    prop_assert_eq!(held.as_ref(), Some(value));
                }
            }
        }
    }

    /// The engine looks at checksums only when it is told to; what it then reads may be anything.
    #[test]
    fn no_changed_byte_of_the_file_makes_it_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.db");
        let db = ChainDb::open(&path).unwrap();
        let mut batch = Batch::new();
        for number in 0u16..200 {
            batch.put(
                Table::ALL[usize::from(number) % 5],
                number.to_be_bytes(),
                vec![1; usize::from(number)],
            );
        }
        db.commit(batch).unwrap();
        drop(db);
        let original = std::fs::read(&path).unwrap();
        let used: Vec<_> = (0..original.len()).filter(|at| original[*at] != 0).collect();
        let mut refused = 0;
        for at in used.iter().step_by(used.len().div_ceil(150)) {
            let mut bytes = original.clone();
            bytes[*at] ^= 0x90;
            std::fs::write(&path, &bytes).unwrap();
            let Ok(db) = ChainDb::open(&path) else {
                refused += 1;
                continue;
            };
            for table in Table::ALL {
                refused += u32::from(db.scan(table, &[], usize::MAX).is_err());
                refused += u32::from(db.get(table, &7u16.to_be_bytes()).is_err());
            }
            let mut batch = Batch::new();
            batch.put(Table::Consensus, *b"key", *b"value");
            let _ = db.commit(batch);
        }
        assert!(refused > 0);
    }

    #[test]
    fn has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.db");
        let _owner = ChainDb::open(&path).unwrap();
        assert!(ChainDb::open(&path).unwrap_err().to_string().contains("in use"));
    }

    #[test]
    fn a_closed_one_gives_errors_and_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.db");
        let (one, two) = (ChainDb::open(&path).unwrap(), ChainDb::open(&path).err());
        assert!(two.is_some());
        let other_handle = one.clone();
        one.close();
        assert!(other_handle.get(Table::Blocks, b"key").is_err());
        assert!(other_handle.commit(Batch::new()).is_err());
        assert!(ChainDb::open(&path).is_ok());
    }

    #[test]
    fn a_scan_begins_where_asked_and_ends_at_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(folder.path().join("chain.db")).unwrap();
        let mut batch = Batch::new();
        for height in 0u64..10 {
            batch.put(Table::Heights, height.to_be_bytes(), [height as u8]);
        }
        db.commit(batch).unwrap();
        let found = db.scan(Table::Heights, &4u64.to_be_bytes(), 3).unwrap();
        assert_eq!(found.into_iter().map(|(_, value)| value[0]).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
