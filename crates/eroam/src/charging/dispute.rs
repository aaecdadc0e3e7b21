//! Contested records, as staff sees them: what the ledger says of one, why it was contested, what its evidence is worth, and
//! where it stands. At the home utility that contested it, at the operator whose record it is, and at the resolver.

use super::evidence::{self, EvidenceError, Rechecked};
use super::offices::{Office, OfficeError};
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{Adjustment, CdrStatus};
use eroam_domain::codec::from_bytes;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::time::UnixMillis;
use eroam_gateway::anomalies::{AnomalyCase, AnomalyEvidence, CaseState, Finding, RecordName};
use eroam_gateway::charge_evidence::{ChargeEvidence, ChargeEvidenceFault};
use eroam_gateway::gateway::GatewayError;
use eroam_gateway::ports::Store as _;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateKey, StateView, read};
use serde::{Deserialize, Serialize};

/// What came of checking a contested record's evidence again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Proof, voucher, quote and every reading hold.
    Holds {
        /// What they show.
        rechecked: Rechecked,
    },
    /// Something of it does not hold.
    Fails {
        /// What, in a sentence.
        why: String,
    },
    /// There is nothing that can be checked.
    NoEvidence {
        /// Why not, in a sentence.
        why: String,
    },
}

impl Verdict {
    /// Of a check.
    #[must_use]
    pub fn of(checked: Result<Rechecked, EvidenceError>) -> Self {
        let why = |error: &EvidenceError| crate::causes::chain(error);
        match checked {
            Ok(rechecked) => Self::Holds { rechecked },
            Err(error @ (EvidenceError::Nothing(_) | EvidenceError::NoVoucher(_))) => {
                Self::NoEvidence { why: why(&error) }
            }
            Err(error) => Self::Fails { why: why(&error) },
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Holds { .. } => "proof, voucher and readings hold".to_owned(),
            Self::Fails { why } => format!("does not hold: {why}"),
            Self::NoEvidence { why } => format!("nothing to check: {why}"),
        }
    }
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stands")]
pub enum Stands {
    /// Nobody has contested it.
    Open {
        /// Until when the home utility can.
        contest_until: UnixMillis,
    },
    /// Contested: the resolver decides.
    Contested {
        /// Until when.
        resolve_until: UnixMillis,
    },
    /// The resolver has decided that so much is given back.
    GivenBack {
        /// How much.
        amount: Money,
    },
    /// It stands as it was booked: upheld, or not decided in time.
    Final,
}

/// What the ledger says of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookedRecord {
    /// Whose record it is.
    pub operator: PartyId,
    /// The operator's id of it.
    pub record: String,
    /// Who pays.
    pub emsp: PartyId,
    /// Who decides.
    pub resolver: PartyId,
    /// What was booked.
    pub booked: Money,
    /// Where it stands.
    pub stands: Stands,
}

/// What the ledger says of a record at `at`; `None` if it has none of that name.
///
/// # Errors
/// [`StateError`].
pub fn booked(
    ledger: &dyn StateView,
    name: &RecordName,
    at: UnixMillis,
) -> Result<Option<BookedRecord>, StateError> {
    let Some(record) = query::cdr(ledger, name.operator, &name.cdr)? else { return Ok(None) };
    let terms = StateKey::AgreementTerms(record.agreement.id, record.agreement.version);
    let Some(terms) = read::<RoamingAgreement>(ledger, &terms)? else { return Ok(None) };
    let decided = record.adjustments.iter().find_map(|adjustment| match adjustment {
        Adjustment::Resolution { micros } => Some(*micros),
        _ => None,
    });
    let stands = match (record.status_at(at), decided) {
        (_, Some(micros)) => Stands::GivenBack { amount: Money::new(micros, terms.currency) },
        (CdrStatus::Provisional { contest_until }, None) => Stands::Open { contest_until },
        (CdrStatus::Contested { resolve_until, .. }, None) => Stands::Contested { resolve_until },
        (CdrStatus::Final, None) => Stands::Final,
    };
    Ok(Some(BookedRecord {
        operator: name.operator,
        record: name.cdr.to_string(),
        emsp: record.emsp,
        resolver: terms.resolver,
        booked: Money::new(record.amount, terms.currency),
        stands,
    }))
}

/// Why a record was contested, as the evidence of the contest says; the digest of it is on the ledger.
#[must_use]
pub fn reasons(evidence: &[u8]) -> Vec<String> {
    match from_bytes::<AnomalyEvidence>(evidence) {
        Ok(evidence) => words(&evidence.findings),
        Err(error) => vec![format!("the evidence is of another version: {error}")],
    }
}

fn words(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// Both legs' evidence of a contested record, as this organisation has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceHere {
    /// What the ledger says.
    pub ledger: BookedRecord,
    /// Why the home utility contests it.
    pub reasons: Vec<String>,
    /// What checking the operator's evidence again gives.
    pub verdict: Verdict,
    /// The operator's evidence.
    pub charge: Option<ChargeEvidence>,
}

/// Why evidence cannot be shown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DisputeError {
    #[error("the ledger has no {0}: `contests` lists those that are known here")]
    Unknown(RecordName),
    #[error("the operator's evidence of {0} has not come: it is sent when the record is contested")]
    NotCome(RecordName),
    #[error("the gateway failed")]
    Gateway(#[from] GatewayError),
    #[error("the records failed")]
    Store(#[from] eroam_gateway::ports::StoreError),
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    #[error("what is kept as evidence")]
    Fault(#[from] ChargeEvidenceFault),
    #[error("the organisation's gateway")]
    Office(#[from] OfficeError),
    #[error("what is kept of contests")]
    Kept(#[from] super::state::StateError),
}

/// A record that a home utility's rules found something of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundRecord {
    /// Which.
    pub name: RecordName,
    /// Where the case stands here.
    pub case: CaseState,
    /// Why.
    pub reasons: Vec<String>,
    /// What the ledger says of the record.
    pub ledger: Option<BookedRecord>,
    /// What the operator's evidence is worth, once it came.
    pub verdict: Option<Verdict>,
}

/// Home utility: all records that its rules found something of, those that are contested with what has come of it.
///
/// # Errors
/// [`DisputeError`].
pub fn found(office: &Office, at: UnixMillis) -> Result<Vec<FoundRecord>, DisputeError> {
    let mut cases: Vec<AnomalyCase> = Vec::new();
    office.with(|gateway, _| {
        gateway.store_mut().each_anomaly(&mut |case| {
            cases.push(case);
            Ok(())
        })
    })?;
    let mut found = Vec::with_capacity(cases.len());
    for AnomalyCase { name, state, findings, .. } in cases {
        let charge = charge_evidence(office, &name)?;
        let verdict = charge.map(|charge| checked(office, &name, &charge));
        let ledger = booked(office.client(), &name, at)?;
        found.push(FoundRecord { name, case: state, reasons: words(&findings), ledger, verdict });
    }
    Ok(found)
}

/// Home utility or resolver: both legs' evidence of a contested record, the operator's checked again.
///
/// # Errors
/// [`DisputeError`].
pub fn evidence(office: &Office, name: &RecordName, at: UnixMillis) -> Result<EvidenceHere, DisputeError> {
    let ledger = booked(office.client(), name, at)?.ok_or_else(|| DisputeError::Unknown(name.clone()))?;
    let charge = charge_evidence(office, name)?.ok_or_else(|| DisputeError::NotCome(name.clone()))?;
    let (own, sent) = office.with(|gateway, _| {
        Ok::<_, GatewayError>((
            gateway.anomaly(name)?.map(|case| case.evidence),
            gateway.contest_evidence_of(name)?,
        ))
    })?;
    Ok(EvidenceHere {
        ledger,
        reasons: own.or(sent).map(|bytes| reasons(&bytes)).unwrap_or_default(),
        verdict: checked(office, name, &charge),
        charge: Some(charge),
    })
}

fn charge_evidence(office: &Office, name: &RecordName) -> Result<Option<ChargeEvidence>, DisputeError> {
    let kept = office.with(|gateway, _| gateway.charge_evidence(name))?;
    Ok(kept.map(|bytes| ChargeEvidence::from_bytes(&bytes)).transpose()?)
}

fn checked(office: &Office, name: &RecordName, charge: &ChargeEvidence) -> Verdict {
    Verdict::of(evidence::recheck_sent(office.client(), name.operator, charge))
}
