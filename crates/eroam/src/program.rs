//! Agents as programs of their own: a node, a home utility, an operator, a station. Each has one TOML file, a directory,
//! and a door for its staff.
//!
//! ```text
//! config.toml ──► program ── HTTP on the loopback interface: pages for wallets, letters, DIDComm
//!                   │   └─── directory/control/socket: commands of staff, whoever may write there
//!                   └─────── directory: sealed state (charging::state), records of the organisation (eroam_store)
//! ```
//! Everything that is acknowledged is on the disk before: a program that is killed goes on where it was. Told to stop, it
//! stops by itself.
//!
//! What it deliberately does not do: TLS, and serving others than this machine. A proxy does.

pub mod config;
pub mod control;
pub mod driver;
mod issuer_key_file;
pub mod mandates;
pub mod node;
pub mod operator;
pub mod organisation;
pub mod partner_listings;
pub mod provider;
mod retail_versions;
pub mod secrets;
pub mod station;
mod station_hardware;
mod voucher_key;

use crate::charging::ChargingError;
use crate::charging::offices::OfficeError;
use crate::charging::state::StateError;
use crate::node::RemoteNodeError;
use crate::registry::PublishError;
use crate::server::ServeError;
use config::ConfigError;
use eroam_chain::node::StartError;
use eroam_gateway::ports::StoreError;
use eroam_ledger::genesis::GenesisError;
use eroam_light::trust::TrustError;
use eroam_station::journal::JournalError;
use eroam_store::OpenError;
use secrets::SecretFileError;
use std::io;

/// Why a program does not start, or does not do what its staff wants.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ProgramError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Node(#[from] RemoteNodeError),
    #[error("the organisation's records")]
    Records(#[from] OpenError),
    #[error("the organisation's records")]
    Store(#[from] StoreError),
    #[error("the organisation")]
    Office(#[from] OfficeError),
    #[error("nothing can be published")]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Charging(#[from] ChargingError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the validator does not start")]
    Validator(#[from] StartError),
    #[error("the genesis cannot be used")]
    Genesis(#[from] GenesisError),
    #[error("the genesis cannot be trusted")]
    Trust(#[from] TrustError),
    #[error("the station's journal")]
    Journal(#[from] JournalError),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{item}: {rule}")]
    Rule {
        /// What is wrong.
        item: String,
        /// What is expected.
        rule: String,
    },
}

impl ProgramError {
    fn rule(item: impl ToString, rule: impl ToString) -> Self {
        Self::Rule { item: item.to_string(), rule: rule.to_string() }
    }

    fn io(what: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }
}
