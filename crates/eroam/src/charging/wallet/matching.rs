//! Which of a wallet's contracts are good at a station that proved itself. Nobody but the ledger is asked, so that the station
//! learns of no contract that the driver does not take.

use super::super::ChargingError;
use super::Wallet;
use crate::clock::now;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::retail::Tier;
use eroam_domain::visit::StationClaims;
use eroam_ledger::query;

/// A contract of the wallet, as far as a choice at a station goes.
#[derive(Debug)]
pub struct ContractHere {
    /// Which.
    pub contract: ContractId,
    /// Its provider.
    pub provider: PartyId,
    /// The provider's name, by the ledger.
    pub provider_name: String,
    /// The tier that the credential says.
    pub tier: Option<Tier>,
    /// Why it is not good here; `None` where it is.
    pub refused: Option<ChargingError>,
}

impl Wallet {
    /// All contracts in the order of their numbers, and whether each is good at a station: it counts now, its zones include
    /// the station's, and its provider has an agreement with the operator that is in force.
    ///
    /// # Errors
    /// [`ChargingError`]: the ledger cannot be asked.
    pub fn contracts_at(&self, station: &StationClaims) -> Result<Vec<ContractHere>, ChargingError> {
        let here = |id: &ContractId| {
            let refused = match self.is_good_at(id, station) {
                Ok(()) => None,
                Err(
                    why @ (ChargingError::ContractOver { .. }
                    | ChargingError::ContractRevoked
                    | ChargingError::OtherZone { .. }
                    | ChargingError::NoAgreement { .. }),
                ) => Some(why),
                Err(error) => return Err(error),
            };
            let contract =
                self.contracts.get(id).ok_or_else(|| ChargingError::unexpected("the contract", id))?;
            let (provider, tier) = (contract.kind.emsp, contract.tier());
            let member = self.patience.wait(&self.resolver(), || query::member(self.catalogue(), provider));
            let member = member.map_err(|source| self.no_proof(source))?;
            let provider_name =
                member.map_or_else(|| provider.to_string(), |member| member.name.as_str().to_owned());
            Ok(ContractHere { contract: *id, provider, provider_name, tier, refused })
        };
        self.contracts.keys().map(here).collect()
    }

    fn is_good_at(&self, id: &ContractId, station: &StationClaims) -> Result<(), ChargingError> {
        self.check_current(id)?;
        let contract = self.contracts.get(id).ok_or_else(|| ChargingError::unexpected("the contract", id))?;
        contract.check_zone(&station.zone)?;
        let (emsp, operator) = (contract.kind.emsp, station.operator);
        // A provider needs no agreement with itself.
        if emsp == operator {
            return Ok(());
        }
        let agreement = self
            .patience
            .wait(&self.resolver(), || query::agreement_in_force(self.catalogue(), emsp, operator, now()));
        match agreement.map_err(|source| self.no_proof(source))? {
            Some(_) => Ok(()),
            None => Err(ChargingError::NoAgreement { contract: *id, emsp, operator }),
        }
    }

    fn no_proof(&self, source: eroam_ledger::state::StateError) -> ChargingError {
        ChargingError::OtherResolver { url: self.catalogue.url().to_owned(), source }
    }
}
