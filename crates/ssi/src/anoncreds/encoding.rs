//! How values become numbers, and which names are the same.
//!
//! Source: AnonCreds v1.0, "Encoding Attribute Data".

use super::error::AnonCredsError;
use super::limits::{ATTRIBUTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use num_bigint::BigUint;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The attribute that is the holder's secret: part of every credential definition, of no schema. Its name is fixed by
/// AnonCreds v1.
pub(super) const LINK_SECRET: &str = "master_secret";

/// The number that is signed for a value: an integer of 32 bits is itself (`007` and `+7` are 7), everything else the
/// SHA-256 of its UTF-8, read big endian.
#[must_use]
pub fn encode(raw: &str) -> String {
    match raw.parse::<i32>() {
        Ok(number) => number.to_string(),
        Err(_) => BigUint::from_bytes_be(&Sha256::digest(raw.as_bytes())).to_string(),
    }
}

/// The form in which names of attributes are compared: lower case, without spaces.
#[must_use]
pub fn normalise(name: &str) -> String {
    name.replace(' ', "").to_lowercase()
}

/// Checks the name of an attribute and gives its normal form.
pub(super) fn checked_name(name: &str) -> Result<String, AnonCredsError> {
    let normal = normalise(name);
    // In lower case a name can be longer. The secret's name would let a schema, and then a request, reach for it.
    if normal.is_empty() || name.len().max(normal.len()) > NAME_BYTES_MAX || normal == LINK_SECRET {
        return Err(AnonCredsError::field("name", "not the name of an attribute"));
    }
    Ok(normal)
}

/// Names and raw values of a credential, as the issuer states and the holder agreed to.
#[derive(Clone, PartialEq, Eq)]
pub struct AttributeValues(BTreeMap<String, String>);

impl AttributeValues {
    /// Values by name. Names that are the same in normal form, and values of more than [`VALUE_BYTES_MAX`] bytes, are
    /// refused.
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn new<N: Into<String>, V: Into<String>>(
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, AnonCredsError> {
        let mut normal = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (name, value) in values {
            let (name, value) = (name.into(), value.into());
            if value.len() > VALUE_BYTES_MAX {
                return Err(AnonCredsError::field(name, "too long"));
            }
            if normal.insert(checked_name(&name)?, ()).is_some() {
                return Err(AnonCredsError::field(name, "twice"));
            }
            kept.insert(name, value);
        }
        if kept.is_empty() || kept.len() > ATTRIBUTES_MAX {
            return Err(AnonCredsError::Count {
                what: "attributes",
                found: kept.len(),
                min: 1,
                max: ATTRIBUTES_MAX,
            });
        }
        Ok(Self(kept))
    }

    /// Names and raw values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// By normal form of the name.
    pub(super) fn normal(&self) -> BTreeMap<String, &str> {
        self.iter().map(|(name, value)| (normalise(name), value)).collect()
    }
}

impl std::fmt::Debug for AttributeValues {
    /// The names: the values are somebody's data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
