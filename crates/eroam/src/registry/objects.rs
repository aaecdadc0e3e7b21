//! Objects of the ledger's registry as AnonCreds JSON, and AnonCreds JSON as transactions.
//!
//! What is published is read with the types of `eroam_ssi` first, so that nothing lies on the ledger for good that no
//! verifier could read. What others published is read with them too: the ledger keeps keys as text and does not look.
//! Names, tags and keys are printable ASCII, as the ledger has them.
//!
//! Source: AnonCreds v1.0, section 4.

use eroam_domain::codec::ShortText;
use eroam_domain::ids::{
    CredentialDefinitionId, EroamDid, IdHash, ObjectIdError, RevocationRegistryId, SchemaId,
};
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::{
    DefinitionRecord, DidRecord, DidService, REGISTRY_SIZE_MAX, REVOCATION_CHANGES_MAX, RegistryRecord,
    RegistryTx, RevocationChange, RevocationList, SchemaRecord,
};
use eroam_ssi::anoncreds::{
    AnonCredsError, CredentialDefinition, RevocationRegistryDefinition, Schema, StatusList,
};
use eroam_ssi::did::{Document, DocumentError, KeyError, VerificationKey};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// The type of the services of a DID to which DIDComm messages go.
const DID_COMMUNICATION: &str = "did-communication";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The document of a DID.
    Did,
    /// A schema.
    Schema,
    /// A credential definition.
    CredentialDefinition,
    /// The definition of a revocation registry.
    RevocationRegistry,
    /// A status list of a revocation registry.
    StatusList,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Did => "DID document",
            Self::Schema => "schema",
            Self::CredentialDefinition => "credential definition",
            Self::RevocationRegistry => "revocation registry",
            Self::StatusList => "status list",
        })
    }
}

/// Why JSON is not published, or a record is not AnonCreds.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// AnonCreds has no such object.
    #[error("the {item} is refused")]
    AnonCreds {
        /// What it should be.
        item: Kind,
        /// What is wrong with it.
        #[source]
        source: AnonCredsError,
    },
    /// An id in it is not one of an eroam network.
    #[error("{field} of the {item}")]
    Id {
        /// What it stands in.
        item: Kind,
        /// The member's name.
        field: &'static str,
        /// What an id must be.
        #[source]
        source: ObjectIdError,
    },
    /// A text in it is not one that the ledger keeps.
    #[error("{field} of the {item}: {rule}")]
    Text {
        /// What it stands in.
        item: Kind,
        /// The member's name.
        field: &'static str,
        /// What the ledger keeps.
        rule: String,
    },
    /// Two things that belong together do not.
    #[error("{field} of the {item} is {found}, expected {expected}")]
    Mismatch {
        /// What it stands in.
        item: Kind,
        /// The member's name.
        field: &'static str,
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A registry beyond what the ledger keeps.
    #[error("maxCredNum of the revocation registry is {found}, at most {REGISTRY_SIZE_MAX} are allowed")]
    RegistrySize {
        /// Its size.
        found: u32,
    },
    /// A list that changes too much at once.
    #[error(
        "the status list changes {found} credentials, at most {REVOCATION_CHANGES_MAX} in one update: publish it in parts"
    )]
    Changes {
        /// How many.
        found: usize,
    },
    /// The first list of a registry says that credentials are revoked that nobody can have yet.
    #[error("the first status list of a registry has {found} revoked credentials, expected 0")]
    FirstRevokes {
        /// How many.
        found: usize,
    },
    /// The time of a list cannot be written.
    #[error("the timestamp of the status list is {found}, expected seconds since 1970 up to the year 9999")]
    Timestamp {
        /// What is there, in seconds.
        found: u64,
    },
    /// The text that the ledger keeps is no JSON.
    #[error("{field} of the {item} on the ledger is no JSON")]
    Stored {
        /// Of what.
        item: Kind,
        /// Which part.
        field: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key of a DID document that verifies nothing.
    #[error("a key of the DID document on the ledger")]
    Key(#[from] KeyError),
    /// A DID document that agents cannot read.
    #[error("the DID document on the ledger is refused")]
    Document(#[from] DocumentError),
}

impl ObjectError {
    fn anoncreds(item: Kind) -> impl FnOnce(AnonCredsError) -> Self {
        move |source| Self::AnonCreds { item, source }
    }
}

/// An id that is written in an object.
fn id<T: FromStr<Err = ObjectIdError>>(
    item: Kind,
    field: &'static str,
    text: impl fmt::Display,
) -> Result<T, ObjectError> {
    text.to_string().parse().map_err(|source| ObjectError::Id { item, field, source })
}

/// A text that the ledger keeps.
fn text<const N: usize>(item: Kind, field: &'static str, text: &str) -> Result<ShortText<N>, ObjectError> {
    ShortText::new(text).map_err(|_| {
        let rule = format!("1 to {N} printable ASCII characters are kept");
        ObjectError::Text { item, field, rule }
    })
}

fn same(
    item: Kind,
    field: &'static str,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> Result<(), ObjectError> {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found { Ok(()) } else { Err(ObjectError::Mismatch { item, field, expected, found }) }
}

/// JSON that the ledger keeps as text.
fn stored(item: Kind, field: &'static str, text: &str) -> Result<Value, ObjectError> {
    serde_json::from_str(text).map_err(|source| ObjectError::Stored { item, field, source })
}

/// A schema as AnonCreds JSON.
///
/// # Errors
/// [`ObjectError`] if no verifier could read it.
pub fn schema_json(id: &SchemaId, record: &SchemaRecord) -> Result<Value, ObjectError> {
    let value = json!({
        "issuerId": id.did,
        "name": id.name.as_str(),
        "version": id.version.as_str(),
        "attrNames": record.attributes.iter().map(ShortText::as_str).collect::<Vec<_>>(),
    });
    let read = Schema::from_json(value.to_string().as_bytes());
    read.map(|_| value).map_err(ObjectError::anoncreds(Kind::Schema))
}

/// A credential definition as AnonCreds JSON.
///
/// # Errors
/// [`ObjectError`] if no verifier could read it.
pub fn definition_json(id: &CredentialDefinitionId, record: &DefinitionRecord) -> Result<Value, ObjectError> {
    let item = Kind::CredentialDefinition;
    let value = json!({
        "issuerId": id.did,
        "schemaId": record.schema,
        "type": "CL",
        "tag": id.tag.as_str(),
        "value": stored(item, "value", record.value.as_str())?,
    });
    let read = CredentialDefinition::from_json(value.to_string().as_bytes());
    let read = read.map_err(ObjectError::anoncreds(item))?;
    same(item, "revocation", record.revocable, read.is_revocable())?;
    Ok(value)
}

/// The definition of a revocation registry as AnonCreds JSON.
///
/// # Errors
/// [`ObjectError`] if no verifier could read it.
pub fn registry_json(id: &RevocationRegistryId, record: &RegistryRecord) -> Result<Value, ObjectError> {
    let item = Kind::RevocationRegistry;
    let value = json!({
        "issuerId": id.did,
        "revocDefType": "CL_ACCUM",
        "credDefId": record.definition,
        "tag": id.tag.as_str(),
        "value": {
            "publicKeys": stored(item, "publicKeys", record.public_keys.as_str())?,
            "maxCredNum": record.size,
            "tailsLocation": record.tails_location.as_str(),
            "tailsHash": record.tails_hash.as_str(),
        },
    });
    let read = RevocationRegistryDefinition::from_json(value.to_string().as_bytes());
    read.map(|_| value).map_err(ObjectError::anoncreds(item))
}

/// A status list as AnonCreds JSON: a number, 0 or 1, for each of `maxCredNum` indexes, and the timestamp in seconds.
///
/// # Errors
/// [`ObjectError`] if no verifier could read it.
pub fn status_list_json(
    id: &RevocationRegistryId,
    registry: &RegistryRecord,
    list: &RevocationList,
) -> Result<Value, ObjectError> {
    let bit = |index| u8::from(list.is_revoked(index) == Some(true));
    let value = json!({
        "revRegDefId": id,
        "issuerId": id.did,
        "revocationList": (0..registry.size).map(bit).collect::<Vec<_>>(),
        "currentAccumulator": list.accumulator.as_str(),
        "timestamp": list.time.get().div_euclid(1000),
    });
    let read = StatusList::from_json(value.to_string().as_bytes());
    read.map(|_| value).map_err(ObjectError::anoncreds(Kind::StatusList))
}

/// The document of a DID as W3C DID Core writes it. The keys are named `key-1`, `key-2` .., messages are for the first.
///
/// # Errors
/// [`ObjectError`] if no agent could read it.
pub fn did_document(did: &EroamDid, record: &DidRecord) -> Result<Value, ObjectError> {
    let keys = record.document.keys.iter().map(|key| Ok(VerificationKey::from_bytes(&key.0)?.to_multikey()));
    let keys = keys.collect::<Result<Vec<_>, ObjectError>>()?;
    let names: Vec<String> = (1..=keys.len()).map(|number| format!("{did}#key-{number}")).collect();
    let methods = names.iter().zip(keys).map(
        |(name, key)| json!({ "id": name, "type": "Multikey", "controller": did, "publicKeyMultibase": key }),
    );
    let service = |(priority, service): (usize, &DidService)| {
        let mut value = json!({
            "id": format!("{did}#{}", service.id),
            "type": service.kind.as_str(),
            "serviceEndpoint": service.endpoint.as_str(),
        });
        if service.kind.as_str() == DID_COMMUNICATION
            && let Some(members) = value.as_object_mut()
        {
            members.insert("priority".to_owned(), priority.into());
            members.insert("recipientKeys".to_owned(), json!(names.iter().take(1).collect::<Vec<_>>()));
            members.insert("routingKeys".to_owned(), json!([]));
            members.insert("accept".to_owned(), json!(["didcomm/aip2;env=rfc19"]));
        }
        value
    };
    let mut document = json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": methods.collect::<Vec<_>>(),
        "authentication": names,
        "assertionMethod": names,
    });
    if !record.document.services.is_empty()
        && let Some(members) = document.as_object_mut()
    {
        let services: Vec<Value> = record.document.services.iter().enumerate().map(service).collect();
        members.insert("service".to_owned(), services.into());
    }
    Document::from_json(document.to_string().as_bytes())?;
    Ok(document)
}

/// The transaction that publishes a schema, from its AnonCreds JSON.
///
/// # Errors
/// [`ObjectError`].
pub fn publish_schema(json: &[u8]) -> Result<(SchemaId, RegistryTx), ObjectError> {
    let item = Kind::Schema;
    let read = Schema::from_json(json).map_err(ObjectError::anoncreds(item))?;
    let schema = SchemaId {
        did: id(item, "issuerId", read.issuer_id())?,
        name: text(item, "name", read.name())?,
        version: text(item, "version", read.version())?,
    };
    let attributes = read.attributes().iter().map(|name| text(item, "attrNames", name));
    let record = SchemaRecord { attributes: attributes.collect::<Result<_, _>>()? };
    Ok((schema.clone(), RegistryTx::PublishSchema { id: schema, schema: record }))
}

/// A member of what was written by this program.
fn part<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// What an object writes of itself: always JSON.
fn written(json: &[u8], item: Kind) -> Result<Value, ObjectError> {
    serde_json::from_slice(json).map_err(|source| ObjectError::Stored { item, field: "all", source })
}

/// The transaction that publishes a credential definition, from its AnonCreds JSON.
///
/// # Errors
/// [`ObjectError`].
pub fn publish_definition(json: &[u8]) -> Result<(CredentialDefinitionId, RegistryTx), ObjectError> {
    let item = Kind::CredentialDefinition;
    let read = CredentialDefinition::from_json(json).map_err(ObjectError::anoncreds(item))?;
    let schema: SchemaId = id(item, "schemaId", read.schema_id())?;
    let definition = CredentialDefinitionId {
        did: id(item, "issuerId", read.issuer_id())?,
        schema: IdHash::of(&schema),
        tag: text(item, "tag", read.tag())?,
    };
    let value = written(&read.to_json(), item)?;
    let record = DefinitionRecord {
        schema,
        revocable: read.is_revocable(),
        value: text(item, "value", &part(&value, "/value").to_string())?,
    };
    let tx = RegistryTx::PublishCredentialDefinition { id: definition.clone(), definition: record };
    Ok((definition, tx))
}

/// A revocation registry's id and record, from the AnonCreds JSON of its definition.
///
/// # Errors
/// [`ObjectError`].
pub fn read_registry(json: &[u8]) -> Result<(RevocationRegistryId, RegistryRecord), ObjectError> {
    let item = Kind::RevocationRegistry;
    let read = RevocationRegistryDefinition::from_json(json).map_err(ObjectError::anoncreds(item))?;
    let definition: CredentialDefinitionId = id(item, "credDefId", read.cred_def_id())?;
    let registry = RevocationRegistryId {
        did: id(item, "issuerId", read.issuer_id())?,
        credential_definition: IdHash::of(&definition),
        tag: text(item, "tag", read.tag())?,
    };
    if read.size() > REGISTRY_SIZE_MAX {
        return Err(ObjectError::RegistrySize { found: read.size() });
    }
    let value = written(&read.to_json(), item)?;
    let record = RegistryRecord {
        definition,
        size: read.size(),
        tails_hash: text(item, "tailsHash", read.tails_hash())?,
        tails_location: text(item, "tailsLocation", read.tails_location())?,
        public_keys: text(item, "publicKeys", &part(&value, "/value/publicKeys").to_string())?,
    };
    Ok((registry, record))
}

/// Which registry the JSON of a status list is of.
///
/// # Errors
/// [`ObjectError`].
pub fn registry_of_list(json: &[u8]) -> Result<RevocationRegistryId, ObjectError> {
    let item = Kind::StatusList;
    let read = StatusList::from_json(json).map_err(ObjectError::anoncreds(item))?;
    id(item, "revRegDefId", read.registry_id())
}

/// The transaction that leads from the newest list of a registry to the one of the AnonCreds JSON, at the time that this
/// says: the difference between the two. `current` is `None` before the first.
///
/// # Errors
/// [`ObjectError`].
pub fn update_revocation(
    current: Option<&RevocationList>,
    registry: &RegistryRecord,
    json: &[u8],
) -> Result<RegistryTx, ObjectError> {
    let item = Kind::StatusList;
    let read = StatusList::from_json(json).map_err(ObjectError::anoncreds(item))?;
    let list: RevocationRegistryId = id(item, "revRegDefId", read.registry_id())?;
    let expected = IdHash::of(&registry.definition);
    same(item, "credential definition", expected, list.credential_definition)?;
    same(item, "size", registry.size, read.size())?;
    let value = written(&read.to_json(), item)?;
    let issuer = part(&value, "/issuerId").as_str().unwrap_or_default();
    same(item, "issuerId", list.did, issuer)?;
    let bits = part(&value, "/revocationList").as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut revoked, mut reinstated) = (Vec::new(), Vec::new());
    for (index, bit) in (0_u32..).zip(bits) {
        let was = current.and_then(|list| list.is_revoked(index)).unwrap_or(false);
        match (was, bit.as_u64() == Some(1)) {
            (false, true) => revoked.push(index),
            (true, false) => reinstated.push(index),
            _ => {}
        }
    }
    let found = revoked.len() + reinstated.len();
    if current.is_none() && found > 0 {
        return Err(ObjectError::FirstRevokes { found });
    }
    if found > REVOCATION_CHANGES_MAX {
        return Err(ObjectError::Changes { found });
    }
    let seconds = read.timestamp().seconds();
    let time = seconds.checked_mul(1000).and_then(|ms| i64::try_from(ms).ok()).and_then(UnixMillis::new);
    let accumulator = part(&value, "/currentAccumulator").as_str().unwrap_or_default();
    let change = RevocationChange {
        time: time.ok_or(ObjectError::Timestamp { found: seconds })?,
        accumulator: text(item, "currentAccumulator", accumulator)?,
        revoked,
        reinstated,
    };
    // A version beyond 32 bits is refused by the ledger: it does not follow.
    let version = current.map_or(0, |list| list.version).saturating_add(1);
    Ok(RegistryTx::UpdateRevocation { id: list, version, change })
}
