//! A simulated driver as a process of its own: what a wallet does, as its parent says, line by line.
//!
//! For simulations alone: a person has `eroam wallet`. It is gone with its process.

use super::ProgramError;
use super::config::Located;
use super::organisation::share_clock;
use crate::causes::chain;
use crate::charging::ChargingError;
use crate::charging::catalogue::Catalogue;
use crate::charging::station::Mode;
use crate::charging::wallet::Wallet;
use crate::clock::now;
use crate::program::config::SimulationConfig;
use crate::simulate::world::{Driver, TAILS_BYTES_MAX, WITHDRAWN_AT_ONCE};
use crate::tails_cache::TailsCache;
use crate::usage::Usage;
use eroam_ledger::genesis::Genesis;
use eroam_light::trust::Trust;
use eroam_ssi::protocol::out_of_band::Invitation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A driver's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverConfig {
    /// Anybody's registry.
    pub resolver_url: String,
    /// The genesis of the network, as JSON.
    pub genesis_file: PathBuf,
    /// Where tails files are kept.
    pub directory: PathBuf,
    /// What is proved.
    pub mode: Mode,
    /// The clock of the simulation.
    pub simulation: SimulationConfig,
}

/// What a driver is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverCommand {
    /// Enrol with a provider and withdraw vouchers.
    Enrol {
        /// Its URL.
        provider: String,
        /// What is entered.
        fields: BTreeMap<String, String>,
    },
    /// Charge.
    Charge {
        /// What is on the post, as a URL.
        invitation: String,
    },
    /// What the process used.
    Usage,
}

/// How a charge went.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverCharged {
    /// Thousandths of a watt-hour.
    pub energy_mwh: u64,
    /// From scanning to the connection, in microseconds.
    pub connect_us: u64,
    /// From scanning to power, in microseconds.
    pub scan_to_power_us: u64,
}

/// A driver.
pub struct DriverProgram {
    catalogue: Arc<Catalogue>,
    tails: Arc<TailsCache>,
    mode: Mode,
    driver: Option<Driver>,
}

impl DriverProgram {
    /// A driver without a contract.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn start(located: &Located<DriverConfig>) -> Result<Self, ProgramError> {
        let config = &located.config;
        share_clock(located, Some(&config.simulation))?;
        let genesis_file = located.path(&config.genesis_file);
        let text = std::fs::read_to_string(&genesis_file);
        let text = text.map_err(ProgramError::io(format!("{} cannot be read", genesis_file.display())))?;
        let trust = Trust::from_genesis(&Genesis::from_json(&text)?)?;
        let catalogue = Arc::new(Catalogue::new(&config.resolver_url, trust));
        let tails = TailsCache::open(located.path(&config.directory), TAILS_BYTES_MAX);
        let tails = Arc::new(tails.map_err(ChargingError::from)?);
        Ok(Self { catalogue, tails, mode: config.mode, driver: None })
    }

    /// Does what it is told.
    ///
    /// # Errors
    /// A sentence.
    pub fn handle(&mut self, command: DriverCommand) -> Result<Value, String> {
        let words = |error: ChargingError| chain(&error);
        match command {
            DriverCommand::Enrol { provider, fields } => {
                let (catalogue, tails) = (Arc::clone(&self.catalogue), Arc::clone(&self.tails));
                let mut wallet = Wallet::new(catalogue, tails, self.mode).map_err(words)?;
                let contract = wallet.enrol(&provider, &fields).map_err(words)?;
                wallet.withdraw(&contract, WITHDRAWN_AT_ONCE, now().utc_day()).map_err(words)?;
                self.driver = Some(Driver { wallet, contract });
                Ok(json!(contract))
            }
            DriverCommand::Charge { invitation } => {
                let driver = self.driver.as_mut().ok_or("this driver has no contract")?;
                let invitation = Invitation::from_url(&invitation).map_err(|error| error.to_string())?;
                let (energy, timings) = driver.charge(&invitation)?;
                let us = |took: std::time::Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                Ok(json!(DriverCharged {
                    energy_mwh: energy.milli_wh(),
                    connect_us: us(timings.connect),
                    scan_to_power_us: us(timings.scan_to_power),
                }))
            }
            DriverCommand::Usage => Ok(json!(Usage::now())),
        }
    }
}
