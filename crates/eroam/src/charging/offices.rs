//! One organisation's gateway at work: its events, its transactions, its letters to other organisations over HTTP.
//!
//! ```text
//! event ─► gateway ─► effects: letters ─► POST /letters of the other organisation
//!             │                what a driver waits for ─► whoever waits for it
//!          outbox ─► commit the store ─► ledger ─► receipts ─► gateway
//! ```
//! Several threads may have events at a time; what they put into the outbox meanwhile goes to the ledger together.

use crate::clock::now;
use crate::consortium::letter::{Letter, LetterError};
use crate::http_client::answered_within;
use crate::node::{LookedUp, Node};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use ed25519_dalek::SigningKey;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::Denial;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::Enabled;
use eroam_gateway::gateway::{Effect, Gateway, GatewayError};
use eroam_gateway::ports::EVIDENCE_BYTES_MAX;
use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::StateError;
use eroam_ledger::tx::{SignedEnvelope, Tx};
use eroam_store::OrgStore;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// The longest letter in bytes: evidence, in hexadecimal digits.
const LETTER_BYTES_MAX: usize = 2 * EVIDENCE_BYTES_MAX + (64 << 10);
/// So long another organisation may take to accept a letter.
const LETTER_WITHIN: Duration = Duration::from_secs(20);

/// So often it is looked which vouchers can be taken back: they are months old by then.
const REFUNDS_EVERY: DurationMs = DurationMs::from_millis(3_600_000);

/// Why an organisation cannot go on with something. It may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// The gateway failed.
    #[error("the gateway failed")]
    Gateway(#[from] GatewayError),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The ledger's state could not be read.
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    /// The ledger refused a transaction of people.
    #[error("the ledger refuses it: {0}")]
    Refused(RejectCode),
    /// A letter could not be written or read.
    #[error("a letter between organisations is refused")]
    Letter(#[from] LetterError),
    /// Nothing came of it.
    #[error("session {0} is waiting for something that does not come")]
    NoAnswer(SessionId),
}

/// Where the organisations take letters.
#[derive(Debug, Default)]
pub struct Directory {
    known: RwLock<HashMap<PartyId, String>>,
    /// Looked into for each letter, so that a partner that moves can be entered while the program runs.
    file: Option<PathBuf>,
}

impl Directory {
    /// What a TOML file says, now or later: a URL for each party, as `PT-EDP = "http://127.0.0.1:8101"`.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        Self { known: RwLock::default(), file: Some(path) }
    }

    /// Says where an organisation is.
    pub fn put(&self, party: PartyId, url: String) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(party, url);
    }

    fn get(&self, party: PartyId) -> Result<String, String> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&party) {
            return Ok(known.clone());
        }
        let file = self.file.as_ref().ok_or("nobody says where it is")?;
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let mut urls: HashMap<String, String> = toml::from_str(&text).map_err(|error| wrong(&error))?;
        urls.remove(&party.to_string())
            .ok_or_else(|| wrong(&format_args!("it does not say where {party} is")))
    }
}

/// What became of a session, for the driver who waits.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A quote.
    Quote(eroam_domain::charge::Quote),
    /// Power may be switched on.
    Enabled(Enabled),
    /// No.
    Denied(Denial),
}

struct Inner {
    party: PartyId,
    key: SigningKey,
    client: Node,
    gateway: Mutex<Gateway<OrgStore>>,
    /// One batch is at the ledger at a time: the next one has the next sequence.
    submitting: Mutex<()>,
    answers: Mutex<HashMap<SessionId, Answer>>,
    directory: Arc<Directory>,
    http: ureq::Agent,
    /// When it was last looked which vouchers can be taken back.
    refunded_at: Mutex<Option<UnixMillis>>,
}

/// One organisation. Cheap to clone; must not be used from a thread of an asynchronous runtime.
#[derive(Clone)]
pub struct Office(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Office {
    /// An organisation at work. `key` signs its letters.
    #[must_use]
    pub fn new(
        gateway: Gateway<OrgStore>,
        key: SigningKey,
        node: impl Into<Node>,
        directory: Arc<Directory>,
    ) -> Self {
        let client = node.into();
        let http = ureq::Agent::new_with_config(answered_within(LETTER_WITHIN).build());
        Self(Arc::new(Inner {
            party: gateway.party(),
            key,
            client,
            gateway: Mutex::new(gateway),
            submitting: Mutex::default(),
            answers: Mutex::default(),
            directory,
            http,
            refunded_at: Mutex::default(),
        }))
    }

    /// Who it is.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.0.party
    }

    /// The ledger.
    #[must_use]
    pub fn client(&self) -> &Node {
        &self.0.client
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> Digest {
        self.0.client.network()
    }

    /// Looks something up in the gateway, or changes something that has no effects.
    pub fn with<T>(&self, work: impl FnOnce(&mut Gateway<OrgStore>, &Node) -> T) -> T {
        work(&mut lock(&self.0.gateway), &self.0.client)
    }

    /// Handles an event: makes what it changed durable, and sends the letters that follow. Transactions wait for
    /// [`Office::flush`].
    ///
    /// # Errors
    /// [`OfficeError`].
    pub fn act(
        &self,
        event: impl FnOnce(&mut Gateway<OrgStore>, &Node) -> Result<Vec<Effect>, GatewayError>,
    ) -> Result<(), OfficeError> {
        let effects = {
            let mut gateway = lock(&self.0.gateway);
            let effects = event(&mut gateway, &self.0.client)?;
            gateway.commit()?;
            effects
        };
        self.dispatch(effects)
    }

    /// Sends everything that waits to the ledger and handles the answers, until nothing is left. When it returns, what
    /// was in the outbox before has been decided.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub fn flush(&self) -> Result<(), OfficeError> {
        let _turn = lock(&self.0.submitting);
        let mut client = self.0.client.clone();
        loop {
            let at = now().max(client.time());
            let envelopes: Vec<SignedEnvelope> = {
                let mut gateway = lock(&self.0.gateway);
                let envelopes = gateway.envelopes(&client, client.network(), at)?;
                gateway.commit()?;
                envelopes
            };
            if envelopes.is_empty() {
                return Ok(());
            }
            let receipts = client.submit(at, envelopes.clone())?;
            let mut effects = Vec::new();
            {
                let mut gateway = lock(&self.0.gateway);
                for (envelope, receipt) in envelopes.iter().zip(&receipts) {
                    effects.extend(gateway.receipt(&client, envelope, receipt)?);
                }
                gateway.commit()?;
            }
            self.dispatch(effects)?;
        }
    }

    /// Signs and submits a transaction of people, on a lane that nothing else uses at the time.
    ///
    /// # Errors
    /// [`OfficeError::Refused`] and others.
    pub fn submit(&self, lane: u16, tx: Tx) -> Result<(), OfficeError> {
        let _turn = lock(&self.0.submitting);
        let mut client = self.0.client.clone();
        let at = now().max(client.time());
        let sequence = query::next_sequence(&client, self.0.party, lane)?;
        let envelope = lock(&self.0.gateway).sign(client.network(), lane, sequence, at, tx);
        let receipts = client.submit(at, vec![envelope])?;
        let refused = receipts.iter().flat_map(|r| &r.items).find_map(|item| item.outcome.rejection());
        refused.map_or(Ok(()), |code| Err(OfficeError::Refused(code)))
    }

    /// Takes what became of a session since it was last asked.
    #[must_use]
    pub fn answer(&self, session: &SessionId) -> Option<Answer> {
        lock(&self.0.answers).remove(session)
    }

    fn dispatch(&self, effects: Vec<Effect>) -> Result<(), OfficeError> {
        for effect in effects {
            let (session, answer) = match effect {
                Effect::Send { to, message } => {
                    let letter = Letter { from: self.0.party, to, message }.seal(&self.0.key)?;
                    self.post(to, &letter);
                    continue;
                }
                Effect::ShowQuote(quote) => (quote.session.clone(), Answer::Quote(quote)),
                Effect::Deny { session, denial } => (session, Answer::Denied(denial)),
                Effect::PowerOn { session, energy_max, amount_max, priority } => {
                    let Some(amount_max) = amount_max else { continue };
                    (session, Answer::Enabled(Enabled { energy_max, amount_max, priority }))
                }
            };
            lock(&self.0.answers).insert(session, answer);
        }
        Ok(())
    }

    /// Sends a letter. One that does not arrive is written again by [`Office::resume`].
    fn post(&self, to: PartyId, letter: &[u8]) {
        let sent = match self.0.directory.get(to) {
            Err(reason) => Err(reason),
            Ok(url) => {
                let url = url.trim_end_matches('/');
                self.0.http.post(format!("{url}/letters")).send(letter).map(drop).map_err(|e| e.to_string())
            }
        };
        if let Err(reason) = sent {
            tracing::warn!(from = %self.0.party, %to, reason, "office.letter.undelivered");
        }
    }

    /// Notes that time has passed, asks again for everything that is awaited (reservations, records, reports), and takes back
    /// vouchers that nobody can spend any more.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub fn resume(&self) -> Result<(), OfficeError> {
        let at = now().max(self.0.client.time());
        self.act(|gateway, ledger| {
            let mut effects = gateway.tick(ledger, at)?;
            effects.extend(gateway.resume(ledger)?);
            Ok(effects)
        })?;
        self.flush()?;
        if self.refund(at)? > 0 {
            self.flush()?;
        }
        Ok(())
    }

    /// Asks the ledger to take back vouchers of which nothing can come any more, once an hour: those that nobody reserved
    /// before it was too late, and those that were reserved for a record that never came. Gives how many it is asked about.
    /// What it knows of them is looked up in one request, and not while the gateway is held.
    fn refund(&self, at: UnixMillis) -> Result<usize, OfficeError> {
        let is_recent = |last: UnixMillis| at.since(last).is_some_and(|since| since < REFUNDS_EVERY);
        if lock(&self.0.refunded_at).is_some_and(is_recent) {
            return Ok(0);
        }
        let mut known = LookedUp::new();
        known.look_up(&self.0.client, self.with(|gateway, _| gateway.refund_lookups(at))?)?;
        let mut asked = 0;
        self.act(|gateway, _| {
            asked = gateway.refund_vouchers(&known, at)?;
            Ok(Vec::new())
        })?;
        *lock(&self.0.refunded_at) = Some(at);
        Ok(asked)
    }

    /// Where letters come in.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/letters", post(take))
            .layer(DefaultBodyLimit::max(LETTER_BYTES_MAX))
            .with_state(self.clone())
    }

    fn take(&self, bytes: &[u8]) -> Result<(), OfficeError> {
        let letter = Letter::open(bytes, &self.0.client)?;
        if letter.to != self.0.party {
            return Err(LetterError::Misdelivered(letter.to).into());
        }
        let at = now().max(self.0.client.time());
        self.act(|gateway, ledger| gateway.receive(ledger, letter.from, letter.message, at))
    }
}

async fn take(State(office): State<Office>, body: Bytes) -> (StatusCode, String) {
    let read = tokio::task::spawn_blocking(move || office.take(&body)).await;
    match read {
        Ok(Ok(())) => (StatusCode::ACCEPTED, String::new()),
        Ok(Err(OfficeError::Letter(error))) => (StatusCode::BAD_REQUEST, error.to_string()),
        Ok(Err(error)) => {
            tracing::error!(%error, "office.letter");
            (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned())
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned()),
    }
}
