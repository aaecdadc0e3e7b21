//! A charging station among agents: it proves itself, has the driver proved, and charges.
//!
//! ```text
//! invitation (QR code) ─► connection ─► shows its credential ─► request ─► quote from the operator
//!   ─► asks for the contract's proof, bound to quote and voucher ─► verified on the ledger's newest list
//!   ─► operator reserves the voucher ─► power ─► signed readings ─► driver: finished, operator: accounting
//! ```
//! One vehicle at a time: whoever asks while power is on hears so. Up to the reservation each driver has a thread, so that
//! one who scans and goes away keeps nobody waiting. What the operator has to account for is in the outbox before the
//! driver hears that it is over, and stays there until the operator has it. What a charge is accounted for with is kept
//! before power comes on: after a power cut the charge goes on, or is billed as far as the meter signed.
//!
//! Source: paper B, sections 4.5, 4.6 and 5.2.

mod renewal;

use super::catalogue::{Catalogue, CatalogueError};
use super::listener::Listener;
use super::mandate;
use super::prices::Prices;
use super::provider::{tier_of, zones_of};
use super::proving::{self, STEP_WITHIN};
use super::repair::{self, Repair, RepairError};
use super::state::{AgentState, Changes};
use super::station_credentials::{Applicant, STATION_RECORD, StationCredentials, operator_of};
use super::under_way::{Begun, KeptDriver, UnderWay};
use super::validity::Validity;
use super::{ChargingError, address, local_time};
use crate::agent::kept::KeptInvitation;
use crate::agent::reach::Reach;
use crate::agent::{Agent, AgentError, new_id};
use crate::causes::chain;
use crate::clock::{in_time, now};
use crate::tails_cache::TailsCache;
use eroam_domain::cdr::{SessionId, session_digest};
use eroam_domain::charge::Denial;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::{
    Accounting, ChargeLimits, Denied, Enabled, EndReason, Finished, Progress, QuoteRequest, ReserveRequest,
    ShownContract, Started, StationClaims, VisitQuote, VisitRequest,
};
use eroam_domain::voucher::{PROOF_NONCE_BYTES, SpentVoucher, proof_nonce};
use eroam_ledger::registry::DidRecord;
use eroam_ledger::state::StateKey;
use eroam_ssi::anoncreds::{
    Freshness, FreshnessPolicy, Nonce, ObjectId, Presentation, ProofRequest, StatusList, verifier,
};
use eroam_ssi::didcomm::{MessageId, OsRng};
use eroam_ssi::protocol::charging::{
    CONTRACT, ContractDemand, PROTOCOL, Resume, Said, Visit, attributes, contract_request,
};
use eroam_ssi::protocol::did_exchange::{Connection, Responder};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::present_proof::{ANONCREDS_PROOF, ANONCREDS_REQUEST};
use eroam_ssi::protocol::questions::{self, STATION};
use eroam_ssi::sd_jwt::SigningKey;
use eroam_station::journal::{Journal, JournalError};
use eroam_station::metering::PriceSoFar;
use eroam_station::process::StoppedBy;
use renewal::Credentials;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// The format of a request for a station's credential.
pub const SD_JWT_REQUEST: &str = "eroam/sd-jwt-request@v1.0";
/// The format of a station's credential.
pub const SD_JWT: &str = "dc+sd-jwt";
/// A status list that was looked up so long ago still does.
pub const LIST_AGE: Duration = Duration::from_secs(60);
/// So long an invitation is good: it is printed on the post.
const INVITED_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
/// So long a visit may take from request to end.
pub(super) const VISIT_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// So many drivers are talked to at a time; more wait.
const VISITS_MAX: usize = 16;
/// So often it is looked whether the station is stopped.
const LOOKS_EVERY: Duration = Duration::from_millis(200);
/// After so long an operator that was away is tried again.
const ACCOUNTS_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What a wallet wants to see of a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationDemand {
    /// The question's number.
    pub nonce: String,
    /// The type of credential.
    pub vct: String,
}

/// What was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Why it ended.
    pub reason: EndReason,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub end: UnixMillis,
    /// Delivered.
    pub energy: WattHours,
    /// Lines of OCMF.
    pub readings: String,
}

/// What a post is to do for a driver.
#[derive(Clone, Copy, Debug)]
pub struct ChargeOrder<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// What the driver asked for.
    pub limits: ChargeLimits,
    /// What the operator allows.
    pub enabled: &'a Enabled,
    /// What clocks show here: readings are signed with it.
    pub clock: LocalClock,
}

/// What is behind the agent: relay, meter and vehicle.
pub trait Post: Send {
    /// Charges until a limit, or until nobody wants more. `watch` says whether somebody wants it off, and hears how far it
    /// is where that takes a time. `account` makes the operator's message from the meter's readings; when this returns,
    /// the message is in the [outbox](Self::outbox).
    ///
    /// # Errors
    /// A sentence for the log; the driver is told that the station has a fault.
    fn charge(
        &mut self,
        order: ChargeOrder<'_>,
        prices: &dyn PriceSoFar,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, String>;

    /// Goes on with the charge that the journal holds from before the station was switched off, if there is one. `prices`
    /// and `account` are those of the last visit that got power, as far as there was one.
    ///
    /// # Errors
    /// A sentence for the log.
    fn resume(
        &mut self,
        prices: Option<&dyn PriceSoFar>,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Option<Charged>, String>;

    /// What is wrong with it: until somebody has looked, nobody charges.
    fn fault(&self) -> Option<String>;

    /// Somebody has looked: what was wrong is over.
    ///
    /// # Errors
    /// A sentence, also where a charge is not settled yet; it stays as it is.
    fn repair(&mut self) -> Result<(), String>;

    /// Where messages for the operator wait.
    fn outbox(&self) -> Box<dyn Journal + Send>;
}

/// Makes the message that accounts for a charge from the meter's readings.
pub type Account<'a> = &'a dyn Fn(&str) -> Result<String, serde_json::Error>;

/// Who a contract has to be of, and how it is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Zones and tier shown, not revoked.
    #[default]
    Default,
    /// As paper B: also the last day compared.
    Paper,
}

impl Mode {
    /// What a driver is asked today.
    #[must_use]
    pub fn demand(self) -> ContractDemand {
        match self {
            Self::Default => ContractDemand::Default,
            Self::Paper => ContractDemand::NotExpired(LocalClock::UTC.at(now()).date),
        }
    }
}

/// What is made once, before anybody hears of it.
const IDENTITY: &str = "identity";
/// Records of repairs, by their times.
const REPAIR: &str = "repair";
/// What the charge under way is accounted for with.
const VISIT: &str = "visit";

/// The key of the station's credential, and what is on its post.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptIdentity {
    /// A P-256 scalar.
    key: [u8; 32],
    invitation: KeptInvitation,
}

/// What a charge goes on with, and is accounted for with, after a power cut.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptVisit {
    prices: Prices,
    /// Without readings.
    accounting: Accounting,
    /// Whose it is.
    driver: KeptDriver,
    /// How it ended, for a driver who was away.
    finished: Option<Finished>,
}

impl KeptVisit {
    /// The message to the operator.
    fn message(&self, readings: &str) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Accounting { readings: readings.to_owned(), ..self.accounting.clone() })
    }
}

/// How a station stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationStatus {
    /// What its credential says.
    pub claims: StationClaims,
    /// Whether somebody charges.
    pub is_charging: bool,
    /// What is wrong with it: until somebody has looked, nobody charges.
    pub fault: Option<String>,
    /// So many accounts wait for the operator.
    pub accounts_waiting: u64,
    /// What was done at the last fault.
    pub last_repair: Option<Repair>,
}

/// A station.
pub struct Station {
    agent: Agent,
    state: AgentState,
    claims: StationClaims,
    key: SigningKey,
    credentials: Credentials,
    /// For paper B's credential.
    tails: Arc<TailsCache>,
    operator: Connection,
    /// Under which the ledger lists the key of the operator's credentials.
    operator_did: EroamDid,
    catalogue: Catalogue,
    mode: Mode,
    invitation: Invitation,
    invited: Responder,
    post: Mutex<Box<dyn Post>>,
    /// One sends at a time, oldest first.
    outbox: Mutex<Box<dyn Journal + Send>>,
    /// To look into it while somebody sends.
    watched: Mutex<Box<dyn Journal + Send>>,
    work: Mutex<Work>,
    /// Told of when there is less or other work, and of the end.
    work_changed: Condvar,
    /// Whose definitions these are, as the ledger says.
    issuers: Mutex<HashMap<ObjectId, PartyId>>,
    /// For drivers whose wallet was away.
    under_way: UnderWay,
    /// The last charge of before the station was switched off, until it is gone on with.
    left_over: Mutex<Option<(KeptVisit, Begun)>>,
    stopped: AtomicBool,
}

/// The post, for one driver.
type PostGuard<'a> = MutexGuard<'a, Box<dyn Post>>;

/// What is under way.
struct Work {
    /// Drivers who are talked to.
    visits: usize,
    /// When what waits in the outbox is sent again, if something may wait there.
    accounts_due: Option<Instant>,
    /// When the credentials are looked after.
    credentials_due: Instant,
    /// A charge of before the station was switched off may go on.
    resumes: bool,
    /// A charge could not be brought to its end. What is known of it stays as it is, so that it can be after a restart: a
    /// visitor meanwhile would be taken for the one who has to pay for it.
    is_stuck: bool,
}

/// What was asked, against which list, and what was shown.
struct Proof {
    request: ProofRequest,
    list: Arc<StatusList>,
    shown: Presentation,
}

/// How a visit went, for whoever counts.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Charged; the operator has the account, or it waits in the outbox.
    Charged {
        /// The session.
        session: SessionId,
        /// How much.
        energy: WattHours,
    },
    /// The driver was denied, in these words.
    Denied(String),
    /// A driver whose wallet was away asked for a charge that had begun before.
    Rejoined,
}

impl Station {
    /// Starts one with what `state` knows; a new one connects with its operator and registers. The ledger lists under
    /// `operator_did` with which key the operator signs stations' credentials. `tails` are kept for paper B's credential.
    ///
    /// # Errors
    /// [`ChargingError`].
    #[allow(clippy::too_many_arguments, reason = "what a station is made of")]
    pub fn start(
        claims: StationClaims,
        operator: &Invitation,
        operator_did: EroamDid,
        catalogue: Catalogue,
        tails: Arc<TailsCache>,
        mode: Mode,
        post: Box<dyn Post>,
        state: AgentState,
        reach: impl Into<Reach>,
    ) -> Result<Self, ChargingError> {
        let label = claims.evse.to_string();
        let agent = address::start_agent(&state, &label, reach.into())?.speaking(PROTOCOL).speaking(STATION);
        let (key, invitation, invited) = identity(&agent, &state)?;
        let (credentials, operator) = match StationCredentials::kept(&state, &agent, &key, mode)? {
            Some(kept) => kept,
            None => {
                let (operator_key, _) = operator_of(&catalogue, operator_did)?;
                let operator = agent.connect(operator, STEP_WITHIN)?;
                let applicant = Applicant {
                    agent: &agent,
                    operator: &operator,
                    operator_key: &operator_key,
                    claims: &claims,
                    invitation: invitation.to_url(agent.endpoint()),
                    catalogue: &catalogue,
                    tails: &tails,
                    mode,
                };
                (StationCredentials::ask(&applicant, &key, &state)?, operator)
            }
        };
        // Before anybody is served: who comes back asks for it at once.
        let under_way = UnderWay::default();
        let left_over = match state.get::<KeptVisit>(STATION_RECORD, VISIT)? {
            None => None,
            Some(visit) => {
                let begun = under_way.take_up(&visit.driver)?;
                Some((visit, begun))
            }
        };
        Ok(Self {
            agent,
            state,
            claims,
            key,
            credentials: Credentials::new(credentials),
            tails,
            operator,
            operator_did,
            catalogue,
            mode,
            invitation,
            invited,
            outbox: Mutex::new(post.outbox()),
            watched: Mutex::new(post.outbox()),
            post: Mutex::new(post),
            // From before it was switched off, perhaps.
            work: Mutex::new(Work {
                visits: 0,
                accounts_due: Some(Instant::now()),
                // Its operator may sign with another key since.
                credentials_due: Instant::now(),
                resumes: true,
                is_stuck: false,
            }),
            work_changed: Condvar::new(),
            issuers: Mutex::default(),
            under_way,
            left_over: Mutex::new(left_over),
            stopped: AtomicBool::new(false),
        })
    }

    /// What is on its post: whoever scans it can connect.
    #[must_use]
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// The invitation as a URL, for a QR code.
    #[must_use]
    pub fn url(&self) -> String {
        self.invitation.to_url(self.agent.endpoint())
    }

    /// How it stands, for its staff.
    ///
    /// # Errors
    /// [`ChargingError`]: the outbox cannot be read.
    pub fn status(&self) -> Result<StationStatus, ChargingError> {
        let broken = |error: JournalError| ChargingError::unexpected("the station's outbox", error);
        let waiting = self.watched.lock().unwrap_or_else(PoisonError::into_inner).waiting(u32::MAX);
        let waiting = u64::try_from(waiting.map_err(broken)?.len()).unwrap_or(u64::MAX);
        let (is_charging, fault) = match self.faulty_post() {
            Ok((_, fault)) => (false, fault),
            Err(RepairError::Unaccounted) => (false, Some(RepairError::Unaccounted.to_string())),
            Err(_) => (true, None),
        };
        let last_repair = self.state.each::<Repair>(REPAIR)?.pop().map(|(_, repair)| repair);
        let claims = self.claims.clone();
        Ok(StationStatus { claims, is_charging, fault, accounts_waiting: waiting, last_repair })
    }

    /// The post, if nobody is charging and no charge is left over, and what is wrong with it.
    fn faulty_post(&self) -> Result<(PostGuard<'_>, Option<String>), RepairError> {
        match &*self.work() {
            Work { resumes: true, .. } => return Err(RepairError::Resuming),
            Work { is_stuck: true, .. } => return Err(RepairError::Unaccounted),
            _ => {}
        }
        let post = match self.post.try_lock() {
            Ok(post) => post,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(RepairError::Charging),
        };
        let fault = post.fault();
        Ok((post, fault))
    }

    /// Takes the station into service again after a fault that somebody has looked at. `reason` says what was done; it is
    /// remembered with the fault before anybody can charge.
    ///
    /// # Errors
    /// [`RepairError`]; the station stays out of service.
    pub fn repair(&self, reason: &str) -> Result<Repair, RepairError> {
        repair::check_reason(reason)?;
        let (mut post, fault) = self.faulty_post()?;
        let repair =
            Repair { at: now(), fault: fault.ok_or(RepairError::NoFault)?, reason: reason.to_owned() };
        // In the order of times.
        let key = format!("{:020}", repair.at.get());
        self.state.write(Changes::new().put(REPAIR, &key, &repair))?;
        post.repair().map_err(RepairError::Post)?;
        tracing::warn!(evse = %self.claims.evse, fault = repair.fault, reason, "station.repaired");
        Ok(repair)
    }

    /// What its credential says.
    #[must_use]
    pub const fn claims(&self) -> &StationClaims {
        &self.claims
    }

    /// Ends [`Station::serve`]. Drivers who have no power yet are left alone.
    pub fn stop(&self) {
        {
            let _work = self.work();
            self.stopped.store(true, Ordering::Release);
        }
        self.work_changed.notify_all();
        self.agent.close();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves drivers until it is stopped; tells how each visit went.
    pub fn serve(&self, told: impl FnMut(Result<Outcome, ChargingError>) + Send) {
        let told = Mutex::new(told);
        std::thread::scope(|scope| {
            scope.spawn(|| self.account_again());
            scope.spawn(|| self.keep_credentials());
            scope.spawn(|| {
                let resumed = self.resume();
                let mut work = self.work();
                (work.resumes, work.is_stuck) = (false, resumed.is_err());
                drop(work);
                if let Some(outcome) = resumed.transpose() {
                    told.lock().unwrap_or_else(PoisonError::into_inner)(outcome);
                }
            });
            while !self.is_stopped() {
                let full = |work: &mut Work| work.visits >= VISITS_MAX && !self.is_stopped();
                drop(self.work_changed.wait_while(self.work(), full));
                let knocked = self.agent.knocked(&self.invitation, &self.invited, LOOKS_EVERY);
                let Ok(request) = knocked else { continue };
                self.work().visits += 1;
                let told = &told;
                scope.spawn(move || {
                    let connected = self.agent.let_in(&self.invited, &request, STEP_WITHIN);
                    // One who did not connect was no visit.
                    if let Ok(connection) = connected {
                        let outcome = self.visit(&connection);
                        self.agent.forget(&connection);
                        self.note_credentials();
                        told.lock().unwrap_or_else(PoisonError::into_inner)(outcome);
                    }
                    self.work().visits -= 1;
                    self.work_changed.notify_all();
                });
            }
        });
    }

    /// Goes on with the charge of before the station was switched off, if there is one.
    fn resume(&self) -> Result<Option<Outcome>, ChargingError> {
        let left_over = self.left_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        let account = |readings: &str| match &left_over {
            Some((visit, _)) => visit.message(readings),
            None => Err(serde::ser::Error::custom("nothing is known of the charge but its readings")),
        };
        let mut watch = |progress: Option<Progress>| {
            let under_way = left_over.as_ref().map(|(_, begun)| begun);
            if let Some((begun, progress)) = under_way.zip(progress) {
                begun.progress(progress);
            }
            let by_station = self.is_stopped().then_some(StoppedBy::Station);
            by_station.or_else(|| under_way.is_some_and(Begun::is_stopped).then_some(StoppedBy::Driver))
        };
        let prices = left_over.as_ref().map(|(visit, _)| &visit.prices as &dyn PriceSoFar);
        let resumed =
            self.post.lock().unwrap_or_else(PoisonError::into_inner).resume(prices, &mut watch, &account);
        let charged = resumed.map_err(|error| ChargingError::unexpected("the charge", error))?;
        let Some((visit, begun)) = left_over else {
            return match charged {
                None => Ok(None),
                Some(_) => Err(ChargingError::unexpected("the charge", "it has no session")),
            };
        };
        let Some(Charged { reason, start, end, energy, readings }) = charged else {
            match visit.finished {
                Some(finished) => begun.finish(finished),
                // It had not begun, or its end was not noted any more: what is owed for it is in the outbox.
                None => self.state.write(Changes::new().remove(STATION_RECORD, VISIT))?,
            }
            return Ok(None);
        };
        let session = visit.accounting.session.clone();
        self.note_end(&visit, &begun, &Finished { reason, start, end, energy, readings });
        tracing::info!(%session, ?reason, "station.resumed");
        self.account_or_later();
        Ok(Some(Outcome::Charged { session, energy }))
    }

    /// Remembers how a charge ended for a driver who was away. It is accounted for anyhow.
    fn note_end(&self, visit: &KeptVisit, begun: &Begun, finished: &Finished) {
        begun.finish(finished.clone());
        let kept = KeptVisit { finished: Some(finished.clone()), ..visit.clone() };
        if let Err(error) = self.state.write(Changes::new().put(STATION_RECORD, VISIT, &kept)) {
            tracing::warn!(session = %visit.accounting.session, error = %chain(&error), "station.end");
        }
    }

    /// Sends the operator what it did not take, again and again.
    fn account_again(&self) {
        let mut work = self.work();
        while !self.is_stopped() {
            let left = work.accounts_due.map(|due| due.saturating_duration_since(Instant::now()));
            work = match left {
                None => self.work_changed.wait(work).unwrap_or_else(PoisonError::into_inner),
                Some(left) if !left.is_zero() => {
                    let waited = self.work_changed.wait_timeout(work, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    work.accounts_due = None;
                    drop(work);
                    self.account_or_later();
                    self.work()
                }
            };
        }
    }

    /// Sends what waits in the outbox, or sees to it that it is sent later.
    fn account_or_later(&self) {
        if self.account_for_all().is_err() {
            self.work().accounts_due = Some(Instant::now() + ACCOUNTS_AGAIN_AFTER);
            self.work_changed.notify_all();
        }
    }

    /// Sends the operator everything that waits in the outbox, in its order; gives how much that was. What the operator
    /// refuses for good is not sent again: it has it, and the reason is in both logs.
    ///
    /// # Errors
    /// [`ChargingError`]; what was not sent goes on waiting.
    pub fn account_for_all(&self) -> Result<usize, ChargingError> {
        let broken = |error: JournalError| ChargingError::unexpected("the station's outbox", error);
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        while let Some(queued) = outbox.waiting(1).map_err(broken)?.pop() {
            let accounting: Accounting = serde_json::from_str(&queued.message)
                .map_err(|error| ChargingError::unexpected("a message of the station's outbox", error))?;
            match self.account(&accounting) {
                Ok(()) => {}
                Err(ChargingError::Denied(denied)) if denied.denial == Denial::ReadingsRefused => {
                    tracing::error!(session = %accounting.session, reason = denied.reason, "station.account.refused");
                }
                Err(error) => {
                    tracing::warn!(session = %accounting.session, %error, "station.account.waits");
                    return Err(error);
                }
            }
            outbox.acknowledge(queued.number).map_err(broken)?;
            sent += 1;
        }
        Ok(sent)
    }

    /// The post, if nobody is charging and nothing is wrong with it.
    fn free_post(&self) -> Result<PostGuard<'_>, Denial> {
        match self.faulty_post() {
            Ok((post, None)) => Ok(post),
            Ok((_, Some(_))) | Err(RepairError::Unaccounted) => Err(Denial::StationFault),
            Err(_) => Err(Denial::StationBusy),
        }
    }

    /// One driver.
    ///
    /// # Errors
    /// [`ChargingError`]; the driver has been told as far as possible.
    pub fn visit(&self, connection: &Connection) -> Result<Outcome, ChargingError> {
        // An operator that was away too long: nobody charges with a credential that is over.
        self.renew_if_over()?;
        self.prove_ourselves(connection)?;
        let came = self.agent.receive("request to charge", STEP_WITHIN, |incoming| {
            let kind = incoming.message().kind();
            incoming.channel() == connection.channel()
                && (kind.to_string() == format!("{PROTOCOL}/request")
                    || questions::is_question::<Resume>(incoming)
                    || kind.is_problem_report())
        })?;
        if questions::is_question::<Resume>(&came) {
            self.under_way.rejoin(&self.agent, connection, &came)?;
            return Ok(Outcome::Rejoined);
        }
        if came.message().kind().is_problem_report() {
            return Ok(Outcome::Denied("the driver only wanted to see whose station this is".to_owned()));
        }
        let handled = Visit::asked(&came, now(), in_time(VISIT_WITHIN));
        let (mut visit, request) = self.agent.drive(connection, &came, handled)?;
        match self.charge(connection, &mut visit, &request) {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                let denied = match &error {
                    ChargingError::Denied(denied) => denied.clone(),
                    ChargingError::Verify(_) => Denial::ProofRejected.into(),
                    ChargingError::Catalogue(_) => Denied {
                        denial: Denial::LedgerRefused,
                        reason: "the station cannot find out at the moment whether contracts were revoked: take another \
                                 one, or try again later"
                            .to_owned(),
                    },
                    _ => Denied {
                        denial: Denial::LedgerRefused,
                        reason: "the station cannot go on at the moment, try another one".to_owned(),
                    },
                };
                let reason = denied.reason.clone();
                if let Ok((_, message)) = visit.say(&Said::Denied(denied), new_id(), now()) {
                    let _ = self.agent.send(connection, &message);
                }
                match error {
                    ChargingError::Denied(_) | ChargingError::Verify(_) => Ok(Outcome::Denied(reason)),
                    ChargingError::DriverLeft => Ok(Outcome::Denied(error.to_string())),
                    error => Err(error),
                }
            }
        }
    }

    /// Shows the station's credential to a driver who asks for it.
    fn prove_ourselves(&self, connection: &Connection) -> Result<(), ChargingError> {
        let credentials = self.credentials.current();
        if let Some(holder) = &credentials.paper {
            return holder.show(&self.agent, connection, &self.catalogue, &self.tails);
        }
        let asked = proving::asked_proof(&self.agent, connection, SD_JWT_REQUEST)?;
        let demand: StationDemand = serde_json::from_slice(&asked.request)
            .map_err(|error| ChargingError::unexpected("a request for the station's credential", error))?;
        // Made for whoever has the key of this connection, so that nobody can pass it on as an own one.
        let audience = connection.channel().theirs.to_multikey();
        let shown = credentials.sd_jwt.present(&BTreeSet::new(), &audience, &demand.nonce, now());
        let shown = shown.map_err(|error| ChargingError::unexpected("the station's credential", error))?;
        asked.show(&self.agent, connection, SD_JWT, shown.into_bytes())
    }

    /// Whose contracts a definition is for, as the ledger says.
    fn issuer(&self, definition: &ObjectId, request: &VisitRequest) -> Result<PartyId, ChargingError> {
        if let Some(known) = self.issuers.lock().unwrap_or_else(PoisonError::into_inner).get(definition) {
            return Ok(*known);
        }
        let did = request.definition.did;
        let record = self.catalogue.entry(&StateKey::Did(did), &did.to_string());
        let record: DidRecord = record.map_err(of_contract)?;
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        issuers.insert(definition.clone(), record.member);
        Ok(record.member)
    }

    fn say(&self, connection: &Connection, visit: &mut Visit, said: &Said) -> Result<(), ChargingError> {
        let (next, message) = visit.say(said, new_id(), now())?;
        self.agent.send(connection, &message).map_err(driver_left)?;
        *visit = next;
        Ok(())
    }

    /// From the request to the end. `visit` goes along, so that whoever hears of an error can say so.
    fn charge(
        &self,
        connection: &Connection,
        visit: &mut Visit,
        request: &VisitRequest,
    ) -> Result<Outcome, ChargingError> {
        let definition = ObjectId::new(request.definition.to_string())?;
        let registry = ObjectId::new(request.registry.to_string())?;
        let issuer = self.issuer(&definition, request)?;
        if !mandate::issues_for(&self.catalogue, request.emsp, issuer, &definition)? {
            let denial = Denial::ProofRejected;
            let reason = format!(
                "{issuer} issued your contract and may not do so for {}: call your provider",
                request.emsp
            );
            return Err(Denied { denial, reason }.into());
        }
        drop(self.free_post()?);
        let (session, at) = (self.new_session()?, now());
        let clock = self.clock_at(at)?;
        let quote = proving::question(
            &self.agent,
            &self.operator,
            &QuoteRequest {
                session: session.clone(),
                evse: self.claims.evse.clone(),
                emsp: request.emsp,
                voucher: request.voucher,
                limits: request.limits,
                at,
                clock,
            },
        )?;
        Validity::at(&self.catalogue, &registry, quote.made_at)?.of_contract()?;
        let prices = Prices::of(&self.catalogue, &quote, &self.claims.zone, clock)?;
        let random = random_digest();
        let ours = connection.channel().ours.to_multikey();
        let digest = session_digest(self.claims.operator, &session);
        let nonce = proof_nonce(&random.0, digest, &ours, quote.digest(), request.voucher);
        let offered = VisitQuote { quote: quote.clone(), clock, random };
        self.say(connection, visit, &Said::Quote(offered))?;
        let contract = (&definition, &registry);
        let leaves = visit.conversation().thread().clone();
        let proof = match self.proof(connection, contract, nonce, LIST_AGE, &leaves)? {
            Some(proof) => proof,
            // The driver's list is newer: ours is looked up again, once.
            None => {
                self.proof(connection, contract, nonce, Duration::ZERO, &leaves)?.ok_or(Denial::StaleProof)?
            }
        };
        let spent = self.accepted(connection, visit)?;
        let shown = self.verify(request.emsp, contract, &proof)?;
        // From here on it is this driver's, until the vehicle is off.
        let mut post = self.free_post()?;
        let reserve = ReserveRequest { session: session.clone(), shown, spent };
        let enabled = proving::question(&self.agent, &self.operator, &reserve)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        let accounting = Accounting {
            session: session.clone(),
            clock,
            readings: String::new(),
            random,
            station_key: ours,
            proof_request: text(proof.request.to_json()),
            presentation: text(proof.shown.to_json()),
        };
        let started = Started { at: now(), energy_max: enabled.energy_max, amount_max: enabled.amount_max };
        // First, so that a wallet that ends right here finds it.
        let under_way = self.under_way.begin(visit, started);
        let kept = KeptVisit { prices, accounting, driver: under_way.kept(), finished: None };
        // Before power: what flows from here on is accounted for, whatever happens.
        self.state.write(Changes::new().put(STATION_RECORD, VISIT, &kept))?;
        self.say(connection, visit, &Said::Started(started))?;
        let account = |readings: &str| kept.message(readings);
        let charged = {
            let mut listener = Listener::new();
            let mut watch = |progress: Option<Progress>| {
                progress.into_iter().for_each(|progress| under_way.progress(progress));
                if let Some(progress) = progress {
                    let tell = || self.say(connection, visit, &Said::Progress(progress)).is_ok();
                    listener.tell(Instant::now, tell);
                }
                let by_station = self.is_stopped().then_some(StoppedBy::Station);
                let mut by_driver = || under_way.is_stopped() || self.is_stopped_by(connection, visit);
                by_station.or_else(|| by_driver().then_some(StoppedBy::Driver))
            };
            let order = ChargeOrder { session: &session, limits: request.limits, enabled: &enabled, clock };
            post.charge(order, &kept.prices, &mut watch, &account)
        };
        // While nobody else can take the post.
        self.work().is_stuck |= charged.is_err();
        drop(post);
        let (finished, charged) = match charged {
            Ok(Charged { reason, start, end, energy, readings }) => {
                (Finished { reason, start, end, energy, readings }, Ok(energy))
            }
            Err(why) => {
                let (start, end, energy) = (started.at, now(), WattHours::ZERO);
                let readings = String::new();
                (Finished { reason: EndReason::Fault, start, end, energy, readings }, Err(why))
            }
        };
        self.note_end(&kept, &under_way, &finished);
        // Whether the driver still listens or not: what was delivered is accounted for.
        if let Err(error) = self.say(connection, visit, &Said::Finished(finished)) {
            tracing::info!(%session, %error, "station.driver_gone");
        }
        let energy = charged.map_err(|error| ChargingError::unexpected("the charge", error))?;
        self.account_or_later();
        Ok(Outcome::Charged { session, energy })
    }

    /// Sends the operator an accounting message, and waits until it is kept there.
    fn account(&self, accounting: &Accounting) -> Result<(), ChargingError> {
        let thread = new_id();
        let message = questions::ask(accounting, thread.clone(), in_time(STEP_WITHIN))?;
        self.agent.send(&self.operator, &message)?;
        if let Some(holder) = &self.credentials.current().paper {
            holder.show(&self.agent, &self.operator, &self.catalogue, &self.tails)?;
        }
        proving::answer_to::<Accounting>(&self.agent, &self.operator, &thread)?;
        Ok(())
    }

    /// Asks for the contract's proof; `None` when the driver says that its list is newer than ours. A driver who does not
    /// want to any more says so on the visit's thread.
    fn proof(
        &self,
        connection: &Connection,
        (definition, registry): (&ObjectId, &ObjectId),
        nonce: [u8; PROOF_NONCE_BYTES],
        age: Duration,
        leaves: &MessageId,
    ) -> Result<Option<Proof>, ChargingError> {
        let list = self.catalogue.newest_list(registry, age).map_err(of_contract)?;
        let nonce = Nonce::from_bytes(nonce)?;
        let request = contract_request(definition, self.mode.demand(), list.timestamp(), nonce)?;
        let awaited = proving::ask_person(&self.agent, connection, ANONCREDS_REQUEST, request.to_json());
        let awaited = awaited.map_err(|error| match error {
            ChargingError::Agent(error) => driver_left(error),
            error => error,
        })?;
        match awaited.shown_by(&self.agent, connection, ANONCREDS_PROOF, leaves) {
            Ok(shown) => {
                let shown = Presentation::from_json(&shown).map_err(|error| {
                    tracing::info!(error = %chain(&error), "station.no_presentation");
                    Denial::ProofRejected
                })?;
                Ok(Some(Proof { request, list, shown }))
            }
            Err(ChargingError::Abandoned(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Verifies the proof with what the ledger says.
    fn verify(
        &self,
        emsp: PartyId,
        (definition, registry): (&ObjectId, &ObjectId),
        proof: &Proof,
    ) -> Result<ShownContract, ChargingError> {
        let mut known = self.catalogue.known(definition, None, LIST_AGE).map_err(of_contract)?;
        known.add_registry(registry.clone(), self.catalogue.registry(registry).map_err(of_contract)?);
        known.add_status_list(Arc::clone(&proof.list));
        let newest = Freshness::Exactly(proof.list.timestamp());
        let policy = FreshnessPolicy::new().with(registry.clone(), newest);
        let verified = verifier::verify(&proof.shown, &proof.request, &known, &policy)?;
        let value = |name| verified.value(CONTRACT, name);
        let tier = value(attributes::TIER).and_then(tier_of).ok_or(Denial::ProofRejected)?;
        let zones = value(attributes::ZONES).and_then(zones_of).ok_or(Denial::ProofRejected)?;
        if !zones.allow(&self.claims.zone) {
            return Err(Denial::ZoneNotAllowed.into());
        }
        Ok(ShownContract { emsp, tier, zones })
    }

    /// Waits for the driver to agree.
    fn accepted(&self, connection: &Connection, visit: &mut Visit) -> Result<SpentVoucher, ChargingError> {
        let thread = visit.conversation().thread().clone();
        let came = self.agent.receive_from(connection, Some(&thread), STEP_WITHIN)?;
        let (next, said) = self.agent.drive(connection, &came, visit.hear(&came, now()))?;
        *visit = next;
        match said {
            Said::Accept(spent) => Ok(spent),
            _ => Err(Denial::QuoteRefused.into()),
        }
    }

    /// Whether the driver wants it off.
    fn is_stopped_by(&self, connection: &Connection, visit: &mut Visit) -> bool {
        let thread = visit.conversation().thread().clone();
        let Ok(came) = self.agent.receive_from(connection, Some(&thread), Duration::ZERO) else {
            return false;
        };
        match visit.hear(&came, now()) {
            Ok((next, said)) => {
                *visit = next;
                said == Said::Stop
            }
            Err(_) => false,
        }
    }

    /// What clocks show here.
    fn clock_at(&self, at: UnixMillis) -> Result<LocalClock, ChargingError> {
        let zone = self.claims.time_zone.as_ref();
        let zone =
            zone.ok_or_else(|| ChargingError::unexpected("the station's time zone", "it is not configured"))?;
        Ok(local_time::clock_at(zone, at)?)
    }

    fn new_session(&self) -> Result<SessionId, ChargingError> {
        // Random, so that it is unique at the operator after a restart, too. Not the EVSE and the time: it becomes the
        // record's id, which stands on the ledger.
        let text = format!("{:.24}", random_digest().to_string());
        SessionId::new(&text).map_err(|error| ChargingError::unexpected("a session's id", error))
    }
}

/// Why what a contract is checked by is not known: where the ledger proves that there is none, the driver named what does not
/// exist.
fn of_contract(error: CatalogueError) -> ChargingError {
    match error {
        CatalogueError::None(_) => {
            let reason =
                "your contract is of a kind that the ledger does not have: call your provider".to_owned();
            Denied { denial: Denial::ProofRejected, reason }.into()
        }
        error => error.into(),
    }
}

/// A wallet that takes no more messages of a visit has ended it.
fn driver_left(error: AgentError) -> ChargingError {
    match error {
        AgentError::Unreachable { .. } => ChargingError::DriverLeft,
        error => error.into(),
    }
}

/// The key of the station's credential and the invitation on its post: made once.
fn identity(agent: &Agent, state: &AgentState) -> Result<(SigningKey, Invitation, Responder), ChargingError> {
    if let Some(kept) = state.get::<KeptIdentity>(STATION_RECORD, IDENTITY)? {
        let (invitation, invited) = agent.take_up_invitation(&kept.invitation)?;
        return Ok((SigningKey::from_scalar(&kept.key)?, invitation, invited));
    }
    let key = SigningKey::generate(&mut OsRng);
    let (invitation, invited) = agent.invite(in_time(INVITED_FOR))?;
    let kept =
        KeptIdentity { key: *key.to_scalar(), invitation: agent.keep_invitation(&invitation, &invited)? };
    state.write(Changes::new().put(STATION_RECORD, IDENTITY, &kept))?;
    Ok((key, invitation, invited))
}

fn random_digest() -> Digest {
    use eroam_ssi::didcomm::RngCore as _;
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    Digest(bytes)
}
