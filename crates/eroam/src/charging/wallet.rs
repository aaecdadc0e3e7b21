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

use super::ChargingError;
use super::catalogue::{Catalogue, CatalogueError};
use super::mandate;
use super::operator::{STATION_VCT, station_issuer_key};
use super::paper;
use super::provider::{Registered, Registration, RegistrationForm, Rejected, contract_digest};
use super::proving::{self, STEP_WITHIN};
use super::station::{Mode, SD_JWT, SD_JWT_REQUEST, StationDemand};
use super::taking::{Taken, Taking};
use super::wallet_file::{ChargeStage, KeptCharge, KeptContract, Resumption, WalletFile};
use crate::agent::{Agent, AgentError, new_id};
use crate::clock::{in_time, is_younger, now};
use crate::tails_cache::TailsCache;
use eroam_domain::charge::Denial;
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::{ContractId, EroamDid, PartyId};
use eroam_domain::money::Money;
use eroam_domain::time::{CivilMonth, UnixMillis};
use eroam_domain::visit::{ChargeLimits, Finished, Progress, Started, StationClaims};
use eroam_domain::voucher::{Nullifier, SpentVoucher};
use eroam_ledger::registry::DidRecord;
use eroam_ledger::state::StateKey;
use eroam_ledger::voucher::VoucherState;
use eroam_ssi::anoncreds::{
    HeldCredential, LinkSecret, Nonce, ObjectId, Prepared, ProofRequest, Selection, WitnessState, prepared,
};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{MessageId, OsRng, SigningKey};
use eroam_ssi::protocol::Illegal;
use eroam_ssi::protocol::charging::{
    PROTOCOL, Resume, Resumed, Said, Side, Visit, contract_request, resume_digest,
};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::present_proof::{ANONCREDS_PROOF, ANONCREDS_REQUEST};
use eroam_ssi::protocol::problem_report;
use eroam_ssi::protocol::questions::{
    self, BillSoFar, BilledCharge, CUSTOMER, Rejoin, Rejoined, Rejoining, STATION, Withdrawal, rejoin_digest,
};
use eroam_ssi::sd_jwt::{Demand, PresentedSdJwt, TrustedIssuer, VerifiedStatusList, WithoutStatus};
use eroam_wallet::consent::Consent;
use eroam_wallet::purse::Purse;
use eroam_wallet::visit::{ContractKind, Offer, VisitError, plan};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So old a status list may be when a proof is prepared.
const LIST_AGE: Duration = Duration::from_secs(60);
/// So long an answer to a nonce of ours is good.
const STATION_PROOF_FOR: Duration = Duration::from_secs(60);
/// So long a visit may take.
const VISIT_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// How long a charge is waited for at a time.
const CHARGE_WITHIN: Duration = Duration::from_secs(86_400);
/// So often a charge is looked up from, to see whether the driver wants it off.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(200);

/// The driver during a charge. Whoever only agrees or not is a closure.
pub trait Attendant {
    /// Sees what is disclosed and what it costs, and says whether it may be.
    fn agrees(&mut self, consent: &Consent) -> bool;

    /// Power is on.
    fn started(&mut self, _: &Started) {}

    /// So far it is.
    fn progress(&mut self, _: &Progress) {}

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

/// A station that is visited.
#[derive(Clone, Copy)]
struct Visited<'a> {
    connection: &'a Connection,
    invitation: &'a Invitation,
    scanned: Instant,
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
        KeptContract { emsp, definition, registry, provider_url, provider_key }
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
    prepared: Option<(ContractId, Prepared)>,
}

impl Wallet {
    /// A new wallet that is forgotten with the process.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn new(catalogue: Arc<Catalogue>, tails: Arc<TailsCache>, mode: Mode) -> Result<Self, ChargingError> {
        let keys = (LinkSecret::random()?, SigningKey::generate(&mut OsRng));
        Self::of_keys(keys, catalogue, tails, mode)
    }

    /// The wallet of a file, which is saved from now on.
    ///
    /// # Errors
    /// [`ChargingError::File`] and others.
    pub fn open(file: WalletFile, tails: Arc<TailsCache>, mode: Mode) -> Result<Self, ChargingError> {
        let network = file.network()?;
        let catalogue = Arc::new(Catalogue::new(&network.resolver, network.trust()?));
        let mut wallet = Self::of_keys(file.keys()?, catalogue, tails, mode)?;
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
                purse: file.purse(&id)?,
            };
            wallet.contracts.insert(id, contract);
        }
        wallet.file = Some(file);
        Ok(wallet)
    }

    /// Its file, closed to this wallet.
    #[must_use]
    pub fn into_file(self) -> Option<WalletFile> {
        self.file
    }

    /// Makes everything durable.
    fn save(&mut self) -> Result<(), ChargingError> {
        let Self { file, contracts, .. } = self;
        let Some(file) = file else { return Ok(()) };
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
    ) -> Result<Self, ChargingError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let agent = Agent::start("wallet", any)?.speaking(PROTOCOL).speaking(CUSTOMER).speaking(STATION);
        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .timeout_global(Some(STEP_WITHIN))
                .max_redirects(0)
                .http_status_as_error(false)
                .build(),
        );
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
            prepared: None,
        })
    }

    fn text(&self, mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, String), ChargingError> {
        let text = answer.body_mut().with_config().limit(1 << 20).read_to_string();
        let text = text.map_err(|error| ChargingError::unexpected("an answer", error))?;
        Ok((answer.status().as_u16(), text))
    }

    /// What the provider at `url` wants to know, and its terms.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn form(&self, url: &str) -> Result<RegistrationForm, ChargingError> {
        let get = |error: ureq::Error| ChargingError::unexpected("the provider's form", error);
        let (_, text) = self.text(self.http.get(format!("{url}/enrol/form")).call().map_err(get)?)?;
        serde_json::from_str(&text).map_err(|error| ChargingError::unexpected("the provider's form", error))
    }

    /// Enrols with the provider at `url`: fills its form, signs the terms, connects and takes the credential.
    ///
    /// # Errors
    /// [`ChargingError`]; what the provider finds wrong with the fields is in its words.
    pub fn enrol(
        &mut self,
        url: &str,
        fields: &BTreeMap<String, String>,
    ) -> Result<ContractId, ChargingError> {
        let form = self.form(url)?;
        let digest = contract_digest(&form, fields, None);
        let registration = Registration {
            fields: fields.clone(),
            signer: self.signing.verification_key().to_did_key().to_string(),
            signature: SignatureBytes(self.signing.sign(&digest.0)),
            attached: None,
        };
        let body = serde_json::to_vec(&registration)
            .map_err(|error| ChargingError::unexpected("the registration", error))?;
        let sent = self
            .http
            .post(format!("{url}{}", form.endpoint))
            .header("Content-Type", "application/json")
            .send(&body[..])
            .map_err(|error| ChargingError::unexpected("the registration", error))?;
        let (status, text) = self.text(sent)?;
        if status != 200 {
            let reasons = serde_json::from_str::<Rejected>(&text).map(|rejected| rejected.reasons);
            let reasons = reasons.unwrap_or_default().into_iter();
            let reasons: Vec<String> = reasons.map(|(name, reason)| format!("{name} {reason}")).collect();
            return Err(ChargingError::unexpected("the registration", reasons.join("; ")));
        }
        let registered: Registered = serde_json::from_str(&text)
            .map_err(|error| ChargingError::unexpected("the provider's answer", error))?;
        let provider_key = VerificationKey::from_did_key(&registered.signer);
        let countersigned = provider_key.is_ok_and(|key| key.verifies(&digest.0, &registered.signature.0));
        if !countersigned {
            return Err(ChargingError::unexpected("the contract", "the provider did not sign it"));
        }
        let invitation = Invitation::from_url(&registered.invitation)?;
        let connection = self.agent.connect(&invitation, STEP_WITHIN)?;
        self.sign_connection(&connection, &registered.contract, &registered.signer)?;
        let provider = (connection, url.to_owned(), registered.signer);
        self.take_contract(registered.contract, form.provider, provider)?;
        self.save()?;
        Ok(registered.contract)
    }

    fn take_contract(
        &mut self,
        id: ContractId,
        emsp: PartyId,
        (provider, provider_url, provider_key): (Connection, String, String),
    ) -> Result<(), ChargingError> {
        let Self { agent, catalogue, tails, link_secret, .. } = self;
        let taking = Taking { agent, connection: &provider, catalogue, tails, link_secret };
        let taken = taking.take("the contract", |id, definition| {
            // Only the provider's contracts, as the ledger says who it is, and who may issue in its name.
            let did: EroamDid = definition
                .issuer_id()
                .as_str()
                .parse()
                .map_err(|error| ChargingError::unexpected("the issuer of the contract", error))?;
            let record: DidRecord = catalogue.entry(&StateKey::Did(did), &did.to_string())?;
            if mandate::issues_for(catalogue, emsp, record.member, id)? {
                Ok(())
            } else {
                Err(ChargingError::unexpected("the issuer of the contract", record.member))
            }
        })?;
        let Taken { credential, witness, definition, registry } = taken;
        let parse = |error| ChargingError::unexpected("the contract's objects", error);
        let kind = ContractKind {
            emsp,
            definition: definition.as_str().parse().map_err(parse)?,
            registry: registry.as_str().parse().map_err(parse)?,
        };
        let purse = Purse::new();
        let provider = Some(provider);
        let contract =
            Contract { id, kind, credential, witness, provider, provider_url, provider_key, purse };
        self.contracts.insert(id, contract);
        Ok(())
    }

    fn contract(&mut self, id: &ContractId) -> Result<&mut Contract, ChargingError> {
        let missing = || ChargingError::unexpected("the contract", id);
        self.contracts.get_mut(id).ok_or_else(missing)
    }

    /// The connection to a contract's provider: the one of this run, or a new one that both sides sign.
    fn provider(&mut self, id: &ContractId) -> Result<Connection, ChargingError> {
        let contract = self.contract(id)?;
        if let Some(connection) = &contract.provider {
            return Ok(connection.clone());
        }
        let (url, key) = (contract.provider_url.clone(), contract.provider_key.clone());
        let wrong = |error: ureq::Error| ChargingError::unexpected("the provider's invitation", error);
        let (status, text) = self.text(self.http.get(format!("{url}/enrol/again")).call().map_err(wrong)?)?;
        if status != 200 {
            return Err(ChargingError::unexpected("the provider's invitation", status));
        }
        let connection = self.agent.connect(&Invitation::from_url(text.trim())?, STEP_WITHIN)?;
        self.sign_connection(&connection, id, &key)?;
        self.contract(id)?.provider = Some(connection.clone());
        Ok(connection)
    }

    /// Shows the provider that the contract is ours, and sees that it is the one that signed it, with `provider_key`: by
    /// signatures over this very connection.
    fn sign_connection(
        &self,
        connection: &Connection,
        id: &ContractId,
        provider_key: &str,
    ) -> Result<(), ChargingError> {
        let channel = connection.channel();
        let digest = |who| rejoin_digest(who, id, &channel.ours, &channel.theirs);
        let signature = SignatureBytes(self.signing.sign(&digest(Rejoining::Customer).0));
        let question = Rejoin { contract: *id, signature };
        let Rejoined { signature } = proving::question(&self.agent, connection, &question)?;
        let known = VerificationKey::from_did_key(provider_key);
        if known.is_ok_and(|key| key.verifies(&digest(Rejoining::Provider).0, &signature.0)) {
            return Ok(());
        }
        Err(ChargingError::unexpected("the provider", "it is not the one that signed your contract"))
    }

    /// What is on the bill of a month so far.
    ///
    /// # Errors
    /// [`ChargingError`], among them the provider's denial.
    pub fn bill(&mut self, id: &ContractId, month: CivilMonth) -> Result<Vec<BilledCharge>, ChargingError> {
        let provider = self.provider(id)?;
        proving::question(&self.agent, &provider, &BillSoFar { month })
    }

    /// Forgets the vouchers that the ledger knows already: those that were spent after a backup was made that is in use
    /// now. Gives how many.
    ///
    /// # Errors
    /// [`ChargingError::Catalogue`]: then none is forgotten.
    pub fn forget_spent(&mut self) -> Result<usize, ChargingError> {
        let mut spent = Vec::new();
        for contract in self.contracts.values() {
            for signed in contract.purse.vouchers() {
                let nullifier = signed.voucher.nullifier();
                let key = StateKey::Voucher(contract.kind.emsp, nullifier);
                match self.catalogue.entry::<VoucherState>(&key, &nullifier.to_string()) {
                    Ok(_) => spent.push((contract.id, nullifier)),
                    Err(CatalogueError::None(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for (id, nullifier) in &spent {
            self.contract(id)?.purse.forget(*nullifier);
        }
        if let Some(file) = &mut self.file {
            file.looked_up();
        }
        self.save()?;
        Ok(spent.len())
    }

    /// Looks spent vouchers up if this wallet was brought back from a backup: shown twice, one would be refused in front of
    /// the station.
    fn look_up_if_restored(&mut self) -> Result<(), ChargingError> {
        if self.file.as_ref().is_some_and(WalletFile::is_restored) {
            self.forget_spent()?;
        }
        Ok(())
    }

    /// Withdraws vouchers, valid from a UTC day on. What was asked for before and did not come is asked for again.
    ///
    /// # Errors
    /// [`ChargingError`], among them the provider's denial.
    pub fn withdraw(&mut self, id: &ContractId, count: usize, day: i64) -> Result<usize, ChargingError> {
        let network = self.catalogue.network();
        let contract = self.contract(id)?;
        let waiting: Vec<_> = contract.purse.under_way().collect();
        let keys = if waiting.is_empty() { contract.purse.withdraw(count, &mut OsRng)? } else { waiting };
        let emsp = contract.kind.emsp;
        // Whatever becomes of the answer: what the provider signs for can be had.
        self.save()?;
        let provider = self.provider(id)?;
        let mut keys = keys;
        let given = loop {
            let asked = Withdrawal { day, keys: keys.clone() };
            match proving::question(&self.agent, &provider, &asked) {
                // What is left of the day's limit may pay for some of them. The other keys wait for another day.
                Err(ChargingError::Denied(denied))
                    if denied.denial == Denial::DailyLimit && keys.len() > 1 =>
                {
                    keys.truncate(keys.len() / 2);
                }
                given => break given?,
            }
        };
        let catalogue = Arc::clone(&self.catalogue);
        let contract = self.contract(id)?;
        for signed in &given {
            let key = catalogue.voucher_key(emsp, signed.voucher.key)?;
            contract.purse.deposit(*signed, network, emsp, &key, now())?;
        }
        self.save()?;
        Ok(given.len())
    }

    /// Withdraws vouchers if none pays `amount` now.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn renew(&mut self, id: &ContractId, amount: Money, count: usize) -> Result<(), ChargingError> {
        self.look_up_if_restored()?;
        let at = now();
        let purse = &mut self.contract(id)?.purse;
        purse.forget_over(at);
        if purse.choose(at, amount.micros).is_none() {
            self.withdraw(id, count, at.utc_day())?;
        }
        Ok(())
    }

    /// The request that any station will make of this contract, with whatever nonce.
    fn expected_request(&self, id: &ContractId, age: Duration) -> Result<ProofRequest, ChargingError> {
        let missing = || ChargingError::unexpected("the contract", id);
        let contract = self.contracts.get(id).ok_or_else(missing)?;
        let registry = ObjectId::new(contract.kind.registry.to_string())?;
        let newest = self.catalogue.newest_list(&registry, age)?.timestamp();
        let nonce = Nonce::from_bytes([0; 10])?;
        Ok(contract_request(contract.credential.cred_def_id(), self.mode.demand(), newest, nonce)?)
    }

    /// Prepares the next proof of a contract, before a station is known.
    ///
    /// # Errors
    /// [`ChargingError`], among them that the contract was revoked.
    pub fn prepare(&mut self, id: &ContractId) -> Result<(), ChargingError> {
        let request = self.expected_request(id, LIST_AGE)?;
        let made = self.make(id, &request, LIST_AGE)?;
        self.prepared = Some((*id, made));
        Ok(())
    }

    /// Makes a proof for a request, against the newest list that is known since `age`.
    fn make(
        &mut self,
        id: &ContractId,
        request: &ProofRequest,
        age: Duration,
    ) -> Result<Prepared, ChargingError> {
        let Self { contracts, link_secret, catalogue, tails, .. } = self;
        let missing = || ChargingError::unexpected("the contract", id);
        let contract = contracts.get_mut(id).ok_or_else(missing)?;
        let registry_id = ObjectId::new(contract.kind.registry.to_string())?;
        let list = catalogue.newest_list(&registry_id, age)?;
        if list.timestamp() != contract.witness.timestamp() {
            let registry = catalogue.registry(&registry_id)?;
            contract.witness.move_to(&list, &registry, &tails.tails(&registry)?)?;
        }
        if contract.witness.is_revoked() {
            return Err(ChargingError::ContractRevoked);
        }
        let known = catalogue.known(contract.credential.cred_def_id(), Some(&registry_id), age)?;
        let selection =
            Selection::choose(request, [(&contract.credential, Some(&contract.witness))], &known)?;
        Ok(prepared::prepare(request, &selection, link_secret, &known)?)
    }

    /// Looks whose station an invitation leads to, and whether it is genuine, and goes away.
    ///
    /// # Errors
    /// [`ChargingError`], with a sentence for the driver.
    pub fn scan(&self, invitation: &Invitation) -> Result<StationClaims, ChargingError> {
        let connection = self.agent.connect(invitation, STEP_WITHIN).map_err(ChargingError::of_scan)?;
        let station = self.check_station(&connection);
        // Others may be waiting behind us.
        let farewell = problem_report::farewell(new_id(), "only looking");
        let _ = self.agent.send(&connection, &farewell);
        self.agent.forget(&connection);
        station
    }

    /// Charges at the station of an invitation, up to `allowed`.
    ///
    /// # Errors
    /// [`ChargingError`], with a sentence for the driver.
    pub fn charge(
        &mut self,
        id: &ContractId,
        invitation: &Invitation,
        limits: ChargeLimits,
        allowed: Money,
        driver: &mut dyn Attendant,
        timings: &mut Timings,
    ) -> Result<Receipt, ChargingError> {
        let scanned = Instant::now();
        let connection = self.agent.connect(invitation, STEP_WITHIN).map_err(ChargingError::of_scan)?;
        timings.connect = scanned.elapsed();
        let visit = Visited { connection: &connection, invitation, scanned };
        let charged = self.visit(id, visit, limits, allowed, driver, timings);
        self.agent.forget(&connection);
        charged
    }

    fn visit(
        &mut self,
        id: &ContractId,
        Visited { connection, invitation, scanned }: Visited<'_>,
        limits: ChargeLimits,
        allowed: Money,
        driver: &mut dyn Attendant,
        timings: &mut Timings,
    ) -> Result<Receipt, ChargingError> {
        let station = self.check_station(connection)?;
        timings.station_proof = scanned.elapsed() - timings.connect;
        let contract = self.contract(id)?;
        let kind = contract.kind.clone();
        let planned = plan(station.clone(), &kind, &contract.purse, limits, allowed, now())?;
        let deadline = in_time(VISIT_WITHIN);
        let (visit, message) =
            Visit::ask(connection.channel(), planned.request().clone(), new_id(), deadline)?;
        self.agent.send(connection, &message)?;
        let (visit, said) = self.hear(connection, &visit, STEP_WITHIN)?;
        let Said::Quote(offered) = said else { return Err(refused(said)) };
        let theirs = connection.channel().theirs.to_multikey();
        let offer = match planned.check(offered, &theirs, now()) {
            Ok(offer) => offer,
            Err(error) => {
                self.withdraw_from(connection, &visit);
                return Err(error.into());
            }
        };
        if let Err(error) = self.prove(connection, id, &visit, &offer, driver) {
            self.withdraw_from(connection, &visit);
            return Err(error);
        }
        let spent = offer.agree(&mut self.contract(id)?.purse, now())?;
        let mut charge = KeptCharge {
            number: self.file.as_ref().map_or(0, WalletFile::next_charge),
            contract: *id,
            emsp: kind.emsp,
            station: station.clone(),
            spent,
            progress: ChargeStage::Agreed,
        };
        self.can_resume(charge.number, invitation, connection, &visit)?;
        // On the disk before the station sees it: whatever happens now, this voucher is not shown again.
        if let Err(error) = self.keep(&charge) {
            self.withdraw_from(connection, &visit);
            return Err(error);
        }
        let begun = self.begin(connection, &visit, spent);
        let (visit, started) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if let ChargingError::Denied(denied) = &error {
                    charge.progress = ChargeStage::NotStarted { reason: denied.reason.clone() };
                    self.forget_resumption(charge.number)?;
                    self.keep(&charge)?;
                }
                return Err(error);
            }
        };
        timings.scan_to_power = scanned.elapsed();
        charge.progress = ChargeStage::Started { started };
        self.keep(&charge)?;
        driver.started(&started);
        let finished = self.see_through(connection, visit, driver)?;
        self.finish(&mut charge, started, finished.clone())?;
        Ok(Receipt { number: charge.number, station, emsp: kind.emsp, spent, started, finished })
    }

    fn finish(
        &mut self,
        charge: &mut KeptCharge,
        started: Started,
        finished: Finished,
    ) -> Result<(), ChargingError> {
        charge.progress = ChargeStage::Finished { started, finished };
        self.forget_resumption(charge.number)?;
        self.keep(charge)
    }

    /// Notes, to be saved, what takes a charge up again if this process ends before it.
    fn can_resume(
        &mut self,
        number: u32,
        invitation: &Invitation,
        connection: &Connection,
        visit: &Visit,
    ) -> Result<(), ChargingError> {
        let Self { file: Some(file), agent, .. } = self else { return Ok(()) };
        let resumption = Resumption {
            invitation: invitation.to_url(agent.endpoint()),
            visit: visit.conversation().thread().as_str().to_owned(),
            connection: agent.keep_connection(connection)?,
        };
        Ok(file.put_resumption(number, Some(&resumption))?)
    }

    fn forget_resumption(&mut self, number: u32) -> Result<(), ChargingError> {
        Ok(self.file.as_mut().map_or(Ok(()), |file| file.put_resumption(number, None))?)
    }

    /// Takes a charge up again that another run of this wallet began and whose end it has not heard: the newest, or that of
    /// a number. Goes on until its end, as [`Wallet::charge`] does.
    ///
    /// # Errors
    /// [`ChargingError::NothingToResume`], [`ChargingError::NotUnderWay`] and others; the charge can be taken up again.
    pub fn resume(
        &mut self,
        number: Option<u32>,
        driver: &mut dyn Attendant,
    ) -> Result<Receipt, ChargingError> {
        let kept = self.file.as_ref().map(|file| file.resumable(number)).transpose()?.flatten();
        let (charge, resumption) = kept.ok_or(ChargingError::NothingToResume)?;
        let invitation = read_code(&resumption.invitation)?;
        let connection = self.agent.connect(&invitation, STEP_WITHIN).map_err(ChargingError::of_scan)?;
        let resumed = self.resume_at(&connection, charge, resumption, driver);
        self.agent.forget(&connection);
        resumed
    }

    fn resume_at(
        &mut self,
        connection: &Connection,
        mut charge: KeptCharge,
        resumption: Resumption,
        driver: &mut dyn Attendant,
    ) -> Result<Receipt, ChargingError> {
        let station = self.check_station(connection)?;
        if station.evse != charge.station.evse || station.operator != charge.station.operator {
            return Err(ChargingError::unexpected("the station", "the code leads to another one now"));
        }
        let before = self.agent.take_up_connection(&resumption.connection)?;
        let visit = MessageId::parse(&resumption.visit)
            .ok_or_else(|| ChargingError::unexpected("the charge that is kept", "its thread"))?;
        let (old, new) = (before.channel(), connection.channel());
        let digest = resume_digest(&visit, [&old.ours, &old.theirs], [&new.ours, &new.theirs]);
        let signature = self.agent.sign(&before, &digest)?;
        self.agent.forget(&before);
        let thread = new_id();
        let question = Resume { visit: resumption.visit, signature };
        let message = questions::ask(&question, thread.clone(), in_time(STEP_WITHIN))?;
        self.agent.send(connection, &message)?;
        let (started, finished) = match proving::answer_to::<Resume>(&self.agent, connection, &thread)? {
            Resumed::Unknown {} => return Err(ChargingError::NotUnderWay),
            Resumed::Finished { started, finished } => (started, finished),
            Resumed::Charging { started } => {
                charge.progress = ChargeStage::Started { started };
                self.keep(&charge)?;
                driver.started(&started);
                let channel = connection.channel();
                let visit = Visit::taken_up(Side::Driver, channel, thread, in_time(VISIT_WITHIN));
                (started, self.see_through(connection, visit, driver)?)
            }
        };
        self.finish(&mut charge, started, finished.clone())?;
        let KeptCharge { number, station, emsp, spent, .. } = charge;
        Ok(Receipt { number, station, emsp, spent, started, finished })
    }

    /// Shows the voucher and waits for power.
    fn begin(
        &self,
        connection: &Connection,
        visit: &Visit,
        spent: SpentVoucher,
    ) -> Result<(Visit, Started), ChargingError> {
        let (visit, message) = visit.say(&Said::Accept(spent), new_id(), now())?;
        self.agent.send(connection, &message)?;
        match self.hear(connection, &visit, STEP_WITHIN)? {
            (visit, Said::Started(started)) => Ok((visit, started)),
            (_, said) => Err(refused(said)),
        }
    }

    /// Listens until the charge is over, and stops it when the driver wants.
    fn see_through(
        &self,
        connection: &Connection,
        mut visit: Visit,
        driver: &mut dyn Attendant,
    ) -> Result<Finished, ChargingError> {
        let (until, mut is_stopping) = (Instant::now() + CHARGE_WITHIN, false);
        loop {
            if !is_stopping && driver.wants_stop() {
                let (next, message) = visit.say(&Said::Stop, new_id(), now())?;
                // A station that does not hear it may have ended the charge just now: that is said next.
                if self.agent.send(connection, &message).is_ok() {
                    (visit, is_stopping) = (next, true);
                }
            }
            match self.hear(connection, &visit, LOOKS_UP_EVERY) {
                Ok((_, Said::Finished(finished))) => return Ok(finished),
                Ok((next, Said::Progress(progress))) => {
                    visit = next;
                    driver.progress(&progress);
                }
                Ok((_, other)) => return Err(refused(other)),
                Err(ChargingError::Agent(AgentError::Silence { .. })) if Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the station prove that its operator vouches for it, and that it was not revoked.
    fn check_station(&self, connection: &Connection) -> Result<StationClaims, ChargingError> {
        if self.mode == Mode::Paper {
            return paper::ask_station(&self.agent, connection, &self.catalogue);
        }
        let nonce = Nonce::random()?.as_decimal().to_owned();
        let demand = StationDemand { nonce: nonce.clone(), vct: STATION_VCT.to_owned() };
        let asked = serde_json::to_vec(&demand)
            .map_err(|error| ChargingError::unexpected("a request for the station's credential", error))?;
        let awaited = proving::ask_proof(&self.agent, connection, SD_JWT_REQUEST, asked)?;
        let shown = awaited.shown(&self.agent, connection, SD_JWT);
        let shown = shown.map_err(ChargingError::of_station_silence)?;
        let shown = String::from_utf8(shown)
            .map_err(|error| ChargingError::unexpected("the station's credential", error))?;
        let presented = PresentedSdJwt::parse(&shown).map_err(ChargingError::Station)?;
        let (issuer, operator) = self.operator(presented.claimed_issuer())?;
        let status = presented.claimed_status().map(|status| status.uri.clone());
        let lists: Vec<_> =
            status.map(|uri| self.status_list(&uri, &issuer)).transpose()?.into_iter().collect();
        let audience = connection.channel().ours.to_multikey();
        let demand = Demand {
            vct: STATION_VCT,
            audience: &audience,
            nonce: &nonce,
            fresh_for: STATION_PROOF_FOR,
            status_lists: &lists,
            without_status: WithoutStatus::Refused,
        };
        let verified = presented.verify(&issuer, &demand, now()).map_err(ChargingError::of_station)?;
        let claims = serde_json::Value::Object(verified.claims().clone());
        let claims: StationClaims = serde_json::from_value(claims)
            .map_err(|error| ChargingError::unexpected("the station's credential", error))?;
        if claims.operator != operator {
            return Err(ChargingError::unexpected("the station's operator", claims.operator));
        }
        Ok(claims)
    }

    /// The key with which an operator's stations are vouched for, as the ledger says.
    fn operator(&self, did: &str) -> Result<(TrustedIssuer, PartyId), ChargingError> {
        let known = self.operators.lock().unwrap_or_else(PoisonError::into_inner).issuers.get(did).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed: EroamDid =
            did.parse().map_err(|error| ChargingError::unexpected("the station's operator", error))?;
        let record = self.catalogue.entry::<DidRecord>(&StateKey::Did(parsed), did);
        let record = record.map_err(|error| match error {
            CatalogueError::None(_) => ChargingError::ForeignStation(error),
            error => error.into(),
        })?;
        let issuer = station_issuer_key(&record.document.services)
            .and_then(|key| TrustedIssuer::new(did, key))
            .ok_or_else(|| {
                ChargingError::unexpected("the station's operator", "it vouches for no stations")
            })?;
        let found = (issuer, record.member);
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.issuers.insert(did.to_owned(), found.clone());
        Ok(found)
    }

    /// An operator's list of revoked stations.
    fn status_list(&self, uri: &str, issuer: &TrustedIssuer) -> Result<VerifiedStatusList, ChargingError> {
        {
            let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((list, at)) = operators.lists.get(uri)
                && is_younger(*at, LIST_AGE)
            {
                return Ok(list.clone());
            }
        }
        let sent = self.http.get(uri).call();
        let sent = sent.map_err(|error| ChargingError::unexpected("the list of revoked stations", error))?;
        let (status, text) = self.text(sent)?;
        if status != 200 {
            return Err(ChargingError::unexpected("the list of revoked stations", status));
        }
        let list = VerifiedStatusList::verify(&text, issuer, uri, UnixMillis::EPOCH, now())?;
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.lists.insert(uri.to_owned(), (list.clone(), now()));
        Ok(list)
    }

    /// Answers the station's request for a proof, once the driver agrees.
    fn prove(
        &mut self,
        connection: &Connection,
        id: &ContractId,
        visit: &Visit,
        offer: &Offer,
        driver: &mut dyn Attendant,
    ) -> Result<(), ChargingError> {
        let mut again = false;
        loop {
            let thread = visit.conversation().thread();
            let asked =
                match proving::asked_proof_or_told(&self.agent, connection, ANONCREDS_REQUEST, thread)? {
                    Ok(asked) => asked,
                    Err(told) => {
                        let heard = visit.hear(&told, now());
                        return Err(refused(self.agent.drive(connection, &told, heard)?.1));
                    }
                };
            let request = ProofRequest::from_json(&asked.request)?;
            // What everybody asks of this contract, bound to this offer: anything else is a trap.
            let expected = self.expected_request(id, LIST_AGE)?.with_nonce(Nonce::from_bytes(offer.nonce())?);
            if *request.nonce() != *expected.nonce() || !is_the_same_but_for_lists(&request, &expected) {
                asked.decline(&self.agent, connection, "this is not what a station may ask")?;
                return Err(ChargingError::unexpected("the station's request", "it asks for something else"));
            }
            if !again {
                let missing = || ChargingError::unexpected("the contract", id);
                let contract = self.contracts.get(id).ok_or_else(missing)?;
                if !driver.agrees(&Consent::of(offer, &request, &contract.credential)) {
                    asked.decline(&self.agent, connection, "the driver does not agree")?;
                    return Err(Denial::QuoteRefused.into());
                }
            }
            let ready = self.prepared.take().filter(|(of, ready)| of == id && ready.fits(&request));
            let ready = match ready {
                Some((_, ready)) => Some(ready),
                None => match self.answer_to(id, &request) {
                    Ok(ready) => ready,
                    Err(error) => {
                        asked.decline(&self.agent, connection, "the contract cannot be shown")?;
                        return Err(error);
                    }
                },
            };
            match ready {
                Some(ready) => {
                    let shown = ready.answer(&request)?;
                    return match asked.show(&self.agent, connection, ANONCREDS_PROOF, shown.to_json()) {
                        // The driver took too long to agree.
                        Err(ChargingError::Illegal(Illegal::Expired { .. })) => {
                            Err(VisitError::Expired.into())
                        }
                        sent => sent,
                    };
                }
                None if !again => {
                    asked.decline(&self.agent, connection, "the provider has a newer list")?;
                    again = true;
                }
                None => {
                    asked.decline(&self.agent, connection, "the provider has a newer list")?;
                    return Err(Denial::StaleProof.into());
                }
            }
        }
    }

    /// Makes a proof for a request now; `None` when the station asks for an older list than the newest.
    fn answer_to(
        &mut self,
        id: &ContractId,
        request: &ProofRequest,
    ) -> Result<Option<Prepared>, ChargingError> {
        for age in [LIST_AGE, Duration::ZERO] {
            let newest = self.expected_request(id, age)?;
            if newest.non_revoked() == request.non_revoked() {
                return Ok(Some(self.make(id, request, LIST_AGE)?));
            }
        }
        Ok(None)
    }

    fn hear(
        &self,
        connection: &Connection,
        visit: &Visit,
        within: Duration,
    ) -> Result<(Visit, Said), ChargingError> {
        let thread = visit.conversation().thread().clone();
        let came = self.agent.receive_from(connection, Some(&thread), within)?;
        Ok(self.agent.drive(connection, &came, visit.hear(&came, now()))?)
    }

    fn withdraw_from(&self, connection: &Connection, visit: &Visit) {
        if let Ok((_, message)) = visit.say(&Said::Withdrawn, new_id(), now()) {
            let _ = self.agent.send(connection, &message);
        }
    }

    /// The ledger's proof of what became of a voucher, as `eroam verify` reads it.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn voucher_proof(&self, emsp: PartyId, nullifier: Nullifier) -> Result<String, ChargingError> {
        Ok(self.catalogue.proof(&StateKey::Voucher(emsp, nullifier), &nullifier.to_string())?)
    }

    /// The network that this wallet is of.
    #[must_use]
    pub fn network(&self) -> Digest {
        self.catalogue.network()
    }
}

/// Reads what a station's QR code says, or a link to it.
///
/// # Errors
/// [`ChargingError::NoCode`].
pub fn read_code(text: &str) -> Result<Invitation, ChargingError> {
    Invitation::from_url(text.trim()).map_err(ChargingError::NoCode)
}

/// Whether two requests ask for the same, apart from which list it is proved against.
fn is_the_same_but_for_lists(one: &ProofRequest, other: &ProofRequest) -> bool {
    one.attributes() == other.attributes()
        && one.predicates() == other.predicates()
        && one.non_revoked().is_some() == other.non_revoked().is_some()
}

fn refused(said: Said) -> ChargingError {
    match said {
        Said::Denied(denied) => ChargingError::Denied(denied),
        other => ChargingError::unexpected("the station's answer", other.name()),
    }
}
