//! Which credentials may answer a request: a small query language (WQL) over ids and values.
//!
//! As in the reference, several maps in a list are alternatives, several members of a map must all hold, empty maps in
//! a list are ignored, and `*_did` matches only Indy's unqualified identifiers. Stricter than the reference: a value
//! that the presentation does not reveal satisfies no `attr::name::value` (there, one of an attribute that was not
//! asked for satisfies all of them), and operators that it parses but never fulfils (`$gt`, `$like`, `$exist`) are
//! refused.
//!
//! Source: Aries RFC 0592; anoncreds-rs, `query.rs` and `verifier.rs`.

use super::encoding::normalise;
use super::error::AnonCredsError;
use super::limits::{CONDITIONS_MAX, VALUE_BYTES_MAX};
use super::members::text;
use super::object_id::ObjectId;
use serde_json::{Map, Value, json};

/// What a condition is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tag {
    /// The schema.
    SchemaId,
    /// Who made the schema.
    SchemaIssuerId,
    /// The same; only Indy's unqualified identifiers match.
    SchemaIssuerDid,
    /// The schema's name.
    SchemaName,
    /// The schema's version.
    SchemaVersion,
    /// Who issued.
    IssuerId,
    /// The same; only Indy's unqualified identifiers match.
    IssuerDid,
    /// The credential definition.
    CredDefId,
    /// The revocation registry.
    RevRegId,
    /// Whether there is an attribute of this name (the value is `1`).
    Marker(String),
    /// The revealed value of an attribute.
    Value(String),
}

impl Tag {
    fn parse(tag: &str) -> Result<Self, AnonCredsError> {
        Ok(match tag {
            "schema_id" => Self::SchemaId,
            "schema_issuer_id" => Self::SchemaIssuerId,
            "schema_issuer_did" => Self::SchemaIssuerDid,
            "schema_name" => Self::SchemaName,
            "schema_version" => Self::SchemaVersion,
            "issuer_id" => Self::IssuerId,
            "issuer_did" => Self::IssuerDid,
            "cred_def_id" => Self::CredDefId,
            "rev_reg_id" => Self::RevRegId,
            _ => {
                let name = tag.strip_prefix("attr::");
                let marker = name.and_then(|name| name.strip_suffix("::marker"));
                let value = name.and_then(|name| name.strip_suffix("::value"));
                match (marker, value) {
                    (Some(name), _) if is_name(name) => Self::Marker(name.to_owned()),
                    (_, Some(name)) if is_name(name) => Self::Value(name.to_owned()),
                    _ => return Err(AnonCredsError::field(tag, "no such restriction")),
                }
            }
        })
    }

    fn name(&self) -> String {
        match self {
            Self::SchemaId => "schema_id".to_owned(),
            Self::SchemaIssuerId => "schema_issuer_id".to_owned(),
            Self::SchemaIssuerDid => "schema_issuer_did".to_owned(),
            Self::SchemaName => "schema_name".to_owned(),
            Self::SchemaVersion => "schema_version".to_owned(),
            Self::IssuerId => "issuer_id".to_owned(),
            Self::IssuerDid => "issuer_did".to_owned(),
            Self::CredDefId => "cred_def_id".to_owned(),
            Self::RevRegId => "rev_reg_id".to_owned(),
            Self::Marker(name) => format!("attr::{name}::marker"),
            Self::Value(name) => format!("attr::{name}::value"),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(':')
}

/// A condition on the credential that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Restriction {
    /// All of them; none at all means that everything is allowed.
    All(Vec<Restriction>),
    /// One of them.
    Any(Vec<Restriction>),
    /// Not this.
    Not(Box<Restriction>),
    /// The tag has this value.
    Equals(Tag, String),
    /// The tag has another value.
    Differs(Tag, String),
    /// The tag has one of these values.
    OneOf(Tag, Vec<String>),
}

/// What is known of a credential when restrictions are applied.
pub(super) struct Facts<'a> {
    pub(super) schema_id: &'a ObjectId,
    pub(super) schema_issuer_id: &'a ObjectId,
    pub(super) schema_name: &'a str,
    pub(super) schema_version: &'a str,
    pub(super) issuer_id: &'a ObjectId,
    pub(super) cred_def_id: &'a ObjectId,
    pub(super) registry_id: Option<&'a ObjectId>,
    /// Whether there is an attribute, by its normal form.
    pub(super) has: &'a dyn Fn(&str) -> bool,
    /// The raw value of an attribute as far as it is shown, by its normal form.
    pub(super) value: &'a dyn Fn(&str) -> Option<String>,
}

impl Restriction {
    /// Everything is allowed.
    #[must_use]
    pub const fn none() -> Self {
        Self::All(Vec::new())
    }

    /// Only credentials of one definition.
    #[must_use]
    pub fn cred_def(id: &ObjectId) -> Self {
        Self::Equals(Tag::CredDefId, id.as_str().to_owned())
    }

    /// Whether everything is allowed, so that a holder may also just state a value.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::All(of) | Self::Any(of) if of.is_empty())
    }

    /// Whether a credential fulfils this.
    pub(super) fn admits(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All(of) => of.iter().all(|restriction| restriction.admits(facts)),
            Self::Any(of) => of.is_empty() || of.iter().any(|restriction| restriction.admits(facts)),
            Self::Not(of) => !of.admits(facts),
            Self::Equals(tag, value) => is(tag, value, facts),
            Self::Differs(tag, value) => !is(tag, value, facts),
            Self::OneOf(tag, values) => values.iter().any(|value| is(tag, value, facts)),
        }
    }

    /// Calls `f` for each tag.
    pub(super) fn tags(&self, f: &mut dyn FnMut(&Tag)) {
        match self {
            Self::All(of) | Self::Any(of) => of.iter().for_each(|restriction| restriction.tags(f)),
            Self::Not(of) => of.tags(f),
            Self::Equals(tag, _) | Self::Differs(tag, _) | Self::OneOf(tag, _) => f(tag),
        }
    }

    /// Reads restrictions; their depth is bounded by the JSON's.
    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut left = CONDITIONS_MAX;
        match value {
            Value::Null => Ok(Self::none()),
            Value::Object(map) => all(map, &mut left),
            Value::Array(maps) => {
                let mut alternatives = Vec::new();
                for map in maps {
                    let Value::Object(map) = map else {
                        return Err(AnonCredsError::field("", "a restriction is not an object"));
                    };
                    let map: Map<_, _> = map.into_iter().filter(|(_, value)| !value.is_null()).collect();
                    if !map.is_empty() {
                        alternatives.push(all(map, &mut left)?);
                    }
                }
                Ok(one_or(alternatives, Self::Any))
            }
            _ => Err(AnonCredsError::field("", "neither an object nor an array")),
        }
    }

    /// As a list of alternatives: some readers take nothing else at the top.
    pub(super) fn to_list(&self) -> Value {
        match self {
            Self::Any(of) => of.iter().map(Self::to_value).collect(),
            one => json!([one.to_value()]),
        }
    }

    fn to_value(&self) -> Value {
        let list = |of: &[Self]| of.iter().map(Self::to_value).collect::<Vec<_>>();
        match self {
            _ if self.is_none() => json!({}),
            Self::All(of) => json!({ "$and": list(of) }),
            Self::Any(of) => json!({ "$or": list(of) }),
            Self::Not(of) => json!({ "$not": of.to_value() }),
            Self::Equals(tag, value) => json!({ tag.name(): value }),
            Self::Differs(tag, value) => json!({ tag.name(): { "$neq": value } }),
            Self::OneOf(tag, values) => json!({ tag.name(): { "$in": values } }),
        }
    }
}

/// A single restriction as itself.
fn one_or(mut of: Vec<Restriction>, join: fn(Vec<Restriction>) -> Restriction) -> Restriction {
    match (of.len(), of.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            of.push(last);
            join(of)
        }
        (_, None) => Restriction::none(),
    }
}

fn all(map: Map<String, Value>, left: &mut usize) -> Result<Restriction, AnonCredsError> {
    let mut of = Vec::new();
    for (key, value) in map {
        *left = left.checked_sub(1).ok_or_else(|| AnonCredsError::field("", "too many conditions"))?;
        let joined = |value: Value, left: &mut usize| {
            let Value::Array(items) = value else { return Err(AnonCredsError::field("", "not an array")) };
            let each = items.into_iter().map(|item| match item {
                Value::Object(map) => all(map, left),
                _ => Err(AnonCredsError::field("", "not an object")),
            });
            each.collect::<Result<Vec<_>, _>>()
        };
        match (key.as_str(), value) {
            // An empty list says nothing, as in the reference.
            ("$and", value) => of.extend(
                Some(joined(value, left)?).filter(|l| !l.is_empty()).map(|of| one_or(of, Restriction::All)),
            ),
            ("$or", value) => of.extend(
                Some(joined(value, left)?).filter(|l| !l.is_empty()).map(|of| one_or(of, Restriction::Any)),
            ),
            ("$not", Value::Object(map)) => of.push(Restriction::Not(Box::new(all(map, left)?))),
            (tag, value) => of.push(condition(tag, value)?),
        }
    }
    Ok(one_or(of, Restriction::All))
}

fn condition(tag: &str, value: Value) -> Result<Restriction, AnonCredsError> {
    let refuse = || AnonCredsError::field(tag, "no such restriction");
    let parsed = Tag::parse(tag)?;
    match value {
        Value::String(value) => Ok(Restriction::Equals(parsed, value)),
        Value::Object(map) if map.len() == 1 => match map.into_iter().next() {
            Some((operator, value)) if operator == "$neq" => {
                Ok(Restriction::Differs(parsed, text(value, VALUE_BYTES_MAX)?))
            }
            Some((operator, Value::Array(values))) if operator == "$in" => {
                let values = values.into_iter().map(|value| text(value, VALUE_BYTES_MAX));
                Ok(Restriction::OneOf(parsed, values.collect::<Result<_, _>>()?))
            }
            _ => Err(refuse()),
        },
        _ => Err(refuse()),
    }
}

fn is(tag: &Tag, value: &str, facts: &Facts<'_>) -> bool {
    let did = |id: &ObjectId| id.is_legacy() && id.as_str() == value;
    match tag {
        Tag::SchemaId => facts.schema_id.as_str() == value,
        Tag::SchemaIssuerId => facts.schema_issuer_id.as_str() == value,
        Tag::SchemaIssuerDid => did(facts.schema_issuer_id),
        Tag::SchemaName => facts.schema_name == value,
        Tag::SchemaVersion => facts.schema_version == value,
        Tag::IssuerId => facts.issuer_id.as_str() == value,
        Tag::IssuerDid => did(facts.issuer_id),
        Tag::CredDefId => facts.cred_def_id.as_str() == value,
        Tag::RevRegId => facts.registry_id.is_some_and(|id| id.as_str() == value),
        Tag::Marker(name) => value == "1" && (facts.has)(&normalise(name)),
        Tag::Value(name) => (facts.value)(&normalise(name)).is_some_and(|shown| shown == value),
    }
}
