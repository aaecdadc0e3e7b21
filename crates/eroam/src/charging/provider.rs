//! A home utility for drivers with wallets: they register, get a contract's credential, and withdraw vouchers.
//!
//! ```text
//! wallet                                        provider
//!   GET /enrol/form  ------------------------->  which fields, and which terms (paper B, figure 6)
//!   POST /enrol {fields, signed terms} ------->  validated (figure 24); contract made, countersigned
//!      <--------------------------- invitation   of one use (figure 25)
//!   connects, takes the credential (figure 26)
//!   withdraws vouchers over the connection, again and again
//!
//!   later, from whatever address:
//!   GET /enrol/again  ------------------------>  an invitation for every customer
//!   connects, rejoins {contract, signature} -->  known by the key that signed the contract
//! ```
//! A wallet is no server: between two runs it has no address, and it may come back on another device. So it makes a new
//! connection each time, and both sides sign, with the keys that signed the contract, that this connection is theirs.
//!
//! The schema of the form is ours: the paper shows pictures of it. The contract's text is signed by both sides with
//! Ed25519 over its SHA-256; one that was signed elsewhere has its hash in `attached`.
//!
//! Source: paper B, sections 4.3, 4.4 and 5.1.

use super::ChargingError;
use super::issuer::Issuer;
use super::offices::Office;
use super::proving::{self, STEP_WITHIN};
use crate::agent::{Agent, new_id};
use crate::causes::chain;
use crate::clock::{in_time, now};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use eroam_domain::charge::{AllowedZones, Denial};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{CivilMonth, LocalClock, UnixMillis};
use eroam_domain::visit::Denied;
use eroam_domain::voucher::OneTimeKey;
use eroam_gateway::ports::Store as _;
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use eroam_gateway::vouchers::VoucherRefusal;
use eroam_ssi::anoncreds::RevocationIndex;
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{Channel, SigningKey};
use eroam_ssi::protocol::Incoming;
use eroam_ssi::protocol::charging::{attributes, day_number};
use eroam_ssi::protocol::did_exchange::{Connection, Responder};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{
    self, BillSoFar, BilledCharge, CUSTOMER, Question, Rejoin, Rejoined, Rejoining, Withdrawal, rejoin_digest,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The attributes of a contract's credential (figure 9).
pub const CONTRACT_ATTRIBUTES: [&str; 8] = [
    "customer_id",
    "provider",
    "contract_id",
    attributes::TIER,
    "daily_limit",
    attributes::ZONES,
    "valid_from",
    attributes::VALID_UNTIL,
];
/// The schema's name.
pub const CONTRACT_SCHEMA: &str = "charging contract";
/// The longest registration in bytes.
const REGISTRATION_BYTES_MAX: usize = 64 * 1024;
/// The longest value of a field in bytes.
const FIELD_BYTES_MAX: usize = 256;
/// So long an invitation can be answered.
const INVITED_FOR: Duration = Duration::from_secs(600);
/// So long the invitation for every customer is good: as long as the program runs.
const RETURNING_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
/// So many that connected and have not said who they are yet are remembered; the oldest are forgotten.
const STRANGERS_MAX: usize = 1_024;
/// So many charges are told of a month at most: what fits a message.
const BILLED_MAX: usize = 1_000;

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Any text.
    Text,
    /// An address of electronic mail.
    Email,
    /// A tier: `standard`, `gold`, `platinum` or `diamond`.
    Tier,
    /// Grid zones separated by commas, or `*` for everywhere.
    Zones,
    /// An ISO 13616 account number.
    Iban,
}

/// A field of the form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name in the registration.
    pub name: String,
    /// What a person reads beside it.
    pub label: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub required: bool,
}

/// What a provider wants to know of whoever registers, and under which terms (figure 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationForm {
    /// The form's version.
    pub schema: String,
    /// Whose form it is.
    pub provider: PartyId,
    /// Its name.
    pub name: String,
    /// Where the registration is sent, below the provider's address.
    pub endpoint: String,
    /// The fields.
    pub fields: Vec<Field>,
    /// The terms of the contract.
    pub terms: String,
}

/// A registration (figure 24).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The fields by name.
    pub fields: BTreeMap<String, String>,
    /// The key that the driver signs the contract with: a `did:key`.
    pub signer: String,
    /// Over [`contract_digest`].
    pub signature: SignatureBytes,
    /// SHA-256 of a contract that was signed elsewhere, if there is one.
    #[serde(default)]
    pub attached: Option<Digest>,
}

/// What both sides sign: the form with its terms, and what was entered.
#[must_use]
pub fn contract_digest(
    form: &RegistrationForm,
    fields: &BTreeMap<String, String>,
    attached: Option<Digest>,
) -> Digest {
    let text = serde_json::to_vec(&(form, fields, attached)).unwrap_or_default();
    Digest::of_parts("eroam/contract/1", &[&text])
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// The contract.
    pub contract: ContractId,
    /// The provider's key, as `did:key`: its DID's first one.
    pub signer: String,
    /// The provider's signature over the contract.
    pub signature: SignatureBytes,
    /// An invitation of one use, as a URL (figure 25).
    pub invitation: String,
}

/// What is wrong with a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// A sentence for each field that is wrong; for the whole, under an empty name.
    pub reasons: BTreeMap<String, String>,
}

/// A customer with a wallet, as the provider lists them.
#[derive(Clone, Debug, Serialize)]
pub struct Customer {
    /// The contract.
    pub contract: ContractId,
    /// What was entered.
    pub fields: BTreeMap<String, String>,
    /// Where the credential can be revoked, once it was issued.
    pub credential: Option<u32>,
    /// Why it was revoked.
    pub revoked: Option<String>,
    /// The key that signed the contract, as `did:key`.
    pub signer: String,
}

struct Inner {
    office: Office,
    agent: Agent,
    issuer: Issuer,
    form: RegistrationForm,
    signing: SigningKey,
    /// For how many days a contract is made.
    valid_days: u32,
    customers: Mutex<BTreeMap<ContractId, Customer>>,
    connections: Mutex<HashMap<Channel, (ContractId, Connection)>>,
    /// Who connected with [`Inner::returning`] and has not said whose wallet it is.
    strangers: Mutex<VecDeque<Connection>>,
    /// With which every customer's wallet comes back.
    returning: Invitation,
    next: AtomicU64,
    stopped: AtomicBool,
    issuing: Mutex<Vec<JoinHandle<()>>>,
}

/// A provider. Cheap to clone; [`Provider::stop`] ends it.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    /// The form that everybody gets.
    #[must_use]
    pub fn form(provider: PartyId, name: &str) -> RegistrationForm {
        let field = |name: &str, label: &str, kind, required| Field {
            name: name.to_owned(),
            label: label.to_owned(),
            kind,
            required,
        };
        RegistrationForm {
            schema: "eroam/registration/1".to_owned(),
            provider,
            name: name.to_owned(),
            endpoint: "/enrol".to_owned(),
            fields: vec![
                field("name", "Your name", FieldKind::Text, true),
                field("email", "Where we can write to you", FieldKind::Email, true),
                field("iban", "The account that pays", FieldKind::Iban, true),
                field("tier", "How you want to be served", FieldKind::Tier, false),
                field("zones", "Where you want to charge", FieldKind::Zones, false),
            ],
            terms: format!(
                "{name} ({provider}) pays for what you charge with its vouchers, at any operator that it has an \
                 agreement with, and bills you once a month by its published rules."
            ),
        }
    }

    /// Starts one. `signing` is the first key of the organisation's DID.
    ///
    /// # Errors
    /// [`ChargingError::Agent`].
    pub fn start(
        office: Office,
        issuer: Issuer,
        form: RegistrationForm,
        signing: SigningKey,
        valid_days: u32,
        listen: SocketAddr,
    ) -> Result<Self, ChargingError> {
        let agent = Agent::start(&form.name, listen)?.speaking(CUSTOMER);
        let (returning, invited) = agent.invite(in_time(RETURNING_FOR))?;
        let provider = Self(Arc::new(Inner {
            office,
            agent,
            issuer,
            form,
            signing,
            valid_days,
            customers: Mutex::default(),
            connections: Mutex::default(),
            strangers: Mutex::default(),
            returning,
            next: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            issuing: Mutex::default(),
        }));
        let (serving, accepting) = (provider.clone(), provider.clone());
        provider.spawn("provider", move || serving.serve())?;
        provider.spawn("provider accepts", move || accepting.accept(&invited))?;
        Ok(provider)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ChargingError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| ChargingError::unexpected("a thread", error))?;
        lock(&self.0.issuing).push(thread);
        Ok(())
    }

    /// Lets wallets come back, one after another.
    fn accept(&self, invited: &Responder) {
        while !self.0.stopped.load(Ordering::Acquire) {
            let accepted = self.0.agent.accept(&self.0.returning, invited, Duration::from_millis(500));
            let Ok(connection) = accepted else { continue };
            let mut strangers = lock(&self.0.strangers);
            if strangers.len() >= STRANGERS_MAX {
                strangers.pop_front();
            }
            strangers.push_back(connection);
        }
    }

    /// The issuer of contracts.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// The organisation.
    #[must_use]
    pub fn office(&self) -> &Office {
        &self.0.office
    }

    /// Its customers.
    #[must_use]
    pub fn customers(&self) -> Vec<Customer> {
        lock(&self.0.customers).values().cloned().collect()
    }

    /// The pages of enrolment.
    pub fn router(&self) -> Router {
        Router::new()
            .route(
                "/enrol/form",
                get(|State(provider): State<Self>| async move { Json(provider.0.form.clone()) }),
            )
            .route("/enrol", post(enrol))
            .route("/enrol/again", get(|State(provider): State<Self>| async move { provider.door() }))
            .layer(DefaultBodyLimit::max(REGISTRATION_BYTES_MAX))
            .with_state(self.clone())
    }

    /// The invitation with which every customer's wallet comes back, as a URL.
    fn door(&self) -> String {
        self.0.returning.to_url(self.0.agent.endpoint())
    }

    /// Revokes a contract: its credential, and the vouchers that its wallet has.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn revoke(&self, contract: &ContractId, reason: &str) -> Result<(), ChargingError> {
        let index = {
            let mut customers = lock(&self.0.customers);
            let customer = customers.get_mut(contract).ok_or(Denial::UnknownContract)?;
            customer.revoked = Some(reason.to_owned());
            customer.credential
        };
        if let Some(index) = index {
            self.0.issuer.revoke(RevocationIndex::new(index, u32::MAX)?)?;
        }
        let suspended = self.0.office.with(|gateway, _| {
            let Some(profile) = gateway.store_mut().home_profile(contract)? else { return Ok(()) };
            let ended = HomeProfile { state: ContractState::Ended, ..profile };
            gateway.store_mut().put_home_profile(&ended)
        });
        suspended.map_err(|error| ChargingError::unexpected("the customer's contract", error))?;
        self.0.office.act(|gateway, _| gateway.block_vouchers(contract).map(|_| Vec::new()))?;
        Ok(self.0.office.flush()?)
    }

    /// Ends its threads.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *lock(&self.0.issuing));
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Checks a registration, makes the contract and invites the wallet.
    fn register(&self, registration: &Registration) -> Result<Registered, Rejected> {
        let whole = |reason: String| Rejected { reasons: BTreeMap::from([(String::new(), reason)]) };
        let (tier, zones) = self.check(registration)?;
        let digest = contract_digest(&self.0.form, &registration.fields, registration.attached);
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let contract = self.contract_id(number).map_err(whole)?;
        let at = now();
        let energy_max = WattHours::from_wh(500_000).unwrap_or(WattHours::ZERO);
        let profile = HomeProfile {
            contract,
            state: ContractState::Active,
            valid_from: UnixMillis::EPOCH,
            valid_until: None,
            tier,
            payment: PaymentOption::Postpaid,
            portfolio: ServicePortfolio {
                roaming: true,
                zones: zones.clone(),
                priority: 0,
                energy_max,
                amount_max: 1_000_000_000,
            },
            cards: Vec::new(),
            pin: None,
            wrong_pins: 0,
            visiting: None,
        };
        let kept = self.0.office.with(|gateway, _| gateway.store_mut().put_home_profile(&profile));
        kept.map_err(|error| whole(error.to_string()))?;
        let (invitation, invited) =
            self.0.agent.invite(in_time(INVITED_FOR)).map_err(|error| whole(error.to_string()))?;
        let today = LocalClock::UTC.at(at).date;
        let lasts = DurationMs::from_millis(u64::from(self.0.valid_days) * 86_400_000);
        let until = LocalClock::UTC.at(at.checked_add(lasts).unwrap_or(at)).date;
        let vouchers = self.0.office.with(|gateway, _| gateway.rules().vouchers);
        let daily_limit = vouchers.map_or(0, |rules| rules.daily_limit.div_euclid(1_000_000));
        let values = [
            format!("K{number:08}"),
            self.0.form.provider.to_string(),
            contract.to_string(),
            tier_name(tier).to_owned(),
            daily_limit.to_string(),
            zones_text(&zones),
            day_number(today).to_string(),
            day_number(until).to_string(),
        ];
        let values: Vec<_> = CONTRACT_ATTRIBUTES.into_iter().zip(values).collect();
        let customer = Customer {
            contract,
            fields: registration.fields.clone(),
            credential: None,
            revoked: None,
            signer: registration.signer.clone(),
        };
        lock(&self.0.customers).insert(contract, customer);
        let (provider, url) = (self.clone(), invitation.to_url(self.0.agent.endpoint()));
        let issuing = std::thread::Builder::new().name("provider issues".to_owned()).spawn(move || {
            let issued = provider.issue(&invitation, &invited, contract, &values);
            if let Err(error) = issued {
                tracing::warn!(error = %chain(&error), "provider.issue");
            }
        });
        lock(&self.0.issuing).push(issuing.map_err(|error| whole(error.to_string()))?);
        Ok(Registered {
            contract,
            signer: self.0.signing.verification_key().to_did_key().to_string(),
            signature: SignatureBytes(self.0.signing.sign(&digest.0)),
            invitation: url,
        })
    }

    fn check(&self, registration: &Registration) -> Result<(Tier, AllowedZones), Rejected> {
        let mut reasons = BTreeMap::new();
        let mut wrong = |name: &str, reason: &str| {
            reasons.insert(name.to_owned(), reason.to_owned());
        };
        for name in registration.fields.keys() {
            if !self.0.form.fields.iter().any(|field| field.name == *name) {
                wrong(name, "is not asked for");
            }
        }
        let (mut tier, mut zones) = (Tier::Standard, AllowedZones::All);
        for field in &self.0.form.fields {
            let value = registration.fields.get(&field.name).map(|value| value.trim());
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                if field.required {
                    wrong(&field.name, "is missing");
                }
                continue;
            };
            if value.len() > FIELD_BYTES_MAX {
                wrong(&field.name, "is too long");
                continue;
            }
            match field.kind {
                FieldKind::Text => {}
                FieldKind::Email => {
                    if !value.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.')) {
                        wrong(&field.name, "is no address of electronic mail");
                    }
                }
                FieldKind::Iban => {
                    if !is_iban(value) {
                        wrong(&field.name, "is no account number: its check digits do not fit");
                    }
                }
                FieldKind::Tier => match tier_of(value) {
                    Some(found) => tier = found,
                    None => wrong(&field.name, "is none of standard, gold, platinum and diamond"),
                },
                FieldKind::Zones => match zones_of(value) {
                    Some(found) => zones = found,
                    None => wrong(&field.name, "is no list of grid zones"),
                },
            }
        }
        let digest = contract_digest(&self.0.form, &registration.fields, registration.attached);
        let signer = VerificationKey::from_did_key(&registration.signer);
        if !signer.is_ok_and(|key| key.verifies(&digest.0, &registration.signature.0)) {
            wrong("", "the contract is not signed by the key that the registration names");
        }
        if reasons.is_empty() { Ok((tier, zones)) } else { Err(Rejected { reasons }) }
    }

    fn contract_id(&self, number: u64) -> Result<ContractId, String> {
        let party = self.0.form.provider;
        let text = format!("{}-{}-C{number:08}", party.country(), party.id());
        text.parse::<ContractId>().map_err(|error| error.to_string())
    }

    fn issue(
        &self,
        invitation: &eroam_ssi::protocol::out_of_band::Invitation,
        invited: &eroam_ssi::protocol::did_exchange::Responder,
        contract: ContractId,
        values: &[(&'static str, String)],
    ) -> Result<(), ChargingError> {
        let connection = self.0.agent.accept(invitation, invited, INVITED_FOR)?;
        // Before the credential is there: whoever has it may ask for vouchers at once.
        lock(&self.0.connections).insert(connection.channel(), (contract, connection.clone()));
        let index = proving::issue(&self.0.agent, &connection, &self.0.issuer, values)?;
        if let Some(customer) = lock(&self.0.customers).get_mut(&contract) {
            customer.credential = Some(index.get());
        }
        Ok(())
    }

    /// Answers customers until it is stopped.
    fn serve(&self) {
        while !self.0.stopped.load(Ordering::Acquire) {
            let asked = self.0.agent.receive("question", Duration::from_millis(200), |incoming| {
                questions::is_question::<Withdrawal>(incoming)
                    || questions::is_question::<BillSoFar>(incoming)
                    || (questions::is_question::<Rejoin>(incoming) && self.is_stranger(incoming))
            });
            let Ok(asked) = asked else { continue };
            let answered = if questions::is_question::<Rejoin>(&asked) {
                self.rejoin(&asked)
            } else if questions::is_question::<BillSoFar>(&asked) {
                self.answer::<BillSoFar>(&asked, |contract, BillSoFar { month }| self.bill(contract, month))
            } else {
                self.answer::<Withdrawal>(&asked, |contract, Withdrawal { day, keys }| {
                    self.vouchers(contract, &keys, day)
                })
            };
            if let Err(error) = answered {
                tracing::warn!(error = %chain(&error), "provider.answer");
            }
        }
    }

    /// Answers a customer's question; whoever is not known as one is not answered.
    fn answer<Q: Question>(
        &self,
        asked: &Incoming,
        make: impl FnOnce(&ContractId, Q) -> Result<Result<Q::Answer, Denied>, ChargingError>,
    ) -> Result<(), ChargingError> {
        let known = lock(&self.0.connections).get(&asked.channel()).cloned();
        let Some((contract, connection)) = known else { return Ok(()) };
        let question = questions::read_question::<Q>(asked, now())?;
        let given = make(&contract, question)?;
        let answer = questions::answer::<Q>(asked, &given, new_id())?;
        Ok(self.0.agent.send(&connection, &answer)?)
    }

    /// Whether somebody connected to say who it is. The message may be here before the connection is finished.
    fn is_stranger(&self, incoming: &Incoming) -> bool {
        lock(&self.0.strangers).iter().any(|stranger| stranger.channel() == incoming.channel())
    }

    /// Lets a stranger be the customer whose contract's key signed this very connection.
    fn rejoin(&self, asked: &Incoming) -> Result<(), ChargingError> {
        let channel = asked.channel();
        let connection = {
            let mut strangers = lock(&self.0.strangers);
            let place = strangers.iter().position(|stranger| stranger.channel() == channel);
            place.and_then(|place| strangers.remove(place))
        };
        let Some(connection) = connection else { return Ok(()) };
        let Rejoin { contract, signature } = questions::read_question::<Rejoin>(asked, now())?;
        let digest = |who| rejoin_digest(who, &contract, &channel.theirs, &channel.ours);
        let signer = lock(&self.0.customers).get(&contract).map(|customer| customer.signer.clone());
        let key = signer.and_then(|signer| VerificationKey::from_did_key(&signer).ok());
        let given = if key.is_some_and(|key| key.verifies(&digest(Rejoining::Customer).0, &signature.0)) {
            let mut connections = lock(&self.0.connections);
            // A contract has one wallet, and that one has gone from where it was.
            connections.retain(|_, (of, _)| *of != contract);
            connections.insert(channel, (contract, connection.clone()));
            let signed = self.0.signing.sign(&digest(Rejoining::Provider).0);
            Ok(Rejoined { signature: SignatureBytes(signed) })
        } else {
            Err(Denial::UnknownContract.into())
        };
        let answer = questions::answer::<Rejoin>(asked, &given, new_id())?;
        Ok(self.0.agent.send(&connection, &answer)?)
    }

    /// What is on a customer's bill of a month so far.
    fn bill(
        &self,
        contract: &ContractId,
        month: CivilMonth,
    ) -> Result<Result<Vec<BilledCharge>, Denied>, ChargingError> {
        let mut billed = Vec::new();
        let read = self.0.office.with(|gateway, _| {
            gateway.store_mut().each_bill_line(&mut |line| {
                if line.contract == *contract && line.month == month && billed.len() < BILLED_MAX {
                    billed.push(BilledCharge {
                        operator: line.operator,
                        cdr: line.cdr,
                        evse: line.evse,
                        place: line.place,
                        start: line.start,
                        end: line.end,
                        energy: line.energy,
                        currency: line.retail.currency,
                        price: line.retail.total,
                    });
                }
                Ok(())
            })
        });
        read.map_err(|error| ChargingError::unexpected("the customer's bill", error))?;
        Ok(Ok(billed))
    }

    fn vouchers(
        &self,
        contract: &ContractId,
        keys: &[OneTimeKey],
        day: i64,
    ) -> Result<Result<Vec<eroam_domain::voucher::SignedVoucher>, Denied>, ChargingError> {
        let network = self.0.office.network();
        let issued = self.0.office.with(|gateway, ledger| {
            let issued = gateway.issue_vouchers(ledger, network, contract, keys, day, now())?;
            gateway.commit()?;
            Ok::<_, eroam_gateway::gateway::GatewayError>(issued)
        });
        let issued = issued.map_err(super::offices::OfficeError::from)?;
        Ok(issued.map_err(|refusal| {
            let denial = match &refusal {
                VoucherRefusal::Contract(denial) => *denial,
                VoucherRefusal::DailyLimit { .. } => Denial::DailyLimit,
                _ => Denial::VoucherNotValid,
            };
            let reason = match &refusal {
                VoucherRefusal::DailyLimit { left: 0, .. } => denial.to_string(),
                refusal => refusal.to_string(),
            };
            Denied { denial, reason }
        }))
    }
}

async fn enrol(State(provider): State<Provider>, Json(registration): Json<Registration>) -> Response {
    let done = tokio::task::spawn_blocking(move || provider.register(&registration)).await;
    match done {
        Ok(Ok(registered)) => Json(registered).into_response(),
        Ok(Err(rejected)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(rejected)).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

const TIERS: [(Tier, &str); 4] = [
    (Tier::Standard, "standard"),
    (Tier::Gold, "gold"),
    (Tier::Platinum, "platinum"),
    (Tier::Diamond, "diamond"),
];

fn tier_name(tier: Tier) -> &'static str {
    TIERS.iter().find(|(found, _)| *found == tier).map_or("standard", |(_, name)| name)
}

/// A tier by its name in a credential.
#[must_use]
pub fn tier_of(name: &str) -> Option<Tier> {
    TIERS.iter().find(|(_, found)| *found == name).map(|(tier, _)| *tier)
}

fn zones_text(zones: &AllowedZones) -> String {
    match zones {
        AllowedZones::All => "*".to_owned(),
        AllowedZones::Only(zones) => zones.iter().map(|zone| zone.as_str()).collect::<Vec<_>>().join(","),
    }
}

/// Zones as a credential has them: `*`, or a list separated by commas.
#[must_use]
pub fn zones_of(text: &str) -> Option<AllowedZones> {
    if text == "*" {
        return Some(AllowedZones::All);
    }
    let zones: Option<Vec<_>> = text.split(',').map(|zone| zone.trim().parse().ok()).collect();
    zones.map(AllowedZones::Only)
}

/// Whether an account number's check digits fit (ISO 13616: the remainder by 97 is 1).
fn is_iban(text: &str) -> bool {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let form = (15..=34).contains(&compact.len()) && compact.chars().all(|c| c.is_ascii_alphanumeric());
    let Some((head, tail)) = compact.split_at_checked(4).filter(|_| form) else { return false };
    let rest = tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0u32, |rest, value| {
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    });
    rest == 1
}

/// So long a step of an enrolment may take, for those who wait for it.
pub const ENROL_WITHIN: Duration = STEP_WITHIN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_numbers_are_known_by_their_check_digits() {
        // The examples of the registry of ISO 13616.
        for good in ["GB29 NWBK 6016 1331 9268 19", "DE89370400440532013000", "PT50000201231234567890154"] {
            assert!(is_iban(good), "{good}");
        }
        for bad in
            ["GB28 NWBK 6016 1331 9268 19", "DE8937040044053201300", "", "DE89", "DE8937040044053201300é"]
        {
            assert!(!is_iban(bad), "{bad}");
        }
    }

    #[test]
    fn zones_and_tiers_are_read_as_they_are_written() {
        let some = AllowedZones::Only(vec!["PT-1".parse().unwrap(), "ES-2".parse().unwrap()]);
        for zones in [AllowedZones::All, some] {
            assert_eq!(zones_of(&zones_text(&zones)), Some(zones));
        }
        assert_eq!((zones_of(""), zones_of("PT-1,,ES")), (None, None));
        for (tier, name) in TIERS {
            assert_eq!((tier_of(name), tier_name(tier)), (Some(tier), name));
        }
        assert_eq!(tier_of("Gold"), None);
    }
}
