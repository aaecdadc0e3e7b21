//! What an issuer keeps.

use super::error::ContentError;
use super::shelf::{Reader, Shelf};
use super::vault::{Role, Secrets, shelved::Shelved};
use super::wallet::{put_signing_key, signing_key};
use crate::anoncreds::ObjectId;
use crate::anoncreds::issuer::{CredentialDefinitionSecret, RegistrySecret};
use crate::didcomm::SigningKey;
use crate::sd_jwt;
use zeroize::Zeroizing;

/// What an issuer keeps: the secret halves of its credential definitions, registries and keys. Everything is wiped
/// from memory when it is dropped or replaced; `Debug` shows the labels.
#[derive(Debug, Default)]
pub struct IssuerSecrets {
    definitions: Shelf,
    registries: Shelf,
    signing_keys: Shelf,
    sd_jwt_keys: Shelf,
}

impl IssuerSecrets {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the secret of a credential definition.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_definition(
        &mut self,
        id: &ObjectId,
        secret: &CredentialDefinitionSecret,
    ) -> Result<(), ContentError> {
        self.definitions.put(id.as_str(), secret.export_secret().map_err(ContentError::AnonCreds)?)
    }

    /// The secret of a credential definition.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn definition(&self, id: &ObjectId) -> Result<Option<CredentialDefinitionSecret>, ContentError> {
        let secret = self.definitions.get(id.as_str()).map(CredentialDefinitionSecret::import_secret);
        secret.transpose().map_err(ContentError::AnonCreds)
    }

    /// Keeps the secret of a revocation registry.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_registry(&mut self, id: &ObjectId, secret: &RegistrySecret) -> Result<(), ContentError> {
        self.registries.put(id.as_str(), secret.export_secret().map_err(ContentError::AnonCreds)?)
    }

    /// The secret of a revocation registry.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn registry(&self, id: &ObjectId) -> Result<Option<RegistrySecret>, ContentError> {
        let secret = self.registries.get(id.as_str()).map(RegistrySecret::import_secret);
        secret.transpose().map_err(ContentError::AnonCreds)
    }

    /// Keeps a signing key of the issuer's agent.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_signing_key(&mut self, label: &str, key: &SigningKey) -> Result<(), ContentError> {
        put_signing_key(&mut self.signing_keys, label, key)
    }

    /// A signing key of the issuer's agent.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn signing_key(&self, label: &str) -> Result<Option<SigningKey>, ContentError> {
        signing_key(&self.signing_keys, label)
    }

    /// Keeps a key that signs SD-JWTs and status lists.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn put_sd_jwt_key(&mut self, label: &str, key: &sd_jwt::SigningKey) -> Result<(), ContentError> {
        self.sd_jwt_keys.put(label, Zeroizing::new(key.to_scalar().to_vec()))
    }

    /// A key that signs SD-JWTs and status lists.
    ///
    /// # Errors
    /// [`ContentError`] when what was stored is none.
    pub fn sd_jwt_key(&self, label: &str) -> Result<Option<sd_jwt::SigningKey>, ContentError> {
        let scalar = self.sd_jwt_keys.get(label);
        let scalar = scalar.map(|scalar| <&[u8; 32]>::try_from(scalar).map_err(|_| ContentError::Seed));
        scalar.transpose()?.map(sd_jwt::SigningKey::from_scalar).transpose().map_err(ContentError::Key)
    }
}

impl Secrets for IssuerSecrets {
    const ROLE: Role = Role::Issuer;
}

#[allow(private_interfaces, reason = "nobody outside can name the trait")]
impl Shelved for IssuerSecrets {
    fn shelves(&self) -> Vec<&Shelf> {
        let Self { definitions, registries, signing_keys, sd_jwt_keys } = self;
        vec![definitions, registries, signing_keys, sd_jwt_keys]
    }

    fn read(reader: &mut Reader<'_>, _: u8) -> Result<Self, ContentError> {
        Ok(Self {
            definitions: Shelf::read(reader)?,
            registries: Shelf::read(reader)?,
            signing_keys: Shelf::read(reader)?,
            sd_jwt_keys: Shelf::read(reader)?,
        })
    }
}
