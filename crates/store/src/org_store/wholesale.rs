//! Booked records of the organisation as operator.

use super::{PAGE, body, int, text};
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::PartyId;
use eroam_domain::time::{PeriodKind, SettlementPeriod};
use eroam_gateway::invoice::WholesaleLine;
use eroam_gateway::ports::StoreError;
use std::collections::BTreeMap;

const TABLE: Table = Table {
    name: "wholesale",
    keys: &["emsp", "period_kind", "period_index", "cdr_id"],
    columns: &["body"],
    sticky: None,
};

#[derive(Default)]
pub(super) struct Wholesale {
    changed: BTreeMap<(PartyId, SettlementPeriod, CdrId), WholesaleLine>,
}

impl Wholesale {
    pub(super) fn put(&mut self, line: &WholesaleLine) {
        self.changed.insert((line.emsp, line.period, line.cdr.clone()), line.clone());
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let rows = self.changed.iter().map(|((emsp, period, cdr), line)| {
            Ok(vec![
                Value::Text(emsp.to_string()),
                Value::Int(kind(*period)),
                Value::Int(i64::from(period.index())),
                Value::Text(cdr.to_string()),
                Value::Text(serde_json::to_string(line)?),
            ])
        });
        database.put(&TABLE, rows)?;
        self.changed.clear();
        Ok(())
    }
}

/// In the order of [`PeriodKind`].
const fn kind(period: SettlementPeriod) -> i64 {
    match period.kind() {
        PeriodKind::Day => 0,
        PeriodKind::Week => 1,
        PeriodKind::Month => 2,
    }
}

/// Pages through the lines in the order of the primary key.
pub(super) fn each(
    database: &mut Database,
    visit: &mut dyn FnMut(PartyId, SettlementPeriod, WholesaleLine) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT emsp, period_kind, period_index, cdr_id, body FROM wholesale \
               WHERE (emsp, period_kind, period_index, cdr_id) > ($1, $2, $3, $4) \
               ORDER BY emsp, period_kind, period_index, cdr_id LIMIT $5";
    let mut last = (String::new(), 0, 0, String::new());
    loop {
        let (emsp, kind, index, cdr) = last;
        let values =
            vec![Value::Text(emsp), Value::Int(kind), Value::Int(index), Value::Text(cdr), Value::Int(PAGE)];
        let rows = database.rows(sql, values)?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = (
            text(database, TABLE.name, end, 0)?,
            int(database, TABLE.name, end, 1)?,
            int(database, TABLE.name, end, 2)?,
            text(database, TABLE.name, end, 3)?,
        );
        for row in &rows {
            let line: WholesaleLine = body(database, TABLE.name, row, 4)?;
            visit(line.emsp, line.period, line)?;
        }
    }
}
