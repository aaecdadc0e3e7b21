//! Records that may be trued up: changed ones are in memory until they are written.

use super::body;
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::time::UnixMillis;
use eroam_gateway::anomalies::RecordName;
use eroam_gateway::ports::StoreError;
use eroam_gateway::true_ups::AwaitedTrueUp;
use std::collections::BTreeMap;

const TABLE: Table =
    Table { name: "true_ups", keys: &["operator", "cdr_id"], columns: &["look_at", "body"], sticky: None };

#[derive(Default)]
pub(super) struct TrueUps {
    changed: BTreeMap<RecordName, AwaitedTrueUp>,
}

impl TrueUps {
    pub(super) fn put(&mut self, awaited: &AwaitedTrueUp) {
        self.changed.insert(awaited.name(), awaited.clone());
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let rows = self.changed.values().map(|awaited| {
            Ok(vec![
                Value::Text(awaited.operator.to_string()),
                Value::Text(awaited.cdr.id.to_string()),
                Value::Int(awaited.look_at.get()),
                Value::Text(serde_json::to_string(awaited)?),
            ])
        });
        database.put(&TABLE, rows)?;
        self.changed.clear();
        Ok(())
    }
}

/// The written records to look at by `now`, the earliest first.
pub(super) fn due(
    database: &mut Database,
    now: UnixMillis,
    count: u32,
) -> Result<Vec<AwaitedTrueUp>, StoreError> {
    let sql = "SELECT body FROM true_ups WHERE look_at <= $1 ORDER BY look_at, operator, cdr_id LIMIT $2";
    let rows = database.rows(sql, vec![Value::Int(now.get()), Value::Int(count.into())])?;
    rows.iter().map(|row| body(database, TABLE.name, row, 0)).collect()
}

/// Deletes a written record, in the transaction that the next commit ends.
pub(super) fn remove(database: &mut Database, name: &RecordName) -> Result<(), StoreError> {
    let values = vec![Value::Text(name.operator.to_string()), Value::Text(name.cdr.to_string())];
    database.change("DELETE FROM true_ups WHERE operator = $1 AND cdr_id = $2", values).map(|_| ())
}
