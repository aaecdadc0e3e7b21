//! An operator's desk for contests of its records: when a record of a session by wallet is contested, the driver's proof, the
//! voucher, the quote and every reading are checked again, the verdict is kept with the contest, and what the record rests on
//! goes to the home utility and to the resolver.
//!
//! ```text
//! letter of the home utility ─┐
//! ledger, once a day ─────────┴─► contested? ─► check again ─► kept ─► send ─► confirmed by all
//!                                                                      ▲         │ once an hour
//!                                                                      └─────────┘
//! decided, or the resolver's time is over ─► what is given back is credited on the invoice ─► ended
//! ```
//! A letter that is lost is found on the ledger within a day: all records whose contest window can be open are looked up
//! there, one by one, which takes a point read for each. What is sent names no driver and no contract
//! ([`eroam_gateway::charge_evidence`]).

use super::dispute::{self, BookedRecord, DisputeError, EvidenceHere, Stands, Verdict};
use super::evidence::{self, EvidenceError};
use super::operator::Operator;
use super::state::{AgentState, Changes, StateError};
use crate::causes::chain;
use crate::clock::now;
use eroam_domain::cdr::{CdrId, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::Accounting;
use eroam_gateway::anomalies::RecordName;
use eroam_gateway::charge_evidence::ChargeEvidence;
use eroam_gateway::gateway::{DisputeNews, GatewayError};
use eroam_gateway::ports::Store as _;
use eroam_gateway::sessions::{PayerOpening, Phase};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records of contests, by the ids of the records.
const CONTEST: &str = "contest";
/// So long after a session its record can be contested: the longest record window and the longest contest window.
const CONTESTED_WITHIN: DurationMs = DurationMs::from_millis(2 * 60 * 86_400_000);
/// So often the ledger is looked through.
const LOOKS_EVERY: DurationMs = DurationMs::from_millis(86_400_000);
/// So often evidence is sent again that nobody has confirmed.
const SENDS_EVERY: DurationMs = DurationMs::from_millis(3_600_000);

/// A contest of one of our records, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptContest {
    cdr: CdrId,
    noticed_at: UnixMillis,
    /// Of what the station had sent, when the contest was noticed or staff last asked.
    verdict: Verdict,
    /// Who has confirmed that the evidence came.
    confirmed: BTreeSet<PartyId>,
    /// It is decided, or the time for that is over.
    ended: bool,
}

/// A contest as staff sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedContest {
    /// What the ledger says of the record.
    pub ledger: BookedRecord,
    /// When it was noticed here.
    pub noticed_at: UnixMillis,
    /// Why the home utility contests it; empty as long as its evidence has not come.
    pub reasons: Vec<String>,
    /// What our own evidence is worth.
    pub verdict: Verdict,
    /// Who has it.
    pub evidence_with: BTreeSet<PartyId>,
}

#[derive(Default)]
struct Desk {
    contests: BTreeMap<CdrId, KeptContest>,
    looked_at: Option<UnixMillis>,
    sent_at: Option<UnixMillis>,
}

/// An operator's contests. Cheap to clone.
#[derive(Clone)]
pub struct ContestDesk {
    operator: Operator,
    state: AgentState,
    desk: Arc<Mutex<Desk>>,
}

fn is_due(last: Option<UnixMillis>, at: UnixMillis, every: DurationMs) -> bool {
    last.is_none_or(|last| at.since(last).is_some_and(|since| since >= every))
}

impl ContestDesk {
    /// With what `state` knows.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(operator: Operator, state: AgentState) -> Result<Self, StateError> {
        let contests = state.each::<KeptContest>(CONTEST)?;
        let contests = contests.into_iter().map(|(_, kept)| (kept.cdr.clone(), kept)).collect();
        let desk = Arc::new(Mutex::new(Desk { contests, ..Desk::default() }));
        Ok(Self { operator, state, desk })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, cdr: &CdrId) -> RecordName {
        RecordName { operator: self.operator.party(), cdr: cdr.clone() }
    }

    /// Does what is due: checks what was contested, and sends what it rests on. It may be called at any time, and again after
    /// an error.
    ///
    /// # Errors
    /// [`DisputeError`].
    pub fn look(&self) -> Result<(), DisputeError> {
        let mut desk = self.desk();
        let at = now();
        let mut due = BTreeSet::new();
        let news = self.operator.office().with(|gateway, _| gateway.take_dispute_news());
        for news in news {
            match news {
                DisputeNews::Contested(cdr) => drop(due.insert(cdr)),
                DisputeNews::Kept { cdr, by } => {
                    if let Some(kept) = desk.contests.get_mut(&cdr)
                        && kept.confirmed.insert(by)
                    {
                        self.state.write(Changes::new().put(CONTEST, cdr.as_str(), kept))?;
                    }
                }
            }
        }
        let looks = is_due(desk.looked_at, at, LOOKS_EVERY);
        if looks {
            due.extend(self.recent(&desk, at)?);
        }
        let sends = is_due(desk.sent_at, at, SENDS_EVERY);
        if sends {
            due.extend(desk.contests.values().filter(|kept| !kept.ended).map(|kept| kept.cdr.clone()));
        }
        for cdr in due {
            self.attend(&mut desk, &cdr, at)?;
        }
        // After an error everything is due again.
        desk.looked_at = if looks { Some(at) } else { desk.looked_at };
        desk.sent_at = if sends { Some(at) } else { desk.sent_at };
        Ok(())
    }

    /// Records that can be contested, or are.
    fn recent(&self, desk: &Desk, at: UnixMillis) -> Result<BTreeSet<CdrId>, DisputeError> {
        let from = at.checked_sub(CONTESTED_WITHIN).unwrap_or(UnixMillis::EPOCH);
        let mut recent = BTreeSet::new();
        self.operator.office().with(|gateway, _| {
            gateway.store_mut().each_wholesale(&mut |_, _, line| {
                if line.end >= from && desk.contests.get(&line.cdr).is_none_or(|kept| !kept.ended) {
                    recent.insert(line.cdr);
                }
                Ok(())
            })
        })?;
        Ok(recent)
    }

    fn attend(&self, desk: &mut Desk, cdr: &CdrId, at: UnixMillis) -> Result<(), DisputeError> {
        let office = self.operator.office();
        let Some(booked) = dispute::booked(office.client(), &self.name(cdr), at)? else { return Ok(()) };
        let is_known = desk.contests.contains_key(cdr);
        let is_contested = matches!(booked.stands, Stands::Contested { .. });
        // One that was decided before it was noticed is noticed, too.
        if !is_contested && !is_known && !matches!(booked.stands, Stands::GivenBack { .. }) {
            return Ok(());
        }
        let evidence = self.evidence(cdr);
        if !is_known {
            let kept = KeptContest {
                cdr: cdr.clone(),
                noticed_at: at,
                verdict: self.verdict(&evidence),
                confirmed: BTreeSet::new(),
                ended: false,
            };
            tracing::warn!(%cdr, emsp = %booked.emsp, verdict = kept.verdict.words(), "operator.contested");
            self.state.write(Changes::new().put(CONTEST, cdr.as_str(), &kept))?;
            desk.contests.insert(cdr.clone(), kept);
        }
        if !is_contested {
            return self.end(desk, cdr);
        }
        let Ok(evidence) = evidence else { return Ok(()) };
        let confirmed = desk.contests.get(cdr).map(|kept| kept.confirmed.clone()).unwrap_or_default();
        let to = [booked.emsp, booked.resolver];
        let to: Vec<PartyId> = to.into_iter().filter(|party| !confirmed.contains(party)).collect();
        match evidence.to_bytes() {
            Ok(bytes) => {
                office.act(|gateway, _| Ok(gateway.send_charge_evidence(cdr, &bytes, &to)))?;
            }
            Err(error) => tracing::error!(%cdr, error = %chain(&error), "operator.evidence"),
        }
        Ok(())
    }

    /// It is decided, or not in time: what is given back is credited on the invoice, once.
    fn end(&self, desk: &mut Desk, cdr: &CdrId) -> Result<(), DisputeError> {
        let Some(kept) = desk.contests.get_mut(cdr).filter(|kept| !kept.ended) else { return Ok(()) };
        self.operator.office().act(|gateway, ledger| {
            gateway.credit_invoice(ledger, cdr)?;
            Ok(Vec::new())
        })?;
        kept.ended = true;
        Ok(self.state.write(Changes::new().put(CONTEST, cdr.as_str(), kept))?)
    }

    /// Of one that cannot be put together: why not.
    fn verdict(&self, evidence: &Result<ChargeEvidence, EvidenceError>) -> Verdict {
        match evidence {
            Ok(evidence) => Verdict::of(evidence::recheck_sent(
                self.operator.office().client(),
                self.operator.party(),
                evidence,
            )),
            Err(EvidenceError::Nothing(session)) => Verdict::of(Err(EvidenceError::Nothing(session.clone()))),
            Err(EvidenceError::NoVoucher(session)) => {
                Verdict::of(Err(EvidenceError::NoVoucher(session.clone())))
            }
            Err(error) => Verdict::Fails { why: chain(error) },
        }
    }

    /// What one of our records rests on, contested or not: it is put together from what the station sent and what the driver
    /// agreed to.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn evidence(&self, cdr: &CdrId) -> Result<ChargeEvidence, EvidenceError> {
        let malformed = |error: &dyn std::fmt::Display| EvidenceError::Malformed(error.to_string());
        let session = SessionId::new(cdr.as_str()).map_err(|error| malformed(&error))?;
        let (known, kept) = self
            .operator
            .office()
            .with(|gateway, _| Ok((gateway.session(&session)?, gateway.evidence(&session)?)))
            .map_err(|error: GatewayError| malformed(&chain(&error)))?;
        let known = known.ok_or_else(|| EvidenceError::Nothing(session.clone()))?;
        let Phase::Recorded { cdr, opening: PayerOpening::Voucher { spent, quote }, .. } = known.phase else {
            return Err(EvidenceError::NoVoucher(session));
        };
        let nothing = || EvidenceError::Nothing(session.clone());
        let kept = kept.ok_or_else(nothing)?;
        let sent: Accounting = serde_json::from_slice(&kept).map_err(|error| malformed(&error))?;
        let stations = self.operator.stations();
        let station = stations.into_iter().find(|station| station.claims.evse == known.evse);
        let meter_key = station.ok_or_else(nothing)?.claims.meter_key;
        Ok(ChargeEvidence::new(self.operator.party(), cdr, (*quote, *spent), meter_key, sent))
    }

    /// Checks a record's evidence again; of one that is contested, the verdict is kept.
    ///
    /// # Errors
    /// [`DisputeError`], also for a record that is not ours.
    pub fn recheck(&self, cdr: &CdrId) -> Result<Verdict, DisputeError> {
        let name = self.name(cdr);
        if dispute::booked(self.operator.office().client(), &name, now())?.is_none() {
            return Err(DisputeError::Unknown(name));
        }
        let verdict = self.verdict(&self.evidence(cdr));
        if let Some(kept) = self.desk().contests.get_mut(cdr) {
            kept.verdict = verdict.clone();
            self.state.write(Changes::new().put(CONTEST, cdr.as_str(), kept))?;
        }
        Ok(verdict)
    }

    /// The evidence of one of our records, checked again, and what its contest rests on if there is one.
    ///
    /// # Errors
    /// [`DisputeError`].
    pub fn own_evidence(&self, cdr: &CdrId) -> Result<EvidenceHere, DisputeError> {
        let (office, name) = (self.operator.office(), self.name(cdr));
        let ledger = dispute::booked(office.client(), &name, now())?;
        let ledger = ledger.ok_or(DisputeError::Unknown(name))?;
        let theirs = office.with(|gateway, _| gateway.contest_evidence(cdr))?;
        let evidence = self.evidence(cdr);
        let verdict = self.verdict(&evidence);
        let reasons = theirs.map(|bytes| dispute::reasons(&bytes)).unwrap_or_default();
        Ok(EvidenceHere { ledger, reasons, verdict, charge: evidence.ok() })
    }

    /// All contests that were noticed, in the order of the records' ids, after having looked for new ones.
    ///
    /// # Errors
    /// [`DisputeError`].
    pub fn contests(&self) -> Result<Vec<ListedContest>, DisputeError> {
        self.desk().sent_at = None;
        self.look()?;
        let kept: Vec<KeptContest> = self.desk().contests.values().cloned().collect();
        let office = self.operator.office();
        let mut listed = Vec::with_capacity(kept.len());
        for KeptContest { cdr, noticed_at, verdict, confirmed, .. } in kept {
            let Some(ledger) = dispute::booked(office.client(), &self.name(&cdr), now())? else { continue };
            let theirs = office.with(|gateway, _| gateway.contest_evidence(&cdr))?;
            let reasons = theirs.map(|bytes| dispute::reasons(&bytes)).unwrap_or_default();
            listed.push(ListedContest { ledger, noticed_at, reasons, verdict, evidence_with: confirmed });
        }
        Ok(listed)
    }
}
