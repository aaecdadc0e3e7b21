//! Public stations of the City of Boulder (open data portal).
//!
//! A row names a station, which has several ports, and no user. **The digits are UTC**, although a column beside them
//! says MST or MDT: over all 13 sessions that span a clock change, the plain difference of the digits equals
//! `Total_Duration` and the labelled one is an hour off, and read as UTC the label is the one Boulder's clock had at
//! that instant in all rows but those of one station (REC CENTER ST2, 22 rows of early 2019 labelled MDT in winter).
//! So the digits give the instant, America/Denver the offset, and the labels are only checked to be known ones.
//!
//! `Charging_Time` says how long energy flowed. The clock shows minutes, so it can exceed the plugged time by seconds
//! and is clamped. One real row is rejected: line 22796 ends in 1970.

use super::Format;
use super::clock::{self, Zone};
use super::row::{Draft, Fault, FaultKind, FieldNames, ROW, energy_milli_wh, shorten};
use super::table::{Layout, Row};

pub(super) static LAYOUT: Layout = Layout {
    format: Format::Boulder,
    columns: &[
        NAMES.id,
        NAMES.station,
        NAMES.start,
        "Start_Time_Zone",
        NAMES.end,
        "End_Time_Zone",
        NAMES.energy,
        "Charging_Time__hh_mm_ss_",
        "Total_Duration__hh_mm_ss_",
    ],
    zone: "America/Denver",
    read,
};

const NAMES: FieldNames = FieldNames {
    id: "ObjectId",
    user: ROW,
    station: "Station_Name",
    start: "Start_Date___Time",
    end: "End_Date___Time",
    energy: "Energy__kWh_",
};

const ID: usize = 0;
const STATION: usize = 1;
const START: usize = 2;
const START_ZONE: usize = 3;
const END: usize = 4;
const END_ZONE: usize = 5;
const ENERGY: usize = 6;
const CHARGING: usize = 7;
const TOTAL: usize = 8;

/// The portal's own download appends the offset to the digits.
const UTC_SUFFIX: &str = "+00";

fn read(row: &Row<'_>, zone: &Zone) -> Result<Draft, Fault> {
    for column in [START_ZONE, END_ZONE] {
        let label = row.required(column)?;
        if !matches!(label, "MST" | "MDT") {
            let kind = FaultKind::UnknownTimeZone { found: shorten(label), accepted: "MST or MDT" };
            return Err(Fault::new(row.name(column), kind));
        }
    }
    let time = |column| {
        let text = row.required(column)?;
        let digits = text.strip_suffix(UTC_SUFFIX).unwrap_or(text);
        clock::utc(row.name(column), digits, "%Y/%m/%d %H:%M:%S", "yyyy/mm/dd hh:mm:ss")
    };
    let duration = |column| {
        row.text(column).map(|text| clock::hours_minutes_seconds(row.name(column), text)).transpose()
    };
    let start = time(START)?;
    Ok(Draft {
        names: &NAMES,
        id: row.owned(ID),
        user: None,
        station: row.owned(STATION),
        start,
        end: time(END)?,
        charging_end: duration(CHARGING)?.and_then(|charging| start.checked_add(charging).ok()),
        duration: duration(TOTAL)?,
        energy_milli_wh: energy_milli_wh(row.name(ENERGY), row.required(ENERGY)?, '.')?,
        zone: zone.clone(),
    })
}
