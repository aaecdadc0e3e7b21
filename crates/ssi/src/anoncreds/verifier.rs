//! Verification: from a presentation, which is claims, to a [`VerifiedPresentation`], which is facts.
//!
//! Checks run in this order, the first failure is the answer:
//! 1. one part of the proof for each credential, none without use;
//! 2. each referent answered exactly once, as it was asked; statements without proof only where nothing was demanded;
//! 3. the objects are known and belong together;
//! 4. restrictions;
//! 5. raw value, its number and the proven number are the same; nothing is proved beyond what was asked;
//! 6. revocation: a revocable credential names the list that the policy demands and proves that it is not revoked;
//! 7. the challenge is over the commitments;
//! 8. the proof itself.
//!
//! A wrong nonce, a changed proof and a witness of another list all end in 8 as [`VerifyError::ProofRejected`]: the
//! equations do not hold, and more cannot be told.

use super::challenge::is_over_commitments;
use super::credential_definition::CredentialDefinition;
use super::encoding::{LINK_SECRET, normalise};
use super::error::AnonCredsError;
use super::freshness::{Freshness, FreshnessPolicy};
use super::object_id::ObjectId;
use super::objects::Objects;
use super::presentation::{Identifier, Presentation, Shown};
use super::proof_request::{Body, Comparison, Names, ProofRequest};
use super::registry::RevocationRegistryDefinition;
use super::restriction::{Facts, Restriction};
use super::schema::Schema;
use super::status_list::StatusList;
use super::verified::{ProvenPredicate, ProvenValue, VerifiedCredential, VerifiedPresentation};
use super::verify_error::VerifyError;
use anoncreds_clsignatures as cl;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A registry and the list of it that counts.
type RegistryState = (Arc<RevocationRegistryDefinition>, Arc<StatusList>);

/// What is known about one credential of a presentation.
struct Source<'a> {
    identifier: &'a Identifier,
    schema: Arc<Schema>,
    definition: Arc<CredentialDefinition>,
    list: Option<RegistryState>,
    /// The proven numbers by normal form of the name.
    proven: BTreeMap<String, String>,
    proven_predicates: BTreeSet<(String, String, i32)>,
    revealed: BTreeSet<String>,
    predicates: BTreeSet<(String, String, i32)>,
}

/// Verifies a presentation against the request that it answers, the published objects and the accepted status lists.
///
/// # Errors
/// [`VerifyError`], in the order of the [module](self).
pub fn verify(
    presentation: &Presentation,
    request: &ProofRequest,
    objects: &impl Objects,
    policy: &FreshnessPolicy,
) -> Result<VerifiedPresentation, VerifyError> {
    let body = request.body();
    lengths(presentation)?;
    referents(presentation, body)?;
    let mut sources = sources(presentation, objects)?;
    restrictions(presentation, body, &sources)?;
    values(presentation, body, &mut sources)?;
    for (index, non_revocation) in presentation.non_revocation().enumerate() {
        let list = revocation(presentation, body, objects, policy, index, non_revocation, &sources)?;
        if let Some(source) = sources.get_mut(index) {
            source.list = list;
        }
    }
    if !is_over_commitments(presentation) {
        return Err(VerifyError::Commitments);
    }
    proof(presentation, request, &sources)?;
    Ok(verified(presentation, body, &sources))
}

/// The credential that answers each referent, with whether the referent is a predicate.
fn answers(presentation: &Presentation) -> impl Iterator<Item = (&String, usize, bool)> {
    let answers = &presentation.answers;
    let shown =
        answers.revealed.iter().chain(&answers.groups).map(|(referent, s)| (referent, s.credential, false));
    let withheld = answers.unrevealed.iter().map(|(referent, index)| (referent, *index, false));
    shown.chain(withheld).chain(answers.predicates.iter().map(|(referent, index)| (referent, *index, true)))
}

/// Step 1.
fn lengths(presentation: &Presentation) -> Result<(), VerifyError> {
    let (identifiers, proofs) = (presentation.identifiers.len(), presentation.proof.parsed.proofs.len());
    if identifiers != proofs {
        return Err(VerifyError::Lengths { identifiers, proofs });
    }
    let mut unused: BTreeSet<usize> = (0..identifiers).collect();
    for (referent, index, _) in answers(presentation) {
        if index >= identifiers {
            return Err(VerifyError::NoSuchCredential { referent: referent.clone(), index });
        }
        unused.remove(&index);
    }
    unused.first().map_or(Ok(()), |index| Err(VerifyError::UnusedCredential { index: *index }))
}

/// Step 2.
fn referents(presentation: &Presentation, body: &Body) -> Result<(), VerifyError> {
    let answers = &presentation.answers;
    let mut answered = BTreeSet::new();
    let mut answer = |referent: &String, is_asked: bool| match (is_asked, answered.insert(referent.clone())) {
        (false, _) => Err(VerifyError::NotAsked { referent: referent.clone() }),
        (true, false) => Err(VerifyError::AnsweredTwice { referent: referent.clone() }),
        (true, true) => Ok(()),
    };
    let asked = |referent: &String| body.attributes.get(referent);
    let is_one =
        |referent: &String| asked(referent).is_some_and(|asked| matches!(asked.names, Names::One(_)));
    for referent in answers.revealed.keys().chain(answers.unrevealed.keys()) {
        answer(referent, is_one(referent))?;
    }
    for (referent, group) in &answers.groups {
        answer(referent, asked(referent).is_some_and(|asked| matches!(asked.names, Names::Group(_))))?;
        let names: BTreeSet<&str> =
            asked(referent).into_iter().flat_map(|asked| asked.names.iter()).collect();
        if !group.values.keys().map(String::as_str).eq(names) {
            return Err(VerifyError::Names { referent: referent.clone() });
        }
    }
    for referent in answers.self_attested.keys() {
        answer(referent, is_one(referent))?;
        if !asked(referent).is_some_and(|asked| asked.restriction.is_none()) {
            return Err(VerifyError::SelfAttested { referent: referent.clone() });
        }
    }
    let missing = body.attributes.keys().find(|referent| !answered.contains(*referent));
    let missing = missing.or_else(|| body.predicates.keys().find(|r| !answers.predicates.contains_key(*r)));
    if let Some(referent) = missing {
        return Err(VerifyError::Unanswered { referent: referent.clone() });
    }
    match answers.predicates.keys().find(|referent| !body.predicates.contains_key(*referent)) {
        Some(referent) => Err(VerifyError::NotAsked { referent: referent.clone() }),
        None => Ok(()),
    }
}

/// Step 3.
fn sources<'a>(
    presentation: &'a Presentation,
    objects: &impl Objects,
) -> Result<Vec<Source<'a>>, VerifyError> {
    let unknown = |what, id: &ObjectId| VerifyError::Unknown { what, id: id.clone() };
    let sources = presentation.identifiers.iter().zip(&presentation.proof.parsed.proofs).enumerate();
    let sources = sources.map(|(index, (identifier, proof))| {
        let schema = objects.schema(&identifier.schema_id);
        let schema = schema.ok_or_else(|| unknown("schema", &identifier.schema_id))?;
        let definition = objects.credential_definition(&identifier.cred_def_id);
        let definition =
            definition.ok_or_else(|| unknown("credential definition", &identifier.cred_def_id))?;
        definition
            .fits(&identifier.schema_id, &schema)
            .map_err(|source| VerifyError::Objects { index, source })?;
        let proven = proof.revealed_attrs().map_err(AnonCredsError::library("a proof"));
        let proven = proven.map_err(VerifyError::Library)?.into_iter().collect();
        let predicates = proof.predicates().into_iter().map(|predicate| {
            let word = match predicate.p_type {
                cl::PredicateType::GE => Comparison::AtLeast,
                cl::PredicateType::GT => Comparison::Above,
                cl::PredicateType::LE => Comparison::AtMost,
                cl::PredicateType::LT => Comparison::Below,
            };
            (predicate.attr_name, word.word().to_owned(), predicate.value)
        });
        Ok(Source {
            identifier,
            schema,
            definition,
            list: None,
            proven,
            proven_predicates: predicates.collect(),
            revealed: BTreeSet::new(),
            predicates: BTreeSet::new(),
        })
    });
    sources.collect()
}

/// The value that a credential shows under a name, by normal form.
fn shown(presentation: &Presentation, body: &Body, index: usize, name: &str) -> Option<String> {
    let answers = &presentation.answers;
    let one = answers.revealed.iter().filter(|(_, shown)| shown.credential == index).find_map(
        |(referent, shown)| {
            let asked = body.attributes.get(referent)?;
            let same = asked.names.iter().any(|asked| normalise(asked) == name);
            same.then(|| shown.values.values().next())?
        },
    );
    let group = || {
        let groups = answers.groups.values().filter(|shown| shown.credential == index);
        groups
            .flat_map(|shown| &shown.values)
            .find(|(asked, _)| normalise(asked) == name)
            .map(|(_, value)| value)
    };
    one.or_else(group).map(|value| value.raw.clone())
}

/// Step 4.
fn restrictions(presentation: &Presentation, body: &Body, sources: &[Source<'_>]) -> Result<(), VerifyError> {
    let none = Restriction::none();
    for (referent, index, is_predicate) in answers(presentation) {
        let attribute = body.attributes.get(referent).map(|asked| &asked.restriction);
        let predicate = body.predicates.get(referent).map(|asked| &asked.restriction);
        let restriction = if is_predicate { predicate } else { attribute }.unwrap_or(&none);
        let admitted = sources.get(index).is_some_and(|source| {
            restriction.admits(&Facts {
                schema_id: &source.identifier.schema_id,
                schema_issuer_id: source.schema.issuer_id(),
                schema_name: source.schema.name(),
                schema_version: source.schema.version(),
                issuer_id: source.definition.issuer_id(),
                cred_def_id: &source.identifier.cred_def_id,
                registry_id: source.identifier.registry_id.as_ref(),
                has: &|name| source.schema.normal().contains(name),
                value: &|name| shown(presentation, body, index, name),
            })
        });
        if !admitted {
            return Err(VerifyError::Restriction { referent: referent.clone() });
        }
    }
    Ok(())
}

/// Step 5.
fn values(presentation: &Presentation, body: &Body, sources: &mut [Source<'_>]) -> Result<(), VerifyError> {
    let answers = &presentation.answers;
    for (referent, shown) in answers.revealed.iter().chain(&answers.groups) {
        let Some(source) = sources.get_mut(shown.credential) else { continue };
        for (name, value) in named(shown, body, referent) {
            let name = normalise(name);
            if !source.schema.normal().contains(&name) {
                return Err(VerifyError::NoAttribute { referent: referent.clone() });
            }
            if !value.is_consistent() {
                return Err(VerifyError::RawValue { referent: referent.clone() });
            }
            if source.proven.get(&name) != Some(&value.encoded) {
                return Err(VerifyError::ProvenValue { referent: referent.clone() });
            }
            source.revealed.insert(name);
        }
    }
    for (referent, index) in &answers.unrevealed {
        let asked = body.attributes.get(referent);
        let has =
            |name: &str| sources.get(*index).is_some_and(|s| s.schema.normal().contains(&normalise(name)));
        if !asked.is_some_and(|asked| asked.names.iter().all(has)) {
            return Err(VerifyError::NoAttribute { referent: referent.clone() });
        }
    }
    for (referent, index) in &answers.predicates {
        let (Some(asked), Some(source)) = (body.predicates.get(referent), sources.get_mut(*index)) else {
            continue;
        };
        let name = normalise(&asked.name);
        if !source.schema.normal().contains(&name) {
            return Err(VerifyError::NoAttribute { referent: referent.clone() });
        }
        let predicate = (name, asked.comparison.word().to_owned(), asked.bound);
        if !source.proven_predicates.contains(&predicate) {
            return Err(VerifyError::Predicate { referent: referent.clone() });
        }
        source.predicates.insert(predicate);
    }
    for (index, source) in sources.iter().enumerate() {
        if !source.proven.keys().eq(&source.revealed) {
            return Err(VerifyError::Revealed { index });
        }
        if source.proven_predicates != source.predicates {
            return Err(VerifyError::ExtraPredicate { index });
        }
    }
    Ok(())
}

/// The names of what is shown: those of a group stand with it, that of a single attribute in the request.
fn named<'a>(
    shown: &'a Shown,
    body: &'a Body,
    referent: &str,
) -> impl Iterator<Item = (&'a str, &'a super::credential::AttributeValue)> {
    let one = match body.attributes.get(referent).map(|asked| &asked.names) {
        Some(Names::One(name)) => Some(name.as_str()),
        _ => None,
    };
    shown.values.iter().map(move |(name, value)| (one.unwrap_or(name), value))
}

/// Step 6: the registry and list against which a credential proves that it is not revoked.
fn revocation(
    presentation: &Presentation,
    body: &Body,
    objects: &impl Objects,
    policy: &FreshnessPolicy,
    index: usize,
    non_revocation: &Value,
    sources: &[Source<'_>],
) -> Result<Option<RegistryState>, VerifyError> {
    let Some(source) = sources.get(index) else { return Err(VerifyError::UnusedCredential { index }) };
    let identifier = source.identifier;
    let named = identifier.registry_id.as_ref().zip(identifier.timestamp);
    if !source.definition.is_revocable() {
        let silent = identifier.registry_id.is_none() && identifier.timestamp.is_none();
        return if silent && non_revocation.is_null() {
            Ok(None)
        } else {
            Err(VerifyError::NotRevocable { index })
        };
    }
    let own = answers(presentation).filter(|(_, credential, _)| *credential == index);
    let intervals = own.filter_map(|(referent, _, is_predicate)| body.interval(referent, is_predicate));
    let intervals: Vec<_> = intervals.collect();
    if intervals.is_empty() {
        return Err(VerifyError::NonRevocationNotAsked { index });
    }
    // The library verifies nothing about revocation when this part is absent.
    let (registry_id, found) = match named {
        Some(named) if !non_revocation.is_null() => named,
        _ => return Err(VerifyError::NonRevocationMissing { index }),
    };
    let owned = || registry_id.clone();
    let registry = objects.registry(registry_id);
    let registry = registry.ok_or_else(|| VerifyError::Unknown { what: "registry", id: owned() })?;
    AnonCredsError::same(
        "the registry's definition",
        identifier.cred_def_id.as_str(),
        registry.cred_def_id().as_str(),
    )
    .map_err(|source| VerifyError::Objects { index, source })?;
    match policy.0.get(registry_id) {
        None => return Err(VerifyError::NoFreshness { registry_id: owned() }),
        Some(Freshness::Exactly(expected)) if *expected != found => {
            return Err(VerifyError::Stale { registry_id: owned(), expected: *expected, found });
        }
        Some(Freshness::Exactly(_)) => {}
    }
    if !intervals.iter().all(|interval| interval.contains(found)) {
        return Err(VerifyError::OutsideInterval { registry_id: owned(), found });
    }
    let list = objects.status_list(registry_id, found);
    let list = list.ok_or_else(|| VerifyError::Unknown { what: "status list of", id: owned() })?;
    if list.registry_id() != registry_id || list.timestamp() != found || list.size() != registry.size() {
        let (expected, found) = (registry_id.to_string(), format!("{list:?}"));
        let source = AnonCredsError::Mismatch { what: "the status list", expected, found };
        return Err(VerifyError::Objects { index, source });
    }
    Ok(Some((registry, list)))
}

/// Step 8.
fn proof(
    presentation: &Presentation,
    request: &ProofRequest,
    sources: &[Source<'_>],
) -> Result<(), VerifyError> {
    let check = || {
        let mut verifier = cl::Verifier::new_proof_verifier()?;
        verifier.add_common_attribute(LINK_SECRET)?;
        for source in sources {
            let mut asked = cl::SubProofRequestBuilder::new()?;
            for name in &source.revealed {
                asked.add_revealed_attr(name)?;
            }
            for (name, word, bound) in &source.predicates {
                asked.add_predicate(name, word, *bound)?;
            }
            let (open, blinded) = source.definition.public_key().schemas();
            let (registry, list) = (source.list.as_ref().map(|l| &l.0), source.list.as_ref().map(|l| &l.1));
            verifier.add_sub_proof_request(
                &asked.finalize()?,
                open,
                blinded,
                source.definition.public_key().key(),
                registry.map(|registry| registry.key()),
                list.map(|list| &list.accumulator().parsed),
            )?;
        }
        verifier.verify(&presentation.proof.parsed, request.nonce().number())
    };
    match check() {
        Ok(true) => Ok(()),
        Ok(false) => Err(VerifyError::ProofRejected),
        Err(error) if error.kind() == cl::ErrorKind::ProofRejected => Err(VerifyError::ProofRejected),
        Err(error) => Err(VerifyError::Library(AnonCredsError::library("a proof")(error))),
    }
}

fn verified(presentation: &Presentation, body: &Body, sources: &[Source<'_>]) -> VerifiedPresentation {
    let answers = &presentation.answers;
    let revealed = answers.revealed.iter().chain(&answers.groups).map(|(referent, shown)| {
        let credential = shown.credential;
        let values = named(shown, body, referent)
            .map(|(name, value)| (name.to_owned(), ProvenValue { raw: value.raw.clone(), credential }));
        (referent.clone(), values.collect())
    });
    let predicates = answers.predicates.iter().filter_map(|(referent, credential)| {
        let asked = body.predicates.get(referent)?;
        let (name, comparison, bound) = (asked.name.clone(), asked.comparison, asked.bound);
        Some((referent.clone(), ProvenPredicate { name, comparison, bound, credential: *credential }))
    });
    let credentials = sources.iter().map(|source| VerifiedCredential {
        schema_id: source.identifier.schema_id.clone(),
        cred_def_id: source.identifier.cred_def_id.clone(),
        issuer_id: source.definition.issuer_id().clone(),
        not_revoked_in: source.list.as_ref().map(|(_, list)| (list.registry_id().clone(), list.timestamp())),
    });
    VerifiedPresentation {
        revealed: revealed.collect(),
        unrevealed: answers.unrevealed.clone(),
        predicates: predicates.collect(),
        self_attested: answers.self_attested.clone(),
        credentials: credentials.collect(),
    }
}
