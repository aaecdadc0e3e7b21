//! Which credentials answer a request, and what of them is shown.

use super::error::AnonCredsError;
use super::holder::HeldCredential;
use super::object_id::ObjectId;
use super::objects::Objects;
use super::proof_request::ProofRequest;
use super::witness::WitnessState;
use std::collections::{BTreeMap, BTreeSet};

/// Why a presentation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// Nothing at hand answers a referent.
    #[error("no credential for {referent:?}")]
    NoCredential {
        /// The referent.
        referent: String,
    },
    /// The selection says nothing about a referent, or two things.
    #[error("{referent:?} is answered {times} times")]
    Answered {
        /// The referent.
        referent: String,
        /// How often.
        times: usize,
    },
    /// The request does not have this referent, or not of this kind.
    #[error("{referent:?} is not asked so")]
    NotAsked {
        /// The referent.
        referent: String,
    },
    /// The credential has no such attribute.
    #[error("{referent:?} asks for an attribute that the credential has not")]
    NoAttribute {
        /// The referent.
        referent: String,
    },
    /// The credential does not fulfil the restrictions.
    #[error("the credential for {referent:?} is not one that was asked for")]
    Restriction {
        /// The referent.
        referent: String,
    },
    /// The comparison is not true, or beyond what can be proved of 32 bits.
    #[error("the comparison {referent:?} does not hold")]
    PredicateUnmet {
        /// The referent.
        referent: String,
    },
    /// An attribute cannot be both shown and compared in one credential.
    #[error("{referent:?} compares an attribute that is shown")]
    ShownAndCompared {
        /// The referent.
        referent: String,
    },
    /// Only a referent without restrictions can be answered by a mere statement.
    #[error("{referent:?} must be answered by a credential")]
    SelfAttested {
        /// The referent.
        referent: String,
    },
    /// A schema, definition or registry that the caller does not know.
    #[error("unknown {what} {id}")]
    Unknown {
        /// What is missing.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// The credential is revoked in the witness' list.
    #[error("the credential of {registry_id} is revoked")]
    Revoked {
        /// In which registry.
        registry_id: ObjectId,
    },
    /// A revocable credential without a witness, or a witness of another.
    #[error("no witness for the credential of {registry_id}")]
    NoWitness {
        /// In which registry.
        registry_id: ObjectId,
    },
    /// The witness stands for a list outside the asked interval.
    #[error("the witness for {registry_id} is of another time than asked")]
    Interval {
        /// In which registry.
        registry_id: ObjectId,
    },
    /// The proof was prepared for another request.
    #[error("prepared for another request")]
    OtherRequest,
    /// An object does not fit the others, or the library refuses.
    #[error("not presented")]
    AnonCreds(#[from] AnonCredsError),
}

/// What of one credential is shown.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    pub(super) credential: &'a HeldCredential,
    pub(super) witness: Option<&'a WitnessState>,
    pub(super) revealed: BTreeSet<String>,
    pub(super) withheld: BTreeSet<String>,
    pub(super) predicates: BTreeSet<String>,
}

impl<'a> Chosen<'a> {
    /// A credential, with its witness if it is revocable.
    #[must_use]
    pub fn new(credential: &'a HeldCredential, witness: Option<&'a WitnessState>) -> Self {
        let (revealed, withheld, predicates) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { credential, witness, revealed, withheld, predicates }
    }

    /// Shows the attributes of a referent.
    #[must_use]
    pub fn reveal(mut self, referent: &str) -> Self {
        self.revealed.insert(referent.to_owned());
        self
    }

    /// Proves that there is the attribute of a referent, without showing it.
    #[must_use]
    pub fn withhold(mut self, referent: &str) -> Self {
        self.withheld.insert(referent.to_owned());
        self
    }

    /// Proves the comparison of a referent.
    #[must_use]
    pub fn predicate(mut self, referent: &str) -> Self {
        self.predicates.insert(referent.to_owned());
        self
    }
}

/// The answers to a request: each referent once.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    pub(super) chosen: Vec<Chosen<'a>>,
    pub(super) self_attested: BTreeMap<String, String>,
}

impl<'a> Selection<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses a credential.
    #[must_use]
    pub fn with(mut self, chosen: Chosen<'a>) -> Self {
        self.chosen.push(chosen);
        self
    }

    /// States a value that nobody signed.
    #[must_use]
    pub fn attest(mut self, referent: &str, value: &str) -> Self {
        self.self_attested.insert(referent.to_owned(), value.to_owned());
        self
    }

    /// Answers a request with the first credential that fits each referent, everything asked for revealed. A
    /// credential fits if it has the attributes, fulfils the restrictions, makes the comparison true and is not
    /// revoked.
    ///
    /// # Errors
    /// [`PresentError::NoCredential`] for the first referent that nothing fits.
    pub fn choose(
        request: &ProofRequest,
        held: impl IntoIterator<Item = (&'a HeldCredential, Option<&'a WitnessState>)>,
        objects: &impl Objects,
    ) -> Result<Self, PresentError> {
        let mut chosen: Vec<Chosen<'a>> =
            held.into_iter().map(|(credential, witness)| Chosen::new(credential, witness)).collect();
        let usable = |chosen: &Chosen<'a>| match (chosen.credential.registry_id(), chosen.witness) {
            (None, _) => true,
            (Some(_), witness) => witness.is_some_and(|witness| !witness.is_revoked()),
        };
        for (referent, attribute) in request.attributes() {
            let fit = chosen.iter_mut().find(|chosen| {
                usable(chosen)
                    && attribute.names.iter().all(|name| chosen.credential.value(name).is_some())
                    && fulfils(chosen.credential, &attribute.restriction, objects)
            });
            fit.ok_or_else(|| PresentError::NoCredential { referent: referent.clone() })?
                .revealed
                .insert(referent.clone());
        }
        for (referent, predicate) in request.predicates() {
            let fit = chosen.iter_mut().find(|chosen| {
                let value =
                    chosen.credential.value(&predicate.name).and_then(|value| value.encoded.parse().ok());
                usable(chosen)
                    && value.and_then(|value| predicate.comparison.holds(value, predicate.bound))
                        == Some(true)
                    && fulfils(chosen.credential, &predicate.restriction, objects)
            });
            fit.ok_or_else(|| PresentError::NoCredential { referent: referent.clone() })?
                .predicates
                .insert(referent.clone());
        }
        chosen.retain(|chosen| !chosen.revealed.is_empty() || !chosen.predicates.is_empty());
        Ok(Self { chosen, self_attested: BTreeMap::new() })
    }
}

fn fulfils(
    credential: &HeldCredential,
    restriction: &super::restriction::Restriction,
    objects: &impl Objects,
) -> bool {
    let schema = objects.schema(credential.schema_id());
    let definition = objects.credential_definition(credential.cred_def_id());
    schema
        .zip(definition)
        .is_some_and(|(schema, definition)| credential.fulfils(restriction, &schema, &definition))
}
