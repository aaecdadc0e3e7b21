//! The first state of a network: its members and parameters, and who orders its transactions. Its digest names the
//! network.
//!
//! People write and compare a genesis as JSON ([`Genesis::from_json`]); what is hashed are its canonical bytes, so that
//! spaces and the order of fields mean nothing.

mod import;

use crate::membership::{KeyRecord, Member, Roles};
use crate::snapshot::SnapshotError;
use crate::state::{StateKey, Writes};
use crate::tx::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The greatest number of members.
pub const MEMBERS_MAX: usize = 256;

/// What every member agreed on when the network began.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// So many treasurers must attest a deposit or a payout.
    pub treasurers_required: u8,
    /// So long after its end a period may be closed, so that records of its last sessions can still arrive.
    #[serde(rename = "close_grace_ms")]
    pub close_grace: DurationMs,
}

/// How many validators a network may have.
pub const VALIDATORS_MAX: usize = 100;
/// The least a block must be able to hold: one envelope of the greatest size and its outcomes.
pub const BLOCK_BYTES_MIN: u32 = 2_200_000;
/// The greatest size of a block's body in bytes.
pub const BLOCK_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// The fewest blocks of an epoch.
pub const EPOCH_BLOCKS_MIN: u32 = 4;

/// Where a block's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockTime {
    /// The validators' clocks.
    Clock,
    /// The time that submitters state: for networks that replay old years. Such a network cannot tell late from early.
    Stated,
}

/// Who votes on blocks. The key is not the member's: it signs votes and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// The member that runs it.
    pub party: PartyId,
    /// The key of its votes.
    pub key: PublicKey,
}

/// How the members agree on blocks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consensus {
    /// The validators, from the first epoch on.
    pub validators: Vec<Validator>,
    /// So many blocks make an epoch; the set of validators can only change between two.
    pub epoch_blocks: u32,
    /// No block's body is larger.
    pub block_bytes_max: u32,
    /// Where the time of blocks comes from.
    pub time: BlockTime,
}

/// A founding member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The network's name.
    pub name: ShortText<64>,
    /// The parameters.
    pub parameters: Parameters,
    /// The founding members.
    pub members: Vec<GenesisMember>,
    /// How they agree on blocks.
    pub consensus: Consensus,
    /// The state this network begins with, where it takes up an earlier one's: [`crate::snapshot::entries_digest`] of
    /// all its entries. Members and parameters are then those of that state, each member with its current key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Digest>,
}

/// Why a genesis cannot begin a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GenesisError {
    #[error("the genesis cannot be read: line {line}, column {column}: {reason}")]
    Json { line: usize, column: usize, reason: String },
    #[error("a network has 1 to {MEMBERS_MAX} members, not {0}")]
    MemberCount(usize),
    #[error("member {0} is listed twice: remove one of the two")]
    DuplicateMember(PartyId),
    #[error("the key of member {0} is also another member's: each member needs a key of its own")]
    DuplicateKey(PartyId),
    #[error("the key of member {0} can verify nothing: ask the member for its Ed25519 public key")]
    MemberKey(PartyId),
    #[error(
        "{required} treasurers must attest, but {treasurers} members are treasurers: require at least 1, and as many \
         as there are at most"
    )]
    Treasurers { required: u8, treasurers: usize },
    #[error("a network has 1 to {VALIDATORS_MAX} validators, not {0}")]
    ValidatorCount(usize),
    #[error("a validator is run by {0}, which is no member: add the member, or remove the validator")]
    ForeignValidator(PartyId),
    #[error(
        "a key of a validator of {0} is another validator's or a member's, or can verify nothing: each validator needs \
         an Ed25519 key of its own"
    )]
    ValidatorKey(PartyId),
    #[error("an epoch has at least {EPOCH_BLOCKS_MIN} blocks, not {0}")]
    EpochBlocks(u32),
    #[error("a block holds {BLOCK_BYTES_MIN} to {BLOCK_BYTES_MAX} bytes, not {0}")]
    BlockBytes(u32),
    #[error("this network begins with an imported state, which is needed to open it: give its snapshot")]
    NeedsImport,
    #[error("this network begins with its genesis alone: open it without a snapshot")]
    NoImport,
    #[error("the imported state is {found}, but this network begins with {expected}: give that snapshot")]
    OtherImport { expected: Digest, found: Digest },
    #[error("the imported state is damaged")]
    DamagedImport(#[source] SnapshotError),
    #[error("the imported state's {0} are no such value: it is no state of this ledger")]
    CorruptImport(&'static str),
    #[error("the parameters are not those of the imported state: copy them from there")]
    OtherParameters,
    #[error(
        "member {0} is not as in the imported state: copy its name, its roles and its current key from there"
    )]
    OtherMember(PartyId),
}

impl Genesis {
    /// The network's name to machines: SHA-256 of the canonical bytes.
    #[must_use]
    pub fn network(&self) -> Digest {
        Digest::of_value("eroam/genesis/2", self)
    }

    /// Reads and checks a genesis that people have written.
    ///
    /// # Errors
    /// [`GenesisError`], never [`GenesisError::NeedsImport`].
    pub fn from_json(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let whole = error.to_string();
            let place = format!(" at line {line} column {column}");
            let reason = whole.strip_suffix(&place).unwrap_or(&whole).to_owned();
            GenesisError::Json { line, column, reason }
        })?;
        genesis.check()?;
        Ok(genesis)
    }

    /// The genesis for people: fields in a fixed order, indented, a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, numbers and lists in memory: writing them cannot fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Looks for what cannot begin a network, with or without an imported state.
    ///
    /// # Errors
    /// The first [`GenesisError`], in this order: the number of members, the treasurers, each member, the validators,
    /// the sizes.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return Err(GenesisError::MemberCount(self.members.len()));
        }
        let required = self.parameters.treasurers_required;
        let treasurers = self.members.iter().filter(|m| m.roles.contains(Roles::TREASURER)).count();
        if required == 0 || usize::from(required) > treasurers {
            return Err(GenesisError::Treasurers { required, treasurers });
        }
        let (mut parties, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for GenesisMember { party, key, .. } in &self.members {
            if !parties.insert(*party) {
                return Err(GenesisError::DuplicateMember(*party));
            }
            if !key.is_usable() {
                return Err(GenesisError::MemberKey(*party));
            }
            if !keys.insert(*key) {
                return Err(GenesisError::DuplicateKey(*party));
            }
        }
        self.consensus.check(&parties, &keys)
    }

    /// The first state of a network that begins with its genesis alone.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn state(&self) -> Result<Writes, GenesisError> {
        self.check()?;
        if self.imported.is_some() {
            return Err(GenesisError::NeedsImport);
        }
        let mut writes = Writes::new();
        let mut put = |key: &StateKey, value: Vec<u8>| writes.insert(key.to_bytes(), Some(value));
        put(&StateKey::Parameters, codec::to_bytes(&self.parameters));
        for GenesisMember { party, name, roles, key } in &self.members {
            let keys = vec![KeyRecord { public: *key, replaced: false }];
            let member = Member { name: name.clone(), roles: *roles, keys };
            put(&StateKey::Member(*party), codec::to_bytes(&member));
        }
        Ok(writes)
    }
}

impl Consensus {
    fn check(
        &self,
        members: &BTreeSet<PartyId>,
        member_keys: &BTreeSet<PublicKey>,
    ) -> Result<(), GenesisError> {
        if self.validators.is_empty() || self.validators.len() > VALIDATORS_MAX {
            return Err(GenesisError::ValidatorCount(self.validators.len()));
        }
        let mut keys = BTreeSet::new();
        for Validator { party, key } in &self.validators {
            if !members.contains(party) {
                return Err(GenesisError::ForeignValidator(*party));
            }
            if member_keys.contains(key) || !keys.insert(*key) || !key.is_usable() {
                return Err(GenesisError::ValidatorKey(*party));
            }
        }
        if self.epoch_blocks < EPOCH_BLOCKS_MIN {
            return Err(GenesisError::EpochBlocks(self.epoch_blocks));
        }
        if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&self.block_bytes_max) {
            return Err(GenesisError::BlockBytes(self.block_bytes_max));
        }
        Ok(())
    }
}
