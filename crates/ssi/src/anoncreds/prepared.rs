//! Presentations, made in two steps: the long one before the verifier's nonce is known, the short one after.
//!
//! ```text
//! request's content, credentials, witnesses ──prepare (20-100 ms)──► Prepared ──finalize(nonce) (0.3 ms)──► Presentation
//! ```
//! A wallet prepares while the driver parks. The danger is in the randomness that a prepared proof holds: two answers
//! to two nonces from one of it reveal the link secret. So [`Prepared`] is used up when it answers:
//!
//! ```compile_fail,E0382
//! # use eroam_ssi::anoncreds::{Nonce, Prepared};
//! fn twice(prepared: Prepared, a: &Nonce, b: &Nonce) {
//!     let _ = prepared.finalize(a);
//!     let _ = prepared.finalize(b);
//! }
//! ```
//! and there is no second one to be had, in memory or in a file:
//!
//! ```compile_fail,E0599
//! # use eroam_ssi::anoncreds::Prepared;
//! fn copy(prepared: Prepared) -> (Prepared, Prepared) {
//!     (prepared.clone(), prepared)
//! }
//! ```
//! ```compile_fail,E0277
//! # use eroam_ssi::anoncreds::Prepared;
//! fn store(prepared: &Prepared) -> String {
//!     serde_json::to_string(prepared).unwrap()
//! }
//! ```
//! Once is what compiles:
//!
//! ```
//! # use eroam_ssi::anoncreds::{Nonce, Prepared, Presentation, PresentError};
//! fn once(prepared: Prepared, nonce: &Nonce) -> Result<Presentation, PresentError> {
//!     prepared.finalize(nonce)
//! }
//! ```

use super::credential::{AttributeValue, library_values};
use super::encoding::{LINK_SECRET, normalise};
use super::error::AnonCredsError;
use super::limits::{CREDENTIALS_MAX, VALUE_BYTES_MAX};
use super::link_secret::LinkSecret;
use super::nonce::Nonce;
use super::object_id::ObjectId;
use super::objects::Objects;
use super::presentation::{Answers, Identifier, Presentation, Shown};
use super::proof_request::{Body, Names, ProofRequest, RequestedAttribute};
use super::selection::{Chosen, PresentError, Selection};
use super::shape::Part;
use super::timestamp::Timestamp;
use anoncreds_clsignatures as cl;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A proof that waits for its nonce. Neither cloned nor stored, and used once: see the [module](self).
pub struct Prepared {
    builder: cl::ProofBuilder,
    body: Body,
    answers: Answers,
    identifiers: Vec<Identifier>,
}

/// Prepares the proof for a request, of which everything but the nonce is used.
///
/// # Errors
/// [`PresentError`]: a referent is not answered once, the credentials do not fit, a comparison does not hold, a
/// credential is revoked or its witness of another time than asked.
pub fn prepare(
    request: &ProofRequest,
    selection: &Selection<'_>,
    link_secret: &LinkSecret,
    objects: &impl Objects,
) -> Result<Prepared, PresentError> {
    let body = request.body();
    once_each(body, selection)?;
    if selection.chosen.len() > CREDENTIALS_MAX {
        let (what, found) = ("credentials", selection.chosen.len());
        return Err(AnonCredsError::Count { what, found, min: 0, max: CREDENTIALS_MAX }.into());
    }
    let mut builder = cl::Prover::new_proof_builder().map_err(AnonCredsError::library("a proof"))?;
    builder.add_common_attribute(LINK_SECRET).map_err(AnonCredsError::library("a proof"))?;
    let secret = link_secret.number()?;
    let mut answers = Answers::default();
    for (referent, value) in &selection.self_attested {
        let free = body.attributes.get(referent).is_some_and(|asked| asked.restriction.is_none());
        if !free || value.len() > VALUE_BYTES_MAX {
            return Err(PresentError::SelfAttested { referent: referent.clone() });
        }
        answers.self_attested.insert(referent.clone(), value.clone());
    }
    let mut identifiers = Vec::new();
    for (index, chosen) in selection.chosen.iter().enumerate() {
        let asked = sub_request(body, chosen, index, objects, &mut answers)?;
        let credential = chosen.credential.credential();
        let definition = objects.credential_definition(&credential.cred_def_id);
        let definition =
            definition.ok_or_else(|| unknown("credential definition", &credential.cred_def_id))?;
        let schema = objects.schema(&credential.schema_id);
        definition
            .fits(&credential.schema_id, &*schema.ok_or_else(|| unknown("schema", &credential.schema_id))?)?;
        let witness = witness(body, chosen)?;
        let values = credential.values.iter().map(|(name, value)| (normalise(name), value.encoded.as_str()));
        let (open, blinded) = definition.public_key().schemas();
        let added = builder.add_sub_proof_request(
            &asked,
            open,
            blinded,
            &credential.signature.parsed,
            &library_values(values, Some(&secret))?,
            definition.public_key().key(),
            witness.map(|witness| witness.accumulator()),
            witness.map(|witness| witness.witness()),
        );
        added.map_err(AnonCredsError::library("a proof"))?;
        identifiers.push(Identifier {
            schema_id: credential.schema_id.clone(),
            cred_def_id: credential.cred_def_id.clone(),
            registry_id: witness.map(|witness| witness.registry_id().clone()),
            timestamp: witness.map(|witness| witness.timestamp()),
        });
    }
    Ok(Prepared { builder, body: body.clone(), answers, identifiers })
}

fn unknown(what: &'static str, id: &ObjectId) -> PresentError {
    PresentError::Unknown { what, id: id.clone() }
}

/// Checks that the selection answers each referent of the request once, and nothing else.
fn once_each(body: &Body, selection: &Selection<'_>) -> Result<(), PresentError> {
    let mut attributes: BTreeMap<&str, usize> = body.attributes.keys().map(|key| (key.as_str(), 0)).collect();
    let mut predicates: BTreeMap<&str, usize> = body.predicates.keys().map(|key| (key.as_str(), 0)).collect();
    let count = |times: &mut BTreeMap<&str, usize>, referent: &String| match times.get_mut(referent.as_str())
    {
        Some(times) => {
            *times = times.saturating_add(1);
            Ok(())
        }
        None => Err(PresentError::NotAsked { referent: referent.clone() }),
    };
    let shown = selection.chosen.iter().flat_map(|chosen| chosen.revealed.iter().chain(&chosen.withheld));
    for referent in shown.chain(selection.self_attested.keys()) {
        count(&mut attributes, referent)?;
    }
    for referent in selection.chosen.iter().flat_map(|chosen| &chosen.predicates) {
        count(&mut predicates, referent)?;
    }
    match attributes.into_iter().chain(predicates).find(|(_, times)| *times != 1) {
        Some((referent, times)) => Err(PresentError::Answered { referent: referent.to_owned(), times }),
        None => Ok(()),
    }
}

/// What is asked of one credential, in the library's form; notes the answers.
fn sub_request(
    body: &Body,
    chosen: &Chosen<'_>,
    index: usize,
    objects: &impl Objects,
    answers: &mut Answers,
) -> Result<cl::SubProofRequest, PresentError> {
    let held = chosen.credential;
    let schema = objects.schema(held.schema_id()).ok_or_else(|| unknown("schema", held.schema_id()))?;
    let definition = objects.credential_definition(held.cred_def_id());
    let definition = definition.ok_or_else(|| unknown("credential definition", held.cred_def_id()))?;
    let mut revealed = BTreeSet::new();
    let asked = |referent: &String| -> Result<&RequestedAttribute, PresentError> {
        let not_asked = || PresentError::NotAsked { referent: referent.clone() };
        let attribute = body.attributes.get(referent).ok_or_else(not_asked)?;
        if !held.fulfils(&attribute.restriction, &schema, &definition) {
            return Err(PresentError::Restriction { referent: referent.clone() });
        }
        Ok(attribute)
    };
    let no_attribute = |referent: &String| PresentError::NoAttribute { referent: referent.clone() };
    for referent in &chosen.revealed {
        let attribute = asked(referent)?;
        let mut values: BTreeMap<String, AttributeValue> = BTreeMap::new();
        for name in attribute.names.iter() {
            let value = held.value(name).ok_or_else(|| no_attribute(referent))?;
            revealed.insert(normalise(name));
            let key = if matches!(attribute.names, Names::One(_)) { String::new() } else { name.to_owned() };
            values.insert(key, value.clone());
        }
        let shown = Shown { credential: index, values };
        match attribute.names {
            Names::One(_) => answers.revealed.insert(referent.clone(), shown),
            Names::Group(_) => answers.groups.insert(referent.clone(), shown),
        };
    }
    for referent in &chosen.withheld {
        let attribute = asked(referent)?;
        // Groups can only be shown: the format has no place for a withheld one.
        let Names::One(name) = &attribute.names else { return Err(no_attribute(referent)) };
        held.value(name).ok_or_else(|| no_attribute(referent))?;
        answers.unrevealed.insert(referent.clone(), index);
    }
    let mut sub = cl::SubProofRequestBuilder::new().map_err(AnonCredsError::library("a proof"))?;
    for name in &revealed {
        sub.add_revealed_attr(name).map_err(AnonCredsError::library("a proof"))?;
    }
    for referent in &chosen.predicates {
        let not_asked = || PresentError::NotAsked { referent: referent.clone() };
        let predicate = body.predicates.get(referent).ok_or_else(not_asked)?;
        if !held.fulfils(&predicate.restriction, &schema, &definition) {
            return Err(PresentError::Restriction { referent: referent.clone() });
        }
        let name = normalise(&predicate.name);
        let value = held.value(&name).ok_or_else(|| no_attribute(referent))?.encoded.parse().ok();
        if revealed.contains(&name) {
            return Err(PresentError::ShownAndCompared { referent: referent.clone() });
        }
        // The library computes the difference in 32 bits and would wrap.
        if value.and_then(|value| predicate.comparison.holds(value, predicate.bound)) != Some(true) {
            return Err(PresentError::PredicateUnmet { referent: referent.clone() });
        }
        sub.add_predicate(&name, predicate.comparison.word(), predicate.bound)
            .map_err(AnonCredsError::library("a proof"))?;
        answers.predicates.insert(referent.clone(), index);
    }
    Ok(sub.finalize().map_err(AnonCredsError::library("a proof"))?)
}

/// The witness of a revocable credential, if it is one to show.
fn witness<'a>(
    body: &Body,
    chosen: &Chosen<'a>,
) -> Result<Option<&'a super::witness::WitnessState>, PresentError> {
    let Some(registry_id) = chosen.credential.registry_id() else { return Ok(None) };
    let shown = chosen.revealed.iter().chain(&chosen.withheld).map(|referent| (referent, false));
    let intervals = shown.chain(chosen.predicates.iter().map(|referent| (referent, true)));
    let intervals: Vec<_> =
        intervals.filter_map(|(referent, is_predicate)| body.interval(referent, is_predicate)).collect();
    // Not asked, not told: a witness would name a list, and with it a time.
    if intervals.is_empty() {
        return Ok(None);
    }
    let registry = || registry_id.clone();
    let witness = chosen.witness.filter(|witness| {
        witness.registry_id() == registry_id && Some(witness.index()) == chosen.credential.revocation_index()
    });
    let witness = witness.ok_or_else(|| PresentError::NoWitness { registry_id: registry() })?;
    if witness.is_revoked() {
        return Err(PresentError::Revoked { registry_id: registry() });
    }
    if !intervals.iter().all(|interval| interval.contains(witness.timestamp())) {
        return Err(PresentError::Interval { registry_id: registry() });
    }
    Ok(Some(witness))
}

impl Prepared {
    /// Whether this answers a request: it asks for the same as the one that was prepared for, and for lists of a time
    /// in which the witnesses' lie.
    #[must_use]
    pub fn fits(&self, request: &ProofRequest) -> bool {
        let body = request.body();
        let shown = self.answers.revealed.iter().chain(&self.answers.groups);
        let shown = shown.map(|(referent, shown)| (referent, shown.credential, false));
        let withheld = self.answers.unrevealed.iter().map(|(referent, index)| (referent, *index, false));
        let predicates = self.answers.predicates.iter().map(|(referent, index)| (referent, *index, true));
        body.asks_the_same(&self.body)
            && shown.chain(withheld).chain(predicates).all(|(referent, index, is_predicate)| {
                let timestamp = self.identifiers.get(index).and_then(|identifier| identifier.timestamp);
                match (body.interval(referent, is_predicate), timestamp) {
                    (Some(interval), Some(timestamp)) => interval.contains(timestamp),
                    // A credential without revocation has no list; one with it was prepared without being asked.
                    (Some(_), None) => self.body.interval(referent, is_predicate).is_some(),
                    (None, _) => true,
                }
            })
    }

    /// For which lists the witnesses stand: when a registry has a newer one, it is prepared again.
    pub fn status_lists(&self) -> impl Iterator<Item = (&ObjectId, Timestamp)> {
        self.identifiers
            .iter()
            .filter_map(|identifier| identifier.registry_id.as_ref().zip(identifier.timestamp))
    }

    /// Answers a nonce. Who has the whole request uses [`Prepared::answer`], which checks that it fits.
    ///
    /// # Errors
    /// [`PresentError::AnonCreds`] when the library refuses.
    pub fn finalize(self, nonce: &Nonce) -> Result<Presentation, PresentError> {
        let proof = self.builder.finalize(nonce.number()).map_err(AnonCredsError::library("a proof"))?;
        let proof = Part::made(proof, "proof")?;
        Ok(Presentation { proof, answers: self.answers, identifiers: self.identifiers })
    }

    /// Answers a request if it is the one that was prepared for; else this is lost, as nothing was revealed.
    ///
    /// # Errors
    /// [`PresentError::OtherRequest`].
    pub fn answer(self, request: &ProofRequest) -> Result<Presentation, PresentError> {
        if self.fits(request) { self.finalize(request.nonce()) } else { Err(PresentError::OtherRequest) }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("identifiers", &self.identifiers).finish_non_exhaustive()
    }
}
