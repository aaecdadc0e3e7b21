//! P-256 keys as JOSE writes them, and whose they are.

use super::error::KeyError;
use super::limits::URI_BYTES_MAX;
use crate::did::base64url;
use crate::didcomm::CryptoRngCore;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use serde_json::{Value, json};
use std::fmt;
use zeroize::Zeroizing;

/// A P-256 key that verifies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(p256::ecdsa::VerifyingKey);

impl VerifyingKey {
    /// A key from a JWK. Members that say nothing about its use are passed over.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let jwk = jwk.as_object().ok_or(KeyError::NotObject)?;
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("kty") != Some("EC") || text("crv") != Some("P-256") {
            return Err(KeyError::Curve);
        }
        let says = |name: &str, value: &str| jwk.get(name).is_none_or(|found| found == value);
        if !says("alg", "ES256") || !says("use", "sig") {
            return Err(KeyError::Purpose);
        }
        if jwk.contains_key("d") {
            return Err(KeyError::Secret);
        }
        let coordinate = |name: &str| {
            let bytes = base64url_strict(text(name).filter(|text| text.len() == 43)?)?;
            <[u8; 32]>::try_from(bytes).ok()
        };
        let (x, y) = coordinate("x").zip(coordinate("y")).ok_or(KeyError::Coordinate)?;
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map(Self).map_err(|_| KeyError::OffCurve)
    }

    /// The key as JWK.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let point = self.0.to_sec1_bytes();
        // Uncompressed: one byte that says so, then both coordinates.
        let coordinates = point.get(1..).unwrap_or(&[]);
        let (x, y) = coordinates.split_at_checked(32).unwrap_or((&[], &[]));
        json!({ "kty": "EC", "crv": "P-256", "x": base64url::encode(x), "y": base64url::encode(y) })
    }

    /// Whether the holder of the key signed the message: ES256, 64 bytes.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.to_jwk())
    }
}

/// A P-256 key that signs. Wiped from memory when it is dropped; never printed; not cloned.
pub struct SigningKey(p256::ecdsa::SigningKey);

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let mut scalar = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(scalar.as_mut());
            // One draw in 2^32 is no scalar.
            if let Ok(key) = Self::from_scalar(&scalar) {
                return key;
            }
        }
    }

    /// The key of a secret scalar.
    ///
    /// # Errors
    /// [`KeyError::Scalar`].
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::from_slice(scalar).map(Self).map_err(|_| KeyError::Scalar)
    }

    /// The secret scalar, for keeping the key.
    #[must_use]
    pub fn to_scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The half that others hold.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(*self.0.verifying_key())
    }

    /// Signs: ES256, with the number of RFC 6979, so that no randomness can fail.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.verifying_key().to_jwk())
    }
}

/// An issuer's name and the key that the caller knows to be that issuer's: from the ledger, a DID document or a list of
/// its own, never from the credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedIssuer {
    name: String,
    key: VerifyingKey,
}

impl TrustedIssuer {
    /// The issuer of that name, as `iss` has it, has that key. `None` for a name that no credential can have.
    #[must_use]
    pub fn new(name: impl Into<String>, key: VerifyingKey) -> Option<Self> {
        let name = name.into();
        (!name.is_empty() && name.len() <= URI_BYTES_MAX).then_some(Self { name, key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

/// Base64url without padding, as JOSE demands.
pub(super) fn base64url_strict(text: &str) -> Option<Vec<u8>> {
    if text.contains('=') { None } else { base64url::decode(text) }
}
