//! What stations sent of sessions, and home utilities of contests: new pieces are in memory until they are written.

use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::time::UnixMillis;
use eroam_gateway::ports::{EVIDENCE_BYTES_MAX, EvidenceName, StoreError};
use sqlx::Row as _;
use std::collections::BTreeMap;

const TABLE: Table =
    Table { name: "evidence", keys: &["session"], columns: &["kept_at", "bytes"], sticky: None };

#[derive(Default)]
pub(super) struct Evidence {
    changed: BTreeMap<EvidenceName, (UnixMillis, Vec<u8>)>,
}

impl Evidence {
    pub(super) fn get(
        &self,
        database: &mut Database,
        name: &EvidenceName,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((_, bytes)) = self.changed.get(name) {
            return Ok(Some(bytes.clone()));
        }
        let sql = "SELECT bytes FROM evidence WHERE session = $1";
        let Some(row) = database.row(sql, vec![Value::Text(name.to_string())])? else { return Ok(None) };
        row.try_get(0).map(Some).map_err(|e| database.damaged("a record of `evidence`", e))
    }

    pub(super) fn put(
        &mut self,
        name: &EvidenceName,
        kept_at: UnixMillis,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            let what = format!(
                "the evidence {name} has {} bytes, and {EVIDENCE_BYTES_MAX} at most are kept",
                bytes.len()
            );
            return Err(StoreError { what, source: None });
        }
        self.changed.insert(name.clone(), (kept_at, bytes.to_vec()));
        Ok(())
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.changed).into_iter().map(|(name, (kept_at, bytes))| {
            Ok(vec![Value::Text(name.to_string()), Value::Int(kept_at.get()), Value::Bytes(bytes)])
        });
        database.put(&TABLE, rows)
    }
}

/// Deletes what was written and kept before `instant`, in the transaction that the next commit ends.
pub(super) fn remove_before(database: &mut Database, instant: UnixMillis) -> Result<u64, StoreError> {
    database.change("DELETE FROM evidence WHERE kept_at < $1", vec![Value::Int(instant.get())])
}
