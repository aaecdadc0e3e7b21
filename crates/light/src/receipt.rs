//! What became of one item of one envelope: `Item -> outcome root -> receipts root -> header`.

use crate::block::{Body, RECEIPT_NODE, receipt_leaf};
use crate::trust::{FinalityError, FinalityProof, FinalizedHeader, Trust};
use eroam_domain::cdr::Cdr;
use eroam_domain::codec::{self, Digest};
use eroam_domain::voucher::{Nullifier, SignedVoucher};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::reject::{Item, OUTCOME_NODE, outcome_leaf, outcome_leaves};
use eroam_ledger::settlement::{CreditReservation, SettlementTx};
use eroam_ledger::tree::{self, Path};
use eroam_ledger::tx::{SignedEnvelope, Tx};
use eroam_ledger::voucher::{VoucherReservation, VoucherTx};

/// The greatest size in bytes of what a receipt carries of an item: the largest record is smaller. A larger envelope
/// is left out of its receipt.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// What an item was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A record of a batch.
    Record(Box<Cdr>),
    /// A reservation of a batch.
    Reservation(CreditReservation),
    /// A voucher that was spent on a session, of a batch. What was booked for it is a [record](Self::Record).
    VoucherReservation(Box<VoucherReservation>),
    /// A voucher that its home utility took back, of a batch.
    VoucherRefund(Box<SignedVoucher>),
    /// A voucher that its home utility blocked, of a batch.
    VoucherBlock(Nullifier),
    /// The bytes of a whole envelope: any other transaction, or a batch that was refused as a whole.
    Envelope(Vec<u8>),
}

impl Content {
    /// What an item of this content is known by: [`Item::hash`].
    #[must_use]
    pub fn hash(&self) -> Digest {
        match self {
            Self::Record(cdr) => cdr.digest(),
            Self::Reservation(reservation) => Digest::of_value("eroam/reservation/1", reservation),
            Self::VoucherReservation(reservation) => {
                Digest::of_value("eroam/voucher-reservation/1", &**reservation)
            }
            Self::VoucherRefund(voucher) => Digest::of_value("eroam/voucher-refund/1", &**voucher),
            Self::VoucherBlock(nullifier) => Digest::of_value("eroam/voucher-block/1", nullifier),
            Self::Envelope(bytes) => Digest::of(bytes),
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Record(cdr) => codec::to_bytes(cdr),
            Self::Reservation(reservation) => codec::to_bytes(reservation),
            Self::VoucherReservation(reservation) => codec::to_bytes(&**reservation),
            Self::VoucherRefund(voucher) => codec::to_bytes(&**voucher),
            Self::VoucherBlock(nullifier) => codec::to_bytes(nullifier),
            Self::Envelope(bytes) => bytes.clone(),
        }
    }

    /// The content of an envelope's item; `None` if it is larger than [`CONTENT_BYTES_MAX`] or not the envelope's.
    fn of(envelope: &[u8], index: usize, item: &Item) -> Option<Self> {
        if item.hash == Digest::of(envelope) {
            return (envelope.len() <= CONTENT_BYTES_MAX).then(|| Self::Envelope(envelope.to_vec()));
        }
        let signed = SignedEnvelope::decode(envelope.to_vec()).ok()?;
        let content = match &signed.envelope().tx {
            Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => Self::Record(Box::new(cdrs.get(index)?.clone())),
            Tx::Settlement(SettlementTx::ReserveCredit(items)) => {
                Self::Reservation(items.get(index)?.clone())
            }
            Tx::Voucher(VoucherTx::Reserve(items)) => {
                Self::VoucherReservation(Box::new(items.get(index)?.clone()))
            }
            Tx::Voucher(VoucherTx::Refund(items)) => Self::VoucherRefund(Box::new(*items.get(index)?)),
            Tx::Voucher(VoucherTx::Block(items)) => Self::VoucherBlock(*items.get(index)?),
            _ => return None,
        };
        (content.hash() == item.hash && content.to_bytes().len() <= CONTENT_BYTES_MAX).then_some(content)
    }
}

/// A proof of what became of an item, with everything that it takes to check it, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptProof {
    /// The block.
    pub finality: FinalityProof,
    /// SHA-256 of the envelope's bytes.
    pub envelope: Digest,
    /// From the envelope to [`crate::block::Header::receipts`].
    pub envelope_path: Path,
    /// The item and what became of it.
    pub item: Item,
    /// From the item to the envelope's outcome root.
    pub item_path: Path,
    /// What the item was about, if the receipt tells.
    pub content: Option<Content>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The block is not finalized.
    #[error("the block that the receipt is for is not shown to be final")]
    Finality(#[from] FinalityError),
    /// Larger than [`CONTENT_BYTES_MAX`].
    #[error("the item's content of {0} bytes is larger than {CONTENT_BYTES_MAX}")]
    ContentTooLarge(usize),
    /// Another item's.
    #[error("the item's content has the hash {found}, the item {expected}")]
    WrongContent {
        /// In the item.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// Item, outcome, envelope or one of the paths is not the block's.
    #[error(
        "item {item} of envelope {envelope} leads to the root {found}, the header's receipts have {expected}"
    )]
    WrongRoot {
        /// The index of the envelope.
        envelope: u32,
        /// The index of the item.
        item: u32,
        /// In the header.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
}

impl ReceiptProof {
    /// The receipt of an item of a block, both counted from 0; `None` if the body has no such envelope or item.
    #[must_use]
    pub fn of(finality: FinalityProof, body: &Body, envelope: u32, item: u32) -> Option<Self> {
        let (place, item_place) = (usize::try_from(envelope).ok()?, usize::try_from(item).ok()?);
        let (bytes, items) = (body.envelopes.get(place)?, body.items.get(place)?);
        let found = *items.get(item_place)?;
        Some(Self {
            finality,
            envelope: Digest::of(bytes),
            envelope_path: tree::path(RECEIPT_NODE, &body.receipt_leaves(), envelope)?,
            item: found,
            item_path: tree::path(OUTCOME_NODE, &outcome_leaves(items), item)?,
            content: Content::of(bytes, item_place, &found),
        })
    }

    /// Checks block, content and paths.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedReceipt, ReceiptError> {
        let header = self.finality.verify(trust)?;
        if let Some(content) = &self.content {
            let size = content.to_bytes().len();
            if size > CONTENT_BYTES_MAX {
                return Err(ReceiptError::ContentTooLarge(size));
            }
            let (expected, found) = (self.item.hash, content.hash());
            if expected != found {
                return Err(ReceiptError::WrongContent { expected, found });
            }
        }
        let (envelope, item) = (self.envelope_path.index(), self.item_path.index());
        let outcomes = self.item_path.root(OUTCOME_NODE, outcome_leaf(item, &self.item));
        let leaf = receipt_leaf(envelope, self.envelope, outcomes);
        let (expected, found) = (header.header().receipts, self.envelope_path.root(RECEIPT_NODE, leaf));
        if expected != found {
            return Err(ReceiptError::WrongRoot { envelope, item, expected, found });
        }
        Ok(VerifiedReceipt {
            header,
            envelope_index: envelope,
            envelope: self.envelope,
            item_index: item,
            item: self.item,
            content: self.content.clone(),
        })
    }
}

/// What became of an item, in a block that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    header: FinalizedHeader,
    envelope_index: u32,
    envelope: Digest,
    item_index: u32,
    item: Item,
    content: Option<Content>,
}

impl VerifiedReceipt {
    /// The block.
    #[must_use]
    pub const fn header(&self) -> &FinalizedHeader {
        &self.header
    }

    /// Which of the block's envelopes, from 0.
    #[must_use]
    pub const fn envelope_index(&self) -> u32 {
        self.envelope_index
    }

    /// SHA-256 of the envelope's bytes.
    #[must_use]
    pub const fn envelope(&self) -> Digest {
        self.envelope
    }

    /// Which of the envelope's items, from 0.
    #[must_use]
    pub const fn item_index(&self) -> u32 {
        self.item_index
    }

    /// The item and what became of it.
    #[must_use]
    pub const fn item(&self) -> &Item {
        &self.item
    }

    /// What the item was about, if the receipt tells.
    #[must_use]
    pub const fn content(&self) -> Option<&Content> {
        self.content.as_ref()
    }
}
