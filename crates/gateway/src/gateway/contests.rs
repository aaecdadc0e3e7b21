//! The home utility's part against records that cannot be true: it looks at each that the ledger books for it, contests
//! what its rules find, and keeps the evidence.
//!
//! ```text
//! booked -> look -> nothing found
//!                -> Notice: somebody should look
//!                -> Waiting -> outbox -> ledger: Contested | Refused (window over, or contested before)
//! ```
//! A record is looked at when the ledger shows it, and once more when the operator's report says whose it was. It is
//! contested once; what is found later is kept beside it. A change of pattern shows only after several records: then all of
//! them are contested, also those that were nothing by themselves.

use super::{Gateway, GatewayError, Outgoing};
use crate::anomalies::{
    AnomalyCase, AnomalyEvidence, AnomalyRules, CaseState, Finding, History, Known, RecordName,
    SIGHTINGS_KEPT_FOR, SecondMeter, Sighting, look,
};
use crate::ports::Store;
use eroam_domain::cdr::{Cdr, CdrStatus};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::StateView;
use std::collections::BTreeMap;

/// Whether a finding says more of a record than its case. Numbers that were compared with other records change with
/// these: that is no other finding.
fn is_new(case: &AnomalyCase, finding: &Finding) -> bool {
    match finding {
        Finding::Replay { .. }
        | Finding::Overlap { .. }
        | Finding::SecondMeter { .. }
        | Finding::Staff { .. } => !case.findings.contains(finding),
        _ => !case.findings.iter().any(|before| before.rule() == finding.rule()),
    }
}

/// What the home utility knows of others' records.
pub(super) struct Watch {
    /// `None` looks at nothing.
    rules: Option<AnomalyRules>,
    /// Read from the store when it is first needed.
    history: Option<History>,
    /// What partners say that their EVSEs can give.
    ratings: BTreeMap<EvseId, Watts>,
    /// The UTC day on which old sightings were last forgotten.
    forgotten_on: Option<i64>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            rules: Some(AnomalyRules::DEFAULT),
            history: None,
            ratings: BTreeMap::new(),
            forgotten_on: None,
        }
    }
}

/// What a second meter's reading says of a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum SecondMeterResult {
    /// No such record was seen, or too long ago.
    UnknownRecord,
    /// The record is not above it, by more than meters may differ.
    Agrees,
    /// The record is above it: where its case stands, which is contested by itself.
    Above {
        /// The case of the record.
        case: CaseState,
    },
}

/// Whose record it is, and where it was, as the operator's report says.
pub(super) struct Reported<'r> {
    pub(super) contract: ContractId,
    pub(super) evse: &'r EvseId,
}

impl<S: Store> Gateway<S> {
    /// By which rules the organisation looks at what it is charged for; `None` for not at all. [`AnomalyRules::DEFAULT`]
    /// applies until this is called.
    pub fn set_anomaly_rules(&mut self, rules: Option<AnomalyRules>) {
        self.watch.rules = rules;
    }

    pub(super) const fn anomaly_rules(&self) -> Option<AnomalyRules> {
        self.watch.rules
    }

    /// The power that a partner states for one of its EVSEs, as its location data have it.
    pub fn put_partner_rating(&mut self, evse: EvseId, power: Watts) {
        self.watch.ratings.insert(evse, power);
    }

    /// What was found of a record, if anything was.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn anomaly(&mut self, name: &RecordName) -> Result<Option<AnomalyCase>, GatewayError> {
        let error = self.store_error();
        self.store.anomaly(name).map_err(error)
    }

    /// Another meter than the station's has counted a session: the record is compared with it. The record must have been
    /// reported; whoever signed the second meter's reading has been checked by the caller.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn second_meter(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        cdr: &Cdr,
        second: SecondMeter,
    ) -> Result<(), GatewayError> {
        let booked = query::cdr(ledger, operator, &cdr.id)?;
        let owed = booked.is_some_and(|b| b.digest == cdr.digest() && b.emsp == self.party);
        if owed { self.examine(ledger, operator, cdr, None, Some(second)) } else { Ok(()) }
    }

    /// A second meter's reading for a record that this organisation may have seen, in its last
    /// [`SIGHTINGS_KEPT_FOR`]: what comes of it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn second_meter_read(
        &mut self,
        ledger: &dyn StateView,
        name: &RecordName,
        second: SecondMeter,
    ) -> Result<SecondMeterResult, GatewayError> {
        let error = self.store_error();
        let seen = self.store.sighting(name).map_err(&error)?;
        let Some(cdr) = seen.and_then(|sighting| sighting.record) else {
            return Ok(SecondMeterResult::UnknownRecord);
        };
        self.second_meter(ledger, name.operator, &cdr, second)?;
        let case = self.store.anomaly(name).map_err(&error)?;
        let of_this = |finding: &Finding| matches!(finding, Finding::SecondMeter { second: compared, .. } if *compared == second);
        Ok(match case {
            Some(case) if case.findings.iter().any(of_this) => SecondMeterResult::Above { case: case.state },
            _ => SecondMeterResult::Agrees,
        })
    }

    /// Looks at a booked record that this organisation owes for.
    pub(super) fn examine(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        cdr: &Cdr,
        reported: Option<Reported<'_>>,
        second_meter: Option<SecondMeter>,
    ) -> Result<(), GatewayError> {
        let Some(rules) = self.watch.rules else { return Ok(()) };
        let Some(agreed_power) = self.terms(ledger, cdr.agreement)?.map(|terms| terms.limits.power_max)
        else {
            return Ok(());
        };
        let error = self.store_error();
        let mut sighting = Sighting::of(operator, cdr);
        let mut known = Known { agreed_power, rating: None, customer: None, places: 1, second_meter };
        if let Some(Reported { contract, evse }) = reported {
            known.rating = self.watch.ratings.get(evse).copied();
            known.customer = Some(self.customer_digest(&contract));
            let profile = self.store.home_profile(&contract).map_err(&error)?;
            known.places = profile.map_or(1, |profile| profile.cards.len().max(1));
        }
        self.forget_sightings(cdr.end)?;
        let history = self.load_history(cdr.end)?;
        if let Some(before) = history.get(&sighting.name) {
            let news = known.customer.is_some_and(|c| before.customer != Some(c));
            if !news && second_meter.is_none() {
                return Ok(());
            }
            sighting.customer = before.customer;
            sighting.flagged = before.flagged;
        }
        let findings = look(&rules, &known, cdr, &sighting, history);
        sighting.customer = known.customer.or(sighting.customer);
        sighting.flagged |= findings.iter().any(Finding::is_hard);
        history.add(sighting.clone());
        sighting.record = Some(Box::new(cdr.clone()));
        self.store.put_sighting(&sighting).map_err(&error)?;
        for finding in findings.iter().filter(|finding| matches!(finding, Finding::LastingChange { .. })) {
            self.contest_run(&rules, finding, &sighting.name)?;
        }
        if findings.is_empty() { Ok(()) } else { self.open_case(&rules, operator, cdr, findings) }
    }

    /// A change that several records make together is a matter of each of them: opens a case of those before `newest`, as
    /// far as they are remembered.
    fn contest_run(
        &mut self,
        rules: &AnomalyRules,
        finding: &Finding,
        newest: &RecordName,
    ) -> Result<(), GatewayError> {
        let Finding::LastingChange { run, .. } = finding else { return Ok(()) };
        let error = self.store_error();
        for name in run.iter().filter(|name| *name != newest) {
            let seen = self.store.sighting(name).map_err(&error)?;
            if let Some(cdr) = seen.and_then(|sighting| sighting.record) {
                self.open_case(rules, name.operator, &cdr, vec![finding.clone()])?;
            }
        }
        Ok(())
    }

    /// Adds findings to a record's case, and contests it unless that was done.
    pub(super) fn open_case(
        &mut self,
        rules: &AnomalyRules,
        operator: PartyId,
        cdr: &Cdr,
        findings: Vec<Finding>,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let name = RecordName { operator, cdr: cdr.id.clone() };
        let mut case = self.store.anomaly(&name).map_err(&error)?.unwrap_or(AnomalyCase {
            name: name.clone(),
            state: CaseState::Notice,
            findings: Vec::new(),
            evidence: Vec::new(),
        });
        let before = case.findings.len();
        for finding in findings {
            if is_new(&case, &finding) {
                tracing::info!(
                    operator = %operator, cdr = %cdr.id, rule = finding.rule(), "gateway.anomaly.found"
                );
                case.findings.push(finding);
            }
        }
        if case.findings.len() == before {
            return Ok(());
        }
        if case.state == CaseState::Notice {
            let evidence = AnomalyEvidence {
                version: 2,
                operator,
                cdr: cdr.clone(),
                findings: case.findings.clone(),
                rules: *rules,
            };
            case.evidence = evidence.to_bytes();
            if rules.contest(&case.findings) {
                case.state = CaseState::Waiting;
                self.queue_contest(&case);
            }
        }
        self.store.put_anomaly(&case).map_err(error)
    }

    fn queue_contest(&mut self, case: &AnomalyCase) {
        let evidence = super::evidence_digest(&case.evidence);
        self.outbox.push(Outgoing::Contest(case.name.clone(), evidence));
    }

    /// Asks again for every contest that the ledger has not answered.
    pub(super) fn resume_contests(&mut self) -> Result<(), GatewayError> {
        let error = self.store_error();
        for case in self.store.waiting_anomalies().map_err(error)? {
            self.queue_contest(&case);
        }
        Ok(())
    }

    /// What the ledger says about a contest.
    pub(super) fn contest_answered(
        &mut self,
        ledger: &dyn StateView,
        name: &RecordName,
        outcome: ItemOutcome,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let Some(mut case) = self.store.anomaly(name).map_err(&error)? else { return Ok(()) };
        case.state = match outcome {
            ItemOutcome::Accepted { .. } => CaseState::Contested,
            // Nobody has looked at the contest itself: it stays waiting, and `resume` sends it again.
            ItemOutcome::Rejected(code) if super::outbox::is_passing(code) => return Ok(()),
            // Sent before the last crash, perhaps.
            ItemOutcome::Rejected(RejectCode::NotContestable) if self.is_contested_by(ledger, &case)? => {
                CaseState::Contested
            }
            ItemOutcome::Rejected(code) => CaseState::Refused { why: code.to_string() },
        };
        self.store.put_anomaly(&case).map_err(error)
    }

    pub(super) fn is_contested_by(
        &self,
        ledger: &dyn StateView,
        case: &AnomalyCase,
    ) -> Result<bool, GatewayError> {
        let ours = super::evidence_digest(&case.evidence);
        let booked = query::cdr(ledger, case.name.operator, &case.name.cdr)?;
        Ok(booked
            .is_some_and(|b| matches!(b.status, CdrStatus::Contested { evidence, .. } if evidence == ours)))
    }

    fn customer_digest(&self, contract: &ContractId) -> Digest {
        Digest::of_parts("eroam/anomaly/customer/1", &[&self.secrets.salt.0, &to_bytes(contract)])
    }

    fn load_history(&mut self, newest: UnixMillis) -> Result<&mut History, GatewayError> {
        let error = self.store_error();
        let history = match self.watch.history.take() {
            Some(history) => history,
            None => {
                let from = newest.checked_sub(SIGHTINGS_KEPT_FOR).unwrap_or(UnixMillis::EPOCH);
                let mut history = History::default();
                for sighting in self.store.sightings_since(from).map_err(error)? {
                    history.add(Sighting { record: None, ..sighting });
                }
                history
            }
        };
        Ok(self.watch.history.insert(history))
    }

    /// Forgets what is older than [`SIGHTINGS_KEPT_FOR`], once a UTC day.
    fn forget_sightings(&mut self, now: UnixMillis) -> Result<(), GatewayError> {
        let today = now.utc_day();
        // Records come in any order: an older one is no reason to look again.
        if self.watch.forgotten_on.is_some_and(|day| day >= today) {
            return Ok(());
        }
        self.watch.forgotten_on = Some(today);
        let Some(before) = now.checked_sub(SIGHTINGS_KEPT_FOR) else { return Ok(()) };
        let error = self.store_error();
        self.store.remove_sightings_before(before).map_err(error)?;
        if let Some(history) = &mut self.watch.history {
            history.forget_before(before);
        }
        Ok(())
    }
}
