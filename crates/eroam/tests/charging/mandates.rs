//! An agency issues contracts for a home utility, as far as that says so on the ledger.

use super::town::{SEED, Town, charge, denied, refusal};
use eroam::charging::issuer::{Issuer, IssuerKey, Kinds, TailsPlace, Term};
use eroam::charging::provider::{Approval, CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA, Provider, ProviderSettings};
use eroam::charging::state::AgentState;
use eroam::charging::station::{Mode, Outcome};
use eroam::charging::wallet::Wallet;
use eroam::clock::now;
use eroam::program::mandates::{MandateError, Mandates, Period};
use eroam::registry::{Publisher, REGISTRY_LANE, tails};
use eroam::server::Server;
use eroam::simulate::world::{Driver, fields};
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::{PartyId, SchemaId};
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::DidDocument;
use eroam_ledger::tx::PublicKey;
use eroam_ssi::didcomm::SigningKey;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A lane of the home utility that nothing else uses here.
const LANE: u16 = 9;

fn agency() -> PartyId {
    "PT-TRS".parse().unwrap()
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The town's home utility once more, with an agency that issues its contracts.
pub(crate) struct Outsourced {
    pub(crate) provider: Provider,
    pub(crate) url: String,
    schema: SchemaId,
    mandates: Mandates,
    directory: tempfile::TempDir,
    _servers: [Server; 2],
}

impl Outsourced {
    pub(crate) fn of(town: &Town) -> Self {
        Self::with(town, 365, 64)
    }

    /// With contracts of at least so many days, in registries of so many places.
    pub(crate) fn with(town: &Town, valid_days: u32, places: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let office = town.world.providers()[0].office().clone();
        let key = SEED.signing_key(agency());
        let publisher = Publisher::new(office.client().clone(), agency(), key, REGISTRY_LANE).unwrap();
        let own = SEED.signing_key(office.party());
        let own = Publisher::new(office.client().clone(), office.party(), own, LANE).unwrap();
        let first = SEED.did_key(agency());
        let did = publisher.did_of(&first);
        let document = DidDocument { keys: vec![PublicKey::of(&first)], services: Vec::new() };
        publisher.publish_did(did, document, &first).unwrap();

        let tails_directory = directory.path().join("tails");
        let files = tails::router(&tails_directory, None).unwrap();
        let files = Server::start("tails", any_port(), files, Duration::ZERO).unwrap();
        let url = format!("http://{}", files.address());
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract");
        let read = |name: &str| std::fs::read(keys.join(name)).unwrap();
        let (definition, secret, correctness) =
            (read("definition.json"), read("secret.json"), read("key_correctness.json"));
        let mandates = Mandates::new(own, AgentState::in_memory());
        let kinds = Kinds {
            schema: CONTRACT_SCHEMA,
            attributes: &CONTRACT_ATTRIBUTES,
            registry: places,
            term: Term::of_days(valid_days).unwrap(),
        };
        let given = IssuerKey::Given { definition: &definition, secret: &secret, correctness: &correctness };
        let place = TailsPlace { directory: &tails_directory, url: &url };
        let state = AgentState::in_memory();
        let issuer = Issuer::open(publisher, did, kinds, given, place, state.clone()).unwrap();
        let schema = issuer.schema_id().as_str().parse().unwrap();

        let form = Provider::form(office.party(), "Home utility with an agency");
        let settings = ProviderSettings { valid_days, approval: Approval::Automatic };
        let signing = SigningKey::from_seed(&SEED.did_key(office.party()).to_bytes());
        let provider = Provider::start(office, issuer, form, signing, settings, state, any_port()).unwrap();
        let server = Server::start("provider", any_port(), provider.router(), Duration::ZERO).unwrap();
        let url = format!("http://{}", server.address());
        Self { provider, url, schema, mandates, directory, _servers: [files, server] }
    }

    /// From a while ago until so much later.
    pub(crate) fn grant(&self, until_ms: i64) {
        let at = |ms: i64| UnixMillis::new(now().get() + ms).unwrap();
        let period = Period { from: at(-3_600_000), until: at(until_ms) };
        self.mandates.grant(agency(), &self.schema, period).unwrap();
    }

    fn revoke(&self) {
        self.mandates.revoke(agency(), &self.schema).unwrap();
    }

    pub(crate) fn wallet(&self, town: &Town) -> Wallet {
        let tails = TailsCache::open(self.directory.path().join("wallet"), 1 << 20).unwrap();
        Wallet::new(Arc::new(town.world.catalogue().unwrap()), Arc::new(tails), Mode::Default).unwrap()
    }

    pub(crate) fn enrolled(&self, town: &Town) -> Driver {
        let mut wallet = self.wallet(town);
        let contract = wallet.enrol(&self.url, &fields(50)).unwrap();
        wallet.withdraw(&contract, 3, now().utc_day()).unwrap();
        Driver { wallet, contract }
    }
}

impl Drop for Outsourced {
    fn drop(&mut self) {
        self.provider.stop();
    }
}

#[test]
fn a_home_utility_sees_which_of_its_mandates_hold() {
    let town = Town::new(1, 1);
    let outsourced = Outsourced::of(&town);
    assert_eq!(outsourced.mandates.list().unwrap(), []);
    let stands =
        || outsourced.mandates.list().unwrap().iter().map(|found| found.in_force).collect::<Vec<_>>();
    outsourced.grant(3_600_000);
    let [found] = &outsourced.mandates.list().unwrap()[..] else { panic!("one") };
    assert_eq!((found.issuer, &found.schema, found.in_force), (agency(), &outsourced.schema, true));
    eroam::clock::leave_out(eroam_domain::quantity::DurationMs::from_millis(2 * 3_600_000));
    assert_eq!(stands(), [false], "it is over");
    outsourced.grant(3_600_000);
    assert_eq!(stands(), [true], "one for the same takes its place");
    outsourced.revoke();
    assert_eq!(outsourced.mandates.list().unwrap()[0].period, None);

    let says = |error: MandateError| error.to_string();
    let again = outsourced.mandates.revoke(agency(), &outsourced.schema).map_err(says).unwrap_err();
    assert!(again.contains("has no mandate for"), "{again}");
    let until = UnixMillis::new(now().get() + 3_600_000).unwrap();
    let period = Period { from: now(), until };
    let operator = town.world.operators()[0].office().party();
    let no_issuer =
        outsourced.mandates.grant(operator, &outsourced.schema, period).map_err(says).unwrap_err();
    assert!(no_issuer.contains("is no issuer in this network"), "{no_issuer}");
    let stranger = "PT-ZZZ".parse().unwrap();
    let stranger = outsourced.mandates.grant(stranger, &outsourced.schema, period).map_err(says).unwrap_err();
    assert!(stranger.contains("is no member of this network"), "{stranger}");
}

#[test]
fn a_driver_whose_contract_an_agency_issued_charges_as_long_as_the_home_utility_lets_it() {
    let mut town = Town::new(1, 1);
    let outsourced = Outsourced::of(&town);
    const YEAR: i64 = 365 * 86_400_000;

    // Without a mandate, no wallet takes such a contract.
    let refused = refusal(outsourced.wallet(&town).enrol(&outsourced.url, &fields(49)));
    assert!(refused.contains("the issuer of the contract") && refused.contains("PT-TRS"), "{refused}");

    outsourced.grant(YEAR);
    let mut driver = outsourced.enrolled(&town);
    let invitation = town.invitation(0);
    charge(&mut driver, &invitation).unwrap();
    let Outcome::Charged { session, .. } = town.outcome(0) else { panic!("it charged") };
    let operator = &town.world.operators()[0];
    assert_eq!(operator.recheck(&session).unwrap().emsp, outsourced.provider.office().party());
    assert_eq!(town.settled(), (1, 1), "it is on the home utility's bill");

    // No station takes it from the moment on at which the ledger has no mandate any more.
    outsourced.revoke();
    let refused = refusal(charge(&mut driver, &invitation));
    assert!(refused.contains("PT-TRS issued your contract and may not do so"), "{refused}");
    assert_eq!(denied(town.outcome(0)), refused);

    // It has one again that is over when the driver comes.
    outsourced.grant(2 * 3_600_000);
    charge(&mut driver, &invitation).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    eroam::clock::leave_out(eroam_domain::quantity::DurationMs::from_millis(3 * 3_600_000));
    let refused = refusal(charge(&mut driver, &invitation));
    assert!(refused.contains("may not do so"), "{refused}");
}
