//! The first state of a network: its members and parameters. Its digest names the network.

use crate::membership::{KeyRecord, Member, Roles};
use crate::state::{StateKey, Writes};
use crate::tx::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use std::collections::BTreeSet;

/// The greatest number of members.
pub const MEMBERS_MAX: usize = 256;

/// What every member agreed on when the network began.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Parameters {
    /// So many treasurers must attest a deposit or a payout.
    pub treasurers_required: u8,
    /// So long after its end a period may be closed, so that records of its last sessions can still arrive.
    pub close_grace: DurationMs,
}

/// A founding member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisMember {
    /// Its party id.
    pub party: PartyId,
    /// Its name.
    pub name: ShortText<64>,
    /// What it may do.
    pub roles: Roles,
    /// Its first key.
    pub key: PublicKey,
}

/// The genesis of a network.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// The network's name.
    pub name: ShortText<64>,
    /// The parameters.
    pub parameters: Parameters,
    /// The founding members.
    pub members: Vec<GenesisMember>,
}

/// Why a genesis cannot begin a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GenesisError {
    #[error("a network has 1 to {MEMBERS_MAX} members, not {0}")]
    MemberCount(usize),
    #[error("member {0} is listed twice")]
    DuplicateMember(PartyId),
    #[error("the key of member {0} is also another member's")]
    DuplicateKey(PartyId),
    #[error("{required} treasurers must attest, but {treasurers} members are treasurers")]
    Treasurers { required: u8, treasurers: usize },
}

impl Genesis {
    /// The network's name to machines: SHA-256 of the canonical bytes.
    #[must_use]
    pub fn network(&self) -> Digest {
        Digest::of_value("eroam/genesis/1", self)
    }

    /// The first state.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn state(&self) -> Result<Writes, GenesisError> {
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return Err(GenesisError::MemberCount(self.members.len()));
        }
        let required = self.parameters.treasurers_required;
        let treasurers = self.members.iter().filter(|m| m.roles.contains(Roles::TREASURER)).count();
        if required == 0 || usize::from(required) > treasurers {
            return Err(GenesisError::Treasurers { required, treasurers });
        }
        let mut writes = Writes::new();
        let mut put = |key: &StateKey, value: Vec<u8>| writes.insert(codec::to_bytes(key), Some(value));
        put(&StateKey::Parameters, codec::to_bytes(&self.parameters));
        let (mut parties, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for GenesisMember { party, name, roles, key } in &self.members {
            if !parties.insert(*party) {
                return Err(GenesisError::DuplicateMember(*party));
            }
            if !keys.insert(*key) {
                return Err(GenesisError::DuplicateKey(*party));
            }
            let keys = vec![KeyRecord { public: *key, replaced: false }];
            let member = Member { name: name.clone(), roles: *roles, keys };
            put(&StateKey::Member(*party), codec::to_bytes(&member));
        }
        Ok(writes)
    }
}
