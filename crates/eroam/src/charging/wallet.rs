//! A driver's wallet among agents: it enrols, withdraws vouchers, scans a station and charges.
//!
//! ```text
//! enrol(provider) ─► contract's credential, witness          withdraw ─► purse
//! prepare ─► a proof that waits for its nonce, made while the driver parks
//! charge(invitation): connect ─► the station proves itself ─► request ─► quote checked ─► consent
//!                     ─► proof and voucher ─► power ─► stop or end ─► receipt
//! resume: a charge that another run began ─► power ─► stop or end ─► receipt
//! ```
//! What is decided is decided in `eroam_wallet`; here is what takes a socket and a clock. A wallet that has a file
//! ([`Wallet::open`]) saves it after every change that matters, and before anybody else could know of it: the keys of
//! vouchers before these are asked for, a voucher as spent before a station sees it.
//!
//! Source: paper B, sections 4.1, 4.2 and 5.2.

mod addresses;
mod charge;
mod matching;
mod prices;
mod proof;
mod provider;
mod station;
mod vouchers;

pub use addresses::check_resolver;
pub use matching::ContractHere;
pub use prices::Estimate;

use super::ChargingError;
use super::catalogue::Catalogue;
use super::driver_price::KnownPrices;
use super::station::Mode;
use super::waiting::Patience;
use super::wallet_file::{KeptCharge, KeptContract, WalletFile};
use crate::agent::Agent;
use crate::agent::reach::Reach;
use crate::http_client::answered_within;
use crate::tails_cache::TailsCache;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::{Finished, Progress, Started, StationClaims};
use eroam_domain::voucher::{Nullifier, SpentVoucher};
use eroam_ledger::state::StateKey;
use eroam_ssi::anoncreds::{HeldCredential, LinkSecret, Prepared, WitnessState};
use eroam_ssi::didcomm::{OsRng, SigningKey};
use eroam_ssi::protocol::charging::{PROTOCOL, Said};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{CUSTOMER, STATION};
use eroam_ssi::sd_jwt::{TrustedIssuer, VerifiedStatusList};
use eroam_wallet::consent::Consent;
use eroam_wallet::purse::Purse;
use eroam_wallet::visit::ContractKind;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So old a status list may be when a proof is prepared.
const LIST_AGE: Duration = Duration::from_secs(60);

/// The driver during a charge. Whoever only agrees or not is a closure.
pub trait Attendant {
    /// Sees what is disclosed and what it costs, and says whether it may be.
    fn agrees(&mut self, consent: &Consent) -> bool;

    /// Power is on.
    fn started(&mut self, _: &Started) {}

    /// So far it is.
    fn progress(&mut self, _: &Progress) {}

    /// The station has said nothing for long: it, or the network, is gone. The charge goes on to its limits.
    fn hears_nothing(&mut self) {}

    /// Whether it shall stop now. It is asked again and again.
    fn wants_stop(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(&Consent) -> bool> Attendant for F {
    fn agrees(&mut self, consent: &Consent) -> bool {
        self(consent)
    }
}

/// A contract in the wallet.
pub struct Contract {
    /// Its number.
    pub id: ContractId,
    /// What a station is told of it.
    pub kind: ContractKind,
    credential: HeldCredential,
    witness: WitnessState,
    /// The connection to the provider, once there is one in this run.
    provider: Option<Connection>,
    provider_url: String,
    provider_key: String,
    /// The provider's rules, as far as it told them.
    prices: Option<KnownPrices>,
    /// The vouchers.
    pub purse: Purse,
}

/// What the wallet has of stations' operators.
#[derive(Default)]
struct Operators {
    issuers: HashMap<String, (TrustedIssuer, PartyId)>,
    lists: HashMap<String, (VerifiedStatusList, UnixMillis)>,
}

/// What a driver has after a charge.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its number in the wallet's file; 0 without one.
    pub number: u32,
    /// The station.
    pub station: StationClaims,
    /// The provider.
    pub emsp: PartyId,
    /// What was agreed to.
    pub spent: SpentVoucher,
    /// Since when power was on.
    pub started: Started,
    /// How it ended.
    pub finished: Finished,
}

/// How long the steps of a charge took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// From scanning to the connection.
    pub connect: Duration,
    /// The station's proof.
    pub station_proof: Duration,
    /// From scanning to power.
    pub scan_to_power: Duration,
}

impl Contract {
    fn kept(&self) -> KeptContract {
        let ContractKind { emsp, definition, registry } = self.kind.clone();
        let (provider_url, provider_key) = (self.provider_url.clone(), self.provider_key.clone());
        let prices = self.prices.clone();
        KeptContract { emsp, definition, registry, provider_url, provider_key, prices }
    }
}

/// A wallet.
pub struct Wallet {
    /// Where it is kept; `None` for one that is forgotten with the process.
    file: Option<WalletFile>,
    agent: Agent,
    catalogue: Arc<Catalogue>,
    tails: Arc<TailsCache>,
    mode: Mode,
    link_secret: LinkSecret,
    signing: SigningKey,
    /// The contracts, by number.
    pub contracts: BTreeMap<ContractId, Contract>,
    operators: Mutex<Operators>,
    http: ureq::Agent,
    patience: Patience,
    prepared: Option<(ContractId, Prepared)>,
}

impl Wallet {
    /// A new wallet that is forgotten with the process.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn new(catalogue: Arc<Catalogue>, tails: Arc<TailsCache>, mode: Mode) -> Result<Self, ChargingError> {
        let keys = (LinkSecret::random()?, SigningKey::generate(&mut OsRng));
        Self::of_keys(keys, catalogue, tails, mode, Patience::default())
    }

    /// The wallet of a file, which is saved from now on. It waits for others with `patience`.
    ///
    /// # Errors
    /// [`ChargingError::File`] and others.
    pub fn open(
        file: WalletFile,
        tails: Arc<TailsCache>,
        mode: Mode,
        patience: Patience,
    ) -> Result<Self, ChargingError> {
        let network = file.network()?;
        let catalogue = Catalogue::new(&network.resolver, network.trust()?).patient_for(patience.within());
        let catalogue = catalogue.from_height(file.newest_block()?);
        let mut wallet = Self::of_keys(file.keys()?, Arc::new(catalogue), tails, mode, patience)?;
        for id in file.contracts()? {
            let kept = file.contract(&id)?;
            let (credential, witness) = file.credential(&id)?;
            let contract = Contract {
                id,
                kind: kept.kind(),
                credential,
                witness,
                provider: None,
                provider_url: kept.provider_url,
                provider_key: kept.provider_key,
                prices: kept.prices,
                purse: file.purse(&id)?,
            };
            wallet.contracts.insert(id, contract);
        }
        wallet.file = Some(file);
        Ok(wallet)
    }

    /// The same wallet, answered by stations and providers elsewhere: without this, only those on the same machine can. Before
    /// it talks to anybody; those that it has talked to know the place before.
    ///
    /// # Errors
    /// [`ChargingError::Agent`]: it cannot listen there.
    pub fn reached(self, reach: &Reach) -> Result<Self, ChargingError> {
        Ok(Self { agent: agent(reach, &self.patience)?, ..self })
    }

    /// Where it listens for answers.
    #[must_use]
    pub const fn agent_address(&self) -> SocketAddr {
        self.agent.address()
    }

    /// Its file, closed to this wallet.
    #[must_use]
    pub fn into_file(self) -> Option<WalletFile> {
        self.file
    }

    /// Makes everything durable.
    fn save(&mut self) -> Result<(), ChargingError> {
        let Self { file, contracts, catalogue, .. } = self;
        let Some(file) = file else { return Ok(()) };
        file.put_newest_block(catalogue.height())?;
        for contract in contracts.values() {
            let Contract { id, credential, witness, purse, .. } = contract;
            file.put_contract(id, &contract.kept(), credential, witness, purse)?;
        }
        Ok(file.save()?)
    }

    /// Makes durable how far a charge is, with everything else.
    fn keep(&mut self, charge: &KeptCharge) -> Result<(), ChargingError> {
        if let Some(file) = &mut self.file {
            file.put_charge(charge)?;
        }
        self.save()
    }

    fn of_keys(
        (link_secret, signing): (LinkSecret, SigningKey),
        catalogue: Arc<Catalogue>,
        tails: Arc<TailsCache>,
        mode: Mode,
        patience: Patience,
    ) -> Result<Self, ChargingError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let agent = agent(&any.into(), &patience)?;
        let http = answered_within(patience.within()).http_status_as_error(false).build();
        let http = ureq::Agent::new_with_config(http);
        Ok(Self {
            file: None,
            agent,
            catalogue,
            tails,
            mode,
            link_secret,
            signing,
            contracts: BTreeMap::new(),
            operators: Mutex::default(),
            http,
            patience,
            prepared: None,
        })
    }

    fn contract(&mut self, id: &ContractId) -> Result<&mut Contract, ChargingError> {
        let missing = || ChargingError::unexpected("the contract", id);
        self.contracts.get_mut(id).ok_or_else(missing)
    }

    /// Whom it waits for that looks something up in the ledger.
    fn resolver(&self) -> String {
        format!("the resolver at {}", self.catalogue.url())
    }

    /// The ledger's proof of what became of a voucher, as `eroam verify` reads it.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn voucher_proof(&self, emsp: PartyId, nullifier: Nullifier) -> Result<String, ChargingError> {
        Ok(self.catalogue.proof(&StateKey::Voucher(emsp, nullifier), &nullifier.to_string())?)
    }

    /// How it waits for others.
    #[must_use]
    pub const fn patience(&self) -> &Patience {
        &self.patience
    }

    /// The ledger as this wallet sees it.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The network that this wallet is of.
    #[must_use]
    pub fn network(&self) -> Digest {
        self.catalogue.network()
    }
}

/// What talks to stations and providers, and is answered by them.
fn agent(reach: &Reach, patience: &Patience) -> Result<Agent, ChargingError> {
    let agent = Agent::start_reached("wallet", reach)?;
    let agent = agent.speaking(PROTOCOL).speaking(CUSTOMER).speaking(STATION);
    Ok(agent.patient_for(patience.within()))
}

/// Reads what a station's QR code says, or a link to it.
///
/// # Errors
/// [`ChargingError::NoCode`].
pub fn read_code(text: &str) -> Result<Invitation, ChargingError> {
    Invitation::from_url(text.trim()).map_err(ChargingError::NoCode)
}

/// Status and text of an answer, which may be an error.
fn text(mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, String), ureq::Error> {
    let text = answer.body_mut().with_config().limit(1 << 20).read_to_string()?;
    Ok((answer.status().as_u16(), text))
}

/// Why there is no charge, when a station says something else than what comes next.
fn refused(said: Said) -> ChargingError {
    match said {
        Said::Denied(denied) => ChargingError::Denied(denied),
        other => ChargingError::unexpected("the station's answer", other.name()),
    }
}
