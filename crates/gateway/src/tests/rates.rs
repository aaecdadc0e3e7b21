//! Rates of an outside server, from a stand-in that says what it is told to say.

use super::world::*;
use crate::rates::{
    HourlyRate, RateFault, RateLimits, RateServer, RateServerError, ServedRates, tariff_by_rates,
};
use crate::sessions::Phase;
use eroam_domain::money::Currency;
use eroam_domain::tariff::{Tariff, TariffParts};
use eroam_domain::time::{LocalClock, UtcOffset};

/// Says the same whenever it is asked, as far as that is ahead; or fails.
struct StandIn(Option<ServedRates>);

impl RateServer for StandIn {
    fn rates(&mut self, first_hour: i64) -> Result<ServedRates, RateServerError> {
        let served = self.0.clone();
        let served = served
            .ok_or_else(|| RateServerError { what: "no answer from the market".into(), source: None })?;
        let rates = served.rates.into_iter().filter(|rate| rate.hour >= first_hour).collect();
        Ok(ServedRates { rates, ..served })
    }
}

const LIMITS: RateLimits = RateLimits { least_micros: 10_000, most_micros: EUR, hours_max: 48 };

/// Rates in cents from the hour after `now` on.
fn served(now: eroam_domain::time::UnixMillis, cents: &[i64]) -> ServedRates {
    let first = now.utc_hour() + 1;
    let rate = |(hour, cents): (i64, &i64)| HourlyRate { hour, micros_per_kwh: cents * 10_000 };
    ServedRates { currency: eur(), rates: (first..).zip(cents).map(rate).collect() }
}

fn base() -> Tariff {
    Tariff::new(tariff(glp())).unwrap()
}

/// Asks the server, and publishes what it says; gives what stood in the way.
fn publish(world: &mut World, server: &mut dyn RateServer, clock: LocalClock) -> Option<RateFault> {
    let said = server.rates(world.now.utc_hour() + 1).unwrap();
    let (mut made, now) = (None, world.now);
    world
        .call(glp(), |gateway, ledger| {
            made = Some(gateway.publish_rates(ledger, &base(), &said, LIMITS, &clock, now)?);
            Ok(Vec::new())
        })
        .unwrap();
    match made.unwrap() {
        Ok(tx) => {
            assert_eq!(world.ledger.office_at(now, glp(), tx), None);
            None
        }
        Err(fault) => Some(fault),
    }
}

#[test]
fn a_session_is_quoted_recorded_and_billed_at_the_rates_of_its_hours() {
    let mut world = World::new();
    let mut server = StandIn(Some(served(world.now, &[20, 60])));
    assert_eq!(publish(&mut world, &mut server, LocalClock::UTC), None);
    world.wait(90 * MINUTE);
    // 22 kWh at 22 kW from 13:30 on: 11 at 0.20 and 11 at 0.60, and the fee; 95 % of it.
    let mut request = world.ask("s1", AT_GLP, ANA, card(ANA));
    request.energy_wanted = Some(wh(22_000));
    let quote = quoted(&world.request(&request));
    assert_eq!((quote.wholesale.excl_vat, quote.tariff.version), (9_310_000, 2));
    assert!(is_power_on(&world.accept("s1")));
    let mut consumption = hour_of(world.now, 22_000);
    let (first, half) = (consumption.periods[0], consumption.periods[0].start);
    let half = later(half, HOUR / 2);
    let part = |start| eroam_domain::cdr::ChargingPeriod {
        start,
        energy: wh(11_000),
        charging: eroam_domain::quantity::DurationMs::from_millis(HOUR / 2),
        ..first
    };
    consumption.periods = vec![part(first.start), part(half)];
    world.wait(HOUR);
    world.consumed("s1", consumption);
    let Phase::Recorded { cdr, .. } = world.session("s1").phase else { panic!("recorded") };
    assert_eq!(cdr.price, quote.wholesale, "the ledger made the same price of the published tariff");
    assert_eq!(world.bill_lines(edp())[0].wholesale, Some(cdr.price));
    // After the last hour that has a rate, the tariff's own price of energy is back.
    world.wait(HOUR);
    assert_eq!(quoted(&world.swipe("s2", AT_GLP, ANA)).wholesale.excl_vat, 8_550_000);
}

#[test]
fn a_server_that_fails_leaves_the_tariff_as_it_is() {
    let mut world = World::new();
    let error = StandIn(None).rates(0).unwrap_err();
    assert_eq!(error.to_string(), "no answer from the market");
    let nothing = publish(&mut world, &mut StandIn(Some(served(start(), &[]))), LocalClock::UTC);
    assert_eq!(nothing, Some(RateFault::NoRates));
    assert_eq!(quoted(&world.swipe("s1", AT_GLP, ANA)).tariff.version, 1);
}

#[test]
fn rates_that_cannot_be_believed_make_no_tariff() {
    let now = start();
    let first = now.utc_hour() + 1;
    let good = || served(now, &[20, 30]);
    let with = |spoil: &dyn Fn(&mut ServedRates)| {
        let mut spoilt = good();
        spoil(&mut spoilt);
        tariff_by_rates(&base(), &spoilt, LIMITS, &LocalClock::UTC, now).unwrap_err()
    };
    let unbelievable = |micros| RateFault::Unbelievable { hour: first + 1, micros, least: 10_000, most: EUR };
    let nok = Currency::new("NOK").unwrap();
    for (found, want) in [
        (with(&|s| s.rates.clear()), RateFault::NoRates),
        (with(&|s| s.rates = vec![s.rates[0]; 49]), RateFault::TooMany { found: 49, most: 48 }),
        (with(&|s| s.currency = nok), RateFault::Currency { found: nok, expected: eur() }),
        (with(&|s| s.rates[1].micros_per_kwh = 0), unbelievable(0)),
        (with(&|s| s.rates[1].micros_per_kwh = -50_000), unbelievable(-50_000)),
        // Per MWh for per kWh.
        (with(&|s| s.rates[1].micros_per_kwh = 30_000_000), unbelievable(30_000_000)),
        (with(&|s| s.rates[1].hour = first), RateFault::Twice { hour: first }),
        (with(&|s| s.rates[0].hour = first - 1), RateFault::Begun { hour: first - 1 }),
        (with(&|s| s.rates[0].hour = i64::MAX), RateFault::NoTime { hour: i64::MAX }),
    ] {
        assert_eq!(found, want);
        assert!(!found.to_string().is_empty());
    }
    assert!(with(&|s| s.rates[0].hour = first - 1).to_string().contains("2025-03-10T12:00:00Z has begun"));
    // Whatever the limits say, nothing is free.
    let generous = RateLimits { least_micros: -EUR, ..LIMITS };
    let mut free = good();
    free.rates[0].micros_per_kwh = 0;
    let found = tariff_by_rates(&base(), &free, generous, &LocalClock::UTC, now);
    assert!(matches!(found, Err(RateFault::Unbelievable { least: 1, .. })), "{found:?}");
    let by_time = TariffParts {
        elements: base()
            .elements()
            .iter()
            .cloned()
            .map(|mut element| {
                element.components.remove(0);
                element
            })
            .collect(),
        ..tariff(glp())
    };
    let by_time = Tariff::new(by_time).unwrap();
    assert_eq!(tariff_by_rates(&by_time, &good(), LIMITS, &LocalClock::UTC, now), Err(RateFault::NoEnergy));
}

#[test]
fn an_hour_is_found_on_any_stations_clock() {
    let offset = |minutes: i32| LocalClock::fixed(UtcOffset::new(minutes * 60).unwrap());
    for (minutes, elements) in [(0, 25), (60, 25), (-300, 25), (330, 26), (345, 26)] {
        let made = tariff_by_rates(&base(), &served(start(), &[25; 24]), LIMITS, &offset(minutes), start());
        assert_eq!(made.unwrap().elements().len(), elements, "{minutes} minutes: over midnight in two parts");
    }
    // Set back by an hour at 15:00 UTC: two hours look the same.
    let mut clock = offset(60);
    clock.change = Some((on(3, 10, 15, 0), UtcOffset::UTC));
    let found = tariff_by_rates(&base(), &served(start(), &[25; 24]), LIMITS, &clock, start());
    assert_eq!(found, Err(RateFault::ClockSetBack { hour: on(3, 10, 15, 0).utc_hour() }));
    // Set forward, no two do.
    let mut clock = offset(0);
    clock.change = Some((on(3, 10, 15, 0), UtcOffset::new(3_600).unwrap()));
    assert!(tariff_by_rates(&base(), &served(start(), &[25; 24]), LIMITS, &clock, start()).is_ok());
}
