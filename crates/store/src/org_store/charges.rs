//! What is known of customers' charges: unbilled ones stay in memory, billed ones leave it once they are written.

use super::known_keys::KnownKeys;
use super::{PAGE, body, int, text};
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::{ContractIdForm, PartyId};
use eroam_gateway::billing::{BillLine, Charge};
use eroam_gateway::ports::StoreError;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: Table = Table {
    name: "charges",
    keys: &["operator", "cdr_id"],
    columns: &["state", "contract_form", "contract", "month", "started_at", "body"],
    sticky: None,
};

type Key = (PartyId, CdrId);

pub(super) struct Charges {
    /// Unbilled and changed ones.
    kept: BTreeMap<Key, Charge>,
    changed: BTreeSet<Key>,
    known: KnownKeys,
}

impl Charges {
    pub(super) fn load(database: &mut Database) -> Result<Self, StoreError> {
        let known = KnownKeys::load(
            database,
            TABLE.name,
            2,
            "SELECT operator, cdr_id FROM charges WHERE (operator, cdr_id) > ($1, $2) \
             ORDER BY operator, cdr_id LIMIT $3",
        )?;
        let mut kept = BTreeMap::new();
        let sql = "SELECT operator, cdr_id, body FROM charges WHERE state <> 'billed'";
        for row in database.rows(sql, Vec::new())? {
            let operator = text(database, TABLE.name, &row, 0)?.parse();
            let operator = operator.map_err(|e| database.damaged("a key of `charges`", e))?;
            let cdr = text(database, TABLE.name, &row, 1)?.parse();
            let cdr = cdr.map_err(|e: String| database.damaged("a key of `charges`", e))?;
            kept.insert((operator, cdr), body(database, TABLE.name, &row, 2)?);
        }
        Ok(Self { kept, changed: BTreeSet::new(), known })
    }

    pub(super) fn get(
        &self,
        database: &mut Database,
        operator: PartyId,
        cdr: &CdrId,
    ) -> Result<Option<Charge>, StoreError> {
        if let Some(charge) = self.kept.get(&(operator, cdr.clone())) {
            return Ok(Some(charge.clone()));
        }
        let operator = operator.to_string();
        if !self.known.may_have(&operator, cdr.as_str()) {
            return Ok(None);
        }
        let sql = "SELECT body FROM charges WHERE operator = $1 AND cdr_id = $2";
        let row = database.row(sql, vec![Value::Text(operator), Value::Text(cdr.to_string())])?;
        row.map(|row| body(database, TABLE.name, &row, 0)).transpose()
    }

    pub(super) fn put(&mut self, operator: PartyId, cdr: &CdrId, charge: &Charge) {
        let key = (operator, cdr.clone());
        if self.kept.insert(key.clone(), charge.clone()).is_none() {
            self.known.add(&operator.to_string(), cdr.as_str());
        }
        self.changed.insert(key);
    }

    pub(super) fn unbilled(&self) -> Vec<(PartyId, CdrId, Charge)> {
        let unbilled = self.kept.iter().filter(|(_, charge)| !is_billed(charge));
        unbilled.map(|((operator, cdr), charge)| (*operator, cdr.clone(), charge.clone())).collect()
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let changed = self.changed.iter().filter_map(|key| Some((key, self.kept.get(key)?)));
        database.put(&TABLE, changed.map(|(key, charge)| row(key, charge)))?;
        for key in std::mem::take(&mut self.changed) {
            if self.kept.get(&key).is_some_and(is_billed) {
                self.kept.remove(&key);
            }
        }
        Ok(())
    }
}

const fn is_billed(charge: &Charge) -> bool {
    matches!(charge, Charge::Billed(_))
}

fn row((operator, cdr): &Key, charge: &Charge) -> Result<Vec<Value>, serde_json::Error> {
    let (state, line) = match charge {
        Charge::Reported(_) => ("reported", None),
        Charge::Booked(_) => ("booked", None),
        Charge::Disputed { .. } => ("disputed", None),
        Charge::Billed(line) => ("billed", Some(line)),
    };
    let form = |line: &BillLine| match line.contract.form() {
        ContractIdForm::Iso => 0,
        ContractIdForm::Din => 1,
    };
    Ok(vec![
        Value::Text(operator.to_string()),
        Value::Text(cdr.to_string()),
        Value::Text(state.into()),
        Value::OptionalInt(line.map(|l| form(l))),
        Value::OptionalText(line.map(|l| l.contract.to_string())),
        Value::OptionalText(line.map(|l| l.month.to_string())),
        Value::OptionalInt(line.map(|l| l.start.get())),
        Value::Text(serde_json::to_string(charge)?),
    ])
}

/// Pages through the bill lines in the order of the index; each page starts after the last key of the one before.
pub(super) fn each_bill_line(
    database: &mut Database,
    visit: &mut dyn FnMut(BillLine) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT contract_form, contract, month, started_at, cdr_id, operator, body FROM charges \
               WHERE state = 'billed' \
               AND (contract_form, contract, month, started_at, cdr_id, operator) > ($1, $2, $3, $4, $5, $6) \
               ORDER BY contract_form, contract, month, started_at, cdr_id, operator LIMIT $7";
    let nothing = String::new;
    let mut last = (-1, nothing(), nothing(), 0, nothing(), nothing());
    loop {
        let (form, contract, month, start, cdr, operator) = last;
        let values = vec![
            Value::Int(form),
            Value::Text(contract),
            Value::Text(month),
            Value::Int(start),
            Value::Text(cdr),
            Value::Text(operator),
            Value::Int(PAGE),
        ];
        let rows = database.rows(sql, values)?;
        let Some(end) = rows.last() else { return Ok(()) };
        last = (
            int(database, TABLE.name, end, 0)?,
            text(database, TABLE.name, end, 1)?,
            text(database, TABLE.name, end, 2)?,
            int(database, TABLE.name, end, 3)?,
            text(database, TABLE.name, end, 4)?,
            text(database, TABLE.name, end, 5)?,
        );
        for row in &rows {
            match body(database, TABLE.name, row, 6)? {
                Charge::Billed(line) => visit(*line)?,
                _ => {
                    return Err(
                        database.damaged("a record of `charges`", "it is marked as billed and is not")
                    );
                }
            }
        }
    }
}
