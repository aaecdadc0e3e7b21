//! OCPI tariffs.
//!
//! A tariff of 2.1.1 names no party and no VAT: the party is the one that sent it, and its components have no VAT.
//! A tariff of 2.3.0 whose prices include taxes is refused, because the price without tax cannot be told exactly.
//!
//! What has no meaning in the domain is read and dropped: the texts and links for drivers, the energy mix, the
//! profile type.
//!
//! Source: OCPI 2.2.1 mod_tariffs; 2.1.1 mod_tariffs; 2.3.0 mod_tariffs for `tax_included`, `before_taxes`.

use super::findings::{DeviationKind, Findings};
use super::json::{Object, Out, Value};
use super::{OcpiError, OcpiVersion, datetime, number};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::tariff::{
    Dimension, ELEMENTS_MAX, PriceBound, PriceComponent, ReservationRestriction, Restrictions, Tariff,
    TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{UnixMillis, Weekday, Weekdays};

/// The greatest number of components in an element of a document; the domain allows one for each dimension.
const COMPONENTS_MAX: usize = 16;
/// The greatest number of days in a `day_of_week`.
const DAYS_MAX: usize = 7;

/// A tariff as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TariffDocument {
    /// The version whose shape it has.
    pub version: OcpiVersion,
    /// The tariff.
    pub tariff: Tariff,
    /// When its operator last changed it.
    pub last_updated: Option<UnixMillis>,
    /// What was odd.
    pub findings: Findings,
}

/// Reads a tariff. `sender` is the party that sent it, and owns it unless the document names another.
///
/// # Errors
/// [`OcpiError`] names the place and what to do.
pub fn tariff_from_json(text: &str, sender: PartyId) -> Result<TariffDocument, OcpiError> {
    let mut findings = Findings::default();
    let (version, tariff, last_updated) = read_tariff(&Value::document(text)?, sender, &mut findings)?;
    Ok(TariffDocument { version, tariff, last_updated, findings: findings.bounded()? })
}

/// Writes a tariff as OCPI 2.2.1.
///
/// # Errors
/// [`OcpiError::Field`] for a duration that is no whole number of seconds, which OCPI cannot express.
pub fn tariff_to_json(tariff: &Tariff, last_updated: UnixMillis) -> Result<String, OcpiError> {
    write_tariff("$", tariff, last_updated)?.print()
}

pub(super) fn read_tariff(
    value: &Value<'_>,
    sender: PartyId,
    findings: &mut Findings,
) -> Result<(OcpiVersion, Tariff, Option<UnixMillis>), OcpiError> {
    let mut object = value.object()?;
    let version = if object.has("tax_included") {
        OcpiVersion::V2_3_0
    } else if object.has("country_code") || object.has("party_id") {
        OcpiVersion::V2_2_1
    } else {
        OcpiVersion::V2_1_1
    };
    let party = match version {
        OcpiVersion::V2_1_1 => sender,
        _ => read_party(&mut object, findings)?.unwrap_or_else(|found| {
            if let Some((path, found)) = found {
                findings.add_deviation(&path, DeviationKind::Assumed, found, format!("the sender {sender}"));
            }
            sender
        }),
    };
    if let Some(included) = object.take("tax_included") {
        refuse_included_tax(&included)?;
    }
    let id = object.need("id", "the tariff's id")?;
    let id = id.parsed("1 to 36 printable ASCII characters", |text| TariffId::new(text).ok())?;
    let currency = object.need("currency", "the currency of its prices")?.currency(findings)?;
    let parts = TariffParts {
        party,
        id,
        currency,
        min_price: object.take("min_price").map(|v| read_bound(&v, findings)).transpose()?,
        max_price: object.take("max_price").map(|v| read_bound(&v, findings)).transpose()?,
        elements: read_elements(&object.need("elements", "at least one tariff element")?, findings)?,
        valid_from: object.take("start_date_time").map(|v| v.instant()).transpose()?,
        valid_until: object.take("end_date_time").map(|v| v.instant()).transpose()?,
    };
    let last_updated = object.want("last_updated", findings).map(|v| v.instant()).transpose()?;
    object.skip(&["type", "tariff_alt_text", "tariff_alt_url", "energy_mix"]);
    object.finish(findings);
    match Tariff::new(parts) {
        Ok(tariff) => Ok((version, tariff, last_updated)),
        Err(source) => Err(OcpiError::Tariff { path: value.path.clone(), source }),
    }
}

/// The party of an object, or where and what stands there that names none.
type PartyOrFound = Result<PartyId, Option<(String, String)>>;

/// Reads `country_code` and `party_id`.
pub(super) fn read_party(
    object: &mut Object<'_>,
    findings: &mut Findings,
) -> Result<PartyOrFound, OcpiError> {
    let country = object.want("country_code", findings);
    let id = object.want("party_id", findings);
    let (Some(country), Some(id)) = (country, id) else { return Ok(Err(None)) };
    let (country_text, id_text) = (country.text()?, id.text()?);
    let Ok(party) = PartyId::new(&country_text, &id_text) else {
        let place = if country_text.len() == 2 { id } else { country };
        return Ok(Err(Some((place.path.clone(), place.quote()))));
    };
    for (place, text, normal) in [(country, country_text, party.country()), (id, id_text, party.id())] {
        if text != normal {
            findings.add_deviation(&place.path, DeviationKind::Normalised, place.quote(), normal);
        }
    }
    Ok(Ok(party))
}

fn refuse_included_tax(included: &Value<'_>) -> Result<(), OcpiError> {
    match included.text()?.as_str() {
        "NO" | "N/A" => Ok(()),
        _ => Err(included.refuse("NO or N/A", "ask for a tariff whose prices are without tax")),
    }
}

/// A price with its names in 2.2.1 and 2.3.0, or a bare number as 2.1.1 has it.
pub(super) fn read_price(value: &Value<'_>, findings: &mut Findings) -> Result<PriceBound, OcpiError> {
    const MICROS: u8 = 6;
    if value.is_number() {
        return Ok(PriceBound { excl_vat: value.decimal(MICROS, findings)?, incl_vat: None });
    }
    let mut object = value.object()?;
    let price = if object.has("before_taxes") {
        let excl_vat = object.need("before_taxes", "the amount without tax")?.decimal(MICROS, findings)?;
        let after = object.take("after_taxes").map(|v| v.decimal(MICROS, findings)).transpose()?;
        let taxes = object.take("taxes").map(|v| sum_taxes(&v, excl_vat, findings)).transpose()?;
        PriceBound { excl_vat, incl_vat: after.or(taxes) }
    } else {
        let excl_vat = object.need("excl_vat", "the amount without VAT")?.decimal(MICROS, findings)?;
        let incl_vat = object.take("incl_vat").map(|v| v.decimal(MICROS, findings)).transpose()?;
        PriceBound { excl_vat, incl_vat }
    };
    object.finish(findings);
    Ok(price)
}

/// 2.3.0: the amount without tax and all taxes together.
fn sum_taxes(taxes: &Value<'_>, before: i64, findings: &mut Findings) -> Result<i64, OcpiError> {
    const TAXES_MAX: usize = 16;
    let mut total = before;
    for tax in taxes.items(TAXES_MAX)? {
        let mut object = tax.object()?;
        let amount = object.need("amount", "the amount of the tax")?;
        let micros = amount.decimal(6, findings)?;
        total = total.checked_add(micros).ok_or_else(|| amount.refuse("an amount that fits", "check it"))?;
        object.skip(&["name", "account_number", "percentage"]);
        object.finish(findings);
    }
    Ok(total)
}

/// `min_price` or `max_price`. A bare number is what peers make of it that know 2.1.1.
fn read_bound(value: &Value<'_>, findings: &mut Findings) -> Result<PriceBound, OcpiError> {
    if value.is_number() {
        findings.add_deviation(&value.path, DeviationKind::Assumed, value.quote(), "an amount without VAT");
    }
    read_price(value, findings)
}

fn read_elements(value: &Value<'_>, findings: &mut Findings) -> Result<Vec<TariffElement>, OcpiError> {
    let items = value.items(ELEMENTS_MAX)?;
    let mut elements = Vec::with_capacity(items.len());
    for item in items {
        let mut object = item.object()?;
        let listed =
            object.need("price_components", "at least one price component")?.items(COMPONENTS_MAX)?;
        let mut components = Vec::with_capacity(listed.len());
        for component in &listed {
            components.extend(read_component(component, findings)?);
        }
        let restrictions = match object.take("restrictions") {
            Some(restrictions) => read_restrictions(&restrictions, findings)?,
            None => Restrictions::NONE,
        };
        object.finish(findings);
        // An element of which nothing is understood prices nothing; its components are reported.
        if !components.is_empty() || listed.is_empty() {
            elements.push(TariffElement { components, restrictions });
        }
    }
    Ok(elements)
}

/// A component, or nothing when it prices what OCPI does not know (`SESSION_TIME` is common).
fn read_component(value: &Value<'_>, findings: &mut Findings) -> Result<Option<PriceComponent>, OcpiError> {
    let mut object = value.object()?;
    let kind = object.need("type", "ENERGY, TIME, PARKING_TIME or FLAT")?;
    let text = kind.text()?;
    let dimension = Dimension::ALL.into_iter().find(|d| dimension_name(*d) == text);
    let price_micros = object.need("price", "the price per unit, without VAT")?.decimal(6, findings)?;
    let vat = object.take("vat").map(|v| read_vat(&v, findings)).transpose()?;
    let step_size = object.need("step_size", "1, which means exact billing")?;
    let step = u32::try_from(step_size.amount(0, findings)?);
    let step_size =
        step.map_err(|_| step_size.refuse("a step of at most 4294967295", "send a smaller one"))?;
    object.finish(findings);
    if dimension.is_none() {
        findings.add_deviation(&kind.path, DeviationKind::Ignored, kind.quote(), "no price component");
    }
    Ok(dimension.map(|dimension| PriceComponent { dimension, price_micros, vat, step_size }))
}

/// Percent in millionths.
fn read_vat(value: &Value<'_>, findings: &mut Findings) -> Result<VatRate, OcpiError> {
    let ppm = value.amount(4, findings)?;
    let rate = u32::try_from(ppm).ok().and_then(VatRate::from_ppm);
    rate.ok_or_else(|| value.refuse("a percentage from 0 to 100", "21 % is written 21.0"))
}

fn read_restrictions(value: &Value<'_>, findings: &mut Findings) -> Result<Restrictions, OcpiError> {
    const DATE: &str = "a date such as 2021-05-01";
    const TIME: &str = "a local time such as 09:30";
    let mut object = value.object()?;
    let mut amount = |object: &mut Object<'_>, name, scale| {
        object.take(name).map(|v| v.amount(scale, findings)).transpose()
    };
    let seconds_ms = 3;
    let energy = [amount(&mut object, "min_kwh", 6)?, amount(&mut object, "max_kwh", 6)?];
    let current = [amount(&mut object, "min_current", 3)?, amount(&mut object, "max_current", 3)?];
    let power = [amount(&mut object, "min_power", 3)?, amount(&mut object, "max_power", 3)?];
    let duration =
        [amount(&mut object, "min_duration", seconds_ms)?, amount(&mut object, "max_duration", seconds_ms)?];
    let [min_energy, max_energy] = energy.map(|x| x.map(WattHours::from_milli_wh));
    let [min_current, max_current] = current.map(|x| x.map(MilliAmperes::new));
    let [min_power, max_power] = power.map(|x| x.map(Watts::new));
    let [min_duration, max_duration] = duration.map(|x| x.map(DurationMs::from_millis));
    let mut date = |name| object.take(name).map(|v| v.parsed(DATE, |t| t.parse().ok())).transpose();
    let (start_date, end_date) = (date("start_date")?, date("end_date")?);
    let mut time = |name| object.take(name).map(|v| v.parsed(TIME, |t| t.parse().ok())).transpose();
    let (start_time, end_time) = (time("start_time")?, time("end_time")?);
    let day_of_week = match object.take("day_of_week") {
        Some(days) => read_days(&days)?,
        None => None,
    };
    let reservation = object.take("reservation").map(|v| read_reservation(&v)).transpose()?;
    object.finish(findings);
    Ok(Restrictions {
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
    })
}

/// An empty list restricts nothing: in OCPI a list that may be empty may as well be absent.
fn read_days(value: &Value<'_>) -> Result<Option<Weekdays>, OcpiError> {
    let mut days = Vec::with_capacity(DAYS_MAX);
    for day in value.items(DAYS_MAX)? {
        days.push(day.parsed("a day such as MONDAY", |text| {
            Weekday::ALL.into_iter().find(|day| day_name(*day) == text)
        })?);
    }
    Ok(Some(days.into_iter().collect::<Weekdays>()).filter(|days| !days.is_empty()))
}

fn read_reservation(value: &Value<'_>) -> Result<ReservationRestriction, OcpiError> {
    value.parsed("RESERVATION or RESERVATION_EXPIRES", |text| match text {
        "RESERVATION" => Some(ReservationRestriction::Reservation),
        "RESERVATION_EXPIRES" => Some(ReservationRestriction::ReservationExpires),
        _ => None,
    })
}

const fn dimension_name(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Energy => "ENERGY",
        Dimension::Time => "TIME",
        Dimension::ParkingTime => "PARKING_TIME",
        Dimension::Flat => "FLAT",
    }
}

const fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "MONDAY",
        Weekday::Tuesday => "TUESDAY",
        Weekday::Wednesday => "WEDNESDAY",
        Weekday::Thursday => "THURSDAY",
        Weekday::Friday => "FRIDAY",
        Weekday::Saturday => "SATURDAY",
        Weekday::Sunday => "SUNDAY",
    }
}

pub(super) fn write_tariff(path: &str, tariff: &Tariff, last_updated: UnixMillis) -> Result<Out, OcpiError> {
    let mut elements = Vec::with_capacity(tariff.elements().len());
    for (index, element) in tariff.elements().iter().enumerate() {
        let components = element.components.iter().map(write_component).collect();
        let mut fields = vec![("price_components", Out::List(components))];
        if element.restrictions != Restrictions::NONE {
            let path = format!("{path}.elements[{index}].restrictions");
            fields.push(("restrictions", write_restrictions(&path, &element.restrictions)?));
        }
        elements.push(Out::Map(fields));
    }
    let mut fields = vec![
        ("country_code", Out::text(tariff.party().country())),
        ("party_id", Out::text(tariff.party().id())),
        ("id", Out::text(tariff.id())),
        ("currency", Out::text(tariff.currency())),
    ];
    let (min, max) = tariff.stated_bounds();
    for (name, bound) in [("min_price", min), ("max_price", max)] {
        fields.extend(bound.map(|price| (name, write_price(price.excl_vat, price.incl_vat))));
    }
    fields.push(("elements", Out::List(elements)));
    for (name, instant) in [("start_date_time", tariff.valid_from()), ("end_date_time", tariff.valid_until())]
    {
        fields.extend(instant.map(|instant| (name, Out::Text(datetime::format(instant)))));
    }
    fields.push(("last_updated", Out::Text(datetime::format(last_updated))));
    Ok(Out::Map(fields))
}

/// A price in millionths.
pub(super) fn write_price(excl_vat: i64, incl_vat: Option<i64>) -> Out {
    let number = |micros| Out::Number(number::write(i128::from(micros), 6));
    let mut fields = vec![("excl_vat", number(excl_vat))];
    fields.extend(incl_vat.map(|micros| ("incl_vat", number(micros))));
    Out::Map(fields)
}

fn write_component(component: &PriceComponent) -> Out {
    let mut fields = vec![
        ("type", Out::text(dimension_name(component.dimension))),
        ("price", Out::Number(number::write(i128::from(component.price_micros), 6))),
    ];
    fields.extend(component.vat.map(|vat| ("vat", Out::Number(number::write(i128::from(vat.ppm()), 4)))));
    fields.push(("step_size", Out::Number(component.step_size.to_string())));
    Out::Map(fields)
}

fn write_restrictions(path: &str, r: &Restrictions) -> Result<Out, OcpiError> {
    let number = |value: u64, scale| Out::Number(number::write(i128::from(value), scale));
    let mut fields = Vec::new();
    fields.extend(r.start_time.map(|t| ("start_time", Out::text(t))));
    fields.extend(r.end_time.map(|t| ("end_time", Out::text(t))));
    fields.extend(r.start_date.map(|d| ("start_date", Out::text(d))));
    fields.extend(r.end_date.map(|d| ("end_date", Out::text(d))));
    fields.extend(r.min_energy.map(|e| ("min_kwh", number(e.milli_wh(), 6))));
    fields.extend(r.max_energy.map(|e| ("max_kwh", number(e.milli_wh(), 6))));
    fields.extend(r.min_current.map(|c| ("min_current", number(c.get(), 3))));
    fields.extend(r.max_current.map(|c| ("max_current", number(c.get(), 3))));
    fields.extend(r.min_power.map(|p| ("min_power", number(p.get(), 3))));
    fields.extend(r.max_power.map(|p| ("max_power", number(p.get(), 3))));
    for (name, duration) in [("min_duration", r.min_duration), ("max_duration", r.max_duration)] {
        let Some(ms) = duration.map(DurationMs::millis) else { continue };
        if ms.checked_rem(1_000) != Some(0) {
            return Err(OcpiError::Field {
                path: format!("{path}.{name}"),
                expected: "a whole number of seconds".to_owned(),
                found: format!("{ms} ms"),
                remedy: "round the restriction in the tariff",
            });
        }
        fields.push((name, number(ms, 3)));
    }
    if let Some(days) = r.day_of_week {
        fields.push(("day_of_week", Out::List(days.iter().map(|d| Out::text(day_name(d))).collect())));
    }
    fields.extend(r.reservation.map(|reservation| {
        let name = match reservation {
            ReservationRestriction::Reservation => "RESERVATION",
            ReservationRestriction::ReservationExpires => "RESERVATION_EXPIRES",
        };
        ("reservation", Out::text(name))
    }));
    Ok(Out::Map(fields))
}

#[cfg(test)]
mod tests;
