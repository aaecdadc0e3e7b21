//! Customers' contracts (HCPD): the ones used lately stay in memory.

use super::body;
use crate::database::Database;
use crate::rows::{Table, Value};
use eroam_domain::ids::ContractId;
use eroam_gateway::ports::StoreError;
use eroam_gateway::profiles::HomeProfile;
use std::collections::{BTreeMap, HashMap};

const TABLE: Table = Table { name: "contracts", keys: &["contract"], columns: &["body"], sticky: None };
/// Half of the contracts that stay in memory, at about 1 KiB each.
const GENERATION: usize = 50_000;

/// A cache of two generations: when the young one is full, it becomes the old one and the old one is dropped. What is
/// used moves to the young one.
#[derive(Default)]
pub(super) struct Contracts {
    changed: BTreeMap<ContractId, HomeProfile>,
    young: HashMap<ContractId, HomeProfile>,
    old: HashMap<ContractId, HomeProfile>,
}

impl Contracts {
    pub(super) fn get(
        &mut self,
        database: &mut Database,
        contract: &ContractId,
    ) -> Result<Option<HomeProfile>, StoreError> {
        if let Some(profile) = self.changed.get(contract).or_else(|| self.young.get(contract)) {
            return Ok(Some(profile.clone()));
        }
        let found = match self.old.remove(contract) {
            Some(profile) => Some(profile),
            None => {
                let sql = "SELECT body FROM contracts WHERE contract = $1";
                let row = database.row(sql, vec![Value::Text(contract.to_string())])?;
                row.map(|row| body::<HomeProfile>(database, TABLE.name, &row, 0)).transpose()?
            }
        };
        if let Some(profile) = &found {
            self.keep(profile.clone());
        }
        Ok(found)
    }

    pub(super) fn put(&mut self, profile: &HomeProfile) {
        self.changed.insert(profile.contract, profile.clone());
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let rows = self.changed.iter().map(|(contract, profile)| {
            Ok(vec![Value::Text(contract.to_string()), Value::Text(serde_json::to_string(profile)?)])
        });
        database.put(&TABLE, rows)?;
        for profile in std::mem::take(&mut self.changed).into_values() {
            self.keep(profile);
        }
        Ok(())
    }

    fn keep(&mut self, profile: HomeProfile) {
        self.old.remove(&profile.contract);
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(profile.contract, profile);
    }
}
