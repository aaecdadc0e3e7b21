//! Canonical bytes: the one encoding that is signed, hashed and stored, and its SHA-256.
//!
//! The format is Borsh (a bijection between values and bytes). Types whose fields obey a rule validate again when
//! decoded, so that bytes from another organisation never build a value that the constructor would refuse.

mod hex_bytes;

pub use hex_bytes::HexBytes;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Serde by `Display` and `FromStr`, for types that people read as text.
macro_rules! text_serde {
    ($name:ty) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <::std::borrow::Cow<'de, str> as ::serde::Deserialize<'de>>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

/// A SHA-256 digest, shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// All zero bytes: "nothing committed to".
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 over a domain separator and several parts, each preceded by its length, so that no two lists of parts
    /// collide.
    #[must_use]
    pub fn of_parts(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in std::iter::once(context.as_bytes()).chain(parts.iter().copied()) {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// SHA-256 of a value's canonical bytes, under a domain separator.
    #[must_use]
    pub fn of_value<T: BorshSerialize>(context: &str, value: &T) -> Self {
        Self::of_parts(context, &[&to_bytes(value)])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Writes bytes as lower-case hexadecimal. Digests are written by the thousand, which is why this does not go through
/// the formatter byte by byte.
///
/// # Errors
/// The formatter's.
pub fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?');
    for chunk in bytes.chunks(32) {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(chunk) {
            if let [high, low] = pair {
                (*high, *low) = (digit(byte >> 4), digit(byte & 15));
            }
        }
        let used = text.get(..chunk.len().saturating_mul(2)).unwrap_or_default();
        f.write_str(std::str::from_utf8(used).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("`{s}` is no SHA-256 digest: 64 hexadecimal digits are expected");
        let digits = s.as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut out = [0; 32];
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return Err(bad()) };
            *slot = nibble(high).ok_or_else(bad)? << 4 | nibble(low).ok_or_else(bad)?;
        }
        Ok(Self(out))
    }
}

text_serde!(Digest);

/// A 64-byte signature, shown as lower-case hexadecimal. Whose it is and over what, the value beside it says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SignatureBytes(pub [u8; 64]);

impl fmt::Display for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for SignatureBytes {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || "a signature is 128 hexadecimal digits".to_owned();
        let (first, second) = s.split_at_checked(64).ok_or_else(bad)?;
        let halves = [first.parse::<Digest>().map_err(|_| bad())?, second.parse().map_err(|_| bad())?];
        let mut out = [0; 64];
        for (slot, byte) in out.iter_mut().zip(halves.into_iter().flat_map(|half| half.0)) {
            *slot = byte;
        }
        Ok(Self(out))
    }
}

text_serde!(SignatureBytes);

/// Canonical bytes of `value`.
#[must_use]
pub fn to_bytes<T: BorshSerialize>(value: &T) -> Vec<u8> {
    to_bytes_with_capacity(value, 256)
}

/// As [`to_bytes`], for a value of which the caller knows about how long its bytes are.
#[must_use]
pub fn to_bytes_with_capacity<T: BorshSerialize>(value: &T, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    // Writing to memory fails only where a length exceeds u32, which every named limit excludes.
    if borsh::to_writer(&mut out, value).is_err() {
        out.clear();
    }
    out
}

/// A value from its canonical bytes; trailing bytes are refused.
///
/// # Errors
/// The decoder's message, naming what was wrong.
pub fn from_bytes<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, String> {
    borsh::from_slice(bytes).map_err(|e| e.to_string())
}

/// The error a validating decoder returns.
#[must_use]
pub fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("invalid {what}"))
}

/// Text that is kept with a length limit and printable ASCII only (identifiers of tariffs, sessions, records).
///
/// `N` is the greatest number of bytes; at least one is required.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct ShortText<const N: usize>(Box<str>);

impl<const N: usize> ShortText<N> {
    /// Checks length and characters.
    ///
    /// # Errors
    /// A sentence naming the limit.
    pub fn new(text: &str) -> Result<Self, String> {
        let fits = !text.is_empty() && text.len() <= N && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "`{}` does not fit: 1 to {N} printable ASCII characters are expected",
                text.escape_debug()
            ))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text under a limit that is at least as large, which the compiler checks.
    #[must_use]
    pub fn widen<const M: usize>(&self) -> ShortText<M> {
        const { assert!(M >= N, "the limit must not shrink") };
        ShortText(self.0.clone())
    }
}

impl<const N: usize> std::str::FromStr for ShortText<N> {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::new(s)
    }
}

impl<const N: usize> fmt::Display for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const N: usize> fmt::Debug for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<const N: usize> BorshDeserialize for ShortText<N> {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let length = usize::try_from(u32::deserialize_reader(reader)?).map_err(|_| invalid("text length"))?;
        if length > N {
            return Err(invalid("text length"));
        }
        let mut raw = vec![0; length];
        reader.read_exact(&mut raw)?;
        let text = String::from_utf8(raw).map_err(|_| invalid("text"))?;
        Self::new(&text).map_err(|_| invalid("text"))
    }
}

impl<const N: usize> Serialize for ShortText<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for ShortText<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as Deserialize<'de>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_is_read_back_from_its_hexadecimal() {
        let digest = Digest::of(b"eroam");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("00".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of_parts("x", &[b"ab", b"c"]), Digest::of_parts("x", &[b"a", b"bc"]));
    }

    #[test]
    fn text_beyond_its_limit_is_refused_by_constructor_and_decoder() {
        assert!(ShortText::<3>::new("abcd").is_err());
        assert!(ShortText::<3>::new("").is_err());
        assert!(ShortText::<3>::new("a\n").is_err());
        let long = to_bytes(&ShortText::<8>::new("abcd").unwrap());
        assert!(from_bytes::<ShortText<3>>(&long).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = from_bytes::<ShortText<36>>(&bytes);
            let _ = from_bytes::<Digest>(&bytes);
        }
    }
}
