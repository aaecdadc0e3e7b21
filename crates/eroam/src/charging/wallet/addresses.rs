//! Where the wallet finds others who have moved: a resolver is anybody who proves by the wallet's genesis, a provider the one
//! whose key signed the contract.

use super::super::ChargingError;
use super::super::catalogue::Catalogue;
use super::super::waiting::Patience;
use super::Wallet;
use eroam_domain::ids::ContractId;
use eroam_ledger::state::{StateError, StateKey, StateView as _};

/// Sees that a resolver answers, and proves what it says by the genesis of its network.
///
/// # Errors
/// [`ChargingError::OtherResolver`].
pub fn check_resolver(catalogue: &Catalogue, patience: &Patience) -> Result<(), ChargingError> {
    // Every network has them, proved by its own validators alone.
    let key = StateKey::Parameters.to_bytes();
    let proved =
        patience.wait(&format!("the resolver at {}", catalogue.url()), || catalogue.get(&key).map(drop));
    proved.map_err(|source: StateError| ChargingError::OtherResolver {
        url: catalogue.url().to_owned(),
        source,
    })
}

impl Wallet {
    /// Takes another address for a contract's provider, if it is that provider who is there: both sides sign the connection
    /// with the keys of the contract.
    ///
    /// # Errors
    /// [`ChargingError`]; the address stays as it was.
    pub fn move_provider(&mut self, id: &ContractId, url: &str) -> Result<(), ChargingError> {
        let contract = self.contract(id)?;
        let before = std::mem::replace(&mut contract.provider_url, url.to_owned());
        let connection = contract.provider.take();
        if let Err(error) = self.provider(id) {
            let contract = self.contract(id)?;
            (contract.provider_url, contract.provider) = (before, connection);
            return Err(error);
        }
        self.save()
    }
}
