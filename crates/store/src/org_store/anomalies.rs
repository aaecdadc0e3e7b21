//! What the anomaly rules remember and found: changed pieces are in memory until they are written.

use super::known_keys::KnownKeys;
use super::{PAGE, body, text};
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::time::UnixMillis;
use eroam_gateway::anomalies::{AnomalyCase, CaseState, RecordName, Sighting};
use eroam_gateway::ports::StoreError;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

const SIGHTINGS: Table =
    Table { name: "sightings", keys: &["operator", "cdr_id"], columns: &["ended_at", "body"], sticky: None };
const ANOMALIES: Table = Table {
    name: "anomalies",
    keys: &["operator", "cdr_id"],
    columns: &["waiting", "body", "evidence"],
    sticky: None,
};

pub(super) struct Anomalies {
    sightings: BTreeMap<RecordName, Sighting>,
    cases: BTreeMap<RecordName, AnomalyCase>,
    /// Nearly every record has no case.
    known: KnownKeys,
}

impl Anomalies {
    pub(super) fn load(database: &mut Database) -> Result<Self, StoreError> {
        let known = KnownKeys::load(
            database,
            ANOMALIES.name,
            2,
            "SELECT operator, cdr_id FROM anomalies WHERE (operator, cdr_id) > ($1, $2) \
             ORDER BY operator, cdr_id LIMIT $3",
        )?;
        Ok(Self { sightings: BTreeMap::new(), cases: BTreeMap::new(), known })
    }

    pub(super) fn put_sighting(&mut self, sighting: &Sighting) {
        self.sightings.insert(sighting.name.clone(), sighting.clone());
    }

    pub(super) fn put(&mut self, case: &AnomalyCase) {
        if self.cases.insert(case.name.clone(), case.clone()).is_none() {
            self.known.add(&case.name.operator.to_string(), case.name.cdr.as_str());
        }
    }

    pub(super) fn get(
        &self,
        database: &mut Database,
        name: &RecordName,
    ) -> Result<Option<AnomalyCase>, StoreError> {
        if let Some(case) = self.cases.get(name) {
            return Ok(Some(case.clone()));
        }
        let operator = name.operator.to_string();
        if !self.known.may_have(&operator, name.cdr.as_str()) {
            return Ok(None);
        }
        let sql = "SELECT body, evidence FROM anomalies WHERE operator = $1 AND cdr_id = $2";
        let row = database.row(sql, vec![Value::Text(operator), Value::Text(name.cdr.to_string())])?;
        row.map(|row| case(database, &row, 0)).transpose()
    }

    pub(super) fn sighting(
        &self,
        database: &mut Database,
        name: &RecordName,
    ) -> Result<Option<Sighting>, StoreError> {
        if let Some(sighting) = self.sightings.get(name) {
            return Ok(Some(sighting.clone()));
        }
        let sql = "SELECT body FROM sightings WHERE operator = $1 AND cdr_id = $2";
        let key = vec![Value::Text(name.operator.to_string()), Value::Text(name.cdr.to_string())];
        let row = database.row(sql, key)?;
        row.map(|row| body(database, SIGHTINGS.name, &row, 0)).transpose()
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if !self.sightings.is_empty() {
            database.put(&SIGHTINGS, self.sightings.values().map(sighting_row))?;
            self.sightings.clear();
        }
        if !self.cases.is_empty() {
            database.put(&ANOMALIES, self.cases.values().map(case_row))?;
            self.cases.clear();
        }
        Ok(())
    }
}

fn sighting_row(sighting: &Sighting) -> Result<Vec<Value>, serde_json::Error> {
    Ok(vec![
        Value::Text(sighting.name.operator.to_string()),
        Value::Text(sighting.name.cdr.to_string()),
        Value::Int(sighting.end.get()),
        Value::Text(serde_json::to_string(sighting)?),
    ])
}

fn case_row(case: &AnomalyCase) -> Result<Vec<Value>, serde_json::Error> {
    Ok(vec![
        Value::Text(case.name.operator.to_string()),
        Value::Text(case.name.cdr.to_string()),
        Value::Int(i64::from(case.state == CaseState::Waiting)),
        Value::Text(serde_json::to_string(case)?),
        Value::Bytes(case.evidence.clone()),
    ])
}

/// The case in columns `index` and the one after it: what JSON leaves out stands beside it.
fn case(database: &Database, row: &AnyRow, index: usize) -> Result<AnomalyCase, StoreError> {
    let case: AnomalyCase = body(database, ANOMALIES.name, row, index)?;
    let evidence = row.try_get(index.saturating_add(1));
    let evidence = evidence.map_err(|e| database.damaged("a record of `anomalies`", e))?;
    Ok(AnomalyCase { evidence, ..case })
}

/// What was written and ended at or after `instant`, in the order of the ends.
pub(super) fn sightings_since(
    database: &mut Database,
    instant: UnixMillis,
) -> Result<Vec<Sighting>, StoreError> {
    let sql = "SELECT body FROM sightings WHERE ended_at >= $1 ORDER BY ended_at, operator, cdr_id";
    let rows = database.rows(sql, vec![Value::Int(instant.get())])?;
    rows.iter().map(|row| body(database, SIGHTINGS.name, row, 0)).collect()
}

/// Deletes what was written and ended before `instant`, in the transaction that the next commit ends.
pub(super) fn remove_sightings_before(
    database: &mut Database,
    instant: UnixMillis,
) -> Result<u64, StoreError> {
    database.change("DELETE FROM sightings WHERE ended_at < $1", vec![Value::Int(instant.get())])
}

/// The written cases that wait for the ledger.
pub(super) fn waiting(database: &mut Database) -> Result<Vec<AnomalyCase>, StoreError> {
    let sql = "SELECT body, evidence FROM anomalies WHERE waiting = 1 ORDER BY operator, cdr_id";
    let rows = database.rows(sql, Vec::new())?;
    rows.iter().map(|row| case(database, row, 0)).collect()
}

/// Pages through the cases in the order of the primary key.
pub(super) fn each(
    database: &mut Database,
    visit: &mut dyn FnMut(AnomalyCase) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT operator, cdr_id, body, evidence FROM anomalies WHERE (operator, cdr_id) > ($1, $2) \
               ORDER BY operator, cdr_id LIMIT $3";
    let mut last = (String::new(), String::new());
    loop {
        let (operator, cdr) = last;
        let rows = database.rows(sql, vec![Value::Text(operator), Value::Text(cdr), Value::Int(PAGE)])?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = (text(database, ANOMALIES.name, end, 0)?, text(database, ANOMALIES.name, end, 1)?);
        for row in &rows {
            visit(case(database, row, 2)?)?;
        }
    }
}
