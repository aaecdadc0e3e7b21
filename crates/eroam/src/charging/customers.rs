//! A provider's customers with wallets: what they entered and signed, what was decided, and where their credentials are.
//!
//! ```text
//! registration ─► awaited ─► accepted ─► invited ─► credential issued ─► revoked
//!                    └─────► rejected, with a reason
//! ```
//! Each change is durable before anybody hears of it.

use super::ChargingError;
use super::attached::AttachedContract;
use super::issuer::CredentialPlace;
use super::state::{AgentState, Changes};
use crate::agent::kept::KeptInvitation;
use eroam_domain::charge::Denial;
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::ContractId;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records of customers, by contract.
const CUSTOMER: &str = "customer";
/// Records of contracts that were signed elsewhere, by the contract that they are attached to.
const ATTACHED: &str = "attached contract";

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Staff has to look at it.
    Awaited,
    /// There is a contract.
    Accepted,
    /// There is none.
    Rejected {
        /// Why not, in words for whoever registered.
        reason: String,
    },
}

/// A customer, or somebody who wants to be one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// The contract, or what it would be.
    pub contract: ContractId,
    /// What was entered.
    pub fields: BTreeMap<String, String>,
    /// SHA-256 of a contract that was signed elsewhere, if there is one.
    pub attached: Option<Digest>,
    /// The key that signed the contract, as `did:key`.
    pub signer: String,
    /// What it signed is [`super::provider::contract_digest`].
    pub signature: SignatureBytes,
    /// When.
    pub registered_at: UnixMillis,
    /// What became of it.
    pub decision: Decision,
    /// With which the wallet fetches the credential, until it has.
    pub invitation: Option<KeptInvitation>,
    /// Where credentials of this contract can be revoked: usually one. A crash in the middle of issuing leaves another.
    pub places: Vec<CredentialPlace>,
    /// Why it was revoked.
    pub revoked: Option<String>,
}

/// A customer as staff sees one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedCustomer {
    /// The contract, or what it would be.
    pub contract: ContractId,
    /// What was entered.
    pub fields: BTreeMap<String, String>,
    /// SHA-256 of a contract that was signed elsewhere, if there is one.
    pub attached: Option<Digest>,
    /// When.
    pub registered_at: UnixMillis,
    /// What became of it.
    pub decision: Decision,
    /// Where the credential can be revoked, once it was issued.
    pub credential: Option<CredentialPlace>,
    /// Why it was revoked.
    pub revoked: Option<String>,
}

impl Customer {
    /// Where the credential can be revoked, once it was issued.
    #[must_use]
    pub fn credential(&self) -> Option<CredentialPlace> {
        self.places.last().copied()
    }

    /// As staff sees it.
    #[must_use]
    pub fn listed(&self) -> ListedCustomer {
        let credential = self.credential();
        let Self { contract, fields, attached, registered_at, decision, revoked, .. } = self.clone();
        ListedCustomer { contract, fields, attached, registered_at, decision, credential, revoked }
    }
}

/// All of them.
pub(super) struct Customers {
    state: AgentState,
    known: Mutex<BTreeMap<ContractId, Customer>>,
}

impl Customers {
    /// Those that the state knows.
    pub(super) fn open(state: AgentState) -> Result<Self, ChargingError> {
        let known = state.each::<Customer>(CUSTOMER)?.into_iter();
        let known = known.map(|(_, customer)| (customer.contract, customer)).collect();
        Ok(Self { state, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ContractId, Customer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Customer> {
        self.known().values().cloned().collect()
    }

    pub(super) fn get(&self, contract: &ContractId) -> Option<Customer> {
        self.known().get(contract).cloned()
    }

    /// The file that came with a registration. It stays on the disk until somebody asks for it.
    pub(super) fn attached(&self, contract: &ContractId) -> Result<Option<AttachedContract>, ChargingError> {
        self.get(contract).ok_or(Denial::UnknownContract)?;
        Ok(self.state.get(ATTACHED, &contract.to_string())?)
    }

    /// The first one that `is_wanted`, from the latest on.
    pub(super) fn latest(&self, is_wanted: impl Fn(&Customer) -> bool) -> Option<Customer> {
        self.known().values().rev().find(|customer| is_wanted(customer)).cloned()
    }

    /// A new one with the file that came with the registration, durable when this returns.
    pub(super) fn add(
        &self,
        customer: Customer,
        attached: Option<&AttachedContract>,
    ) -> Result<(), ChargingError> {
        let (mut known, key) = (self.known(), customer.contract.to_string());
        let mut changes = Changes::new().put(CUSTOMER, &key, &customer);
        if let Some(attached) = attached {
            changes = changes.put(ATTACHED, &key, attached);
        }
        self.state.write(changes)?;
        known.insert(customer.contract, customer);
        Ok(())
    }

    /// Changes one, durable when this returns.
    pub(super) fn change(
        &self,
        contract: &ContractId,
        change: impl FnOnce(&mut Customer),
    ) -> Result<Customer, ChargingError> {
        let mut known = self.known();
        let before = known.get(contract).ok_or(Denial::UnknownContract)?;
        let mut customer = before.clone();
        change(&mut customer);
        self.state.write(Changes::new().put(CUSTOMER, &contract.to_string(), &customer))?;
        known.insert(*contract, customer.clone());
        Ok(customer)
    }
}
