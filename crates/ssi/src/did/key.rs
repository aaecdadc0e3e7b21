//! Ed25519 keys that others hold, in the spellings that agents use.
//!
//! Source: RFC 8032; the Multikey and did:key specifications; Aries RFC 0360.

use super::Did;
use ed25519_dalek::{Signature, VerifyingKey};
use std::fmt;

/// What precedes an Ed25519 key in a Multikey.
pub(crate) const ED25519: [u8; 2] = [0xed, 0x01];
/// What precedes an X25519 key in a Multikey.
pub(crate) const X25519: [u8; 2] = [0xec, 0x01];
/// More characters than any spelling of one key has: two Multikeys with `did:key:` and `#`.
const SPELLING_BYTES_MAX: usize = 128;

/// Why something is not a key that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base58, or not as many bytes as a key has.
    #[error("not 32 bytes in base58")]
    Base58,
    /// Not `z` and base58 of an Ed25519 Multikey.
    #[error("not an Ed25519 key as Multikey")]
    Multikey,
    /// Not `did:key:` with one and the same key before and after `#`.
    #[error("not a did:key of an Ed25519 key")]
    DidKey,
    /// The bytes are no point of the curve.
    #[error("no point of the curve")]
    OffCurve,
    /// The bytes are another spelling of a point.
    #[error("not the usual spelling of its point")]
    NotCanonical,
    /// A point of low order: whoever signs with it signs everything, and secrets agreed with it are known to all.
    #[error("a point of low order")]
    LowOrder,
}

/// An Ed25519 key that verifies, and to which envelopes are sealed: a proper point, not of low order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerificationKey([u8; 32]);

impl VerificationKey {
    /// A key from its bytes.
    ///
    /// # Errors
    /// [`KeyError::OffCurve`], [`KeyError::NotCanonical`], [`KeyError::LowOrder`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::OffCurve)?;
        if key.is_weak() {
            return Err(KeyError::LowOrder);
        }
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotCanonical);
        }
        Ok(Self(*bytes))
    }

    /// The public half of a secret key, whose point is proper by construction.
    pub(crate) fn of_secret(secret: &ed25519_dalek::SigningKey) -> Self {
        Self(secret.verifying_key().to_bytes())
    }

    /// A key from base58, as envelopes name it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_base58(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&base58_key(text).ok_or(KeyError::Base58)?)
    }

    /// A key from a Multikey: `z6Mk..`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_multikey(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&multikey_bytes(ED25519, text).ok_or(KeyError::Multikey)?)
    }

    /// A key from `did:key:z6Mk..` or `did:key:z6Mk..#z6Mk..`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_did_key(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix("did:key:").ok_or(KeyError::DidKey)?;
        let multikey = match rest.split_once('#') {
            Some((multikey, fragment)) if multikey == fragment => multikey,
            Some(_) => return Err(KeyError::DidKey),
            None => rest,
        };
        Self::from_multikey(multikey)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As Multikey: `z6Mk..`.
    #[must_use]
    pub fn to_multikey(&self) -> String {
        multikey(ED25519, &self.0)
    }

    /// As `did:key:z6Mk..`.
    #[must_use]
    pub fn to_did_key(&self) -> Did {
        Did::trusted(format!("did:key:{}", self.to_multikey()))
    }

    /// As `did:key:z6Mk..#z6Mk..`, the name of the key within its own document.
    #[must_use]
    pub fn to_did_key_reference(&self) -> String {
        let multikey = self.to_multikey();
        format!("did:key:{multikey}#{multikey}")
    }

    /// Whether the holder of the key signed the message (RFC 8032, strictly).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// The X25519 key of the same holder.
    pub(crate) fn agreement_bytes(&self) -> Option<[u8; 32]> {
        VerifyingKey::from_bytes(&self.0).ok().map(|key| key.to_montgomery().to_bytes())
    }
}

impl fmt::Display for VerificationKey {
    /// Base58.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(&self.0).into_string())
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({self})")
    }
}

/// The Multikey of a kind of key.
pub(crate) fn multikey(kind: [u8; 2], bytes: &[u8; 32]) -> String {
    let mut text = String::from("z");
    text.push_str(&bs58::encode([&kind, bytes.as_slice()].concat()).into_string());
    text
}

/// The bytes of a Multikey of that kind.
pub(crate) fn multikey_bytes(kind: [u8; 2], text: &str) -> Option<[u8; 32]> {
    let decoded = base58(text.strip_prefix('z')?)?;
    decoded.strip_prefix(&kind)?.try_into().ok()
}

fn base58_key(text: &str) -> Option<[u8; 32]> {
    base58(text)?.try_into().ok()
}

fn base58(text: &str) -> Option<Vec<u8>> {
    // Decoding takes time quadratic in the length.
    if text.len() > SPELLING_BYTES_MAX {
        return None;
    }
    bs58::decode(text).into_vec().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::didcomm::SigningKey;

    /// The key of a seed of equal bytes.
    pub(crate) fn key(seed: u8) -> VerificationKey {
        SigningKey::from_seed(&[seed; 32]).verification_key()
    }

    #[test]
    fn every_spelling_of_a_key_is_read_back() {
        let key = key(1);
        assert_eq!(VerificationKey::from_base58(&key.to_string()), Ok(key));
        assert_eq!(VerificationKey::from_multikey(&key.to_multikey()), Ok(key));
        assert_eq!(VerificationKey::from_did_key(key.to_did_key().as_str()), Ok(key));
        assert_eq!(VerificationKey::from_did_key(&key.to_did_key_reference()), Ok(key));
    }

    #[test]
    fn the_example_of_rfc_0360_is_read() {
        let key = VerificationKey::from_did_key("did:key:z6MkmjY8GnV5i9YTDtPETC2uUAW6ejw3nk5mXF5yci5ab7th")
            .unwrap();
        assert_eq!(key.to_string(), "8HH5gYEeNc3z7PYXmd54d4x6qAfCNrqQqEB3nS7Zfu7K");
    }

    #[test]
    fn keys_that_are_not_used_are_refused() {
        let of = |first: u8, rest: u8, last: u8| {
            let mut bytes = [rest; 32];
            (bytes[0], bytes[31]) = (first, last);
            bytes
        };
        let table = [
            ("identity", of(1, 0, 0), KeyError::LowOrder),
            ("order 4, y = 0", of(0, 0, 0), KeyError::LowOrder),
            ("order 2, y = -1", of(0xec, 0xff, 0x7f), KeyError::LowOrder),
            ("y = 0 spelled as p", of(0xed, 0xff, 0x7f), KeyError::LowOrder),
            ("y = 2 is on no point", of(2, 0, 0), KeyError::OffCurve),
            ("y = 3 spelled as p + 3", of(0xf0, 0xff, 0x7f), KeyError::NotCanonical),
        ];
        for (name, bytes, error) in table {
            assert_eq!(VerificationKey::from_bytes(&bytes), Err(error), "{name}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let (a, b) = (key(1).to_multikey(), key(2).to_multikey());
        let x25519 = multikey(X25519, &[9; 32]);
        let table = [
            (VerificationKey::from_did_key(&format!("did:key:{a}#{b}")), KeyError::DidKey),
            (VerificationKey::from_did_key(&format!("did:peer:{a}")), KeyError::DidKey),
            (VerificationKey::from_did_key(&format!("did:key:{x25519}")), KeyError::Multikey),
            (VerificationKey::from_multikey(&a[1..]), KeyError::Multikey),
            (VerificationKey::from_multikey(&format!("{a}1")), KeyError::Multikey),
            (VerificationKey::from_base58(&"1".repeat(31)), KeyError::Base58),
            (VerificationKey::from_base58(&"1".repeat(100_000)), KeyError::Base58),
            (VerificationKey::from_base58("0OIl"), KeyError::Base58),
        ];
        for (n, (found, error)) in table.into_iter().enumerate() {
            assert_eq!(found, Err(error), "{n}");
        }
    }
}
