//! Vouchers of the organisation's own customers: changed ones are in memory until they are written.

use super::body;
use super::known_keys::KnownKeys;
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::ids::ContractId;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::Nullifier;
use eroam_gateway::ports::StoreError;
use eroam_gateway::vouchers::{IssuedVoucher, VoucherStatus};
use std::collections::BTreeMap;

const TABLE: Table = Table {
    name: "vouchers",
    keys: &["nullifier"],
    columns: &["contract", "day", "status", "valid_until", "body"],
    sticky: None,
};

pub(super) struct Vouchers {
    changed: BTreeMap<Nullifier, IssuedVoucher>,
    known: KnownKeys,
}

impl Vouchers {
    pub(super) fn load(database: &mut Database) -> Result<Self, StoreError> {
        let known = KnownKeys::load(
            database,
            TABLE.name,
            1,
            "SELECT nullifier FROM vouchers WHERE nullifier > $1 ORDER BY nullifier LIMIT $2",
        )?;
        Ok(Self { changed: BTreeMap::new(), known })
    }

    pub(super) fn get(
        &self,
        database: &mut Database,
        nullifier: &Nullifier,
    ) -> Result<Option<IssuedVoucher>, StoreError> {
        if let Some(voucher) = self.changed.get(nullifier) {
            return Ok(Some(voucher.clone()));
        }
        let key = nullifier.to_string();
        if !self.known.may_have(&key, "") {
            return Ok(None);
        }
        let sql = "SELECT body FROM vouchers WHERE nullifier = $1";
        let row = database.row(sql, vec![Value::Text(key)])?;
        row.map(|row| body(database, TABLE.name, &row, 0)).transpose()
    }

    pub(super) fn put(&mut self, voucher: &IssuedVoucher) {
        let nullifier = voucher.nullifier();
        if self.changed.insert(nullifier, voucher.clone()).is_none() {
            self.known.add(&nullifier.to_string(), "");
        }
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        database.put(&TABLE, self.changed.iter().map(|(nullifier, voucher)| row(nullifier, voucher)))?;
        self.changed.clear();
        Ok(())
    }
}

fn row(nullifier: &Nullifier, voucher: &IssuedVoucher) -> Result<Vec<Value>, serde_json::Error> {
    Ok(vec![
        Value::Text(nullifier.to_string()),
        Value::Text(voucher.contract.to_string()),
        Value::Int(voucher.day),
        Value::Text(status_name(&voucher.status).into()),
        Value::Int(voucher.voucher.voucher.valid_until.get()),
        Value::Text(serde_json::to_string(voucher)?),
    ])
}

/// The name that the column `status` holds.
const fn status_name(status: &VoucherStatus) -> &'static str {
    match status {
        VoucherStatus::Issued => "issued",
        VoucherStatus::Taken(_) => "taken",
        VoucherStatus::Reserved => "reserved",
        VoucherStatus::Blocking => "blocking",
        VoucherStatus::Blocked => "blocked",
        VoucherStatus::Refunding => "refunding",
        VoucherStatus::Refunded => "refunded",
        VoucherStatus::Spent => "spent",
    }
}

fn select(
    database: &mut Database,
    sql: &'static str,
    values: Vec<Value>,
) -> Result<Vec<IssuedVoucher>, StoreError> {
    let rows = database.rows(sql, values)?;
    rows.iter().map(|row| body(database, TABLE.name, row, 0)).collect()
}

pub(super) fn on_day(
    database: &mut Database,
    contract: &ContractId,
    day: i64,
) -> Result<Vec<IssuedVoucher>, StoreError> {
    let sql = "SELECT body FROM vouchers WHERE contract = $1 AND day = $2 ORDER BY nullifier";
    select(database, sql, vec![Value::Text(contract.to_string()), Value::Int(day)])
}

pub(super) fn in_wallet(
    database: &mut Database,
    contract: &ContractId,
) -> Result<Vec<IssuedVoucher>, StoreError> {
    let sql = "SELECT body FROM vouchers WHERE contract = $1 AND status = 'issued' ORDER BY nullifier";
    select(database, sql, vec![Value::Text(contract.to_string())])
}

pub(super) fn lapsed(
    database: &mut Database,
    instant: UnixMillis,
    count: u32,
) -> Result<Vec<IssuedVoucher>, StoreError> {
    let sql = "SELECT body FROM vouchers WHERE (status = 'issued' OR status = 'reserved') AND valid_until < $1 \
               ORDER BY valid_until, nullifier LIMIT $2";
    select(database, sql, vec![Value::Int(instant.get()), Value::Int(i64::from(count))])
}

pub(super) fn awaited(database: &mut Database) -> Result<Vec<IssuedVoucher>, StoreError> {
    let sql =
        "SELECT body FROM vouchers WHERE status = 'blocking' OR status = 'refunding' ORDER BY nullifier";
    select(database, sql, Vec::new())
}
