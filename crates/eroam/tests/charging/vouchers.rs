//! Vouchers that do not pay.

use crate::town::{Town, charge, denied, euros, five_kwh, refusal};
use eroam::charging::post::Mishap;
use eroam::charging::station::Outcome;
use eroam::charging::wallet::{Receipt, Timings};
use eroam::clock::{leave_out, now};
use eroam::consortium::founders::currency;
use eroam::program::organisation::OFFICE_LANE;
use eroam::simulate::world::Driver;
use eroam_domain::money::Money;
use eroam_domain::quantity::DurationMs;
use eroam_domain::voucher::OneTimeKey;
use eroam_gateway::vouchers::VoucherRules;
use eroam_ledger::query;
use eroam_ledger::tx::Tx;
use eroam_ledger::voucher::VoucherTx;
use eroam_ssi::didcomm::{OsRng, SigningKey};
use eroam_wallet::consent::Consent;
use eroam_wallet::purse::Purse;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::mpsc;

fn purse(driver: &mut Driver) -> &mut Purse {
    &mut driver.wallet.contracts.get_mut(&driver.contract).unwrap().purse
}

/// The same purse again, as a thief or a backup has it.
fn copy(purse: &Purse) -> Purse {
    Purse::import_secret(&purse.export_secret().unwrap()).unwrap()
}

/// A purse whose vouchers, with their keys, were changed by hand.
fn forged(purse: &Purse, change: impl Fn(&mut Value)) -> Purse {
    let mut all: Value = serde_json::from_slice(&purse.export_secret().unwrap()).unwrap();
    all.as_array_mut().unwrap().iter_mut().for_each(change);
    Purse::import_secret(all.to_string().as_bytes()).unwrap()
}

#[test]
fn a_voucher_that_its_provider_did_not_sign_is_refused() {
    let mut town = Town::new(1, 1);
    let genuine = copy(purse(&mut town.world.drivers[0]));
    let dearer = forged(&genuine, |stored| {
        stored["voucher"]["voucher"]["cap"]["micros"] = 41_000_000.into();
    });
    // Somebody else's, for a key of the thief's own.
    let stolen = forged(&genuine, |stored| {
        let key = OneTimeKey(*SigningKey::from_seed(&[5; 32]).verification_key().as_bytes());
        stored["seed"] = "05".repeat(32).into();
        stored["voucher"]["voucher"]["holder"] = key.to_string().into();
    });
    let garbage = forged(&genuine, |stored| {
        stored["voucher"]["signature"] = "ab".repeat(64).into();
    });
    for changed in [dearer, stolen, garbage] {
        *purse(&mut town.world.drivers[0]) = changed;
        let said = refusal(town.charge(0, 0));
        assert_eq!(said, "the voucher is none of your provider's, or was changed: renew your vouchers");
        assert_eq!(denied(town.outcome(0)), said);
    }
    *purse(&mut town.world.drivers[0]) = genuine;
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (1, 1));
}

/// How many keys the ledger has of the provider.
fn published(town: &Town) -> usize {
    let office = town.world.providers()[0].office();
    query::voucher_keys(office.client(), office.party()).unwrap().len()
}

#[test]
fn a_provider_whose_key_for_vouchers_ends_signs_the_next_ones_with_another() {
    let mut town = Town::new(1, 1);
    for years in 1..=3 {
        assert_eq!(published(&town), years);
        leave_out(DurationMs::from_millis(365 * 86_400_000));
        let Driver { wallet, contract } = &mut town.world.drivers[0];
        wallet.withdraw(contract, 2, now().utc_day()).unwrap();
        town.charge(0, 0).unwrap();
        assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    }
    assert_eq!(town.settled(), (3, 3));
}

/// The provider signs, and the wallet never gets the answer: gives the keys that it goes on waiting for.
fn lose_a_withdrawal(town: &mut Town) -> Vec<OneTimeKey> {
    let contract = town.world.drivers[0].contract;
    *purse(&mut town.world.drivers[0]) = Purse::new();
    let keys = purse(&mut town.world.drivers[0]).withdraw(3, &mut OsRng).unwrap();
    let office = town.world.providers()[0].office();
    let given = office.with(|gateway, ledger| {
        let day = now().utc_day();
        let given = gateway.issue_vouchers(ledger, office.network(), &contract, &keys, day, now()).unwrap();
        gateway.commit().unwrap();
        given
    });
    assert_eq!(given.unwrap().len(), keys.len());
    keys
}

#[test]
fn what_is_withdrawn_after_an_answer_was_lost_pays_whatever_became_of_the_first_vouchers() {
    /// What happened, how, and whether the keys that wait get vouchers.
    type Case = (&'static str, fn(&Town), bool);
    let cases: [Case; 4] = [
        ("nothing", |_| {}, true),
        ("they are over", |_| leave_out(DurationMs::from_millis(60 * 86_400_000)), false),
        (
            "they were blocked",
            |town| town.world.providers()[0].block_vouchers(&town.world.drivers[0].contract).unwrap(),
            false,
        ),
        (
            "their key was revoked",
            |town| {
                let office = town.world.providers()[0].office();
                office.submit(OFFICE_LANE, Tx::Voucher(VoucherTx::RevokeKey { key: 0 })).unwrap();
            },
            true,
        ),
    ];
    for (name, happens, waits_for_some) in cases {
        let mut town = Town::new(1, 1);
        let keys = lose_a_withdrawal(&mut town);
        happens(&town);
        let Driver { wallet, contract } = &mut town.world.drivers[0];
        assert_eq!(wallet.withdraw(contract, 3, now().utc_day()).unwrap(), 3, "{name}");
        let purse = purse(&mut town.world.drivers[0]);
        let holders: BTreeSet<_> = purse.vouchers().map(|signed| signed.voucher.holder).collect();
        assert_eq!(keys.iter().all(|key| holders.contains(key)), waits_for_some, "{name}");
        assert_eq!((holders.len(), purse.under_way().count()), (3, 0), "{name}");
        town.charge(0, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(matches!(town.outcome(0), Outcome::Charged { .. }), "{name}");
        assert_eq!(town.settled(), (1, 1), "{name}");
    }
}

#[test]
fn a_voucher_that_was_spent_is_refused() {
    let mut town = Town::new(1, 1);
    let before = copy(purse(&mut town.world.drivers[0]));
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    *purse(&mut town.world.drivers[0]) = before;
    let said = refusal(town.charge(0, 0));
    assert_eq!(said, "the voucher was used before or is blocked: your wallet has to take another");
    assert_eq!(denied(town.outcome(0)), said);
    // The next one is good.
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (2, 2));
}

#[test]
fn one_voucher_at_two_stations_at_a_time_is_charged_with_once() {
    let mut town = Town::new(1, 2);
    let mut drivers = [town.newcomer("*"), town.newcomer("*")];
    let shared = copy(purse(&mut drivers[0]));
    *purse(&mut drivers[1]) = shared;
    // Whoever gets power waits there until the other one was answered.
    let (mut gates, mut invitations) = (Vec::new(), Vec::new());
    for place in 0..2 {
        let (open, gate) = mpsc::channel::<()>();
        let waits = move || {
            let _ = gate.recv();
        };
        town.world.stations()[place].mishaps().add(Mishap::Meanwhile(Box::new(waits)));
        gates.push(open);
        invitations.push(town.invitation(place));
    }
    let results: Vec<Result<Receipt, String>> = std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for (driver, invitation) in drivers.iter_mut().zip(&invitations) {
            let tell = tell.clone();
            scope.spawn(move || {
                tell.send(charge(driver, invitation).map_err(|error| error.to_string())).unwrap();
            });
        }
        let first = told.recv().unwrap();
        gates.clear();
        vec![first, told.recv().unwrap()]
    });
    let refused = "the voucher was used before or is blocked: your wallet has to take another";
    assert_eq!(results[0].as_ref().err().map(String::as_str), Some(refused));
    assert!(results[1].is_ok(), "{:?}", results[1]);
    let _ = (town.outcome(0), town.outcome(1));
    assert_eq!(town.settled(), (1, 1));
}

#[test]
fn nothing_is_charged_for_more_than_a_voucher_pays_or_less_than_the_beginning_costs() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    let Driver { wallet, contract } = &mut town.world.drivers[0];
    let mut try_for = |amount| {
        let mut agrees = |consent: &Consent| -> bool { panic!("nobody is asked: {consent}") };
        let timings = &mut Timings::default();
        refusal(wallet.charge(contract, &invitation, five_kwh(), amount, &mut agrees, timings))
    };
    let above = try_for(euros(41));
    assert!(above.starts_with("no voucher in your wallet pays 41.00 EUR now"), "{above}");
    // Each charge costs 0.35 before anything flows.
    let below = try_for(Money::new(100_000, currency()));
    let expected = "0.3395 EUR is due for the beginning of a charge alone, and you allow 0.10 EUR: allow more, or charge elsewhere";
    assert_eq!(below, expected);
}

#[test]
fn a_daily_limit_that_is_used_up_is_said_and_what_is_left_of_it_is_given() {
    let town = Town::new(1, 1);
    let cap = euros(40);
    let rules = VoucherRules { cap, valid_days: 30, daily_limit: 2 * cap.micros };
    let provider = &town.world.providers()[0];
    provider.office().with(|gateway, _| gateway.rules_mut().vouchers = Some(rules));
    // A wallet asks for more at once than there is.
    let mut driver = town.newcomer("*");
    assert_eq!(purse(&mut driver).vouchers().count(), 2);
    let Driver { wallet, contract } = &mut driver;
    let said = refusal(wallet.withdraw(contract, 1, now().utc_day()));
    assert_eq!(said, "your daily limit is used up: charge again tomorrow, or call your provider");
    assert!(wallet.withdraw(contract, 1, now().utc_day() + 1).unwrap() > 0, "tomorrow there is another");
}
