//! How a feed is doing, kept in a file that anybody of the machine may look at.

use crate::whole_file;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The status's name in the state directory.
pub const STATUS: &str = "status.json";

/// How alive a feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// The load of the last hour is there.
    Live,
    /// It is not, but the model can look further ahead.
    Late,
    /// Some hours are the seasonal rule's.
    Degraded,
    /// Nothing came for so long that nothing is forecast.
    Lost,
    /// There is no load that can be used.
    Absent,
}

/// Something that was refused, or went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The line of the watched file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// When.
    pub at: UnixMillis,
    /// What, and what would help.
    pub reason: String,
}

/// The newest forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastForecast {
    /// Its first hour, counted from 1970.
    pub first_hour: i64,
    /// How many hours it has.
    pub hours: usize,
    /// Its digest, as `eroam forecast predict` prints it.
    pub digest: Digest,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Whether the ledger has it, and if not, why.
    pub attested: Result<(), String>,
    /// Why hours are the seasonal rule's, each reason once.
    pub degraded: Vec<String>,
}

/// How a feed is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Of which zone.
    pub zone: String,
    /// As of when.
    pub at: UnixMillis,
    /// How alive it is.
    pub state: FeedState,
    /// What that means, in a sentence.
    pub says: String,
    /// The start of the newest hour that has a sample.
    pub last_sample: Option<UnixMillis>,
    /// How many hours have one.
    pub hours: usize,
    /// How many hours of the series that is forecast from have no load.
    pub holes: u64,
    /// What is wrong with the series, by line of the journal; the newest.
    pub findings: Vec<String>,
    /// What was refused or went wrong lately, the newest last.
    pub problems: Vec<Problem>,
    /// The newest forecast.
    pub last_forecast: Option<LastForecast>,
    /// Up to which hour loads were attested, counted from 1970.
    pub loads_attested_until: Option<i64>,
}

/// Reads what a feed last said.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read_status(directory: &Path) -> io::Result<FeedStatus> {
    let bytes = std::fs::read(directory.join(STATUS))?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// Keeps it.
pub(super) fn write_status(directory: &Path, status: &FeedStatus) -> io::Result<()> {
    whole_file::write(directory, STATUS, &serde_json::to_vec(status).map_err(io::Error::from)?)
}
