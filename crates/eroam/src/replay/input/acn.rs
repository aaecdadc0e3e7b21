//! ACN-Data sessions (Lee, Li, Low 2019), as the API and the web download give them.
//!
//! Dates are GMT, offsets come from the item's `timezone`. `userID` is null for drivers who did not use the app. Of
//! `doneChargingTime`, null (a third of the items) and before the start mean unknown, after the end means the end
//! (15 items, by seconds): a vehicle that never stopped before it was unplugged.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::clock::{self, Zone};
use super::json;
use super::row::{Draft, Fault, FaultKind, FieldNames, energy_milli_wh, shorten};

const NAMES: FieldNames = FieldNames {
    id: "sessionID",
    user: "userID",
    station: "stationID",
    start: "connectionTime",
    end: "disconnectTime",
    energy: "kWhDelivered",
};
const DONE: &str = "doneChargingTime";
const ZONE: &str = "timezone";

#[derive(Deserialize)]
struct Item<'t> {
    #[serde(borrow, rename = "sessionID")]
    id: Option<&'t RawValue>,
    #[serde(borrow, rename = "userID")]
    user: Option<&'t RawValue>,
    #[serde(borrow, rename = "stationID")]
    station: Option<&'t RawValue>,
    #[serde(borrow, rename = "connectionTime")]
    start: Option<&'t RawValue>,
    #[serde(borrow, rename = "disconnectTime")]
    end: Option<&'t RawValue>,
    #[serde(borrow, rename = "doneChargingTime")]
    done: Option<&'t RawValue>,
    #[serde(borrow, rename = "kWhDelivered")]
    energy: Option<&'t RawValue>,
    #[serde(borrow)]
    timezone: Option<&'t RawValue>,
}

pub(super) fn read(text: &str) -> Result<Draft, Fault> {
    let item: Item<'_> = json::parse(text)?;
    let zone = json::required(ZONE, item.timezone)?;
    let zone = Zone::named(&zone).ok_or_else(|| {
        let accepted = "an IANA name, such as America/Los_Angeles";
        Fault::new(ZONE, FaultKind::UnknownTimeZone { found: shorten(&zone), accepted })
    })?;
    Ok(Draft {
        names: &NAMES,
        id: json::text(NAMES.id, item.id)?.map(Into::into),
        user: json::text(NAMES.user, item.user)?.map(Into::into),
        station: json::text(NAMES.station, item.station)?.map(Into::into),
        start: clock::rfc2822(NAMES.start, &json::required(NAMES.start, item.start)?)?,
        end: clock::rfc2822(NAMES.end, &json::required(NAMES.end, item.end)?)?,
        charging_end: json::text(DONE, item.done)?.map(|done| clock::rfc2822(DONE, &done)).transpose()?,
        duration: None,
        energy_milli_wh: energy_milli_wh(NAMES.energy, &json::required(NAMES.energy, item.energy)?, '.')?,
        zone,
    })
}
