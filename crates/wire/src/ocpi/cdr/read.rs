//! From JSON.

use super::{
    AuthMethod, CdrDocument, ConnectorFormat, Coordinates, PowerType, StatedLocation, StatedToken,
    StatedTotals, TARIFFS_MAX, TokenKind,
};
use crate::ocpi::findings::{DeviationKind, Findings};
use crate::ocpi::json::{Object, Value};
use crate::ocpi::tariff::{read_party, read_price, read_tariff};
use crate::ocpi::{OcpiError, OcpiVersion};
use eroam_domain::cdr::{CdrId, ChargingPeriod, PERIODS_MAX, Range, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::time::UnixMillis;

/// The greatest number of dimensions in a period.
const DIMENSIONS_MAX: usize = 32;
/// The greatest number of EVSEs, and of connectors of one, in the location of a 2.1.1 record, which should have one.
const EVSES_MAX: usize = 64;

/// Reads a charge detail record. `sender` is the party that sent it; tariffs in the record that name no party are
/// the record's party's, or else the sender's.
///
/// # Errors
/// [`OcpiError`] names the place and what to do.
pub fn cdr_from_json(text: &str, sender: PartyId) -> Result<CdrDocument, OcpiError> {
    let mut findings = Findings::default();
    let f = &mut findings;
    let mut object = Value::document(text)?.object()?;
    let old = object.has("stop_date_time") || object.has("location");
    let party = if old { None } else { read_owner(&mut object, f)? };
    let id = read_id(&mut object, "id", true, f)?;
    let start = object.need("start_date_time", "when the session started")?.instant()?;
    let end_name = if old { "stop_date_time" } else { "end_date_time" };
    let end = object.need(end_name, "when the session ended")?.instant()?;
    let currency = object.need("currency", "the currency of the amounts")?.currency(f)?;
    let (version, totals) = read_totals(&mut object, old, f)?;
    let (periods, period_tariffs) =
        read_periods(&object.need("charging_periods", "at least one charging period")?, f)?;
    if periods.iter().any(|p| p.start < start || p.start > end) {
        let found = format!("periods outside {start} to {end}");
        f.add_deviation("$.charging_periods", DeviationKind::Assumed, found, "what was consumed");
    }
    let mut tariffs = Vec::new();
    if let Some(listed) = object.take("tariffs") {
        for tariff in listed.items(TARIFFS_MAX)? {
            tariffs.push(read_tariff(&tariff, party.unwrap_or(sender), f)?.1);
        }
    }
    let session_id =
        object.take("session_id").map(|v| v.parsed(ID_36, |t| SessionId::new(t).ok())).transpose()?;
    let (token, location) = if old {
        (read_auth_id(&mut object, f)?, object.want("location", f))
    } else {
        (object.want("cdr_token", f).map(|v| read_token(&v, f)).transpose()?, object.want("cdr_location", f))
    };
    let location = match location {
        Some(location) if old => Some(read_old_location(&location, f)?),
        Some(location) => Some(read_location(&location, f)?),
        None => None,
    };
    let auth_method =
        object.want("auth_method", f).map(|v| named(&v, AuthMethod::from_name, f)).transpose()?;
    let mut document = CdrDocument {
        version,
        party,
        id,
        session_id,
        start,
        end,
        token,
        auth_method: auth_method.flatten(),
        authorization_reference: object.text("authorization_reference")?,
        location,
        currency,
        tariffs,
        periods,
        period_tariffs,
        totals,
        credit: object.take("credit").map(|v| v.boolean()).transpose()?.unwrap_or(false),
        credit_reference_id: read_id(&mut object, "credit_reference_id", false, f)?,
        remark: object.text("remark")?,
        last_updated: object.want("last_updated", f).map(|v| v.instant()).transpose()?,
        findings: Findings::default(),
    };
    object.skip(&["meter_id", "signed_data", "invoice_reference_id", "home_charging_compensation"]);
    object.finish(f);
    document.findings = findings.bounded()?;
    Ok(document)
}

const ID_36: &str = "1 to 36 printable ASCII characters";

fn read_owner(object: &mut Object<'_>, findings: &mut Findings) -> Result<Option<PartyId>, OcpiError> {
    match read_party(object, findings)? {
        Ok(party) => Ok(Some(party)),
        Err(None) => Ok(None),
        Err(Some((path, found))) => {
            findings.add_deviation(&path, DeviationKind::Unknown, found, "no party");
            Ok(None)
        }
    }
}

fn read_id(
    object: &mut Object<'_>,
    name: &str,
    required: bool,
    findings: &mut Findings,
) -> Result<Option<CdrId>, OcpiError> {
    let value = if required { object.want(name, findings) } else { object.take(name) };
    value.map(|v| v.parsed("1 to 39 printable ASCII characters", |t| CdrId::new(t).ok())).transpose()
}

/// A name of a closed list; one that is not in it is reported and left out.
fn named<T>(
    value: &Value<'_>,
    from_name: impl FnOnce(&str) -> Option<T>,
    findings: &mut Findings,
) -> Result<Option<T>, OcpiError> {
    let found = from_name(&value.text()?);
    if found.is_none() {
        findings.add_deviation(&value.path, DeviationKind::Unknown, value.quote(), "unknown");
    }
    Ok(found)
}

fn read_totals(
    object: &mut Object<'_>,
    old: bool,
    findings: &mut Findings,
) -> Result<(OcpiVersion, StatedTotals), OcpiError> {
    let cost = object.need("total_cost", "the total cost")?;
    let version = match old {
        true => OcpiVersion::V2_1_1,
        false if !cost.is_number() && cost.object()?.has("before_taxes") => OcpiVersion::V2_3_0,
        false => OcpiVersion::V2_2_1,
    };
    let cost = read_price(&cost, findings)?;
    let energy = object.want("total_energy", findings).map(|v| v.amount(6, findings)).transpose()?;
    let time = object.want("total_time", findings).map(|v| read_duration(&v, findings)).transpose()?;
    let parking_time = object.take("total_parking_time").map(|v| read_duration(&v, findings)).transpose()?;
    let mut price = |name| object.take(name).map(|v| read_price(&v, findings)).transpose();
    let totals = StatedTotals {
        cost,
        energy: energy.map(WattHours::from_milli_wh),
        time,
        parking_time,
        fixed_cost: price("total_fixed_cost")?,
        energy_cost: price("total_energy_cost")?,
        time_cost: price("total_time_cost")?,
        parking_cost: price("total_parking_cost")?,
        reservation_cost: price("total_reservation_cost")?,
    };
    Ok((version, totals))
}

/// Hours. A negative time, which peers get from subtracting rounded numbers, is none.
fn read_duration(value: &Value<'_>, findings: &mut Findings) -> Result<DurationMs, OcpiError> {
    let ms = value.hours(findings)?;
    Ok(DurationMs::from_millis(u64::try_from(ms).unwrap_or_else(|_| {
        findings.add_deviation(&value.path, DeviationKind::Assumed, value.quote(), "0");
        0
    })))
}

type Periods = (Vec<ChargingPeriod>, Vec<Option<String>>);

fn read_periods(value: &Value<'_>, findings: &mut Findings) -> Result<Periods, OcpiError> {
    let items = value.items(PERIODS_MAX)?;
    if items.is_empty() {
        return Err(value.refuse("at least one charging period", "send what was consumed, and when"));
    }
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        let mut object = item.object()?;
        let start = object.need("start_date_time", "when the period starts")?.instant()?;
        let period = read_dimensions(&object.need("dimensions", "what was consumed")?, start, findings)?;
        let tariff_id = object.text("tariff_id")?;
        object.skip(&["encoding_method"]);
        object.finish(findings);
        read.push((period, tariff_id));
    }
    if !read.is_sorted_by_key(|(period, _)| period.start) {
        read.sort_by_key(|(period, _)| period.start);
        let found = "periods out of order".to_owned();
        findings.add_deviation(&value.path, DeviationKind::Normalised, found, "periods in time order");
    }
    Ok(read.into_iter().unzip())
}

fn read_dimensions(
    value: &Value<'_>,
    start: UnixMillis,
    findings: &mut Findings,
) -> Result<ChargingPeriod, OcpiError> {
    let mut energy = None;
    let (mut charging, mut parking, mut reservation) = (None, None, None);
    let (mut min_power, mut max_power, mut min_current, mut max_current) = (None, None, None, None);
    for item in value.items(DIMENSIONS_MAX)? {
        let mut object = item.object()?;
        let kind = object.need("type", "a dimension such as ENERGY")?;
        let volume = object.need("volume", "how much of it")?;
        object.finish(findings);
        let twice = match kind.text()?.as_str() {
            "ENERGY" => energy.replace(WattHours::from_milli_wh(volume.amount(6, findings)?)).is_some(),
            "TIME" => charging.replace(read_duration(&volume, findings)?).is_some(),
            "PARKING_TIME" => parking.replace(read_duration(&volume, findings)?).is_some(),
            "RESERVATION_TIME" => reservation.replace(read_duration(&volume, findings)?).is_some(),
            "MIN_POWER" => min_power.replace(Watts::new(volume.amount(3, findings)?)).is_some(),
            "MAX_POWER" => max_power.replace(Watts::new(volume.amount(3, findings)?)).is_some(),
            "MIN_CURRENT" => min_current.replace(MilliAmperes::new(volume.amount(3, findings)?)).is_some(),
            "MAX_CURRENT" => max_current.replace(MilliAmperes::new(volume.amount(3, findings)?)).is_some(),
            // They price nothing: a fee of 2.1.1, and what 2.2.1 foresees for sessions that still run.
            "FLAT" | "CURRENT" | "ENERGY_EXPORT" | "ENERGY_IMPORT" | "POWER" | "STATE_OF_CHARGE" => false,
            _ => {
                findings.add_deviation(&kind.path, DeviationKind::Ignored, kind.quote(), "nothing consumed");
                false
            }
        };
        if twice {
            return Err(
                kind.refuse("each dimension once in a period", "add the volumes up, or send two periods")
            );
        }
    }
    Ok(ChargingPeriod {
        start,
        energy: energy.unwrap_or(WattHours::ZERO),
        charging: charging.unwrap_or(DurationMs::ZERO),
        parking: parking.unwrap_or(DurationMs::ZERO),
        reservation: reservation.unwrap_or(DurationMs::ZERO),
        power: range(min_power, max_power),
        current: range(min_current, max_current),
    })
}

/// One measured end stands for both.
fn range<T: Copy>(min: Option<T>, max: Option<T>) -> Option<Range<T>> {
    Some(Range { min: min.or(max)?, max: max.or(min)? })
}

fn read_token(value: &Value<'_>, findings: &mut Findings) -> Result<StatedToken, OcpiError> {
    let mut object = value.object()?;
    let token = StatedToken {
        party: read_owner(&mut object, findings)?,
        uid: read_person(&mut object, "uid", findings)?,
        kind: object
            .want("type", findings)
            .map(|v| named(&v, TokenKind::from_name, findings))
            .transpose()?
            .flatten(),
        contract_id: read_person(&mut object, "contract_id", findings)?,
    };
    object.finish(findings);
    Ok(token)
}

/// What identifies a driver is never quoted in a message.
fn read_person(
    object: &mut Object<'_>,
    name: &str,
    findings: &mut Findings,
) -> Result<Option<String>, OcpiError> {
    let Some(value) = object.want(name, findings) else { return Ok(None) };
    match value.text() {
        Ok(text) if !text.is_empty() && text.len() <= 255 => Ok(Some(text)),
        _ => Err(value.refuse_unquoted("text of 1 to 36 characters", "send the identifier as text")),
    }
}

fn read_auth_id(object: &mut Object<'_>, findings: &mut Findings) -> Result<Option<StatedToken>, OcpiError> {
    let contract_id = read_person(object, "auth_id", findings)?;
    Ok(contract_id.map(|contract_id| {
        let mut token = StatedToken { uid: None, kind: None, contract_id: Some(contract_id), party: None };
        token.party = token.contract().map(|contract| contract.party());
        token
    }))
}

fn read_location(value: &Value<'_>, findings: &mut Findings) -> Result<StatedLocation, OcpiError> {
    let mut object = value.object()?;
    let location = StatedLocation {
        id: object.wanted_text("id", findings)?,
        name: object.text("name")?,
        address: object.wanted_text("address", findings)?,
        city: object.wanted_text("city", findings)?,
        postal_code: object.text("postal_code")?,
        country: object.wanted_text("country", findings)?,
        coordinates: read_coordinates(&mut object, findings)?,
        evse_uid: object.wanted_text("evse_uid", findings)?,
        evse_id: object.wanted_text("evse_id", findings)?,
        connector_id: object.wanted_text("connector_id", findings)?,
        connector_standard: object.wanted_text("connector_standard", findings)?,
        connector_format: wanted_name(&mut object, "connector_format", ConnectorFormat::from_name, findings)?,
        power_type: wanted_name(&mut object, "connector_power_type", PowerType::from_name, findings)?,
        time_zone: None,
    };
    object.skip(&["state"]);
    object.finish(findings);
    Ok(location)
}

fn wanted_name<T>(
    object: &mut Object<'_>,
    name: &str,
    from_name: impl FnOnce(&str) -> Option<T>,
    findings: &mut Findings,
) -> Result<Option<T>, OcpiError> {
    let value = object.want(name, findings);
    Ok(value.map(|v| named(&v, from_name, findings)).transpose()?.flatten())
}

fn read_coordinates(
    object: &mut Object<'_>,
    findings: &mut Findings,
) -> Result<Option<Coordinates>, OcpiError> {
    let Some(value) = object.want("coordinates", findings) else { return Ok(None) };
    let mut object = value.object()?;
    let latitude = object.wanted_text("latitude", findings)?;
    let longitude = object.wanted_text("longitude", findings)?;
    object.finish(findings);
    Ok(latitude.zip(longitude).map(|(latitude, longitude)| Coordinates { latitude, longitude }))
}

/// The location of a 2.1.1 record, which holds the EVSE and the connector that were used and nothing else.
fn read_old_location(value: &Value<'_>, findings: &mut Findings) -> Result<StatedLocation, OcpiError> {
    let mut object = value.object()?;
    let mut location = StatedLocation {
        id: object.wanted_text("id", findings)?,
        name: object.text("name")?,
        address: object.wanted_text("address", findings)?,
        city: object.wanted_text("city", findings)?,
        postal_code: object.text("postal_code")?,
        country: object.wanted_text("country", findings)?,
        coordinates: read_coordinates(&mut object, findings)?,
        time_zone: object.text("time_zone")?,
        ..StatedLocation::default()
    };
    if let Some(evses) = object.take("evses") {
        // The first one counts; that there are more is odd, and harmless.
        for (index, evse) in evses.items(EVSES_MAX)?.iter().enumerate() {
            let read = read_old_evse(evse, findings)?;
            if index == 0 {
                location = StatedLocation {
                    evse_uid: read.evse_uid,
                    evse_id: read.evse_id,
                    connector_id: read.connector_id,
                    connector_standard: read.connector_standard,
                    connector_format: read.connector_format,
                    power_type: read.power_type,
                    ..location
                };
            }
        }
    }
    object.skip(&[
        "type",
        "related_locations",
        "directions",
        "operator",
        "suboperator",
        "owner",
        "facilities",
    ]);
    object.skip(&["opening_times", "charging_when_closed", "images", "energy_mix", "last_updated"]);
    object.finish(findings);
    Ok(location)
}

fn read_old_evse(value: &Value<'_>, findings: &mut Findings) -> Result<StatedLocation, OcpiError> {
    let mut object = value.object()?;
    let mut evse = StatedLocation {
        evse_uid: object.text("uid")?,
        evse_id: object.text("evse_id")?,
        ..StatedLocation::default()
    };
    if let Some(connectors) = object.take("connectors") {
        for (index, connector) in connectors.items(EVSES_MAX)?.iter().enumerate() {
            let mut object = connector.object()?;
            let (id, standard) = (object.text("id")?, object.text("standard")?);
            let format =
                object.take("format").map(|v| named(&v, ConnectorFormat::from_name, findings)).transpose()?;
            let power =
                object.take("power_type").map(|v| named(&v, PowerType::from_name, findings)).transpose()?;
            object.skip(&["voltage", "amperage", "tariff_id", "terms_and_conditions", "last_updated"]);
            object.finish(findings);
            if index == 0 {
                (evse.connector_id, evse.connector_standard) = (id, standard);
                (evse.connector_format, evse.power_type) = (format.flatten(), power.flatten());
            }
        }
    }
    object.skip(&["status", "status_schedule", "capabilities", "floor_level", "coordinates"]);
    object.skip(&["physical_reference", "directions", "parking_restrictions", "images", "last_updated"]);
    object.finish(findings);
    Ok(evse)
}
