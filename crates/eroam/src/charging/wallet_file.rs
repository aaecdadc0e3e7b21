//! A wallet's file: everything that a driver must not lose, encrypted, replaced whole at every change.
//!
//! ```text
//! keys          the link secret; the key that signs contracts
//! credentials   by contract, with their witnesses
//! notes         network           resolver and genesis: whom the wallet believes
//!               contract/<id>     what stations are told of it, and where its provider is
//!               purse/<id>        vouchers with their one-time keys
//!               charge/<number>   from the agreement to the receipt
//!               resume/<number>   the connection of a charge whose end this wallet has not heard
//!               newest-block      the highest block by which a resolver proved anything
//!               restored          the file is an older one that was brought back: some vouchers may be spent
//! ```
//! What it deliberately does not do: keep connections. Between two runs a wallet has no address; it comes back to its
//! provider over a new connection that both sides sign ([`eroam_ssi::protocol::questions::Rejoin`]), and to a station over
//! one that it signs with the key of the old one ([`eroam_ssi::protocol::charging::Resume`]).

use super::driver_price::KnownPrices;
use crate::agent::kept::KeptConnection;
use eroam_domain::ids::{ContractId, CredentialDefinitionId, PartyId, RevocationRegistryId};
use eroam_domain::visit::{Finished, Started, StationClaims};
use eroam_domain::voucher::SpentVoucher;
use eroam_ledger::genesis::{Genesis, GenesisError};
use eroam_light::trust::{Trust, TrustError};
use eroam_ssi::anoncreds::{HeldCredential, LinkSecret, WitnessState};
use eroam_ssi::custody::file::{FileError, VaultFile};
use eroam_ssi::custody::{
    self, ContentError, Cost, HolderVault, Passphrase, RekeyError, VaultError, change_passphrase,
};
use eroam_ssi::didcomm::{OsRng, SigningKey};
use eroam_wallet::cost::ChargeCost;
use eroam_wallet::purse::{Purse, PurseError};
use eroam_wallet::visit::ContractKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The label of the key that signs contracts.
const SIGNING: &str = "contracts";
const NETWORK: &str = "network";
const NEWEST_BLOCK: &str = "newest-block";
const RESTORED: &str = "restored";
const CONTRACT: &str = "contract/";
const PURSE: &str = "purse/";
const CHARGE: &str = "charge/";
const RESUME: &str = "resume/";

/// Why a wallet's file is not opened or saved, in words for the driver.
#[derive(Debug, thiserror::Error)]
pub enum WalletFileError {
    /// No such file.
    #[error(
        "there is no wallet at {0}: make one with `eroam wallet init`, or name another file with --wallet"
    )]
    None(PathBuf),
    /// There is one.
    #[error("there is already a wallet at {0}: it is left as it is")]
    Exists(PathBuf),
    /// Another program uses it.
    #[error(
        "another program is using the wallet at {0}: wait until it is done, or stop its charge with `eroam wallet stop`"
    )]
    InUse(PathBuf),
    /// The passphrase, or a changed file: nobody can tell.
    #[error(
        "the passphrase does not open the wallet at {0}; if you are sure of it, the file is damaged: bring back a backup \
         with `eroam wallet restore`"
    )]
    Passphrase(PathBuf),
    /// Something else, or only a part of it.
    #[error(
        "the file {path} is no wallet, or is damaged: {why}; bring back a backup with `eroam wallet restore`"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Of a newer program.
    #[error("the wallet at {path} was written by a newer program (version {found}): update this one")]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
    /// The machine does not let us.
    #[error(transparent)]
    File(FileError),
    /// It keeps its passphrase.
    #[error("the wallet's passphrase")]
    Rekey(#[from] RekeyError),
    /// It cannot be sealed.
    #[error("the wallet cannot be saved")]
    Seal(#[source] VaultError),
    /// Something in it cannot be kept.
    #[error("the wallet cannot keep it")]
    Content(#[from] ContentError),
    /// A purse cannot be kept.
    #[error("the wallet cannot keep its vouchers")]
    Purse(#[from] PurseError),
    /// The genesis is none.
    #[error("the genesis of the network cannot be read")]
    Genesis(#[from] GenesisError),
    /// The genesis has no usable validators.
    #[error("the genesis of the network cannot be trusted")]
    Trust(#[from] TrustError),
}

/// Whom a wallet believes, and whom it asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The URL of a registry: anybody's, since it has to prove what it says.
    pub resolver: String,
    /// The genesis of the network, as JSON: what proofs are checked against.
    pub genesis: String,
}

impl Network {
    /// What proofs are checked against.
    ///
    /// # Errors
    /// [`WalletFileError::Genesis`], [`WalletFileError::Trust`].
    pub fn trust(&self) -> Result<Trust, WalletFileError> {
        Ok(Trust::from_genesis(&Genesis::from_json(&self.genesis)?)?)
    }
}

/// A contract as it is kept, without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptContract {
    /// Whose.
    pub emsp: PartyId,
    /// Its credential definition.
    pub definition: CredentialDefinitionId,
    /// Its revocation registry.
    pub registry: RevocationRegistryId,
    /// Where its provider is.
    pub provider_url: String,
    /// The key with which the provider signed the contract, as `did:key`.
    pub provider_key: String,
    /// The provider's rules for what the driver pays, as it last told them.
    #[serde(default)]
    pub prices: Option<KnownPrices>,
}

impl KeptContract {
    /// What a station is told of it.
    #[must_use]
    pub fn kind(&self) -> ContractKind {
        let Self { emsp, definition, registry, .. } = self.clone();
        ContractKind { emsp, definition, registry }
    }
}

/// How far a charge came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum ChargeStage {
    /// The driver agreed and the voucher is spent; whether power came, this wallet has not heard.
    Agreed,
    /// No power came.
    NotStarted {
        /// What the station said.
        reason: String,
    },
    /// Power was on; how it ended, this wallet has not heard.
    Started {
        /// Since when, and to which limits.
        started: Started,
    },
    /// It is over.
    Finished {
        /// Since when, and to which limits.
        started: Started,
        /// How it ended.
        finished: Finished,
    },
}

/// A charge as the wallet remembers it: its receipt, or what there is of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptCharge {
    /// Its number in this wallet, from 1.
    pub number: u32,
    /// Under which contract.
    pub contract: ContractId,
    /// Its provider.
    pub emsp: PartyId,
    /// Where.
    pub station: StationClaims,
    /// What was agreed to.
    pub spent: SpentVoucher,
    /// What it was going to cost, as the driver was told before that.
    #[serde(default)]
    pub cost: Option<ChargeCost>,
    /// How far it came.
    pub progress: ChargeStage,
}

/// What takes a charge up again whose end this wallet has not heard. The connection's key is secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// With which the station was scanned, as a URL.
    pub invitation: String,
    /// The thread of the visit.
    pub visit: String,
    /// The connection that it began on.
    pub connection: KeptConnection,
}

/// An open wallet's file. Nobody else can open it meanwhile.
pub struct WalletFile {
    file: VaultFile,
    vault: HolderVault,
    secrets: custody::Wallet,
}

fn opened(path: &Path, error: FileError) -> WalletFileError {
    match error {
        FileError::Locked { .. } => WalletFileError::InUse(path.to_owned()),
        other => WalletFileError::File(other),
    }
}

fn unsealed(path: &Path, error: VaultError) -> WalletFileError {
    match error {
        VaultError::Sealed => WalletFileError::Passphrase(path.to_owned()),
        VaultError::Version { found } => WalletFileError::Newer { path: path.to_owned(), found },
        other => WalletFileError::Damaged { path: path.to_owned(), why: other.to_string() },
    }
}

impl WalletFile {
    /// A new wallet of a network, with keys of its own.
    ///
    /// # Errors
    /// [`WalletFileError::Exists`] and others.
    pub fn create(path: &Path, passphrase: &Passphrase, network: &Network) -> Result<Self, WalletFileError> {
        network.trust()?;
        let file = VaultFile::lock(path).map_err(|error| opened(path, error))?;
        if path.exists() {
            return Err(WalletFileError::Exists(path.to_owned()));
        }
        let vault =
            HolderVault::create(passphrase, Cost::USUAL, &mut OsRng).map_err(WalletFileError::Seal)?;
        let mut secrets = custody::Wallet::new();
        let link_secret = LinkSecret::random().map_err(ContentError::AnonCreds)?;
        secrets.put_link_secret(&link_secret)?;
        secrets.put_signing_key(SIGNING, &SigningKey::generate(&mut OsRng))?;
        let mut made = Self { file, vault, secrets };
        made.put(NETWORK, network)?;
        made.save()?;
        Ok(made)
    }

    /// Opens a wallet.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, WalletFileError> {
        // Where there is no wallet, no lock should be left lying.
        if !path.exists() {
            return Err(WalletFileError::None(path.to_owned()));
        }
        let file = VaultFile::lock(path).map_err(|error| opened(path, error))?;
        let sealed = file.read().map_err(WalletFileError::File)?;
        let sealed = sealed.ok_or_else(|| WalletFileError::None(path.to_owned()))?;
        let (vault, secrets) =
            HolderVault::open(&sealed, passphrase).map_err(|error| unsealed(path, error))?;
        Ok(Self { file, vault, secrets })
    }

    /// Brings a backup back to `path`. Vouchers that it has may have been spent since it was made: whoever opens it looks
    /// them up before they are used.
    ///
    /// # Errors
    /// [`WalletFileError::Exists`] unless `replace`, and others.
    pub fn restore(
        backup: &Path,
        path: &Path,
        passphrase: &Passphrase,
        replace: bool,
    ) -> Result<Self, WalletFileError> {
        let Self { vault, secrets, .. } = Self::open(backup, passphrase)?;
        let file = VaultFile::lock(path).map_err(|error| opened(path, error))?;
        if path.exists() && !replace {
            return Err(WalletFileError::Exists(path.to_owned()));
        }
        let mut restored = Self { file, vault, secrets };
        restored.secrets.put_note(RESTORED, Zeroizing::new(Vec::new()))?;
        restored.save()?;
        Ok(restored)
    }

    /// Writes a copy of it, under the same passphrase, to a file that is not there yet.
    ///
    /// # Errors
    /// [`WalletFileError::Exists`] and others.
    pub fn back_up(&self, to: &Path) -> Result<(), WalletFileError> {
        let mut file = VaultFile::lock(to).map_err(|error| opened(to, error))?;
        if to.exists() {
            return Err(WalletFileError::Exists(to.to_owned()));
        }
        let sealed = self.vault.seal(&self.secrets, &mut OsRng).map_err(WalletFileError::Seal)?;
        file.replace(&sealed).map_err(WalletFileError::File)
    }

    /// Changes its passphrase. Backups open with the one that they were made with.
    ///
    /// # Errors
    /// [`WalletFileError::Rekey`]: the old one stays.
    pub fn change_passphrase(&mut self, new: &Passphrase) -> Result<(), WalletFileError> {
        self.vault = change_passphrase(&mut self.file, &self.secrets, new, Cost::USUAL, &mut OsRng)?;
        Ok(())
    }

    /// Makes what was put into it durable. What was there before stays if it fails.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn save(&mut self) -> Result<(), WalletFileError> {
        let sealed = self.vault.seal(&self.secrets, &mut OsRng).map_err(WalletFileError::Seal)?;
        self.file.replace(&sealed).map_err(WalletFileError::File)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    fn damaged(&self, why: impl ToString) -> WalletFileError {
        WalletFileError::Damaged { path: self.path().to_owned(), why: why.to_string() }
    }

    fn put(&mut self, label: &str, value: &impl Serialize) -> Result<(), WalletFileError> {
        let bytes = serde_json::to_vec(value).map_err(|error| self.damaged(error))?;
        Ok(self.secrets.put_note(label, Zeroizing::new(bytes))?)
    }

    fn note<T: DeserializeOwned>(&self, label: &str) -> Result<T, WalletFileError> {
        let bytes = self.secrets.note(label).ok_or_else(|| self.damaged(format!("it has no {label}")))?;
        serde_json::from_slice(bytes).map_err(|error| self.damaged(format!("{label}: {error}")))
    }

    /// Whom it believes.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn network(&self) -> Result<Network, WalletFileError> {
        self.note(NETWORK)
    }

    /// The highest block by which a resolver proved anything to this wallet, 0 for none.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn newest_block(&self) -> Result<u64, WalletFileError> {
        if self.secrets.note(NEWEST_BLOCK).is_some() { self.note(NEWEST_BLOCK) } else { Ok(0) }
    }

    /// Remembers by which block a resolver proved something, to be saved: no resolver may be behind it.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn put_newest_block(&mut self, height: u64) -> Result<(), WalletFileError> {
        if height > self.newest_block()? { self.put(NEWEST_BLOCK, &height) } else { Ok(()) }
    }

    /// Asks another resolver from now on, to be saved. The genesis stays: it is what anybody has to prove by.
    ///
    /// # Errors
    /// [`WalletFileError::Content`].
    pub fn put_resolver(&mut self, url: &str) -> Result<(), WalletFileError> {
        let network = Network { resolver: url.to_owned(), ..self.network()? };
        self.put(NETWORK, &network)
    }

    /// The link secret and the key that signs contracts.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn keys(&self) -> Result<(LinkSecret, SigningKey), WalletFileError> {
        let link_secret = self.secrets.link_secret()?.ok_or_else(|| self.damaged("it has no link secret"))?;
        let signing = self.secrets.signing_key(SIGNING)?;
        Ok((link_secret, signing.ok_or_else(|| self.damaged("it has no key for contracts"))?))
    }

    /// The numbers of the contracts.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn contracts(&self) -> Result<Vec<ContractId>, WalletFileError> {
        let labels = self.secrets.notes().filter_map(|label| label.strip_prefix(CONTRACT));
        labels.map(|id| id.parse().map_err(|error| self.damaged(format!("{error}")))).collect()
    }

    /// What is kept of a contract.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn contract(&self, id: &ContractId) -> Result<KeptContract, WalletFileError> {
        self.note(&format!("{CONTRACT}{id}"))
    }

    /// A contract's credential with its witness.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn credential(&self, id: &ContractId) -> Result<(HeldCredential, WitnessState), WalletFileError> {
        let label = id.to_string();
        let credential = self.secrets.credential(&label)?;
        let witness = self.secrets.witness(&label)?;
        credential.zip(witness).ok_or_else(|| self.damaged(format!("it has no credential of {id}")))
    }

    /// A contract's vouchers.
    ///
    /// # Errors
    /// [`WalletFileError::Purse`].
    pub fn purse(&self, id: &ContractId) -> Result<Purse, WalletFileError> {
        let bytes = self.secrets.note(&format!("{PURSE}{id}"));
        Ok(bytes.map_or_else(|| Ok(Purse::new()), Purse::import_secret)?)
    }

    /// Puts a contract into it, to be saved.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn put_contract(
        &mut self,
        id: &ContractId,
        kept: &KeptContract,
        credential: &HeldCredential,
        witness: &WitnessState,
        purse: &Purse,
    ) -> Result<(), WalletFileError> {
        let label = id.to_string();
        self.put(&format!("{CONTRACT}{id}"), kept)?;
        self.secrets.put_credential(&label, credential)?;
        self.secrets.put_witness(&label, witness)?;
        Ok(self.secrets.put_note(&format!("{PURSE}{id}"), purse.export_secret()?)?)
    }

    /// The charges, in their order.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn charges(&self) -> Result<Vec<KeptCharge>, WalletFileError> {
        self.secrets.notes().filter(|label| label.starts_with(CHARGE)).map(|label| self.note(label)).collect()
    }

    /// The number of the next charge.
    #[must_use]
    pub fn next_charge(&self) -> u32 {
        let numbers = self.secrets.notes().filter_map(|label| label.strip_prefix(CHARGE)?.parse().ok());
        numbers.max().unwrap_or(0_u32).saturating_add(1)
    }

    /// Puts a charge into it, to be saved.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn put_charge(&mut self, charge: &KeptCharge) -> Result<(), WalletFileError> {
        // Labels are ordered as text.
        self.put(&format!("{CHARGE}{:010}", charge.number), charge)
    }

    /// Puts what takes a charge up again into it, to be saved; `None` once that is of no use any more.
    ///
    /// # Errors
    /// [`WalletFileError`].
    pub fn put_resumption(
        &mut self,
        number: u32,
        resumption: Option<&Resumption>,
    ) -> Result<(), WalletFileError> {
        let label = format!("{RESUME}{number:010}");
        match resumption {
            Some(resumption) => self.put(&label, resumption)?,
            None => {
                self.secrets.remove_note(&label);
            }
        }
        Ok(())
    }

    /// The newest charge whose end this wallet has not heard, and what takes it up again; with a number, that one.
    ///
    /// # Errors
    /// [`WalletFileError::Damaged`].
    pub fn resumable(
        &self,
        number: Option<u32>,
    ) -> Result<Option<(KeptCharge, Resumption)>, WalletFileError> {
        let waiting =
            self.secrets.notes().filter_map(|label| label.strip_prefix(RESUME)?.parse::<u32>().ok());
        let newest = waiting.filter(|found| number.is_none_or(|wanted| wanted == *found)).max();
        let found = newest.map(|number| {
            let charge = self.note(&format!("{CHARGE}{number:010}"))?;
            Ok((charge, self.note(&format!("{RESUME}{number:010}"))?))
        });
        found.transpose()
    }

    /// Whether it was brought back from a backup and its vouchers have not been looked up since.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.secrets.note(RESTORED).is_some()
    }

    /// The vouchers were looked up.
    pub fn looked_up(&mut self) {
        self.secrets.remove_note(RESTORED);
    }
}
