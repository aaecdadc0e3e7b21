//! The holder's secret: what ties credentials to who holds them.

use super::error::AnonCredsError;
use super::shape::is_number;
use anoncreds_clsignatures as cl;
use num_bigint::BigUint;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A number of 256 bits that only the holder knows and that all its credentials are bound to. Wiped when dropped;
/// with OpenSSL's arithmetic the copies that the library computes with are wiped too.
pub struct LinkSecret(Zeroizing<[u8; 32]>);

impl LinkSecret {
    /// A random secret.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`] when the machine gives no randomness.
    pub fn random() -> Result<Self, AnonCredsError> {
        let secret = cl::Prover::new_link_secret().map_err(AnonCredsError::library("a link secret"))?;
        let bytes = secret.as_ref().to_bytes().map_err(AnonCredsError::library("a link secret"))?;
        Self::from_bytes(Zeroizing::new(bytes))
    }

    /// Reads a secret in the reference's form: a decimal number below 2^256.
    ///
    /// # Errors
    /// [`AnonCredsError::Field`] for anything else.
    pub fn import_secret(digits: &str) -> Result<Self, AnonCredsError> {
        let refuse = || AnonCredsError::field("link secret", "not a canonical decimal number of 256 bits");
        if digits == "0" || !is_number(digits, 256) {
            return Err(refuse());
        }
        let mut number = BigUint::parse_bytes(digits.as_bytes(), 10).ok_or_else(refuse)?;
        let bytes = Zeroizing::new(number.to_bytes_be());
        // Overwrites the limbs in place; their number does not change.
        number &= BigUint::ZERO;
        Self::from_bytes(bytes)
    }

    fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, AnonCredsError> {
        let mut secret = Zeroizing::new([0; 32]);
        let skip = 32_usize.checked_sub(bytes.len());
        let place = skip.and_then(|skip| secret.get_mut(skip..));
        place.ok_or_else(|| AnonCredsError::field("link secret", "too long"))?.copy_from_slice(&bytes);
        Ok(Self(secret))
    }

    /// The secret in the reference's form, for the wallet's encrypted file and nothing else.
    #[must_use]
    pub fn export_secret(&self) -> Zeroizing<String> {
        Zeroizing::new(BigUint::from_bytes_be(self.0.as_slice()).to_string())
    }

    /// The secret as the library computes with it. Built word by word in one of the library's own numbers: those lie
    /// in memory that OpenSSL wipes, numbers that it parsed do not.
    pub(super) fn number(&self) -> Result<cl::LinkSecret, AnonCredsError> {
        let build = || {
            let mut number = cl::bn::BigNumber::new()?;
            for pair in self.0.as_chunks::<2>().0 {
                let mut word = u32::from(u16::from_be_bytes(*pair));
                number.mul_word(1 << 16)?;
                number.add_word(word)?;
                word.zeroize();
            }
            Ok(cl::LinkSecret::from(number))
        };
        build().map_err(AnonCredsError::library("the link secret"))
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret")
    }
}
