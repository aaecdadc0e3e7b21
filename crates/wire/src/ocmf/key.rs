//! The keys of meters.

use super::curve::Curve;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use std::fmt;

/// The longest text that can be a key, in bytes.
const TEXT_MAX: usize = 1_024;

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterKeyError {
    /// Zero, or not below the order of the curve.
    #[error("these 32 bytes are no private key of the curve P-256: draw others")]
    NotAScalar,
    /// Not a public key in any spelling that is read.
    #[error(
        "this is no meter's public key: expected is the SubjectPublicKeyInfo of a point on a curve of OCMF, not compressed, \
         in hexadecimal or Base64"
    )]
    NotAPublicKey,
}

/// A meter's private key, ECDSA on P-256. The number is overwritten when it is dropped; it is never shown.
#[derive(Clone)]
pub struct MeterKey(SigningKey);

impl MeterKey {
    /// From 32 secret bytes, which the caller draws or derives.
    ///
    /// # Errors
    /// [`MeterKeyError::NotAScalar`], once in 2^32 draws.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, MeterKeyError> {
        SigningKey::from_slice(bytes).map(Self).map_err(|_| MeterKeyError::NotAScalar)
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn public(&self) -> MeterPublicKey {
        let point = self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        MeterPublicKey { curve: Curve::Secp256r1, point }
    }

    /// ECDSA over SHA-256 of `message`, DER, the same for the same message (RFC 6979).
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl fmt::Debug for MeterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterKey(..)")
    }
}

/// A meter's public key on any curve of OCMF. Shown as its SubjectPublicKeyInfo in upper-case hexadecimal, as other
/// verifiers want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterPublicKey {
    pub(super) curve: Curve,
    /// Uncompressed.
    pub(super) point: Vec<u8>,
}

impl MeterPublicKey {
    /// The name of its curve, such as `secp256r1`.
    #[must_use]
    pub const fn curve(&self) -> &'static str {
        self.curve.name()
    }

    /// Whether signatures on its curve can be checked.
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        self.curve.is_supported()
    }

    /// From the DER of a SubjectPublicKeyInfo. Whether the point lies on the curve is seen when it is used.
    fn from_spki(bytes: &[u8]) -> Option<Self> {
        Curve::ALL.into_iter().find_map(|curve| {
            let point = bytes.strip_prefix(curve.spki_header())?;
            let fits = point.len() == curve.point_bytes() && point.first() == Some(&4);
            fits.then(|| Self { curve, point: point.to_vec() })
        })
    }
}

/// Pairs of hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|n| u8::try_from(n).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            &[high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

impl std::str::FromStr for MeterPublicKey {
    type Err = MeterKeyError;
    /// Hexadecimal or Base64 of a SubjectPublicKeyInfo; blanks are left out.
    fn from_str(text: &str) -> Result<Self, MeterKeyError> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).take(TEXT_MAX).collect();
        let read = || {
            from_hex(&plain)
                .and_then(|bytes| Self::from_spki(&bytes))
                .or_else(|| STANDARD.decode(&plain).ok().and_then(|bytes| Self::from_spki(&bytes)))
        };
        read().ok_or(MeterKeyError::NotAPublicKey)
    }
}

impl fmt::Display for MeterPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.curve.spki_header().iter().chain(&self.point).try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl serde::Serialize for MeterPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MeterPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize<'de>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
