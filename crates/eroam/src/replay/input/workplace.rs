//! Workplace sessions (Asensio et al., Harvard Dataverse doi:10.7910/DVN/NFPQLW).
//!
//! Years are written 0014 and 0015 and mean 2014 and 2015. No time zone is stated: the clock is read as UTC, so
//! hours of the day are not to be trusted. Energy is `kwhTotal`.

use jiff::civil::DateTime;

use super::Format;
use super::clock::{self, Zone};
use super::row::{Draft, Fault, FaultKind, FieldNames, energy_milli_wh, shorten};
use super::table::{Layout, Row};

pub(super) static LAYOUT: Layout = Layout {
    format: Format::Workplace,
    columns: &[NAMES.id, NAMES.station, NAMES.user, NAMES.start, NAMES.end, NAMES.energy],
    zone: "UTC",
    read,
};

const NAMES: FieldNames = FieldNames {
    id: "sessionId",
    user: "userId",
    station: "stationId",
    start: "created",
    end: "ended",
    energy: "kwhTotal",
};

const ID: usize = 0;
const STATION: usize = 1;
const USER: usize = 2;
const START: usize = 3;
const END: usize = 4;
const ENERGY: usize = 5;

const FORM: &str = "yyyy-mm-dd hh:mm:ss";
/// Years below 100 lack their century.
const CENTURY: i16 = 2000;

fn read(row: &Row<'_>, zone: &Zone) -> Result<Draft, Fault> {
    let time = |column| {
        let (name, text) = (row.name(column), row.required(column)?);
        let local = clock::local(name, text, "%Y-%m-%d %H:%M:%S", FORM)?;
        let local = with_century(local)
            .ok_or_else(|| Fault::new(name, FaultKind::NotADate { found: shorten(text), form: FORM }))?;
        zone.instant(name, local, None)
    };
    Ok(Draft {
        names: &NAMES,
        id: row.owned(ID),
        user: row.owned(USER),
        station: row.owned(STATION),
        start: time(START)?,
        end: time(END)?,
        charging_end: None,
        duration: None,
        energy_milli_wh: energy_milli_wh(row.name(ENERGY), row.required(ENERGY)?, '.')?,
        zone: zone.clone(),
    })
}

fn with_century(local: DateTime) -> Option<DateTime> {
    match local.year() {
        year @ 0..100 => local.with().year(year + CENTURY).build().ok(),
        _ => Some(local),
    }
}
