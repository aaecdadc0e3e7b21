//! Nonces: what makes a proof fresh.

use super::error::AnonCredsError;
use super::shape::{Part, Shape};
use anoncreds_clsignatures as cl;
use serde_json::Value;
use std::fmt;

/// A number that the asker chose: 80 bits from [`Nonce::random`], at most 128 from others.
#[derive(Clone)]
pub struct Nonce(Part<cl::Nonce>);

impl Nonce {
    /// 80 random bits.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`] when the machine gives no randomness.
    pub fn random() -> Result<Self, AnonCredsError> {
        let nonce = cl::new_nonce().map_err(AnonCredsError::library("a nonce"))?;
        Part::made(nonce, "nonce").map(Self)
    }

    /// A nonce of 10 bytes that the caller derived, big endian: a transcript's hash, cut.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`] if the library cannot hold it.
    pub fn from_bytes(bytes: [u8; 10]) -> Result<Self, AnonCredsError> {
        let digits = num_bigint::BigUint::from_bytes_be(&bytes).to_string();
        Self::from_value(Value::String(digits))
    }

    /// Reads a canonical decimal number below 2^128.
    ///
    /// # Errors
    /// [`AnonCredsError::Field`] for anything else.
    pub fn from_decimal(digits: &str) -> Result<Self, AnonCredsError> {
        Self::from_value(Value::String(digits.to_owned()))
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        Part::read(&Shape::Number(128), value, "nonce").map(Self)
    }

    pub(super) fn to_value(&self) -> Value {
        self.0.value.clone()
    }

    pub(super) fn number(&self) -> &cl::Nonce {
        &self.0.parsed
    }

    /// The number in decimal.
    #[must_use]
    pub fn as_decimal(&self) -> &str {
        self.0.value.as_str().unwrap_or_default()
    }
}

impl PartialEq for Nonce {
    fn eq(&self, other: &Self) -> bool {
        self.as_decimal() == other.as_decimal()
    }
}

impl Eq for Nonce {}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_decimal())
    }
}
