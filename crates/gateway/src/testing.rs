//! A store in memory, for the tests of this crate and of its users.

use crate::anomalies::{AnomalyCase, CaseState, RecordName, Sighting};
use crate::billing::{BillLine, Charge};
use crate::invoice::WholesaleLine;
use crate::ports::{EVIDENCE_BYTES_MAX, EvidenceName, Store, StoreError};
use crate::profiles::{HomeProfile, VisitorProfile};
use crate::sessions::Session;
use crate::true_ups::AwaitedTrueUp;
use crate::vouchers::{IssuedVoucher, VoucherStatus};
use eroam_domain::cdr::{CdrId, SessionId};
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::time::{CivilMonth, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::Nullifier;
use std::collections::BTreeMap;

/// Keeps everything in memory; [`MemoryStore::fail`] makes it fail, as a lost disk would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct MemoryStore {
    pub home: BTreeMap<ContractId, HomeProfile>,
    pub visitors: BTreeMap<ContractId, VisitorProfile>,
    pub sessions: BTreeMap<SessionId, Session>,
    pub charges: BTreeMap<(PartyId, CdrId), Charge>,
    pub wholesale: BTreeMap<(PartyId, SettlementPeriod, CdrId), WholesaleLine>,
    pub billed_through: Option<CivilMonth>,
    pub vouchers: BTreeMap<Nullifier, IssuedVoucher>,
    pub evidence: BTreeMap<EvidenceName, (UnixMillis, Vec<u8>)>,
    pub sightings: BTreeMap<RecordName, Sighting>,
    pub anomalies: BTreeMap<RecordName, AnomalyCase>,
    pub true_ups: BTreeMap<RecordName, AwaitedTrueUp>,
    pub fail: bool,
}

impl MemoryStore {
    fn vouchers_where(
        &self,
        holds: impl Fn(&IssuedVoucher) -> bool,
    ) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.check()?;
        Ok(self.vouchers.values().filter(|v| holds(v)).cloned().collect())
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.fail {
            Err(StoreError { what: "the store was taken away".into(), source: None })
        } else {
            Ok(())
        }
    }
}

impl Store for MemoryStore {
    fn home_profile(&mut self, contract: &ContractId) -> Result<Option<HomeProfile>, StoreError> {
        self.check()?;
        Ok(self.home.get(contract).cloned())
    }

    fn put_home_profile(&mut self, profile: &HomeProfile) -> Result<(), StoreError> {
        self.check()?;
        self.home.insert(profile.contract, profile.clone());
        Ok(())
    }

    fn visitor(&mut self, contract: &ContractId) -> Result<Option<VisitorProfile>, StoreError> {
        self.check()?;
        Ok(self.visitors.get(contract).cloned())
    }

    fn put_visitor(&mut self, profile: &VisitorProfile) -> Result<(), StoreError> {
        self.check()?;
        self.visitors.insert(profile.contract, profile.clone());
        Ok(())
    }

    fn remove_visitor(&mut self, contract: &ContractId) -> Result<(), StoreError> {
        self.check()?;
        self.visitors.remove(contract);
        Ok(())
    }

    fn remove_expired_visitors(&mut self, now: UnixMillis) -> Result<u64, StoreError> {
        self.check()?;
        let before = self.visitors.len();
        self.visitors.retain(|_, v| v.expires_at > now);
        Ok(u64::try_from(before.saturating_sub(self.visitors.len())).unwrap_or(u64::MAX))
    }

    fn session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.check()?;
        Ok(self.sessions.get(id).cloned())
    }

    fn put_session(&mut self, session: &Session) -> Result<(), StoreError> {
        self.check()?;
        self.sessions.insert(session.id.clone(), session.clone());
        Ok(())
    }

    fn unsettled_sessions(&mut self) -> Result<Vec<Session>, StoreError> {
        self.check()?;
        Ok(self.sessions.values().filter(|s| !s.is_settled()).cloned().collect())
    }

    fn charge(&mut self, operator: PartyId, cdr: &CdrId) -> Result<Option<Charge>, StoreError> {
        self.check()?;
        Ok(self.charges.get(&(operator, cdr.clone())).cloned())
    }

    fn put_charge(&mut self, operator: PartyId, cdr: &CdrId, charge: &Charge) -> Result<(), StoreError> {
        self.check()?;
        self.charges.insert((operator, cdr.clone()), charge.clone());
        Ok(())
    }

    fn unbilled_charges(&mut self) -> Result<Vec<(PartyId, CdrId, Charge)>, StoreError> {
        self.check()?;
        let unbilled = self.charges.iter().filter(|(_, c)| !matches!(c, Charge::Billed(_)));
        Ok(unbilled.map(|((operator, id), charge)| (*operator, id.clone(), charge.clone())).collect())
    }

    fn each_bill_line(
        &mut self,
        visit: &mut dyn FnMut(BillLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check()?;
        let mut lines: Vec<&BillLine> = self
            .charges
            .values()
            .filter_map(|c| match c {
                Charge::Billed(line) => Some(line.as_ref()),
                _ => None,
            })
            .collect();
        lines.sort_by_key(|l| (l.contract, l.month, l.start, l.cdr.clone()));
        lines.into_iter().cloned().try_for_each(visit)
    }

    fn put_wholesale(&mut self, line: &WholesaleLine) -> Result<(), StoreError> {
        self.check()?;
        self.wholesale.insert((line.emsp, line.period, line.cdr.clone()), line.clone());
        Ok(())
    }

    fn each_wholesale(
        &mut self,
        visit: &mut dyn FnMut(PartyId, SettlementPeriod, WholesaleLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.wholesale.iter().try_for_each(|((emsp, period, _), line)| visit(*emsp, *period, line.clone()))
    }

    fn billed_through(&mut self) -> Result<Option<CivilMonth>, StoreError> {
        self.check()?;
        Ok(self.billed_through)
    }

    fn set_billed_through(&mut self, month: CivilMonth) -> Result<(), StoreError> {
        self.check()?;
        self.billed_through = Some(month);
        Ok(())
    }

    fn voucher(&mut self, nullifier: &Nullifier) -> Result<Option<IssuedVoucher>, StoreError> {
        self.check()?;
        Ok(self.vouchers.get(nullifier).cloned())
    }

    fn put_voucher(&mut self, voucher: &IssuedVoucher) -> Result<(), StoreError> {
        self.check()?;
        self.vouchers.insert(voucher.nullifier(), voucher.clone());
        Ok(())
    }

    fn vouchers_on(&mut self, contract: &ContractId, day: i64) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.vouchers_where(|v| v.contract == *contract && v.day == day)
    }

    fn vouchers_in_wallet(&mut self, contract: &ContractId) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.vouchers_where(|v| v.contract == *contract && v.status == VoucherStatus::Issued)
    }

    fn lapsed_vouchers(&mut self, instant: UnixMillis, count: u32) -> Result<Vec<IssuedVoucher>, StoreError> {
        let mut lapsed =
            self.vouchers_where(|v| v.status.is_open() && v.voucher.voucher.valid_until < instant)?;
        lapsed.sort_by_key(|v| (v.voucher.voucher.valid_until, v.nullifier()));
        lapsed.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(lapsed)
    }

    fn awaited_vouchers(&mut self) -> Result<Vec<IssuedVoucher>, StoreError> {
        self.vouchers_where(|v| v.status.is_awaited())
    }

    fn put_evidence(
        &mut self,
        name: &EvidenceName,
        kept_at: UnixMillis,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.check()?;
        assert!(bytes.len() <= EVIDENCE_BYTES_MAX, "the gateway checks that");
        self.evidence.insert(name.clone(), (kept_at, bytes.to_vec()));
        Ok(())
    }

    fn evidence(&mut self, name: &EvidenceName) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        Ok(self.evidence.get(name).map(|(_, bytes)| bytes.clone()))
    }

    fn remove_evidence_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError> {
        self.check()?;
        let before = self.evidence.len();
        self.evidence.retain(|_, (kept_at, _)| *kept_at >= instant);
        Ok(u64::try_from(before.saturating_sub(self.evidence.len())).unwrap_or(u64::MAX))
    }

    fn put_sighting(&mut self, sighting: &Sighting) -> Result<(), StoreError> {
        self.check()?;
        self.sightings.insert(sighting.name.clone(), sighting.clone());
        Ok(())
    }

    fn sighting(&mut self, name: &RecordName) -> Result<Option<Sighting>, StoreError> {
        self.check()?;
        Ok(self.sightings.get(name).cloned())
    }

    fn sightings_since(&mut self, instant: UnixMillis) -> Result<Vec<Sighting>, StoreError> {
        self.check()?;
        let mut since: Vec<_> = self.sightings.values().filter(|s| s.end >= instant).cloned().collect();
        since.sort_by_key(|s| (s.end, s.name.clone()));
        Ok(since)
    }

    fn remove_sightings_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError> {
        self.check()?;
        let before = self.sightings.len();
        self.sightings.retain(|_, s| s.end >= instant);
        Ok(u64::try_from(before.saturating_sub(self.sightings.len())).unwrap_or(u64::MAX))
    }

    fn anomaly(&mut self, name: &RecordName) -> Result<Option<AnomalyCase>, StoreError> {
        self.check()?;
        Ok(self.anomalies.get(name).cloned())
    }

    fn put_anomaly(&mut self, case: &AnomalyCase) -> Result<(), StoreError> {
        self.check()?;
        self.anomalies.insert(case.name.clone(), case.clone());
        Ok(())
    }

    fn waiting_anomalies(&mut self) -> Result<Vec<AnomalyCase>, StoreError> {
        self.check()?;
        Ok(self.anomalies.values().filter(|c| c.state == CaseState::Waiting).cloned().collect())
    }

    fn each_anomaly(
        &mut self,
        visit: &mut dyn FnMut(AnomalyCase) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.anomalies.values().cloned().try_for_each(visit)
    }

    fn put_true_up(&mut self, awaited: &AwaitedTrueUp) -> Result<(), StoreError> {
        self.check()?;
        self.true_ups.insert(awaited.name(), awaited.clone());
        Ok(())
    }

    fn due_true_ups(&mut self, now: UnixMillis, count: u32) -> Result<Vec<AwaitedTrueUp>, StoreError> {
        self.check()?;
        let mut due: Vec<_> = self.true_ups.values().filter(|t| t.look_at <= now).cloned().collect();
        due.sort_by_key(|t| (t.look_at, t.name()));
        due.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(due)
    }

    fn remove_true_up(&mut self, name: &RecordName) -> Result<(), StoreError> {
        self.check()?;
        self.true_ups.remove(name);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.check()
    }
}
