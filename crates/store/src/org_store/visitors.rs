//! Visitors (VCPD): all of them in memory, with an index by expiry.

use super::body;
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::ids::ContractId;
use eroam_domain::time::UnixMillis;
use eroam_gateway::ports::StoreError;
use eroam_gateway::profiles::VisitorProfile;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: Table =
    Table { name: "visitors", keys: &["contract"], columns: &["expires_at", "body"], sticky: None };

#[derive(Default)]
pub(super) struct Visitors {
    by_contract: BTreeMap<ContractId, VisitorProfile>,
    by_expiry: BTreeSet<(UnixMillis, ContractId)>,
    /// Put or removed since the last write.
    changed: BTreeSet<ContractId>,
}

impl Visitors {
    pub(super) fn load(database: &mut Database) -> Result<Self, StoreError> {
        let mut visitors = Self::default();
        for row in database.rows("SELECT body FROM visitors", Vec::new())? {
            visitors.insert(body(database, TABLE.name, &row, 0)?);
        }
        Ok(visitors)
    }

    pub(super) fn get(&self, contract: &ContractId) -> Option<VisitorProfile> {
        self.by_contract.get(contract).cloned()
    }

    pub(super) fn put(&mut self, profile: &VisitorProfile) {
        self.changed.insert(profile.contract);
        self.insert(profile.clone());
    }

    pub(super) fn remove(&mut self, contract: &ContractId) {
        if let Some(profile) = self.by_contract.remove(contract) {
            self.by_expiry.remove(&(profile.expires_at, *contract));
            self.changed.insert(*contract);
        }
    }

    pub(super) fn remove_expired(&mut self, now: UnixMillis) -> u64 {
        let mut removed = 0u64;
        while let Some((_, contract)) = self.by_expiry.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(&contract);
            removed = removed.saturating_add(1);
        }
        removed
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        let gone = self.changed.iter().filter(|contract| !self.by_contract.contains_key(contract));
        let gone: Vec<String> = gone.map(ContractId::to_string).collect();
        if !gone.is_empty() {
            database.remove(&TABLE, gone)?;
        }
        let mut put = self.changed.iter().filter_map(|c| self.by_contract.get(c)).peekable();
        if put.peek().is_some() {
            database.put(
                &TABLE,
                put.map(|profile| {
                    Ok(vec![
                        Value::Text(profile.contract.to_string()),
                        Value::Int(profile.expires_at.get()),
                        Value::Text(serde_json::to_string(profile)?),
                    ])
                }),
            )?;
        }
        self.changed.clear();
        Ok(())
    }

    fn insert(&mut self, profile: VisitorProfile) {
        let (expires_at, contract) = (profile.expires_at, profile.contract);
        if let Some(old) = self.by_contract.insert(contract, profile) {
            self.by_expiry.remove(&(old.expires_at, contract));
        }
        self.by_expiry.insert((expires_at, contract));
    }
}
