//! Everybody who takes part: made from a seed, started, and stopped at the end.

use super::founding::{OFFICE_LANE, Parties, found, genesis, network_name, time_zone};
pub(crate) use super::founding::{TARIFF, tariff, terms};
use super::served::{Listing, ServedParty, ServedStation};
use super::{Setup, Town, allowed};
use crate::causes::chain;
use crate::charging::ChargingError;
use crate::charging::catalogue::Catalogue;
use crate::charging::issuer::{Issuer, IssuerKey, Kinds, TailsPlace, Term};
use crate::charging::offices::{Directory, Office, OfficeError};
use crate::charging::operator::{Operator, station_issuer_service};
use crate::charging::paper::{STATION_ATTRIBUTES, STATION_SCHEMA, STATION_TERM};
use crate::charging::post::{Mishaps, Pace, SimulatedPost};
use crate::charging::provider::{Approval, CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA, Provider, ProviderSettings};
use crate::charging::state::AgentState;
use crate::charging::station::{Mode, Outcome, Station};
use crate::charging::wallet::{Timings, Wallet};
use crate::clock::now;
use crate::consortium::Seed;
use crate::consortium::founders::{self, currency};
use crate::ledger::{Ledger, LedgerSetup, OpenLedgerError};
use crate::registry::{self, Publisher, REGISTRY_LANE};
use crate::server::{STOP_WITHIN, ServeError, Server};
use crate::tails_cache::TailsCache;
use crate::usage::Usage;
use ed25519_dalek::SigningKey;
use eroam_chain::client::Client;
use eroam_domain::cdr::GridZone;
use eroam_domain::codec::{ShortText, to_bytes};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::Money;
use eroam_domain::quantity::WattHours;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::{ChargeLimits, StationClaims};
use eroam_gateway::gateway::{Evse, Gateway, Secrets};
use eroam_gateway::ports::{SeededEntropy, Store as _, StoreError};
use eroam_gateway::rules::{HomeRules, Rules};
use eroam_gateway::vouchers::VoucherRules;
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::registry::{DidDocument, DidService};
use eroam_ledger::reject::RejectCode;
use eroam_ledger::tx::PublicKey;
use eroam_light::trust::Trust;
use eroam_ssi::didcomm;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::sd_jwt::SigningKey as StationIssuerKey;
use eroam_station::journal::MemoryJournal;
use eroam_store::{OpenError, OrgStore, StoreUrl};
use eroam_wallet::consent::Consent;
use eroam_wire::ocmf::MeterKey;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a voucher pays.
pub(super) const VOUCHER_MICROS: i64 = 40_000_000;
/// So many vouchers a wallet withdraws at a time.
pub(crate) const WITHDRAWN_AT_ONCE: usize = 16;
/// So long a station may take to say how it went.
const TOLD_WITHIN: Duration = Duration::from_secs(40);
/// For so many days contracts are made at least: longer than any experiment.
const CONTRACT_DAYS: u32 = 3_650;
/// Bytes of tails files that all wallets together keep.
pub(crate) const TAILS_BYTES_MAX: u64 = 256 << 20;

/// Why the experiment cannot be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SimulateError {
    #[error("the ledger cannot be opened")]
    Ledger(#[from] OpenLedgerError),
    #[error("the records of {who} cannot be opened")]
    Store {
        who: PartyId,
        #[source]
        source: OpenError,
    },
    #[error("the records cannot be read")]
    Records(#[from] StoreError),
    #[error("nothing can be served")]
    Serve(#[from] ServeError),
    #[error("a directory or a file")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Charging(#[from] ChargingError),
    #[error("an organisation")]
    Office(#[from] OfficeError),
    #[error("{party}: the ledger refuses the founding: {code}")]
    Refused { party: PartyId, code: RejectCode },
    #[error("{0}")]
    Setup(String),
}

pub(super) fn setup_error(error: impl ToString) -> SimulateError {
    SimulateError::Setup(error.to_string())
}

/// A station that serves drivers.
pub struct Standing {
    station: Arc<Station>,
    mishaps: Mishaps,
    told: Receiver<Result<Outcome, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Standing {
    /// The station.
    #[must_use]
    pub fn station(&self) -> &Station {
        &self.station
    }

    /// What is going to happen to charges there.
    #[must_use]
    pub const fn mishaps(&self) -> &Mishaps {
        &self.mishaps
    }

    /// How the station saw the next visit that ended; `None` if none does for long.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Outcome, String>> {
        self.told.recv_timeout(TOLD_WITHIN).ok()
    }
}

/// A driver.
pub struct Driver {
    /// The wallet.
    pub wallet: Wallet,
    /// Its contract.
    pub contract: ContractId,
}

/// Where everybody is.
struct Urls {
    resolver: String,
    /// In the order of the providers.
    providers: Vec<String>,
    /// In the order of the operators.
    operators: Vec<String>,
}

/// Everybody. What is first is stopped first.
pub struct World {
    /// Drivers, each with a customer's contract and vouchers.
    pub drivers: Vec<Driver>,
    mode: Mode,
    stations: Vec<Standing>,
    providers: Vec<Provider>,
    operators: Vec<Operator>,
    resolver: Office,
    urls: Urls,
    _servers: Vec<Server>,
    ledger: Ledger,
    directory: tempfile::TempDir,
}

pub(super) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Keys of an issuer that were made before.
struct GivenKey {
    definition: Vec<u8>,
    secret: Vec<u8>,
    correctness: Vec<u8>,
}

impl GivenKey {
    fn read(directory: &Path) -> Result<Self, SimulateError> {
        let file = |name: &str| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(|error| {
                setup_error(format_args!("the issuer's key in {} cannot be read: {error}", path.display()))
            })
        };
        Ok(Self {
            definition: file("definition.json")?,
            secret: file("secret.json")?,
            correctness: file("key_correctness.json")?,
        })
    }
}

impl World {
    /// Sets everybody up; the same seed makes the same organisations, stations, vehicles and contracts. `say` hears how far
    /// it is.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn build(setup: &Setup, say: &mut dyn FnMut(&str)) -> Result<Self, SimulateError> {
        let seed = setup.seed;
        if [setup.drivers, setup.emsps, setup.cpos, setup.stations].contains(&0) {
            return Err(setup_error("there must be a driver, a home utility, an operator and a station"));
        }
        if setup.emsps > 99 || setup.cpos > 99 {
            return Err(setup_error("at most 99 home utilities and 99 operators"));
        }
        let directory = tempfile::tempdir()?;
        let Parties { emsps, cpos, treasury } = Parties::of(setup)?;
        let ledger = LedgerSetup::default();
        let name = network_name(setup.served);
        let genesis = genesis(&name, seed, &emsps, &cpos, treasury, &ledger, BlockTime::Stated)?;
        let ledger = Ledger::open(seed, &genesis, &ledger)?;
        let client = ledger.client().clone();
        let trust = Trust::from_genesis(client.genesis()).map_err(setup_error)?;
        let tails_directory = directory.path().join("tails");
        let router = registry::router(client.clone(), &tails_directory, None)?;
        let resolver = Server::start("registry", any_port(), router, STOP_WITHIN)?;
        let resolver_url = format!("http://{}", resolver.address());
        let mut servers = vec![resolver];

        let organisations = Arc::new(Directory::default());
        let everybody: Vec<PartyId> = emsps.iter().chain(&cpos).copied().chain([treasury]).collect();
        let offices = everybody
            .iter()
            .map(|party| office(setup, *party, &client, &organisations))
            .collect::<Result<Vec<_>, _>>()?;
        found(&mut client.clone(), seed, &emsps, &cpos, treasury, UnixMillis::EPOCH)?;

        let given = setup.issuer_keys.as_deref().map(GivenKey::read).transpose()?;
        let tails_place = TailsPlace { directory: &tails_directory, url: &resolver_url };
        let (mut providers, mut provider_urls) = (Vec::new(), Vec::new());
        for (index, emsp) in emsps.iter().enumerate() {
            let office = find(&offices, *emsp)?;
            if given.is_none() {
                say(&format!("{emsp} makes its key for contracts: safe primes, up to a minute"));
            }
            let customers = setup.drivers.div_ceil(setup.emsps);
            let provider = provider(setup, &office, index, customers, given.as_ref(), tails_place)?;
            let router = provider.router().merge(office.router());
            let server = Server::start("provider", any_port(), router, STOP_WITHIN)?;
            let url = format!("http://{}", server.address());
            organisations.put(*emsp, url.clone());
            provider_urls.push(url);
            servers.push(server);
            providers.push(provider);
        }

        let (mut operators, mut operator_urls) = (Vec::new(), Vec::new());
        for cpo in &cpos {
            let office = find(&offices, *cpo)?;
            let paper = match setup.mode {
                Mode::Default => None,
                Mode::Paper => {
                    say(&format!("{cpo} makes its key for stations: safe primes, up to a minute"));
                    let catalogue = Catalogue::new(&resolver_url, trust.clone());
                    Some((station_issuer(setup, &office, tails_place)?, catalogue))
                }
            };
            let (operator, server) = operator(seed, &office, paper)?;
            let url = format!("http://{}", server.address());
            organisations.put(*cpo, url.clone());
            operator_urls.push(url);
            servers.push(server);
            operators.push(operator);
        }

        // It takes the evidence of what it is to decide.
        let decides = find(&offices, treasury)?;
        let server = Server::start("resolver", any_port(), decides.router(), STOP_WITHIN)?;
        organisations.put(treasury, format!("http://{}", server.address()));
        servers.push(server);

        let tails = TailsCache::open(directory.path().join("wallets"), TAILS_BYTES_MAX);
        let tails = Arc::new(tails.map_err(ChargingError::from)?);
        say("stations register");
        let mut stations = Vec::new();
        for index in 0..setup.stations {
            let operator = operators.get(index % operators.len());
            let operator = operator.ok_or_else(|| setup_error("no operator"))?;
            let catalogue = Catalogue::new(&resolver_url, trust.clone());
            stations.push(station(setup, operator, index, catalogue, Arc::clone(&tails))?);
        }

        if !setup.served {
            say("drivers enrol");
        }
        // A device has its own; the drivers of one process share what is public, which is proved for each.
        let catalogue = Arc::new(Catalogue::new(&resolver_url, trust));
        let mut drivers = Vec::new();
        // Those of a served network are other processes.
        let here = if setup.served { 0 } else { setup.drivers };
        for index in 0..here {
            let url = provider_urls.get(index % provider_urls.len());
            let url = url.ok_or_else(|| setup_error("no provider"))?;
            let mut wallet = Wallet::new(Arc::clone(&catalogue), Arc::clone(&tails), setup.mode)?;
            let contract = wallet.enrol(url, &fields(index))?;
            wallet.withdraw(&contract, WITHDRAWN_AT_ONCE, now().utc_day())?;
            drivers.push(Driver { wallet, contract });
            if index % 100 == 99 {
                say(&format!("{} drivers", index + 1));
            }
        }
        Ok(Self {
            drivers,
            mode: setup.mode,
            stations,
            providers,
            operators,
            resolver: decides,
            urls: Urls { resolver: resolver_url, providers: provider_urls, operators: operator_urls },
            _servers: servers,
            ledger,
            directory,
        })
    }

    /// The stations.
    #[must_use]
    pub fn stations(&self) -> &[Standing] {
        &self.stations
    }

    /// The home utilities.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The operators.
    #[must_use]
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// The member that decides contests of all agreements.
    #[must_use]
    pub const fn resolver(&self) -> &Office {
        &self.resolver
    }

    /// The ledger, as it is seen by somebody who has not looked yet.
    ///
    /// # Errors
    /// [`SimulateError::Setup`].
    pub fn catalogue(&self) -> Result<Catalogue, SimulateError> {
        Ok(Catalogue::new(&self.urls.resolver, self.trust()?))
    }

    /// What everything that the ledger says is checked by.
    ///
    /// # Errors
    /// [`SimulateError::Setup`].
    pub fn trust(&self) -> Result<Trust, SimulateError> {
        Trust::from_genesis(self.ledger.client().genesis()).map_err(setup_error)
    }

    /// Somebody enrols with a provider and withdraws vouchers, with a wallet that shares nothing with others.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn newcomer(
        &self,
        provider: usize,
        fields: &BTreeMap<String, String>,
    ) -> Result<Driver, SimulateError> {
        self.newcomer_with(provider, fields, self.catalogue()?)
    }

    /// As [`World::newcomer`], who reads the ledger by this catalogue.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn newcomer_with(
        &self,
        provider: usize,
        fields: &BTreeMap<String, String>,
        catalogue: Catalogue,
    ) -> Result<Driver, SimulateError> {
        let url = self.urls.providers.get(provider).ok_or_else(|| setup_error("no such provider"))?;
        let tails = TailsCache::open(self.directory.path().join("newcomers"), TAILS_BYTES_MAX);
        let tails = Arc::new(tails.map_err(ChargingError::from)?);
        let mut wallet = Wallet::new(Arc::new(catalogue), tails, self.mode)?;
        let contract = wallet.enrol(url, fields)?;
        wallet.withdraw(&contract, WITHDRAWN_AT_ONCE, now().utc_day())?;
        Ok(Driver { wallet, contract })
    }

    /// Where drivers find a provider.
    #[must_use]
    pub fn provider_url(&self, provider: usize) -> Option<&str> {
        self.urls.providers.get(provider).map(String::as_str)
    }

    /// Where everybody is, for drivers of other processes.
    pub(super) fn listing(&self) -> Listing {
        let served = |party: PartyId, url: &String| ServedParty { party, url: url.clone() };
        let providers = self.providers.iter().zip(&self.urls.providers);
        let operators = self.operators.iter().zip(&self.urls.operators);
        let stations = self.stations.iter().map(|standing| ServedStation {
            claims: standing.station.claims().clone(),
            invitation: standing.station.url(),
        });
        Listing {
            network: self.ledger.client().network(),
            resolver: self.urls.resolver.clone(),
            providers: providers.map(|(provider, url)| served(provider.office().party(), url)).collect(),
            operators: operators.map(|(operator, url)| served(operator.party(), url)).collect(),
            stations: stations.collect(),
        }
    }

    /// The genesis of the network, as JSON.
    pub(super) fn genesis(&self) -> String {
        self.ledger.client().genesis().to_json()
    }

    /// All organisations that have something to settle.
    pub(super) fn offices(&self) -> Vec<Office> {
        let operators = self.operators.iter().map(|operator| operator.office().clone());
        operators.chain(self.providers.iter().map(|provider| provider.office().clone())).collect()
    }

    /// Lets everybody finish; gives how many records the operators have booked and how many charges are on bills.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn finish(&mut self) -> Result<(u64, u64), SimulateError> {
        for operator in &self.operators {
            operator.office().resume()?;
        }
        let (mut records, mut bills) = (0u64, 0u64);
        for operator in &self.operators {
            operator.office().with(|gateway, _| {
                gateway.store_mut().each_wholesale(&mut |_, _, line| {
                    records += u64::from(!line.is_credit());
                    Ok(())
                })
            })?;
        }
        for provider in &self.providers {
            provider.office().with(|gateway, _| {
                gateway.store_mut().each_bill_line(&mut |line| {
                    bills += u64::from(!line.is_credit());
                    Ok(())
                })
            })?;
        }
        Ok((records, bills))
    }
}

impl Town for World {
    fn charge(&mut self, driver: usize, station: usize) -> Result<(WattHours, Timings), String> {
        let standing = self.stations.get(station).ok_or("no such station")?;
        let invitation = standing.station.invitation().clone();
        let driver = self.drivers.get_mut(driver).ok_or("no such driver")?;
        let charged = driver.charge(&invitation);
        // Each visit is told of once, also one that came to nothing.
        match (charged, standing.outcome()) {
            (Ok(charged), Some(Ok(Outcome::Charged { .. }))) => Ok(charged),
            (Ok(_), told) => Err(format!("the station says {told:?}")),
            (Err(error), _) => Err(error),
        }
    }

    fn usage(&self) -> Result<Usage, SimulateError> {
        Ok(Usage::now())
    }

    fn finish(&mut self) -> Result<(u64, u64), SimulateError> {
        Self::finish(self)
    }
}

impl Driver {
    /// Charges with what a driver allows, prepared while the driver parks.
    pub(crate) fn charge(&mut self, invitation: &Invitation) -> Result<(WattHours, Timings), String> {
        let Self { wallet, contract } = self;
        let (contract, allowed) = (*contract, allowed());
        let words = |error: ChargingError| chain(&error);
        wallet.renew(&contract, allowed, WITHDRAWN_AT_ONCE).map_err(words)?;
        wallet.prepare(&contract).map_err(words)?;
        let (mut timings, limits) = (Timings::default(), ChargeLimits::default());
        let agrees = &mut |_: &Consent| true;
        let charged = wallet.charge(&contract, invitation, limits, allowed, agrees, &mut timings);
        charged.map(|receipt| (receipt.finished.energy, timings)).map_err(words)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stations.iter().for_each(|standing| standing.station.stop());
        for standing in &mut self.stations {
            if let Some(thread) = standing.thread.take() {
                let _ = thread.join();
            }
        }
        self.providers.iter().for_each(Provider::stop);
        self.operators.iter().for_each(Operator::stop);
    }
}

fn find(offices: &[Office], party: PartyId) -> Result<Office, SimulateError> {
    let office = offices.iter().find(|office| office.party() == party);
    office.cloned().ok_or_else(|| setup_error("an organisation that is not there"))
}

fn office(
    setup: &Setup,
    party: PartyId,
    client: &Client,
    directory: &Arc<Directory>,
) -> Result<Office, SimulateError> {
    let seed = setup.seed;
    let url = setup.data.as_deref().map_or_else(StoreUrl::memory, StoreUrl::directory);
    let store = OrgStore::open(&url, party, &client.network())
        .map_err(|source| SimulateError::Store { who: party, source })?;
    let bytes = to_bytes(&party);
    let secrets = Secrets {
        signing: seed.signing_key(party),
        key: 0,
        salt: seed.derive("salt", &[&bytes]),
        // A home utility's is made when it is published.
        voucher: None,
    };
    let entropy = Box::new(SeededEntropy(seed.derive("entropy", &[&bytes])));
    let name = party.to_string();
    let mut gateway = Gateway::new(party, &name, secrets, founders::policy(), store, entropy);
    let mut rules = Rules { home: HomeRules::new([0, 1, 2, 3]), ..Rules::default() };
    // What the founders of the demonstration charge their customers.
    let retail = founders::founders().first().map(founders::Founder::retail);
    let retail = retail.ok_or_else(|| setup_error("no retail rules"))?;
    rules.home.update(UnixMillis::EPOCH, retail).map_err(setup_error)?;
    let cap = Money::new(VOUCHER_MICROS, currency());
    rules.vouchers = Some(VoucherRules { cap, valid_days: 30, daily_limit: 256 * VOUCHER_MICROS });
    *gateway.rules_mut() = rules;
    Ok(Office::new(gateway, seed.signing_key(party), client.clone(), Arc::clone(directory)))
}

fn provider(
    setup: &Setup,
    office: &Office,
    index: usize,
    customers: usize,
    given: Option<&GivenKey>,
    tails: TailsPlace<'_>,
) -> Result<Provider, SimulateError> {
    let (seed, party) = (setup.seed, office.party());
    let publisher = publisher(seed, office)?;
    let first = seed.did_key(party);
    let did = publisher.did_of(&first);
    let document = DidDocument { keys: vec![PublicKey::of(&first)], services: Vec::new() };
    publisher.publish_did(did, document, &first).map_err(ChargingError::from)?;
    let voucher_keys = VoucherKeys { seed, office: office.clone(), made: Mutex::new(0) };
    voucher_keys.publish()?;
    let kinds = Kinds {
        schema: CONTRACT_SCHEMA,
        attributes: &CONTRACT_ATTRIBUTES,
        // Room for all customers, and index 0 is never used.
        registry: u32::try_from(customers + 2).unwrap_or(u32::MAX).max(64),
        term: Term::of_days(CONTRACT_DAYS).ok_or_else(|| setup_error("contracts of no days"))?,
    };
    let state = AgentState::in_memory();
    let issuer = Issuer::open(publisher, did, kinds, issuer_key(given), tails, state.clone())?;
    let form = Provider::form(party, &format!("Home utility {}", index + 1));
    let signing = didcomm::SigningKey::from_seed(&first.to_bytes());
    let settings = ProviderSettings { valid_days: CONTRACT_DAYS, approval: Approval::Automatic };
    let provider = Provider::start(office.clone(), issuer, form, signing, settings, state, any_port())?;
    Ok(provider.renewing_voucher_keys(move || {
        voucher_keys.publish().map_err(|error| ChargingError::unexpected("the voucher key", error))
    }))
}

/// A home utility's keys for vouchers, one after the other: hours pass at once here, and years in an experiment.
struct VoucherKeys {
    seed: Seed,
    office: Office,
    /// How many were made.
    made: Mutex<u32>,
}

impl VoucherKeys {
    /// Publishes the next one, if one is needed.
    fn publish(&self) -> Result<(), OfficeError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let from = now();
        if !self.office.with(|gateway, ledger| gateway.needs_voucher_key(ledger, from))? {
            return Ok(());
        }
        let party = to_bytes(&self.office.party());
        let key = self.seed.derive("voucher key", &[&party, &made.to_le_bytes()]);
        // Vouchers are valid from the beginning of the stretch of days that they are withdrawn in.
        let at = |days: i64| UnixMillis::new(from.utc_day().saturating_add(days).saturating_mul(86_400_000));
        let (before, until) = (at(-40).unwrap_or(from), at(350).unwrap_or(from));
        let key = self.office.with(|gateway, _| {
            gateway.set_voucher_key(SigningKey::from_bytes(&key.0));
            gateway.publish_voucher_key(before, until)
        });
        *made += 1;
        if let Some(key) = key {
            self.office.submit(OFFICE_LANE, key)?;
        }
        Ok(())
    }
}

fn publisher(seed: Seed, office: &Office) -> Result<Publisher, SimulateError> {
    let party = office.party();
    let publisher = Publisher::new(office.client().clone(), party, seed.signing_key(party), REGISTRY_LANE);
    Ok(publisher.map_err(ChargingError::from)?)
}

/// An operator's issuer of paper B's credentials for stations.
fn station_issuer(setup: &Setup, office: &Office, tails: TailsPlace<'_>) -> Result<Issuer, SimulateError> {
    let publisher = publisher(setup.seed, office)?;
    let first = setup.seed.did_key(office.party());
    let did = publisher.did_of(&first);
    let document = DidDocument { keys: vec![PublicKey::of(&first)], services: Vec::new() };
    publisher.publish_did(did, document, &first).map_err(ChargingError::from)?;
    let kinds = Kinds {
        schema: STATION_SCHEMA,
        attributes: &STATION_ATTRIBUTES,
        registry: u32::try_from(setup.stations + 2).unwrap_or(u32::MAX).max(64),
        term: STATION_TERM,
    };
    let given = setup.issuer_keys.as_deref().map(|keys| keys.join("station")).filter(|keys| keys.is_dir());
    let given = given.as_deref().map(GivenKey::read).transpose()?;
    Ok(Issuer::open(publisher, did, kinds, issuer_key(given.as_ref()), tails, AgentState::in_memory())?)
}

fn issuer_key(given: Option<&GivenKey>) -> IssuerKey<'_> {
    given.map_or(IssuerKey::New, |given| IssuerKey::Given {
        definition: &given.definition,
        secret: &given.secret,
        correctness: &given.correctness,
    })
}

fn operator(
    seed: Seed,
    office: &Office,
    paper: Option<(Issuer, Catalogue)>,
) -> Result<(Operator, Server), SimulateError> {
    let party = office.party();
    let publisher = publisher(seed, office)?;
    let first = seed.did_key(party);
    let did = publisher.did_of(&first);
    let issuing = StationIssuerKey::from_scalar(&seed.derive("station issuer", &[&to_bytes(&party)]).0)
        .map_err(ChargingError::from)?;
    let service = station_issuer_service(&issuing.verifying_key());
    let service: DidService = service.ok_or_else(|| setup_error("the key of stations' credentials"))?;
    let document = DidDocument { keys: vec![PublicKey::of(&first)], services: vec![service] };
    publisher.publish_did(did, document, &first).map_err(ChargingError::from)?;
    let (name, state) = (party.to_string(), AgentState::in_memory());
    let operator =
        Operator::start(office.clone(), BTreeMap::new(), &name, did, issuing, paper, state, any_port())?;
    let router = operator.router().merge(office.router());
    let server = Server::start("operator", any_port(), router, STOP_WITHIN)?;
    operator.served_at(&format!("http://{}", server.address()));
    Ok((operator, server))
}

fn station(
    setup: &Setup,
    operator: &Operator,
    index: usize,
    catalogue: Catalogue,
    tails: Arc<TailsCache>,
) -> Result<Standing, SimulateError> {
    let (seed, party) = (setup.seed, operator.party());
    let text = format!("{}*{}*E{:05}", party.country(), party.id(), index + 1);
    let evse: EvseId = text.parse().map_err(setup_error)?;
    let zone: GridZone = format!("{}-1", party.country()).parse().map_err(setup_error)?;
    let place = ShortText::new(&format!("Station {}", index + 1)).map_err(setup_error)?;
    let pace = if setup.served { Pace::RealTime } else { Pace::AtOnce };
    let power = pace.power();
    let id = TariffId::new(TARIFF).map_err(setup_error)?;
    let known = Evse { id: evse.clone(), place: place.clone(), zone: zone.clone(), tariff: id, power };
    let time_zone = time_zone(party)?;
    operator.enter(known, time_zone.clone());
    let key = seed.derive("meter key", &[evse.normalised().as_bytes()]);
    let key = MeterKey::from_bytes(&key.0).map_err(setup_error)?;
    let state = AgentState::in_memory();
    let journal = Box::new(MemoryJournal::default());
    let noise = seed.0 ^ u64::try_from(index).unwrap_or(0);
    let post = SimulatedPost::new(evse.clone(), key, noise, pace, journal, state.clone())?;
    let mishaps = post.mishaps();
    let claims = StationClaims {
        operator: party,
        evse,
        zone,
        place: place.to_string(),
        power,
        meter_key: post.meter_key().to_string(),
        meter_certified: false,
        time_zone: Some(time_zone),
    };
    let publisher = publisher(seed, operator.office())?;
    let invitation = operator.invite(&claims.evse)?;
    let station = Station::start(
        claims,
        &invitation,
        publisher.did_of(&seed.did_key(party)),
        catalogue,
        tails,
        setup.mode,
        Box::new(post),
        state,
        any_port(),
    )?;
    let station = Arc::new(station);
    let (tell, told) = channel();
    let (serving, served) = (Arc::clone(&station), setup.served);
    let thread = std::thread::Builder::new().name("station".to_owned()).spawn(move || {
        serving.serve(|outcome| {
            let outcome = outcome.map_err(|error| chain(&error));
            if served {
                // Nobody counts them.
                tracing::info!(?outcome, "simulate.visit");
            } else {
                let _ = tell.send(outcome);
            }
        });
    })?;
    Ok(Standing { station, mishaps, told, thread: Some(thread) })
}

/// What the driver of this number enters.
#[must_use]
pub fn fields(index: usize) -> BTreeMap<String, String> {
    let tiers = ["standard", "gold", "platinum", "diamond"];
    let tier = tiers.get(index % tiers.len()).copied().unwrap_or("standard");
    [
        ("name", format!("Driver {}", index + 1)),
        ("email", format!("driver{}@example.org", index + 1)),
        // The example of the registry of ISO 13616.
        ("iban", "GB29NWBK60161331926819".to_owned()),
        ("tier", tier.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
