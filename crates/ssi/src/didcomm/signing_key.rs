//! The secret half of an Ed25519 key.

use super::CryptoRngCore;
use crate::did::VerificationKey;
use ed25519_dalek::Signer as _;
use std::fmt;
use zeroize::Zeroizing;

/// An Ed25519 key that signs, and opens what is sealed to its holder. Wiped from memory when it is dropped; never
/// printed; not cloned, so that there are as many copies as somebody meant to make.
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    public: VerificationKey,
}

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key of a seed of 32 secret bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = VerificationKey::of_secret(&secret);
        Self { secret, public }
    }

    /// The seed, for keeping the key.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    /// The half that others hold.
    #[must_use]
    pub const fn verification_key(&self) -> VerificationKey {
        self.public
    }

    /// Signs (RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }

    /// The X25519 key of the same holder.
    pub(crate) fn agreement(&self) -> crypto_box::SecretKey {
        let scalar = Zeroizing::new(self.secret.to_scalar_bytes());
        crypto_box::SecretKey::from_bytes(*scalar)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::super::OsRng;
    use super::*;

    #[test]
    fn debug_output_shows_the_public_half_alone() {
        let key = SigningKey::from_seed(&[0x41; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SigningKey(of {})", key.verification_key()));
        assert!(!shown.contains("4141") && !shown.contains("AAAA") && !shown.contains("65, 65"));
    }

    #[test]
    fn keys_are_made_kept_and_sign() {
        let key = SigningKey::generate(&mut OsRng);
        let again = SigningKey::from_seed(&key.to_seed());
        assert_eq!(again.verification_key(), key.verification_key());
        assert!(key.verification_key().verifies(b"a", &again.sign(b"a")));
        assert!(!key.verification_key().verifies(b"b", &again.sign(b"a")));
        let agreed = key.agreement().public_key();
        assert_eq!(Some(*agreed.as_bytes()), key.verification_key().agreement_bytes());
    }
}
