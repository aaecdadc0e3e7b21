//! OCMF, the Open Charge Metering Format: what a meter read, signed with the meter's own key, so that a driver can check
//! months later that the energy on the bill is what the meter counted.
//!
//! ```text
//! OCMF|{payload: who signs, which meter, page, readings}|{signature}      one line, no `|` inside
//!
//! write: signed readings of our own meters, ECDSA over P-256        text -> read -> Record
//! verify: the exact bytes of the payload, with the meter's key      Record + key -> VerifiedRecord
//! bill: all records of a session together                           [VerifiedRecord] -> MeteredSession
//! ```
//! Reading is lenient, because nine of ten real records break the specification somewhere; deciding is strict. A record
//! is believed only by [`Record::verify`], and a session is billed only by [`MeteredSession::from_records`]: it begins
//! and ends, all of it comes from one meter, no page is missing, the meter was well and never counted backwards.
//!
//! What is written names no driver: there is no argument for a contract, a card or a vehicle (`IS` false, `IT` `NONE`).
//! What this module deliberately does not do: say whose key it is. That stands in the station's credential.
//!
//! The curves of the two shortest keys (192 bits) are not checked: nobody maintains them, and such a record is reported
//! as [`VerifyError::Unsupported`], not as forged. The crate `ocmf` has the format, but not beside `ocpi-tariffs`: the
//! two want different versions of `rust_decimal`.
//!
//! Source: OCMF 1.4.1 (SAFE e.V.), sections "Readings" and "Signing and verification process".

mod curve;
mod key;
mod obis;
mod read;
mod session;
#[cfg(test)]
mod tests;
mod write;

pub use key::{MeterKey, MeterKeyError, MeterPublicKey};
pub use read::{Reading, Record, RecordError, VerifiedRecord, VerifyError};
pub use session::{MeteredSession, RECORDS_MAX, Sample, SessionFault, Span, spans};
pub use write::{CurrentKind, MeterDescription, RecordWriter, SignedReading, WriteError};

/// The longest record that is read, in bytes. The largest real one has about two thousand.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;

/// What a reading means to its transaction: `TX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// `B`: it begins.
    Begin,
    /// `C`: in between, charging.
    Charging,
    /// `S`: it goes on without charging.
    Suspended,
    /// `T`: the tariff changes.
    TariffChange,
    /// `X`: from here on, energy or time cannot be used.
    Exception,
    /// `E`: it ends.
    End,
    /// `L`: it was ended at the station.
    EndedLocally,
    /// `R`: it was ended from afar.
    EndedRemotely,
    /// `A`: it was ended by an error.
    Aborted,
    /// `P`: it was ended by a power failure.
    PowerFailure,
}

impl Mark {
    /// The letter of the specification.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Begin => 'B',
            Self::Charging => 'C',
            Self::Suspended => 'S',
            Self::TariffChange => 'T',
            Self::Exception => 'X',
            Self::End => 'E',
            Self::EndedLocally => 'L',
            Self::EndedRemotely => 'R',
            Self::Aborted => 'A',
            Self::PowerFailure => 'P',
        }
    }

    const ALL: [Self; 10] = [
        Self::Begin,
        Self::Charging,
        Self::Suspended,
        Self::TariffChange,
        Self::Exception,
        Self::End,
        Self::EndedLocally,
        Self::EndedRemotely,
        Self::Aborted,
        Self::PowerFailure,
    ];

    fn from_letter(text: &str) -> Option<Self> {
        let mut letters = text.trim().chars();
        let letter = letters.next().filter(|_| letters.next().is_none())?;
        Self::ALL.into_iter().find(|mark| mark.letter() == letter)
    }

    /// Whether a transaction is over with it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::End | Self::EndedLocally | Self::EndedRemotely | Self::Aborted | Self::PowerFailure
        )
    }
}

/// How far a reading's time can be trusted: the letter after `TM`. The order is from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// `U`, or nothing: not at all.
    Unknown,
    /// `I`: for information.
    Informative,
    /// `R`: durations are right, the time of day may not be.
    Relative,
    /// `S`: set by a trusted source.
    Synchronised,
}

impl ClockState {
    /// The letter of the specification.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Unknown => 'U',
            Self::Informative => 'I',
            Self::Relative => 'R',
            Self::Synchronised => 'S',
        }
    }

    /// Whether time may be billed by it.
    #[must_use]
    pub const fn measures_time(self) -> bool {
        matches!(self, Self::Relative | Self::Synchronised)
    }
}
