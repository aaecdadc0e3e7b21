//! Members, their roles and their keys.
//!
//! Checks of `RotateKey`, in order: the new key was never the member's (`KeyReused`); the member has keys left
//! (`TooManyKeys`); the new key signed the rotation (`BadKeyProof`).

use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateKey};
use crate::tx::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::codec::{Digest, ShortText, to_bytes};
use eroam_domain::ids::PartyId;

/// The greatest number of keys that a member has in its life.
pub const KEYS_MAX: usize = 64;

/// What an organisation may do, any mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Roles(u8);

impl Roles {
    /// Home utility: contracts, bills.
    pub const EMSP: Self = Self(1);
    /// Visited operator: stations, records.
    pub const CPO: Self = Self(2);
    /// Attests deposits and payouts.
    pub const TREASURER: Self = Self(4);
    /// Decides contests.
    pub const RESOLVER: Self = Self(8);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One of a member's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyRecord {
    /// The key.
    pub public: PublicKey,
    /// Whether a newer one took its place; it then signs nothing any more.
    pub replaced: bool,
}

/// A member as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Member {
    /// Its name.
    pub name: ShortText<64>,
    /// Its roles.
    pub roles: Roles,
    /// Its keys; the index is the key id of envelopes.
    pub keys: Vec<KeyRecord>,
}

/// Transactions about members.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum MembershipTx {
    /// Replaces the member's key by a new one, at once.
    RotateKey {
        /// The new key.
        key: PublicKey,
        /// The new key's signature over [`rotation_digest`]: it is really in the member's hands.
        proof: [u8; 64],
    },
}

/// What the new key signs.
#[must_use]
pub fn rotation_digest(network: Digest, member: PartyId, key: &PublicKey) -> Digest {
    Digest::of_parts("eroam/rotate-key/1", &[&network.0, &to_bytes(&member), &key.0])
}

impl MembershipTx {
    /// A rotation to `new`, with its proof.
    #[must_use]
    pub fn rotate(network: Digest, member: PartyId, new: &SigningKey) -> Self {
        let key = PublicKey::of(new);
        Self::RotateKey { key, proof: new.sign(&rotation_digest(network, member, &key).0).to_bytes() }
    }
}

/// The member, if there is one.
pub(crate) fn member(state: &Overlay<'_>, party: PartyId) -> Result<Option<Member>, Refusal> {
    Ok(state.read(&StateKey::Member(party))?)
}

/// Fails unless `party` is a member with these roles.
pub(crate) fn require(
    state: &Overlay<'_>,
    party: PartyId,
    roles: Roles,
    otherwise: RejectCode,
) -> Result<(), Refusal> {
    match member(state, party)? {
        Some(member) if member.roles.contains(roles) => Ok(()),
        _ => Err(otherwise.into()),
    }
}

pub(crate) fn apply(
    state: &mut Overlay<'_>,
    network: Digest,
    sender: PartyId,
    tx: &MembershipTx,
) -> Result<(), Refusal> {
    let MembershipTx::RotateKey { key, proof } = tx;
    let mut member = member(state, sender)?.ok_or(RejectCode::UnknownMember)?;
    if member.keys.iter().any(|k| k.public == *key) {
        return Err(RejectCode::KeyReused.into());
    }
    if member.keys.len() >= KEYS_MAX {
        return Err(RejectCode::TooManyKeys.into());
    }
    if !key.verifies(&rotation_digest(network, sender, key).0, proof) {
        return Err(RejectCode::BadKeyProof.into());
    }
    for old in &mut member.keys {
        old.replaced = true;
    }
    member.keys.push(KeyRecord { public: *key, replaced: false });
    state.write(&StateKey::Member(sender), &member);
    Ok(())
}
