//! Seals and opens.

use super::cost::Cost;
use super::error::{ContentError, VaultError};
use super::issuer_secrets::IssuerSecrets;
use super::passphrase::Passphrase;
use super::shelf::{Reader, Shelf};
use super::wallet::Wallet;
use crate::didcomm::CryptoRngCore;
use argon2::{Algorithm, Argon2, Block, Params};
use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use std::fmt;
use std::marker::PhantomData;
use zeroize::{Zeroize as _, Zeroizing};

/// The version that is written. Older ones are read.
pub const VERSION: u8 = 2;
/// The oldest version that is read.
pub const VERSION_OLDEST: u8 = 1;
/// Bytes before the ciphertext.
pub const HEADER_BYTES: usize = MAGIC.len() + 1 + 1 + 3 * 4 + SALT_BYTES + NONCE_BYTES;
/// Bytes of a vault: thousands of credentials.
pub const VAULT_BYTES_MAX: usize = 16 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"eroam\0\0v";
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Whose secrets a vault holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A driver's, an operator's or a station's wallet.
    Holder,
    /// An issuer's keys.
    Issuer,
}

impl Role {
    const fn number(self) -> u8 {
        match self {
            Self::Holder => 1,
            Self::Issuer => 2,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

/// What a vault holds: [`Wallet`] or [`IssuerSecrets`], nothing else.
pub trait Secrets: shelved::Shelved {
    /// Whose they are.
    const ROLE: Role;
}

pub(super) mod shelved {
    use super::{ContentError, Reader, Shelf};

    /// Something made of shelves, in an order that never changes within a version. A later version may add shelves at the
    /// end.
    #[expect(unnameable_types, reason = "seals the trait above")]
    #[allow(private_interfaces, reason = "seals the trait above")]
    pub trait Shelved: Sized {
        #[doc(hidden)]
        fn shelves(&self) -> Vec<&Shelf>;
        #[doc(hidden)]
        fn read(reader: &mut Reader<'_>, version: u8) -> Result<Self, ContentError>;
    }
}

/// A holder's vault.
pub type HolderVault = Vault<Wallet>;
/// An issuer's vault.
pub type IssuerVault = Vault<IssuerSecrets>;

/// The key of an opened vault: it saves without the passphrase. Wiped from memory when it is dropped; never printed.
pub struct Vault<S> {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    key: Zeroizing<[u8; 32]>,
    holds: PhantomData<fn() -> S>,
}

impl<S: Secrets> Vault<S> {
    /// A new vault; also how the passphrase is changed: what is saved with the new one no longer opens with the old.
    ///
    /// # Errors
    /// [`VaultError::Randomness`], [`VaultError::Memory`].
    pub fn create(
        passphrase: &Passphrase,
        cost: Cost,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, VaultError> {
        let mut salt = [0; SALT_BYTES];
        rng.try_fill_bytes(&mut salt).map_err(|_| VaultError::Randomness)?;
        Self::derive(passphrase, cost, salt)
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`VaultError`]: length, magic, version, role and cost are checked in this order, before the key is derived.
    pub fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<(Self, S), VaultError> {
        let header = Header::read(bytes, S::ROLE)?;
        let vault = Self::derive(passphrase, header.cost, header.salt)?;
        let mut plaintext = Zeroizing::new(header.ciphertext.to_vec());
        let cipher = XChaCha20Poly1305::new(vault.key.as_slice().into());
        let (nonce, tag) = (header.nonce.as_slice().into(), Tag::from_slice(header.tag));
        let opened = cipher.decrypt_in_place_detached(nonce, header.authenticated, &mut plaintext, tag);
        opened.map_err(|_| VaultError::Sealed)?;
        let mut reader = Reader(&plaintext);
        let secrets = S::read(&mut reader, header.version).map_err(VaultError::Content)?;
        if !reader.0.is_empty() {
            return Err(VaultError::Content(ContentError::Trailing));
        }
        Ok((vault, secrets))
    }

    /// Seals the secrets: the whole file, under a nonce of its own.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`], [`VaultError::Randomness`].
    pub fn seal(&self, secrets: &S, rng: &mut impl CryptoRngCore) -> Result<Vec<u8>, VaultError> {
        let shelves = secrets.shelves();
        let len = shelves.iter().map(|shelf| shelf.written_len()).fold(0, usize::saturating_add);
        let total = len.saturating_add(HEADER_BYTES).saturating_add(TAG_BYTES);
        if total > VAULT_BYTES_MAX {
            return Err(VaultError::TooLarge { found: total });
        }
        let mut nonce = [0; NONCE_BYTES];
        rng.try_fill_bytes(&mut nonce).map_err(|_| VaultError::Randomness)?;
        let mut header = Vec::with_capacity(total);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&[VERSION, S::ROLE.number()]);
        for number in [self.cost.memory_kib(), self.cost.passes(), self.cost.lanes()] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&self.salt);
        header.extend_from_slice(&nonce);
        let mut content = Zeroizing::new(Vec::with_capacity(len));
        shelves.iter().for_each(|shelf| shelf.write(&mut content));
        let cipher = XChaCha20Poly1305::new(self.key.as_slice().into());
        let tag = cipher.encrypt_in_place_detached(nonce.as_slice().into(), &header, &mut content);
        let tag = tag.map_err(|_| VaultError::TooLarge { found: total })?;
        header.extend_from_slice(&content);
        header.extend_from_slice(&tag);
        Ok(header)
    }

    fn derive(passphrase: &Passphrase, cost: Cost, salt: [u8; SALT_BYTES]) -> Result<Self, VaultError> {
        let params = Params::new(cost.memory_kib(), cost.passes(), cost.lanes(), Some(32));
        // The bounds of a cost are within those of Argon2id.
        let params = params.map_err(|_| VaultError::Memory)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(params.block_count()).map_err(|_| VaultError::Memory)?;
        memory.resize(params.block_count(), Block::default());
        let mut key = Zeroizing::new([0; 32]);
        let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
        let derived =
            argon2.hash_password_into_with_memory(passphrase.as_bytes(), &salt, key.as_mut(), &mut memory);
        // Whoever finds the memory has the key.
        memory.zeroize();
        derived.map_err(|_| VaultError::Memory)?;
        Ok(Self { cost, salt, key, holds: PhantomData })
    }
}

impl<S> Vault<S> {
    /// What a guess at the passphrase costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

impl<S: Secrets> fmt::Debug for Vault<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("role", &S::ROLE).field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// What a file says before its ciphertext.
struct Header<'a> {
    authenticated: &'a [u8],
    version: u8,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8], role: Role) -> Result<Self, VaultError> {
        let truncated = || VaultError::Truncated { found: bytes.len() };
        if bytes.len() > VAULT_BYTES_MAX {
            return Err(VaultError::TooLarge { found: bytes.len() });
        }
        // Whatever begins otherwise is something else, however short.
        if !bytes.starts_with(bytes_of(&MAGIC, bytes.len())) {
            return Err(VaultError::Magic);
        }
        let (authenticated, sealed) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(truncated)?;
        let mut rest = authenticated.get(MAGIC.len()..).ok_or_else(truncated)?;
        let [version] = chunk(&mut rest).ok_or_else(truncated)?;
        if !(VERSION_OLDEST..=VERSION).contains(&version) {
            return Err(VaultError::Version { found: version });
        }
        let [found] = chunk(&mut rest).ok_or_else(truncated)?;
        if found != role.number() {
            return Err(VaultError::Role { expected: role, found });
        }
        let mut number = || chunk(&mut rest).map(u32::from_le_bytes).ok_or_else(truncated);
        let cost = Cost::new(number()?, number()?, number()?)?;
        let salt = chunk(&mut rest).ok_or_else(truncated)?;
        let nonce = chunk(&mut rest).ok_or_else(truncated)?;
        let tag_at = sealed.len().checked_sub(TAG_BYTES).ok_or_else(truncated)?;
        let (ciphertext, tag) = sealed.split_at_checked(tag_at).ok_or_else(truncated)?;
        Ok(Self { authenticated, version, cost, salt, nonce, ciphertext, tag })
    }
}

/// The first bytes, at most `len` of them.
fn bytes_of(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(..len).unwrap_or(bytes)
}

/// Takes the next bytes.
fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*chunk)
}
