//! The records of one organisation: tables in memory that know what has to be written, in front of the database.
//!
//! | records | in memory |
//! |---|---|
//! | contracts | changed ones, and about 100,000 that were used lately |
//! | visitors | all: they are few and temporary |
//! | sessions | unsettled and changed ones |
//! | charges | unbilled and changed ones |
//! | wholesale lines | changed ones |
//! | vouchers, evidence, sightings, anomalies, awaited true-ups | changed ones |
//!
//! [`Store::commit`] writes what changed, many rows in a statement, in one transaction. What has to be read in order
//! (bills, invoices, counts, vouchers of a customer) is written into that transaction first, so that reading sees every change.

mod anomalies;
mod charges;
mod contracts;
mod evidence;
mod known_keys;
mod sessions;
mod true_ups;
mod visitors;
mod vouchers;
mod wholesale;

use crate::database::{Database, META};
use crate::open_error::OpenError;
use crate::rows::Value;
use crate::session_counts::SessionCounts;
use crate::store_url::StoreUrl;
use anomalies::Anomalies;
use charges::Charges;
use contracts::Contracts;
use eroam_domain::cdr::{CdrId, SessionId};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::time::{CivilMonth, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::Nullifier;
use eroam_gateway::anomalies::{AnomalyCase, RecordName, Sighting};
use eroam_gateway::billing::{BillLine, Charge};
use eroam_gateway::invoice::WholesaleLine;
use eroam_gateway::ports::{EvidenceName, Store, StoreError};
use eroam_gateway::profiles::{HomeProfile, VisitorProfile};
use eroam_gateway::sessions::Session;
use eroam_gateway::true_ups::AwaitedTrueUp;
use eroam_gateway::vouchers::IssuedVoucher;
use evidence::Evidence;
use serde::de::DeserializeOwned;
use sessions::Sessions;
use sqlx::Row;
use sqlx::any::AnyRow;
use true_ups::TrueUps;
use visitors::Visitors;
use vouchers::Vouchers;
use wholesale::Wholesale;

const BILLED_THROUGH: &str = "billed_through";
/// Rows that are read at a time where all are read in order.
const PAGE: i64 = 1_000;

/// The records of one organisation.
///
/// It blocks; see the crate's documentation for where to call it.
pub struct OrgStore {
    database: Database,
    party: PartyId,
    contracts: Contracts,
    visitors: Visitors,
    sessions: Sessions,
    charges: Charges,
    wholesale: Wholesale,
    vouchers: Vouchers,
    evidence: Evidence,
    anomalies: Anomalies,
    true_ups: TrueUps,
    billed_through: Option<CivilMonth>,
    billed_through_changed: bool,
}

impl OrgStore {
    /// Opens the records of `party` in `network`, or makes them.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(url: &StoreUrl, party: PartyId, network: &Digest) -> Result<Self, OpenError> {
        let mut database = Database::open(url, party, network)?;
        let place = database.place().to_owned();
        let load = |database: &mut Database| {
            Ok(Loaded {
                visitors: Visitors::load(database)?,
                sessions: Sessions::load(database)?,
                charges: Charges::load(database)?,
                vouchers: Vouchers::load(database)?,
                anomalies: Anomalies::load(database)?,
                billed_through: load_billed_through(database)?,
            })
        };
        let loaded = load(&mut database).map_err(|source| OpenError::Unreadable { place, source })?;
        Ok(Self {
            database,
            party,
            contracts: Contracts::default(),
            visitors: loaded.visitors,
            sessions: loaded.sessions,
            charges: loaded.charges,
            wholesale: Wholesale::default(),
            vouchers: loaded.vouchers,
            evidence: Evidence::default(),
            anomalies: loaded.anomalies,
            true_ups: TrueUps::default(),
            billed_through: loaded.billed_through,
            billed_through_changed: false,
        })
    }

    /// How many sessions took which way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session_counts(&mut self) -> Result<SessionCounts, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        SessionCounts::of(&mut self.database, self.party)
    }

    /// Hands out every session at the organisation's stations, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`]; or what `visit` returned.
    pub fn each_session(
        &mut self,
        visit: &mut dyn FnMut(Session) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        sessions::each(&mut self.database, visit)
    }

    /// Writes what changed, to be committed later.
    fn write_changes(&mut self) -> Result<(), StoreError> {
        self.contracts.write(&mut self.database)?;
        self.visitors.write(&mut self.database)?;
        self.sessions.write(&mut self.database)?;
        self.charges.write(&mut self.database)?;
        self.wholesale.write(&mut self.database)?;
        self.vouchers.write(&mut self.database)?;
        self.evidence.write(&mut self.database)?;
        self.anomalies.write(&mut self.database)?;
        self.true_ups.write(&mut self.database)?;
        if let Some(month) = self.billed_through.filter(|_| self.billed_through_changed) {
            let row = vec![Value::Text(BILLED_THROUGH.into()), Value::Text(month.to_string())];
            self.database.put(&META, std::iter::once(Ok(row)))?;
            self.billed_through_changed = false;
        }
        Ok(())
    }
}

/// What an opened store keeps in memory from the beginning.
struct Loaded {
    visitors: Visitors,
    sessions: Sessions,
    charges: Charges,
    vouchers: Vouchers,
    anomalies: Anomalies,
    billed_through: Option<CivilMonth>,
}

fn load_billed_through(database: &mut Database) -> Result<Option<CivilMonth>, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = $1";
    let Some(row) = database.row(sql, vec![Value::Text(BILLED_THROUGH.into())])? else { return Ok(None) };
    let damaged = |e: Box<dyn std::error::Error + Send + Sync>| database.damaged("the last billed month", e);
    let month: &str = row.try_get(0).map_err(|e| damaged(e.into()))?;
    month.parse().map(Some).map_err(|e: String| damaged(e.into()))
}

/// The record in column `index`.
fn body<T: DeserializeOwned>(
    database: &Database,
    table: &str,
    row: &AnyRow,
    index: usize,
) -> Result<T, StoreError> {
    let what = || format!("a record of `{table}`");
    let text: &str = row.try_get(index).map_err(|e| database.damaged(&what(), e))?;
    serde_json::from_str(text).map_err(|e| database.damaged(&what(), e))
}

/// The text in column `index`.
fn text(database: &Database, table: &str, row: &AnyRow, index: usize) -> Result<String, StoreError> {
    row.try_get(index).map_err(|e| database.damaged(&format!("a key of `{table}`"), e))
}

/// The number in column `index`.
fn int(database: &Database, table: &str, row: &AnyRow, index: usize) -> Result<i64, StoreError> {
    row.try_get(index).map_err(|e| database.damaged(&format!("a key of `{table}`"), e))
}

impl Store for OrgStore {
    fn home_profile(&mut self, contract: &ContractId) -> Result<Option<HomeProfile>, StoreError> {
        self.database.check()?;
        self.contracts.get(&mut self.database, contract)
    }

    fn put_home_profile(&mut self, profile: &HomeProfile) -> Result<(), StoreError> {
        self.database.check()?;
        self.contracts.put(profile);
        Ok(())
    }

    fn visitor(&mut self, contract: &ContractId) -> Result<Option<VisitorProfile>, StoreError> {
        self.database.check()?;
        Ok(self.visitors.get(contract))
    }

    fn put_visitor(&mut self, profile: &VisitorProfile) -> Result<(), StoreError> {
        self.database.check()?;
        self.visitors.put(profile);
        Ok(())
    }

    fn remove_visitor(&mut self, contract: &ContractId) -> Result<(), StoreError> {
        self.database.check()?;
        self.visitors.remove(contract);
        Ok(())
    }

    fn remove_expired_visitors(&mut self, now: UnixMillis) -> Result<u64, StoreError> {
        self.database.check()?;
        Ok(self.visitors.remove_expired(now))
    }

    fn session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.database.check()?;
        self.sessions.get(&mut self.database, id)
    }

    fn put_session(&mut self, session: &Session) -> Result<(), StoreError> {
        self.database.check()?;
        self.sessions.put(session);
        Ok(())
    }

    fn unsettled_sessions(&mut self) -> Result<Vec<Session>, StoreError> {
        self.database.check()?;
        Ok(self.sessions.unsettled())
    }

    fn charge(&mut self, operator: PartyId, cdr: &CdrId) -> Result<Option<Charge>, StoreError> {
        self.database.check()?;
        self.charges.get(&mut self.database, operator, cdr)
    }

    fn put_charge(&mut self, operator: PartyId, cdr: &CdrId, charge: &Charge) -> Result<(), StoreError> {
        self.database.check()?;
        self.charges.put(operator, cdr, charge);
        Ok(())
    }

    fn unbilled_charges(&mut self) -> Result<Vec<(PartyId, CdrId, Charge)>, StoreError> {
        self.database.check()?;
        Ok(self.charges.unbilled())
    }

    fn each_bill_line(
        &mut self,
        visit: &mut dyn FnMut(BillLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        charges::each_bill_line(&mut self.database, visit)
    }

    fn put_wholesale(&mut self, line: &WholesaleLine) -> Result<(), StoreError> {
        self.database.check()?;
        self.wholesale.put(line);
        Ok(())
    }

    fn each_wholesale(
        &mut self,
        visit: &mut dyn FnMut(PartyId, SettlementPeriod, WholesaleLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        wholesale::each(&mut self.database, visit)
    }

    fn billed_through(&mut self) -> Result<Option<CivilMonth>, StoreError> {
        self.database.check()?;
        Ok(self.billed_through)
    }

    fn set_billed_through(&mut self, month: CivilMonth) -> Result<(), StoreError> {
        self.database.check()?;
        self.billed_through_changed |= self.billed_through != Some(month);
        self.billed_through = Some(month);
        Ok(())
    }

    fn voucher(&mut self, nullifier: &Nullifier) -> Result<Option<IssuedVoucher>, StoreError> {
        self.database.check()?;
        self.vouchers.get(&mut self.database, nullifier)
    }

    fn put_voucher(&mut self, voucher: &IssuedVoucher) -> Result<(), StoreError> {
        self.database.check()?;
        self.vouchers.put(voucher);
        Ok(())
    }

    fn vouchers_on(&mut self, contract: &ContractId, day: i64) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        vouchers::on_day(&mut self.database, contract, day)
    }

    fn vouchers_in_wallet(&mut self, contract: &ContractId) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        vouchers::in_wallet(&mut self.database, contract)
    }

    fn lapsed_vouchers(&mut self, instant: UnixMillis, count: u32) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        vouchers::lapsed(&mut self.database, instant, count)
    }

    fn awaited_vouchers(&mut self) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        vouchers::awaited(&mut self.database)
    }

    fn put_evidence(
        &mut self,
        name: &EvidenceName,
        kept_at: UnixMillis,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.database.check()?;
        self.evidence.put(name, kept_at, bytes)
    }

    fn evidence(&mut self, name: &EvidenceName) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.check()?;
        self.evidence.get(&mut self.database, name)
    }

    fn remove_evidence_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        evidence::remove_before(&mut self.database, instant)
    }

    fn put_sighting(&mut self, sighting: &Sighting) -> Result<(), StoreError> {
        self.database.check()?;
        self.anomalies.put_sighting(sighting);
        Ok(())
    }

    fn sighting(&mut self, name: &RecordName) -> Result<Option<Sighting>, StoreError> {
        self.database.check()?;
        self.anomalies.sighting(&mut self.database, name)
    }

    fn sightings_since(&mut self, instant: UnixMillis) -> Result<Vec<Sighting>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        anomalies::sightings_since(&mut self.database, instant)
    }

    fn remove_sightings_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        anomalies::remove_sightings_before(&mut self.database, instant)
    }

    fn anomaly(&mut self, name: &RecordName) -> Result<Option<AnomalyCase>, StoreError> {
        self.database.check()?;
        self.anomalies.get(&mut self.database, name)
    }

    fn put_anomaly(&mut self, case: &AnomalyCase) -> Result<(), StoreError> {
        self.database.check()?;
        self.anomalies.put(case);
        Ok(())
    }

    fn waiting_anomalies(&mut self) -> Result<Vec<AnomalyCase>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        anomalies::waiting(&mut self.database)
    }

    fn each_anomaly(
        &mut self,
        visit: &mut dyn FnMut(AnomalyCase) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        anomalies::each(&mut self.database, visit)
    }

    fn put_true_up(&mut self, awaited: &AwaitedTrueUp) -> Result<(), StoreError> {
        self.database.check()?;
        self.true_ups.put(awaited);
        Ok(())
    }

    fn due_true_ups(&mut self, now: UnixMillis, count: u32) -> Result<Vec<AwaitedTrueUp>, StoreError> {
        self.database.check()?;
        self.write_changes()?;
        true_ups::due(&mut self.database, now, count)
    }

    fn remove_true_up(&mut self, name: &RecordName) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        true_ups::remove(&mut self.database, name)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.database.check()?;
        self.write_changes()?;
        self.database.commit()
    }
}
