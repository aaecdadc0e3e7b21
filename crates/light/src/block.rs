//! A block: a header of fixed size, whose digest validators sign, and a body that the header commits to.

use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::{self, Digest};
use eroam_domain::time::UnixMillis;
use eroam_ledger::reject::{Item, outcome_root};
use eroam_ledger::tree;
use eroam_ledger::tx::PublicKey;

/// The format of headers and bodies.
pub const VERSION: u8 = 1;
/// The size of an encoded [`Header`] in bytes.
pub const HEADER_BYTES: usize = 249;

/// What validators vote on. Its digest names the block; it commits to everything else, so that nobody who only wants
/// to check something needs the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// The place in the chain; the genesis block is 0.
    pub height: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The view of the epoch in which it was proposed.
    pub view: u64,
    /// Who proposed it.
    pub leader: PublicKey,
    /// The view of the parent, 0 for the first block of an epoch.
    pub parent_view: u64,
    /// The digest of the parent.
    pub parent: Digest,
    /// The time; never before the parent's.
    pub time: UnixMillis,
    /// [`Body::digest`].
    pub body: Digest,
    /// [`Body::receipts_root`].
    pub receipts: Digest,
    /// The root of the state after the block, which proofs of inclusion and exclusion are made against.
    pub state: Digest,
    /// The root of the log of the state's operations, which nodes that copy the state from others check.
    pub operations: Digest,
    /// The first operation of that log that is still needed.
    pub operations_start: u64,
    /// The operation after the last.
    pub operations_end: u64,
}

impl Header {
    /// The name of the block.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/block/1", self)
    }
}

/// The envelopes of a block and what became of them. A block with its body can be read without executing anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// The bytes of the signed envelopes, in the order of their execution.
    pub envelopes: Vec<Vec<u8>>,
    /// For each envelope its items.
    pub items: Vec<Vec<Item>>,
}

impl Body {
    /// What a header says of an encoded body.
    #[must_use]
    pub fn digest(encoded: &[u8]) -> Digest {
        Digest::of_parts("eroam/body/1", &[encoded])
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let size = self.envelopes.iter().fold(64usize, |sum, e| sum.saturating_add(e.len()));
        codec::to_bytes_with_capacity(self, size)
    }

    /// The root over `(index, envelope digest, outcome root)`, where the outcome root is over
    /// `(index, item hash, outcome)`: with two short paths every item of the block can be proved.
    #[must_use]
    pub fn receipts_root(&self) -> Digest {
        tree::root(RECEIPT_NODE, &self.receipt_leaves())
    }

    /// The leaves of [`Self::receipts_root`].
    pub(crate) fn receipt_leaves(&self) -> Vec<Digest> {
        leaves(self.envelopes.iter().zip(&self.items).map(|(e, items)| (Digest::of(e), outcome_root(items))))
    }
}

/// Separates the inner nodes of [`Body::receipts_root`]'s tree.
pub(crate) const RECEIPT_NODE: &str = "eroam/receipt-node/1";

/// A leaf of [`Body::receipts_root`]'s tree.
pub(crate) fn receipt_leaf(index: u32, envelope: Digest, outcomes: Digest) -> Digest {
    Digest::of_value("eroam/receipt-leaf/1", &(index, envelope, outcomes))
}

fn leaves(envelopes: impl Iterator<Item = (Digest, Digest)>) -> Vec<Digest> {
    envelopes
        .zip(0u32..)
        .map(|((envelope, outcomes), index)| receipt_leaf(index, envelope, outcomes))
        .collect()
}

/// The root over a block's envelopes: pairs of envelope digest and outcome root, in the order of execution.
/// [`Digest::ZERO`] without any.
#[must_use]
pub fn receipts_root(envelopes: impl Iterator<Item = (Digest, Digest)>) -> Digest {
    tree::root(RECEIPT_NODE, &leaves(envelopes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_ledger::reject::ItemOutcome;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            version: VERSION,
            height: 1,
            epoch: 2,
            view: 3,
            leader: PublicKey([4; 32]),
            parent_view: 5,
            parent: Digest([6; 32]),
            time: UnixMillis::new(7).unwrap(),
            body: Digest([8; 32]),
            receipts: Digest([9; 32]),
            state: Digest([10; 32]),
            operations: Digest([11; 32]),
            operations_start: 12,
            operations_end: 13,
        }
    }

    fn body() -> Body {
        let item = |n: u8| Item { hash: Digest([n; 32]), outcome: ItemOutcome::ACCEPTED };
        Body {
            envelopes: vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()],
            items: vec![vec![item(1)], vec![item(2), item(3)], vec![]],
        }
    }

    #[test]
    fn an_encoded_header_has_its_stated_size_and_comes_back() {
        let bytes = codec::to_bytes(&header());
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(codec::from_bytes(&bytes), Ok(header()));
    }

    #[test]
    fn the_formats_are_those_of_version_1() {
        let hashes = [header().digest(), Body::digest(&body().to_bytes()), body().receipts_root()];
        let golden = [
            "da75a18dc06fe86d279c348d7452a12d4940ddc914d42ce5f3050db15bfd3fb9",
            "6b48f9ac64010f34dc1bd930cb7900d39d0d893712027c8f884b52af4acaf160",
            "f45d87d759866d05644bca675dfbba12f41f7dd4e5a2c16249ae266862eb1d24",
        ];
        assert_eq!(hashes.map(|hash| hash.to_string()), golden);
    }

    #[test]
    fn the_receipts_of_an_empty_body_are_zero() {
        assert_eq!(Body::default().receipts_root(), Digest::ZERO);
    }

    #[test]
    fn the_receipts_commit_to_order_envelopes_and_outcomes() {
        let body = body();
        let root = body.receipts_root();
        let pairs = body.envelopes.iter().zip(&body.items).map(|(e, i)| (Digest::of(e), outcome_root(i)));
        assert_eq!(receipts_root(pairs), root);
        let mut swapped = body.clone();
        swapped.envelopes.swap(0, 1);
        swapped.items.swap(0, 1);
        let mut envelope = body.clone();
        envelope.envelopes[0][0] ^= 1;
        let mut hash = body.clone();
        hash.items[1][0].hash.0[0] ^= 1;
        for other in [swapped, envelope, hash] {
            assert_ne!(other.receipts_root(), root);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = codec::from_bytes::<Header>(&bytes);
            let _ = codec::from_bytes::<Body>(&bytes);
        }
    }
}
