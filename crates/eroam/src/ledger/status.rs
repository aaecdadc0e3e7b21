//! `eroam ledger status`: which network it is, how far it is, and what its state amounts to.

use super::export::{contents, size};
use super::keys;
use super::reader::{Reader, ReaderError};
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::ids::PartyId;
use eroam_ledger::genesis::Validator;
use eroam_ledger::membership::{Member, Roles};
use eroam_ledger::snapshot::SnapshotError;
use eroam_ledger::state::{StateError, StateKey, ledger_balance};
use eroam_ledger::tx::PublicKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StatusError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("the state is none of this ledger")]
    Snapshot(#[from] SnapshotError),
    #[error("the state is none of this ledger")]
    State(#[from] StateError),
}

/// A member as the state has it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Its party id.
    pub party: PartyId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Roles,
    /// The key that signs now.
    pub key: Option<PublicKey>,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The validator's directory.
    pub directory: PathBuf,
    /// The network.
    pub network: Digest,
    /// Its name.
    pub name: String,
    /// The state that it took up from an earlier network, if it did.
    pub imported: Option<Digest>,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// The validators.
    pub validators: Vec<Validator>,
    /// So many blocks make an epoch.
    pub epoch_blocks: u32,
    /// The epoch of the latest block.
    pub epoch: u64,
    /// The height of the latest block.
    pub height: u64,
    /// The first block that is kept: 1, or later where the state was copied from other validators.
    pub blocks_from: u64,
    /// The first block that this validator votes on: 1, or later where it copied the state and does not know what it voted
    /// for before.
    pub votes_from: u64,
    /// The time of the latest block.
    pub time: String,
    /// Its digest.
    pub block: Digest,
    /// The root that proofs about the state lead to.
    pub state_root: Digest,
    /// [`eroam_ledger::state::state_digest`].
    pub state_digest: Digest,
    /// How many entries the state has.
    pub entries: u64,
    /// Of each kind.
    pub entries_by_kind: BTreeMap<&'static str, u64>,
    /// Records.
    pub records: u64,
    /// For each currency all accounts less the attested deposits: zero, or money was made or lost.
    pub ledger_balance_micros: BTreeMap<String, i128>,
    /// The bytes of all files of the directory.
    pub disk_bytes: u64,
}

/// The status of a ledger that was opened.
///
/// # Errors
/// [`StatusError`].
pub fn of(reader: &Reader) -> Result<Status, StatusError> {
    let (header, entries) = reader.entries()?;
    let pairs = || entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let contents = contents(pairs())?;
    let (mut by_kind, mut members) = (BTreeMap::<&'static str, u64>::new(), Vec::new());
    let mut records = 0;
    for (key, value) in pairs() {
        let corrupt = |reason| StateError::Corrupt { key: key.to_vec(), reason };
        let decoded: StateKey = from_bytes(key).map_err(corrupt)?;
        *by_kind.entry(keys::kind(&decoded)).or_default() += 1;
        match decoded {
            StateKey::Cdr(..) => records += 1,
            StateKey::Member(party) => {
                let member: Member = from_bytes(value).map_err(corrupt)?;
                let (name, key) = (member.name.as_str().to_owned(), member.current_key());
                members.push(MemberStatus { party, name, roles: member.roles, key });
            }
            _ => {}
        }
    }
    let genesis = reader.client().genesis();
    let balance = ledger_balance(pairs())?;
    Ok(Status {
        directory: reader.directory().to_owned(),
        network: genesis.network(),
        name: genesis.name.as_str().to_owned(),
        imported: genesis.imported,
        members,
        validators: genesis.consensus.validators.clone(),
        epoch_blocks: genesis.consensus.epoch_blocks,
        epoch: header.epoch,
        height: header.height,
        blocks_from: reader.client().holds_from(),
        votes_from: reader.client().votes_from(),
        time: header.time.to_string(),
        block: header.digest(),
        state_root: header.state,
        state_digest: contents.state,
        entries: contents.count,
        entries_by_kind: by_kind,
        records,
        ledger_balance_micros: balance.into_iter().map(|(c, sum)| (c.to_string(), sum)).collect(),
        disk_bytes: size(reader.directory()),
    })
}

fn roles(roles: Roles) -> String {
    serde_json::to_value(roles).map(|names| keys::in_a_line(&names)).unwrap_or_default()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "directory     {}", self.directory.display())?;
        writeln!(f, "network       {} ({})", self.network, self.name)?;
        if let Some(state) = self.imported {
            writeln!(f, "began with    the snapshot {state} of an earlier network")?;
        }
        writeln!(f, "members       {}", self.members.len())?;
        for MemberStatus { party, name, roles: all, .. } in &self.members {
            writeln!(f, "  {party}      {name}: {}", roles(*all))?;
        }
        writeln!(f, "validators    {}", self.validators.len())?;
        for Validator { party, key } in &self.validators {
            writeln!(f, "  {party}      {key}")?;
        }
        writeln!(f, "height        {} ({})", self.height, self.time)?;
        if self.blocks_from > 1 {
            writeln!(
                f,
                "blocks        from {} on; the state before was copied from other validators",
                self.blocks_from
            )?;
        }
        if self.votes_from > self.height.saturating_add(1) {
            let from = self.votes_from;
            writeln!(
                f,
                "vote          from block {from} on; what it voted for before it copied, it does not know"
            )?;
        }
        writeln!(f, "epoch         {}, of {} blocks each", self.epoch, self.epoch_blocks)?;
        writeln!(f, "block         {}", self.block)?;
        writeln!(f, "state root    {}", self.state_root)?;
        writeln!(f, "state digest  {}", self.state_digest)?;
        writeln!(f, "records       {}", self.records)?;
        writeln!(f, "entries       {}", self.entries)?;
        for (kind, count) in &self.entries_by_kind {
            writeln!(f, "  {count:>10}  {kind}")?;
        }
        for (currency, sum) in &self.ledger_balance_micros {
            let words = if *sum == 0 {
                "the accounts add up to what was deposited"
            } else {
                "MONEY WAS MADE OR LOST"
            };
            writeln!(f, "balance       {sum} millionths of {currency}: {words}")?;
        }
        write!(f, "disk          {:.1} MiB", self.disk_bytes as f64 / 1_048_576.0)
    }
}
