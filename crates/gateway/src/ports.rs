//! What a gateway needs from outside: a place to keep its records, and secrets.

use crate::anomalies::{AnomalyCase, RecordName, Sighting};
use crate::billing::{BillLine, Charge};
use crate::invoice::WholesaleLine;
use crate::profiles::{HomeProfile, VisitorProfile};
use crate::sessions::Session;
use crate::true_ups::AwaitedTrueUp;
use crate::vouchers::IssuedVoucher;
use eroam_domain::cdr::{CdrId, SessionId};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::time::{CivilMonth, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::Nullifier;
use std::fmt;

/// The storage failed. Nothing since the last commit counts.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What could not be done, with the remedy if there is one.
    pub what: String,
    /// The driver's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The greatest size of what a station sends as evidence of a session, in bytes: a proof request with its presentation,
/// voucher and quote, and a signed reading for each quarter of an hour of the longest session.
pub const EVIDENCE_BYTES_MAX: usize = 1024 * 1024;

/// What a piece of evidence is kept under: what a station sent of a session, what a home utility sent of a contest, or what
/// an operator sent of a contested record. No session's name is that of one of the others, since whoever stands at a station
/// chooses the names of its sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvidenceName(String);

impl EvidenceName {
    /// Of a session: its id, which has at most 36 characters.
    #[must_use]
    pub fn of_session(session: &SessionId) -> Self {
        Self(session.to_string())
    }

    /// Of a contest of one of our records: 72 characters.
    #[must_use]
    pub fn of_contest(cdr: &CdrId) -> Self {
        let digest = Digest::of_parts("eroam/contest-evidence/1", &[cdr.as_str().as_bytes()]);
        Self(format!("contest {digest}"))
    }

    /// Of what a home utility's contest of another operator's record rests on, at the resolver: 73 characters.
    #[must_use]
    pub fn of_contest_elsewhere(name: &RecordName) -> Self {
        Self(format!("resolver {}", Digest::of_value("eroam/contest-evidence/2", name)))
    }

    /// Of what another operator's contested record rests on: 71 characters.
    #[must_use]
    pub fn of_charge(name: &RecordName) -> Self {
        Self(format!("charge {}", Digest::of_value("eroam/charge-evidence/1", name)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EvidenceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The records of one organisation. Changes are seen by later reads at once and survive a crash from
/// [`Store::commit`] on, all or none.
pub trait Store {
    /// A customer's contract (HCPD).
    ///
    /// # Errors
    /// [`StoreError`].
    fn home_profile(&mut self, contract: &ContractId) -> Result<Option<HomeProfile>, StoreError>;

    /// Keeps a customer's contract.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_home_profile(&mut self, profile: &HomeProfile) -> Result<(), StoreError>;

    /// A visitor (VCPD).
    ///
    /// # Errors
    /// [`StoreError`].
    fn visitor(&mut self, contract: &ContractId) -> Result<Option<VisitorProfile>, StoreError>;

    /// Keeps a visitor.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_visitor(&mut self, profile: &VisitorProfile) -> Result<(), StoreError>;

    /// Forgets a visitor.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_visitor(&mut self, contract: &ContractId) -> Result<(), StoreError>;

    /// Forgets all visitors whose profile expired at or before `now`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_expired_visitors(&mut self, now: UnixMillis) -> Result<u64, StoreError>;

    /// A session at one of the organisation's stations.
    ///
    /// # Errors
    /// [`StoreError`].
    fn session(&mut self, id: &SessionId) -> Result<Option<Session>, StoreError>;

    /// Keeps a session.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_session(&mut self, session: &Session) -> Result<(), StoreError>;

    /// Every session of which something is still awaited, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    fn unsettled_sessions(&mut self) -> Result<Vec<Session>, StoreError>;

    /// What is known of a customer's charge at `operator`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn charge(&mut self, operator: PartyId, cdr: &CdrId) -> Result<Option<Charge>, StoreError>;

    /// Keeps what is known of a customer's charge.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_charge(&mut self, operator: PartyId, cdr: &CdrId, charge: &Charge) -> Result<(), StoreError>;

    /// Charges that are not billed yet because a half is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn unbilled_charges(&mut self) -> Result<Vec<(PartyId, CdrId, Charge)>, StoreError>;

    /// Hands out every bill line, ordered by contract, month, start and record id.
    ///
    /// # Errors
    /// [`StoreError`]; or what `visit` returned.
    fn each_bill_line(
        &mut self,
        visit: &mut dyn FnMut(BillLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Keeps a booked record of the organisation as operator.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_wholesale(&mut self, line: &WholesaleLine) -> Result<(), StoreError>;

    /// Hands out every wholesale line, ordered by partner, period and record id.
    ///
    /// # Errors
    /// [`StoreError`]; or what `visit` returned.
    fn each_wholesale(
        &mut self,
        visit: &mut dyn FnMut(PartyId, SettlementPeriod, WholesaleLine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The last month whose bills were issued: later lines go to the month after it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn billed_through(&mut self) -> Result<Option<CivilMonth>, StoreError>;

    /// Says that the bills of `month` and of the months before it were issued.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_billed_through(&mut self, month: CivilMonth) -> Result<(), StoreError>;

    /// An own customer's voucher.
    ///
    /// # Errors
    /// [`StoreError`].
    fn voucher(&mut self, nullifier: &Nullifier) -> Result<Option<IssuedVoucher>, StoreError>;

    /// Keeps an own customer's voucher.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_voucher(&mut self, voucher: &IssuedVoucher) -> Result<(), StoreError>;

    /// The vouchers that count towards a customer's limit of a UTC day (days since 1970), in the order of nullifiers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn vouchers_on(&mut self, contract: &ContractId, day: i64) -> Result<Vec<IssuedVoucher>, StoreError>;

    /// A customer's vouchers that a wallet has ([`crate::vouchers::VoucherStatus::Issued`]), in the order of nullifiers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn vouchers_in_wallet(&mut self, contract: &ContractId) -> Result<Vec<IssuedVoucher>, StoreError>;

    /// The vouchers of whatever customer that are open ([`crate::vouchers::VoucherStatus::is_open`]) and end before
    /// `instant`, at most `count`, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn lapsed_vouchers(&mut self, instant: UnixMillis, count: u32) -> Result<Vec<IssuedVoucher>, StoreError>;

    /// The vouchers about which the ledger was asked ([`crate::vouchers::VoucherStatus::is_awaited`]), in the order of
    /// nullifiers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn awaited_vouchers(&mut self) -> Result<Vec<IssuedVoucher>, StoreError>;

    /// Keeps a piece of evidence, in place of what was kept under that name before.
    ///
    /// # Errors
    /// [`StoreError`], also for more than [`EVIDENCE_BYTES_MAX`].
    fn put_evidence(
        &mut self,
        name: &EvidenceName,
        kept_at: UnixMillis,
        bytes: &[u8],
    ) -> Result<(), StoreError>;

    /// The evidence under a name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn evidence(&mut self, name: &EvidenceName) -> Result<Option<Vec<u8>>, StoreError>;

    /// Deletes the evidence that was kept before `instant`; gives how many pieces.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_evidence_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError>;

    /// Keeps what the anomaly rules remember of a record, in place of what was remembered before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_sighting(&mut self, sighting: &Sighting) -> Result<(), StoreError>;

    /// What is remembered of a record.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sighting(&mut self, name: &RecordName) -> Result<Option<Sighting>, StoreError>;

    /// What is remembered of records that ended at or after `instant`, in the order of their ends.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sightings_since(&mut self, instant: UnixMillis) -> Result<Vec<Sighting>, StoreError>;

    /// Forgets records that ended before `instant`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_sightings_before(&mut self, instant: UnixMillis) -> Result<u64, StoreError>;

    /// What was found of a record.
    ///
    /// # Errors
    /// [`StoreError`].
    fn anomaly(&mut self, name: &RecordName) -> Result<Option<AnomalyCase>, StoreError>;

    /// Keeps what was found of a record, with its evidence. It is never deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_anomaly(&mut self, case: &AnomalyCase) -> Result<(), StoreError>;

    /// The cases that wait for the ledger, in the order of their records' names.
    ///
    /// # Errors
    /// [`StoreError`].
    fn waiting_anomalies(&mut self) -> Result<Vec<AnomalyCase>, StoreError>;

    /// Hands out every case, in the order of the records' names.
    ///
    /// # Errors
    /// [`StoreError`]; or what `visit` returned.
    fn each_anomaly(
        &mut self,
        visit: &mut dyn FnMut(AnomalyCase) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Keeps a record that may be trued up, in place of what was kept of it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_true_up(&mut self, awaited: &AwaitedTrueUp) -> Result<(), StoreError>;

    /// The records to look at by `now`, at most `count`, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn due_true_ups(&mut self, now: UnixMillis, count: u32) -> Result<Vec<AwaitedTrueUp>, StoreError>;

    /// Forgets a record: it was trued up, or never will be.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_true_up(&mut self, name: &RecordName) -> Result<(), StoreError>;

    /// Makes every change since the last commit durable, all or none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn commit(&mut self) -> Result<(), StoreError>;
}

/// Unpredictable values that must be the same if a session is handled again after a crash.
pub trait Entropy {
    /// The salt of a session's payer commitment.
    fn salt(&self, session: &SessionId) -> Digest;
}

/// Salts that follow from a secret seed: the same session gets the same salt again, also after a crash.
pub struct SeededEntropy(pub Digest);

impl Entropy for SeededEntropy {
    fn salt(&self, session: &SessionId) -> Digest {
        Digest::of_parts("eroam/seeded-salt/1", &[&self.0.0, &to_bytes(session)])
    }
}
