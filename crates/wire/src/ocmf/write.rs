//! Records of our own meters.

use super::{ClockState, Mark, MeterKey, Sample};
use eroam_domain::ids::EvseId;
use eroam_domain::money::decimal;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the format that is written. The reference verifier knows none later than 1.3.
const FORMAT_VERSION: &str = "1.3";

/// Counts the changes of what is written here.
const GATEWAY_VERSION: &str = "1";

/// Total energy drawn from the mains, as OCMF's table 25 spells it.
const REGISTER: &str = "01-00:B0.08.00*FF";

/// The longest text of a description, in bytes.
const TEXT_MAX: usize = 64;

/// Why a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It would not be a reading of anything.
    #[error("a record holds at least one reading")]
    NoReading,
    /// `|` separates the parts of a record.
    #[error("the {field} of the meter is empty, too long, or has a character that records cannot hold")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// JSON could not be written, which texts and numbers do not cause.
    #[error("the record could not be written as JSON")]
    Json,
}

/// Alternating or direct current: `RT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CurrentKind {
    /// Alternating.
    Ac,
    /// Direct.
    Dc,
}

/// The meter and the station that signs for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterDescription {
    /// Who makes it.
    pub vendor: String,
    /// Its model.
    pub model: String,
    /// Its serial number, by which all records of a session are known to come from one meter.
    pub serial: String,
    /// What runs in it.
    pub firmware: String,
    /// Whether an authority has approved it for billing. If not, every record says so beside the model.
    pub certified: bool,
    /// What it measures.
    pub kind: CurrentKind,
}

/// A reading to be signed. It has no place for a driver, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReading {
    /// When.
    pub at: UnixMillis,
    /// How far that can be trusted.
    pub clock: ClockState,
    /// What it means to the session.
    pub mark: Mark,
    /// What the register showed.
    pub register: WattHours,
}

impl From<SignedReading> for Sample {
    fn from(reading: SignedReading) -> Self {
        let SignedReading { at, clock, mark, register } = reading;
        Self { at, clock, mark: Some(mark), register }
    }
}

/// Signs readings of one meter at one charging point.
#[derive(Clone, Debug)]
pub struct RecordWriter {
    key: MeterKey,
    meter: MeterDescription,
    evse: EvseId,
}

impl RecordWriter {
    /// A writer for `meter` at `evse`.
    ///
    /// # Errors
    /// [`WriteError::Text`].
    pub fn new(key: MeterKey, meter: MeterDescription, evse: EvseId) -> Result<Self, WriteError> {
        let texts = [
            ("vendor", &meter.vendor),
            ("model", &meter.model),
            ("serial", &meter.serial),
            ("firmware", &meter.firmware),
        ];
        for (field, text) in texts {
            let fits = !text.is_empty() && text.len() <= TEXT_MAX;
            if !fits || text.contains('|') || text.chars().any(char::is_control) {
                return Err(WriteError::Text { field });
            }
        }
        Ok(Self { key, meter, evse })
    }

    /// The meter.
    #[must_use]
    pub const fn meter(&self) -> &MeterDescription {
        &self.meter
    }

    /// A record of `readings`, oldest first, as page `page` of the meter. The same arguments give the same text.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn sign(
        &self,
        page: u64,
        clock: &LocalClock,
        readings: &[SignedReading],
    ) -> Result<String, WriteError> {
        if readings.is_empty() {
            return Err(WriteError::NoReading);
        }
        let meter = &self.meter;
        let approval = if meter.certified { "" } else { " (not certified)" };
        let payload = Payload {
            format_version: FORMAT_VERSION,
            gateway: "eroam station",
            gateway_serial: &meter.serial,
            gateway_version: GATEWAY_VERSION,
            page: format!("T{page}"),
            vendor: &meter.vendor,
            model: format!("{}{approval}", meter.model),
            serial: &meter.serial,
            firmware: &meter.firmware,
            is_identified: false,
            identification_level: "NONE",
            identification_flags: [],
            identification_type: "NONE",
            identification: "",
            point_type: "EVSEID",
            point: self.evse.to_string(),
            readings: readings.iter().map(|r| line(r, clock, meter.kind)).collect::<Result<_, _>>()?,
        };
        let payload = serde_json::to_string(&payload).map_err(|_| WriteError::Json)?;
        let signature: String =
            self.key.sign(payload.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(format!(r#"OCMF|{payload}|{{"SA":"ECDSA-secp256r1-SHA256","SD":"{signature}"}}"#))
    }
}

/// The payload; the order of its fields is that of the specification's tables.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "FV")]
    format_version: &'a str,
    #[serde(rename = "GI")]
    gateway: &'a str,
    #[serde(rename = "GS")]
    gateway_serial: &'a str,
    #[serde(rename = "GV")]
    gateway_version: &'a str,
    #[serde(rename = "PG")]
    page: String,
    #[serde(rename = "MV")]
    vendor: &'a str,
    #[serde(rename = "MM")]
    model: String,
    #[serde(rename = "MS")]
    serial: &'a str,
    #[serde(rename = "MF")]
    firmware: &'a str,
    #[serde(rename = "IS")]
    is_identified: bool,
    #[serde(rename = "IL")]
    identification_level: &'a str,
    #[serde(rename = "IF")]
    identification_flags: [&'a str; 0],
    #[serde(rename = "IT")]
    identification_type: &'a str,
    #[serde(rename = "ID")]
    identification: &'a str,
    #[serde(rename = "CT")]
    point_type: &'a str,
    #[serde(rename = "CI")]
    point: String,
    #[serde(rename = "RD")]
    readings: Vec<Line>,
}

/// A reading in the payload.
#[derive(Serialize)]
struct Line {
    #[serde(rename = "TM")]
    time: String,
    #[serde(rename = "TX")]
    mark: char,
    /// Watt-hours with three decimals, always, which is what the register resolves.
    #[serde(rename = "RV")]
    value: Box<RawValue>,
    #[serde(rename = "RI")]
    register: &'static str,
    #[serde(rename = "RU")]
    unit: &'static str,
    #[serde(rename = "RT")]
    kind: CurrentKind,
    #[serde(rename = "EF")]
    errors: &'static str,
    #[serde(rename = "ST")]
    state: &'static str,
}

fn line(reading: &SignedReading, clock: &LocalClock, kind: CurrentKind) -> Result<Line, WriteError> {
    let value = decimal(i128::from(reading.register.milli_wh()), 3, 3);
    Ok(Line {
        time: time(reading, clock),
        mark: reading.mark.letter(),
        value: RawValue::from_string(value).map_err(|_| WriteError::Json)?,
        register: REGISTER,
        unit: "Wh",
        kind,
        errors: "",
        state: "G",
    })
}

/// `2026-11-21T12:00:00,000+0100 S`. The format's offsets have no seconds, so those of the clock are left out of both.
fn time(reading: &SignedReading, clock: &LocalClock) -> String {
    let offset = match clock.change {
        Some((from, offset)) if reading.at >= from => offset,
        _ => clock.offset,
    };
    let minutes = offset.seconds() / 60;
    let whole = minutes.checked_mul(60).and_then(UtcOffset::new).unwrap_or(UtcOffset::UTC);
    let local = LocalClock::fixed(whole).at(reading.at);
    let ms = local.ms_of_day;
    let (h, min, s, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let sign = if whole.seconds() < 0 { '-' } else { '+' };
    let east = minutes.unsigned_abs();
    let state = reading.clock.letter();
    format!("{}T{h:02}:{min:02}:{s:02},{milli:03}{sign}{:02}{:02} {state}", local.date, east / 60, east % 60)
}
