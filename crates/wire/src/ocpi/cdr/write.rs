//! To JSON, as OCPI 2.2.1.

use super::{AuthMethod, CdrLocation, CdrToken, TokenKind};
use crate::ocpi::json::Out;
use crate::ocpi::tariff::{write_price, write_tariff};
use crate::ocpi::{OcpiError, datetime, number};
use eroam_domain::cdr::{CdrId, ChargingPeriod, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Price};
use eroam_domain::pricing::ItemisedPrice;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::{Dimension, Tariff};
use eroam_domain::time::UnixMillis;

/// Everything that a complete charge detail record says.
#[derive(Clone, Debug)]
pub struct CdrObject<'a> {
    /// The operator.
    pub party: PartyId,
    /// The record's id; an original uses at most 36 characters, so that a credit can add its suffix.
    pub id: CdrId,
    /// The session's id.
    pub session_id: SessionId,
    /// When the session started.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// Who charged.
    pub token: CdrToken,
    /// How it was authorized.
    pub auth_method: AuthMethod,
    /// The home utility's reference, which must come back if it gave one; at most 36 characters.
    pub authorization_reference: Option<String>,
    /// Where it was.
    pub location: CdrLocation,
    /// The tariff that it is priced with, and when that last changed.
    pub tariff: (&'a Tariff, UnixMillis),
    /// What was consumed, in time order.
    pub periods: &'a [ChargingPeriod],
    /// The price of it.
    pub price: &'a ItemisedPrice,
    /// The record that this one cancels: its total is negated, nothing else (mod_cdrs, Credit CDRs).
    pub credits: Option<CdrId>,
    /// A remark for people, at most 255 characters.
    pub remark: Option<String>,
    /// When the record was made.
    pub last_updated: UnixMillis,
}

impl CdrObject<'_> {
    /// The record as JSON. Times are hours with as many decimals as are exact, at most nine, which
    /// [`super::cdr_from_json`] reads back to the millisecond.
    ///
    /// # Errors
    /// [`OcpiError::Field`] for text that OCPI does not take, periods out of order, or a currency that is not the
    /// tariff's.
    pub fn to_json(&self) -> Result<String, OcpiError> {
        self.check()?;
        let totals = Totals::of(self)
            .ok_or_else(|| refuse("$.total_cost", "totals that fit", "too much", "check it"))?;
        let currency: Currency = self.price.currency;
        let mut fields = vec![
            ("country_code", Out::text(self.party.country())),
            ("party_id", Out::text(self.party.id())),
            ("id", Out::text(&self.id)),
            ("start_date_time", Out::Text(datetime::format(self.start))),
            ("end_date_time", Out::Text(datetime::format(self.end))),
            ("session_id", Out::text(&self.session_id)),
            ("cdr_token", self.token()),
            ("auth_method", Out::text(self.auth_method)),
        ];
        fields
            .extend(self.authorization_reference.as_ref().map(|r| ("authorization_reference", Out::text(r))));
        fields.push(("cdr_location", self.location()));
        fields.push(("currency", Out::text(currency)));
        let (tariff, updated) = self.tariff;
        fields.push(("tariffs", Out::List(vec![write_tariff("$.tariffs[0]", tariff, updated)?])));
        let periods = self.periods.iter().map(|period| write_period(period, tariff)).collect();
        fields.push(("charging_periods", Out::List(periods)));
        totals.write(&mut fields);
        fields.extend(self.remark.as_ref().map(|remark| ("remark", Out::text(remark))));
        if let Some(original) = &self.credits {
            fields.push(("credit", Out::Flag(true)));
            fields.push(("credit_reference_id", Out::text(original)));
        }
        fields.push(("last_updated", Out::Text(datetime::format(self.last_updated))));
        Out::Map(fields).print()
    }

    fn check(&self) -> Result<(), OcpiError> {
        let place = &self.location;
        let texts = [
            ("$.cdr_token.uid", Some(&self.token.uid), 36),
            ("$.authorization_reference", self.authorization_reference.as_ref(), 36),
            ("$.remark", self.remark.as_ref(), 255),
            ("$.cdr_location.id", Some(&place.id), 36),
            ("$.cdr_location.name", place.name.as_ref(), 255),
            ("$.cdr_location.address", Some(&place.address), 45),
            ("$.cdr_location.city", Some(&place.city), 45),
            ("$.cdr_location.postal_code", place.postal_code.as_ref(), 10),
            ("$.cdr_location.evse_uid", Some(&place.evse_uid), 36),
            ("$.cdr_location.connector_id", Some(&place.connector.id), 36),
            ("$.cdr_location.connector_standard", Some(&place.connector.standard), 64),
        ];
        for (path, text, max) in texts {
            let Some(text) = text else { continue };
            let count = text.chars().count();
            if text.trim().is_empty() || count > max || text.chars().any(char::is_control) {
                let expected = format!("1 to {max} characters on one line");
                return Err(refuse(
                    path,
                    &expected,
                    &format!("{count} characters"),
                    "shorten it, or fill it in",
                ));
            }
        }
        if self.credits.is_none() && self.id.as_str().len() > 36 {
            let found = format!("{} characters", self.id.as_str().len());
            return Err(refuse("$.id", "at most 36 characters, unless it is a credit", &found, "shorten it"));
        }
        if place.country.len() != 3 || !place.country.bytes().all(|b| b.is_ascii_uppercase()) {
            let expected = "a country code of ISO 3166-1 alpha-3 such as PRT";
            return Err(refuse("$.cdr_location.country", expected, &place.country, "use three letters"));
        }
        for (path, degrees, whole) in [
            ("$.cdr_location.coordinates.latitude", &place.coordinates.latitude, 2),
            ("$.cdr_location.coordinates.longitude", &place.coordinates.longitude, 3),
        ] {
            if !is_degrees(degrees, whole) {
                return Err(refuse(path, "degrees with 5 to 7 decimals", degrees, "write it as 38.722252"));
            }
        }
        if self.tariff.0.currency() != self.price.currency {
            let expected = format!("the tariff's currency {}", self.tariff.0.currency());
            return Err(refuse(
                "$.currency",
                &expected,
                self.price.currency.as_str(),
                "price it in one currency",
            ));
        }
        let ordered = self.periods.is_sorted_by(|a, b| a.start < b.start)
            && self.periods.first().is_some_and(|first| first.start >= self.start)
            && self.periods.last().is_some_and(|last| last.start <= self.end);
        if ordered {
            return Ok(());
        }
        let expected = "at least one period, each after the one before it, within the session";
        Err(refuse("$.charging_periods", expected, "something else", "cut the session into periods first"))
    }

    fn token(&self) -> Out {
        let kind = match self.token.kind {
            TokenKind::Emaid => TokenKind::Other,
            kind => kind,
        };
        Out::Map(vec![
            ("country_code", Out::text(self.token.party.country())),
            ("party_id", Out::text(self.token.party.id())),
            ("uid", Out::text(&self.token.uid)),
            ("type", Out::text(kind)),
            ("contract_id", Out::Text(self.token.contract.to_ocpi())),
        ])
    }

    fn location(&self) -> Out {
        let place = &self.location;
        let mut fields = vec![("id", Out::text(&place.id))];
        fields.extend(place.name.as_ref().map(|name| ("name", Out::text(name))));
        fields.push(("address", Out::text(&place.address)));
        fields.push(("city", Out::text(&place.city)));
        fields.extend(place.postal_code.as_ref().map(|code| ("postal_code", Out::text(code))));
        fields.push(("country", Out::text(&place.country)));
        fields.push((
            "coordinates",
            Out::Map(vec![
                ("latitude", Out::text(&place.coordinates.latitude)),
                ("longitude", Out::text(&place.coordinates.longitude)),
            ]),
        ));
        fields.push(("evse_uid", Out::text(&place.evse_uid)));
        fields.push(("evse_id", Out::text(&place.evse_id)));
        fields.push(("connector_id", Out::text(&place.connector.id)));
        fields.push(("connector_standard", Out::text(&place.connector.standard)));
        fields.push(("connector_format", Out::text(place.connector.format)));
        fields.push(("connector_power_type", Out::text(place.connector.power_type)));
        Out::Map(fields)
    }
}

fn refuse(path: &str, expected: &str, found: &str, remedy: &'static str) -> OcpiError {
    OcpiError::Field { path: path.to_owned(), expected: expected.to_owned(), found: found.to_owned(), remedy }
}

/// `-?d{1,whole}.d{5,7}`, as OCPI's GeoLocation has it.
fn is_degrees(text: &str, whole: usize) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('-').unwrap_or(text).split_once('.').is_some_and(|(before, after)| {
        digits(before)
            && digits(after)
            && (1..=whole).contains(&before.len())
            && (5..=7).contains(&after.len())
    })
}

/// A period with the dimensions that it has; one without any is written as time that was not charged.
fn write_period(period: &ChargingPeriod, tariff: &Tariff) -> Out {
    let dimension = |name: &str, volume: String| {
        Out::Map(vec![("type", Out::text(name)), ("volume", Out::Number(volume))])
    };
    let mut dimensions = Vec::with_capacity(4);
    if !period.energy.is_zero() {
        dimensions.push(dimension("ENERGY", number::write_kwh(period.energy)));
    }
    for (name, duration) in [
        ("TIME", period.charging),
        ("PARKING_TIME", period.parking),
        ("RESERVATION_TIME", period.reservation),
    ] {
        if !duration.is_zero() {
            dimensions.push(dimension(name, number::write_hours(duration)));
        }
    }
    let milli = |value: u64| number::write(i128::from(value), 3);
    if let Some(power) = period.power {
        dimensions.push(dimension("MIN_POWER", milli(power.min.get())));
        dimensions.push(dimension("MAX_POWER", milli(power.max.get())));
    }
    if let Some(current) = period.current {
        dimensions.push(dimension("MIN_CURRENT", milli(current.min.get())));
        dimensions.push(dimension("MAX_CURRENT", milli(current.max.get())));
    }
    if dimensions.is_empty() {
        dimensions.push(dimension("PARKING_TIME", "0".to_owned()));
    }
    Out::Map(vec![
        ("start_date_time", Out::Text(datetime::format(period.start))),
        ("dimensions", Out::List(dimensions)),
        ("tariff_id", Out::text(tariff.id())),
    ])
}

/// The totals of a record. Costs of a reservation are kept apart from those of charging, whatever their dimension.
struct Totals {
    /// Negated for a credit.
    cost: Price,
    energy: WattHours,
    time: DurationMs,
    parking_time: DurationMs,
    /// In the order of [`Dimension::ALL`], then the reservation.
    costs: [Option<Price>; 5],
}

impl Totals {
    /// `None` on overflow, or for a session that ends before it starts.
    fn of(record: &CdrObject<'_>) -> Option<Self> {
        let mut energy = WattHours::ZERO;
        let mut parking_time = DurationMs::ZERO;
        for period in record.periods {
            energy = energy.checked_add(period.energy)?;
            parking_time = parking_time.checked_add(period.parking)?;
        }
        let mut costs = [None; 5];
        for line in &record.price.lines {
            let Some(dimension) = line.rule.dimension() else { continue };
            let period = line.period.and_then(|index| record.periods.get(usize::from(index)));
            let reserved = period.is_some_and(|p| !p.reservation.is_zero());
            let place =
                Dimension::ALL.iter().position(|d| *d == dimension).filter(|_| !reserved).unwrap_or(4);
            let sum: &mut Option<Price> = costs.get_mut(place)?;
            *sum = Some(sum.unwrap_or(Price::ZERO).checked_add(line.amount)?);
        }
        let time = record.end.since(record.start)?;
        let cost = match record.credits {
            Some(_) => Price::ZERO.checked_sub(record.price.total)?,
            None => record.price.total,
        };
        Some(Self { cost, energy, time, parking_time, costs })
    }

    fn write(&self, fields: &mut Vec<(&'static str, Out)>) {
        let price = |p: Price| write_price(p.excl_vat, Some(p.incl_vat));
        let [energy, time, parking, fixed, reservation] = self.costs.map(|p| p.map(price));
        fields.push(("total_cost", price(self.cost)));
        fields.extend(fixed.map(|p| ("total_fixed_cost", p)));
        fields.push(("total_energy", Out::Number(number::write_kwh(self.energy))));
        fields.extend(energy.map(|p| ("total_energy_cost", p)));
        fields.push(("total_time", Out::Number(number::write_hours(self.time))));
        fields.extend(time.map(|p| ("total_time_cost", p)));
        fields.push(("total_parking_time", Out::Number(number::write_hours(self.parking_time))));
        fields.extend(parking.map(|p| ("total_parking_cost", p)));
        fields.extend(reservation.map(|p| ("total_reservation_cost", p)));
    }
}
