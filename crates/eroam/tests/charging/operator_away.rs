//! A station whose operator is away: nothing can be reserved, so nobody gets power, and nobody pays.

use crate::town::{Town, refusal};
use eroam::charging::station::Outcome;

#[test]
fn a_driver_is_refused_while_the_operator_is_away_and_charges_when_it_is_back() {
    let mut town = Town::new(1, 1);
    let contract = town.world.drivers[0].contract;
    let vouchers = |town: &Town| town.world.drivers[0].wallet.contracts[&contract].purse.vouchers().count();
    let before = vouchers(&town);
    town.world.operators()[0].stop();
    assert_eq!(refusal(town.charge(0, 0)), "the station cannot go on at the moment, try another one");
    assert!(
        town.world.stations()[0].outcome().unwrap().is_err(),
        "the station knows that it could not serve"
    );
    assert_eq!(vouchers(&town), before, "no voucher was shown");
    town.world.operators()[0].resume().unwrap();
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (1, 1), "what was refused is neither recorded nor billed");
}
