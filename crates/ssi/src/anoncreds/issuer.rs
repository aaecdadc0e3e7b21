//! What an issuer does: make keys and registries, offer, sign, revoke.
//!
//! Nothing is remembered here: which index is taken, and which list is the newest, the caller knows. Making a
//! credential definition looks for two safe primes, 0.3 to 30 seconds: ahead of time, never while somebody waits.

use super::credential::{AttributeValue, Credential, Revocable, library_values};
use super::credential_definition::CredentialDefinition;
use super::credential_offer::{CredentialOffer, KeyCorrectnessProof};
use super::credential_request::CredentialRequest;
use super::encoding::{AttributeValues, LINK_SECRET, normalise};
use super::error::AnonCredsError;
use super::holder;
use super::issuer_key::PrimaryKey;
use super::limits::LABEL_BYTES_MAX;
use super::link_secret::LinkSecret;
use super::nonce::Nonce;
use super::object_id::ObjectId;
use super::registry::{RegistryFacts, RevocationIndex, RevocationRegistryDefinition, check_size};
use super::schema::{Schema, library_schemas};
use super::shape::{PRIVATE_KEY, Part, REGISTRY_PRIVATE_KEY, Shape};
use super::status_list::{StatusDelta, StatusList};
use super::tails;
use super::timestamp::Timestamp;
use anoncreds_clsignatures as cl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an issuer's secret.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Writes a secret of the library; the only copies are the returned one and those that serde made on the way.
pub(super) fn export<T: Serialize>(secret: &T) -> Result<Zeroizing<Vec<u8>>, AnonCredsError> {
    serde_json::to_vec(secret)
        .map(Zeroizing::new)
        .map_err(|error| AnonCredsError::Library { doing: "a secret", reason: error.to_string() })
}

/// Reads a secret of the library and wipes the text that it was read through.
pub(super) fn import<T: DeserializeOwned + Serialize>(
    shape: &Shape,
    bytes: &[u8],
    name: &str,
) -> Result<T, AnonCredsError> {
    let mut part: Part<T> = Part::read(shape, crate::json::value(bytes, SECRET_BYTES_MAX)?, name)?;
    wipe(&mut part.value);
    Ok(part.parsed)
}

/// Wipes the strings of a JSON value.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The secret half of a credential definition. Kept by the library, whose OpenSSL arithmetic wipes the numbers that
/// it made itself; the curve's scalars, and everything in the pure Rust arithmetic, are not wiped.
pub struct CredentialDefinitionSecret(cl::CredentialPrivateKey);

impl CredentialDefinitionSecret {
    /// The secret as JSON, to be stored encrypted.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`].
    pub fn export_secret(&self) -> Result<Zeroizing<Vec<u8>>, AnonCredsError> {
        export(&self.0)
    }

    /// Reads what [`CredentialDefinitionSecret::export_secret`], or the reference, wrote (there under `value`).
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn import_secret(bytes: &[u8]) -> Result<Self, AnonCredsError> {
        import(&PRIVATE_KEY, bytes, "secret").map(Self)
    }
}

impl fmt::Debug for CredentialDefinitionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialDefinitionSecret")
    }
}

/// The secret half of a revocation registry.
pub struct RegistrySecret(cl::RevocationKeyPrivate);

impl RegistrySecret {
    /// The secret as JSON, to be stored encrypted.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`].
    pub fn export_secret(&self) -> Result<Zeroizing<Vec<u8>>, AnonCredsError> {
        export(&self.0)
    }

    /// Reads what [`RegistrySecret::export_secret`], or the reference, wrote (there under `value`).
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn import_secret(bytes: &[u8]) -> Result<Self, AnonCredsError> {
        import(&REGISTRY_PRIVATE_KEY, bytes, "secret").map(Self)
    }
}

impl fmt::Debug for RegistrySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrySecret")
    }
}

/// A credential definition as its issuer has it.
#[derive(Debug)]
pub struct NewCredentialDefinition {
    /// To publish.
    pub definition: CredentialDefinition,
    /// To keep.
    pub secret: CredentialDefinitionSecret,
    /// To put into every offer.
    pub key_correctness: KeyCorrectnessProof,
}

/// Makes the key of a credential definition; takes 0.3 to 40 seconds, the more for one that can revoke: the library makes its
/// key for that only together with a primary key, which is dropped for one of 2048 bits.
///
/// # Errors
/// [`AnonCredsError`].
pub fn new_credential_definition(
    issuer_id: ObjectId,
    schema_id: ObjectId,
    schema: &Schema,
    tag: impl Into<String>,
    revocable: bool,
) -> Result<NewCredentialDefinition, AnonCredsError> {
    let doing = "a credential definition";
    let primary =
        PrimaryKey::new(std::iter::once(LINK_SECRET).chain(schema.normal().iter().map(String::as_str)))?;
    let (mut public_part, mut secret_part) = (None, Value::Null);
    if revocable {
        let (open, blinded) = library_schemas(schema.normal())?;
        let made = cl::Issuer::new_credential_def(&open, &blinded, true);
        let (key, secret, _) = made.map_err(AnonCredsError::library(doing))?;
        public_part = key.get_revocation_key().cloned();
        let mut secret =
            serde_json::to_value(&secret).map_err(|_| AnonCredsError::field("secret", "not written"))?;
        secret_part = secret.get_mut("r_key").map(Value::take).unwrap_or_default();
        wipe(&mut secret);
    }
    let key = cl::CredentialPublicKey::build_from_parts(&primary.public, public_part.as_ref());
    let key = key.map_err(AnonCredsError::library(doing))?;
    let secret = json!({ "p_key": primary.secret, "r_key": secret_part });
    let mut secret: Part<cl::CredentialPrivateKey> = Part::read(&PRIVATE_KEY, secret, "secret")?;
    wipe(&mut secret.value);
    let definition = CredentialDefinition::new(issuer_id, schema_id.clone(), tag.into(), &key)?;
    let key_correctness = KeyCorrectnessProof(Part::made(primary.proof, "key_correctness_proof")?);
    // A key that holders refuse is not given out: they check its proof before they ask for a credential.
    let first = offer(schema_id.clone(), schema_id.clone(), &key_correctness)?;
    holder::request(&first, &schema_id, &definition, &LinkSecret::random()?)?;
    Ok(NewCredentialDefinition {
        definition,
        secret: CredentialDefinitionSecret(secret.parsed),
        key_correctness,
    })
}

/// What an issuer says about a new registry.
#[derive(Clone, Debug)]
pub struct NewRegistry {
    /// Who revokes: who issues.
    pub issuer_id: ObjectId,
    /// Whose credentials.
    pub cred_def_id: ObjectId,
    /// Which of the issuer's registries.
    pub tag: String,
    /// `maxCredNum`, one more than credentials can be issued.
    pub size: u32,
    /// Where the tails file will be found.
    pub tails_location: String,
}

/// Makes a registry and writes its tails file: half a millisecond and 256 bytes for each place.
///
/// # Errors
/// [`AnonCredsError`].
pub fn new_registry(
    definition: &CredentialDefinition,
    new: NewRegistry,
    tails: &mut dyn Write,
) -> Result<(RevocationRegistryDefinition, RegistrySecret), AnonCredsError> {
    check_size(new.size)?;
    AnonCredsError::same("the registry's issuer", definition.issuer_id().as_str(), new.issuer_id.as_str())?;
    if !definition.is_revocable() {
        return Err(AnonCredsError::Revocation("the credential definition has none"));
    }
    let made = cl::Issuer::new_revocation_registry_def(definition.public_key().key(), new.size, true);
    let (key, secret, _, mut generator) = made.map_err(AnonCredsError::library("a registry"))?;
    let facts = RegistryFacts {
        issuer_id: new.issuer_id,
        cred_def_id: new.cred_def_id,
        tag: new.tag,
        size: new.size,
        tails_hash: tails::write(&mut generator, tails)?,
        tails_location: new.tails_location,
    };
    let registry = RevocationRegistryDefinition::new(facts, Part::made(key, "accumKey")?)?;
    Ok((registry, RegistrySecret(secret)))
}

/// The first status list of a registry: nothing is revoked.
///
/// # Errors
/// [`AnonCredsError`].
pub fn first_status_list(
    definition: &CredentialDefinition,
    registry_id: ObjectId,
    registry: &RevocationRegistryDefinition,
    secret: &RegistrySecret,
    now: Timestamp,
) -> Result<StatusList, AnonCredsError> {
    let key = definition.public_key().key();
    let accumulator = cl::RevocationRegistry::initial_state(key, &secret.0, registry.size(), true);
    let accumulator = accumulator.map_err(AnonCredsError::library("a status list"))?;
    StatusList::empty(registry_id, registry, accumulator, now)
}

/// Restores and revokes any number of credentials at once: the next list, and the change that leads to it.
///
/// # Errors
/// [`AnonCredsError::Transition`] for a credential that is in that state already, [`AnonCredsError::Field`] when the
/// list is not older than `now`.
pub fn next_status_list(
    definition: &CredentialDefinition,
    secret: &RegistrySecret,
    list: &StatusList,
    restored: &BTreeSet<RevocationIndex>,
    revoked: &BTreeSet<RevocationIndex>,
    now: Timestamp,
) -> Result<(StatusList, StatusDelta), AnonCredsError> {
    // Checked before anything is computed: the library takes every index.
    list.changed(restored, revoked, list.accumulator().clone(), now)?;
    let numbers = |set: &BTreeSet<RevocationIndex>| set.iter().map(|index| index.get()).collect();
    let mut accumulator = list.accumulator().parsed.clone();
    cl::Issuer::update_revocation_registry(
        &mut accumulator,
        list.size(),
        numbers(restored),
        numbers(revoked),
        definition.public_key().key(),
        &secret.0,
    )
    .map_err(AnonCredsError::library("a status list"))?;
    let next = list.changed(restored, revoked, Part::made(accumulator, "currentAccumulator")?, now)?;
    let delta = StatusDelta::between(list, &next)?;
    Ok((next, delta))
}

/// Offers a credential.
///
/// # Errors
/// [`AnonCredsError::Library`] when the machine gives no randomness.
pub fn offer(
    schema_id: ObjectId,
    cred_def_id: ObjectId,
    key_correctness: &KeyCorrectnessProof,
) -> Result<CredentialOffer, AnonCredsError> {
    let key_correctness = key_correctness.clone();
    Ok(CredentialOffer { schema_id, cred_def_id, key_correctness, nonce: Nonce::random()? })
}

/// Where a credential is put so that it can be revoked.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The registry.
    pub registry: &'a RevocationRegistryDefinition,
    /// Its secret.
    pub secret: &'a RegistrySecret,
    /// Its newest list.
    pub list: &'a StatusList,
    /// An index that no other credential has.
    pub index: RevocationIndex,
}

/// Signs a credential for a request. `place` is there exactly if the definition is revocable.
///
/// # Errors
/// [`AnonCredsError`]: the request is for another definition, its proof does not hold, the values are not those of
/// the schema, the place is revoked or of another definition.
pub fn issue(
    definition: &CredentialDefinition,
    secret: &CredentialDefinitionSecret,
    offer: &CredentialOffer,
    request: &CredentialRequest,
    values: &AttributeValues,
    place: Option<Place<'_>>,
) -> Result<Credential, AnonCredsError> {
    AnonCredsError::same("requested definition", offer.cred_def_id.as_str(), request.cred_def_id.as_str())?;
    AnonCredsError::same("offered schema", definition.schema_id().as_str(), offer.schema_id.as_str())?;
    let public = definition.public_key();
    let names: BTreeSet<String> = values.iter().map(|(name, _)| normalise(name)).collect();
    if names != *public.attributes() {
        return Err(AnonCredsError::field("values", "not exactly those of the schema"));
    }
    if request.context().len() > LABEL_BYTES_MAX {
        return Err(AnonCredsError::field("entropy", "too long"));
    }
    let encoded = values.iter().map(|(name, raw)| (name.to_owned(), AttributeValue::new(raw)));
    let encoded: std::collections::BTreeMap<String, AttributeValue> = encoded.collect();
    let open = encoded.iter().map(|(name, value)| (normalise(name), value.encoded.as_str()));
    let open = library_values(open, None)?;
    let (context, blinded, proof) = (request.context(), &request.blinded.parsed, &request.proof.parsed);
    let (offered, asked) = (offer.nonce.number(), request.nonce.number());
    let (signature, proof, revocable) = match (definition.is_revocable(), place) {
        (false, None) => {
            let signed = cl::Issuer::sign_credential(
                context,
                blinded,
                proof,
                offered,
                asked,
                &open,
                public.key(),
                &secret.0,
            );
            let (signature, proof) = signed.map_err(AnonCredsError::library("the request"))?;
            (signature, proof, None)
        }
        (true, Some(Place { registry, secret: registry_secret, list, index })) => {
            let cred_def_id = offer.cred_def_id.as_str();
            AnonCredsError::same("the registry's definition", cred_def_id, registry.cred_def_id().as_str())?;
            RevocationIndex::new(index.get(), registry.size().min(list.size()))?;
            if list.is_revoked(index) || list.size() != registry.size() {
                return Err(AnonCredsError::Revocation(
                    "the place is revoked, or the list of another registry",
                ));
            }
            let mut accumulator = list.accumulator().parsed.clone();
            let signed = cl::Issuer::sign_credential_with_revoc(
                context,
                blinded,
                proof,
                offered,
                asked,
                &open,
                public.key(),
                &secret.0,
                index.get(),
                registry.size(),
                true,
                &mut accumulator,
                &registry_secret.0,
            );
            let (signature, proof, witness, _) = signed.map_err(AnonCredsError::library("the request"))?;
            let revocable = Revocable {
                registry_id: list.registry_id().clone(),
                accumulator: list.accumulator().clone(),
                witness: Part::made(witness, "witness")?,
            };
            (signature, proof, Some(revocable))
        }
        (true, None) => return Err(AnonCredsError::Revocation("no place for a revocable credential")),
        (false, Some(_)) => return Err(AnonCredsError::Revocation("the credential definition has none")),
    };
    Ok(Credential {
        schema_id: offer.schema_id.clone(),
        cred_def_id: offer.cred_def_id.clone(),
        values: encoded,
        signature: Part::made(signature, "signature")?,
        proof: Part::made(proof, "signature_correctness_proof")?,
        revocable,
    })
}
