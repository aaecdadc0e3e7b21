//! Members, their roles and their keys.
//!
//! Checks of `RotateKey`, in order: the new key was never the member's (`KeyReused`); the member has keys left
//! (`TooManyKeys`); the new key signed the rotation (`BadKeyProof`).

use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateKey};
use crate::tx::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::codec::{Digest, ShortText, invalid, to_bytes};
use eroam_domain::ids::PartyId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The greatest number of keys that a member has in its life.
pub const KEYS_MAX: usize = 64;

/// What an organisation may do, any mix. People read and write it as a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
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
    /// Issues credentials, also in the name of members that gave it a mandate.
    pub const ISSUER: Self = Self(16);

    /// None of them.
    pub const NONE: Self = Self(0);

    /// Each role with its name.
    const NAMES: [(&'static str, Self); 5] = [
        ("emsp", Self::EMSP),
        ("cpo", Self::CPO),
        ("treasurer", Self::TREASURER),
        ("resolver", Self::RESOLVER),
        ("issuer", Self::ISSUER),
    ];

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

impl BorshDeserialize for Roles {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bits = u8::deserialize_reader(reader)?;
        let known = Self::NAMES.iter().fold(0, |known, (_, role)| known | role.0);
        if bits & !known == 0 { Ok(Self(bits)) } else { Err(invalid("roles")) }
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(Self::NAMES.iter().filter(|(_, role)| self.contains(*role)).map(|(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut roles = Self::NONE;
        for name in <Vec<String> as Deserialize>::deserialize(deserializer)? {
            let Some((_, role)) = Self::NAMES.iter().find(|(known, _)| *known == name) else {
                let known = Self::NAMES.map(|(known, _)| known).join(", ");
                return Err(D::Error::custom(format!("`{name}` is no role: {known} are the roles")));
            };
            if roles.contains(*role) {
                return Err(D::Error::custom(format!("the role `{name}` is listed twice")));
            }
            roles = roles.with(*role);
        }
        Ok(roles)
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

impl Member {
    /// The key that signs now.
    #[must_use]
    pub fn current_key(&self) -> Option<PublicKey> {
        self.keys.iter().rev().find(|key| !key.replaced).map(|key| key.public)
    }
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

/// What [`apply`] reads and writes, but for the sender's own member and lane.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &MembershipTx) {
    let MembershipTx::RotateKey { .. } = tx;
    keys.push(StateKey::Member(sender));
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
