//! Credential definitions: an issuer's public key for one schema.

use super::encoding::{LINK_SECRET, checked_name};
use super::error::AnonCredsError;
use super::limits::{ATTRIBUTES_MAX, CREDENTIAL_DEFINITION_BYTES_MAX, LABEL_BYTES_MAX};
use super::members::{Members, message};
use super::object_id::ObjectId;
use super::schema::{Schema, library_schemas};
use super::shape::{PRIMARY_KEY, Part, REVOCATION_KEY};
use anoncreds_clsignatures as cl;
use num_bigint::BigUint;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Bits of an issuer's modulus: a product of two primes of 1024 or 1025 bits.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 2047..=2056;

/// An issuer's public key, parsed: cheap to clone and to share between threads, and the costly part of reading a
/// credential definition, so it is kept.
#[derive(Clone)]
pub struct PublicKey(Arc<Parsed>);

struct Parsed {
    key: cl::CredentialPublicKey,
    attributes: BTreeSet<String>,
    open: cl::CredentialSchema,
    blinded: cl::NonCredentialSchema,
}

impl PublicKey {
    fn new(primary: &Value, key: cl::CredentialPublicKey) -> Result<Self, AnonCredsError> {
        let attributes = attributes(primary)?;
        let (open, blinded) = library_schemas(&attributes)?;
        Ok(Self(Arc::new(Parsed { key, attributes, open, blinded })))
    }

    /// The names of its attributes in normal form.
    pub(super) fn attributes(&self) -> &BTreeSet<String> {
        &self.0.attributes
    }

    pub(super) fn key(&self) -> &cl::CredentialPublicKey {
        &self.0.key
    }

    /// The library's schemas: signed openly, signed blinded.
    pub(super) fn schemas(&self) -> (&cl::CredentialSchema, &cl::NonCredentialSchema) {
        (&self.0.open, &self.0.blinded)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("attributes", &self.0.attributes).finish_non_exhaustive()
    }
}

/// Checks the numbers of a key against its modulus and gives the names of its attributes.
fn attributes(primary: &Value) -> Result<BTreeSet<String>, AnonCredsError> {
    let refuse = |rule| Err(AnonCredsError::field("value.primary", rule));
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_str).and_then(|digits| BigUint::parse_bytes(digits.as_bytes(), 10))
    };
    let Some(modulus) = number(primary.get("n")) else { return refuse("no modulus") };
    if !MODULUS_BITS.contains(&modulus.bits()) || !modulus.bit(0) {
        return refuse("the modulus has not two odd primes of the protocol's size");
    }
    let none = Map::new();
    let bases = primary.get("r").and_then(Value::as_object).unwrap_or(&none);
    let fixed = ["s", "rctxt", "z"].into_iter().map(|name| primary.get(name));
    for base in fixed.chain(bases.values().map(Some)) {
        if !number(base).is_some_and(|base| base.bits() > 1 && base < modulus) {
            return refuse("a base outside its modulus");
        }
    }
    let mut names = BTreeSet::new();
    for name in bases.keys().filter(|name| *name != LINK_SECRET) {
        if *name != checked_name(name).map_err(|error| error.within("value.primary.r"))? {
            return refuse("the name of an attribute is not in normal form");
        }
        names.insert(name.clone());
    }
    if !bases.contains_key(LINK_SECRET) {
        return refuse("no base for the link secret");
    }
    if names.is_empty() || names.len() > ATTRIBUTES_MAX {
        let (what, found) = ("attributes", names.len());
        return Err(AnonCredsError::Count { what, found, min: 1, max: ATTRIBUTES_MAX });
    }
    Ok(names)
}

/// An issuer's public key for one schema, with or without revocation.
#[derive(Clone)]
pub struct CredentialDefinition {
    issuer_id: ObjectId,
    schema_id: ObjectId,
    tag: String,
    primary: Value,
    revocation: Option<Value>,
    key: PublicKey,
}

impl CredentialDefinition {
    pub(super) fn new(
        issuer_id: ObjectId,
        schema_id: ObjectId,
        tag: String,
        key: &cl::CredentialPublicKey,
    ) -> Result<Self, AnonCredsError> {
        if tag.len() > LABEL_BYTES_MAX {
            return Err(AnonCredsError::field("tag", "longer than 256 bytes"));
        }
        let primary = Part::made(key.get_primary_key().clone(), "value.primary")?.value;
        let revocation =
            key.get_revocation_key().map(|key| Part::made(key.clone(), "value.revocation")).transpose()?;
        let parsed = PublicKey::new(&primary, key.clone())?;
        let revocation = revocation.map(|part| part.value);
        Ok(Self { issuer_id, schema_id, tag, primary, revocation, key: parsed })
    }

    /// Who issues.
    #[must_use]
    pub const fn issuer_id(&self) -> &ObjectId {
        &self.issuer_id
    }

    /// What is issued.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.schema_id
    }

    /// Which of the issuer's definitions for this schema.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether its credentials can be revoked.
    #[must_use]
    pub const fn is_revocable(&self) -> bool {
        self.revocation.is_some()
    }

    /// The parsed key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks that this is a definition for exactly the attributes of a schema.
    pub(super) fn fits(&self, schema_id: &ObjectId, schema: &Schema) -> Result<(), AnonCredsError> {
        AnonCredsError::same("the definition's schema", schema_id.as_str(), self.schema_id.as_str())?;
        if schema.normal() == self.key.attributes() {
            return Ok(());
        }
        let join = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
        let (expected, found) = (join(schema.normal()), join(self.key.attributes()));
        Err(AnonCredsError::Mismatch { what: "the definition's attributes", expected, found })
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut definition = Members::of(value, "credential definition")?;
        AnonCredsError::same("type", "CL", &definition.text("type", LABEL_BYTES_MAX)?)?;
        let mut keys = definition.members("value")?;
        let primary: Part<cl::CredentialPrimaryPublicKey> =
            Part::read(&PRIMARY_KEY, keys.take("primary")?, "value.primary")?;
        let revocation: Option<Part<cl::CredentialRevocationPublicKey>> = keys
            .optional("revocation")
            .map(|key| Part::read(&REVOCATION_KEY, key, "value.revocation"))
            .transpose()?;
        let key = cl::CredentialPublicKey::build_from_parts(
            &primary.parsed,
            revocation.as_ref().map(|part| &part.parsed),
        )
        .map_err(AnonCredsError::library("a public key"))?;
        Ok(Self {
            issuer_id: definition.id("issuerId")?,
            schema_id: definition.id("schemaId")?,
            tag: definition.text("tag", LABEL_BYTES_MAX)?,
            key: PublicKey::new(&primary.value, key)?,
            primary: primary.value,
            revocation: revocation.map(|part| part.value),
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let mut keys = json!({ "primary": self.primary });
        if let (Some(revocation), Some(keys)) = (&self.revocation, keys.as_object_mut()) {
            keys.insert("revocation".to_owned(), revocation.clone());
        }
        json!({
            "issuerId": self.issuer_id.as_str(),
            "schemaId": self.schema_id.as_str(),
            "type": "CL",
            "tag": self.tag,
            "value": keys,
        })
    }
}

impl fmt::Debug for CredentialDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialDefinition")
            .field("issuer_id", &self.issuer_id)
            .field("schema_id", &self.schema_id)
            .field("tag", &self.tag)
            .field("revocable", &self.is_revocable())
            .finish_non_exhaustive()
    }
}

message!(CredentialDefinition, CREDENTIAL_DEFINITION_BYTES_MAX);
