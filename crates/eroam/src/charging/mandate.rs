//! Whose contracts an issuer's credentials are: those of its own organisation, or those of a home utility that has let it
//! issue in its name, on the ledger.
//!
//! A mandate can be revoked at any time, so it is looked up whenever it counts, and not remembered.

use super::ChargingError;
use super::catalogue::{Catalogue, CatalogueError};
use crate::clock::now;
use eroam_domain::ids::{PartyId, SchemaId};
use eroam_ledger::registry::Mandate;
use eroam_ledger::state::StateKey;
use eroam_ssi::anoncreds::ObjectId;

/// Whether credentials that `issuer` issues under a definition are contracts of `emsp` now.
///
/// # Errors
/// [`ChargingError::Catalogue`]; nobody is believed to have a mandate then.
pub(super) fn issues_for(
    catalogue: &Catalogue,
    emsp: PartyId,
    issuer: PartyId,
    definition: &ObjectId,
) -> Result<bool, ChargingError> {
    if issuer == emsp {
        return Ok(true);
    }
    let definition = catalogue.definition(definition)?;
    let schema: SchemaId = definition.schema_id().as_str().parse().map_err(CatalogueError::Id)?;
    let item = format!("mandate of {emsp} for {issuer} and {schema}");
    match catalogue.entry::<Mandate>(&StateKey::Mandate(emsp, issuer, schema), &item) {
        Ok(mandate) => {
            let at = now();
            Ok(mandate.from <= at && at < mandate.until)
        }
        Err(CatalogueError::None(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
