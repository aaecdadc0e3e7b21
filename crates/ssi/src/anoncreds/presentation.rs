//! Presentations as they travel from holder to verifier.

use super::credential::AttributeValue;
use super::error::AnonCredsError;
use super::limits::{
    CREDENTIALS_MAX, NAME_BYTES_MAX, PRESENTATION_BYTES_MAX, PRESENTATION_VALUES_MAX, REFERENTS_MAX,
    VALUE_BYTES_MAX,
};
use super::members::{Members, message, text};
use super::object_id::ObjectId;
use super::shape::{PROOF, Part};
use super::timestamp::Timestamp;
use anoncreds_clsignatures as cl;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Which credential a part of the proof is about, as the holder says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identifier {
    pub(super) schema_id: ObjectId,
    pub(super) cred_def_id: ObjectId,
    pub(super) registry_id: Option<ObjectId>,
    pub(super) timestamp: Option<Timestamp>,
}

/// Attributes shown under one referent, all of one credential.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) credential: usize,
    /// By the names of the request. A single attribute has no name of its own in the JSON: here it is empty.
    pub(super) values: BTreeMap<String, AttributeValue>,
}

/// How the referents of a request are answered.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) revealed: BTreeMap<String, Shown>,
    pub(super) groups: BTreeMap<String, Shown>,
    pub(super) unrevealed: BTreeMap<String, usize>,
    pub(super) self_attested: BTreeMap<String, String>,
    pub(super) predicates: BTreeMap<String, usize>,
}

/// A proof and what it is said to prove. Nothing in it is true until a
/// [`verifier`](super::verifier::verify) made a [`VerifiedPresentation`](super::VerifiedPresentation) of it.
#[derive(Clone)]
pub struct Presentation {
    pub(super) proof: Part<cl::Proof>,
    pub(super) answers: Answers,
    pub(super) identifiers: Vec<Identifier>,
}

impl Presentation {
    /// Whether each part of the proof has a proof of non-revocation.
    pub(super) fn non_revocation(&self) -> impl Iterator<Item = &Value> {
        let proofs = self.proof.value.get("proofs").and_then(Value::as_array);
        let null = &Value::Null;
        proofs.into_iter().flatten().map(move |proof| proof.get("non_revoc_proof").unwrap_or(null))
    }

    /// Which registries, and which of their lists, the holder says it used: what a verifier has to look up.
    pub fn status_lists(&self) -> impl Iterator<Item = (&ObjectId, Timestamp)> {
        self.identifiers
            .iter()
            .filter_map(|identifier| identifier.registry_id.as_ref().zip(identifier.timestamp))
    }

    /// Which schema and credential definition the holder says it used, for each credential.
    pub fn definitions(&self) -> impl Iterator<Item = (&ObjectId, &ObjectId)> {
        self.identifiers.iter().map(|identifier| (&identifier.schema_id, &identifier.cred_def_id))
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut presentation = Members::of(value, "presentation")?;
        let list = presentation.list("identifiers")?;
        if list.len() > CREDENTIALS_MAX {
            let (what, found) = ("credentials", list.len());
            return Err(AnonCredsError::Count { what, found, min: 0, max: CREDENTIALS_MAX });
        }
        let identifiers = list.into_iter().map(|identifier| {
            let mut identifier = Members::of(identifier, "")?;
            let timestamp = identifier.optional("timestamp");
            let seconds = timestamp.map(|timestamp| {
                timestamp.as_u64().ok_or_else(|| AnonCredsError::field("timestamp", "not a whole number"))
            });
            Ok(Identifier {
                schema_id: identifier.id("schema_id")?,
                cred_def_id: identifier.id("cred_def_id")?,
                registry_id: identifier.optional_id("rev_reg_id")?,
                timestamp: seconds.transpose()?.map(Timestamp::new).transpose()?,
            })
        });
        let identifiers = identifiers
            .collect::<Result<Vec<_>, AnonCredsError>>()
            .map_err(|error| error.within("identifiers"))?;
        let answers = answers(presentation.members("requested_proof")?)
            .map_err(|error| error.within("requested_proof"))?;
        let proof = Part::read(&PROOF, presentation.take("proof")?, "proof")?;
        Ok(Self { proof, answers, identifiers })
    }

    pub(super) fn to_value(&self) -> Value {
        let index = |map: &BTreeMap<String, usize>| {
            let index = |(referent, index): (&String, &usize)| {
                (referent.clone(), json!({ "sub_proof_index": index }))
            };
            map.iter().map(index).collect::<Map<_, _>>()
        };
        let revealed = self.answers.revealed.iter().map(|(referent, shown)| {
            let mut value = shown.values.values().next().map_or(Value::Null, AttributeValue::to_value);
            if let Some(members) = value.as_object_mut() {
                members.insert("sub_proof_index".to_owned(), shown.credential.into());
            }
            (referent.clone(), value)
        });
        let groups = self.answers.groups.iter().map(|(referent, shown)| {
            let values = shown.values.iter().map(|(name, value)| (name.clone(), value.to_value()));
            let values = values.collect::<Map<_, _>>();
            (referent.clone(), json!({ "sub_proof_index": shown.credential, "values": values }))
        });
        let identifiers = self.identifiers.iter().map(|identifier| {
            json!({
                "schema_id": identifier.schema_id.as_str(),
                "cred_def_id": identifier.cred_def_id.as_str(),
                "rev_reg_id": identifier.registry_id.as_ref().map(ObjectId::as_str),
                "timestamp": identifier.timestamp.map(Timestamp::seconds),
            })
        });
        let identifiers = identifiers.collect::<Vec<_>>();
        let mut requested = json!({
            "revealed_attrs": revealed.collect::<Map<_, _>>(),
            "self_attested_attrs": self.answers.self_attested,
            "unrevealed_attrs": index(&self.answers.unrevealed),
            "predicates": index(&self.answers.predicates),
        });
        let groups = groups.collect::<Map<_, _>>();
        if let (Some(members), false) = (requested.as_object_mut(), groups.is_empty()) {
            members.insert("revealed_attr_groups".to_owned(), Value::Object(groups));
        }
        json!({ "proof": self.proof.value, "requested_proof": requested, "identifiers": identifiers })
    }
}

fn answers(mut requested: Members) -> Result<Answers, AnonCredsError> {
    let mut answers = Answers::default();
    let credential = |members: &mut Members| {
        let index = members.number("sub_proof_index")?;
        usize::try_from(index).map_err(|_| AnonCredsError::field("sub_proof_index", "no such credential"))
    };
    for (referent, value) in requested.map("revealed_attrs")? {
        let shown = Members::of(value.clone(), "").and_then(|mut members| {
            let value = AttributeValue::read(value)?;
            Ok(Shown { credential: credential(&mut members)?, values: [(String::new(), value)].into() })
        });
        let shown = shown.map_err(|error| error.within(&referent))?;
        answers.revealed.insert(referent, shown);
    }
    for (referent, value) in requested.map("revealed_attr_groups")? {
        let group = Members::of(value, "").and_then(|mut members| {
            let values = members.map("values")?.into_iter().map(|(name, value)| {
                let value = AttributeValue::read(value).map_err(|error| error.within(&name))?;
                Ok((name, value))
            });
            let values = values.collect::<Result<_, AnonCredsError>>()?;
            Ok(Shown { credential: credential(&mut members)?, values })
        });
        let group = group.map_err(|error| error.within(&referent))?;
        answers.groups.insert(referent, group);
    }
    for (name, place) in
        [("unrevealed_attrs", &mut answers.unrevealed), ("predicates", &mut answers.predicates)]
    {
        for (referent, value) in requested.map(name)? {
            let index = Members::of(value, "").and_then(|mut members| credential(&mut members));
            let index = index.map_err(|error| error.within(&referent))?;
            place.insert(referent, index);
        }
    }
    for (referent, value) in requested.map("self_attested_attrs")? {
        let value = text(value, VALUE_BYTES_MAX).map_err(|error| error.within(&referent))?;
        answers.self_attested.insert(referent, value);
    }
    let sizes = [
        answers.revealed.len(),
        answers.groups.len(),
        answers.unrevealed.len(),
        answers.self_attested.len(),
        answers.predicates.len(),
    ];
    let found = sizes.iter().fold(0_usize, |sum, size| sum.saturating_add(*size));
    if found > REFERENTS_MAX {
        return Err(AnonCredsError::Count { what: "referents", found, min: 0, max: REFERENTS_MAX });
    }
    let long =
        answers.revealed.keys().chain(answers.groups.keys()).any(|referent| referent.len() > NAME_BYTES_MAX);
    if long {
        return Err(AnonCredsError::field("referent", "longer than 256 bytes"));
    }
    Ok(answers)
}

impl fmt::Debug for Presentation {
    /// Which credentials: proofs and values are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentation").field("identifiers", &self.identifiers).finish_non_exhaustive()
    }
}

message!(Presentation, PRESENTATION_BYTES_MAX, PRESENTATION_VALUES_MAX);
