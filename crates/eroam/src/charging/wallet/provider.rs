//! A wallet and its providers: it enrols, comes back, and asks what it is billed. Providers are away as often as networks are:
//! whoever waits for one is told so.

use super::super::attached::AttachedContract;
use super::super::provider::{Registered, Registration, RegistrationForm, Rejected, contract_digest};
use super::super::taking::{Taken, Taking};
use super::super::{ChargingError, mandate, proving};
use super::{Contract, Wallet, text};
use eroam_domain::codec::SignatureBytes;
use eroam_domain::ids::{ContractId, EroamDid, PartyId};
use eroam_domain::time::CivilMonth;
use eroam_ledger::registry::DidRecord;
use eroam_ledger::state::StateKey;
use eroam_ssi::did::VerificationKey;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{
    BillSoFar, BilledCharge, Question, Rejoin, Rejoined, Rejoining, rejoin_digest,
};
use eroam_wallet::purse::Purse;
use eroam_wallet::visit::ContractKind;
use std::collections::BTreeMap;

impl Wallet {
    /// What the provider at `url` wants to know, and its terms.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn form(&self, url: &str) -> Result<RegistrationForm, ChargingError> {
        let (_, text) = self.of_provider(url, |http| http.get(format!("{url}/enrol/form")).call())?;
        serde_json::from_str(&text).map_err(|error| ChargingError::unexpected("the provider's form", error))
    }

    /// Enrols with the provider at `url`: fills its form, signs the terms, connects and takes the credential.
    ///
    /// # Errors
    /// [`ChargingError`]; what the provider finds wrong with the fields is in its words.
    pub fn enrol(
        &mut self,
        url: &str,
        fields: &BTreeMap<String, String>,
    ) -> Result<ContractId, ChargingError> {
        self.enrol_with(url, fields, None)
    }

    /// As [`Wallet::enrol`], with a contract that was signed elsewhere: both sides sign its hash with the rest, and the provider
    /// keeps the file.
    ///
    /// # Errors
    /// As [`Wallet::enrol`].
    pub fn enrol_with(
        &mut self,
        url: &str,
        fields: &BTreeMap<String, String>,
        attached: Option<AttachedContract>,
    ) -> Result<ContractId, ChargingError> {
        let form = self.form(url)?;
        let hash = attached.as_ref().map(|attached| attached.sha256);
        let digest = contract_digest(&form, fields, hash);
        let registration = Registration {
            fields: fields.clone(),
            signer: self.signing.verification_key().to_did_key().to_string(),
            signature: SignatureBytes(self.signing.sign(&digest.0)),
            attached,
        };
        let body = serde_json::to_vec(&registration)
            .map_err(|error| ChargingError::unexpected("the registration", error))?;
        let (status, text) = self.of_provider(url, |http| {
            let post = http.post(format!("{url}{}", form.endpoint));
            post.header("Content-Type", "application/json").send(&body[..])
        })?;
        if status != 200 {
            let rejected = serde_json::from_str::<Rejected>(&text).map(ChargingError::Registration);
            let url = url.to_owned();
            return Err(rejected.unwrap_or(ChargingError::NoRegistration { url, status }));
        }
        let registered: Registered = serde_json::from_str(&text)
            .map_err(|error| ChargingError::unexpected("the provider's answer", error))?;
        let provider_key = VerificationKey::from_did_key(&registered.signer);
        let countersigned = provider_key.is_ok_and(|key| key.verifies(&digest.0, &registered.signature.0));
        if !countersigned {
            return Err(ChargingError::unexpected("the contract", "the provider did not sign it"));
        }
        let invitation = Invitation::from_url(&registered.invitation)?;
        let patience = self.patience.clone();
        let taken = patience.wait(&format!("the contract of the provider at {url}"), || {
            let connection = self.agent.connect(&invitation, self.patience.within())?;
            self.sign_connection(&connection, &registered.contract, &registered.signer)?;
            let provider = (connection, url.to_owned(), registered.signer);
            self.take_contract(registered.contract, form.provider, provider)
        });
        taken.map_err(|error| error.of_provider(url))?;
        self.save()?;
        // From here on the contract is there, whatever becomes of its prices.
        self.learn_prices_if_possible(&registered.contract);
        Ok(registered.contract)
    }

    fn take_contract(
        &mut self,
        id: ContractId,
        emsp: PartyId,
        (provider, provider_url, provider_key): (Connection, String, String),
    ) -> Result<(), ChargingError> {
        let Self { agent, catalogue, tails, link_secret, .. } = self;
        let taking = Taking { agent, connection: &provider, catalogue, tails, link_secret };
        let taken = taking.take("the contract", |id, definition| {
            // Only the provider's contracts, as the ledger says who it is, and who may issue in its name.
            let did: EroamDid = definition
                .issuer_id()
                .as_str()
                .parse()
                .map_err(|error| ChargingError::unexpected("the issuer of the contract", error))?;
            let record: DidRecord = catalogue.entry(&StateKey::Did(did), &did.to_string())?;
            if mandate::issues_for(catalogue, emsp, record.member, id)? {
                Ok(())
            } else {
                Err(ChargingError::unexpected("the issuer of the contract", record.member))
            }
        })?;
        let Taken { credential, witness, definition, registry } = taken;
        let parse = |error| ChargingError::unexpected("the contract's objects", error);
        let kind = ContractKind {
            emsp,
            definition: definition.as_str().parse().map_err(parse)?,
            registry: registry.as_str().parse().map_err(parse)?,
        };
        let purse = Purse::new();
        let provider = Some(provider);
        let prices = None;
        let contract =
            Contract { id, kind, credential, witness, provider, provider_url, provider_key, prices, purse };
        self.contracts.insert(id, contract);
        Ok(())
    }

    /// The connection to a contract's provider: the one of this run, or a new one that both sides sign.
    pub(super) fn provider(&mut self, id: &ContractId) -> Result<Connection, ChargingError> {
        let contract = self.contract(id)?;
        if let Some(connection) = &contract.provider {
            return Ok(connection.clone());
        }
        let (url, key) = (contract.provider_url.clone(), contract.provider_key.clone());
        let (status, text) = self.of_provider(&url, |http| http.get(format!("{url}/enrol/again")).call())?;
        if status != 200 {
            return Err(ChargingError::unexpected("the provider's invitation", status));
        }
        let invitation = Invitation::from_url(text.trim())?;
        let connected = self.patience.wait(&format!("the provider at {url}"), || {
            let connection = self.agent.connect(&invitation, self.patience.within())?;
            self.sign_connection(&connection, id, &key).map(|()| connection)
        });
        let connection = connected.map_err(|error| error.of_provider(&url))?;
        self.contract(id)?.provider = Some(connection.clone());
        Ok(connection)
    }

    /// Shows the provider that the contract is ours, and sees that it is the one that signed it, with `provider_key`: by
    /// signatures over this very connection.
    fn sign_connection(
        &self,
        connection: &Connection,
        id: &ContractId,
        provider_key: &str,
    ) -> Result<(), ChargingError> {
        let channel = connection.channel();
        let digest = |who| rejoin_digest(who, id, &channel.ours, &channel.theirs);
        let signature = SignatureBytes(self.signing.sign(&digest(Rejoining::Customer).0));
        let question = Rejoin { contract: *id, signature };
        let Rejoined { signature } = proving::question(&self.agent, connection, &question)?;
        let known = VerificationKey::from_did_key(provider_key);
        if known.is_ok_and(|key| key.verifies(&digest(Rejoining::Provider).0, &signature.0)) {
            return Ok(());
        }
        Err(ChargingError::unexpected("the provider", "it is not the one that signed your contract"))
    }

    /// What is on the bill of a month so far.
    ///
    /// # Errors
    /// [`ChargingError`], among them the provider's denial.
    pub fn bill(&mut self, id: &ContractId, month: CivilMonth) -> Result<Vec<BilledCharge>, ChargingError> {
        self.ask_provider(id, &BillSoFar { month })
    }

    /// Asks a contract's provider.
    pub(super) fn ask_provider<Q: Question>(
        &mut self,
        id: &ContractId,
        question: &Q,
    ) -> Result<Q::Answer, ChargingError> {
        let provider = self.provider(id)?;
        let url = self.contract(id)?.provider_url.clone();
        let asked = || proving::question(&self.agent, &provider, question);
        let answer = self.patience.wait(&format!("the provider at {url}"), asked);
        answer.map_err(|error| error.of_provider(&url))
    }

    /// What a provider's server answers.
    fn of_provider(
        &self,
        url: &str,
        call: impl FnOnce(&ureq::Agent) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, String), ChargingError> {
        let asked = || text(call(&self.http)?);
        let away =
            |source: ureq::Error| ChargingError::ProviderAway { url: url.to_owned(), source: source.into() };
        self.patience.wait(&format!("the provider at {url}"), asked).map_err(away)
    }
}
