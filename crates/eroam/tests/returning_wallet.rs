//! A wallet that comes back to its provider from another address: who is taken for the customer, and who is not.

use eroam::agent::Agent;
use eroam::charging::ChargingError;
use eroam::charging::provider::{Registered, Registration, RegistrationForm, contract_digest};
use eroam::charging::proving::question;
use eroam::charging::station::Mode;
use eroam::charging::waiting::Patience;
use eroam::charging::wallet::Wallet;
use eroam::charging::wallet_file::{Network, WalletFile};
use eroam::consortium::Seed;
use eroam::simulate::{Served, Setup};
use eroam::tails_cache::TailsCache;
use eroam_domain::charge::Denial;
use eroam_domain::codec::SignatureBytes;
use eroam_domain::ids::ContractId;
use eroam_ssi::custody::Passphrase;
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{Channel, OsRng, SigningKey};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{BillSoFar, CUSTOMER, Rejoin, Rejoined, Rejoining, rejoin_digest};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const WITHIN: Duration = Duration::from_secs(30);

fn network(directory: &Path) -> Served {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract");
    let setup = Setup {
        drivers: 1,
        emsps: 1,
        cpos: 1,
        stations: 1,
        events: 0,
        seed: Seed(3),
        mode: Mode::Default,
        issuer_keys: Some(keys),
        data: None,
        served: true,
        processes: None,
    };
    let served = Served::start(&setup, &mut |_| {}).unwrap();
    std::fs::write(directory.join("genesis.json"), served.genesis()).unwrap();
    served
}

fn passphrase() -> Passphrase {
    Passphrase::new(Zeroizing::new("correct horse".to_owned())).unwrap()
}

/// Whoever comes, with a connection of its own.
struct Comer {
    agent: Agent,
    connection: Connection,
}

impl Comer {
    fn come(provider: &str) -> Self {
        let door = ureq::get(format!("{provider}/enrol/again")).call().unwrap();
        Self::by(&door.into_body().read_to_string().unwrap())
    }

    /// By an invitation.
    fn by(invitation: &str) -> Self {
        let agent = Agent::start("wallet", ([127, 0, 0, 1], 0).into()).unwrap().speaking(CUSTOMER);
        let connection = agent.connect(&Invitation::from_url(invitation).unwrap(), WITHIN).unwrap();
        Self { agent, connection }
    }

    fn channel(&self) -> Channel {
        self.connection.channel()
    }

    fn rejoin(&self, contract: ContractId, signature: [u8; 64]) -> Result<Rejoined, ChargingError> {
        let asked = Rejoin { contract, signature: SignatureBytes(signature) };
        question(&self.agent, &self.connection, &asked)
    }
}

fn signed(key: &SigningKey, contract: &ContractId, channel: Channel) -> [u8; 64] {
    key.sign(&rejoin_digest(Rejoining::Customer, contract, &channel.ours, &channel.theirs).0)
}

fn assert_unknown(answer: Result<Rejoined, ChargingError>) {
    match answer {
        Err(ChargingError::Denied(denied)) => assert_eq!(denied.denial, Denial::UnknownContract),
        other => panic!("{other:?}"),
    }
}

/// Who has seen somebody's registration sends it again and gets an invitation of its own, but no contract by it.
#[test]
fn a_registration_that_was_seen_gives_nobody_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let served = network(directory.path());
    let provider = &served.listing().providers[0].url;
    let form = ureq::get(format!("{provider}/enrol/form")).call().unwrap().into_body();
    let form: RegistrationForm = serde_json::from_reader(form.into_reader()).unwrap();
    let fields = [("name", "Ana"), ("email", "ana@example.org"), ("iban", "GB29NWBK60161331926819")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (key, stranger) = (SigningKey::generate(&mut OsRng), SigningKey::generate(&mut OsRng));
    let registration = Registration {
        signature: SignatureBytes(key.sign(&contract_digest(&form, &fields, None).0)),
        signer: key.verification_key().to_did_key().to_string(),
        fields,
        attached: None,
    };
    let body = serde_json::to_vec(&registration).unwrap();
    let register = || -> Registered {
        let post = ureq::post(format!("{provider}{}", form.endpoint)).content_type("application/json");
        serde_json::from_reader(post.send(&body[..]).unwrap().into_body().into_reader()).unwrap()
    };
    let (seen, own) = (register(), register());
    assert_eq!(seen.contract, own.contract);

    let thief = Comer::by(&seen.invitation);
    assert_unknown(thief.rejoin(seen.contract, signed(&stranger, &seen.contract, thief.channel())));
    let driver = Comer::by(&own.invitation);
    driver.rejoin(own.contract, signed(&key, &own.contract, driver.channel())).unwrap();
    let offered = driver.agent.receive_from(&driver.connection, None, WITHIN).unwrap();
    assert_eq!(offered.message().kind().name(), "offer-credential");
    assert!(thief.agent.receive_from(&thief.connection, None, Duration::from_millis(1)).is_err());
}

#[test]
fn only_who_signs_this_very_connection_with_the_contracts_key_is_the_customer() {
    let directory = tempfile::tempdir().unwrap();
    let served = network(directory.path());
    let listing = served.listing();
    let provider = &listing.providers[0].url;
    let network = Network { resolver: listing.resolver.clone(), genesis: served.genesis() };
    let file = WalletFile::create(&directory.path().join("wallet"), &passphrase(), &network).unwrap();
    let tails = Arc::new(TailsCache::open(directory.path().join("tails"), 1 << 20).unwrap());
    let mut wallet = Wallet::open(file, tails, Mode::Default, Patience::default()).unwrap();
    let fields = [("name", "Ana"), ("email", "ana@example.org"), ("iban", "GB29NWBK60161331926819")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let contract = wallet.enrol(provider, &fields).unwrap();
    let file = wallet.into_file().unwrap();
    let (_, key) = file.keys().unwrap();
    let other: ContractId = format!("{}-C99999999", listing.providers[0].party).parse().unwrap();

    // With another key, for another contract, with what was signed for another connection, or by the other side.
    let (stranger, overheard) = (SigningKey::generate(&mut OsRng), Comer::come(provider).channel());
    type Sign<'a> = &'a dyn Fn(Channel) -> [u8; 64];
    let refused: [(ContractId, Sign<'_>); 4] = [
        (contract, &|channel| signed(&stranger, &contract, channel)),
        (other, &|channel| signed(&key, &other, channel)),
        (contract, &|_| signed(&key, &contract, overheard)),
        (contract, &|Channel { ours, theirs }| {
            key.sign(&rejoin_digest(Rejoining::Provider, &contract, &ours, &theirs).0)
        }),
    ];
    for (contract, signature) in refused {
        let comer = Comer::come(provider);
        assert_unknown(comer.rejoin(contract, signature(comer.channel())));
    }

    let comer = Comer::come(provider);
    let channel = comer.channel();
    let Rejoined { signature } = comer.rejoin(contract, signed(&key, &contract, channel)).unwrap();
    // The provider shows that it is the one that signed the contract.
    let known = VerificationKey::from_did_key(&file.contract(&contract).unwrap().provider_key).unwrap();
    let digest = rejoin_digest(Rejoining::Provider, &contract, &channel.ours, &channel.theirs);
    assert!(known.verifies(&digest.0, &signature.0));
    let month = "2026-11".parse().unwrap();
    assert_eq!(question(&comer.agent, &comer.connection, &BillSoFar { month }).unwrap(), []);
}
