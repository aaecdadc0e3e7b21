//! The files of a replay: everything that a bill, an invoice or the settlement can be recomputed from.
//!
//! | file | holds |
//! |---|---|
//! | `cdrs.jsonl` | an OCPI 2.2.1 CDR object for each charged session |
//! | `sessions.jsonl` | what OCPI CDRs have no field for: local clock, contract, home utility, agreement, rules' version |
//! | `tariffs.json` | the operators' tariffs, OCPI 2.2.1 |
//! | `agreements.json` | the agreements, by id |
//! | `retail_rules.json` | every utility's rules for its customers, by version |
//! | `bills/` | a bill for each driver and month, JSON and HTML |
//! | `invoices/` | a wholesale invoice for each operator, partner and period, JSON and HTML |
//! | `settlement.json` | gross and net positions of every period |
//! | `rejected.jsonl` | every row or session that was refused: file, line, field, reason, remedy |
//! | `pending.jsonl` | every session or charge that waits for somebody |
//! | `anomalies.jsonl` | with `--contest` alone: what home utilities found of records, what became of the contest, the evidence |
//! | `summary.json` | what `--json` prints |

use super::NetTotal;
use super::input::Rejected;
use crate::consortium::founders::{self, Founder};
use crate::consortium::{Consortium, ConsortiumError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eroam_chain::client::Client;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{CdrId, TariffRef};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::pricing::{self, ItemisedPrice, PricingInputs};
use eroam_domain::quantity::WattHours;
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_gateway::anomalies::{CaseState, Finding};
use eroam_gateway::billing::html::bill_page;
use eroam_gateway::billing::{Bill, BillMaker};
use eroam_gateway::gateway::{Evse, Gateway, GatewayError, evidence_digest};
use eroam_gateway::invoice::html::invoice_page;
use eroam_gateway::invoice::{Invoice, InvoiceMaker};
use eroam_gateway::ports::{Store as _, StoreError};
use eroam_gateway::quote::own_terms;
use eroam_gateway::sessions::{AuthorizedBy, Consumption, Grant, Phase, Session};
use eroam_ledger::query;
use eroam_ledger::state::{StateKey, StateView, ledger_balance, read, state_digest};
use eroam_store::OrgStore;
use eroam_wire::ocpi::cdr::{
    AuthMethod, CdrLocation, CdrObject, CdrToken, Connector, ConnectorFormat, Coordinates, PowerType,
    TokenKind,
};
use eroam_wire::ocpi::tariff::tariff_to_json;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file that marks a directory as a replay's output.
const MARKER: &str = "summary.json";
/// The list of what was refused.
const REJECTED: &str = "rejected.jsonl";

/// Why the output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The directory holds something else.
    #[error("{dir} is not empty and not the output of a replay: name an empty or a new directory")]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// A file could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something cannot be put into OCPI's form.
    #[error("session {session} cannot be written as OCPI")]
    Ocpi {
        /// The session.
        session: String,
        /// Why.
        #[source]
        source: eroam_wire::ocpi::OcpiError,
    },
    /// A sum does not fit.
    #[error("{0}")]
    Overflow(String),
    /// A store or the ledger could not be read.
    #[error("the consortium's records cannot be read")]
    Consortium(#[from] ConsortiumError),
}

fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> OutputError + use<> {
    let path = path.to_owned();
    move |source| OutputError::Write { path, source }
}

/// Looks whether output can go to the directory, which is made if it is not there: new, empty, or an earlier output.
///
/// # Errors
/// [`OutputError`].
pub fn check(dir: &Path) -> Result<(), OutputError> {
    std::fs::create_dir_all(dir).map_err(cannot_write(dir))?;
    let mut entries = std::fs::read_dir(dir).map_err(cannot_write(dir))?;
    if entries.next().is_some() && !dir.join(MARKER).exists() {
        return Err(OutputError::Foreign { dir: dir.to_owned() });
    }
    Ok(())
}

/// Makes the directory ready: an earlier output goes. Called once everything that can be refused beforehand has been
/// looked at, so that a mistyped command costs nobody the results of another day.
///
/// # Errors
/// [`OutputError`].
pub fn prepare(dir: &Path) -> Result<(), OutputError> {
    check(dir)?;
    // The marker comes first, so that an interrupted output is known as one.
    write_file(&dir.join(MARKER), b"{}\n")?;
    // Nothing of an earlier output may stand beside the new one, also when that is never finished.
    for name in PART_FILES.iter().chain(&OTHER_FILES) {
        match std::fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot_write(&dir.join(name))(error));
            }
            _ => {}
        }
    }
    for sub in ["bills", "invoices"] {
        let path = dir.join(sub);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(cannot_write(&path))?;
        }
        std::fs::create_dir_all(&path).map_err(cannot_write(&path))?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    std::fs::write(path, bytes).map_err(cannot_write(path))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), OutputError> {
    write_serialized(path, serde_json::to_vec_pretty(value))
}

fn write_serialized(path: &Path, json: serde_json::Result<Vec<u8>>) -> Result<(), OutputError> {
    let mut bytes = json.map_err(|e| OutputError::Write { path: path.to_owned(), source: e.into() })?;
    bytes.push(b'\n');
    write_file(path, &bytes)
}

/// A bill or an invoice under its number: JSON in one line, since there are tens of thousands, and the page for people.
fn write_document<T: Serialize>(
    dir: &Path,
    number: &str,
    document: &T,
    page: &str,
) -> Result<(), OutputError> {
    let name = file_name(number);
    write_serialized(&dir.join(format!("{name}.json")), serde_json::to_vec(document))?;
    write_file(&dir.join(format!("{name}.html")), page.as_bytes())
}

/// A file of JSON lines.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, OutputError> {
        let file = File::create(&path).map_err(cannot_write(&path))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn text(&mut self, line: &str) -> Result<(), OutputError> {
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(cannot_write(&self.path))
    }

    fn value<T: Serialize>(&mut self, value: &T) -> Result<(), OutputError> {
        let line = serde_json::to_string(value)
            .map_err(|e| OutputError::Write { path: self.path.clone(), source: e.into() })?;
        self.text(&line)
    }

    fn finish(mut self) -> Result<(), OutputError> {
        self.file.flush().map_err(cannot_write(&self.path))
    }
}

/// What the output adds up to.
#[derive(Debug)]
pub struct Totals {
    /// Sessions that are on a bill or an invoice.
    pub charged: u64,
    /// Of these, roaming.
    pub roamed: u64,
    /// Of these, authorized from the cache.
    pub local_authorizations: u64,
    /// Records on the ledger.
    pub recorded: u64,
    /// Sessions and charges that wait for somebody.
    pub pending: u64,
    /// Energy of the charged sessions, in whole watt-hours; rounded down once.
    pub energy_wh: u64,
    /// The ledger's state.
    pub state_digest: Digest,
    /// By currency.
    pub ledger_balance: BTreeMap<String, i64>,
    /// By party and currency.
    pub net_positions: Vec<NetTotal>,
}

/// The directory's `summary.json`, last of all: it marks the output as complete.
///
/// # Errors
/// [`OutputError`].
pub fn write_marker<T: Serialize>(dir: &Path, summary: &T) -> Result<(), OutputError> {
    write_json(&dir.join(MARKER), summary)
}

/// The directory's `rejected.jsonl`; gives its path.
///
/// # Errors
/// [`OutputError`].
pub fn write_rejected(dir: &Path, rejected: &[Rejected]) -> Result<PathBuf, OutputError> {
    let path = dir.join(REJECTED);
    write_rejected_to(path, rejected)
}

/// Writes the list of refused rows of input in which nothing could be used: not into an earlier output, which stays as it
/// is, but beside it. Gives the file's path.
///
/// # Errors
/// [`OutputError`].
pub fn write_all_rejected(dir: &Path, rejected: &[Rejected]) -> Result<PathBuf, OutputError> {
    if !dir.join(MARKER).exists() {
        return write_rejected(dir, rejected);
    }
    let mut beside = dir.as_os_str().to_owned();
    beside.push("-");
    beside.push(REJECTED);
    write_rejected_to(beside.into(), rejected)
}

fn write_rejected_to(path: PathBuf, rejected: &[Rejected]) -> Result<PathBuf, OutputError> {
    let mut lines = Lines::create(path.clone())?;
    rejected.iter().try_for_each(|r| lines.value(r))?;
    lines.finish()?;
    Ok(path)
}

/// Writes everything but the summary.
///
/// # Errors
/// [`OutputError`].
pub fn write(
    dir: &Path,
    consortium: &mut Consortium,
    evses: &[(PartyId, Evse)],
    rejected: &[Rejected],
) -> Result<Totals, OutputError> {
    let mut totals = Totals {
        charged: 0,
        roamed: 0,
        local_authorizations: 0,
        recorded: 0,
        pending: 0,
        energy_wh: 0,
        state_digest: Digest::ZERO,
        ledger_balance: BTreeMap::new(),
        net_positions: Vec::new(),
    };
    write_rejected(dir, rejected)?;
    write_terms(dir, consortium)?;
    let founders = consortium.founders().to_vec();
    let now = ledger_time(consortium.ledger());
    let places: BTreeMap<&EvseId, &Evse> = evses.iter().map(|(_, evse)| (&evse.id, evse)).collect();
    let (state, gateways) = consortium.state_and_gateways();
    // The organisations' records are independent: each is written by a thread of its own.
    let parts: Vec<Result<Part, OutputError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = gateways
            .map(|gateway| {
                let (founders, places) = (&founders, &places);
                scope.spawn(move || write_part(dir, gateway, founders, state, now, places))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<Part>, OutputError>>()?;
    for name in PART_FILES {
        concatenate(dir, name, &parts)?;
    }
    let mut energy = WattHours::ZERO;
    for part in parts {
        totals.charged += part.charged;
        totals.roamed += part.roamed;
        totals.local_authorizations += part.local_authorizations;
        totals.recorded += part.recorded;
        totals.pending += part.pending;
        energy = energy.checked_add(part.energy).ok_or_else(too_much_energy)?;
    }
    totals.energy_wh = energy.whole_wh();
    write_settlement(dir, consortium, &mut totals)?;
    Ok(totals)
}

/// The files to which every organisation adds its lines.
const PART_FILES: [&str; 3] = ["cdrs.jsonl", "sessions.jsonl", "pending.jsonl"];

/// The other files beside the marker.
const OTHER_FILES: [&str; 6] =
    ["tariffs.json", "agreements.json", "retail_rules.json", "settlement.json", REJECTED, ANOMALIES];

/// What the rules found.
const ANOMALIES: &str = "anomalies.jsonl";

/// The directory's `anomalies.jsonl`; gives how many records it has and how many of them were contested.
///
/// # Errors
/// [`OutputError`].
pub fn write_anomalies(dir: &Path, consortium: &mut Consortium) -> Result<(u64, u64), OutputError> {
    #[derive(Serialize)]
    struct Said<'c> {
        #[serde(flatten)]
        finding: &'c Finding,
        says: String,
    }
    #[derive(Serialize)]
    struct Line<'c> {
        organisation: PartyId,
        operator: PartyId,
        record: &'c CdrId,
        state: &'c CaseState,
        findings: Vec<Said<'c>>,
        evidence_digest: Digest,
        /// In base64: what the resolver is given.
        evidence: String,
    }
    let mut lines = Lines::create(dir.join(ANOMALIES))?;
    let (mut found, mut contested) = (0, 0);
    let (_, gateways) = consortium.state_and_gateways();
    for gateway in gateways {
        let organisation = gateway.party();
        let mut failure = None;
        let result = gateway.store_mut().each_anomaly(&mut |case| {
            found += 1;
            contested += u64::from(case.state == CaseState::Contested);
            let said = |finding| Said { finding, says: finding.to_string() };
            let line = Line {
                organisation,
                operator: case.name.operator,
                record: &case.name.cdr,
                state: &case.state,
                findings: case.findings.iter().map(said).collect(),
                evidence_digest: evidence_digest(&case.evidence),
                evidence: STANDARD.encode(&case.evidence),
            };
            lines.value(&line).map_err(|error| {
                failure = Some(error);
                StoreError { what: "the output stopped".into(), source: None }
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        result.map_err(|source| store_failed(organisation, source))?;
    }
    lines.finish()?;
    Ok((found, contested))
}

/// What one organisation's records add up to.
struct Part {
    party: PartyId,
    charged: u64,
    roamed: u64,
    local_authorizations: u64,
    recorded: u64,
    pending: u64,
    energy: WattHours,
}

fn too_much_energy() -> OutputError {
    OutputError::Overflow("the energy of all sessions does not fit into 64 bits".into())
}

fn part_path(dir: &Path, name: &str, party: PartyId) -> PathBuf {
    dir.join(format!("{name}.{party}.part"))
}

/// Puts the organisations' lines into one file, in the order of their ids.
fn concatenate(dir: &Path, name: &str, parts: &[Part]) -> Result<(), OutputError> {
    let path = dir.join(name);
    let mut whole = File::create(&path).map_err(cannot_write(&path))?;
    for part in parts {
        let part = part_path(dir, name, part.party);
        let copy = |whole: &mut File| std::io::copy(&mut File::open(&part)?, whole);
        copy(&mut whole).map_err(cannot_write(&path))?;
        std::fs::remove_file(&part).map_err(cannot_write(&part))?;
    }
    Ok(())
}

/// Everything of one organisation.
fn write_part(
    dir: &Path,
    gateway: &mut Gateway<OrgStore>,
    founders: &[Founder],
    state: &Client,
    now: UnixMillis,
    places: &BTreeMap<&EvseId, &Evse>,
) -> Result<Part, OutputError> {
    let party = gateway.party();
    let founder = founders.iter().find(|f| f.party == party);
    let founder = founder.ok_or(ConsortiumError::UnknownOrganisation(party))?;
    let part = write_sessions(dir, gateway, founder, state, now, places)?;
    write_bills(&dir.join("bills"), gateway, names(founders, state)?)?;
    write_invoices(&dir.join("invoices"), gateway)?;
    Ok(part)
}

/// `tariffs.json`, `agreements.json`, `retail_rules.json`.
fn write_terms(dir: &Path, consortium: &mut Consortium) -> Result<(), OutputError> {
    #[derive(Serialize)]
    struct Agreement<'a> {
        id: Digest,
        version: u32,
        terms: &'a RoamingAgreement,
    }
    let ledger = consortium.ledger();
    let parties = consortium.parties();
    let mut tariffs = Vec::new();
    let mut agreements = Vec::new();
    for party in &parties {
        for (id, _) in tariff_ids(consortium.founders(), *party) {
            let found = query::latest_tariff(ledger, *party, &id).map_err(ConsortiumError::from)?;
            if let Some((version, tariff)) = found {
                let json = tariff_to_json(&tariff, UnixMillis::EPOCH)
                    .map_err(|source| OutputError::Ocpi { session: format!("tariff {id}"), source })?;
                let mut value: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&json).map_err(|e| OutputError::Overflow(e.to_string()))?;
                value.insert("version".into(), version.into());
                tariffs.push(value);
            }
        }
        for other in parties.iter().filter(|o| *o != party) {
            let found = query::agreement_in_force(ledger, *party, *other, ledger_time(ledger));
            if let Some((reference, terms)) = found.map_err(ConsortiumError::from)? {
                agreements.push((reference, terms));
            }
        }
    }
    write_json(&dir.join("tariffs.json"), &tariffs)?;
    let agreements: Vec<Agreement<'_>> =
        agreements.iter().map(|(r, terms)| Agreement { id: r.id, version: r.version, terms }).collect();
    write_json(&dir.join("agreements.json"), &agreements)?;
    let mut rules = BTreeMap::new();
    for party in parties {
        rules.insert(party.to_string(), consortium.gateway(party)?.rules().home.versions().to_vec());
    }
    write_json(&dir.join("retail_rules.json"), &rules)
}

fn ledger_time(ledger: &dyn eroam_ledger::port::LedgerPort) -> UnixMillis {
    ledger.time()
}

fn tariff_ids(
    founders: &[Founder],
    party: PartyId,
) -> impl Iterator<Item = (eroam_domain::tariff::TariffId, Tariff)> {
    founders
        .iter()
        .filter(move |f| f.party == party)
        .flat_map(|f| founders::TARIFFS.iter().map(move |id| f.tariff(id)))
        .map(|t| (t.id().clone(), t))
}

/// What `sessions.jsonl` says of a session.
#[derive(Serialize)]
struct SessionLine<'a> {
    cdr: CdrId,
    operator: PartyId,
    home: Option<PartyId>,
    contract: Option<eroam_domain::ids::ContractId>,
    roaming: bool,
    authorized_by: AuthorizedBy,
    tier: eroam_domain::retail::Tier,
    payment: Option<eroam_domain::retail::PaymentOption>,
    retail_version: Option<u32>,
    agreement: Option<eroam_domain::cdr::AgreementRef>,
    tariff: &'a TariffRef,
    accepted_at: UnixMillis,
    utc_offset_s: i32,
    offset_change: Option<(UnixMillis, i32)>,
    booked_in: Option<SettlementPeriod>,
    record: Option<Digest>,
}

/// A charged session, whichever way it ended.
struct Charged<'s> {
    grant: &'s Grant,
    consumption: &'s Consumption,
    tariff: &'s TariffRef,
    agreement: Option<eroam_domain::cdr::AgreementRef>,
    accepted_at: UnixMillis,
    booked_in: Option<SettlementPeriod>,
    record: Option<Digest>,
}

impl<'s> Charged<'s> {
    fn of(session: &'s Session) -> Option<Self> {
        let consumption = session.consumption.as_ref()?;
        match &session.phase {
            Phase::Recorded { grant, cdr, booked_in, .. } => Some(Self {
                grant,
                consumption,
                tariff: &cdr.tariff,
                agreement: Some(cdr.agreement),
                accepted_at: cdr.accepted_at,
                booked_in: Some(*booked_in),
                record: Some(cdr.digest()),
            }),
            Phase::Delivered { grant, accepted } => Some(Self {
                grant,
                consumption,
                tariff: &accepted.quote.tariff,
                agreement: None,
                accepted_at: accepted.at,
                booked_in: None,
                record: None,
            }),
            _ => None,
        }
    }
}

/// The organisation's part of `cdrs.jsonl`, `sessions.jsonl` and `pending.jsonl`.
fn write_sessions(
    dir: &Path,
    gateway: &mut Gateway<OrgStore>,
    founder: &Founder,
    state: &Client,
    now: UnixMillis,
    places: &BTreeMap<&EvseId, &Evse>,
) -> Result<Part, OutputError> {
    #[derive(Serialize)]
    struct PendingLine {
        organisation: PartyId,
        session: String,
        waits_for: String,
    }
    let party = founder.party;
    let [cdrs, sessions, pending] = PART_FILES.map(|name| Lines::create(part_path(dir, name, party)));
    let (mut cdrs, mut sessions, mut pending) = (cdrs?, sessions?, pending?);
    let energy = WattHours::ZERO;
    let mut part =
        Part { party, charged: 0, roamed: 0, local_authorizations: 0, recorded: 0, pending: 0, energy };
    let mut writer = SessionWriter { founder, terms: BTreeMap::new(), tariffs: BTreeMap::new() };
    let patience = gateway.policy().patience;
    let mut failure = None;
    let result = gateway.store_mut().each_session(&mut |session| {
        let mut one = || -> Result<(), OutputError> {
            if let Some(waits) = session.pending(now, patience) {
                part.pending += 1;
                let waits_for = serde_json::to_string(&waits).unwrap_or_default();
                let session = session.id.to_string();
                pending.value(&PendingLine { organisation: party, session, waits_for })?;
            }
            let Some(charged) = Charged::of(&session) else { return Ok(()) };
            let roaming = session.is_roaming(party);
            part.charged += 1;
            part.roamed += u64::from(roaming);
            part.recorded += u64::from(charged.record.is_some());
            part.local_authorizations += u64::from(charged.grant.by() == AuthorizedBy::Cache);
            part.energy = part.energy.checked_add(charged.consumption.energy).ok_or_else(too_much_energy)?;
            sessions.value(&session_line(party, roaming, &session, &charged))?;
            let place = places.get(&session.evse).map_or("", |e| e.place.as_str());
            cdrs.text(&writer.cdr(state, &session, &charged, place)?)
        };
        one().map_err(|error| {
            failure = Some(error);
            StoreError { what: "the output stopped".into(), source: None }
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    result.map_err(|source| store_failed(party, source))?;
    for (operator, id, charge) in
        gateway.store_mut().unbilled_charges().map_err(|e| store_failed(party, e))?
    {
        part.pending += 1;
        pending.value(&PendingLine {
            organisation: party,
            session: format!("{operator}/{id}"),
            waits_for: charge.missing().unwrap_or_default(),
        })?;
    }
    cdrs.finish()?;
    sessions.finish()?;
    pending.finish()?;
    Ok(part)
}

fn store_failed(party: PartyId, source: StoreError) -> OutputError {
    ConsortiumError::Gateway(GatewayError::Store { party, source }).into()
}

fn session_line<'a>(
    operator: PartyId,
    roaming: bool,
    session: &Session,
    charged: &Charged<'a>,
) -> SessionLine<'a> {
    let clock = charged.consumption.clock;
    SessionLine {
        cdr: eroam_gateway::account::cdr_id(&session.id),
        operator,
        home: session.home(),
        contract: session.contract(),
        roaming,
        authorized_by: charged.grant.by(),
        tier: charged.grant.tier,
        payment: charged.grant.promised().map(|promised| promised.payment),
        retail_version: charged.grant.promised().map(|promised| promised.retail_version),
        agreement: charged.agreement,
        tariff: charged.tariff,
        accepted_at: charged.accepted_at,
        utc_offset_s: clock.offset.seconds(),
        offset_change: clock.change.map(|(at, offset)| (at, offset.seconds())),
        booked_in: charged.booked_in,
        record: charged.record,
    }
}

/// Writes the CDRs of one operator.
struct SessionWriter<'f> {
    founder: &'f Founder,
    terms: BTreeMap<eroam_domain::cdr::AgreementRef, RoamingAgreement>,
    tariffs: BTreeMap<TariffRef, Tariff>,
}

impl SessionWriter<'_> {
    fn cdr(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        charged: &Charged<'_>,
        place: &str,
    ) -> Result<String, OutputError> {
        let founder = self.founder;
        let missing =
            |what: &str| OutputError::Overflow(format!("session {}: {what} is missing", session.id));
        if !self.tariffs.contains_key(charged.tariff) {
            let key = StateKey::Tariff(founder.party, charged.tariff.id.clone(), charged.tariff.version);
            let tariff =
                read(ledger, &key).map_err(ConsortiumError::from)?.ok_or_else(|| missing("its tariff"))?;
            self.tariffs.insert(charged.tariff.clone(), tariff);
        }
        if let Some(reference) = charged.agreement
            && !self.terms.contains_key(&reference)
        {
            let key = StateKey::AgreementTerms(reference.id, reference.version);
            let terms =
                read(ledger, &key).map_err(ConsortiumError::from)?.ok_or_else(|| missing("its agreement"))?;
            self.terms.insert(reference, terms);
        }
        let tariff = self.tariffs.get(charged.tariff).ok_or_else(|| missing("its tariff"))?;
        let terms = charged.agreement.and_then(|r| self.terms.get(&r));
        let price = price(tariff, terms, charged.consumption)
            .map_err(|e| OutputError::Overflow(format!("session {}: {e}", session.id)))?;
        let contract = session.contract().ok_or_else(|| missing("its contract"))?;
        let fast = charged.tariff.id.as_str().starts_with("DC");
        let evse_uid = session.evse.normalised().to_owned();
        let object = CdrObject {
            party: founder.party,
            id: eroam_gateway::account::cdr_id(&session.id),
            session_id: session.id.clone(),
            start: charged.consumption.start,
            end: charged.consumption.end,
            token: CdrToken {
                uid: contract.without_separators(),
                kind: TokenKind::Rfid,
                contract,
                party: contract.party(),
            },
            auth_method: match charged.grant.by() {
                AuthorizedBy::Partner => AuthMethod::AuthRequest,
                AuthorizedBy::Cache | AuthorizedBy::Home | AuthorizedBy::Proof => AuthMethod::Whitelist,
            },
            authorization_reference: charged.grant.promised().map(|p| p.reference.to_string()),
            location: CdrLocation {
                id: evse_uid.clone(),
                name: Some(place.to_owned()),
                address: place.chars().take(45).collect(),
                city: founder.city.into(),
                postal_code: None,
                country: founder.country_alpha3.into(),
                coordinates: Coordinates {
                    latitude: founder.coordinates.0.into(),
                    longitude: founder.coordinates.1.into(),
                },
                evse_uid,
                evse_id: session.evse.clone(),
                connector: Connector {
                    id: "1".into(),
                    standard: if fast { "IEC_62196_T2_COMBO" } else { "IEC_62196_T2" }.into(),
                    format: if fast { ConnectorFormat::Cable } else { ConnectorFormat::Socket },
                    power_type: if fast { PowerType::Dc } else { PowerType::Ac3Phase },
                },
            },
            tariff: (tariff, UnixMillis::EPOCH),
            periods: &charged.consumption.periods,
            price: &price,
            credits: None,
            remark: None,
            last_updated: charged.consumption.end,
        };
        object.to_json().map_err(|source| OutputError::Ocpi { session: session.id.to_string(), source })
    }
}

/// The itemised price of a session: by the agreement, or at the utility's own station by its tariff.
fn price(
    tariff: &Tariff,
    terms: Option<&RoamingAgreement>,
    consumption: &Consumption,
) -> Result<ItemisedPrice, pricing::PriceError> {
    let (own_rule, own_rounding) = own_terms();
    let (rule, rounding) = terms.map_or((&own_rule, own_rounding), |t| (&t.price_rule, t.rounding));
    pricing::price(&PricingInputs {
        tariff,
        rule,
        rounding,
        clock: consumption.clock,
        periods: &consumption.periods,
        end: consumption.end,
        forecast: None,
    })
}

/// A name that is a file name everywhere.
fn file_name(number: &str) -> String {
    number.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// What the ledger calls the members.
fn names(founders: &[Founder], state: &Client) -> Result<BTreeMap<PartyId, String>, OutputError> {
    let name = |founder: &Founder| -> Result<Option<(PartyId, String)>, OutputError> {
        let member = query::member(state, founder.party).map_err(ConsortiumError::from)?;
        Ok(member.map(|member| (founder.party, member.name.to_string())))
    };
    founders.iter().filter_map(|founder| name(founder).transpose()).collect()
}

fn write_bills(
    dir: &Path,
    gateway: &mut Gateway<OrgStore>,
    names: BTreeMap<PartyId, String>,
) -> Result<(), OutputError> {
    let party = gateway.party();
    let mut maker = BillMaker::new(party, gateway.name(), names);
    let mut write = |bill: Bill| write_document(dir, &bill.number, &bill, &bill_page(&bill));
    let mut failure = None;
    let result = gateway.store_mut().each_bill_line(&mut |line| {
        let added = maker.add(line).map_err(|e| OutputError::Overflow(e.to_string()));
        added.and_then(|bills| bills.into_iter().try_for_each(&mut write)).map_err(|error| {
            failure = Some(error);
            StoreError { what: "the output stopped".into(), source: None }
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    result.map_err(|source| store_failed(party, source))?;
    maker.finish().into_iter().try_for_each(write)
}

fn write_invoices(dir: &Path, gateway: &mut Gateway<OrgStore>) -> Result<(), OutputError> {
    let party = gateway.party();
    let mut maker = InvoiceMaker::new(party);
    let mut write =
        |invoice: Invoice| write_document(dir, &invoice.number, &invoice, &invoice_page(&invoice));
    let mut failure = None;
    let result = gateway.store_mut().each_wholesale(&mut |_, _, line| {
        let added = maker.add(line).map_err(|e| OutputError::Overflow(e.to_string()));
        added.and_then(|invoices| invoices.into_iter().try_for_each(&mut write)).map_err(|error| {
            failure = Some(error);
            StoreError { what: "the output stopped".into(), source: None }
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    result.map_err(|source| store_failed(party, source))?;
    maker.finish().into_iter().try_for_each(write)
}

/// `settlement.json`, from the ledger's state.
fn write_settlement(dir: &Path, consortium: &Consortium, totals: &mut Totals) -> Result<(), OutputError> {
    #[derive(Serialize)]
    struct Gross {
        debtor: PartyId,
        creditor: PartyId,
        amount_micros: i64,
    }
    #[derive(Serialize)]
    struct Net {
        party: PartyId,
        amount_micros: i64,
        unpaid_micros: i64,
    }
    #[derive(Serialize)]
    struct Period {
        period: SettlementPeriod,
        currency: String,
        gross: Vec<Gross>,
        net: Vec<Net>,
    }
    let overflow = || OutputError::Overflow("the net positions do not fit into 64 bits".into());
    let ledger = consortium.ledger();
    let mut periods = Vec::new();
    let mut sums: BTreeMap<(String, PartyId), i64> = BTreeMap::new();
    let (_, entries) = ledger.entries().map_err(ConsortiumError::from)?;
    let entries = || entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    for (key, value) in entries() {
        let Ok(StateKey::ClosedPeriod(period, currency)) = eroam_domain::codec::from_bytes::<StateKey>(key)
        else {
            continue;
        };
        let closed: eroam_ledger::settlement::ClosedPeriod =
            eroam_domain::codec::from_bytes(value).map_err(OutputError::Overflow)?;
        let mut net = Vec::new();
        for position in &closed.net {
            let sum = sums.entry((currency.to_string(), position.party)).or_default();
            *sum = sum.checked_add(position.micros).ok_or_else(overflow)?;
            let account = eroam_ledger::state::Account::Net(period, position.party, currency);
            let unpaid_micros = query::balance(ledger, account).map_err(ConsortiumError::from)?;
            net.push(Net { party: position.party, amount_micros: position.micros, unpaid_micros });
        }
        let gross = closed
            .gross
            .into_iter()
            .map(|(debtor, creditor, amount_micros)| Gross { debtor, creditor, amount_micros })
            .collect();
        periods.push(Period { period, currency: currency.to_string(), gross, net });
    }
    write_json(&dir.join("settlement.json"), &periods)?;
    totals.net_positions = sums
        .into_iter()
        .map(|((currency, party), amount_micros)| NetTotal { party, currency, amount_micros })
        .collect();
    totals.state_digest = state_digest(entries());
    for (currency, sum) in ledger_balance(entries()).map_err(ConsortiumError::from)? {
        totals.ledger_balance.insert(currency.to_string(), i64::try_from(sum).map_err(|_| overflow())?);
    }
    Ok(())
}
