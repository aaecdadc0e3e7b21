//! Residential sessions of Trondheim (Sørensen et al., Mendeley 10.17632/jbks2rcwyj.1).
//!
//! `;` separated, decimal comma, `dd.mm.yyyy hh:mm` on the local clock of Europe/Oslo: over the change of October
//! 2019 the file's own durations agree with that zone and with no fixed offset. Of a local time that the clock showed
//! twice the earlier instant is taken (an end: the earlier one not before the start); no real row has one.
//!
//! The station is the garage, which every row has; `Shared_ID` names the charge point of shared ones only.
//! Five rows of 22 June 2019 start two hours before what their duration says. Which of the two is wrong cannot be
//! told, and they are plausible as they stand, so they are kept.

use jiff::SignedDuration;

use super::Format;
use super::clock::{self, Zone};
use super::decimal::scaled;
use super::row::{Draft, Fault, FaultKind, FieldNames, energy_milli_wh, shorten};
use super::table::{Layout, Row};

pub(super) static LAYOUT: Layout = Layout {
    format: Format::Trondheim,
    columns: &[NAMES.id, NAMES.station, NAMES.user, NAMES.start, NAMES.end, NAMES.energy, "Duration_hours"],
    zone: "Europe/Oslo",
    read,
};

const NAMES: FieldNames = FieldNames {
    id: "session_ID",
    user: "User_ID",
    station: "Garage_ID",
    start: "Start_plugin",
    end: "End_plugout",
    energy: "El_kWh",
};

const ID: usize = 0;
const STATION: usize = 1;
const USER: usize = 2;
const START: usize = 3;
const END: usize = 4;
const ENERGY: usize = 5;
const DURATION: usize = 6;

const DECIMAL_MARK: char = ',';
/// Decimal places kept of a duration in hours.
const HOURS_SCALE: u32 = 9;

fn read(row: &Row<'_>, zone: &Zone) -> Result<Draft, Fault> {
    let time =
        |column| clock::local(row.name(column), row.required(column)?, "%d.%m.%Y %H:%M", "dd.mm.yyyy hh:mm");
    let start = zone.instant(row.name(START), time(START)?, None)?;
    let end = zone.instant(row.name(END), time(END)?, Some(start))?;
    Ok(Draft {
        names: &NAMES,
        id: row.owned(ID),
        user: row.owned(USER),
        station: row.owned(STATION),
        start,
        end,
        charging_end: None,
        duration: row.text(DURATION).map(|text| hours(row.name(DURATION), text)).transpose()?,
        energy_milli_wh: energy_milli_wh(row.name(ENERGY), row.required(ENERGY)?, DECIMAL_MARK)?,
        zone: zone.clone(),
    })
}

/// Decimal hours, rounded half up to a millisecond.
fn hours(field: &'static str, text: &str) -> Result<SignedDuration, Fault> {
    const MS_PER_HOUR: u128 = 3_600_000;
    let refuse =
        || Fault::new(field, FaultKind::NotADuration { found: shorten(text), form: "hours, decimal comma" });
    let scaled = scaled(text, DECIMAL_MARK, HOURS_SCALE).map_err(|_| refuse())?;
    let one_hour = 10u128.pow(HOURS_SCALE);
    let ms = (u128::from(scaled) * MS_PER_HOUR + one_hour / 2) / one_hour;
    i64::try_from(ms).map(SignedDuration::from_millis).map_err(|_| refuse())
}
