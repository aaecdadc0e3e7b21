//! A credential is offered over a connection, asked for, checked and taken: by a wallet from its provider, and in paper B's
//! way by a station from its operator.

use super::ChargingError;
use super::catalogue::Catalogue;
use super::proving;
use crate::agent::Agent;
use crate::tails_cache::TailsCache;
use eroam_ssi::anoncreds::{
    AttributeValues, CredentialDefinition, HeldCredential, LinkSecret, ObjectId, WitnessState, holder,
};
use eroam_ssi::protocol::did_exchange::Connection;
use std::time::Duration;

/// A status list that was looked up so long ago still does.
const LIST_AGE: Duration = Duration::from_secs(60);

/// Where a credential comes from, and what keeps it.
#[derive(Clone, Copy)]
pub(super) struct Taking<'a> {
    pub(super) agent: &'a Agent,
    pub(super) connection: &'a Connection,
    pub(super) catalogue: &'a Catalogue,
    pub(super) tails: &'a TailsCache,
    pub(super) link_secret: &'a LinkSecret,
}

/// A credential that was taken: it says what was offered, is revocable and not revoked.
pub(super) struct Taken {
    pub(super) credential: HeldCredential,
    pub(super) witness: WitnessState,
    pub(super) definition: ObjectId,
    pub(super) registry: ObjectId,
}

impl Taking<'_> {
    /// Takes the credential that is offered. `trusts` sees whose it is before anything is asked for; `what` it is, for
    /// errors.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub(super) fn take(
        self,
        what: &'static str,
        trusts: impl FnOnce(&ObjectId, &CredentialDefinition) -> Result<(), ChargingError>,
    ) -> Result<Taken, ChargingError> {
        let Self { agent, connection, catalogue, tails, link_secret } = self;
        let offered = proving::offered(agent, connection)?;
        let definition_id = offered.offer.cred_def_id().clone();
        let definition = catalogue.definition(&definition_id)?;
        trusts(&definition_id, &definition)?;
        let (request, pending) = holder::request(&offered.offer, &definition_id, &definition, link_secret)?;
        let values = offered.values.clone();
        let agreed =
            AttributeValues::new(values.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        let (credential, issued) = offered.request(agent, connection, &request)?;
        let registry_id = credential.registry_id().cloned();
        let registry_id =
            registry_id.ok_or_else(|| ChargingError::unexpected(what, "it cannot be revoked"))?;
        let registry = catalogue.registry(&registry_id)?;
        let credential = pending.accept(credential, link_secret, &definition, Some(&registry), &agreed)?;
        let index = credential.revocation_index();
        let index = index.ok_or_else(|| ChargingError::unexpected(what, "it has no place"))?;
        let tails = tails.tails(&registry)?;
        let list = catalogue.newest_list(&registry_id, LIST_AGE)?;
        let witness = WitnessState::create(&registry, index, &list, &tails)?;
        issued.accept(agent, connection)?;
        Ok(Taken { credential, witness, definition: definition_id, registry: registry_id })
    }
}
