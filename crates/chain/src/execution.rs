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
use std::collections::HashMap;

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

/// The values that were loaded, under what was written since.
struct Loaded {
    values: HashMap<Vec<u8>, Option<Bytes>>,
    /// The keys, in the order of the staged slots.
    order: Vec<Vec<u8>>,
    writes: Writes,
}

impl StateView for Loaded {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        if let Some(written) = self.writes.get(key) {
            return Ok(written.as_deref().map(Cow::Borrowed));
        }
        match self.values.get(key) {
            Some(value) => Ok(value.as_deref().map(Cow::Borrowed)),
            None => Err(StateError::NotLoaded(key.to_vec())),
        }
    }
}

impl Loaded {
    /// Takes over what was staged for `keys`.
    fn take(&mut self, keys: Vec<Vec<u8>>, values: Vec<Option<Bytes>>) {
        for (key, value) in keys.into_iter().zip(values) {
            self.values.insert(key.clone(), value);
            self.order.push(key);
        }
    }

    /// What becomes of each loaded key, and the writes to keys that nobody read.
    fn into_slots(mut self) -> (Vec<Slot<Bytes>>, Vec<(Vec<u8>, Option<Bytes>)>) {
        let slots = self
            .order
            .iter()
            .map(|key| {
                let before = self.values.get(key).and_then(Option::as_ref);
                match (self.writes.remove(key), before) {
                    (None, _) | (Some(None), None) => Slot::Keep,
                    (Some(None), Some(_)) => Slot::Delete,
                    (Some(Some(value)), Some(before)) if *before == value => Slot::Keep,
                    (Some(Some(value)), _) => Slot::Put(value.into()),
                }
            })
            .collect();
        let rest = self.writes.into_iter().map(|(k, v)| (stored_key(&k), v.map(Bytes::from))).collect();
        (slots, rest)
    }
}

/// Executes `candidates` in their order on top of `batches`, after `first`, which is written as it is (the beginning of
/// a network). Gives an answer for each candidate, and the state after the block.
///
/// # Errors
/// [`StateError`]: the storage failed or holds something else than the rules wrote.
pub(crate) async fn execute<E: Spawner + StorageContext>(
    machine: &dyn StateMachine,
    header: &Header,
    first: Option<&Writes>,
    candidates: &[Candidate<'_>],
    batches: Unmerkleized<E>,
) -> Result<(Vec<Executed>, Merkleized<E>), StateError> {
    let storage = |error| StateError::Storage(Box::new(error));
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut seen: HashMap<Vec<u8>, ()> = HashMap::new();
    for key in candidates.iter().flat_map(|c| machine.reads(c.signed().envelope())) {
        let key = StateKey::to_bytes(&key);
        if seen.insert(key.clone(), ()).is_none() {
            keys.push(key);
        }
    }
    drop(seen);
    let stored: Vec<Vec<u8>> = keys.iter().map(|k| stored_key(k)).collect();
    let (values, mut staged) = batches.stage(&stored.iter().collect::<Vec<_>>()).await.map_err(storage)?;
    let mut loaded = Loaded {
        values: HashMap::with_capacity(keys.len()),
        order: Vec::with_capacity(keys.len()),
        writes: first.cloned().unwrap_or_default(),
    };
    loaded.take(keys, values);
    let checked = check_signatures(machine, &loaded, candidates);
    let mut results = Vec::with_capacity(candidates.len());
    for (candidate, checked) in candidates.iter().zip(checked) {
        let signed = candidate.signed();
        loop {
            let attempt = verified(machine, &loaded, candidate, checked)
                .and_then(|verified| machine.attempt(&loaded, signed, verified.as_ref(), header));
            match attempt {
                Ok(Attempt::Done(outcome)) if outcome.is_admitted() => {
                    loaded.writes.extend(outcome.writes);
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
