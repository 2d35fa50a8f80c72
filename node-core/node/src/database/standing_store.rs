//! How far other nodes are trusted.

use edge_market::{
    StoreError,
    standing::{FaultRecord, StandingRecord, StandingStore},
};
use rusqlite::params;

use super::{
    Database, DatabaseError,
    values::{Count, Party, collect, market_error, run},
};

impl StandingStore for Database {
    fn load(&self) -> Result<Vec<StandingRecord>, StoreError> {
        let records = self.read(|c| {
            collect(c, "SELECT node, penalty, at FROM standing", [], |row| {
                let (Party(node), Count(at)) = (row.get(0)?, row.get(2)?);
                Ok(StandingRecord { node, penalty: row.get(1)?, at })
            })
        });
        records.map_err(market_error)
    }

    fn put(&self, record: &StandingRecord, fault: &FaultRecord) -> Result<(), StoreError> {
        let kept = self.write(|tx| {
            let sql = "INSERT OR REPLACE INTO standing (node, penalty, at) VALUES (?1, ?2, ?3)";
            run(tx, sql, params![Party(record.node), record.penalty, Count(record.at)])?;
            let name = match serde_json::to_value(fault.fault) {
                Ok(serde_json::Value::String(name)) => name,
                other => return Err(DatabaseError::Damaged(format!("{other:?} is no fault"))),
            };
            let sql = "INSERT INTO faults (node, fault, at, detail) VALUES (?1, ?2, ?3, ?4)";
            run(tx, sql, params![Party(fault.node), name, Count(fault.at), fault.detail])
        });
        kept.map(drop).map_err(market_error)
    }
}
