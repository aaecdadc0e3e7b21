//! Readers of real charging-session files for `eroam replay`.
//!
//! One file in, one [`FileReport`] out: the sessions it tells, and every row that could not be used with its line,
//! field, reason and remedy. A bad row never costs a good one, and a file cut short still gives the rows before the
//! cut. The format is recognised by content, never by name; gzip by its magic bytes; a UTF-8 byte order mark is
//! tolerated.
//!
//! | format | recognised by | clock | user | station |
//! |---|---|---|---|---|
//! | [`Format::Acn`] | JSON items with `connectionTime` | GMT; offsets from `timezone` | `userID` | `stationID` |
//! | [`Format::OcpiCdr`] | JSON items with `cdr_token`, `cdr_location` | RFC 3339; UTC if no offset | contract id, else uid | EVSE id, else uid |
//! | [`Format::Trondheim`] | CSV columns, `;` | local, Europe/Oslo | `User_ID` | `Garage_ID` |
//! | [`Format::Workplace`] | CSV columns, `,` | none stated: read as UTC | `userId` | `stationId` |
//! | [`Format::Boulder`] | CSV columns, `,` | UTC; offsets from America/Denver | none | `Station_Name` |
//!
//! What it deliberately does not do: guess missing values or repair rows. Only `charging_end_ms` has a fallback, stated on
//! the field. A reader knows its own file alone; what several files say twice, [`Repetitions`] takes out.
//!
//! Source: ACN-Data (Lee, Li, Low 2019); Sørensen et al., Mendeley 10.17632/jbks2rcwyj.1; Asensio et al., Harvard
//! Dataverse doi:10.7910/DVN/NFPQLW; City of Boulder open data; OCPI 2.2.1 mod_cdrs.

mod acn;
mod boulder;
mod clock;
mod decimal;
mod error;
mod json;
mod ocpi;
mod ports;
mod repeated;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod trondheim;
mod workplace;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

pub use error::ReadError;
pub use ports::{MAX_PORTS_PER_STATION, TooManyPorts, infer_ports};
pub use repeated::Repetitions;
pub use row::{
    FIRST_YEAR, LAST_YEAR, MAX_ENERGY_MILLI_WH, MAX_MEAN_POWER_MILLI_W, MAX_NAME_BYTES, MAX_REJECTED,
    MAX_SESSION_MS,
};
pub use text::{MAX_FILE_BYTES, MAX_ROW_BYTES};

use json::Items;
use text::Source;

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// ACN-Data sessions: a JSON array, or the web download's object with `_items`.
    Acn,
    /// Trondheim residential sessions: `;` separated, decimal comma.
    Trondheim,
    /// Workplace sessions (Harvard Dataverse): CSV.
    Workplace,
    /// City of Boulder public stations: CSV.
    Boulder,
    /// OCPI 2.2.1 charge detail records: an object, an array, a response with `data`, or JSON lines.
    OcpiCdr,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Acn, Self::OcpiCdr, Self::Trondheim, Self::Workplace, Self::Boulder];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acn => "ACN-Data JSON",
            Self::Trondheim => "Trondheim CSV",
            Self::Workplace => "workplace CSV",
            Self::Boulder => "Boulder CSV",
            Self::OcpiCdr => "OCPI 2.2.1 CDR JSON",
        })
    }
}

/// Where a session was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRef {
    /// The file's name, without directories.
    pub file: Arc<str>,
    /// 1-based line on which the row or JSON item begins.
    pub line: u64,
    /// 1-based position among a JSON document's items; none for CSV and JSON lines, where the line is enough.
    pub item: Option<u64>,
    /// The file's format.
    pub format: Format,
}

/// One charging session as a file tells it.
///
/// Instants are unix milliseconds, UTC. Holds `start_ms <= charging_end_ms <= end_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSession {
    /// Where it was read.
    pub source: SourceRef,
    /// The file's own id of the session, where it has one.
    pub id: Option<String>,
    /// The driver as in the file; none where the file has none.
    pub user: Option<String>,
    /// The station as in the file.
    pub station: String,
    /// 1-based port of the station, set by [`infer_ports`] (no format but OCPI knows ports); 1 until then.
    pub port: u16,
    /// Plugged in.
    pub start_ms: i64,
    /// Energy stopped flowing: `doneChargingTime` (ACN), start + `Charging_Time` (Boulder), clamped to the end;
    /// where the file does not say, the end.
    pub charging_end_ms: i64,
    /// Unplugged.
    pub end_ms: i64,
    /// Energy delivered, thousandths of a watt-hour, exact up to that digit; further digits round half up.
    pub energy_milli_wh: u64,
    /// Local clock at the start, seconds east of UTC.
    pub offset_start_s: i32,
    /// The first daylight-saving change strictly inside the session: its instant and the new offset, seconds east of
    /// UTC.
    pub offset_change: Option<(i64, i32)>,
}

/// A row that was not used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The file's name, without directories.
    pub file: String,
    /// 1-based line on which the row or JSON item begins.
    pub line: u64,
    /// 1-based position among a JSON document's items, where [`SourceRef`] has one.
    pub item: Option<u64>,
    /// The column or JSON field as the file names it; `row` if the row as a whole is at fault.
    pub field: String,
    /// What is wrong, with the value found.
    pub reason: String,
    /// What would make the row acceptable.
    pub remedy: String,
}

/// What one file gave.
#[derive(Debug)]
pub struct FileReport {
    /// The file's name, without directories.
    pub file: String,
    /// The format its content showed.
    pub format: Format,
    /// Complete data rows met: accepted and rejected, without header, blank lines and a row that was cut off.
    pub rows_read: u64,
    /// The accepted sessions, in file order.
    pub sessions: Vec<InputSession>,
    /// The rejected rows, in file order; last the cut, if the file was cut short.
    pub rejected: Vec<Rejected>,
    /// Why reading stopped before the end, if it did. The rows before are in `sessions`.
    pub error: Option<ReadError>,
}

/// Reads one session file, plain or gzip.
///
/// # Errors
///
/// [`ReadError`] when nothing can be taken from the file: it cannot be opened, is empty, too large, not UTF-8 in its
/// header, of no known format, or lacks columns.
pub fn read_file(path: &Path) -> Result<FileReport, ReadError> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let file: Arc<str> = Arc::from(name.as_ref());
    let open = |cause| ReadError::Open { file: file.to_string(), cause };
    let handle = std::fs::File::open(path).map_err(open)?;
    if handle.metadata().map_err(open)?.len() > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge { file: file.to_string(), limit_bytes: MAX_FILE_BYTES });
    }
    read_source(Source::open(handle, file)?)
}

/// Reads a session file held in memory; `file` is the name to report.
///
/// # Errors
///
/// As [`read_file`].
pub fn read_bytes(file: &str, bytes: &[u8]) -> Result<FileReport, ReadError> {
    read_source(Source::open(bytes, Arc::from(file))?)
}

fn read_source(mut source: Source<'_>) -> Result<FileReport, ReadError> {
    source.skip_whitespace();
    match source.peek() {
        None => {
            let file = source.file().to_string();
            Err(source.take_stop().unwrap_or(ReadError::Empty { file }))
        }
        Some(b'[' | b'{') => Items::new(source).read(),
        Some(_) => table::read(source),
    }
}
