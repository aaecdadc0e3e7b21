//! The engine's block: a header that validators vote on, and the body that it commits to.

use bytes::BufMut;
use bytes::Bytes;
use commonware_codec::{Buf, DecodeExt as _, EncodeSize, Error as CodecError, Read, ReadExt as _, Write};
use commonware_consensus::simplex::types::Context;
use commonware_consensus::types::{Epoch, Height, Round, View};
use commonware_consensus::{Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable};
use commonware_cryptography::{Digestible, ed25519, sha256};
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_ledger::genesis::BLOCK_BYTES_MAX;
use eroam_ledger::reject::Item;
use eroam_ledger::tx::{PublicKey, SignedEnvelope};
use eroam_light::block::{Body, HEADER_BYTES, Header};
use std::sync::{Arc, OnceLock};

/// The engine's name for 32 bytes.
pub(crate) type EngineDigest = sha256::Digest;
/// What consensus tells a leader of the block that it shall propose.
pub(crate) type ConsensusContext = Context<sha256::Digest, ed25519::PublicKey>;

/// The greatest encoded body that is read at all. The genesis may allow less.
pub(crate) const BODY_BYTES_MAX: usize = BLOCK_BYTES_MAX as usize;

/// A header and its body's bytes. The body is decoded when it is first needed, and only once.
#[derive(Clone, Debug)]
pub struct Block {
    header: Header,
    digest: sha256::Digest,
    leader: ed25519::PublicKey,
    body: Bytes,
    decoded: Arc<OnceLock<Option<Contents>>>,
}

/// A decoded body.
#[derive(Debug)]
pub struct Contents {
    /// The envelopes, in the order of their execution.
    pub envelopes: Vec<Arc<SignedEnvelope>>,
    /// For each of them its items.
    pub items: Vec<Vec<Item>>,
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Block {}

/// The engine's type for the same 32 bytes.
pub(crate) const fn engine_digest(digest: Digest) -> sha256::Digest {
    sha256::Digest(digest.0)
}

/// Ours for the engine's.
pub(crate) const fn own_digest(digest: sha256::Digest) -> Digest {
    Digest(digest.0)
}

/// The engine's type for a key of ours.
pub(crate) fn engine_key(key: &PublicKey) -> Option<ed25519::PublicKey> {
    ed25519::PublicKey::decode(Bytes::copy_from_slice(&key.0)).ok()
}

/// Ours for the engine's.
pub(crate) fn own_key(key: &ed25519::PublicKey) -> PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key.as_ref());
    PublicKey(bytes)
}

impl Block {
    /// Puts a block together. `None` if the leader's key is none, the body is not the header's, or the header names no
    /// operation of the state's log, on which the engine relies before anything is executed.
    #[must_use]
    pub fn new(header: Header, body: Bytes) -> Option<Self> {
        let leader = engine_key(&header.leader)?;
        if header.operations_start >= header.operations_end {
            return None;
        }
        (body.len() <= BODY_BYTES_MAX && Body::digest(&body) == header.body).then(|| Self {
            digest: engine_digest(header.digest()),
            header,
            leader,
            body,
            decoded: Arc::default(),
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The encoded body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The decoded body; `None` if its bytes are none, which no validator votes for.
    #[must_use]
    pub fn contents(&self) -> Option<&Contents> {
        self.decoded.get_or_init(|| Contents::decode(&self.body)).as_ref()
    }

    /// Keeps what the proposer has anyway.
    pub(crate) fn with_contents(self, contents: Contents) -> Self {
        // A block is put together once; nobody else has seen it yet.
        let _ = self.decoded.set(Some(contents));
        self
    }
}

impl Contents {
    /// Reads an encoded body.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let Body { envelopes, items } = from_bytes(body).ok()?;
        if envelopes.len() != items.len() {
            return None;
        }
        let envelopes = envelopes
            .into_iter()
            .map(|e| SignedEnvelope::decode(e).map(Arc::new))
            .collect::<Result<_, _>>()
            .ok()?;
        Some(Self { envelopes, items })
    }
}

impl Write for Block {
    fn write(&self, out: &mut impl BufMut) {
        out.put_slice(&to_bytes(&self.header));
        self.body.write(out);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        HEADER_BYTES + self.body.encode_size()
    }
}

impl Read for Block {
    type Cfg = ();

    fn read_cfg(from: &mut impl Buf, _: &()) -> Result<Self, CodecError> {
        let header = <[u8; HEADER_BYTES]>::read(from)?;
        let header: Header =
            from_bytes(&header).map_err(|_| CodecError::Invalid("Block", "the header is malformed"))?;
        let body = Bytes::read_cfg(from, &(0..=BODY_BYTES_MAX).into())?;
        // Otherwise two different blocks could have one name.
        Self::new(header, body).ok_or(CodecError::Invalid("Block", "the header is none, or not the body's"))
    }
}

impl Digestible for Block {
    type Digest = sha256::Digest;

    fn digest(&self) -> sha256::Digest {
        self.digest
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.header.height)
    }
}

impl ConsensusBlock for Block {
    fn parent(&self) -> sha256::Digest {
        engine_digest(self.header.parent)
    }
}

impl CertifiableBlock for Block {
    type Context = ConsensusContext;

    fn context(&self) -> ConsensusContext {
        Context {
            round: Round::new(Epoch::new(self.header.epoch), View::new(self.header.view)),
            leader: self.leader.clone(),
            parent: (View::new(self.header.parent_view), engine_digest(self.header.parent)),
        }
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(_: &()) -> usize {
        HEADER_BYTES + BODY_BYTES_MAX + 10
    }
}
