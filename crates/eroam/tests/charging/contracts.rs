//! Contracts that are not good here, and proofs against lists that are not the newest.

use crate::town::{Town, charge, charge_if, denied, refusal};
use eroam::charging::station::Outcome;
use eroam::clock::leave_out;
use eroam::simulate::world::Driver;
use eroam_domain::quantity::DurationMs;
use eroam_domain::visit::StationClaims;

/// Longer than any wallet or station keeps a list.
fn a_while_passes() {
    leave_out(DurationMs::from_millis(61_000));
}

/// The provider revokes the contract of a driver, and so publishes a new list.
fn revoke(town: &Town, driver: usize) {
    let contract = town.world.drivers[driver].contract;
    town.world.providers()[0].revoke(&contract, "moved away").unwrap();
}

/// Has a station look the list up: a driver asks, and does not agree.
fn look_up_list(town: &mut Town, driver: usize, station: usize) {
    let invitation = town.invitation(station);
    let said = refusal(charge_if(&mut town.world.drivers[driver], &invitation, &mut |_| false));
    assert_eq!(said, "you declined the quote");
    assert!(matches!(town.outcome(station), Outcome::Denied(_)));
}

#[test]
fn a_contract_for_other_zones_is_refused() {
    let town = Town::new(1, 1);
    let mut elsewhere = town.newcomer("ES-9,NO-2");
    let said = refusal(charge(&mut elsewhere, &town.invitation(0)));
    let contract = elsewhere.contract;
    let words = format!(
        "your contract {contract} is good in ES-9,NO-2, and this station is in PT-1: charge elsewhere, or with another contract"
    );
    // Before the station is asked for anything, and before the driver is.
    assert_eq!(said, words);
    assert_eq!(denied(town.outcome(0)), "the driver only wanted to see whose station this is");
    let mut here = town.newcomer("ES-9,PT-1");
    charge(&mut here, &town.invitation(0)).unwrap();
}

#[test]
fn a_contract_is_good_where_its_zones_are_and_its_provider_has_an_agreement() {
    let town = Town::new(1, 1);
    let (Driver { wallet, contract }, emsp) =
        (&town.world.drivers[0], town.world.providers()[0].office().party());
    let here = town.world.stations()[0].station().claims().clone();
    let of_itself = StationClaims { operator: emsp, ..here.clone() };
    for station in [&here, &of_itself] {
        let found = wallet.contracts_at(station).unwrap();
        assert_eq!((found.len(), found[0].contract, found[0].provider), (1, *contract, emsp));
        assert!(found[0].refused.is_none(), "{found:?}");
        // This network's founders have no other names.
        assert_eq!(found[0].provider_name, emsp.to_string());
    }
    let stranger = StationClaims { operator: "XX-ZZZ".parse().unwrap(), ..here };
    let found = wallet.contracts_at(&stranger).unwrap();
    assert_eq!(
        found[0].refused.as_ref().unwrap().to_string(),
        format!(
            "the provider {emsp} of your contract {contract} has no agreement with XX-ZZZ, whose station this is: charge \
             elsewhere, or with another contract"
        )
    );
}

#[test]
fn a_wallet_whose_contract_was_revoked_shows_nothing_and_says_so() {
    let mut town = Town::new(1, 1);
    revoke(&town, 0);
    a_while_passes();
    let words = "your provider has revoked this contract: call it, or charge with another one";
    let Driver { wallet, contract } = &mut town.world.drivers[0];
    assert_eq!(refusal(wallet.prepare(contract)), words);
    assert_eq!(refusal(town.charge(0, 0)), words);
    assert!(matches!(town.outcome(0), Outcome::Denied(_)));
}

#[test]
fn a_wallet_that_prepared_a_proof_before_its_contract_was_revoked_cannot_use_it() {
    let mut town = Town::new(1, 1);
    let Driver { wallet, contract } = &mut town.world.drivers[0];
    wallet.prepare(contract).unwrap();
    revoke(&town, 0);
    // The station looks up the list for the first time, so it has the new one.
    let words = "your provider has revoked this contract: call it, or charge with another one";
    assert_eq!(refusal(town.charge(0, 0)), words);
    assert!(matches!(town.outcome(0), Outcome::Denied(_)));
}

#[test]
fn where_nobody_knows_of_the_revocation_yet_the_ledger_refuses_the_voucher() {
    let mut town = Town::new(2, 1);
    look_up_list(&mut town, 0, 0);
    revoke(&town, 1);
    // For a minute, station and wallet still have the list of before.
    let said = refusal(town.charge(1, 0));
    assert_eq!(said, "the voucher was used before or is blocked: your wallet has to take another");
    assert_eq!(denied(town.outcome(0)), said);
    assert_eq!(town.settled(), (0, 0));
}

#[test]
fn a_driver_whose_list_is_newer_than_the_stations_is_served_after_one_retry() {
    let mut town = Town::new(2, 1);
    look_up_list(&mut town, 0, 0);
    revoke(&town, 1);
    let mut driver = town.newcomer("*");
    let mut asked = 0;
    charge_if(&mut driver, &town.invitation(0), &mut |_| {
        asked += 1;
        true
    })
    .unwrap();
    assert_eq!(asked, 1, "the driver agrees once");
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
}

#[test]
fn a_driver_who_prepared_against_a_list_that_is_replaced_meanwhile_is_served() {
    let mut town = Town::new(2, 1);
    let mut driver = town.newcomer("*");
    let Driver { wallet, contract } = &mut driver;
    wallet.prepare(contract).unwrap();
    revoke(&town, 1);
    // The station has not looked before, so it asks for the newest list.
    charge(&mut driver, &town.invitation(0)).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (1, 1));
}
