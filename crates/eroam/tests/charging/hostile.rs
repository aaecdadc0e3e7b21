//! A station and wallets that lie: whatever they show or leave out, no power flows, and the next driver is served.

use crate::stations::{PATIENCE, agent};
use crate::town::{Town, denied, euros, five_kwh};
use eroam::agent::{Agent, new_id};
use eroam::charging::proving::{Asked, ask_proof, asked_proof};
use eroam::charging::station::{Mode, SD_JWT, SD_JWT_REQUEST, StationDemand};
use eroam::charging::waiting::Patience;
use eroam::charging::wallet::Wallet;
use eroam::charging::wallet_file::{Network, WalletFile};
use eroam::clock::{in_time, now};
use eroam::simulate::world::fields;
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::ContractId;
use eroam_domain::visit::VisitQuote;
use eroam_ssi::anoncreds::{
    HeldCredential, KnownObjects, LinkSecret, Nonce, ObjectId, ProofRequest, Selection, WitnessState,
    prepared,
};
use eroam_ssi::custody::Passphrase;
use eroam_ssi::protocol::charging::{ContractDemand, Said, Visit, contract_request};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::present_proof::{ANONCREDS_PROOF, ANONCREDS_REQUEST};
use eroam_wallet::purse::Purse;
use eroam_wallet::visit::{ContractKind, Offer, Planned, plan};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// What a driver has who made a wallet and then took its file apart.
struct Liar {
    agent: Agent,
    contract: ContractId,
    kind: ContractKind,
    credential: HeldCredential,
    witness: WitnessState,
    link_secret: LinkSecret,
    purse: Purse,
    /// What the ledger said when the contract was made.
    known: KnownObjects,
    _directory: TempDir,
}

impl Liar {
    fn new(town: &Town, zones: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let passphrase = Passphrase::new(Zeroizing::new("correct horse".to_owned())).unwrap();
        let resolver = town.world.catalogue().unwrap().url().to_owned();
        let genesis = town.world.operators()[0].office().client().genesis().to_json();
        let path = directory.path().join("wallet");
        let file = WalletFile::create(&path, &passphrase, &Network { resolver, genesis }).unwrap();
        let tails = TailsCache::open(directory.path().join("tails"), 64 << 20).unwrap();
        let mut wallet = Wallet::open(file, Arc::new(tails), Mode::Default, Patience::default()).unwrap();
        let mut entered = fields(90);
        entered.insert("zones".to_owned(), zones.to_owned());
        let contract = wallet.enrol(town.world.provider_url(0).unwrap(), &entered).unwrap();
        // Against the newest list; what follows makes it durable.
        wallet.prepare(&contract).unwrap();
        wallet.withdraw(&contract, 4, now().utc_day()).unwrap();
        let file = wallet.into_file().unwrap();
        let kind = file.contract(&contract).unwrap().kind();
        let (credential, witness) = file.credential(&contract).unwrap();
        let (link_secret, _) = file.keys().unwrap();
        let purse = file.purse(&contract).unwrap();
        let registry = ObjectId::new(kind.registry.to_string()).unwrap();
        let catalogue = town.world.catalogue().unwrap();
        let known = catalogue.known(credential.cred_def_id(), Some(&registry), Duration::ZERO).unwrap();
        let agent = agent("a wallet");
        Self { agent, contract, kind, credential, witness, link_secret, purse, known, _directory: directory }
    }

    /// The proof that answers a request, by what this liar knew when its contract was made.
    fn proof(&self, request: &ProofRequest) -> Vec<u8> {
        let held = [(&self.credential, Some(&self.witness))];
        let selection = Selection::choose(request, held, &self.known).unwrap();
        let prepared = prepared::prepare(request, &selection, &self.link_secret, &self.known).unwrap();
        prepared.answer(request).unwrap().to_json()
    }

    /// The request that a station would have made when the contract was made, with this nonce.
    fn old_request(&self, nonce: &Nonce) -> ProofRequest {
        let (made, nonce) = (self.witness.timestamp(), nonce.clone());
        contract_request(self.credential.cred_def_id(), ContractDemand::Default, made, nonce).unwrap()
    }

    /// Scans a station and asks for a charge of a contract of this kind.
    fn ask(&self, town: &Town, kind: &ContractKind) -> (Connection, Visit, Planned) {
        let connection = self.agent.connect(&town.invitation(0), PATIENCE).unwrap();
        let nonce = Nonce::random().unwrap().as_decimal().to_owned();
        let vct = eroam::charging::operator::STATION_VCT.to_owned();
        let demand = serde_json::to_vec(&StationDemand { nonce, vct }).unwrap();
        let awaited = ask_proof(&self.agent, &connection, SD_JWT_REQUEST, demand).unwrap();
        awaited.shown(&self.agent, &connection, SD_JWT).unwrap();
        let claims = town.world.stations()[0].station().claims().clone();
        let planned = plan(claims, kind, &self.purse, five_kwh(), euros(20), now()).unwrap();
        let (visit, message) =
            Visit::ask(connection.channel(), planned.request().clone(), new_id(), in_time(PATIENCE)).unwrap();
        self.agent.send(&connection, &message).unwrap();
        (connection, visit, planned)
    }

    fn hear(&self, connection: &Connection, visit: &Visit) -> (Visit, Said) {
        let thread = visit.conversation().thread().clone();
        let came = self.agent.receive_from(connection, Some(&thread), PATIENCE).unwrap();
        visit.hear(&came, now()).unwrap()
    }

    /// What the station says instead of power, of a wallet that answers each of its questions with `lie`.
    fn is_told(&mut self, town: &Town, lie: &dyn Fn(&Self, Asked, &Connection)) -> String {
        let (connection, visit, planned) = self.ask(town, &self.kind);
        let (visit, said) = self.hear(&connection, &visit);
        let Said::Quote(offered) = said else { panic!("{said:?}") };
        let offer = self.offer(planned, offered, &connection);
        // Sent with the answer: whoever is believed has power.
        let asked = asked_proof(&self.agent, &connection, ANONCREDS_REQUEST).unwrap();
        lie(self, asked, &connection);
        let spent = offer.agree(&mut self.purse, now()).unwrap();
        let (visit, accept) = visit.say(&Said::Accept(spent), new_id(), now()).unwrap();
        // One who declined is not listened to any more.
        let _ = self.agent.send(&connection, &accept);
        match self.hear(&connection, &visit).1 {
            Said::Denied(denied) => denied.reason,
            other => panic!("{other:?}"),
        }
    }

    fn offer(&self, planned: Planned, offered: VisitQuote, at: &Connection) -> Offer {
        planned.check(offered, &at.channel().theirs.to_multikey(), now()).unwrap()
    }

    fn show(&self, asked: Asked, connection: &Connection, request: &ProofRequest) {
        asked.show(&self.agent, connection, ANONCREDS_PROOF, self.proof(request)).unwrap();
    }
}

fn request_of(asked: &Asked) -> ProofRequest {
    ProofRequest::from_json(&asked.request).unwrap()
}

/// A wallet with a contract for `zones` answers the station's question with `lie`, is told `said` and gets nothing.
fn refused(zones: &str, said: &str, lie: &dyn Fn(&Liar, Asked, &Connection)) {
    let town = Town::new(1, 1);
    let mut liar = Liar::new(&town, zones);
    assert_eq!(liar.is_told(&town, lie), said);
    nothing_flowed(town, said);
}

/// Nobody was given power, and nothing is owed; an honest driver is served afterwards.
fn nothing_flowed(mut town: Town, said: &str) {
    assert_eq!(denied(town.outcome(0)), said);
    let status = town.world.stations()[0].station().status().unwrap();
    assert_eq!((status.is_charging, status.fault, status.accounts_waiting), (false, None, 0));
    assert_eq!(town.settled(), (0, 0));
    town.charge(0, 0).unwrap();
    town.outcome(0);
    assert_eq!(town.settled(), (1, 1));
}

const NO_PROOF: &str = "the proof of your contract does not hold: update your wallet, or call your provider";

#[test]
fn a_proof_for_another_nonce_is_none() {
    refused("*", NO_PROOF, &|liar, asked, connection| {
        let other = request_of(&asked).with_nonce(Nonce::random().unwrap());
        liar.show(asked, connection, &other);
    });
}

#[test]
fn a_proof_that_is_no_proof_is_none() {
    refused("*", NO_PROOF, &|liar, asked, connection| {
        asked.show(&liar.agent, connection, ANONCREDS_PROOF, b"{}".to_vec()).unwrap();
    });
}

#[test]
fn a_proof_against_a_list_of_before_is_none() {
    let town = Town::new(1, 1);
    let mut liar = Liar::new(&town, "*");
    let other = town.newcomer("*").contract;
    town.world.providers()[0].revoke(&other, "moved away").unwrap();
    let said = liar.is_told(&town, &|liar, asked, connection| {
        let old = liar.old_request(request_of(&asked).nonce());
        liar.show(asked, connection, &old);
    });
    assert_eq!(said, NO_PROOF);
    nothing_flowed(town, &said);
}

#[test]
fn a_holder_who_was_revoked_proves_nothing_by_the_list_of_before() {
    let town = Town::new(1, 1);
    let mut liar = Liar::new(&town, "*");
    town.world.providers()[0].revoke(&liar.contract, "did not pay").unwrap();
    let said = liar.is_told(&town, &|liar, asked, connection| {
        let old = liar.old_request(request_of(&asked).nonce());
        liar.show(asked, connection, &old);
    });
    assert_eq!(said, NO_PROOF);
    nothing_flowed(town, &said);
}

#[test]
fn a_contract_of_other_zones_is_refused_by_the_station_too() {
    refused("ES-9", "your contract does not include this area", &|liar, asked, connection| {
        let request = request_of(&asked);
        liar.show(asked, connection, &request);
    });
}

#[test]
fn a_wallet_that_says_for_ever_that_its_list_is_newer_is_asked_twice() {
    refused(
        "*",
        "your wallet's proof is older than your provider's newest list: let it prove again",
        &|liar, asked, connection| {
            asked.decline(&liar.agent, connection, "the provider has a newer list").unwrap();
            let again = asked_proof(&liar.agent, connection, ANONCREDS_REQUEST).unwrap();
            again.decline(&liar.agent, connection, "the provider has a newer list").unwrap();
        },
    );
}

#[test]
fn a_contract_that_somebody_else_shall_pay_for_is_asked_for_no_proof() {
    let town = Town::new(1, 1);
    let liar = Liar::new(&town, "*");
    let operator = town.world.operators()[1].party();
    let kind = ContractKind { emsp: operator, ..liar.kind.clone() };
    let (connection, visit, _) = liar.ask(&town, &kind);
    let Said::Denied(refused) = liar.hear(&connection, &visit).1 else { panic!("it is not refused") };
    let provider = liar.kind.emsp;
    let words =
        format!("{provider} issued your contract and may not do so for {operator}: call your provider");
    assert_eq!(refused.reason, words);
    nothing_flowed(town, &words);
}

#[test]
fn a_proof_of_another_definition_than_the_one_that_was_named_is_none() {
    let town = Town::new(1, 1);
    let mut liar = Liar::new(&town, "*");
    liar.kind.definition = format!("{}x", liar.kind.definition).parse().unwrap();
    let said = liar.is_told(&town, &|liar, asked, connection| {
        let own = liar.old_request(request_of(&asked).nonce());
        liar.show(asked, connection, &own);
    });
    assert_eq!(said, "your contract is of a kind that the ledger does not have: call your provider");
    nothing_flowed(town, &said);
}
