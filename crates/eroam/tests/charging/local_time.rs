//! Times of day in a tariff are those of the station's place: over midnight, over a change of the clocks, and for the
//! month of the bill.

use crate::accounting::{bill_lines, booked, session_of};
use crate::town::{Town, charge_up_to, euros};
use eroam::charging::local_time::clock_at;
use eroam::clock::{leave_out, now};
use eroam_domain::cdr::Cdr;
use eroam_domain::money::Price;
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{LocalClock, TimeOfDay, UnixMillis, UtcOffset};
use eroam_domain::visit::ChargeLimits;
use eroam_ledger::query;
use eroam_ledger::state::StateKey;
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::Tx;
use std::sync::LazyLock;

/// The lane of transactions that people make.
const OFFICE_LANE: u16 = 1;

/// An instant of the year after this one, as `01-31T23:30:00Z`.
fn next_year(text: &str) -> UnixMillis {
    let year = LocalClock::UTC.at(*BEGUN).date.year() + 1;
    let instant: jiff::Timestamp = format!("{year}-{text}").parse().unwrap();
    UnixMillis::new(instant.as_millisecond()).unwrap()
}

/// When the test began: hours that are left out do not change which year is the next.
static BEGUN: LazyLock<UnixMillis> = LazyLock::new(now);

/// When the clocks of a zone change next year, in spring and in autumn.
fn changes(zone: &str) -> [UnixMillis; 2] {
    let begin = jiff::Timestamp::from_millisecond(next_year("01-01T00:00:00Z").get()).unwrap();
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let mut following = zone.following(begin);
    [(); 2].map(|()| UnixMillis::new(following.next().unwrap().timestamp().as_millisecond()).unwrap())
}

fn minutes_before(instant: UnixMillis, minutes: u64) -> UnixMillis {
    instant.checked_sub(DurationMs::from_millis(minutes * 60_000)).unwrap()
}

/// Lisbon's and Madrid's operator charge a tenth from midnight to two o'clock of what they charge at other times.
fn cheap_after_midnight(town: &Town) {
    let element = |price_micros, restrictions| TariffElement {
        components: vec![PriceComponent {
            dimension: Dimension::Energy,
            price_micros,
            vat: VatRate::from_ppm(200_000),
            step_size: 1,
        }],
        restrictions,
    };
    let night = Restrictions {
        start_time: TimeOfDay::new(0, 0),
        end_time: TimeOfDay::new(2, 0),
        ..Restrictions::NONE
    };
    for operator in town.world.operators() {
        let tariff = Tariff::new(TariffParts {
            party: operator.party(),
            id: TariffId::new("AC").unwrap(),
            currency: eroam::consortium::founders::currency(),
            elements: vec![element(50_000, night), element(500_000, Restrictions::NONE)],
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        });
        let publish = TariffTx::PublishTariff { version: 2, tariff: tariff.unwrap() };
        operator.office().submit(OFFICE_LANE, Tx::Tariff(publish)).unwrap();
    }
}

/// The clock goes forward to an instant.
fn it_becomes(instant: UnixMillis) {
    leave_out(instant.since(now()).expect("an instant to come"));
}

/// A newcomer charges so much from an instant on at a station, the first in Lisbon, the second in Madrid: the record, and
/// what its price would be by another clock.
fn charged(
    town: &mut Town,
    station: usize,
    from: UnixMillis,
    wh: u64,
) -> (Cdr, impl Fn(LocalClock) -> Price + use<>) {
    it_becomes(from);
    let mut driver = town.newcomer("*");
    let limits = ChargeLimits { energy_max: WattHours::from_wh(wh), ..ChargeLimits::default() };
    charge_up_to(&mut driver, &town.invitation(station), limits, euros(30), &mut |_| true).unwrap();
    let session = session_of(town.outcome(station));
    town.settled();
    let operator = &town.world.operators()[station];
    let (cdr, _, quote) = booked(operator, &session);
    let ledger = town.world.catalogue().unwrap();
    let key = StateKey::Tariff(quote.operator, quote.tariff.id.clone(), quote.tariff.version);
    let tariff: Tariff = ledger.entry(&key, "the tariff").unwrap();
    let emsp = town.world.providers()[0].office().party();
    let (_, terms) = query::agreement_in_force(&ledger, emsp, quote.operator, cdr.start).unwrap().unwrap();
    let record = cdr.clone();
    let by = move |clock| {
        let inputs = PricingInputs {
            tariff: &tariff,
            rule: &terms.price_rule,
            rounding: terms.rounding,
            clock,
            periods: &record.periods,
            end: record.end,
            forecast: None,
        };
        pricing::price(&inputs).unwrap().total
    };
    (cdr, by)
}

#[test]
fn a_tariffs_night_and_the_month_of_a_bill_begin_at_the_stations_own_midnight() {
    let mut town = Town::new(1, 2);
    cheap_after_midnight(&town);
    // Half past eleven in the evening of the last of January in Lisbon, half past midnight in Madrid.
    let (lisbon, by) = charged(&mut town, 0, next_year("01-31T23:30:00Z"), 500);
    assert_eq!(lisbon.clock, LocalClock::UTC);
    let dear = lisbon.price;
    assert_eq!(by(lisbon.clock), dear);
    let (madrid, by) = charged(&mut town, 1, next_year("01-31T23:45:00Z"), 500);
    assert!(madrid.end < next_year("02-01T00:00:00Z"), "{}", madrid.end);
    assert_eq!(madrid.clock, LocalClock::fixed(UtcOffset::new(3_600).unwrap()));
    assert_eq!(by(madrid.clock), madrid.price);
    assert!(by(LocalClock::UTC).incl_vat > 5 * madrid.price.incl_vat, "{:?}", madrid.price);
    assert!(dear.incl_vat > 5 * madrid.price.incl_vat);
    // Over Lisbon's midnight the price changes in the middle of a charge.
    let midnight = next_year("02-11T00:00:00Z");
    let (over, by) = charged(&mut town, 0, minutes_before(midnight, 10), 3_000);
    assert!(over.start < midnight && midnight < over.end, "{} to {}", over.start, over.end);
    assert_eq!(by(over.clock), over.price);
    let (all_night, all_day) = (UtcOffset::new(3_600).unwrap(), UtcOffset::new(-18_000).unwrap());
    assert!(by(LocalClock::fixed(all_night)).incl_vat < over.price.incl_vat);
    assert!(over.price.incl_vat < by(LocalClock::fixed(all_day)).incl_vat);
    // Each is on the bill of the month in which it ended by the clock there.
    let lines = bill_lines(&town);
    let month = |cdr: &Cdr| lines.iter().find(|line| line.start == cdr.start).unwrap().month.to_string();
    let of_bills = [month(&lisbon), month(&madrid), month(&over)];
    let months = of_bills.iter().map(|month| month.split_once('-').unwrap().1);
    assert_eq!(months.collect::<Vec<_>>(), ["01", "02", "02"]);
}

#[test]
fn the_clocks_change_in_the_middle_of_a_charge_as_they_do_at_the_station() {
    let mut town = Town::new(1, 2);
    cheap_after_midnight(&town);
    // At one o'clock in Lisbon and two in Madrid the clocks go an hour forward, to the end of the night or past it.
    let [change, _] = changes("Europe/Lisbon");
    let hours = |hours: i32| UtcOffset::new(hours * 3_600).unwrap();
    let (lisbon, by) = charged(&mut town, 0, minutes_before(change, 10), 5_000);
    assert!(lisbon.start < change && change < lisbon.end, "{} to {}", lisbon.start, lisbon.end);
    assert_eq!(lisbon.clock, LocalClock { offset: hours(0), change: Some((change, hours(1))) });
    assert_eq!(by(lisbon.clock), lisbon.price);
    // Without the change all of it would be in the night.
    assert!(by(LocalClock::fixed(hours(0))).incl_vat < lisbon.price.incl_vat);
    // In the autumn Madrid has the hour from two to three twice; what begins in the second one has no change any more.
    let [_, change] = changes("Europe/Madrid");
    let (madrid, by) = charged(&mut town, 1, change, 500);
    assert_eq!(madrid.clock, LocalClock::fixed(hours(1)));
    assert_eq!(by(madrid.clock), madrid.price);
    let zone = "Europe/Madrid".parse().unwrap();
    assert_eq!(clock_at(&zone, madrid.start).unwrap().between(madrid.start, madrid.end), madrid.clock);
}
