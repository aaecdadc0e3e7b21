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
//! What the form is, and what is accepted of it, is in [`super::registration`]. The contract's text is signed by both sides
//! with Ed25519 over its SHA-256, which covers that of a file that was signed elsewhere ([`super::attached`]).
//!
//! Source: paper B, sections 4.3, 4.4 and 5.1.

use super::attached::{ATTACHED_TEXT_MAX, AttachedContract};
use super::customers::{Customer, Customers, Decision};
use super::issuer::Issuer;
use super::offices::{Office, OfficeError};
use super::proving::{self, STEP_WITHIN};
use super::registration;
pub use super::registration::{Field, FieldKind, Registration, RegistrationForm, Rejected, contract_digest};
use super::state::{AgentState, Changes};
use super::validity::last_day;
use super::{ChargingError, address};
use crate::agent::kept::{KeptConnection, KeptInvitation};
use crate::agent::reach::Reach;
use crate::agent::{Agent, new_id};
use crate::causes::chain;
use crate::clock::{in_time, now};
use crate::node::LookedUp;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use eroam_domain::charge::{AllowedZones, Denial};
use eroam_domain::codec::SignatureBytes;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::{PaymentOption, RetailTerms, Tier};
use eroam_domain::time::{CivilMonth, LocalClock, UnixMillis};
use eroam_domain::visit::Denied;
use eroam_domain::voucher::{OneTimeKey, SignedVoucher};
use eroam_gateway::gateway::GatewayError;
use eroam_gateway::ports::{Store as _, StoreError};
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use eroam_gateway::vouchers::VoucherRefusal;
use eroam_ledger::registry::RegistryWindow;
use eroam_ledger::state::StateKey;
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{Channel, SigningKey};
use eroam_ssi::protocol::Incoming;
use eroam_ssi::protocol::charging::{attributes, day_number};
use eroam_ssi::protocol::did_exchange::{Connection, Responder};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{
    self, BillSoFar, BilledCharge, CUSTOMER, PricesAsked, Question, Rejoin, Rejoined, Rejoining, Withdrawal,
    rejoin_digest,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
/// The longest registration in bytes: its fields, and the file that is attached.
const REGISTRATION_BYTES_MAX: usize = 64 * 1024 + ATTACHED_TEXT_MAX;
/// So long an invitation can be answered.
const INVITED_FOR: Duration = Duration::from_secs(600);
/// The greatest number of threads: two serve, and each of the others waits for a wallet to take its contract.
const THREADS_MAX: usize = 258;
/// So long the invitation for every customer is good: as long as the program runs.
const RETURNING_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
/// So many that connected and have not said who they are yet are remembered; the oldest are forgotten.
const STRANGERS_MAX: usize = 1_024;
/// So many charges are told of a month at most: what fits a message.
const BILLED_MAX: usize = 1_000;

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

/// Who decides on registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Whatever is filled in and signed as it should is accepted.
    Automatic,
    /// Staff does; meanwhile whoever registers is told to come again.
    Staff,
}

/// How a provider works.
#[derive(Clone, Copy, Debug)]
pub struct ProviderSettings {
    /// For how many days a contract is made at least: it ends with its registry ([`super::issuer::Term`]).
    pub valid_days: u32,
    /// Who decides on registrations.
    pub approval: Approval,
}

/// Records of customers' connections, by their channels.
const CONNECTION: &str = "customer's connection";
/// Records of invitations that are out for good.
const INVITATION: &str = "invitation";
/// The one for customers who come back.
const RETURNING: &str = "returning";

/// The name of a record of a connection.
fn channel_key(channel: &Channel) -> String {
    format!("{}.{}", channel.ours.to_multikey(), channel.theirs.to_multikey())
}

struct Inner {
    office: Office,
    agent: Agent,
    issuer: Issuer,
    form: RegistrationForm,
    signing: SigningKey,
    settings: ProviderSettings,
    state: AgentState,
    customers: Customers,
    connections: Mutex<HashMap<Channel, (ContractId, Connection)>>,
    /// Who connected with [`Inner::returning`] and has not said whose wallet it is.
    strangers: Mutex<VecDeque<Connection>>,
    /// With which every customer's wallet comes back.
    returning: Invitation,
    next: AtomicU64,
    stopped: AtomicBool,
    issuing: Mutex<Vec<JoinHandle<()>>>,
    /// Publishes another key for vouchers, if one is needed.
    renew_voucher_key: OnceLock<Box<RenewVoucherKey>>,
}

/// See [`Provider::renewing_voucher_keys`].
type RenewVoucherKey = dyn Fn() -> Result<(), ChargingError> + Send + Sync;

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

    /// Starts one with what `state` knows. `signing` is the first key of the organisation's DID.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn start(
        office: Office,
        issuer: Issuer,
        form: RegistrationForm,
        signing: SigningKey,
        settings: ProviderSettings,
        state: AgentState,
        reach: impl Into<Reach>,
    ) -> Result<Self, ChargingError> {
        let agent = address::start_agent(&state, &form.name, reach.into())?.speaking(CUSTOMER);
        let (returning, invited) = match state.get::<KeptInvitation>(INVITATION, RETURNING)? {
            Some(kept) => agent.take_up_invitation(&kept)?,
            None => {
                let (returning, invited) = agent.invite(in_time(RETURNING_FOR))?;
                let kept = agent.keep_invitation(&returning, &invited)?;
                state.write(Changes::new().put(INVITATION, RETURNING, &kept))?;
                (returning, invited)
            }
        };
        let customers = Customers::open(state.clone())?;
        let mut connections = HashMap::new();
        for (_, (contract, kept)) in state.each::<(ContractId, KeptConnection)>(CONNECTION)? {
            let connection = agent.take_up_connection(&kept)?;
            connections.insert(connection.channel(), (contract, connection));
        }
        let numbers = customers.all().into_iter().filter_map(|customer| number_of(&customer.contract));
        let next = AtomicU64::new(numbers.max().unwrap_or(0) + 1);
        let provider = Self(Arc::new(Inner {
            office,
            agent,
            issuer,
            form,
            signing,
            settings,
            state,
            customers,
            connections: Mutex::new(connections),
            strangers: Mutex::default(),
            returning,
            next,
            stopped: AtomicBool::new(false),
            issuing: Mutex::default(),
            renew_voucher_key: OnceLock::new(),
        }));
        // First: there is room for these two.
        let (serving, accepting) = (provider.clone(), provider.clone());
        provider.spawn("provider", move || serving.serve())?;
        provider.spawn("provider accepts", move || accepting.accept(&invited))?;
        provider.take_up()?;
        Ok(provider)
    }

    /// Goes on with what was under way when the program ended: credentials that were not fetched, revocations.
    fn take_up(&self) -> Result<(), ChargingError> {
        for customer in self.0.customers.all() {
            if customer.revoked.is_some() {
                self.withdraw(&customer)?;
            } else if let Some(kept) = customer.invitation.filter(|kept| kept.deadline() > now()) {
                let (invitation, invited) = self.0.agent.take_up_invitation(&kept)?;
                if let Err(error) = self.await_wallet(customer.contract, invitation, invited) {
                    // That wallet asks again.
                    tracing::warn!(error = %chain(&error), contract = %customer.contract, "provider.take_up");
                }
            }
        }
        Ok(())
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), ChargingError> {
        let mut issuing = lock(&self.0.issuing);
        issuing.retain(|thread| !thread.is_finished());
        if issuing.len() >= THREADS_MAX {
            let reason = "too many enrol at the moment: try again in ten minutes".to_owned();
            return Err(Denied { denial: Denial::LedgerRefused, reason }.into());
        }
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        issuing.push(thread.map_err(|error| ChargingError::unexpected("a thread", error))?);
        Ok(())
    }

    /// Lets wallets come back, one after another.
    fn accept(&self, invited: &Responder) {
        while !self.0.stopped.load(Ordering::Acquire) {
            let accepted = self.0.agent.accept(&self.0.returning, invited, Duration::from_millis(500));
            let Ok(connection) = accepted else { continue };
            let mut strangers = lock(&self.0.strangers);
            if strangers.len() >= STRANGERS_MAX {
                strangers.pop_front().iter().for_each(|oldest| self.0.agent.forget(oldest));
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

    /// Its customers, and who wants to be one.
    #[must_use]
    pub fn customers(&self) -> Vec<Customer> {
        self.0.customers.all()
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

    /// The contract that a customer attached to the registration, if there is one.
    ///
    /// # Errors
    /// [`ChargingError`], among them that there is no such customer.
    pub fn attached(&self, contract: &ContractId) -> Result<Option<AttachedContract>, ChargingError> {
        self.0.customers.attached(contract)
    }

    /// Accepts a registration that waits: the wallet gets the contract when it comes again.
    ///
    /// # Errors
    /// [`ChargingError`], among them that there is no such registration, or that it was decided on.
    pub fn accept_registration(&self, contract: &ContractId) -> Result<(), ChargingError> {
        self.decide(contract, Decision::Accepted)
    }

    /// Rejects a registration that waits: whoever registered hears why.
    ///
    /// # Errors
    /// As [`Provider::accept_registration`].
    pub fn reject_registration(&self, contract: &ContractId, reason: &str) -> Result<(), ChargingError> {
        self.decide(contract, Decision::Rejected { reason: reason.to_owned() })
    }

    fn decide(&self, contract: &ContractId, decision: Decision) -> Result<(), ChargingError> {
        let customer = self.0.customers.get(contract).ok_or(Denial::UnknownContract)?;
        if customer.decision == decision {
            return Ok(());
        }
        if customer.decision != Decision::Awaited {
            return Err(ChargingError::unexpected("the registration", "it was decided on before"));
        }
        if decision == Decision::Accepted {
            self.make_contract(&customer)?;
        }
        self.0.customers.change(contract, |customer| customer.decision = decision)?;
        Ok(())
    }

    /// Blocks the vouchers that a customer's wallet has, as when a phone is lost. The contract goes on.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn block_vouchers(&self, contract: &ContractId) -> Result<(), ChargingError> {
        self.0.customers.get(contract).ok_or(Denial::UnknownContract)?;
        self.0.office.act(|gateway, _| gateway.block_vouchers(contract).map(|_| Vec::new()))?;
        Ok(self.0.office.flush()?)
    }

    /// Revokes a contract: its credential, and the vouchers that its wallet has.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn revoke(&self, contract: &ContractId, reason: &str) -> Result<(), ChargingError> {
        let revoked = self.0.customers.change(contract, |customer| {
            customer.revoked.get_or_insert_with(|| reason.to_owned());
            customer.invitation = None;
        })?;
        self.withdraw(&revoked)
    }

    /// Changes what the gateway knows of a contract, durably; of none, nothing.
    fn change_profile(
        &self,
        contract: &ContractId,
        change: impl FnOnce(HomeProfile) -> HomeProfile,
    ) -> Result<(), ChargingError> {
        let changed = self.0.office.with(|gateway, _| {
            let Some(profile) = gateway.store_mut().home_profile(contract)? else { return Ok(()) };
            gateway.store_mut().put_home_profile(&change(profile))?;
            gateway.store_mut().commit()
        });
        changed.map_err(|error| ChargingError::unexpected("the customer's contract", error))
    }

    /// Does what follows from a revocation, as far as it is not done yet.
    fn withdraw(&self, customer: &Customer) -> Result<(), ChargingError> {
        let contract = &customer.contract;
        // What needs nobody else comes first: no voucher is given out while the ledger cannot be reached.
        self.change_profile(contract, |profile| HomeProfile { state: ContractState::Ended, ..profile })?;
        self.0.office.act(|gateway, _| gateway.block_vouchers(contract).map(|_| Vec::new()))?;
        self.0.issuer.revoke(customer.places.iter().copied())?;
        Ok(self.0.office.flush()?)
    }

    /// Where its agent listens.
    #[must_use]
    pub fn agent_address(&self) -> SocketAddr {
        self.0.agent.address()
    }

    /// What publishes another key for vouchers where [`Gateway::needs_voucher_key`] says so: a key is good for about a
    /// year, and the customer who comes first after it is not sent away. Counts once.
    ///
    /// [`Gateway::needs_voucher_key`]: eroam_gateway::gateway::Gateway::needs_voucher_key
    #[must_use]
    pub fn renewing_voucher_keys(
        self,
        renew: impl Fn() -> Result<(), ChargingError> + Send + Sync + 'static,
    ) -> Self {
        // Who set one before keeps it.
        let _ = self.0.renew_voucher_key.set(Box::new(renew));
        self
    }

    /// Ends its threads. Whoever has no answer yet asks again.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.agent.close();
        let threads = std::mem::take(&mut *lock(&self.0.issuing));
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Checks a registration, makes the contract and invites the wallet.
    fn register(&self, registration: &Registration) -> Result<Registered, Rejected> {
        let whole = |reason: String| Rejected { reasons: BTreeMap::from([(String::new(), reason)]) };
        registration::check(&self.0.form, registration)?;
        self.admit(registration).map_err(|error| match error {
            ChargingError::Denied(denied) => whole(denied.reason),
            error => whole(chain(&error)),
        })
    }

    /// As [`Provider::register`], of a registration that was checked.
    fn admit(&self, registration: &Registration) -> Result<Registered, ChargingError> {
        // Who sends the same again has not got the contract: staff decides, or the answer was lost.
        let is_again = |customer: &Customer| {
            customer.revoked.is_none()
                && customer.credential().is_none()
                && customer.signer == registration.signer
                && customer.fields == registration.fields
                && customer.attached == registration.attached()
        };
        let customer = match self.0.customers.latest(is_again) {
            Some(customer) => customer,
            None => self.add(registration)?,
        };
        let told = |reason: String| Denied { denial: Denial::UnknownContract, reason };
        match &customer.decision {
            Decision::Awaited => {
                let number = customer.contract;
                let reason = format!(
                    "your registration {number} waits for somebody to look at it: enrol again later with the same fields"
                );
                return Err(told(reason).into());
            }
            Decision::Rejected { reason } => {
                return Err(told(format!("your registration was rejected: {reason}")).into());
            }
            Decision::Accepted => {}
        }
        let (invitation, invited) = self.0.agent.invite(in_time(INVITED_FOR))?;
        let kept = self.0.agent.keep_invitation(&invitation, &invited)?;
        self.0.customers.change(&customer.contract, |customer| customer.invitation = Some(kept))?;
        let url = invitation.to_url(self.0.agent.endpoint());
        self.await_wallet(customer.contract, invitation, invited)?;
        let digest = contract_digest(&self.0.form, &registration.fields, registration.attached());
        Ok(Registered {
            contract: customer.contract,
            signer: self.0.signing.verification_key().to_did_key().to_string(),
            signature: SignatureBytes(self.0.signing.sign(&digest.0)),
            invitation: url,
        })
    }

    /// Remembers somebody new.
    fn add(&self, registration: &Registration) -> Result<Customer, ChargingError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let contract = self.contract_id(number);
        let contract = contract.map_err(|error| ChargingError::unexpected("a contract's number", error))?;
        let Registration { fields, signer, signature, attached: file } = registration.clone();
        let customer = Customer {
            contract,
            fields,
            attached: registration.attached(),
            signer,
            signature,
            registered_at: now(),
            decision: match self.0.settings.approval {
                Approval::Automatic => Decision::Accepted,
                Approval::Staff => Decision::Awaited,
            },
            invitation: None,
            places: Vec::new(),
            revoked: None,
        };
        if customer.decision == Decision::Accepted {
            self.make_contract(&customer)?;
        }
        self.0.customers.add(customer.clone(), file.as_ref())?;
        Ok(customer)
    }

    /// The tier and the zones that were entered. The registration was checked.
    fn terms(fields: &BTreeMap<String, String>) -> (Tier, AllowedZones) {
        let entered =
            |name: &str| fields.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let tier = entered("tier").and_then(tier_of).unwrap_or(Tier::Standard);
        (tier, entered("zones").and_then(zones_of).unwrap_or(AllowedZones::All))
    }

    /// Keeps the profile by which the gateway knows the contract.
    fn make_contract(&self, customer: &Customer) -> Result<(), ChargingError> {
        let (tier, zones) = Self::terms(&customer.fields);
        let profile = HomeProfile {
            contract: customer.contract,
            state: ContractState::Active,
            valid_from: UnixMillis::EPOCH,
            // Until a credential is issued, which ends with its registry.
            valid_until: Some(self.lasts_until(customer.registered_at)),
            tier,
            payment: PaymentOption::Postpaid,
            portfolio: ServicePortfolio {
                roaming: true,
                zones,
                priority: 0,
                energy_max: WattHours::from_wh(500_000).unwrap_or(WattHours::ZERO),
                amount_max: 1_000_000_000,
            },
            cards: Vec::new(),
            pin: None,
            wrong_pins: 0,
            visiting: None,
        };
        let kept = self.0.office.with(|gateway, _| {
            gateway.store_mut().put_home_profile(&profile)?;
            gateway.store_mut().commit()
        });
        kept.map_err(|error| ChargingError::unexpected("the contract", error))
    }

    /// The end of the days for which a contract is made at least.
    fn lasts_until(&self, from: UnixMillis) -> UnixMillis {
        let lasts = DurationMs::from_millis(u64::from(self.0.settings.valid_days) * 86_400_000);
        from.checked_add(lasts).unwrap_or(from)
    }

    /// What a customer's credential is going to say, of a registry with this window: it ends with all others of the registry, so
    /// that the day tells nobody from the others.
    fn values(&self, customer: &Customer, window: RegistryWindow) -> Vec<(&'static str, String)> {
        let (tier, zones) = Self::terms(&customer.fields);
        let (from, provider) = (customer.registered_at, self.0.form.provider);
        let vouchers = self.0.office.with(|gateway, _| gateway.rules().vouchers);
        let daily_limit = vouchers.map_or(0, |rules| rules.daily_limit.div_euclid(1_000_000));
        let values = [
            format!("K{:08}", number_of(&customer.contract).unwrap_or(0)),
            provider.to_string(),
            customer.contract.to_string(),
            tier_name(tier).to_owned(),
            daily_limit.to_string(),
            zones_text(&zones),
            day_number(LocalClock::UTC.at(from).date).to_string(),
            day_number(last_day(window.until)).to_string(),
        ];
        CONTRACT_ATTRIBUTES.into_iter().zip(values).collect()
    }

    /// Issues the credential to the wallet that answers an invitation.
    fn await_wallet(
        &self,
        contract: ContractId,
        invitation: Invitation,
        invited: Responder,
    ) -> Result<(), ChargingError> {
        let (provider, left) = (self.clone(), invited.clone());
        let spawned = self.spawn("provider issues", move || {
            if let Err(error) = provider.issue(&invitation, &invited, contract) {
                tracing::warn!(error = %chain(&error), "provider.issue");
            }
            provider.0.agent.end_invitation(&invited);
        });
        // Nobody waits for an answer to it.
        spawned.inspect_err(|_| self.0.agent.end_invitation(&left))
    }

    fn contract_id(&self, number: u64) -> Result<ContractId, String> {
        let party = self.0.form.provider;
        let text = format!("{}-{}-C{number:08}", party.country(), party.id());
        text.parse::<ContractId>().map_err(|error| error.to_string())
    }

    fn issue(
        &self,
        invitation: &Invitation,
        invited: &Responder,
        contract: ContractId,
    ) -> Result<(), ChargingError> {
        let connection = self.0.agent.accept(invitation, invited, INVITED_FOR)?;
        // A registration can be sent again by whoever has seen it, and an invitation be answered by anybody: the key that
        // signed the contract has to sign this very connection. It is the customer's then, before the credential is there,
        // since whoever has that may ask for vouchers at once.
        let asked = self.0.agent.receive("the wallet's signature", STEP_WITHIN, |incoming| {
            incoming.channel() == connection.channel() && questions::is_question::<Rejoin>(incoming)
        })?;
        if self.recognise(&asked, &connection)? != Some(contract) {
            return Err(Denial::UnknownContract.into());
        }
        let customer = self.0.customers.get(&contract).ok_or(Denial::UnknownContract)?;
        let values = |window: RegistryWindow| self.values(&customer, window);
        proving::issue(&self.0.agent, &connection, &self.0.issuer, values, |place, window| {
            let customer = self.0.customers.change(&contract, |customer| customer.places.push(place))?;
            // It may have been revoked while the wallet was waited for.
            if customer.revoked.is_some() {
                return Err(Denial::UnknownContract.into());
            }
            self.change_profile(&contract, |profile| HomeProfile {
                valid_until: Some(window.until),
                ..profile
            })
        })?;
        self.0.customers.change(&contract, |customer| customer.invitation = None)?;
        // This customer waits for nothing any more.
        self.0.issuer.prepare_next()
    }

    /// Remembers a customer's connection; the one before is over.
    fn connected(&self, contract: ContractId, connection: &Connection) -> Result<(), ChargingError> {
        let mut connections = lock(&self.0.connections);
        let kept = self.0.agent.keep_connection(connection)?;
        let key = channel_key(&connection.channel());
        let mut changes = Changes::new().put(CONNECTION, &key, &(contract, kept));
        for (channel, _) in connections.iter().filter(|(_, (of, _))| *of == contract) {
            changes = changes.remove(CONNECTION, &channel_key(channel));
        }
        self.0.state.write(changes)?;
        // A contract has one wallet, and that one has gone from where it was.
        connections.retain(|channel, (of, before)| {
            let stays = *of != contract;
            if !stays && *channel != connection.channel() {
                self.0.agent.forget(before);
            }
            stays
        });
        connections.insert(connection.channel(), (contract, connection.clone()));
        Ok(())
    }

    /// Answers customers until it is stopped.
    fn serve(&self) {
        while !self.0.stopped.load(Ordering::Acquire) {
            let asked = self.0.agent.receive("question", Duration::from_millis(200), |incoming| {
                questions::is_question::<Withdrawal>(incoming)
                    || questions::is_question::<BillSoFar>(incoming)
                    || questions::is_question::<PricesAsked>(incoming)
                    || (questions::is_question::<Rejoin>(incoming) && self.is_stranger(incoming))
            });
            let Ok(asked) = asked else { continue };
            let answered = if questions::is_question::<Rejoin>(&asked) {
                self.rejoin(&asked)
            } else if questions::is_question::<BillSoFar>(&asked) {
                self.answer::<BillSoFar>(&asked, |contract, BillSoFar { month }| {
                    self.bill(contract, month).map(Ok)
                })
            } else if questions::is_question::<PricesAsked>(&asked) {
                self.answer::<PricesAsked>(&asked, |contract, PricesAsked {}| self.prices(contract))
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
        self.recognise(asked, &connection).map(drop)
    }

    /// Answers whoever shows with a signature over this very connection whose contract they have: gives which, if it is one.
    /// The connection of anybody else is over.
    fn recognise(
        &self,
        asked: &Incoming,
        connection: &Connection,
    ) -> Result<Option<ContractId>, ChargingError> {
        let channel = asked.channel();
        let question = questions::read_question::<Rejoin>(asked, now());
        let Rejoin { contract, signature } = question.inspect_err(|_| self.0.agent.forget(connection))?;
        let digest = |who| rejoin_digest(who, &contract, &channel.theirs, &channel.ours);
        let customer = self.0.customers.get(&contract);
        let customer = customer.filter(|customer| customer.decision == Decision::Accepted);
        let signer = customer.map(|customer| customer.signer);
        let key = signer.and_then(|signer| VerificationKey::from_did_key(&signer).ok());
        let given = if key.is_some_and(|key| key.verifies(&digest(Rejoining::Customer).0, &signature.0)) {
            self.connected(contract, connection)?;
            let signed = self.0.signing.sign(&digest(Rejoining::Provider).0);
            Ok(Rejoined { signature: SignatureBytes(signed) })
        } else {
            Err(Denial::UnknownContract.into())
        };
        let answer = questions::answer::<Rejoin>(asked, &given, new_id())?;
        let sent = self.0.agent.send(connection, &answer);
        if given.is_err() {
            self.0.agent.forget(connection);
        }
        sent?;
        Ok(given.is_ok().then_some(contract))
    }

    /// What is on a customer's bill of a month so far.
    ///
    /// # Errors
    /// [`ChargingError`]: the records cannot be read.
    pub fn bill(&self, contract: &ContractId, month: CivilMonth) -> Result<Vec<BilledCharge>, ChargingError> {
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
        Ok(billed)
    }

    /// What a customer's prices follow from: from the rules in force on.
    fn prices(&self, contract: &ContractId) -> Result<Result<RetailTerms, Denied>, ChargingError> {
        let known = self.0.office.with(|gateway, _| {
            let profile = gateway.store_mut().home_profile(contract)?;
            let versions = gateway.rules().home.since(now()).to_vec();
            Ok::<_, StoreError>(profile.map(|profile| RetailTerms { payment: profile.payment, versions }))
        });
        let known = known.map_err(|error| ChargingError::unexpected("the customer's contract", error))?;
        Ok(known.ok_or_else(|| Denial::UnknownContract.into()))
    }

    /// Signs vouchers. What the ledger has to say is looked up before the gateway is held, in one request for all vouchers.
    fn issue_vouchers(
        &self,
        contract: &ContractId,
        keys: &[OneTimeKey],
        day: i64,
    ) -> Result<Result<Vec<SignedVoucher>, VoucherRefusal>, GatewayError> {
        let (office, mut known) = (&self.0.office, LookedUp::new());
        // First: what it says of a voucher whose key is revoked by then, it says for ever.
        known.look_up(office.client(), [StateKey::VoucherKeys(office.party())])?;
        let lookups = office.with(|gateway, _| gateway.voucher_lookups(&known, contract, keys, day))?;
        known.look_up(office.client(), lookups)?;
        office.with(|gateway, _| {
            let issued = gateway.issue_vouchers(&known, office.network(), contract, keys, day, now())?;
            gateway.commit()?;
            Ok(issued)
        })
    }

    fn vouchers(
        &self,
        contract: &ContractId,
        keys: &[OneTimeKey],
        day: i64,
    ) -> Result<Result<Vec<SignedVoucher>, Denied>, ChargingError> {
        let issue = || self.issue_vouchers(contract, keys, day).map_err(OfficeError::from);
        let mut issued = issue()?;
        if let (Err(VoucherRefusal::NoKey), Some(renew)) = (&issued, self.0.renew_voucher_key.get()) {
            match renew() {
                Ok(()) => issued = issue()?,
                // The customer hears that there is no key.
                Err(error) => tracing::error!(error = %chain(&error), "provider.voucher_key"),
            }
        }
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

/// The number in a contract's id, as [`Provider`] gives it.
fn number_of(contract: &ContractId) -> Option<u64> {
    let text = contract.to_string();
    let number = text.split('-').nth(2)?.strip_prefix('C')?.to_owned();
    number.parse().ok()
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

/// So long a step of an enrolment may take, for those who wait for it.
pub const ENROL_WITHIN: Duration = STEP_WITHIN;

#[cfg(test)]
mod tests {
    use super::*;

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
