//! Receipts and state proofs: made from a ledger, and checked with nothing but a genesis.
//!
//! [`check`] and [`verify`] decide by `eroam-light` alone: no node, no network, no directory of a ledger.

use super::export::{ExportError, read_genesis};
use super::keys;
use super::reader::{Reader, ReaderError};
use super::recheck::outcome_in_words;
use super::show::Found;
use super::staging::{StagingError, write_file};
use eroam_domain::cdr::Payer;
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::money::Money;
use eroam_domain::voucher::SpentVoucher;
use eroam_ledger::port::LedgerError;
use eroam_ledger::reject::ItemOutcome;
use eroam_ledger::state::StateKey;
use eroam_ledger::tx::SignedEnvelope;
use eroam_light::block::Header;
use eroam_light::certificate::Certificate;
use eroam_light::document::{Document, DocumentError, FILE_BYTES_MAX, Verified};
use eroam_light::receipt::{Content, ReceiptProof};
use eroam_light::state::StateProof;
use eroam_light::trust::{FinalityProof, Trust, TrustError};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why there is no proof, or a file is none.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ProofError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
    #[error("the body of block {0} cannot be read: take the directory of another validator with --validator")]
    Body(u64),
    #[error("the envelope has {found} items: choose the one that the receipt is for with --item 0 to --item {}", found - 1)]
    WhichItem { found: usize },
    #[error("the envelope has no item {wanted}: it has {found}, counted from 0")]
    NoItem { wanted: usize, found: usize },
    #[error("the proof cannot be written")]
    Staging(#[from] StagingError),
    #[error("{} cannot be read: name a file that is there and that you may read", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the genesis to trust cannot be read")]
    Genesis(#[source] ExportError),
    #[error("the genesis {} names no validators that could be trusted", path.display())]
    Trust {
        path: PathBuf,
        #[source]
        source: TrustError,
    },
    /// The answer is no.
    #[error("{} is refused: it does not prove what it says", path.display())]
    Refused {
        path: PathBuf,
        #[source]
        source: DocumentError,
    },
    /// Whatever went wrong, nobody is given such a proof.
    #[error(
        "the ledger gave a proof that does not hold: take the directory of another validator with --validator"
    )]
    Unsound(#[source] DocumentError),
}

/// What a file proves.
#[derive(Clone, Debug, Serialize)]
pub struct Proved {
    /// Always true: a file that proves nothing is an error.
    pub verified: bool,
    /// `receipt` or `state`.
    pub proves: &'static str,
    /// The network.
    pub network: Digest,
    /// The block.
    pub height: u64,
    /// Its time.
    pub time: String,
    /// Its digest.
    pub block: Digest,
    /// How many validators finalized it.
    pub votes: usize,
    /// How many there are.
    pub validators: usize,
    /// What it says, for machines.
    #[serde(flatten)]
    pub says: Says,
    /// The same in a paragraph.
    pub text: String,
}

/// What a proof is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Says {
    /// What became of an item.
    Receipt {
        /// SHA-256 of the envelope.
        envelope: Digest,
        /// Its place in the block.
        envelope_index: u32,
        /// The item's hash.
        item: Digest,
        /// Its place in the envelope.
        item_index: u32,
        /// What became of it.
        outcome: ItemOutcome,
        /// What it was about, if the receipt tells.
        content: Option<Value>,
    },
    /// What the state has under a key.
    State {
        /// The key in words.
        key: String,
        /// Whether there is anything.
        present: bool,
        /// The value.
        value: Option<Value>,
    },
}

impl fmt::Display for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is written to a file, and what that proves.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The file.
    pub file: PathBuf,
    /// What it proves.
    #[serde(flatten)]
    pub proved: Proved,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nwritten to {}", self.proved, self.file.display())
    }
}

/// The receipt for an item that was found, or for an item of an envelope that was found; `item` may be left out where
/// there is only one.
///
/// # Errors
/// [`ProofError`].
pub fn receipt(reader: &Reader, found: &Found, item: Option<usize>) -> Result<Document, ProofError> {
    let height = found.place.height;
    let block = reader.block(height)?;
    let body = from_bytes(block.body()).map_err(|_| ProofError::Body(height));
    let body: eroam_light::block::Body = body?;
    let items = body.items.get(usize::from(found.place.envelope)).map_or(0, Vec::len);
    let wanted = match item {
        Some(item) => item,
        None if found.is_item => usize::from(found.place.item),
        None if items == 1 => 0,
        None => return Err(ProofError::WhichItem { found: items }),
    };
    let no_item = ProofError::NoItem { wanted, found: items };
    let Ok(wanted) = u32::try_from(wanted) else { return Err(no_item) };
    let finality = reader.finality(*block.header())?;
    let proof = ReceiptProof::of(finality, &body, u32::from(found.place.envelope), wanted);
    Ok(Document::Receipt(proof.ok_or(no_item)?))
}

/// The proof of what the latest state has under a key, or that it has nothing.
///
/// # Errors
/// [`ProofError`].
pub fn state(reader: &Reader, key: &StateKey) -> Result<Document, ProofError> {
    let key = key.to_bytes();
    let (header, value, proof) = reader.client().prove(&key)?;
    let finality = reader.finality(header)?;
    let value = value.map(|bytes| bytes.to_vec());
    Ok(Document::State(StateProof { finality, key, value, proof: proof.to_vec() }))
}

/// Writes a proof to a file, once it was checked as whoever reads it will.
///
/// # Errors
/// [`ProofError`].
pub fn write(reader: &Reader, document: &Document, file: &Path) -> Result<Written, ProofError> {
    let genesis = reader.client().genesis();
    let trust = Trust::from_genesis(genesis)
        .map_err(|source| ProofError::Trust { path: reader.directory().to_owned(), source })?;
    let text = document.encode();
    let proved = check(text.as_bytes(), &trust).map_err(ProofError::Unsound)?;
    write_file(file, text.as_bytes())?;
    Ok(Written { file: file.to_owned(), proved })
}

/// Checks the text of a proof.
///
/// # Errors
/// [`DocumentError`].
pub fn check(text: &[u8], trust: &Trust) -> Result<Proved, DocumentError> {
    let document = Document::decode(text)?;
    let verified = document.verify(trust)?;
    let finality = match &document {
        Document::Receipt(proof) => &proof.finality,
        Document::State(proof) => &proof.finality,
    };
    Ok(match verified {
        Verified::Receipt(receipt) => {
            let item = receipt.item();
            let (what, content) = content(receipt.content(), &item.hash);
            let says = Says::Receipt {
                envelope: receipt.envelope(),
                envelope_index: receipt.envelope_index(),
                item: item.hash,
                item_index: receipt.item_index(),
                outcome: item.outcome,
                content,
            };
            let header = receipt.header().header();
            let text = format!(
                "{what} was {}. It is item {} of envelope {}, which is number {} in block {} of {}.",
                outcome_in_words(item.outcome),
                receipt.item_index(),
                receipt.envelope(),
                receipt.envelope_index(),
                header.height,
                header.time
            );
            proved("receipt", finality, trust, says, &text)
        }
        Verified::State(entry) => {
            let key = keys::bytes_in_words(entry.key());
            let value = entry.value().map(|value| match from_bytes(entry.key()) {
                Ok(key) => keys::value(&key, value),
                Err(_) => json!(keys::hex(value)),
            });
            let header = entry.header().header();
            let has = match &value {
                Some(value) => format!("has `{key}`: {}", keys::in_a_line(value)),
                None => format!("has nothing under `{key}`"),
            };
            let text = format!("After block {} of {} the state {has}.", header.height, header.time);
            let says = Says::State { key, present: value.is_some(), value };
            proved("state", finality, trust, says, &text)
        }
    })
}

fn proved(proves: &'static str, finality: &FinalityProof, trust: &Trust, says: Says, about: &str) -> Proved {
    let header: &Header = &finality.header;
    let certified = finality.descendants.last().unwrap_or(header);
    // It was verified, so it can be read.
    let votes = Certificate::decode(&finality.certificate).map_or(0, |certificate| certificate.votes());
    let validators = trust.validators().validators_at(certified.epoch).count();
    let with = match finality.descendants.last() {
        Some(last) => format!(", with block {}", last.height),
        None => String::new(),
    };
    let network = finality.network;
    let text = format!(
        "{about} {votes} of {validators} validators of network {network} finalized that block{with}."
    );
    Proved {
        verified: true,
        proves,
        network: finality.network,
        height: header.height,
        time: header.time.to_string(),
        block: header.digest(),
        votes,
        validators,
        says,
        text,
    }
}

/// What an item was about, in words and for machines.
fn content(content: Option<&Content>, hash: &Digest) -> (String, Option<Value>) {
    match content {
        Some(Content::Record(cdr)) => {
            let money = |micros| Money::new(micros, cdr.currency);
            let paid = match cdr.payer {
                Payer::Contract { .. } => String::new(),
                Payer::Voucher { nullifier } => format!(", paid with the voucher {nullifier}"),
            };
            let words = format!(
                "Record {} ({} to {}, {}, {} without and {} with VAT{paid})",
                cdr.id,
                cdr.start,
                cdr.end,
                cdr.energy,
                money(cdr.price.excl_vat),
                money(cdr.price.incl_vat)
            );
            (words, Some(json!({ "record": cdr })))
        }
        Some(Content::Reservation(reservation)) => {
            let words = format!(
                "A reservation of {} millionths under agreement {} for session {} (until {})",
                reservation.amount, reservation.agreement.id, reservation.session, reservation.expires_at
            );
            let value = json!({
                "agreement": reservation.agreement,
                "session": reservation.session,
                "amount_micros": reservation.amount,
                "expires_at": reservation.expires_at.to_string(),
            });
            (words, Some(json!({ "reservation": value })))
        }
        Some(Content::VoucherReservation(reservation)) => {
            let SpentVoucher { voucher, acceptance, .. } = &reservation.spent;
            let voucher = voucher.voucher;
            let limit = Money::new(acceptance.limit, voucher.cap.currency);
            let words = format!(
                "The reservation of the voucher {} of {} for session {} of {}, up to {limit} of {}, agreed to at {}",
                voucher.nullifier(),
                voucher.emsp,
                acceptance.session,
                acceptance.operator,
                voucher.cap,
                acceptance.accepted_at
            );
            let value = json!({
                "nullifier": voucher.nullifier(),
                "emsp": voucher.emsp,
                "operator": acceptance.operator,
                "agreement": reservation.agreement,
                "session": acceptance.session,
                "quote": acceptance.quote,
                "limit": limit,
                "cap": voucher.cap,
                "accepted_at": acceptance.accepted_at.to_string(),
                "expires_at": reservation.expires_at.to_string(),
            });
            (words, Some(json!({ "voucher_reservation": value })))
        }
        Some(Content::VoucherRefund(signed)) => {
            let voucher = signed.voucher;
            let nullifier = voucher.nullifier();
            let words =
                format!("The return of the voucher {nullifier} of {} to {}", voucher.cap, voucher.emsp);
            let value = json!({ "nullifier": nullifier, "emsp": voucher.emsp, "cap": voucher.cap });
            (words, Some(json!({ "voucher_refund": value })))
        }
        Some(Content::VoucherBlock(nullifier)) => {
            let words = format!("The block of the voucher {nullifier}");
            (words, Some(json!({ "voucher_block": { "nullifier": nullifier } })))
        }
        Some(Content::Envelope(bytes)) => match SignedEnvelope::decode(bytes.clone()) {
            Ok(signed) => {
                let envelope = signed.envelope();
                let kind = eroam_chain::read_model::TxKind::of(&envelope.tx).name();
                let words = format!(
                    "The transaction {kind} of {} (lane {}, number {})",
                    envelope.member, envelope.lane, envelope.sequence
                );
                let value = json!({
                    "member": envelope.member, "lane": envelope.lane, "sequence": envelope.sequence, "kind": kind,
                });
                (words, Some(json!({ "envelope": value })))
            }
            Err(_) => (format!("An item with the hash {hash}"), None),
        },
        None => (format!("An item with the hash {hash}"), None),
    }
}

/// Checks a file against a genesis file.
///
/// # Errors
/// [`ProofError`]; [`ProofError::Refused`] if the file proves nothing.
pub fn verify(file: &Path, genesis: &Path) -> Result<Proved, ProofError> {
    let trusted = read_genesis(genesis).map_err(ProofError::Genesis)?;
    let trust = Trust::from_genesis(&trusted)
        .map_err(|source| ProofError::Trust { path: genesis.to_owned(), source })?;
    let failed = |source| ProofError::Io { path: file.to_owned(), source };
    let mut text = Vec::new();
    // One byte more than any proof has: what is larger is refused without being read.
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).map_err(failed)?.take(limit).read_to_end(&mut text).map_err(failed)?;
    check(&text, &trust).map_err(|source| ProofError::Refused { path: file.to_owned(), source })
}
