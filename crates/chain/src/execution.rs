//! A block's envelopes against the state: load what they name, execute them one by one, load what was missed, write.

use crate::machine::StateMachine;
use crate::state::{Merkleized, Unmerkleized};
use bytes::Bytes;
use commonware_runtime::Spawner;
use commonware_storage::Context as StorageContext;
use commonware_storage::qmdb::current::batch::Slot;
use eroam_ledger::execute::Header;
use eroam_ledger::reads::Attempt;
use eroam_ledger::reject::{Item, RejectCode};
use eroam_ledger::state::{StateError, StateKey, StateView, Writes};
use eroam_ledger::tx::{CheckedEnvelope, PublicKey, SignedEnvelope, VerifiedEnvelope};
use eroam_light::state::stored_key;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Below so many signatures another thread costs more than it saves.
const PARALLEL_SIGNATURES_MIN: usize = 8;

/// An envelope to execute.
pub(crate) enum Candidate<'a> {
    /// Its signature was checked when it arrived, against this key.
    Checked(CheckedEnvelope),
    /// Nobody here has seen it before.
    Unchecked(&'a SignedEnvelope),
}

impl Candidate<'_> {
    pub(crate) fn signed(&self) -> &SignedEnvelope {
        match self {
            Self::Checked(checked) => checked.signed(),
            Self::Unchecked(signed) => signed,
        }
    }
}

/// What became of a candidate.
pub(crate) enum Executed {
    /// It is the member's next envelope: it belongs into the block with these items.
    Included(Vec<Item>),
    /// It must not be in a block, for this reason.
    Inadmissible(RejectCode),
}

/// A value as it was loaded, and what was written since.
struct Entry {
    /// The place among the staged slots; a value that nobody read has none.
    slot: Option<usize>,
    before: Option<Bytes>,
    now: Option<Option<Bytes>>,
}

/// A write under a database key.
type StoredWrite = (Vec<u8>, Option<Bytes>);

/// The values that were loaded or written. Looked up by key and never read in the table's own order.
#[derive(Default)]
struct Loaded {
    entries: HashMap<Vec<u8>, Entry>,
    slots: usize,
}

impl StateView for Loaded {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        match self.entries.get(key) {
            Some(Entry { now: Some(written), .. }) => Ok(written.as_deref().map(Cow::Borrowed)),
            Some(Entry { before, .. }) => Ok(before.as_deref().map(Cow::Borrowed)),
            None => Err(StateError::NotLoaded(key.to_vec())),
        }
    }
}

impl Loaded {
    /// Takes over what was staged for `keys`, none of which was staged before.
    fn take(&mut self, keys: Vec<Vec<u8>>, values: Vec<Option<Bytes>>) {
        for (key, value) in keys.into_iter().zip(values) {
            let entry = self.entries.entry(key).or_insert(Entry { slot: None, before: None, now: None });
            (entry.slot, entry.before) = (Some(self.slots), value);
            self.slots += 1;
        }
    }

    fn write(&mut self, writes: Writes) {
        for (key, value) in writes {
            let entry = self.entries.entry(key).or_insert(Entry { slot: None, before: None, now: None });
            entry.now = Some(value.map(Bytes::from));
        }
    }

    /// The keys that were written and never loaded.
    fn unread(&self) -> Vec<Vec<u8>> {
        let unread = self.entries.iter().filter(|(_, entry)| entry.slot.is_none());
        let mut keys: Vec<Vec<u8>> = unread.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// What becomes of each staged key, and the writes to keys that nobody read.
    fn into_slots(self) -> (Vec<Slot<Bytes>>, Vec<StoredWrite>) {
        let mut slots: Vec<Slot<Bytes>> = Vec::new();
        slots.resize_with(self.slots, || Slot::Keep);
        let mut rest = Vec::new();
        for (key, Entry { slot, before, now }) in self.entries {
            let Some(now) = now else { continue };
            match slot.and_then(|slot| slots.get_mut(slot)) {
                Some(_) if now == before => {}
                Some(slot) => *slot = now.map_or(Slot::Delete, Slot::Put),
                None => rest.push((stored_key(&key), now)),
            }
        }
        rest.sort_unstable();
        (slots, rest)
    }
}

/// Keys that were missed lately: the accounts of those who roam most, which no envelope names. Loading a few in vain
/// costs less than executing a batch again.
#[derive(Default)]
pub(crate) struct MissedKeys(Mutex<VecDeque<Vec<u8>>>);

/// So many are remembered.
const MISSED_KEYS_MAX: usize = 256;

impl MissedKeys {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, keys: &[Vec<u8>]) {
        let mut known = self.lock();
        for key in keys {
            if !known.contains(key) {
                known.push_back(key.clone());
                if known.len() > MISSED_KEYS_MAX {
                    known.pop_front();
                }
            }
        }
    }
}

/// Executes `candidates` in their order on top of `batches`, after `first`, which is written as it is (the beginning of
/// a network). Gives an answer for each candidate, and the state after the block.
///
/// # Errors
/// [`StateError`]: the storage failed or holds something else than the rules wrote.
pub(crate) async fn execute<E: Spawner + StorageContext>(
    machine: &dyn StateMachine,
    missed: &MissedKeys,
    header: &Header,
    first: Option<&Writes>,
    candidates: &[Candidate<'_>],
    batches: Unmerkleized<E>,
) -> Result<(Vec<Executed>, Merkleized<E>), StateError> {
    let storage = |error| StateError::Storage(Box::new(error));
    let mut keys: HashSet<Vec<u8>> = HashSet::new();
    if !candidates.is_empty() {
        keys.extend(missed.lock().iter().cloned());
    }
    for candidate in candidates {
        keys.extend(machine.reads(candidate.signed().envelope()).iter().map(StateKey::to_bytes));
    }
    let mut keys: Vec<Vec<u8>> = keys.into_iter().collect();
    // Not in the set's order: what a simulation reads must follow from its seed.
    keys.sort_unstable();
    let stored: Vec<Vec<u8>> = keys.iter().map(|k| stored_key(k)).collect();
    let (values, mut staged) = batches.stage(&stored.iter().collect::<Vec<_>>()).await.map_err(storage)?;
    drop(stored);
    let mut loaded = Loaded { entries: HashMap::with_capacity(keys.len()), slots: 0 };
    loaded.take(keys, values);
    if let Some(first) = first {
        loaded.write(first.clone());
    }
    let checked = check_signatures(machine, &loaded, candidates);
    let mut results = Vec::with_capacity(candidates.len());
    for (candidate, checked) in candidates.iter().zip(checked) {
        let signed = candidate.signed();
        loop {
            let attempt = verified(machine, &loaded, candidate, checked)
                .and_then(|verified| machine.attempt(&loaded, signed, verified.as_ref(), header));
            match attempt {
                Ok(Attempt::Done(outcome)) if outcome.is_admitted() => {
                    loaded.write(outcome.writes);
                    results.push(Executed::Included(outcome.items));
                    break;
                }
                Ok(Attempt::Done(outcome)) => {
                    let code = outcome.items.iter().find_map(|i| i.outcome.rejection());
                    results.push(Executed::Inadmissible(code.unwrap_or(RejectCode::BadSignature)));
                    break;
                }
                Ok(Attempt::Missing(keys)) => {
                    let keys: Vec<Vec<u8>> = keys.into_iter().collect();
                    missed.remember(&keys);
                    let stored: Vec<Vec<u8>> = keys.iter().map(|k| stored_key(k)).collect();
                    let wanted: Vec<&Vec<u8>> = stored.iter().collect();
                    let (_, values, more) = staged.expand(&wanted).await.map_err(storage)?;
                    staged = more;
                    loaded.take(keys, values);
                }
                Err(error) => return Err(error),
            }
        }
    }
    // A value that is written as it was is no operation of the log. Whether it is must not depend on what a node happens
    // to have loaded, which what it missed before and what it left out of the block have a part in.
    let unread = if first.is_none() { loaded.unread() } else { Vec::new() };
    if !unread.is_empty() {
        let stored: Vec<Vec<u8>> = unread.iter().map(|k| stored_key(k)).collect();
        let (_, values, more) = staged.expand(&stored.iter().collect::<Vec<_>>()).await.map_err(storage)?;
        staged = more;
        loaded.take(unread, values);
    }
    let (slots, rest) = loaded.into_slots();
    let merkleized = staged.merkleize(slots, rest).await.map_err(storage)?;
    Ok((results, merkleized))
}

/// A signature that was checked against the key that the state named before the block.
type Checked<'a> = Option<(PublicKey, Option<VerifiedEnvelope<'a>>)>;

/// Checks the signatures of what nobody here has seen before, on two threads if there are many.
fn check_signatures<'a>(
    machine: &dyn StateMachine,
    view: &Loaded,
    candidates: &'a [Candidate<'_>],
) -> Vec<Checked<'a>> {
    let claims: Vec<Option<(&'a SignedEnvelope, PublicKey)>> = candidates
        .iter()
        .map(|candidate| match candidate {
            Candidate::Checked(_) => None,
            // An unreadable member is found again, and reported, when the envelope is executed.
            Candidate::Unchecked(signed) => {
                machine.claimed_key(view, signed.envelope()).ok().flatten().map(|key| (*signed, key))
            }
        })
        .collect();
    let check = |claims: &[Option<(&'a SignedEnvelope, PublicKey)>]| -> Vec<Checked<'a>> {
        claims.iter().map(|claim| claim.map(|(signed, key)| (key, signed.verify(&key)))).collect()
    };
    if claims.iter().flatten().count() < PARALLEL_SIGNATURES_MIN {
        return check(&claims);
    }
    let (left, right) = claims.split_at(claims.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| check(right));
        let mut checked = check(left);
        checked.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        checked
    })
}

/// The candidate with its signature checked against the key that is its member's now; an earlier envelope of the block
/// may have replaced it.
fn verified<'a>(
    machine: &dyn StateMachine,
    view: &Loaded,
    candidate: &'a Candidate<'_>,
    checked: Checked<'a>,
) -> Result<Option<VerifiedEnvelope<'a>>, StateError> {
    let signed = match candidate {
        Candidate::Checked(checked) => return Ok(Some(checked.as_verified())),
        Candidate::Unchecked(signed) => *signed,
    };
    let Some(key) = machine.claimed_key(view, signed.envelope())? else { return Ok(None) };
    Ok(match checked {
        Some((of, result)) if of == key => result,
        _ => signed.verify(&key),
    })
}
