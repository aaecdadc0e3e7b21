//! Schemas: which attributes a kind of credential has.

use super::encoding::checked_name;
use super::error::AnonCredsError;
use super::limits::{ATTRIBUTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, SCHEMA_BYTES_MAX};
use super::members::{self, Members, message};
use super::object_id::ObjectId;
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The names of a kind of credential's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    issuer_id: ObjectId,
    name: String,
    version: String,
    attributes: Vec<String>,
    /// The same in normal form.
    normal: BTreeSet<String>,
}

impl Schema {
    /// A schema of 1 to 125 attributes whose names differ in normal form too.
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn new<N: Into<String>>(
        issuer_id: ObjectId,
        name: impl Into<String>,
        version: impl Into<String>,
        attributes: impl IntoIterator<Item = N>,
    ) -> Result<Self, AnonCredsError> {
        let (name, version) = (name.into(), version.into());
        for (label, field) in [(&name, "name"), (&version, "version")] {
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return Err(AnonCredsError::field(field, "not 1 to 256 bytes"));
            }
        }
        let attributes: Vec<String> = attributes.into_iter().map(Into::into).collect();
        if attributes.is_empty() || attributes.len() > ATTRIBUTES_MAX {
            let (what, found) = ("attributes", attributes.len());
            return Err(AnonCredsError::Count { what, found, min: 1, max: ATTRIBUTES_MAX });
        }
        let mut normal = BTreeSet::new();
        for attribute in &attributes {
            let checked = checked_name(attribute).map_err(|error| error.within("attrNames"))?;
            if !normal.insert(checked) {
                return Err(AnonCredsError::field("attrNames", "a name twice"));
            }
        }
        Ok(Self { issuer_id, name, version, attributes, normal })
    }

    /// Who made it.
    #[must_use]
    pub const fn issuer_id(&self) -> &ObjectId {
        &self.issuer_id
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The attributes' names as they were given.
    #[must_use]
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The attributes' names in normal form.
    pub(super) const fn normal(&self) -> &BTreeSet<String> {
        &self.normal
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut schema = Members::of(value, "schema")?;
        let attributes =
            schema.list("attrNames")?.into_iter().map(|name| members::text(name, NAME_BYTES_MAX));
        let attributes =
            attributes.collect::<Result<Vec<_>, _>>().map_err(|error| error.within("attrNames"))?;
        let (name, version) =
            (schema.text("name", LABEL_BYTES_MAX)?, schema.text("version", LABEL_BYTES_MAX)?);
        Self::new(schema.id("issuerId")?, name, version, attributes)
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "issuerId": self.issuer_id.as_str(),
            "name": self.name,
            "version": self.version,
            "attrNames": self.attributes,
        })
    }
}

message!(Schema, SCHEMA_BYTES_MAX);

/// The library's schemas for these names: what is signed openly, and what only blinded.
pub(super) fn library_schemas<'a>(
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(cl::CredentialSchema, cl::NonCredentialSchema), AnonCredsError> {
    let build = || {
        let mut open = cl::CredentialSchemaBuilder::new()?;
        for name in names {
            open.add_attr(name)?;
        }
        let mut blinded = cl::NonCredentialSchemaBuilder::new()?;
        blinded.add_attr(super::encoding::LINK_SECRET)?;
        Ok((open.finalize()?, blinded.finalize()?))
    };
    build().map_err(AnonCredsError::library("a schema"))
}
