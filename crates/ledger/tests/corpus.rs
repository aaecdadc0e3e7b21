//! The corpora of this crate's fuzz targets. Their first seeds are what it writes.

#[path = "../../../fuzz/targets/ledger.rs"]
mod targets;

use ed25519_dalek::SigningKey;
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::forecast::{ForecastAttestation, ForecastTx, LoadAttestation};
use eroam_ledger::genesis::{
    BLOCK_BYTES_MIN, BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator,
};
use eroam_ledger::membership::{MembershipTx, Roles};
use eroam_ledger::registry::{DidDocument, DidService, RegistryTx};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::snapshot::{SnapshotHeader, Tally, VERSION as SNAPSHOT_VERSION, encode};
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};
use eroam_testkit::corpus;
use targets::{TARGETS, run};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn party() -> PartyId {
    PartyId::new("PT", "LUZ").unwrap()
}

fn genesis() -> Genesis {
    let roles = Roles::EMSP.with(Roles::CPO).with(Roles::TREASURER);
    let name = ShortText::new("Luz").unwrap();
    Genesis {
        name: ShortText::new("corpus").unwrap(),
        parameters: Parameters { treasurers_required: 1, close_grace: DurationMs::from_millis(1) },
        members: vec![GenesisMember { party: party(), name, roles, key: PublicKey::of(&key(1)) }],
        consensus: Consensus {
            validators: vec![Validator { party: party(), key: PublicKey::of(&key(2)) }],
            epoch_blocks: 10,
            block_bytes_max: BLOCK_BYTES_MIN,
            time: BlockTime::Stated,
        },
        imported: None,
    }
}

fn envelope(tx: Tx) -> Vec<u8> {
    let (network, expires_at) = (genesis().network(), UnixMillis::new(1_740_000_000_000).unwrap());
    let envelope =
        Envelope { version: VERSION, network, member: party(), key: 0, lane: 1, sequence: 2, expires_at, tx };
    envelope.sign(&key(1)).bytes().to_vec()
}

/// Transactions with texts, lists, keys and amounts in them.
fn transactions() -> Vec<Tx> {
    let network = genesis().network();
    fn text<const N: usize>(text: &str) -> ShortText<N> {
        ShortText::new(text).unwrap()
    }
    let service = DidService {
        id: ShortText::new("didcomm-0").unwrap(),
        kind: ShortText::new("did-communication").unwrap(),
        endpoint: ShortText::new("https://agent.example").unwrap(),
    };
    let document =
        DidDocument { keys: vec![PublicKey::of(&key(3)), PublicKey::of(&key(4))], services: vec![service] };
    let did = EroamDid::derive(network, &PublicKey::of(&key(3)).0);
    vec![
        Tx::Membership(MembershipTx::rotate(network, party(), &key(5))),
        Tx::Settlement(SettlementTx::AttestDeposit {
            party: party(),
            amount: Money::new(12_500_000, Currency::new("EUR").unwrap()),
            reference: text("bank 4711"),
        }),
        Tx::Registry(RegistryTx::publish_did(network, party(), did, 1, document, &key(3))),
        Tx::Forecast(ForecastTx::AttestForecast(ForecastAttestation {
            zone: text("PT-N"),
            first_hour: 483_000,
            load_kw: vec![500, 600],
            low_kw: vec![450, 540],
            high_kw: vec![550, 660],
            renewable_bps: Some(vec![3_000, 10_000]),
            model: Digest::of(b"model"),
            window: Digest::of(b"window"),
        })),
        Tx::Forecast(ForecastTx::AttestLoad(LoadAttestation {
            zone: text("PT-N"),
            first_hour: 482_990,
            load_kw: vec![510, 0],
            source: Digest::of(b"meters"),
        })),
    ]
}

/// The first state of the network.
fn snapshot() -> Vec<u8> {
    let state = genesis().state().unwrap();
    let entries = || {
        let present = state.iter().filter_map(|(key, value)| value.as_ref().map(|value| (key, value)));
        present.map(|(key, value)| (key.as_slice(), value.as_slice()))
    };
    let mut tally = Tally::default();
    entries().for_each(|(key, value)| drop(tally.add(key, value).unwrap()));
    let header = SnapshotHeader {
        version: SNAPSHOT_VERSION,
        network: genesis().network(),
        height: 0,
        time: UnixMillis::EPOCH,
        block: Digest::of(b"block"),
        contents: tally.finish(),
    };
    encode(header, entries()).collect::<Result<Vec<_>, _>>().unwrap().concat()
}

/// What each target must accept.
fn proper() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds: Vec<_> = transactions().into_iter().map(|tx| ("ledger_envelope", envelope(tx))).collect();
    seeds.push(("ledger_genesis", genesis().to_json().into_bytes()));
    seeds.push(("ledger_snapshot", snapshot()));
    seeds
}

#[test]
fn every_seed_is_accepted_or_refused_as_its_name_says() {
    if corpus::is_to_be_written() {
        corpus::write(&proper(), &[]);
    }
    corpus::replay("ledger", &TARGETS.iter().map(|(name, _)| *name).collect(), run);
}
