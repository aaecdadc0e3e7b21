//! An operator for its stations: it vouches for them, prices, reserves vouchers, and turns what they account for into
//! records.
//!
//! ```text
//! station                                      operator
//!   connects with its invitation, which staff has made for it alone
//!   register {claims, key, signature} ------->  entered, signed with the key; the first time by its invitation, which is
//!                                               used up then, and ever after with the same key
//!      <------------------ credential (SD-JWT, figure 21)
//!   quote, reserve, account ----------------->  gateway -> ledger -> report to the home utility
//! ```
//! Wallets find the key with which stations' credentials are signed in the operator's DID, as a service of the type
//! [`STATION_ISSUER`], and whether one is revoked in the operator's status list.
//!
//! Source: paper B, sections 4.7 and 5.2.

use super::catalogue::Catalogue;
use super::evidence::{self, Agreed, EvidenceError, SAMPLE_ONE_IN};
use super::issuer::Issuer;
use super::listed_tariff::ListedTariff;
use super::locations::Location;
use super::offices::{Answer, Office, OfficeError};
use super::paper;
use super::state::{AgentState, Changes};
pub use super::stations::RegisteredStation;
use super::stations::Stations;
use super::{ChargingError, address, local_time};
use crate::agent::kept::KeptInvitation;
use crate::agent::reach::Reach;
use crate::agent::{Agent, count_credential, new_id};
use crate::causes::chain;
use crate::clock::{in_time, now};
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::Denial;
use eroam_domain::codec::ShortText;
use eroam_domain::ids::{EroamDid, EvseId, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, TimeZoneName, UnixMillis};
use eroam_domain::visit::{
    Accounting, Denied, Enabled, QuoteRequest, ReserveRequest, ShownContract, StationClaims,
};
use eroam_gateway::gateway::Evse;
use eroam_gateway::sessions::{PayerOpening, Phase};
use eroam_gateway::unknown_driver::{ProvenContract, UnknownDriverRequest};
use eroam_ledger::registry::DidService;
use eroam_ssi::didcomm::{Channel, MessageId, OsRng};
use eroam_ssi::protocol::Incoming;
use eroam_ssi::protocol::did_exchange::{Connection, Responder};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{self, Question, Received, STATION};
use eroam_ssi::protocol::station_registration::{StationCredential, StationRegistration};
use eroam_ssi::sd_jwt::{IssueSdJwt, NewStatusList, SigningKey, StatusList, StatusReference, VerifyingKey};
use eroam_wire::ocmf::{MeterPublicKey, MeteredSession};
use serde_json::Value;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The type of the service under which an operator's DID has the key that signs stations' credentials: a JWK.
pub const STATION_ISSUER: &str = "station-issuer";
/// The type of a station's credential.
pub const STATION_VCT: &str = "https://eroam.example/station-credential/1";
/// So many questions of stations are handled at a time.
const AT_A_TIME: usize = 4;
/// So many that connected and did not register are remembered; the oldest are forgotten. A station registers at once.
const STRANGERS_MAX: usize = 64;
/// So many stations can have credentials.
const STATIONS_MAX: u32 = 8_192;
/// So long a station's credential is good.
const CREDENTIAL_FOR: DurationMs = DurationMs::from_millis(3 * 365 * 86_400_000);
/// So long a wallet may keep the status list.
const STATUS_FOR: Duration = Duration::from_secs(3_600);
/// So long connections are taken: a station that has registered may come back at any time.
const CONNECTS_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
/// So long a station may register with an invitation.
pub const INVITED_FOR: Duration = Duration::from_secs(30 * 86_400);

/// Records of invitations that are out for good.
const INVITATION: &str = "invitation";
/// The one for stations, whose key all of theirs have.
const STATIONS: &str = "stations";

/// Somebody who has connected, and of whom nobody knows yet which station it is.
struct Stranger {
    channel: Channel,
    /// The id of the invitation that it answered.
    invitation: MessageId,
}

struct Inner {
    office: Office,
    agent: Agent,
    did: EroamDid,
    /// Signs stations' credentials.
    issuing: Mutex<SigningKey>,
    /// Paper B's credentials for stations, and where the ledger is looked up to check them.
    paper: Option<(Issuer, Catalogue)>,
    /// Where the status list is.
    status_uri: Mutex<String>,
    status: Mutex<StatusList>,
    stations: Stations,
    connections: Mutex<HashMap<Channel, Connection>>,
    /// The oldest first.
    strangers: Mutex<VecDeque<Stranger>>,
    /// Whose local time it is at the stations that staff has entered.
    time_zones: Mutex<BTreeMap<EvseId, TimeZoneName>>,
    /// Which station a connection is.
    stations_by_channel: Mutex<HashMap<Channel, EvseId>>,
    invitation: Invitation,
    invited: Responder,
    /// One session in so many is checked again when it is accounted for.
    sample_one_in: AtomicU8,
    stopped: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// An operator. Cheap to clone; [`Operator::stop`] ends it.
#[derive(Clone)]
pub struct Operator(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service of a DID that says which key signs stations' credentials.
#[must_use]
pub fn station_issuer_service(key: &VerifyingKey) -> Option<DidService> {
    Some(DidService {
        id: ShortText::new("stations").ok()?,
        kind: ShortText::new(STATION_ISSUER).ok()?,
        endpoint: ShortText::new(&key.to_jwk().to_string()).ok()?,
    })
}

/// The key of such a service.
#[must_use]
pub fn station_issuer_key(services: &[DidService]) -> Option<VerifyingKey> {
    let service = services.iter().find(|service| service.kind.as_str() == STATION_ISSUER)?;
    let jwk: Value = serde_json::from_str(service.endpoint.as_str()).ok()?;
    VerifyingKey::from_jwk(&jwk).ok()
}

impl Operator {
    /// Starts one with what `state` knows. Its office has the stations that staff has entered, `time_zones` whose local time
    /// it is at them ([`Operator::enter`] adds others). `did` is the organisation's, in whose document `issuing` is announced. With `paper`, stations also get
    /// paper B's credential, and show it when they account for a charge.
    ///
    /// # Errors
    /// [`ChargingError`].
    #[allow(clippy::too_many_arguments, reason = "what an operator is made of")]
    pub fn start(
        office: Office,
        time_zones: BTreeMap<EvseId, TimeZoneName>,
        name: &str,
        did: EroamDid,
        issuing: SigningKey,
        paper: Option<(Issuer, Catalogue)>,
        state: AgentState,
        reach: impl Into<Reach>,
    ) -> Result<Self, ChargingError> {
        let agent = address::start_agent(&state, name, reach.into())?.speaking(STATION);
        let (invitation, invited) = match state.get::<KeptInvitation>(INVITATION, STATIONS)? {
            Some(kept) => agent.take_up_invitation(&kept)?,
            None => {
                let (invitation, invited) = agent.invite(in_time(CONNECTS_FOR))?;
                let kept = agent.keep_invitation(&invitation, &invited)?;
                state.write(Changes::new().put(INVITATION, STATIONS, &kept))?;
                (invitation, invited)
            }
        };
        let (stations, kept) = Stations::open(state)?;
        let (mut connections, mut stations_by_channel) = (HashMap::new(), HashMap::new());
        for (evse, kept) in kept {
            let connection = agent.take_up_connection(&kept)?;
            stations_by_channel.insert(connection.channel(), evse);
            connections.insert(connection.channel(), connection);
        }
        let mut status = StatusList::new(STATIONS_MAX)?;
        for station in stations.all().iter().filter(|station| station.revoked.is_some()) {
            status.set(station.index, true)?;
        }
        let operator = Self(Arc::new(Inner {
            office,
            agent,
            did,
            issuing: Mutex::new(issuing),
            paper,
            status_uri: Mutex::default(),
            status: Mutex::new(status),
            stations,
            connections: Mutex::new(connections),
            strangers: Mutex::default(),
            time_zones: Mutex::new(time_zones),
            stations_by_channel: Mutex::new(stations_by_channel),
            invitation,
            invited,
            sample_one_in: AtomicU8::new(SAMPLE_ONE_IN.get()),
            stopped: AtomicBool::new(false),
            threads: Mutex::default(),
        }));
        // What a crash, or a ledger that was away, has left of a revocation.
        if operator.0.paper.is_some() {
            for station in operator.stations().iter().filter(|station| station.revoked.is_some()) {
                operator.revoke_paper(station)?;
            }
        }
        operator.resume()?;
        Ok(operator)
    }

    /// Answers stations, from the start and again after [`Operator::stop`].
    ///
    /// # Errors
    /// [`ChargingError`] if there are no threads.
    pub fn resume(&self) -> Result<(), ChargingError> {
        self.0.stopped.store(false, Ordering::Release);
        self.0.agent.open();
        let accepting = self.clone();
        self.spawn("operator invites", move || accepting.accept())?;
        for _ in 0..AT_A_TIME {
            let serving = self.clone();
            self.spawn("operator", move || serving.serve())?;
        }
        Ok(())
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ChargingError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| ChargingError::unexpected("a thread", error))?;
        lock(&self.0.threads).push(thread);
        Ok(())
    }

    /// The organisation.
    #[must_use]
    pub fn office(&self) -> &Office {
        &self.0.office
    }

    /// Where its agent listens.
    #[must_use]
    pub fn agent_address(&self) -> SocketAddr {
        self.0.agent.address()
    }

    /// Enters a station, at which it is the local time of `time_zone`: it can be invited, and register.
    pub fn enter(&self, station: Evse, time_zone: TimeZoneName) {
        lock(&self.0.time_zones).insert(station.id.clone(), time_zone);
        self.0.office.with(|gateway, _| gateway.put_station(station));
    }

    /// An invitation for a station that staff has entered: with it, one key registers as that station, once, within
    /// [`INVITED_FOR`]. It is a secret until then. One that was out for the station before is void.
    ///
    /// # Errors
    /// [`ChargingError::NotEntered`], [`ChargingError::RegisteredBefore`].
    pub fn invite(&self, evse: &EvseId) -> Result<Invitation, ChargingError> {
        if self.0.office.with(|gateway, _| gateway.station(evse).is_none()) {
            return Err(ChargingError::NotEntered(evse.clone()));
        }
        let invitation = self.0.invitation.clone().under(new_id());
        if !self.0.stations.invite(evse, invitation.id(), in_time(INVITED_FOR))? {
            return Err(ChargingError::RegisteredBefore(evse.clone()));
        }
        Ok(invitation)
    }

    /// An invitation as a URL, which is how stations are given it.
    #[must_use]
    pub fn url_of(&self, invitation: &Invitation) -> String {
        invitation.to_url(self.0.agent.endpoint())
    }

    /// The stations that registered.
    #[must_use]
    pub fn stations(&self) -> Vec<RegisteredStation> {
        self.0.stations.all()
    }

    /// The status list and the listing of stations, for wallets.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/stations/status", get(status))
            .route("/stations/locations", get(locations))
            .with_state(self.clone())
    }

    /// The stations that drivers may use, as everybody may see them.
    #[must_use]
    pub fn locations(&self) -> Vec<Location> {
        let stations = self.stations();
        let in_use = stations.iter().filter(|station| station.revoked.is_none());
        let tariff = |evse: &EvseId| {
            self.0.office.with(|gateway, _| gateway.station(evse).map(|known| known.tariff.clone()))
        };
        let (ledger, party, at) = (self.0.office.client(), self.party(), now());
        let listed = |id: &TariffId| ListedTariff::in_force(ledger, party, id, at).ok().flatten();
        let location = |station: &RegisteredStation| {
            let tariff = tariff(&station.claims.evse);
            let listed = tariff.as_ref().and_then(listed);
            Location::of(station, tariff, listed)
        };
        in_use.map(location).collect()
    }

    /// Says at which URL that is served. Credentials that are issued from then on name it.
    pub fn served_at(&self, url: &str) {
        *lock(&self.0.status_uri) = format!("{url}/stations/status");
    }

    /// Signs stations' credentials and the list of revoked ones with another key from now on: that which the ledger lists in
    /// the operator's DID by then ([`station_issuer_service`]). Stations notice it there, and have their credentials renewed.
    pub fn sign_with(&self, issuing: SigningKey) {
        *lock(&self.0.issuing) = issuing;
    }

    /// Revokes a station's credentials: wallets refuse it from the next lists on, its operator's and, of paper B's kind, the
    /// ledger's. May be repeated, if the ledger was away.
    ///
    /// # Errors
    /// [`ChargingError`] for a station that did not register, and for a ledger that does not take the list: the station is
    /// revoked then in all but that, and the rest follows at the next start.
    pub fn revoke_station(&self, evse: &EvseId, reason: &str) -> Result<(), ChargingError> {
        let station = self.0.stations.change(evse, |station| {
            station.revoked.get_or_insert_with(|| reason.to_owned());
        })?;
        lock(&self.0.status).set(station.index, true)?;
        self.revoke_paper(&station)
    }

    /// Has the ledger list as revoked what a station was given of paper B's kind, as far as it does not yet.
    fn revoke_paper(&self, station: &RegisteredStation) -> Result<(), ChargingError> {
        match &self.0.paper {
            Some((issuer, _)) => issuer.revoke(station.paper_places.iter().copied()),
            None if station.paper_places.is_empty() => Ok(()),
            // Unknown is not revoked: wallets would go on believing it.
            None => Err(ChargingError::unexpected(
                "the issuer of the station's credential on the ledger",
                "enter `paper` in the operator's configuration again, and revoke the station again",
            )),
        }
    }

    /// Checks one session in so many again when it is accounted for, from now on; [`SAMPLE_ONE_IN`] until this is called.
    pub fn check_one_in(&self, sessions: NonZeroU8) {
        self.0.sample_one_in.store(sessions.get(), Ordering::Release);
    }

    /// Ends its threads. Stations hear at once that nobody is there, and keep what they have to account for.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.agent.close();
        let threads = std::mem::take(&mut *lock(&self.0.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Lets stations connect, one after another, by whatever invitation: those that registered have used theirs up.
    fn accept(&self) {
        while !self.is_stopped() {
            if let Ok((connection, invitation)) = self.next_connection() {
                self.connected(connection, invitation);
            }
        }
    }

    fn next_connection(&self) -> Result<(Connection, MessageId), ChargingError> {
        const WITHIN: Duration = Duration::from_millis(500);
        let Inner { agent, invited, .. } = &*self.0;
        let Responder::Invited { key, deadline, .. } = invited else {
            return Err(ChargingError::unexpected("the invitation for stations", invited.name()));
        };
        let request = agent.receive("request to connect", WITHIN, |incoming| {
            incoming.channel().ours == *key
                && incoming.message().kind().name() == "request"
                && incoming.message().parent_thread().is_some()
        })?;
        let answered = request.message().parent_thread().cloned();
        let invitation =
            answered.ok_or_else(|| ChargingError::unexpected("a request to connect", "no thread"))?;
        let invited = Responder::Invited { invitation: invitation.clone(), key: *key, deadline: *deadline };
        Ok((agent.let_in(&invited, &request, WITHIN)?, invitation))
    }

    /// Somebody has connected. Where to connect is no secret, so it may be anybody, and often.
    fn connected(&self, connection: Connection, invitation: MessageId) {
        let mut strangers = lock(&self.0.strangers);
        {
            let stations = lock(&self.0.stations_by_channel);
            strangers.retain(|stranger| !stations.contains_key(&stranger.channel));
        }
        let mut connections = lock(&self.0.connections);
        while strangers.len() >= STRANGERS_MAX
            && let Some(oldest) = strangers.pop_front()
        {
            if let Some(ended) = connections.remove(&oldest.channel) {
                self.0.agent.forget(&ended);
            }
        }
        strangers.push_back(Stranger { channel: connection.channel(), invitation });
        connections.insert(connection.channel(), connection);
    }

    /// Answers stations.
    fn serve(&self) {
        while !self.is_stopped() {
            let asked = self.0.agent.receive("question", Duration::from_millis(200), |incoming| {
                let is_ours = questions::is_question::<QuoteRequest>(incoming)
                    || questions::is_question::<ReserveRequest>(incoming)
                    || questions::is_question::<Accounting>(incoming)
                    || questions::is_question::<StationRegistration>(incoming);
                // A station that has just connected may ask before its connection is noted here.
                is_ours && lock(&self.0.connections).contains_key(&incoming.channel())
            });
            let Ok(asked) = asked else { continue };
            let answered = if questions::is_question::<QuoteRequest>(&asked) {
                self.answer(&asked, |question| self.quote(&asked, question))
            } else if questions::is_question::<ReserveRequest>(&asked) {
                self.answer(&asked, |question| self.reserve(&asked, question))
            } else if questions::is_question::<Accounting>(&asked) {
                self.answer(&asked, |question| self.account(&asked, question))
            } else {
                let registered = Cell::new(false);
                let answered = self.answer(&asked, |question: StationRegistration| {
                    let given = self.register(&asked, question);
                    registered.set(matches!(given, Ok(Ok(_))));
                    given
                });
                answered.and_then(|()| if registered.get() { self.issue_paper(&asked) } else { Ok(()) })
            };
            if let Err(error) = answered {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error).map(ToString::to_string), "operator.answer");
            }
        }
    }

    fn answer<Q: Question>(
        &self,
        asked: &Incoming,
        make: impl FnOnce(Q) -> Result<Result<Q::Answer, Denied>, ChargingError>,
    ) -> Result<(), ChargingError> {
        let connection = lock(&self.0.connections).get(&asked.channel()).cloned();
        let connection =
            connection.ok_or_else(|| ChargingError::unexpected("a question", "of a stranger"))?;
        let question = self.0.agent.drive(&connection, asked, questions::read_question::<Q>(asked, now()))?;
        let given = match make(question) {
            Ok(given) => given,
            // Whoever asks is told that nothing comes of it, and why is in the log.
            Err(error) => {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error).map(ToString::to_string), "operator.question");
                Err(Denial::LedgerRefused.into())
            }
        };
        let message = questions::answer::<Q>(asked, &given, new_id())?;
        Ok(self.0.agent.send(&connection, &message)?)
    }

    fn register(
        &self,
        asked: &Incoming,
        registration: StationRegistration,
    ) -> Result<Result<StationCredential, Denied>, ChargingError> {
        let channel = asked.channel();
        // Before anything that is kept is looked at: everybody can connect, and a station's key is in its credential.
        let key = match registration.signer(&channel.theirs, &channel.ours) {
            Ok(key) => key,
            Err(error) => {
                let evse = &registration.claims.evse;
                let reason =
                    format!("{error}: start station {evse} with the directory that it registered with");
                return Ok(Err(Denied { denial: Denial::UnknownStation, reason }));
            }
        };
        let StationRegistration { claims, invitation: on_its_post, .. } = registration;
        let party = self.0.office.party();
        let known = self.0.office.with(|gateway, _| gateway.station(&claims.evse).cloned());
        let Some(known) = known.filter(|_| claims.operator == party) else {
            return Ok(Err(Denial::UnknownStation.into()));
        };
        let entered = lock(&self.0.time_zones).get(&claims.evse).cloned();
        // By its clock the station says when it is which hour: nobody is billed by one that its operator knows to be wrong.
        if let Some(other) = claims.time_zone.as_ref().filter(|zone| entered.as_ref() != Some(*zone)) {
            let entered = entered.map_or_else(|| "none".to_owned(), |zone| zone.to_string());
            let reason = format!(
                "station {} is configured with the time zone {other}, and its operator has entered {entered}: make them the \
                 same",
                claims.evse
            );
            return Ok(Err(Denied { denial: Denial::UnknownStation, reason }));
        }
        // What its operator knows of it counts, not what it says of itself.
        let claims = StationClaims {
            time_zone: entered,
            zone: known.zone.clone(),
            place: known.place.to_string(),
            power: known.power,
            ..claims
        };
        let evse = claims.evse.clone();
        let kept = self.0.agent.keep_connection(&self.connection(asked)?)?;
        let invitation = {
            let strangers = lock(&self.0.strangers);
            let stranger = strangers.iter().find(|stranger| stranger.channel == channel);
            stranger.map(|stranger| stranger.invitation.clone())
        };
        let by = (invitation.as_ref(), now());
        let registered = self.0.stations.register(&evse, kept, by, |before| match before.station {
            // Another key for a station that has one, or for its meter: somebody has to look.
            Some(before)
                if before.key != key
                    || before.claims.meter_key != claims.meter_key
                    || before.revoked.is_some() =>
            {
                Err(Denied {
                    denial: Denial::UnknownStation,
                    reason: format!("station {evse} has a credential for other keys, or was revoked"),
                })
            }
            Some(before) => Ok(RegisteredStation { claims, invitation: on_its_post, ..before.clone() }),
            // Whoever is first gives the station its key: that is whom staff has invited.
            None if !before.is_invited => Err(Denied {
                denial: Denial::UnknownStation,
                reason: format!(
                    "station {evse} has not registered, and this is not the invitation for it, or is over: put a new one into its \
                     configuration, `eroam operator invite {evse}` makes it"
                ),
            }),
            None => Ok(RegisteredStation {
                claims,
                key,
                index: before.next,
                paper_places: Vec::new(),
                invitation: on_its_post,
                revoked: None,
                last_page: None,
                first_page: None,
                last_session: None,
                failed_checks: 0,
            }),
        })?;
        let station = match registered {
            Ok(station) => station,
            Err(denied) => return Ok(Err(denied)),
        };
        let at = now();
        let claims_json = serde_json::to_value(&station.claims)
            .map_err(|error| ChargingError::unexpected("a station's claims", error))?;
        let issued = IssueSdJwt {
            issuer: self.0.did.to_string(),
            key_id: None,
            vct: STATION_VCT.to_owned(),
            issued_at: at,
            not_before: None,
            expires_at: at.checked_add(CREDENTIAL_FOR).unwrap_or(at),
            holder: station.key,
            status: Some(StatusReference { uri: lock(&self.0.status_uri).clone(), index: station.index }),
            claims: claims_json.as_object().cloned().unwrap_or_default(),
            disclosable: BTreeSet::new(),
            decoys: 0,
        };
        let sd_jwt = issued.sign(&lock(&self.0.issuing), &mut OsRng)?;
        count_credential();
        self.stands_at(channel, evse);
        Ok(Ok(StationCredential { sd_jwt }))
    }

    /// A station is at this end of this connection from now on, and at none that it had before.
    fn stands_at(&self, channel: Channel, evse: EvseId) {
        let mut stations = lock(&self.0.stations_by_channel);
        let before: Vec<Channel> =
            stations.extract_if(|at, known| *at != channel && *known == evse).map(|(at, _)| at).collect();
        stations.insert(channel, evse);
        drop(stations);
        let mut connections = lock(&self.0.connections);
        for ended in before.iter().filter_map(|at| connections.remove(at)) {
            self.0.agent.forget(&ended);
        }
    }

    /// Issues paper B's credential to a station that has just registered.
    fn issue_paper(&self, asked: &Incoming) -> Result<(), ChargingError> {
        let (Some((issuer, _)), Ok(evse)) = (&self.0.paper, self.asking(asked)) else { return Ok(()) };
        let connection = self.connection(asked)?;
        let at = now();
        let until = LocalClock::UTC.at(at.checked_add(CREDENTIAL_FOR).unwrap_or(at)).date;
        // As it was registered, not as it described itself.
        let station = self.0.stations.get(&evse).ok_or(Denial::UnknownStation)?;
        paper::issue_station(&self.0.agent, &connection, issuer, &station.claims, until, |place| {
            let kept = self.0.stations.change(&evse, |station| station.paper_places.push(place))?;
            // Revoked meanwhile, by somebody who did not know of this place.
            if kept.revoked.is_some() { Err(Denial::UnknownStation.into()) } else { Ok(()) }
        })
    }

    fn connection(&self, asked: &Incoming) -> Result<Connection, ChargingError> {
        let connection = lock(&self.0.connections).get(&asked.channel()).cloned();
        connection.ok_or_else(|| ChargingError::unexpected("a question", "of a stranger"))
    }

    /// The station that asks, if it is one of ours that was not revoked.
    fn asking(&self, asked: &Incoming) -> Result<EvseId, Denied> {
        let evse = lock(&self.0.stations_by_channel).get(&asked.channel()).cloned();
        let evse = evse.ok_or(Denial::UnknownStation)?;
        match self.0.stations.get(&evse) {
            Some(station) if station.revoked.is_none() => Ok(evse),
            _ => Err(Denial::UnknownStation.into()),
        }
    }

    /// Whether a session is of that station; `None` if nobody has named it yet.
    fn is_of(&self, session: &SessionId, evse: &EvseId) -> Result<Option<bool>, OfficeError> {
        let known = self.0.office.with(|gateway, _| gateway.session(session))?;
        Ok(known.map(|known| known.evse == *evse))
    }

    fn quote(
        &self,
        asked: &Incoming,
        request: QuoteRequest,
    ) -> Result<Result<eroam_domain::charge::Quote, Denied>, ChargingError> {
        match self.asking(asked) {
            Ok(evse) if evse == request.evse => {}
            Ok(_) => return Ok(Err(Denial::UnknownStation.into())),
            Err(denied) => return Ok(Err(denied)),
        }
        // A station names its sessions: one that another has named before is not shown to it.
        if !self.is_of(&request.session, &request.evse)?.unwrap_or(true) {
            return Ok(Err(Denial::UnknownStation.into()));
        }
        if let Err(denied) = self.check_clock(&request.evse, request.at, &request.clock) {
            return Ok(Err(denied));
        }
        let QuoteRequest { session, evse, emsp, voucher, limits, at, clock } = request;
        let unknown = UnknownDriverRequest {
            session: session.clone(),
            evse,
            emsp,
            voucher,
            energy_wanted: limits.energy_max,
            energy_max: limits.energy_max,
            leaves_at: limits.leaves_at,
            at,
            clock,
        };
        self.0.office.act(|gateway, ledger| gateway.request_unknown(ledger, &unknown))?;
        Ok(match self.taken(&session)? {
            Answer::Quote(quote) => Ok(quote),
            Answer::Denied(denial) => Err(denial.into()),
            Answer::Enabled(_) => Err(Denial::LedgerRefused.into()),
        })
    }

    /// Whether a station's clock shows, from `at` on, what clocks show where staff has entered it.
    fn check_clock(&self, evse: &EvseId, at: UnixMillis, clock: &LocalClock) -> Result<(), Denied> {
        let entered = lock(&self.0.time_zones).get(evse).cloned();
        let why = match entered.as_ref().map(|zone| local_time::check(zone, clock, at)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => chain(&error),
            None => "it has no time zone".to_owned(),
        };
        tracing::warn!(%evse, why, "operator.station_clock");
        let reason = format!("station {evse} does not know the local time: take another one");
        Err(Denied { denial: Denial::UnknownStation, reason })
    }

    /// As [`Operator::check_clock`], of a charge that is over: the clock was told for the quote, and counts from the begin of
    /// the charge to its end.
    fn check_clock_of(
        &self,
        evse: &EvseId,
        metered: &MeteredSession,
        clock: &LocalClock,
    ) -> Result<(), Denied> {
        let (start, end) = (metered.start(), metered.end());
        let entered = lock(&self.0.time_zones).get(evse).cloned();
        let known = entered.map(|zone| local_time::clock_at(&zone, start));
        if known.is_some_and(|known| {
            known.is_ok_and(|known| known.between(start, end) == clock.between(start, end))
        }) {
            return Ok(());
        }
        let reason =
            format!("the clock of station {evse} does not show the local time that its operator has entered");
        Err(Denied { denial: Denial::ReadingsRefused, reason })
    }

    fn reserve(
        &self,
        asked: &Incoming,
        request: ReserveRequest,
    ) -> Result<Result<Enabled, Denied>, ChargingError> {
        let evse = match self.asking(asked) {
            Ok(evse) => evse,
            Err(denied) => return Ok(Err(denied)),
        };
        let ReserveRequest { session, shown, spent } = request;
        // Power comes on where the driver agreed to it.
        if self.is_of(&session, &evse)? != Some(true) {
            return Ok(Err(Denial::UnknownStation.into()));
        }
        let ShownContract { emsp, tier, zones } = shown;
        // The station checked the proof; its evidence is checked again by sample, and in every dispute.
        let proven = ProvenContract::after_verification(emsp, tier, zones);
        let at = now();
        let network = self.0.office.network();
        self.0.office.act(|gateway, ledger| gateway.proven(ledger, &session, &proven, at))?;
        if let Answer::Denied(denial) = self.taken(&session)? {
            return Ok(Err(denial.into()));
        }
        self.0
            .office
            .act(|gateway, ledger| gateway.accept_with_voucher(ledger, network, &session, &spent, at))?;
        self.0.office.flush()?;
        Ok(match self.taken(&session)? {
            Answer::Enabled(enabled) => Ok(enabled),
            Answer::Denied(denial) => Err(denial.into()),
            Answer::Quote(_) => Err(Denial::LedgerRefused.into()),
        })
    }

    fn account(
        &self,
        asked: &Incoming,
        accounting: Accounting,
    ) -> Result<Result<Received, Denied>, ChargingError> {
        let evse = match self.asking(asked) {
            Ok(evse) => evse,
            Err(denied) => return Ok(Err(denied)),
        };
        if self.is_of(&accounting.session, &evse)? != Some(true) {
            return Ok(Err(Denial::UnknownStation.into()));
        }
        if let Some((_, catalogue)) = &self.0.paper {
            let shown = paper::ask_station(&self.0.agent, &self.connection(asked)?, catalogue)?;
            if shown.evse != evse {
                return Ok(Err(Denial::UnknownStation.into()));
            }
        }
        self.accounted(&evse, &accounting)
    }

    /// Takes what a station accounts for, of which the caller knows that it comes from that station. What its meter signed is
    /// recorded; the rest is kept as evidence, and checked again by sample.
    ///
    /// # Errors
    /// [`ChargingError`]; a [`Denied`] for what is not recorded.
    pub fn accounted(
        &self,
        evse: &EvseId,
        accounting: &Accounting,
    ) -> Result<Result<Received, Denied>, ChargingError> {
        // A station accounts for its own sessions, and for each once: whoever sends again is told that it came.
        let known = self.0.office.with(|gateway, _| gateway.session(&accounting.session));
        let known = known.map_err(OfficeError::from)?;
        let Some(known) = known.filter(|known| known.evse == *evse) else {
            return Ok(Err(Denial::UnknownStation.into()));
        };
        let at = now();
        if known.consumption.is_some() {
            return Ok(Ok(Received { at }));
        }
        let evidence =
            serde_json::to_vec(accounting).map_err(|error| ChargingError::unexpected("evidence", error))?;
        let session = accounting.session.clone();
        // What the meter signed counts, and nothing else that the station says.
        let station = self.0.stations.get(evse).ok_or(Denial::UnknownStation)?;
        let key = station.claims.meter_key.parse::<MeterPublicKey>();
        let key = key.map_err(|error| ChargingError::unexpected("the meter's key", error))?;
        let metered = match MeteredSession::read(&accounting.readings, &key) {
            Ok(metered) => metered,
            Err(fault) => {
                // For a dispute, which somebody is going to have about power that nobody pays for.
                self.keep_evidence(&session, &evidence, at)?;
                let reason = format!("the meter's readings do not hold: {fault}");
                return Ok(Err(Denied { denial: Denial::ReadingsRefused, reason }));
            }
        };
        if let Err(denied) = self.check_clock_of(evse, &metered, &accounting.clock) {
            self.keep_evidence(&session, &evidence, at)?;
            return Ok(Err(denied));
        }
        // Signed readings name no session: pages that were accounted for before are somebody else's charge.
        let (first, last) = metered.pages();
        // Whoever sends a session again sends the same pages.
        let is_sent_again = station.last_session.as_ref() == Some(&session)
            && (station.first_page, station.last_page) == (Some(first), Some(last));
        if !is_sent_again && station.last_page.is_some_and(|before| first <= before) {
            let reason = format!("the meter's pages from {first} on were accounted for before");
            return Ok(Err(Denied { denial: Denial::ReadingsRefused, reason }));
        }
        // Before they count: no crash lets them count for another session, too.
        self.0.stations.change(evse, |station| {
            (station.first_page, station.last_page) = (Some(first), Some(last));
            station.last_session = Some(session.clone());
        })?;
        let consumption = evidence::consumption(&metered, accounting);
        self.keep_evidence(&session, &evidence, at)?;
        self.0.office.act(|gateway, ledger| gateway.consumed(ledger, &session, consumption))?;
        self.sample(evse, &session);
        self.0.office.flush()?;
        Ok(Ok(Received { at }))
    }

    fn keep_evidence(&self, session: &SessionId, evidence: &[u8], at: UnixMillis) -> Result<(), OfficeError> {
        self.0.office.act(|gateway, _| {
            if let Err(error) = gateway.keep_evidence(session, evidence, at)? {
                tracing::warn!(%session, %error, "operator.evidence");
            }
            Ok(Vec::new())
        })
    }

    /// Checks again what a station sent of a session, with what the ledger says: for a dispute.
    ///
    /// # Errors
    /// [`EvidenceError`]: it does not hold, or there is none.
    pub fn recheck(&self, session: &SessionId) -> Result<ShownContract, EvidenceError> {
        let office = &self.0.office;
        let failed =
            |error: eroam_gateway::gateway::GatewayError| EvidenceError::Malformed(error.to_string());
        let kept = office.with(|gateway, _| gateway.evidence(session)).map_err(failed)?;
        let kept = kept.ok_or_else(|| EvidenceError::Nothing(session.clone()))?;
        let sent: Accounting =
            serde_json::from_slice(&kept).map_err(|error| EvidenceError::Malformed(error.to_string()))?;
        let known = office.with(|gateway, _| gateway.session(session)).map_err(failed)?;
        let (known_at, phase) = known.map(|known| (known.evse, known.phase)).unzip();
        let (quote, spent) = match &phase {
            Some(
                Phase::Recording { opening: PayerOpening::Voucher { spent, quote }, .. }
                | Phase::Recorded { opening: PayerOpening::Voucher { spent, quote }, .. }
                | Phase::Disputed { opening: PayerOpening::Voucher { spent, quote }, .. },
            ) => (&**quote, &**spent),
            Some(Phase::Charging { accepted, .. }) => {
                let spent = accepted.voucher().ok_or_else(|| EvidenceError::NoVoucher(session.clone()))?;
                (&accepted.quote, spent)
            }
            _ => return Err(EvidenceError::NoVoucher(session.clone())),
        };
        let agreed = Agreed { operator: self.party(), session, quote, spent };
        let shown = evidence::recheck(office.client(), agreed, &sent)?;
        // What was recorded of it, once it was.
        if let Some(
            Phase::Recording { cdr, .. } | Phase::Recorded { cdr, .. } | Phase::Disputed { cdr, .. },
        ) = &phase
        {
            let station =
                self.0.stations.get(&known_at.ok_or_else(|| EvidenceError::Nothing(session.clone()))?);
            let station = station.ok_or_else(|| EvidenceError::Nothing(session.clone()))?;
            let not_billed = evidence::recheck_metering(cdr, &sent, &station.claims.meter_key)?;
            tracing::debug!(%session, not_billed_milli_wh = not_billed.milli_wh(), "operator.rechecked");
        }
        Ok(shown)
    }

    /// Checks a sample of what stations send. Whoever fails is in the log and in the list of stations: the charge itself is
    /// paid by its voucher, but the station lets in whom it should not.
    fn sample(&self, evse: &EvseId, session: &SessionId) {
        let one_in = self.0.sample_one_in.load(Ordering::Acquire);
        if !evidence::is_sampled(self.party(), session, one_in) {
            return;
        }
        if let Err(error) = self.recheck(session) {
            tracing::error!(%evse, %session, %error, "operator.evidence_does_not_hold");
            if let Err(error) = self.0.stations.change(evse, |station| station.failed_checks += 1) {
                tracing::error!(%evse, error = %chain(&error), "operator.station");
            }
        }
    }

    fn taken(&self, session: &SessionId) -> Result<Answer, OfficeError> {
        self.0.office.answer(session).ok_or_else(|| OfficeError::NoAnswer(session.clone()))
    }

    fn status_list(&self) -> Result<String, ChargingError> {
        let at = now();
        let lasts = DurationMs::from_millis(u64::try_from(STATUS_FOR.as_millis()).unwrap_or(u64::MAX));
        let new = NewStatusList {
            issuer: self.0.did.to_string(),
            uri: lock(&self.0.status_uri).clone(),
            issued_at: at,
            expires_at: at.checked_add(lasts).unwrap_or(UnixMillis::EPOCH),
            ttl: Some(STATUS_FOR),
        };
        Ok(lock(&self.0.status).sign(&new, &lock(&self.0.issuing))?)
    }

    /// Under which its stations' credentials are issued.
    #[must_use]
    pub fn did(&self) -> EroamDid {
        self.0.did
    }

    /// Whose stations these are.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.0.office.party()
    }
}

async fn locations(State(operator): State<Operator>) -> Response {
    match tokio::task::spawn_blocking(move || operator.locations()).await {
        Ok(listed) => Json(listed).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn status(State(operator): State<Operator>) -> Response {
    match operator.status_list() {
        Ok(list) => ([("content-type", "application/statuslist+jwt")], list).into_response(),
        Err(error) => {
            tracing::error!(%error, "operator.status");
            (StatusCode::INTERNAL_SERVER_ERROR, Json("the status list cannot be made")).into_response()
        }
    }
}
