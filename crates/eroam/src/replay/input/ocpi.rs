//! OCPI 2.2.1 charge detail records.
//!
//! The user is the contract id, else the token's uid; the station the EVSE id, else the EVSE uid. `#NA`, which OCPI
//! gives reservations that reached no EVSE, counts as absent. A CDR names no time zone, so the offset is the one its
//! timestamps carry and no daylight-saving change is known. A credit CDR reverses another and is no session.
//!
//! Source: OCPI 2.2.1 mod_cdrs, types.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::clock;
use super::json;
use super::row::{Draft, Fault, FaultKind, FieldNames, energy_milli_wh};

const NAMES: FieldNames = FieldNames {
    id: "id",
    user: "cdr_token.contract_id",
    station: "cdr_location.evse_id",
    start: "start_date_time",
    end: "end_date_time",
    energy: "total_energy",
};
const NOT_APPLICABLE: &str = "#NA";

#[derive(Deserialize)]
struct Cdr<'t> {
    #[serde(borrow)]
    id: Option<&'t RawValue>,
    #[serde(borrow)]
    cdr_token: Option<Token<'t>>,
    #[serde(borrow)]
    cdr_location: Option<Location<'t>>,
    #[serde(borrow)]
    start_date_time: Option<&'t RawValue>,
    #[serde(borrow)]
    end_date_time: Option<&'t RawValue>,
    #[serde(borrow)]
    total_energy: Option<&'t RawValue>,
    credit: Option<bool>,
}

#[derive(Deserialize)]
struct Token<'t> {
    #[serde(borrow)]
    contract_id: Option<&'t RawValue>,
    #[serde(borrow)]
    uid: Option<&'t RawValue>,
}

#[derive(Deserialize)]
struct Location<'t> {
    #[serde(borrow)]
    evse_id: Option<&'t RawValue>,
    #[serde(borrow)]
    evse_uid: Option<&'t RawValue>,
}

pub(super) fn read(text: &str) -> Result<Draft, Fault> {
    let cdr: Cdr<'_> = json::parse(text)?;
    if cdr.credit == Some(true) {
        return Err(Fault::new("credit", FaultKind::CreditCdr));
    }
    let (start, zone) = clock::rfc3339(NAMES.start, &json::required(NAMES.start, cdr.start_date_time)?)?;
    let (end, _) = clock::rfc3339(NAMES.end, &json::required(NAMES.end, cdr.end_date_time)?)?;
    let token = cdr.cdr_token.as_ref();
    let location = cdr.cdr_location.as_ref();
    Ok(Draft {
        names: &NAMES,
        id: json::text(NAMES.id, cdr.id)?.map(Into::into),
        user: first(
            NAMES.user,
            [token.and_then(|token| token.contract_id), token.and_then(|token| token.uid)],
        )?,
        station: first(
            NAMES.station,
            [location.and_then(|place| place.evse_id), location.and_then(|place| place.evse_uid)],
        )?,
        start,
        end,
        charging_end: None,
        duration: None,
        energy_milli_wh: energy_milli_wh(
            NAMES.energy,
            &json::required(NAMES.energy, cdr.total_energy)?,
            '.',
        )?,
        zone,
    })
}

/// The first value that is there and applicable.
fn first(field: &'static str, values: [Option<&RawValue>; 2]) -> Result<Option<String>, Fault> {
    for value in values {
        if let Some(text) = json::text(field, value)?.filter(|text| text != NOT_APPLICABLE) {
            return Ok(Some(Cow::into_owned(text)));
        }
    }
    Ok(None)
}
