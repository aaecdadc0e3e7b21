//! How large AnonCreds objects may be. A message beyond its limit is refused before it is parsed.

/// Bytes of a schema.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a credential definition: 125 attributes of 620 digits each.
pub const CREDENTIAL_DEFINITION_BYTES_MAX: usize = 128 * 1024;
/// Bytes of the definition of a revocation registry.
pub const REGISTRY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a status list: two for each credential, and its accumulator.
pub const STATUS_LIST_BYTES_MAX: usize = 2 * REGISTRY_SIZE_MAX as usize + 16 * 1024;
/// Bytes of the change between two status lists.
pub const STATUS_DELTA_BYTES_MAX: usize = 8 * REGISTRY_SIZE_MAX as usize + 16 * 1024;
/// JSON values of a list, and of a change that touches every credential, with what stands around them.
pub const STATUS_VALUES_MAX: usize = REGISTRY_SIZE_MAX as usize + 1024;
/// Bytes of an offer: the proof of the key is as large as the key.
pub const OFFER_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a request for a credential.
pub const CREDENTIAL_REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a credential.
pub const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a request for a presentation.
pub const PROOF_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a presentation: eight credentials, four of them with a comparison, take 143 kB.
pub const PRESENTATION_BYTES_MAX: usize = 192 * 1024;
/// JSON values of a presentation: a credential takes 1,200 (bytes of commitments) and a comparison 1,300.
pub const PRESENTATION_VALUES_MAX: usize = 16_384;

/// Attributes of a schema, as the reference allows.
pub const ATTRIBUTES_MAX: usize = 125;
/// Bytes of an attribute's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of an attribute's value.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an id.
pub const ID_BYTES_MAX: usize = 512;
/// Bytes of a name, version or tag.
pub const LABEL_BYTES_MAX: usize = 256;
/// Credentials of a revocation registry: tails of 16 MB.
pub const REGISTRY_SIZE_MAX: u32 = 65_536;
/// Referents of a request, attributes and predicates together.
pub const REFERENTS_MAX: usize = 64;
/// Credentials in one presentation.
pub const CREDENTIALS_MAX: usize = 8;
/// Conditions in the restrictions of one referent.
pub const CONDITIONS_MAX: usize = 64;
