//! A tariff in words for a driver who looks for a station.
//!
//! What a charge costs, the quote says, before anything is shown: it knows how much and when. Here is what can be said
//! before that. Prices have their tax in them, since drivers pay it; a unit price with tax is rounded down to a millionth.

use eroam_domain::money::{Currency, Money, decimal};
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::tariff::{
    Dimension, PriceComponent, ReservationRestriction, Restrictions, Tariff, TariffElement,
};

/// A line for each element of the tariff, in its order, in which the first that applies counts; then the least and the
/// most that a charge costs.
#[must_use]
pub fn price_lines(tariff: &Tariff) -> Vec<String> {
    let currency = tariff.currency();
    let mut lines: Vec<String> =
        tariff.elements().iter().map(|element| element_line(element, currency)).collect();
    let bounds = [("at least", tariff.min_price()), ("at most", tariff.max_price())];
    lines.extend(bounds.into_iter().filter_map(|(which, bound)| {
        let bound = Money::new(bound?.incl_vat, currency);
        Some(format!("{which} {bound} a charge, with VAT"))
    }));
    let window = [("from", tariff.valid_from()), ("until", tariff.valid_until())];
    lines.extend(
        window.into_iter().filter_map(|(which, instant)| Some(format!("valid {which} {}", instant?))),
    );
    lines
}

fn element_line(element: &TariffElement, currency: Currency) -> String {
    let prices: Vec<String> =
        element.components.iter().map(|component| component_text(component, currency)).collect();
    let mut line = prices.join(" and ");
    for condition in conditions(&element.restrictions) {
        line.push_str(", ");
        line.push_str(&condition);
    }
    line
}

fn component_text(component: &PriceComponent, currency: Currency) -> String {
    let PriceComponent { dimension, price_micros, vat, step_size } = *component;
    let tax = vat.map_or(Some(0), |vat| vat.tax_on(price_micros));
    // An amount that overflows with its tax is shown without it.
    let (price, tax) = match tax.and_then(|tax| price_micros.checked_add(tax)).zip(vat) {
        Some((price, vat)) => (price, format!("with {} % VAT", decimal(i128::from(vat.ppm()), 4, 0))),
        None => (price_micros, "without VAT".to_owned()),
    };
    let price = Money::new(price, currency);
    let (unit, block) = match dimension {
        Dimension::Energy => ("per kWh", "Wh"),
        Dimension::Time => ("per hour of charging", "s"),
        Dimension::ParkingTime => ("per hour of parking", "s"),
        Dimension::Flat => ("a charge", ""),
    };
    let steps = if step_size > 1 && dimension != Dimension::Flat {
        format!(", in steps of {step_size} {block}")
    } else {
        String::new()
    };
    format!("{price} {unit} {tax}{steps}")
}

/// When an element applies, in words.
fn conditions(restrictions: &Restrictions) -> Vec<String> {
    let Restrictions {
        start_time,
        end_time,
        start_date,
        end_date,
        min_energy,
        max_energy,
        min_current,
        max_current,
        min_power,
        max_power,
        min_duration,
        max_duration,
        day_of_week,
        reservation,
    } = restrictions;
    let mut found = Vec::new();
    match (start_time, end_time) {
        (None, None) => {}
        (Some(start), Some(end)) => found.push(format!("{start} to {end}")),
        (Some(start), None) => found.push(format!("from {start}")),
        (None, Some(end)) => found.push(format!("until {end}")),
    }
    if let Some(days) = day_of_week {
        let days: Vec<String> =
            days.iter().map(|day| format!("{day:?}").chars().take(3).collect::<String>()).collect();
        found.push(format!("on {}", days.join(" ")));
    }
    let mut bounds = |low: Option<String>, high: Option<String>| {
        found.extend(low.map(|low| format!("from {low}")));
        found.extend(high.map(|high| format!("below {high}")));
    };
    let date = |date: &Option<_>| date.as_ref().map(ToString::to_string);
    bounds(date(start_date), date(end_date));
    let thousandths = |value: Option<u64>, scale, unit| {
        value.map(|value| format!("{} {unit}", decimal(i128::from(value), scale, 0)))
    };
    let energy = |energy: &Option<WattHours>| thousandths(energy.map(|energy| energy.milli_wh()), 6, "kWh");
    bounds(energy(min_energy), energy(max_energy));
    let power = |power: &Option<Watts>| thousandths(power.map(|power| power.get()), 3, "kW");
    bounds(power(min_power), power(max_power));
    let current = |current: &Option<MilliAmperes>| thousandths(current.map(|current| current.get()), 3, "A");
    bounds(current(min_current), current(max_current));
    let minutes = |duration: &Option<DurationMs>| {
        // Whole seconds in OCPI; shown in minutes where these are whole, too.
        duration.map(|duration| match duration.millis() {
            ms if ms.checked_rem(60_000) == Some(0) => {
                format!("{} min", decimal(i128::from(ms / 60_000), 0, 0))
            }
            ms => format!("{} s", decimal(i128::from(ms), 3, 0)),
        })
    };
    bounds(minutes(min_duration), minutes(max_duration));
    match reservation {
        None => {}
        Some(ReservationRestriction::Reservation) => found.push("while it is reserved".to_owned()),
        Some(ReservationRestriction::ReservationExpires) => {
            found.push("if a reservation is not used".to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::ids::PartyId;
    use eroam_domain::tariff::{PriceBound, TariffId, TariffParts, VatRate};
    use eroam_domain::time::{TimeOfDay, UnixMillis, Weekdays};

    fn component(
        dimension: Dimension,
        price_micros: i64,
        vat: Option<u32>,
        step_size: u32,
    ) -> PriceComponent {
        PriceComponent { dimension, price_micros, vat: vat.and_then(VatRate::from_ppm), step_size }
    }

    fn lines(elements: Vec<TariffElement>, change: impl FnOnce(&mut TariffParts)) -> Vec<String> {
        let mut parts = TariffParts {
            party: PartyId::new("PT", "GLP").unwrap(),
            id: TariffId::new("AC").unwrap(),
            currency: Currency::new("EUR").unwrap(),
            elements,
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        };
        change(&mut parts);
        price_lines(&Tariff::new(parts).unwrap())
    }

    fn element(components: Vec<PriceComponent>, restrictions: Restrictions) -> TariffElement {
        TariffElement { components, restrictions }
    }

    #[test]
    fn prices_have_their_unit_their_currency_and_their_tax() {
        let all = vec![
            component(Dimension::Energy, 350_000, Some(230_000), 1),
            component(Dimension::Time, 2_000_000, Some(0), 300),
            component(Dimension::ParkingTime, 1_500_000, Some(60_500), 0),
            component(Dimension::Flat, 1_000_000, None, 7),
        ];
        let expected = "0.4305 EUR per kWh with 23 % VAT and 2.00 EUR per hour of charging with 0 % VAT, in steps of 300 s \
                        and 1.59075 EUR per hour of parking with 6.05 % VAT and 1.00 EUR a charge without VAT";
        assert_eq!(lines(vec![element(all, Restrictions::NONE)], |_| {}), [expected]);
    }

    #[test]
    fn a_condition_is_said_in_words() {
        let time = |hour| TimeOfDay::new(hour, 0);
        let none = Restrictions::NONE;
        let table = [
            (Restrictions { start_time: time(8), end_time: time(20), ..none }, "08:00 to 20:00"),
            (Restrictions { start_time: time(22), ..none }, "from 22:00"),
            (Restrictions { end_time: time(6), ..none }, "until 06:00"),
            (Restrictions { day_of_week: Some(Weekdays::WORKING_DAYS), ..none }, "on Mon Tue Wed Thu Fri"),
            (Restrictions { start_date: "2026-12-01".parse().ok(), ..none }, "from 2026-12-01"),
            (Restrictions { end_date: "2026-12-24".parse().ok(), ..none }, "below 2026-12-24"),
            (Restrictions { min_energy: WattHours::from_wh(10_500), ..none }, "from 10.5 kWh"),
            (Restrictions { max_energy: WattHours::from_wh(10_000), ..none }, "below 10 kWh"),
            (Restrictions { min_power: Some(Watts::new(22_000)), ..none }, "from 22 kW"),
            (Restrictions { max_current: Some(MilliAmperes::new(16_000)), ..none }, "below 16 A"),
            (Restrictions { min_duration: DurationMs::from_secs(1_800), ..none }, "from 30 min"),
            (Restrictions { max_duration: DurationMs::from_secs(90), ..none }, "below 90 s"),
            (
                Restrictions { reservation: Some(ReservationRestriction::Reservation), ..none },
                "while it is reserved",
            ),
        ];
        for (restrictions, expected) in table {
            let priced = vec![component(Dimension::Energy, 400_000, None, 1)];
            let said = lines(vec![element(priced, restrictions)], |_| {});
            assert_eq!(said, [format!("0.40 EUR per kWh without VAT, {expected}")]);
        }
    }

    #[test]
    fn elements_are_in_the_order_in_which_they_count_and_bounds_follow() {
        let priced = |micros| vec![component(Dimension::Energy, micros, Some(200_000), 1)];
        let night = Restrictions { end_time: TimeOfDay::new(6, 0), ..Restrictions::NONE };
        let said = lines(
            vec![element(priced(100_000), night), element(priced(200_000), Restrictions::NONE)],
            |parts| {
                parts.min_price = Some(PriceBound { excl_vat: 1_000_000, incl_vat: None });
                parts.max_price = Some(PriceBound { excl_vat: 50_000_000, incl_vat: Some(61_000_000) });
                parts.valid_until = UnixMillis::new(86_400_000);
            },
        );
        let expected = [
            "0.12 EUR per kWh with 20 % VAT, until 06:00",
            "0.24 EUR per kWh with 20 % VAT",
            "at least 1.20 EUR a charge, with VAT",
            "at most 61.00 EUR a charge, with VAT",
            "valid until 1970-01-02T00:00:00Z",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_price_that_overflows_with_its_tax_is_shown_without() {
        let huge = vec![component(Dimension::Energy, i64::MAX, Some(200_000), 1)];
        let said = lines(vec![element(huge, Restrictions::NONE)], |_| {});
        assert_eq!(said, ["9223372036854.775807 EUR per kWh without VAT"]);
    }
}
