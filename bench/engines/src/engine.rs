//! The engines behind one interface: an atomic durable batch, a read.

use std::path::Path;

pub type Error = Box<dyn std::error::Error>;
pub type Pair = (Vec<u8>, Vec<u8>);

/// What the chain asks of an engine.
pub trait Engine {
    /// Writes all pairs or none, and returns when they are on the disk.
    fn commit(&mut self, pairs: &[Pair]) -> Result<(), Error>;
    /// Reads one value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
}

/// The contestants by name.
pub const NAMES: &[&str] = &[
    "redb",
    "redb-quick-repair",
    "fjall",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
];

/// Opens a database in a folder, or makes it.
pub fn open(name: &str, folder: &Path) -> Result<Box<dyn Engine>, Error> {
    match name {
        "redb" => Ok(Box::new(Redb::open(folder, false)?)),
        "redb-quick-repair" => Ok(Box::new(Redb::open(folder, true)?)),
        "fjall" => Ok(Box::new(Fjall::open(folder)?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(Rocks::open(folder)?)),
        other => Err(format!("no engine is called {other}").into()),
    }
}

const CACHE: usize = 64 << 20;

struct Redb {
    database: redb::Database,
    quick_repair: bool,
}

const TABLE: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("nodes");

impl Redb {
    fn open(folder: &Path, quick_repair: bool) -> Result<Self, Error> {
        let database = redb::Builder::new().set_cache_size(CACHE).create(folder.join("redb"))?;
        Ok(Self { database, quick_repair })
    }
}

impl Engine for Redb {
    fn commit(&mut self, pairs: &[Pair]) -> Result<(), Error> {
        let mut sorted: Vec<_> = pairs.iter().collect();
        sorted.sort();
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(self.quick_repair);
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in sorted {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        use redb::ReadableDatabase;
        let transaction = self.database.begin_read()?;
        match transaction.open_table(TABLE) {
            Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

struct Fjall {
    database: fjall::Database,
    nodes: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Self, Error> {
        let database = fjall::Database::builder(folder.join("fjall")).cache_size(CACHE as u64).open()?;
        let nodes = database.keyspace("nodes", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, nodes })
    }
}

impl Engine for Fjall {
    fn commit(&mut self, pairs: &[Pair]) -> Result<(), Error> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncAll));
        for (key, value) in pairs {
            batch.insert(&self.nodes, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.nodes.get(key)?.map(|value| value.to_vec()))
    }
}

#[cfg(feature = "rocksdb")]
struct Rocks {
    database: rocksdb::DB,
}

#[cfg(feature = "rocksdb")]
impl Rocks {
    fn open(folder: &Path) -> Result<Self, Error> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        let mut blocks = rocksdb::BlockBasedOptions::default();
        blocks.set_block_cache(&rocksdb::Cache::new_lru_cache(CACHE));
        blocks.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        Ok(Self { database: rocksdb::DB::open(&options, folder.join("rocksdb"))? })
    }
}

#[cfg(feature = "rocksdb")]
impl Engine for Rocks {
    fn commit(&mut self, pairs: &[Pair]) -> Result<(), Error> {
        let mut batch = rocksdb::WriteBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        Ok(self.database.write_opt(batch, &options)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.database.get(key)?)
    }
}
