//! What a holder keeps.

use super::error::ContentError;
use super::shelf::{Reader, Shelf};
use super::vault::{Role, Secrets, shelved::Shelved};
use crate::anoncreds::{HeldCredential, LinkSecret, PendingCredential, WitnessState};
use crate::didcomm::SigningKey;
use crate::sd_jwt::{self, HeldSdJwt};
use zeroize::Zeroizing;

/// The only label of its shelf.
const LINK_SECRET: &str = "link secret";

/// What a holder keeps: the link secret, keys, credentials with what goes with them, and notes of whoever uses it.
/// Everything is wiped from memory when it is dropped or replaced; `Debug` shows the labels.
#[derive(Debug, Default)]
pub struct Wallet {
    link_secret: Shelf,
    signing_keys: Shelf,
    pending: Shelf,
    credentials: Shelf,
    witnesses: Shelf,
    sd_jwts: Shelf,
    notes: Shelf,
}

impl Wallet {
    /// An empty wallet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the link secret. All credentials are bound to it: with another one they are lost.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_link_secret(&mut self, secret: &LinkSecret) -> Result<(), ContentError> {
        let digits = secret.export_secret();
        self.link_secret.put(LINK_SECRET, Zeroizing::new(digits.as_bytes().to_vec()))
    }

    /// The link secret.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn link_secret(&self) -> Result<Option<LinkSecret>, ContentError> {
        let digits = self.link_secret.get(LINK_SECRET);
        let digits = digits.map(|digits| std::str::from_utf8(digits).map_err(|_| ContentError::Truncated));
        let secret = digits.transpose()?.map(LinkSecret::import_secret);
        secret.transpose().map_err(ContentError::AnonCreds)
    }

    /// Keeps a signing key.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_signing_key(&mut self, label: &str, key: &SigningKey) -> Result<(), ContentError> {
        put_signing_key(&mut self.signing_keys, label, key)
    }

    /// A signing key.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn signing_key(&self, label: &str) -> Result<Option<SigningKey>, ContentError> {
        signing_key(&self.signing_keys, label)
    }

    /// The labels of the signing keys.
    pub fn signing_keys(&self) -> impl Iterator<Item = &str> {
        self.signing_keys.labels()
    }

    /// Forgets a signing key; says whether there was one.
    pub fn remove_signing_key(&mut self, label: &str) -> bool {
        self.signing_keys.remove(label)
    }

    /// Keeps what a request for a credential left to remember until the credential comes.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_pending(&mut self, label: &str, pending: &PendingCredential) -> Result<(), ContentError> {
        self.pending.put(label, pending.export_secret().map_err(ContentError::AnonCreds)?)
    }

    /// What a request left to remember.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn pending(&self, label: &str) -> Result<Option<PendingCredential>, ContentError> {
        let pending = self.pending.get(label).map(PendingCredential::import_secret);
        pending.transpose().map_err(ContentError::AnonCreds)
    }

    /// Forgets a request; says whether there was one.
    pub fn remove_pending(&mut self, label: &str) -> bool {
        self.pending.remove(label)
    }

    /// Keeps a credential.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_credential(&mut self, label: &str, credential: &HeldCredential) -> Result<(), ContentError> {
        self.credentials.put(label, credential.export_secret())
    }

    /// A credential.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn credential(&self, label: &str) -> Result<Option<HeldCredential>, ContentError> {
        let credential = self.credentials.get(label).map(HeldCredential::import_secret);
        credential.transpose().map_err(ContentError::AnonCreds)
    }

    /// The labels of the credentials.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        self.credentials.labels()
    }

    /// Forgets a credential with its witness; says whether there was one.
    pub fn remove_credential(&mut self, label: &str) -> bool {
        self.witnesses.remove(label);
        self.credentials.remove(label)
    }

    /// Keeps the witness of the credential with that label.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_witness(&mut self, label: &str, witness: &WitnessState) -> Result<(), ContentError> {
        self.witnesses.put(label, witness.to_json().map(Zeroizing::new).map_err(ContentError::AnonCreds)?)
    }

    /// The witness of the credential with that label.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn witness(&self, label: &str) -> Result<Option<WitnessState>, ContentError> {
        self.witnesses.get(label).map(WitnessState::from_json).transpose().map_err(ContentError::AnonCreds)
    }

    /// Keeps an SD-JWT with its holder's key.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_sd_jwt(&mut self, label: &str, held: &HeldSdJwt) -> Result<(), ContentError> {
        let scalar = held.key().to_scalar();
        // In one go, so that no buffer grows and leaves the key behind.
        self.sd_jwts.put(label, Zeroizing::new([scalar.as_slice(), held.text().as_bytes()].concat()))
    }

    /// An SD-JWT with its holder's key.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn sd_jwt(&self, label: &str) -> Result<Option<HeldSdJwt>, ContentError> {
        let Some(stored) = self.sd_jwts.get(label) else { return Ok(None) };
        let (scalar, text) = stored.split_first_chunk().ok_or(ContentError::Truncated)?;
        let key = sd_jwt::SigningKey::from_scalar(scalar).map_err(ContentError::Key)?;
        let text = std::str::from_utf8(text).map_err(|_| ContentError::Truncated)?;
        HeldSdJwt::restore(text, key).map(Some).map_err(ContentError::SdJwt)
    }

    /// The labels of the SD-JWTs.
    pub fn sd_jwts(&self) -> impl Iterator<Item = &str> {
        self.sd_jwts.labels()
    }

    /// Forgets an SD-JWT with its key; says whether there was one.
    pub fn remove_sd_jwt(&mut self, label: &str) -> bool {
        self.sd_jwts.remove(label)
    }

    /// Keeps whatever else a holder must not lose: vouchers with their keys, settings, receipts. What it means, the caller
    /// knows.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_note(&mut self, label: &str, note: Zeroizing<Vec<u8>>) -> Result<(), ContentError> {
        self.notes.put(label, note)
    }

    /// A note.
    #[must_use]
    pub fn note(&self, label: &str) -> Option<&[u8]> {
        self.notes.get(label)
    }

    /// The labels of the notes, ascending.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.labels()
    }

    /// Forgets a note; says whether there was one.
    pub fn remove_note(&mut self, label: &str) -> bool {
        self.notes.remove(label)
    }
}

impl Secrets for Wallet {
    const ROLE: Role = Role::Holder;
}

#[allow(private_interfaces, reason = "nobody outside can name the trait")]
impl Shelved for Wallet {
    fn shelves(&self) -> Vec<&Shelf> {
        let Self { link_secret, signing_keys, pending, credentials, witnesses, sd_jwts, notes } = self;
        vec![link_secret, signing_keys, pending, credentials, witnesses, sd_jwts, notes]
    }

    fn read(reader: &mut Reader<'_>, version: u8) -> Result<Self, ContentError> {
        Ok(Self {
            link_secret: Shelf::read(reader)?,
            signing_keys: Shelf::read(reader)?,
            pending: Shelf::read(reader)?,
            credentials: Shelf::read(reader)?,
            witnesses: Shelf::read(reader)?,
            sd_jwts: Shelf::read(reader)?,
            // Version 1 had no notes.
            notes: if version < 2 { Shelf::default() } else { Shelf::read(reader)? },
        })
    }
}

pub(super) fn put_signing_key(shelf: &mut Shelf, label: &str, key: &SigningKey) -> Result<(), ContentError> {
    shelf.put(label, Zeroizing::new(key.to_seed().to_vec()))
}

pub(super) fn signing_key(shelf: &Shelf, label: &str) -> Result<Option<SigningKey>, ContentError> {
    let seed = shelf.get(label).map(|seed| <&[u8; 32]>::try_from(seed).map_err(|_| ContentError::Seed));
    Ok(seed.transpose()?.map(SigningKey::from_seed))
}
