//! Whether an envelope may wait for a block: its size, then what the rules will check: version, network, member, key,
//! signature, lane; the sequence is the mempool's.

use eroam_domain::codec::{Digest, from_bytes};
use eroam_ledger::membership::Member;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::StateKey;
use eroam_ledger::tx::{CheckedEnvelope, ENVELOPE_BYTES_MAX, Envelope, LANES_MAX, SignedEnvelope, VERSION};
use std::sync::Arc;

/// The state keys that [`admit`] wants the values of: the member, and the lane's next sequence.
pub(crate) fn wanted(envelope: &Envelope) -> [Vec<u8>; 2] {
    [StateKey::Member(envelope.member).to_bytes(), StateKey::Lane(envelope.member, envelope.lane).to_bytes()]
}

/// The envelope with its signature checked, and its lane's next sequence.
pub(crate) fn admit(
    signed: Arc<SignedEnvelope>,
    network: Digest,
    member: Option<&[u8]>,
    lane: Option<&[u8]>,
) -> Result<(CheckedEnvelope, u64), RejectCode> {
    let envelope = signed.envelope();
    // Whoever signs an envelope can make it as large as he likes, and no validator could read the block.
    if signed.bytes().len() > ENVELOPE_BYTES_MAX {
        return Err(RejectCode::LimitReached);
    }
    if envelope.version != VERSION {
        return Err(RejectCode::WrongVersion);
    }
    if envelope.network != network {
        return Err(RejectCode::WrongNetwork);
    }
    let member: Member = member.and_then(|m| from_bytes(m).ok()).ok_or(RejectCode::UnknownMember)?;
    let key = usize::try_from(envelope.key).ok().and_then(|index| member.keys.get(index));
    let key = key.ok_or(RejectCode::UnknownKey)?;
    if key.replaced {
        return Err(RejectCode::RotatedKey);
    }
    if envelope.lane >= LANES_MAX {
        return Err(RejectCode::UnknownLane);
    }
    let next = lane.and_then(|l| from_bytes(l).ok()).unwrap_or(0);
    let checked = signed.check(&key.public).ok_or(RejectCode::BadSignature)?;
    Ok((checked, next))
}
