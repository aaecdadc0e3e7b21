//! Contracts end with their registry's window, and another registry is opened before one is full.

use super::mandates::Outsourced;
use super::town::{Town, charge, denied, euros, five_kwh, refusal};
use eroam::agent::{Agent, new_id};
use eroam::charging::issuer::CredentialPlace;
use eroam::charging::operator::STATION_VCT;
use eroam::charging::paper;
use eroam::charging::proving::ask_proof;
use eroam::charging::station::{Mode, Outcome, SD_JWT, SD_JWT_REQUEST, StationDemand};
use eroam::charging::wallet::Timings;
use eroam::clock::{in_time, leave_out, now};
use eroam::simulate::world::{Driver, fields};
use eroam_domain::codec::Digest;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::LocalClock;
use eroam_domain::visit::VisitRequest;
use eroam_ssi::protocol::charging::{PROTOCOL, Said, Visit};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::STATION;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const DAY_MS: u64 = 86_400_000;
const YEAR_MS: i64 = 365 * 86_400_000;
const WITHIN: Duration = Duration::from_secs(30);

fn days_pass(days: u64) {
    leave_out(DurationMs::from_millis(days * DAY_MS));
}

/// The day on which contracts of four days end that were made today: a registry takes new ones for a day.
fn last_day() -> String {
    let last = now().checked_add(DurationMs::from_millis(4 * DAY_MS)).unwrap();
    LocalClock::UTC.at(last).date.to_string()
}

#[test]
fn a_wallet_whose_contract_is_over_says_so_before_it_scans_and_gets_no_vouchers() {
    let mut town = Town::new(1, 1);
    let outsourced = Outsourced::with(&town, 4, 64);
    outsourced.grant(YEAR_MS);
    let mut driver = outsourced.enrolled(&town);
    let last = last_day();
    let invitation = town.invitation(0);
    charge(&mut driver, &invitation).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (1, 1));

    days_pass(5);
    let Driver { wallet, contract } = &mut driver;
    let words = format!(
        "your contract {contract} ended with {last}: enrol again with your provider, or charge with another contract"
    );
    let mut timings = Timings::default();
    let charged =
        wallet.charge(contract, &invitation, five_kwh(), euros(30), &mut |_: &_| true, &mut timings);
    assert_eq!(refusal(charged), words);
    assert!(timings.connect.is_zero() && timings.station_proof.is_zero(), "nobody was scanned");
    assert_eq!(refusal(wallet.prepare(contract)), words);
    assert_eq!(refusal(wallet.withdraw(contract, 1, now().utc_day())), "your contract has ended");

    // Another one is good again: it is in a registry that was opened for it.
    let mut again = outsourced.enrolled(&town);
    charge(&mut again, &invitation).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
}

/// What a driver is told who names the first of the agency's registries: a wallet that looks at no window.
fn told(town: &Town, outsourced: &Outsourced, invitation: &Invitation, mode: Mode) -> Said {
    let agent = Agent::start("wallet", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let agent = agent.speaking(PROTOCOL).speaking(STATION);
    let connection = agent.connect(invitation, WITHIN).unwrap();
    see_station(town, &agent, &connection, mode);
    let issuer = outsourced.provider.issuer();
    let request = VisitRequest {
        emsp: outsourced.provider.office().party(),
        definition: issuer.cred_def_id().as_str().parse().unwrap(),
        registry: issuer.registry_ids()[0].as_str().parse().unwrap(),
        limits: eroam_domain::visit::ChargeLimits { amount_max: Some(20_000_000), ..five_kwh() },
        voucher: Digest::of(b"a voucher"),
    };
    let (visit, message) = Visit::ask(connection.channel(), request, new_id(), in_time(WITHIN)).unwrap();
    agent.send(&connection, &message).unwrap();
    let thread = visit.conversation().thread().clone();
    let came = agent.receive_from(&connection, Some(&thread), WITHIN).unwrap();
    let (visit, said) = visit.hear(&came, now()).unwrap();
    if matches!(said, Said::Quote(_)) {
        let (_, message) = visit.say(&Said::Withdrawn, new_id(), now()).unwrap();
        agent.send(&connection, &message).unwrap();
    }
    said
}

fn see_station(town: &Town, agent: &Agent, connection: &Connection, mode: Mode) {
    if mode == Mode::Paper {
        paper::ask_station(agent, connection, &town.world.catalogue().unwrap()).unwrap();
        return;
    }
    let demand = StationDemand { nonce: "1".to_owned(), vct: STATION_VCT.to_owned() };
    let asked = serde_json::to_vec(&demand).unwrap();
    let awaited = ask_proof(agent, connection, SD_JWT_REQUEST, asked).unwrap();
    awaited.shown(agent, connection, SD_JWT).unwrap();
}

fn a_station_refuses_a_contract_that_is_over(mode: Mode) {
    let town = Town::of_mode(1, 1, mode);
    let outsourced = Outsourced::with(&town, 4, 64);
    outsourced.grant(YEAR_MS);
    let (last, invitation) = (last_day(), town.invitation(0));
    let said = told(&town, &outsourced, &invitation, mode);
    assert!(matches!(said, Said::Quote(_)), "{said:?}");
    denied(town.outcome(0));

    days_pass(5);
    let Said::Denied(refused) = told(&town, &outsourced, &invitation, mode) else { panic!("it is over") };
    let words = format!(
        "your contract ended with {last}: enrol again with your provider, or charge with another one"
    );
    assert_eq!(refused.reason, words);
    assert_eq!(denied(town.outcome(0)), words);
}

#[test]
fn a_station_refuses_a_contract_that_is_over_whatever_the_wallet_does() {
    a_station_refuses_a_contract_that_is_over(Mode::Default);
}

#[test]
fn a_station_of_paper_b_refuses_a_contract_that_is_over_whatever_the_wallet_does() {
    a_station_refuses_a_contract_that_is_over(Mode::Paper);
}

#[test]
fn when_a_registry_is_full_the_next_one_takes_the_next_customers() {
    let mut town = Town::new(1, 1);
    // Index 0 is never used: room for three.
    let outsourced = Outsourced::with(&town, 365, 4);
    outsourced.grant(YEAR_MS);
    let mut drivers: Vec<Driver> = (0..5)
        .map(|index| {
            let mut wallet = outsourced.wallet(&town);
            let contract = wallet.enrol(&outsourced.url, &fields(60 + index)).unwrap();
            wallet.withdraw(&contract, 3, now().utc_day()).unwrap();
            Driver { wallet, contract }
        })
        .collect();
    let places: Vec<CredentialPlace> =
        outsourced.provider.customers().iter().filter_map(|customer| customer.credential()).collect();
    let expected = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)];
    assert_eq!(places, expected.map(|(registry, index)| CredentialPlace { registry, index }));

    // Revoked is who is meant, and not who has the same place in another registry.
    let revoked = drivers[3].contract;
    outsourced.provider.revoke(&revoked, "moved away").unwrap();
    let issuer = outsourced.provider.issuer();
    let are_revoked: Vec<bool> = places.iter().map(|place| issuer.is_revoked(*place).unwrap()).collect();
    assert_eq!(are_revoked, [false, false, false, true, false]);
    let invitation = town.invitation(0);
    let words = "your provider has revoked this contract: call it, or charge with another one";
    leave_out(DurationMs::from_millis(61_000));
    assert_eq!(refusal(charge(&mut drivers[3], &invitation)), words);
    denied(town.outcome(0));
    for index in [0, 4] {
        charge(&mut drivers[index], &invitation).unwrap();
        assert!(matches!(town.outcome(0), Outcome::Charged { .. }), "driver {index}");
    }
    assert_eq!(town.settled(), (2, 2));
}

#[test]
fn the_next_registry_is_there_before_the_last_place_is_taken() {
    let town = Town::new(1, 1);
    let outsourced = Outsourced::with(&town, 365, 4);
    outsourced.grant(YEAR_MS);
    let registries = || outsourced.provider.issuer().registry_ids().len();
    assert_eq!(registries(), 1);
    for index in 0..2 {
        outsourced.wallet(&town).enrol(&outsourced.url, &fields(70 + index)).unwrap();
    }
    // Whoever issued has finished.
    outsourced.provider.stop();
    assert_eq!(registries(), 2, "one place is left in the first");
}
