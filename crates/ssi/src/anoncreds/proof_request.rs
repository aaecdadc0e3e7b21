//! Requests for presentations.

use super::encoding::checked_name;
use super::error::AnonCredsError;
use super::limits::{LABEL_BYTES_MAX, NAME_BYTES_MAX, PROOF_REQUEST_BYTES_MAX, REFERENTS_MAX};
use super::members::{Members, message, text};
use super::nonce::Nonce;
use super::restriction::{Restriction, Tag};
use super::timestamp::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// For which status lists a credential must not be revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Lists before this are too old.
    pub from: Option<Timestamp>,
    /// Lists after this are too new.
    pub to: Option<Timestamp>,
}

impl Interval {
    /// Whether a list lies inside.
    #[must_use]
    pub fn contains(&self, timestamp: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= timestamp) && self.to.is_none_or(|to| timestamp <= to)
    }

    fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut interval = Members::of(value, "")?;
        let mut instant = |name: &str| match interval.optional(name) {
            None => Ok(None),
            Some(value) => {
                let seconds =
                    value.as_u64().ok_or_else(|| AnonCredsError::field(name, "not a whole number"))?;
                Timestamp::new(seconds).map(Some)
            }
        };
        let (from, to) = (instant("from")?, instant("to")?);
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            return Err(AnonCredsError::field("to", "before from"));
        }
        Ok(Self { from, to })
    }

    fn to_value(self) -> Value {
        let mut interval = Map::new();
        for (name, instant) in [("from", self.from), ("to", self.to)] {
            if let Some(instant) = instant {
                interval.insert(name.to_owned(), instant.seconds().into());
            }
        }
        Value::Object(interval)
    }
}

/// The names under one referent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Names {
    /// One attribute.
    One(String),
    /// Several attributes of the same credential.
    Group(Vec<String>),
}

impl Names {
    /// The names as asked.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Group(names) => names.as_slice(),
        };
        names.iter().map(String::as_str)
    }
}

/// Attributes to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestedAttribute {
    /// Which.
    pub names: Names,
    /// Of which credentials.
    pub restriction: Restriction,
    /// Instead of the request's own interval.
    pub non_revoked: Option<Interval>,
}

/// How a value is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Comparison {
    /// `>=`.
    AtLeast,
    /// `>`.
    Above,
    /// `<=`.
    AtMost,
    /// `<`.
    Below,
}

impl Comparison {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::AtLeast, ">=", "GE"),
        (Self::Above, ">", "GT"),
        (Self::AtMost, "<=", "LE"),
        (Self::Below, "<", "LT"),
    ];

    /// The sign in requests.
    #[must_use]
    pub fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(comparison, ..)| *comparison == self).map_or("", |(_, sign, _)| sign)
    }

    /// The library's word.
    pub(super) fn word(self) -> &'static str {
        Self::ALL.iter().find(|(comparison, ..)| *comparison == self).map_or("", |(.., word)| word)
    }

    fn parse(sign: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, found, _)| *found == sign).map(|(comparison, ..)| *comparison)
    }

    /// Whether `value` compares so with `bound`; `None` when the difference is beyond what the proof can express.
    pub(super) fn holds(self, value: i32, bound: i32) -> Option<bool> {
        let (value, bound) = (i64::from(value), i64::from(bound));
        let difference = match self {
            Self::AtLeast => value.checked_sub(bound),
            Self::Above => value.checked_sub(bound).and_then(|d| d.checked_sub(1)),
            Self::AtMost => bound.checked_sub(value),
            Self::Below => bound.checked_sub(value).and_then(|d| d.checked_sub(1)),
        }?;
        i32::try_from(difference)
            .ok()
            .map(|difference| difference >= 0)
            .or_else(|| (difference < 0).then_some(false))
    }
}

/// A comparison to be proved without showing the value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestedPredicate {
    /// Of which attribute.
    pub name: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: an i32; dates are written YYYYMMDD.
    pub bound: i32,
    /// Of which credentials.
    pub restriction: Restriction,
    /// Instead of the request's own interval.
    pub non_revoked: Option<Interval>,
}

/// A request for a presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRequest {
    nonce: Nonce,
    body: Body,
}

/// Everything but the nonce: what a proof can be prepared for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    name: String,
    version: String,
    format: Option<String>,
    pub(super) attributes: BTreeMap<String, RequestedAttribute>,
    pub(super) predicates: BTreeMap<String, RequestedPredicate>,
    pub(super) non_revoked: Option<Interval>,
}

impl Body {
    /// The interval that is asked of a referent.
    pub(super) fn interval(&self, referent: &str, is_predicate: bool) -> Option<Interval> {
        let local = match is_predicate {
            true => self.predicates.get(referent).and_then(|predicate| predicate.non_revoked),
            false => self.attributes.get(referent).and_then(|attribute| attribute.non_revoked),
        };
        local.or(self.non_revoked)
    }

    fn without_intervals(&self) -> Self {
        let mut body = self.clone();
        body.non_revoked = None;
        body.attributes.values_mut().for_each(|attribute| attribute.non_revoked = None);
        body.predicates.values_mut().for_each(|predicate| predicate.non_revoked = None);
        body
    }

    /// Whether two requests ask for the same, except when it must not have been revoked.
    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        self.without_intervals() == other.without_intervals()
    }

    fn check(&self) -> Result<(), AnonCredsError> {
        let found = self.attributes.len().saturating_add(self.predicates.len());
        if found == 0 || found > REFERENTS_MAX {
            return Err(AnonCredsError::Count { what: "referents", found, min: 1, max: REFERENTS_MAX });
        }
        for (label, field) in [(&self.name, "name"), (&self.version, "version")] {
            if label.len() > LABEL_BYTES_MAX {
                return Err(AnonCredsError::field(field, "longer than 256 bytes"));
            }
        }
        for (referent, attribute) in &self.attributes {
            let mut normal = BTreeSet::new();
            for name in attribute.names.iter() {
                let name = checked_name(name).map_err(|error| error.within(referent))?;
                if !normal.insert(name) {
                    return Err(AnonCredsError::field(referent, "a name twice"));
                }
            }
            if normal.is_empty() {
                return Err(AnonCredsError::field(referent, "no name"));
            }
        }
        for (referent, predicate) in &self.predicates {
            checked_name(&predicate.name).map_err(|error| error.within(referent))?;
            // No i32 is above the highest: and the library would compute one more than it.
            let bound = match predicate.comparison {
                Comparison::Above => predicate.bound.checked_add(1),
                Comparison::Below => predicate.bound.checked_sub(1),
                Comparison::AtLeast | Comparison::AtMost => Some(0),
            };
            if bound.is_none() {
                return Err(AnonCredsError::field(referent, "a bound that no value is beyond"));
            }
        }
        let (mut ids, mut dids) = (false, false);
        let attributes = self.attributes.values().map(|attribute| &attribute.restriction);
        for restriction in attributes.chain(self.predicates.values().map(|predicate| &predicate.restriction))
        {
            restriction.tags(&mut |tag| match tag {
                Tag::IssuerId | Tag::SchemaIssuerId => ids = true,
                Tag::IssuerDid | Tag::SchemaIssuerDid => dids = true,
                _ => {}
            });
        }
        if ids && dids {
            return Err(AnonCredsError::field("restrictions", "issuer_id and issuer_did in one request"));
        }
        Ok(())
    }
}

impl ProofRequest {
    /// A request for nothing yet.
    pub fn builder(name: impl Into<String>, version: impl Into<String>) -> ProofRequestBuilder {
        ProofRequestBuilder(Body {
            name: name.into(),
            version: version.into(),
            format: None,
            attributes: BTreeMap::new(),
            predicates: BTreeMap::new(),
            non_revoked: None,
        })
    }

    /// What the proof must answer, and only once.
    #[must_use]
    pub const fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.body.name
    }

    /// The attributes to be shown, by referent.
    #[must_use]
    pub const fn attributes(&self) -> &BTreeMap<String, RequestedAttribute> {
        &self.body.attributes
    }

    /// The comparisons to be proved, by referent.
    #[must_use]
    pub const fn predicates(&self) -> &BTreeMap<String, RequestedPredicate> {
        &self.body.predicates
    }

    /// For which status lists, unless a referent says otherwise.
    #[must_use]
    pub const fn non_revoked(&self) -> Option<Interval> {
        self.body.non_revoked
    }

    /// The same request with another nonce: what a verifier asks of everybody is built once.
    #[must_use]
    pub fn with_nonce(&self, nonce: Nonce) -> Self {
        Self { nonce, body: self.body.clone() }
    }

    pub(super) const fn body(&self) -> &Body {
        &self.body
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut request = Members::of(value, "proof request")?;
        let format = request.optional("ver").map(|ver| text(ver, 8)).transpose()?;
        if format.as_ref().is_some_and(|ver| ver != "1.0" && ver != "2.0") {
            return Err(AnonCredsError::field("ver", "neither 1.0 nor 2.0"));
        }
        let mut body = Body {
            name: request.text("name", LABEL_BYTES_MAX)?,
            version: request.text("version", LABEL_BYTES_MAX)?,
            format,
            attributes: BTreeMap::new(),
            predicates: BTreeMap::new(),
            non_revoked: interval(&mut request)?,
        };
        for (referent, value) in request.map("requested_attributes")? {
            let attribute = attribute(value).map_err(|error| error.within(&referent))?;
            body.attributes.insert(checked_referent(referent)?, attribute);
        }
        for (referent, value) in request.map("requested_predicates")? {
            let predicate = predicate(value).map_err(|error| error.within(&referent))?;
            body.predicates.insert(checked_referent(referent)?, predicate);
        }
        body.check()?;
        Ok(Self { nonce: Nonce::from_value(request.take("nonce")?)?, body })
    }

    pub(super) fn to_value(&self) -> Value {
        let common = |restriction: &Restriction, non_revoked: Option<Interval>, mut value: Value| {
            if let Some(members) = value.as_object_mut() {
                if !restriction.is_none() {
                    members.insert("restrictions".to_owned(), restriction.to_list());
                }
                if let Some(interval) = non_revoked {
                    members.insert("non_revoked".to_owned(), interval.to_value());
                }
            }
            value
        };
        let attributes = self.body.attributes.iter().map(|(referent, attribute)| {
            let names = match &attribute.names {
                Names::One(name) => json!({ "name": name }),
                Names::Group(names) => json!({ "names": names }),
            };
            (referent.clone(), common(&attribute.restriction, attribute.non_revoked, names))
        });
        let predicates = self.body.predicates.iter().map(|(referent, predicate)| {
            let value = json!({
                "name": predicate.name,
                "p_type": predicate.comparison.sign(),
                "p_value": predicate.bound,
            });
            (referent.clone(), common(&predicate.restriction, predicate.non_revoked, value))
        });
        let mut request = json!({
            "name": self.body.name,
            "version": self.body.version,
            "nonce": self.nonce.to_value(),
            "requested_attributes": attributes.collect::<Map<_, _>>(),
            "requested_predicates": predicates.collect::<Map<_, _>>(),
        });
        if let Some(members) = request.as_object_mut() {
            if let Some(format) = &self.body.format {
                members.insert("ver".to_owned(), format.clone().into());
            }
            if let Some(interval) = self.body.non_revoked {
                members.insert("non_revoked".to_owned(), interval.to_value());
            }
        }
        request
    }
}

message!(ProofRequest, PROOF_REQUEST_BYTES_MAX);

fn checked_referent(referent: String) -> Result<String, AnonCredsError> {
    if referent.len() > NAME_BYTES_MAX {
        return Err(AnonCredsError::field("referent", "longer than 256 bytes"));
    }
    Ok(referent)
}

fn interval(members: &mut Members) -> Result<Option<Interval>, AnonCredsError> {
    let interval = members.optional("non_revoked").map(Interval::from_value).transpose();
    interval.map_err(|error| error.within("non_revoked"))
}

fn restriction(members: &mut Members) -> Result<Restriction, AnonCredsError> {
    Restriction::from_value(members.optional("restrictions").unwrap_or(Value::Null))
        .map_err(|error| error.within("restrictions"))
}

fn attribute(value: Value) -> Result<RequestedAttribute, AnonCredsError> {
    let mut attribute = Members::of(value, "")?;
    let names = match (attribute.optional("name"), attribute.optional("names")) {
        (Some(name), None) => Names::One(text(name, NAME_BYTES_MAX)?),
        (None, Some(Value::Array(names))) => {
            let names = names.into_iter().map(|name| text(name, NAME_BYTES_MAX));
            Names::Group(names.collect::<Result<_, _>>()?)
        }
        _ => return Err(AnonCredsError::field("", "not exactly one of name and names")),
    };
    Ok(RequestedAttribute {
        names,
        restriction: restriction(&mut attribute)?,
        non_revoked: interval(&mut attribute)?,
    })
}

fn predicate(value: Value) -> Result<RequestedPredicate, AnonCredsError> {
    let mut predicate = Members::of(value, "")?;
    let bound = predicate.take("p_value")?.as_i64().and_then(|bound| i32::try_from(bound).ok());
    let comparison = Comparison::parse(&predicate.text("p_type", 2)?);
    Ok(RequestedPredicate {
        name: predicate.text("name", NAME_BYTES_MAX)?,
        comparison: comparison.ok_or_else(|| AnonCredsError::field("p_type", "no such comparison"))?,
        bound: bound.ok_or_else(|| AnonCredsError::field("p_value", "not an integer of 32 bits"))?,
        restriction: restriction(&mut predicate)?,
        non_revoked: interval(&mut predicate)?,
    })
}

/// Puts a request together.
#[derive(Clone, Debug)]
pub struct ProofRequestBuilder(Body);

impl ProofRequestBuilder {
    /// Asks for one attribute.
    #[must_use]
    pub fn attribute(self, referent: &str, name: &str, restriction: Restriction) -> Self {
        self.requested(referent, Names::One(name.to_owned()), restriction)
    }

    /// Asks for several attributes of the same credential.
    #[must_use]
    pub fn group<'a>(
        self,
        referent: &str,
        names: impl IntoIterator<Item = &'a str>,
        restriction: Restriction,
    ) -> Self {
        self.requested(referent, Names::Group(names.into_iter().map(str::to_owned).collect()), restriction)
    }

    fn requested(mut self, referent: &str, names: Names, restriction: Restriction) -> Self {
        let attribute = RequestedAttribute { names, restriction, non_revoked: None };
        self.0.attributes.insert(referent.to_owned(), attribute);
        self
    }

    /// Asks for a proof that an attribute compares with a bound.
    #[must_use]
    pub fn predicate(
        mut self,
        referent: &str,
        name: &str,
        comparison: Comparison,
        bound: i32,
        restriction: Restriction,
    ) -> Self {
        let name = name.to_owned();
        let predicate = RequestedPredicate { name, comparison, bound, restriction, non_revoked: None };
        self.0.predicates.insert(referent.to_owned(), predicate);
        self
    }

    /// Asks that nothing was revoked in a list of this interval.
    #[must_use]
    pub const fn non_revoked(mut self, interval: Interval) -> Self {
        self.0.non_revoked = Some(interval);
        self
    }

    /// The same for one referent, instead of the request's interval.
    #[must_use]
    pub fn non_revoked_for(mut self, referent: &str, interval: Interval) -> Self {
        if let Some(attribute) = self.0.attributes.get_mut(referent) {
            attribute.non_revoked = Some(interval);
        }
        if let Some(predicate) = self.0.predicates.get_mut(referent) {
            predicate.non_revoked = Some(interval);
        }
        self
    }

    /// The request, with a nonce of 80 random bits.
    ///
    /// # Errors
    /// [`AnonCredsError`] when it asks for nothing or for what no credential has.
    pub fn build(self) -> Result<ProofRequest, AnonCredsError> {
        self.build_with(Nonce::random()?)
    }

    /// The request with a nonce that the caller derived.
    ///
    /// # Errors
    /// As [`ProofRequestBuilder::build`].
    pub fn build_with(self, nonce: Nonce) -> Result<ProofRequest, AnonCredsError> {
        self.0.check()?;
        Ok(ProofRequest { nonce, body: self.0 })
    }
}
