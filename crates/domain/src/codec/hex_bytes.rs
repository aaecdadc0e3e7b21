//! Bytes that travel in JSON as pairs of hexadecimal digits.

use super::write_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Bytes, shown as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct HexBytes(Vec<u8>);

impl HexBytes {
    /// These bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str> as Deserialize<'de>>::deserialize(deserializer)?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' | b'a'..=b'f' => char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Self(bytes)),
            _ => Err(serde::de::Error::custom("bytes are pairs of the digits 0 to 9 and a to f")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_text_is_refused() {
        for text in ["\"0\"", "\"0g\"", "\"AB\"", "\" ab\"", "5", "null", "[1]"] {
            assert!(serde_json::from_str::<HexBytes>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = serde_json::to_string(&HexBytes::new(bytes.clone())).unwrap();
            prop_assert_eq!(text.len(), 2 * bytes.len() + 2);
            let read: HexBytes = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.as_bytes(), &bytes[..]);
        }
    }
}
