//! Identifiers of roaming: parties, contracts and charging points, parsed once at the edge and compared by meaning.
//!
//! Spellings differ in the field (case, separators, check digit present or not), so equality, order, hash and
//! canonical bytes of every type here follow what an identifier names, never how it was written.
//!
//! What it deliberately does not do: look up whether a country, party or contract exists, or refuse a contract for
//! its check digit; a wrong digit is reported by [`ContractId::check`] and the caller decides.
//!
//! Source: ISO 15118-2 and eMI3 part 2 (eMAID, EVSEID), DIN SPEC 91286, OCPI 2.2.1 (`party_id`, `contract_id`,
//! `evse_id`); Paper A, section 2 (CIN).

mod contract;
mod did;
mod evse;
mod party;

pub use contract::{CheckDigit, ContractId, ContractIdError, ContractIdForm};
pub use did::{
    CredentialDefinitionId, EroamDid, IdHash, NAME_BYTES_MAX, ObjectIdError, RevocationRegistryId,
    SCHEMA_VERSION_BYTES_MAX, SchemaId,
};
pub use evse::{EvseId, EvseIdError, EvseIdForm};
pub use party::{PartyId, PartyIdError};

#[cfg(test)]
#[allow(unused_imports, reason = "strategies for the tests of other modules")]
pub(crate) use {contract::arb_contract_id, evse::arb_evse_id, party::arb_party_id};
