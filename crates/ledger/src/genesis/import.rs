//! A network that takes up an earlier one's state: the end of a network whose validators cannot go on, or its move to
//! another engine.
//!
//! The state is taken over as it is, with every sequence and every key that was ever replaced. The genesis repeats who
//! the members are, so that whoever signs it can read it, and names the state by its digest.

use super::{Consensus, Genesis, GenesisError, GenesisMember, Parameters};
use crate::membership::Member;
use crate::snapshot::{Entry, SnapshotHeader, Tally};
use crate::state::StateKey;
use borsh::BorshDeserialize;
use eroam_domain::codec::{self, Digest, ShortText};

/// What a genesis repeats of a state.
struct Found {
    parameters: Parameters,
    /// In the order of their parties.
    members: Vec<GenesisMember>,
    digest: Digest,
}

fn decoded<T: BorshDeserialize>(value: &[u8], what: &'static str) -> Result<T, GenesisError> {
    codec::from_bytes(value).map_err(|_| GenesisError::CorruptImport(what))
}

/// Looks at all entries, which must come in the order of their keys.
fn find<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Found, GenesisError> {
    let (mut tally, mut parameters, mut members) = (Tally::default(), None, Vec::new());
    for (key, value) in entries {
        match tally.add(key, value).map_err(GenesisError::DamagedImport)? {
            StateKey::Parameters => parameters = Some(decoded(value, "parameters")?),
            StateKey::Member(party) => {
                let member: Member = decoded(value, "members")?;
                let key = member.current_key().ok_or(GenesisError::CorruptImport("members"))?;
                members.push(GenesisMember { party, name: member.name, roles: member.roles, key });
            }
            _ => {}
        }
    }
    let parameters = parameters.ok_or(GenesisError::CorruptImport("parameters"))?;
    Ok(Found { parameters, members, digest: tally.finish().entries })
}

impl Genesis {
    /// The genesis of a network that takes up the state in a snapshot: its members and parameters, in the order of
    /// their parties, and new validators. `entries` are all those of the snapshot, in its order.
    ///
    /// # Errors
    /// [`GenesisError`], also when the entries are not the snapshot's.
    pub fn successor<'a>(
        name: ShortText<64>,
        consensus: Consensus,
        header: &SnapshotHeader,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, GenesisError> {
        let Found { parameters, members, digest: found } = find(entries)?;
        let expected = header.contents.entries;
        if found != expected {
            return Err(GenesisError::OtherImport { expected, found });
        }
        let genesis = Self { name, parameters, members, consensus, imported: Some(found) };
        genesis.check()?;
        Ok(genesis)
    }

    /// Whether these are the entries of the state that this network begins with, and say of members and parameters
    /// what the genesis says. They must come in the order of their keys.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn check_import<'a>(
        &self,
        entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), GenesisError> {
        self.check()?;
        let expected = self.imported.ok_or(GenesisError::NoImport)?;
        let found = find(entries)?;
        if found.digest != expected {
            return Err(GenesisError::OtherImport { expected, found: found.digest });
        }
        if found.parameters != self.parameters {
            return Err(GenesisError::OtherParameters);
        }
        let here = |member: &&GenesisMember| !self.members.contains(member);
        let there = |member: &&GenesisMember| !found.members.contains(member);
        match found.members.iter().find(here).or_else(|| self.members.iter().find(there)) {
            Some(other) => Err(GenesisError::OtherMember(other.party)),
            None => Ok(()),
        }
    }

    /// The entries that the network begins with: those of the snapshot that it takes up, once they have been checked,
    /// or those that follow from its genesis.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn initial_entries(&self, snapshot: Option<Vec<Entry>>) -> Result<Vec<Entry>, GenesisError> {
        match snapshot {
            Some(entries) => {
                self.check_import(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))?;
                Ok(entries)
            }
            None => Ok(self.state()?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()),
        }
    }
}
