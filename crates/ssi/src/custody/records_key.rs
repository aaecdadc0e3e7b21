//! The key of records that are kept one by one, beside a vault: a server has more of them than one file holds.

use super::error::{ContentError, VaultError};
use super::wallet::Wallet;
use crate::didcomm::CryptoRngCore;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;
use zeroize::Zeroizing;

/// The label of the key in a vault.
const LABEL: &str = "records key";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes that a sealed record has more than the record: its nonce and its tag.
pub const RECORD_OVERHEAD: usize = NONCE_BYTES + 16;

/// Seals records (XChaCha20-Poly1305, a random nonce each), each under its name: a record that was put in another's place
/// does not open. It lies in a vault, which a passphrase opens. Wiped from memory when it is dropped; never printed.
///
/// What it does not do: it cannot tell that a record is missing, or that an older one was brought back.
pub struct RecordsKey(Zeroizing<[u8; KEY_BYTES]>);

impl RecordsKey {
    /// A new key.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn generate(rng: &mut impl CryptoRngCore) -> Result<Self, VaultError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rng.try_fill_bytes(key.as_mut()).map_err(|_| VaultError::Randomness)?;
        Ok(Self(key))
    }

    /// Puts it into what a vault holds.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_into(&self, secrets: &mut Wallet) -> Result<(), ContentError> {
        secrets.put_note(LABEL, Zeroizing::new(self.0.to_vec()))
    }

    /// The key in what a vault holds, if there is one.
    ///
    /// # Errors
    /// [`ContentError::Seed`] when what was stored is none.
    pub fn of(secrets: &Wallet) -> Result<Option<Self>, ContentError> {
        let bytes = secrets.note(LABEL).map(<[u8; KEY_BYTES]>::try_from);
        Ok(bytes.transpose().map_err(|_| ContentError::Seed)?.map(|bytes| Self(Zeroizing::new(bytes))))
    }

    /// Seals a record under its name.
    ///
    /// # Errors
    /// [`VaultError::Randomness`], [`VaultError::TooLarge`].
    pub fn seal(
        &self,
        name: &str,
        record: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        rng.try_fill_bytes(&mut nonce).map_err(|_| VaultError::Randomness)?;
        let payload = Payload { msg: record, aad: name.as_bytes() };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| VaultError::TooLarge { found: record.len() })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed under that name.
    ///
    /// # Errors
    /// [`VaultError::Truncated`], [`VaultError::Sealed`].
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let truncated = VaultError::Truncated { found: sealed.len() };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(truncated)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        let opened = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| VaultError::Sealed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

impl fmt::Debug for RecordsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordsKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didcomm::OsRng;
    use proptest::prelude::*;

    #[test]
    fn a_record_opens_under_its_own_name_and_key_alone() {
        let [key, other] = [(); 2].map(|()| RecordsKey::generate(&mut OsRng).unwrap());
        let sealed = key.seal("customer/1", b"Ana", &mut OsRng).unwrap();
        assert_eq!(sealed.len(), 3 + RECORD_OVERHEAD);
        assert_eq!(key.open("customer/1", &sealed).unwrap().as_slice(), b"Ana");
        assert!(matches!(key.open("customer/2", &sealed), Err(VaultError::Sealed)));
        assert!(matches!(other.open("customer/1", &sealed), Err(VaultError::Sealed)));
        assert_ne!(
            key.seal("customer/1", b"Ana", &mut OsRng).unwrap(),
            sealed,
            "each has a nonce of its own"
        );
    }

    #[test]
    fn the_key_lies_in_a_vault() {
        let mut wallet = Wallet::new();
        assert!(RecordsKey::of(&wallet).unwrap().is_none());
        let key = RecordsKey::generate(&mut OsRng).unwrap();
        key.put_into(&mut wallet).unwrap();
        let again = RecordsKey::of(&wallet).unwrap().unwrap();
        assert_eq!(again.open("a", &key.seal("a", b"b", &mut OsRng).unwrap()).unwrap().as_slice(), b"b");
        wallet.put_note(LABEL, Zeroizing::new(vec![1; 31])).unwrap();
        assert!(matches!(RecordsKey::of(&wallet), Err(ContentError::Seed)));
    }

    proptest! {
        #[test]
        fn what_is_no_sealed_record_does_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let key = RecordsKey::generate(&mut OsRng).unwrap();
            prop_assert!(key.open("a", &bytes).is_err());
        }
    }
}
