//! Taking the members of a JSON object one by one, each with its limit.

use super::error::AnonCredsError;
use super::object_id::ObjectId;
use serde_json::{Map, Value};

/// The members of an object that were not taken yet. Those that nobody takes are ignored, as the reference does.
pub(super) struct Members(Map<String, Value>);

impl Members {
    /// The members of a value that must be an object.
    pub(super) fn of(value: Value, name: &str) -> Result<Self, AnonCredsError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(AnonCredsError::field(name, "not an object")),
        }
    }

    /// A member that must be there; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Result<Value, AnonCredsError> {
        self.optional(name).ok_or_else(|| AnonCredsError::field(name, "missing"))
    }

    /// A member that may be absent or `null`.
    pub(super) fn optional(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A string of at most `bytes_max` bytes.
    pub(super) fn text(&mut self, name: &str, bytes_max: usize) -> Result<String, AnonCredsError> {
        text(self.take(name)?, bytes_max).map_err(|error| error.within(name))
    }

    /// An id.
    pub(super) fn id(&mut self, name: &str) -> Result<ObjectId, AnonCredsError> {
        id(self.take(name)?).map_err(|error| error.within(name))
    }

    /// An id that may be absent.
    pub(super) fn optional_id(&mut self, name: &str) -> Result<Option<ObjectId>, AnonCredsError> {
        self.optional(name).map(id).transpose().map_err(|error| error.within(name))
    }

    /// An object.
    pub(super) fn members(&mut self, name: &str) -> Result<Self, AnonCredsError> {
        Self::of(self.take(name)?, name)
    }

    /// An object whose keys are data; absent is empty.
    pub(super) fn map(&mut self, name: &str) -> Result<Map<String, Value>, AnonCredsError> {
        match self.optional(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(_) => Err(AnonCredsError::field(name, "not an object")),
        }
    }

    /// An array.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, AnonCredsError> {
        match self.take(name)? {
            Value::Array(items) => Ok(items),
            _ => Err(AnonCredsError::field(name, "not an array")),
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, AnonCredsError> {
        self.take(name)?.as_u64().ok_or_else(|| AnonCredsError::field(name, "not a whole number"))
    }
}

/// A string of at most `bytes_max` bytes.
pub(super) fn text(value: Value, bytes_max: usize) -> Result<String, AnonCredsError> {
    match value {
        Value::String(text) if text.len() <= bytes_max => Ok(text),
        Value::String(_) => Err(AnonCredsError::field("", "too long")),
        _ => Err(AnonCredsError::field("", "not a string")),
    }
}

fn id(value: Value) -> Result<ObjectId, AnonCredsError> {
    ObjectId::new(text(value, super::limits::ID_BYTES_MAX)?)
}

/// Reading and writing of a message: bytes with a limit, and serde for who puts one into a larger document.
macro_rules! message {
    ($type:ty, $limit:expr) => {
        super::members::message!($type, $limit, crate::json::VALUES_MAX);
    };
    ($type:ty, $limit:expr, $values:expr) => {
        impl $type {
            /// Reads the reference's JSON.
            ///
            /// # Errors
            /// [`AnonCredsError`](super::AnonCredsError).
            pub fn from_json(bytes: &[u8]) -> Result<Self, super::AnonCredsError> {
                Self::from_value(crate::json::list(bytes, $limit, $values)?)
            }

            /// Writes the reference's JSON.
            #[must_use]
            pub fn to_json(&self) -> Vec<u8> {
                self.to_value().to_string().into_bytes()
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_value().serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_value(value).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use message;
