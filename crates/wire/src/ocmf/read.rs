//! A record as it was received, and as it was verified.

use super::curve::{Check, Curve};
use super::key::from_hex;
use super::obis::ObisCode;
use super::{ClockState, Mark, MeterPublicKey, RECORD_BYTES_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eroam_domain::money::parse_decimal;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{CivilDate, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The greatest number of readings in a record. The most seen in a real one are six.
const READINGS_MAX: usize = 256;

/// Why a text is no record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordError {
    /// Longer than any honest record.
    #[error("the record has {found} bytes: at most {RECORD_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not shaped as `OCMF|{..}|{..}`.
    #[error("this is no OCMF record: `OCMF|{{..}}|{{..}}` is expected")]
    NotARecord,
    /// One of the two parts is no JSON object, or has a field twice.
    #[error("the {part} of the record cannot be read")]
    Json {
        /// Which.
        part: &'static str,
        /// What the parser says.
        #[source]
        source: std::sync::Arc<serde_json::Error>,
    },
    /// More readings than any honest record has.
    #[error("the record has {found} readings: at most {READINGS_MAX} are read")]
    TooManyReadings {
        /// So many.
        found: usize,
    },
}

/// Why a record is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Nothing is wrong with the record; nobody here can say.
    #[error("signatures on the curve {curve} cannot be checked here")]
    Unsupported {
        /// The curve.
        curve: &'static str,
    },
    /// The record says that it was signed on another curve than the key's, or in a way that OCMF does not have.
    #[error("the record is not signed with ECDSA on the key's curve {curve}")]
    OtherAlgorithm {
        /// The key's.
        curve: &'static str,
    },
    /// Another key, or something was changed.
    #[error("the signature is not that of this meter over this record")]
    Forged,
    /// What should be a signature is none.
    #[error("the signature cannot be read")]
    NoSignature,
    /// The point is not on the key's curve.
    #[error("the meter's public key is no point of its curve {curve}")]
    NoKey {
        /// The key's.
        curve: &'static str,
    },
}

/// One reading, with what it takes over from those before it in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When, if it can be read.
    pub at: Option<UnixMillis>,
    /// How far the time can be trusted.
    pub clock: ClockState,
    /// Its place in the transaction; `None` without one, or when it is none that is known.
    pub mark: Option<Mark>,
    /// The OBIS code of the register in its canonical spelling.
    pub register: Option<String>,
    /// Whether the register counts what goes to the vehicle; `None` when the code does not say.
    pub is_import: Option<bool>,
    /// What the register showed. `None` if it counts no energy, or below a thousandth of a watt-hour.
    pub energy: Option<WattHours>,
    /// Whether the meter was well (`ST` is `G`).
    pub is_meter_ok: bool,
    /// Whether an error was noted that makes energy or time unusable (`EF` is not empty).
    pub has_error: bool,
}

/// A field as it was written: a text, or the literal of a number or a truth value, since meters mix them up.
fn field(raw: Option<&RawValue>) -> Option<String> {
    let literal = raw?.get();
    match literal.as_bytes().first()? {
        b'"' => serde_json::from_str(literal).ok(),
        b'{' | b'[' => None,
        _ => Some(literal.to_owned()),
    }
}

/// The payload, as far as it is looked at.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "PG")]
    page: Option<&'a RawValue>,
    #[serde(borrow, rename = "MS")]
    meter_serial: Option<&'a RawValue>,
    #[serde(borrow, rename = "GS")]
    gateway_serial: Option<&'a RawValue>,
    #[serde(borrow, rename = "ID")]
    identification: Option<&'a RawValue>,
    #[serde(borrow, rename = "RD", default)]
    readings: Vec<Line<'a>>,
}

/// A reading in the payload. What it leaves out is as in the one before it, but for the value.
#[derive(Clone, Copy, Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "TM")]
    time: Option<&'a RawValue>,
    #[serde(borrow, rename = "TX")]
    mark: Option<&'a RawValue>,
    #[serde(borrow, rename = "RV")]
    value: Option<&'a RawValue>,
    #[serde(borrow, rename = "RI")]
    register: Option<&'a RawValue>,
    #[serde(borrow, rename = "RU")]
    unit: Option<&'a RawValue>,
    #[serde(borrow, rename = "EF")]
    errors: Option<&'a RawValue>,
    #[serde(borrow, rename = "ST")]
    state: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    fn after(self, before: Option<&Self>) -> Self {
        let or = |own: Option<&'a RawValue>, of: fn(&Self) -> Option<&'a RawValue>| {
            own.or_else(|| before.and_then(of))
        };
        Self {
            time: or(self.time, |l| l.time),
            mark: or(self.mark, |l| l.mark),
            value: self.value,
            register: or(self.register, |l| l.register),
            unit: or(self.unit, |l| l.unit),
            errors: or(self.errors, |l| l.errors),
            state: or(self.state, |l| l.state),
        }
    }

    fn read(&self) -> Reading {
        let scale = match field(self.unit).as_deref().map(str::trim) {
            Some("kWh") => Some(6),
            Some("Wh") => Some(3),
            _ => None,
        };
        let energy = scale.zip(field(self.value)).and_then(|(scale, value)| {
            let milli_wh = parse_decimal(value.trim(), scale).ok()?;
            u64::try_from(milli_wh).ok().map(WattHours::from_milli_wh)
        });
        let register = field(self.register).and_then(|text| ObisCode::parse(&text));
        let (at, clock) = field(self.time).map_or((None, ClockState::Unknown), |text| time(&text));
        Reading {
            at,
            clock,
            mark: field(self.mark).and_then(|text| Mark::from_letter(&text)),
            is_import: register.as_ref().and_then(|r| r.is_import),
            register: register.map(|r| r.canonical),
            energy,
            is_meter_ok: field(self.state).as_deref() == Some("G"),
            has_error: self
                .errors
                .is_some_and(|raw| field(Some(raw)).is_none_or(|text| !text.trim().is_empty())),
        }
    }
}

/// `2018-07-24T13:22:04,000+0200 S`: the instant, if it is one, and how far it can be trusted.
fn time(text: &str) -> (Option<UnixMillis>, ClockState) {
    let (stamp, letter) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let clock = match letter {
        "S" => ClockState::Synchronised,
        "R" => ClockState::Relative,
        "I" => ClockState::Informative,
        _ => ClockState::Unknown,
    };
    (instant(stamp), clock)
}

fn instant(stamp: &str) -> Option<UnixMillis> {
    let (date, rest) = stamp.split_once('T')?;
    let date: CivilDate = date.parse().ok()?;
    let at = rest.rfind(['+', '-'])?;
    let (clock, zone) = rest.split_at_checked(at)?;
    let number = |text: &str, width: usize| {
        let digits = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (clock, milli) = match clock.split_once([',', '.']) {
        Some((clock, milli)) => (clock, number(milli, 3)?),
        None => (clock, 0),
    };
    let mut parts = clock.splitn(3, ':');
    let (h, min, s) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let zone_digits: String = zone.chars().skip(1).filter(|c| *c != ':').collect();
    let zone_value = number(&zone_digits, 4)?;
    let (zone_h, zone_min) = (zone_value / 100, zone_value % 100);
    if h > 23 || min > 59 || s > 59 || zone_h > 18 || zone_min > 59 {
        return None;
    }
    let minutes = |h: i64, min: i64| h.checked_mul(60)?.checked_add(min);
    let east = minutes(zone_h, zone_min)?.checked_mul(60_000)?;
    let local = minutes(h, min)?.checked_mul(60)?.checked_add(s)?.checked_mul(1_000)?.checked_add(milli)?;
    let local = date.days().checked_mul(86_400_000)?.checked_add(local)?;
    let east = if zone.starts_with('-') { east.checked_neg()? } else { east };
    UnixMillis::new(local.checked_sub(east)?)
}

/// The signature's part.
#[derive(Deserialize)]
struct Signature<'a> {
    #[serde(borrow, rename = "SA")]
    algorithm: Option<&'a RawValue>,
    #[serde(borrow, rename = "SE")]
    encoding: Option<&'a RawValue>,
    #[serde(borrow, rename = "SD")]
    data: Option<&'a RawValue>,
}

impl Signature<'_> {
    /// The curve; without a name it is P-256.
    fn curve(&self) -> Option<Curve> {
        match self.algorithm {
            None => Some(Curve::Secp256r1),
            Some(_) => field(self.algorithm).and_then(|name| Curve::of_algorithm(&name)),
        }
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let data = field(self.data)?;
        match self.encoding.map(|_| field(self.encoding)) {
            None => from_hex(data.trim()),
            Some(Some(encoding)) if encoding == "hex" => from_hex(data.trim()),
            Some(Some(encoding)) if encoding == "base64" => STANDARD.decode(data.trim()).ok(),
            Some(_) => None,
        }
    }
}

/// The two parts of a record, with whatever stands between the separators.
struct Parts<'a> {
    /// What is signed.
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    /// The payload ends where its JSON ends, so that a separator inside a text of it does no harm.
    fn of(text: &'a str) -> Result<Self, RecordError> {
        let rest = text.trim().strip_prefix("OCMF|").ok_or(RecordError::NotARecord)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        if let Some(Err(source)) = values.next() {
            return Err(RecordError::Json { part: "payload", source: source.into() });
        }
        let end = values.byte_offset();
        let after = rest.get(end..).and_then(|after| after.find('|')).ok_or(RecordError::NotARecord)?;
        let separator = end.checked_add(after).ok_or(RecordError::NotARecord)?;
        let (payload, signature) = rest.split_at_checked(separator).ok_or(RecordError::NotARecord)?;
        let signature = signature.strip_prefix('|').ok_or(RecordError::NotARecord)?;
        if !payload.get(end..).is_some_and(|blank| blank.trim().is_empty()) {
            return Err(RecordError::NotARecord);
        }
        Ok(Self { payload, signature })
    }

    fn payload(&self) -> Result<Payload<'a>, RecordError> {
        serde_json::from_str(self.payload)
            .map_err(|source| RecordError::Json { part: "payload", source: source.into() })
    }

    fn signature(&self) -> Result<Signature<'a>, RecordError> {
        serde_json::from_str(self.signature)
            .map_err(|source| RecordError::Json { part: "signature", source: source.into() })
    }
}

/// A record that nobody has checked yet. Whatever its fields say, they are only claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    text: String,
    page: Option<u64>,
    source: Option<String>,
    names_somebody: bool,
    readings: Vec<Reading>,
}

impl Record {
    /// Reads `OCMF|{..}|{..}`. A field that cannot be understood is absent, and is not forgiven later.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        if text.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { found: text.len() });
        }
        let parts = Parts::of(text)?;
        let payload = parts.payload()?;
        parts.signature()?;
        if payload.readings.len() > READINGS_MAX {
            return Err(RecordError::TooManyReadings { found: payload.readings.len() });
        }
        let mut readings = Vec::with_capacity(payload.readings.len());
        let mut before = None;
        for line in payload.readings {
            let line = line.after(before.as_ref());
            readings.push(line.read());
            before = Some(line);
        }
        // A record without the meter's number has that of the signing component, of which the meter is then a part.
        let number = |raw| field(raw).filter(|text| !text.trim().is_empty());
        let page = field(payload.page).and_then(|page| page.trim().strip_prefix('T')?.parse().ok());
        Ok(Self {
            text: text.to_owned(),
            page,
            source: number(payload.meter_serial).or_else(|| number(payload.gateway_serial)),
            names_somebody: number(payload.identification).is_some(),
            readings,
        })
    }

    /// The text as it was received.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number of its page, one more than that of the record before it; `None` for readings that belong to no
    /// transaction.
    #[must_use]
    pub const fn page(&self) -> Option<u64> {
        self.page
    }

    /// The serial number of the meter, or of what signed for it.
    #[must_use]
    pub fn meter(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether it says who charged. Ours never do.
    #[must_use]
    pub const fn names_somebody(&self) -> bool {
        self.names_somebody
    }

    /// The readings, oldest first.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Checks the signature over the payload's own bytes.
    ///
    /// # Errors
    /// [`VerifyError`]. A curve that this build does not have is not a forgery.
    pub fn verify(self, key: &MeterPublicKey) -> Result<VerifiedRecord, VerifyError> {
        let curve = key.curve();
        let check = {
            // It was taken apart before; the second time costs microseconds and keeps borrowed texts inside.
            let parts = Parts::of(&self.text).map_err(|_| VerifyError::NoSignature)?;
            let signature = parts.signature().map_err(|_| VerifyError::NoSignature)?;
            if signature.curve() != Some(key.curve) {
                return Err(VerifyError::OtherAlgorithm { curve });
            }
            let bytes = signature.bytes().ok_or(VerifyError::NoSignature)?;
            key.curve.check(&key.point, parts.payload.as_bytes(), &bytes)
        };
        match check {
            Check::Right => Ok(VerifiedRecord(self)),
            Check::Wrong => Err(VerifyError::Forged),
            Check::Unsupported => Err(VerifyError::Unsupported { curve }),
            Check::NoSignature => Err(VerifyError::NoSignature),
            Check::NoKey => Err(VerifyError::NoKey { curve }),
        }
    }
}

/// A record whose signature is the meter's. What it means together with others, [`super::MeteredSession`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord(Record);

impl VerifiedRecord {
    /// What was signed.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.0
    }
}
