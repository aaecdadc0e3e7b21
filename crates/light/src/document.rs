//! Receipts and proofs as files: JSON that people can read and `eroam verify` checks.
//!
//! A proof has exactly one text: whatever is read is written again and must be the very same bytes, so that no byte of
//! a file can be altered unnoticed. That holds for `says`, too, which repeats in words what the rest proves. The key of a
//! proof of absence can be replaced by another that is absent for the same reason; the proof is one of that key then.
//!
//! ```text
//! {
//!   "format": "eroam-receipt/1",              or "eroam-state/1"
//!   "says": {..},                             derived from the rest
//!   "network": "..",                          SHA-256 of the genesis
//!   "headers": ["..", ..],                    the block's, then those after it up to the certified one
//!   "certificate": "..",
//!   "envelope": {"index": 0, "digest": "..", "path": ["..", null, ..]},
//!   "item": {"index": 0, "bytes": "..", "path": [..]},
//!   "content": {"record": ".."}               or "reservation", "voucher_reservation", "voucher_refund",
//!                                             "voucher_block", "envelope", or null
//! }
//! ```
//! A state proof has `key`, `value` (or null) and `proof` in place of the last three. Bytes are canonical bytes in
//! lower-case hexadecimal; a path goes upwards, with null where a node has no neighbour.

use crate::block::Header;
use crate::receipt::{Content, ReceiptError, ReceiptProof, VerifiedReceipt};
use crate::state::{StateProof, StateProofError, VerifiedEntry};
use crate::trust::{FinalityProof, Trust};
use eroam_domain::codec::{self, Digest, HexBytes};
use eroam_domain::money::Money;
use eroam_domain::voucher::Voucher;
use eroam_ledger::reject::ItemOutcome;
use eroam_ledger::tree::Path;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The greatest size of a file in bytes: a proof that a key is absent, beside a value of the greatest size, in
/// hexadecimal.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// `eroam-receipt/1`.
    Receipt(ReceiptProof),
    /// `eroam-state/1`.
    State(StateProof),
}

/// What a file proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// What became of an item.
    Receipt(VerifiedReceipt),
    /// What the state has under a key.
    State(VerifiedEntry),
}

/// Why a file is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("a file of {0} bytes is larger than {FILE_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON of a proof: an unknown format or field, a missing one, or one of another kind.
    #[error("the file is no proof: {0}")]
    Json(String),
    /// The bytes of a field are not what the field says.
    #[error("`{field}` holds no such value: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something that is not part of the proof was altered, such as a space, or what the file says in words.
    #[error("the file was altered: it is not the text that this proof has")]
    Altered,
    /// The receipt proves nothing.
    #[error("the receipt proves nothing")]
    Receipt(#[from] ReceiptError),
    /// The state proof proves nothing.
    #[error("the state proof proves nothing")]
    State(#[from] StateProofError),
}

impl Document {
    /// The text of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let file = match self {
            Self::Receipt(proof) => File::Receipt(Box::new(ReceiptFile::of(proof))),
            Self::State(proof) => File::State(Box::new(StateFile::of(proof))),
        };
        // Writing strings, numbers and lists of them to memory does not fail; no text at all is no proof.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a file, and nothing else than what [`Self::encode`] writes. What it proves is not checked.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn decode(text: &[u8]) -> Result<Self, DocumentError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(DocumentError::TooLarge(text.len()));
        }
        let file: File = serde_json::from_slice(text).map_err(|e| DocumentError::Json(e.to_string()))?;
        let document = match file {
            File::Receipt(file) => Self::Receipt(file.into_proof()?),
            File::State(file) => Self::State(file.into_proof()?),
        };
        if document.encode().as_bytes() == text { Ok(document) } else { Err(DocumentError::Altered) }
    }

    /// Checks the proof.
    ///
    /// # Errors
    /// [`DocumentError::Receipt`], [`DocumentError::State`].
    pub fn verify(&self, trust: &Trust) -> Result<Verified, DocumentError> {
        Ok(match self {
            Self::Receipt(proof) => Verified::Receipt(proof.verify(trust)?),
            Self::State(proof) => Verified::State(proof.verify(trust)?),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "format")]
enum File {
    #[serde(rename = "eroam-receipt/1")]
    Receipt(Box<ReceiptFile>),
    #[serde(rename = "eroam-state/1")]
    State(Box<StateFile>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFile {
    says: Derived<ReceiptSays>,
    network: Digest,
    headers: Vec<HexBytes>,
    certificate: HexBytes,
    envelope: EnvelopePlace,
    item: ItemPlace,
    content: Option<ContentBytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    says: Derived<StateSays>,
    network: Digest,
    headers: Vec<HexBytes>,
    certificate: HexBytes,
    key: HexBytes,
    value: Option<HexBytes>,
    proof: HexBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopePlace {
    index: u32,
    digest: Digest,
    path: Vec<Option<Digest>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemPlace {
    index: u32,
    bytes: HexBytes,
    path: Vec<Option<Digest>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ContentBytes {
    Record(HexBytes),
    Reservation(HexBytes),
    VoucherReservation(HexBytes),
    VoucherRefund(HexBytes),
    VoucherBlock(HexBytes),
    Envelope(HexBytes),
}

/// What a receipt says to people.
#[derive(Serialize)]
struct ReceiptSays {
    height: u64,
    time: String,
    outcome: ItemOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordSays>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voucher: Option<VoucherSays>,
}

/// What a receipt about a voucher says to people: which one, and for a reservation, what was agreed to with it.
#[derive(Serialize)]
struct VoucherSays {
    nullifier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pays_at_most: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<String>,
}

impl VoucherSays {
    fn of(content: &Content) -> Option<Self> {
        let signed = |voucher: &Voucher| Self {
            nullifier: voucher.nullifier().to_string(),
            issuer: Some(voucher.emsp.to_string()),
            pays_at_most: Some(voucher.cap.to_string()),
            operator: None,
            limit: None,
            accepted_at: None,
        };
        Some(match content {
            Content::VoucherReservation(reservation) => {
                let (voucher, accepted) = (&reservation.spent.voucher.voucher, &reservation.spent.acceptance);
                Self {
                    operator: Some(accepted.operator.to_string()),
                    limit: Some(Money::new(accepted.limit, voucher.cap.currency).to_string()),
                    accepted_at: Some(accepted.accepted_at.to_string()),
                    ..signed(voucher)
                }
            }
            Content::VoucherRefund(voucher) => signed(&voucher.voucher),
            Content::VoucherBlock(nullifier) => Self {
                nullifier: nullifier.to_string(),
                issuer: None,
                pays_at_most: None,
                operator: None,
                limit: None,
                accepted_at: None,
            },
            Content::Record(_) | Content::Reservation(_) | Content::Envelope(_) => return None,
        })
    }
}

/// What a record says to people.
#[derive(Serialize)]
struct RecordSays {
    id: String,
    start: String,
    end: String,
    energy: String,
    price_excl_vat: String,
    price_incl_vat: String,
}

/// What a state proof says to people.
#[derive(Serialize)]
struct StateSays {
    height: u64,
    time: String,
}

impl ReceiptSays {
    fn of(proof: &ReceiptProof) -> Self {
        let header = &proof.finality.header;
        let record = match &proof.content {
            Some(Content::Record(cdr)) => Some(RecordSays {
                id: cdr.id.to_string(),
                start: cdr.start.to_string(),
                end: cdr.end.to_string(),
                energy: cdr.energy.to_string(),
                price_excl_vat: Money::new(cdr.price.excl_vat, cdr.currency).to_string(),
                price_incl_vat: Money::new(cdr.price.incl_vat, cdr.currency).to_string(),
            }),
            _ => None,
        };
        let voucher = proof.content.as_ref().and_then(VoucherSays::of);
        let outcome = proof.item.outcome;
        Self { height: header.height, time: header.time.to_string(), outcome, record, voucher }
    }
}

/// A part that follows from the others: it is written, and when read left to the comparison with what is written.
struct Derived<T>(Option<T>);

impl<T: Serialize> Serialize for Derived<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Derived<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(None))
    }
}

fn field<T>(field: &'static str, value: Result<T, String>) -> Result<T, DocumentError> {
    value.map_err(|reason| DocumentError::Field { field, reason })
}

fn headers(finality: &FinalityProof) -> Vec<HexBytes> {
    let all = std::iter::once(&finality.header).chain(&finality.descendants);
    all.map(|header| HexBytes::new(codec::to_bytes(header))).collect()
}

fn finality(
    network: Digest,
    headers: &[HexBytes],
    certificate: HexBytes,
) -> Result<FinalityProof, DocumentError> {
    let decoded: Result<Vec<Header>, String> =
        headers.iter().map(|h| codec::from_bytes(h.as_bytes())).collect();
    let mut decoded = field("headers", decoded)?.into_iter();
    let header = field("headers", decoded.next().ok_or_else(|| "there is none".to_owned()))?;
    Ok(FinalityProof {
        network,
        header,
        descendants: decoded.collect(),
        certificate: certificate.into_bytes(),
    })
}

fn path(name: &'static str, index: u32, steps: Vec<Option<Digest>>) -> Result<Path, DocumentError> {
    field(name, Path::new(index, steps).ok_or_else(|| format!("no tree has such a path at index {index}")))
}

impl ReceiptFile {
    fn of(proof: &ReceiptProof) -> Self {
        let ReceiptProof { finality, envelope, envelope_path, item, item_path, content } = proof;
        Self {
            says: Derived(Some(ReceiptSays::of(proof))),
            network: finality.network,
            headers: headers(finality),
            certificate: HexBytes::new(finality.certificate.clone()),
            envelope: EnvelopePlace {
                index: envelope_path.index(),
                digest: *envelope,
                path: envelope_path.steps().to_vec(),
            },
            item: ItemPlace {
                index: item_path.index(),
                bytes: HexBytes::new(codec::to_bytes(item)),
                path: item_path.steps().to_vec(),
            },
            content: content.as_ref().map(|content| {
                let bytes = HexBytes::new(content.to_bytes());
                match content {
                    Content::Record(_) => ContentBytes::Record(bytes),
                    Content::Reservation(_) => ContentBytes::Reservation(bytes),
                    Content::VoucherReservation(_) => ContentBytes::VoucherReservation(bytes),
                    Content::VoucherRefund(_) => ContentBytes::VoucherRefund(bytes),
                    Content::VoucherBlock(_) => ContentBytes::VoucherBlock(bytes),
                    Content::Envelope(_) => ContentBytes::Envelope(bytes),
                }
            }),
        }
    }

    fn into_proof(self) -> Result<ReceiptProof, DocumentError> {
        let content = match self.content {
            None => None,
            Some(ContentBytes::Record(hex)) => {
                Some(Content::Record(Box::new(field("content", codec::from_bytes(hex.as_bytes()))?)))
            }
            Some(ContentBytes::Reservation(hex)) => {
                Some(Content::Reservation(field("content", codec::from_bytes(hex.as_bytes()))?))
            }
            Some(ContentBytes::VoucherReservation(hex)) => Some(Content::VoucherReservation(Box::new(
                field("content", codec::from_bytes(hex.as_bytes()))?,
            ))),
            Some(ContentBytes::VoucherRefund(hex)) => {
                Some(Content::VoucherRefund(Box::new(field("content", codec::from_bytes(hex.as_bytes()))?)))
            }
            Some(ContentBytes::VoucherBlock(hex)) => {
                Some(Content::VoucherBlock(field("content", codec::from_bytes(hex.as_bytes()))?))
            }
            Some(ContentBytes::Envelope(hex)) => Some(Content::Envelope(hex.into_bytes())),
        };
        Ok(ReceiptProof {
            finality: finality(self.network, &self.headers, self.certificate)?,
            envelope: self.envelope.digest,
            envelope_path: path("envelope", self.envelope.index, self.envelope.path)?,
            item: field("item", codec::from_bytes(self.item.bytes.as_bytes()))?,
            item_path: path("item", self.item.index, self.item.path)?,
            content,
        })
    }
}

impl StateFile {
    fn of(proof: &StateProof) -> Self {
        let StateProof { finality, key, value, proof } = proof;
        let header = &finality.header;
        Self {
            says: Derived(Some(StateSays { height: header.height, time: header.time.to_string() })),
            network: finality.network,
            headers: headers(finality),
            certificate: HexBytes::new(finality.certificate.clone()),
            key: HexBytes::new(key.clone()),
            value: value.clone().map(HexBytes::new),
            proof: HexBytes::new(proof.clone()),
        }
    }

    fn into_proof(self) -> Result<StateProof, DocumentError> {
        Ok(StateProof {
            finality: finality(self.network, &self.headers, self.certificate)?,
            key: self.key.into_bytes(),
            value: self.value.map(HexBytes::into_bytes),
            proof: self.proof.into_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Document::decode(&bytes).is_err());
        }
    }
}
