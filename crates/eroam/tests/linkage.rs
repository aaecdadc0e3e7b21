//! What operators and the ledger know of drivers: nothing that links or names them.

use eroam::charging::station::{Mode, Outcome};
use eroam::charging::wallet::Timings;
use eroam::consortium::Seed;
use eroam::consortium::founders::currency;
use eroam::simulate::Setup;
use eroam::simulate::world::{Driver, World};
use eroam::study::linkage::{LinkageSetup, linkage, report};
use eroam_domain::codec::to_bytes;
use eroam_domain::money::Money;
use eroam_domain::quantity::WattHours;
use eroam_domain::visit::ChargeLimits;
use eroam_gateway::ports::Store as _;
use eroam_wallet::consent::Consent;
use std::path::PathBuf;

fn issuer_keys() -> Option<PathBuf> {
    Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract"))
}

/// Guessing right in this many deviations more than half of the pairs has a probability below one in a million.
const DEVIATIONS: f64 = 6.0;

#[test]
fn a_wallet_that_leaks_is_found_and_one_that_does_not_is_not() {
    let setup = LinkageSetup {
        pairs: 80,
        pairs_beside: 80,
        drivers: 10,
        threads: 2,
        seed: Seed(5),
        issuer_keys: issuer_keys(),
    };
    let study = linkage(&setup, &|_| {}).unwrap();
    assert_eq!((study.accuracy.pairs, study.drivers), (80, 10));
    assert!(study.accuracy.deviations_above_half() < DEVIATIONS, "{study:#?}");
    assert_eq!(study.controls.len(), 2);
    for control in &study.controls {
        assert!(control.accuracy.deviations_above_half() > DEVIATIONS, "{control:#?}");
    }
    let json = serde_json::to_value(&study).unwrap();
    assert_eq!(json["pairs"], 80);
    assert!(
        json["accuracy"].is_f64() && json["ci95"].as_array().is_some_and(|both| both.len() == 2),
        "{json}"
    );
    let report = report(&study);
    let text: String = report.summary.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    for says in ["learns of each of its customers' charges", "IP addresses", "Habits", "Rare sets of zones"] {
        assert!(text.contains(says), "{says} is not in {text}");
    }
}

#[test]
fn a_study_of_too_few_is_refused() {
    let setup = LinkageSetup {
        pairs: 6,
        pairs_beside: 4,
        drivers: 2,
        threads: 1,
        seed: Seed(1),
        issuer_keys: issuer_keys(),
    };
    let error = linkage(&setup, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("at least 4 pairs, in fours"), "{error}");
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    assert!(wanted.len() >= 6, "{wanted:?} stands anywhere by chance");
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Everything that `eroam ledger export` writes: the genesis, every block, every entry of the state.
fn export(world: &World) -> Vec<u8> {
    let client = world.operators()[0].office().client().here().unwrap();
    let mut bytes = client.genesis().to_json().into_bytes();
    let latest = client.latest().height;
    for height in 0..=latest {
        let block = client.block(height).unwrap().unwrap();
        bytes.extend_from_slice(block.body());
        bytes.extend(
            client.certificate(height).unwrap().map(|certificate| certificate.to_vec()).unwrap_or_default(),
        );
    }
    let (_, entries) = client.entries().unwrap();
    entries.iter().for_each(|(key, value)| bytes.extend([key.as_slice(), value.as_slice()].concat()));
    bytes
}

#[test]
fn an_export_of_the_ledger_names_no_contract_no_customer_and_no_station() {
    let setup = Setup {
        drivers: 3,
        emsps: 2,
        cpos: 2,
        stations: 2,
        events: 0,
        seed: Seed(11),
        mode: Mode::Default,
        issuer_keys: issuer_keys(),
        data: None,
        served: false,
        processes: None,
    };
    let mut world = World::build(&setup, &mut |_| {}).unwrap();
    let allowed = Money::new(40_000_000, currency());
    let limits = ChargeLimits { energy_max: WattHours::from_wh(2_000), ..ChargeLimits::default() };
    for charge in 0..4 {
        let (driver, station) = (charge % 3, charge % 2);
        let invitation = world.stations()[station].station().invitation().clone();
        let Driver { wallet, contract } = &mut world.drivers[driver];
        let (contract, mut agrees) = (*contract, |_: &Consent| true);
        let timings = &mut Timings::default();
        wallet.charge(&contract, &invitation, limits, allowed, &mut agrees, timings).unwrap();
        let outcome = world.stations()[station].outcome().unwrap().unwrap();
        assert!(matches!(outcome, Outcome::Charged { .. }), "{outcome:?}");
    }
    assert_eq!(world.finish().unwrap(), (4, 4), "records and bills");

    let export = export(&world);
    // What stands there is found: the network's name, and the sessions' digests with what their records say.
    assert!(holds(&export, b"eroam simulation"));
    let mut records = Vec::new();
    for operator in world.operators() {
        let read = operator.office().with(|gateway, _| {
            gateway.store_mut().each_wholesale(&mut |_, _, line| {
                records.push(line.digest);
                Ok(())
            })
        });
        read.unwrap();
    }
    assert!(records.len() == 4 && records.iter().all(|digest| holds(&export, &digest.0)), "{records:?}");

    let mut names: Vec<(String, Vec<u8>)> = Vec::new();
    let mut name = |text: String| names.push((text.clone(), text.into_bytes()));
    for (index, Driver { contract, .. }) in world.drivers.iter().enumerate() {
        let text = contract.to_string();
        name(text.replace('-', ""));
        name(text);
        // Customers of the two home utilities in turn.
        name(format!("K{:08}", index / 2 + 1));
        name(format!("C{:08}", index / 2 + 1));
    }
    for standing in world.stations() {
        let evse = &standing.station().claims().evse;
        name(evse.to_string());
        name(evse.normalised().to_string());
    }
    for Driver { contract, .. } in &world.drivers {
        names.push((format!("{contract} in the ledger's encoding"), to_bytes(contract)));
    }
    for standing in world.stations() {
        let evse = &standing.station().claims().evse;
        names.push((format!("{evse} in the ledger's encoding"), to_bytes(evse)));
    }
    for (text, bytes) in &names {
        assert!(!holds(&export, bytes), "{text} stands in the export");
    }
}
