//! What an operator's record of a session by wallet rests on, as it goes to the other side of a dispute and to the resolver.
//!
//! ```text
//! record on the ledger ── digest of the quote ──────► quote
//!                      ── digest of the readings ───► what the meter signed
//!                      ── nullifier, signature ─────► voucher, and what its holder agreed to ──┐
//!                                                     proof: its nonce is made of these ◄──────┘
//! ```
//! Here it is compared with what the ledger has, which is all of it but the proof. Whether the meter's signatures and the
//! proof hold is checked by whoever has that cryptography; the proof is tied to session, quote and voucher by its nonce
//! ([`eroam_domain::voucher::proof_nonce`]). The meter's key is the operator's word: the ledger lists no meters.
//!
//! It names no driver and no contract. Source: paper B, section 5.2; issue "both legs' disputes carry the evidence".

use crate::ports::EVIDENCE_BYTES_MAX;
use eroam_domain::cdr::{Cdr, Payer, session_digest};
use eroam_domain::charge::Quote;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::visit::Accounting;
use eroam_domain::voucher::{SpentVoucher, VoucherAcceptance};
use eroam_ledger::cdr::CdrRecord;
use eroam_ledger::tx::PublicKey;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u8 = 1;

/// What a contested record rests on. Its bytes are JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeEvidence {
    /// 1.
    version: u8,
    /// Whose record it is.
    pub operator: PartyId,
    /// The record, as the ledger booked it.
    pub cdr: Cdr,
    /// The quote that the driver accepted.
    pub quote: Quote,
    /// The voucher, and what its holder agreed to.
    pub spent: SpentVoucher,
    /// The key of the station's meter, as the operator registered it.
    pub meter_key: String,
    /// What the station sent: signed readings, and the proof with what its nonce is made of.
    pub sent: Accounting,
}

/// Why it is not the evidence of a record, in the order in which it is looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeEvidenceFault {
    /// It cannot be read.
    #[error("it is no evidence of a charge: {0}")]
    Malformed(String),
    /// Another version.
    #[error("it has version {0}, and {VERSION} is read")]
    Version(u8),
    /// More than is kept.
    #[error("it has {0} bytes, and {EVIDENCE_BYTES_MAX} at most are kept")]
    TooLarge(usize),
    /// Another operator's.
    #[error("it is of a record of {found}, and was to be of {expected}")]
    OtherOperator {
        /// Whose record it was to be.
        expected: PartyId,
        /// Here.
        found: PartyId,
    },
    /// Another record.
    #[error("the ledger booked a record with the digest {expected}, this one has {found}")]
    OtherRecord {
        /// On the ledger.
        expected: Digest,
        /// Here.
        found: Digest,
    },
    /// Of another session.
    #[error("it is of session {found}, the record is {expected}")]
    OtherSession {
        /// What the record is named after.
        expected: String,
        /// Here.
        found: String,
    },
    /// The record was not paid by this voucher.
    #[error("the record was not paid by this voucher")]
    OtherVoucher,
    /// Another quote.
    #[error("the record names a quote with the digest {expected}, this one has {found}")]
    OtherQuote {
        /// In the record.
        expected: Digest,
        /// Here.
        found: Digest,
    },
    /// Nobody agreed to it.
    #[error("the voucher's holder did not sign what the record says was agreed to")]
    NotAgreed,
    /// Other readings.
    #[error("the record names readings with the digest {expected}, these have {found}")]
    OtherReadings {
        /// In the record.
        expected: Digest,
        /// Here.
        found: Digest,
    },
}

impl ChargeEvidence {
    /// Puts it together. Nothing is checked yet: [`ChargeEvidence::check`].
    #[must_use]
    pub fn new(
        operator: PartyId,
        cdr: Cdr,
        (quote, spent): (Quote, SpentVoucher),
        meter_key: String,
        sent: Accounting,
    ) -> Self {
        Self { version: VERSION, operator, cdr, quote, spent, meter_key, sent }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`ChargeEvidenceFault::TooLarge`] for more than anybody keeps.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ChargeEvidenceFault> {
        let bytes =
            serde_json::to_vec(self).map_err(|error| ChargeEvidenceFault::Malformed(error.to_string()))?;
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(ChargeEvidenceFault::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads it. Nothing is checked yet but that it can be read.
    ///
    /// # Errors
    /// [`ChargeEvidenceFault`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChargeEvidenceFault> {
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(ChargeEvidenceFault::TooLarge(bytes.len()));
        }
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| ChargeEvidenceFault::Malformed(error.to_string()))?;
        if read.version != VERSION {
            return Err(ChargeEvidenceFault::Version(read.version));
        }
        Ok(read)
    }

    /// Compares it with what the ledger booked of the `expected` operator under its id.
    ///
    /// # Errors
    /// The first [`ChargeEvidenceFault`].
    pub fn check(&self, expected: PartyId, booked: &CdrRecord) -> Result<(), ChargeEvidenceFault> {
        let Self { version: _, operator, cdr, quote, spent, meter_key: _, sent } = self;
        if *operator != expected {
            return Err(ChargeEvidenceFault::OtherOperator { expected, found: *operator });
        }
        let (expected, found) = (booked.digest, cdr.digest());
        if expected != found {
            return Err(ChargeEvidenceFault::OtherRecord { expected, found });
        }
        let is_its_session = sent.session.as_str() == cdr.id.as_str()
            && session_digest(*operator, &sent.session) == cdr.session;
        if !is_its_session {
            let (expected, found) = (cdr.id.to_string(), sent.session.to_string());
            return Err(ChargeEvidenceFault::OtherSession { expected, found });
        }
        let voucher = &spent.voucher.voucher;
        if cdr.payer != (Payer::Voucher { nullifier: voucher.nullifier() }) || voucher.emsp != booked.emsp {
            return Err(ChargeEvidenceFault::OtherVoucher);
        }
        let (expected, found) = (cdr.quote, quote.digest());
        if expected != found {
            return Err(ChargeEvidenceFault::OtherQuote { expected, found });
        }
        let agreed = VoucherAcceptance {
            session: cdr.session,
            operator: *operator,
            quote: found,
            limit: spent.acceptance.limit,
            accepted_at: cdr.accepted_at,
        };
        let is_signed =
            || PublicKey(voucher.holder.0).verifies(&spent.acceptance.digest().0, &spent.signature.0);
        if spent.acceptance != agreed || spent.signature != cdr.acceptance || !is_signed() {
            return Err(ChargeEvidenceFault::NotAgreed);
        }
        let (expected, found) = (cdr.readings, Digest::of(sent.readings.as_bytes()));
        if expected != found {
            return Err(ChargeEvidenceFault::OtherReadings { expected, found });
        }
        Ok(())
    }
}
