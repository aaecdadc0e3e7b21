//! The proof of a contract: prepared before a station is known, shown once the driver agrees.

use super::super::station::Mode;
use super::super::validity::{Validity, last_day};
use super::super::{ChargingError, proving};
use super::{Attendant, LIST_AGE, Wallet, refused};
use crate::clock::now;
use eroam_domain::charge::Denial;
use eroam_domain::ids::ContractId;
use eroam_ssi::anoncreds::{Nonce, ObjectId, Prepared, ProofRequest, Selection, prepared};
use eroam_ssi::protocol::Illegal;
use eroam_ssi::protocol::charging::{Visit, contract_request};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::present_proof::{ANONCREDS_PROOF, ANONCREDS_REQUEST};
use eroam_wallet::consent::{Consent, Lookups};
use eroam_wallet::cost::ChargeCost;
use eroam_wallet::visit::{Offer, VisitError};
use std::time::Duration;

impl Wallet {
    /// Prepares the next proof of a contract, before a station is known.
    ///
    /// # Errors
    /// [`ChargingError`], among them that the contract was revoked.
    pub fn prepare(&mut self, id: &ContractId) -> Result<(), ChargingError> {
        self.check_current(id)?;
        let patience = self.patience.clone();
        patience.wait(&self.resolver(), || {
            let request = self.expected_request(id, LIST_AGE)?;
            let made = self.make(id, &request, LIST_AGE)?;
            self.prepared = Some((*id, made));
            Ok(())
        })
    }

    /// Fails for a contract that does not count now, by the ledger: no station takes it, so none is asked.
    pub(super) fn check_current(&self, id: &ContractId) -> Result<(), ChargingError> {
        let missing = || ChargingError::unexpected("the contract", id);
        let registry = &self.contracts.get(id).ok_or_else(missing)?.kind.registry;
        let registry = ObjectId::new(registry.to_string())?;
        let found =
            self.patience.wait(&self.resolver(), || Validity::at(&self.catalogue, &registry, now()))?;
        match found {
            Validity::Over(until) => {
                Err(ChargingError::ContractOver { contract: *id, last: last_day(until) })
            }
            other => Ok(other.of_contract()?),
        }
    }

    /// The request that any station will make of this contract, with whatever nonce.
    fn expected_request(&self, id: &ContractId, age: Duration) -> Result<ProofRequest, ChargingError> {
        let missing = || ChargingError::unexpected("the contract", id);
        let contract = self.contracts.get(id).ok_or_else(missing)?;
        let registry = ObjectId::new(contract.kind.registry.to_string())?;
        let newest = self.catalogue.newest_list(&registry, age)?.timestamp();
        let nonce = Nonce::from_bytes([0; 10])?;
        Ok(contract_request(contract.credential.cred_def_id(), self.mode.demand(), newest, nonce)?)
    }

    /// Makes a proof for a request, against the newest list that is known since `age`.
    fn make(
        &mut self,
        id: &ContractId,
        request: &ProofRequest,
        age: Duration,
    ) -> Result<Prepared, ChargingError> {
        let Self { contracts, link_secret, catalogue, tails, .. } = self;
        let missing = || ChargingError::unexpected("the contract", id);
        let contract = contracts.get_mut(id).ok_or_else(missing)?;
        let registry_id = ObjectId::new(contract.kind.registry.to_string())?;
        let list = catalogue.newest_list(&registry_id, age)?;
        if list.timestamp() != contract.witness.timestamp() {
            let registry = catalogue.registry(&registry_id)?;
            contract.witness.move_to(&list, &registry, &tails.tails(&registry)?)?;
        }
        if contract.witness.is_revoked() {
            return Err(ChargingError::ContractRevoked);
        }
        let known = catalogue.known(contract.credential.cred_def_id(), Some(&registry_id), age)?;
        let selection =
            Selection::choose(request, [(&contract.credential, Some(&contract.witness))], &known)?;
        Ok(prepared::prepare(request, &selection, link_secret, &known)?)
    }

    /// Answers the station's request for a proof, once the driver agrees.
    pub(super) fn prove(
        &mut self,
        connection: &Connection,
        id: &ContractId,
        visit: &Visit,
        offer: &Offer,
        cost: &ChargeCost,
        driver: &mut dyn Attendant,
    ) -> Result<(), ChargingError> {
        let mut again = false;
        loop {
            let thread = visit.conversation().thread();
            let asked = self.patience.wait("the station's question", || {
                proving::asked_proof_or_told(&self.agent, connection, ANONCREDS_REQUEST, thread)
            });
            let asked = match asked.map_err(|error| error.of_silence(ChargingError::StationSilent))? {
                Ok(asked) => asked,
                Err(told) => {
                    let heard = visit.hear(&told, now());
                    return Err(refused(self.agent.drive(connection, &told, heard)?.1));
                }
            };
            let request = ProofRequest::from_json(&asked.request)?;
            // What everybody asks of this contract, bound to this offer: anything else is a trap.
            let expected = self.expected_request(id, LIST_AGE)?.with_nonce(Nonce::from_bytes(offer.nonce())?);
            if *request.nonce() != *expected.nonce() || !is_the_same_but_for_lists(&request, &expected) {
                asked.decline(&self.agent, connection, "this is not what a station may ask")?;
                return Err(ChargingError::unexpected("the station's request", "it asks for something else"));
            }
            if !again {
                let missing = || ChargingError::unexpected("the contract", id);
                let contract = self.contracts.get(id).ok_or_else(missing)?;
                let lookups = Lookups {
                    resolver: self.catalogue.url(),
                    // Paper B's credentials are revoked on the ledger.
                    revoked_stations: self.mode == Mode::Default,
                };
                let consent = Consent::of(offer, &request, &contract.credential, cost.clone(), lookups);
                if !driver.agrees(&consent) {
                    asked.decline(&self.agent, connection, "the driver does not agree")?;
                    return Err(Denial::QuoteRefused.into());
                }
            }
            let ready = self.prepared.take().filter(|(of, ready)| of == id && ready.fits(&request));
            let ready = match ready {
                Some((_, ready)) => Some(ready),
                None => match self.answer_to(id, &request) {
                    Ok(ready) => ready,
                    Err(error) => {
                        asked.decline(&self.agent, connection, "the contract cannot be shown")?;
                        return Err(error);
                    }
                },
            };
            match ready {
                Some(ready) => {
                    let shown = ready.answer(&request)?;
                    return match asked.show(&self.agent, connection, ANONCREDS_PROOF, shown.to_json()) {
                        // The driver took too long to agree.
                        Err(ChargingError::Illegal(Illegal::Expired { .. })) => {
                            Err(VisitError::Expired.into())
                        }
                        sent => sent,
                    };
                }
                None if !again => {
                    asked.decline(&self.agent, connection, "the provider has a newer list")?;
                    again = true;
                }
                None => {
                    asked.decline(&self.agent, connection, "the provider has a newer list")?;
                    return Err(Denial::StaleProof.into());
                }
            }
        }
    }

    /// Makes a proof for a request now; `None` when the station asks for an older list than the newest.
    fn answer_to(
        &mut self,
        id: &ContractId,
        request: &ProofRequest,
    ) -> Result<Option<Prepared>, ChargingError> {
        for age in [LIST_AGE, Duration::ZERO] {
            let newest = self.expected_request(id, age)?;
            if newest.non_revoked() == request.non_revoked() {
                return Ok(Some(self.make(id, request, LIST_AGE)?));
            }
        }
        Ok(None)
    }
}

/// Whether two requests ask for the same, apart from which list it is proved against.
fn is_the_same_but_for_lists(one: &ProofRequest, other: &ProofRequest) -> bool {
    one.attributes() == other.attributes()
        && one.predicates() == other.predicates()
        && one.non_revoked().is_some() == other.non_revoked().is_some()
}
