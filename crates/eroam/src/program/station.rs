//! A charging station, as a program.
//!
//! ```text
//! directory/keys.vault, agent.sqlite    sealed: keys, credential, the connection with the operator, the charge under way
//! directory/journal.sqlite              what the meter signed, and what waits for the operator
//! ```
//! Whatever ends the program, power cut or command, a charge goes on or is billed as far as the meter signed.

use super::ProgramError;
use super::config::{Located, SimulationConfig};
use super::control::Control;
use super::organisation::{known_network, reach, share_clock};
use super::secrets;
use super::station_hardware::Behind;
pub use super::station_hardware::{GpioConfig, HardwareConfig};
use crate::causes::chain;
use crate::charging::ChargingError;
use crate::charging::catalogue::Catalogue;
use crate::charging::local_time::clock_at;
use crate::charging::state::{AgentState, Changes};
use crate::charging::station::{Mode, Station};
use crate::charging::station_credentials::operator_of;
use crate::clock::now;
use crate::tails_cache::TailsCache;
use crate::usage::Usage;
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::{EroamDid, EvseId, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::time::TimeZoneName;
use eroam_domain::visit::StationClaims;
use eroam_ledger::genesis::Genesis;
use eroam_light::trust::Trust;
use eroam_ssi::didcomm::{OsRng, RngCore as _};
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_station::calibration::Calibration;
use eroam_station::journal::sqlite::SqliteJournal;
use eroam_wire::ocmf::MeterKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes of tails files that a station keeps.
const TAILS_BYTES_MAX: u64 = 64 << 20;
/// Records of the operator.
const OPERATOR: &str = "operator";
/// Records of the meter's key.
const METER_KEY: &str = "meter's key";

/// A station's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationConfig {
    /// Its EVSE id, as its operator has entered it.
    pub evse: EvseId,
    /// Where it is, in words.
    pub place: String,
    /// The grid zone.
    pub zone: GridZone,
    /// Its time zone, by its name in the IANA database, as its operator has entered it: the times of day in the tariff are
    /// local times, and readings are signed with them.
    pub time_zone: TimeZoneName,
    /// The most that it gives.
    pub power_w: u64,
    /// Its operator's DID.
    pub operator_did: String,
    /// With which it connects with its operator: a URL.
    pub operator_invitation: String,
    /// Anybody's registry: it has to prove what it says.
    pub resolver_url: String,
    /// The genesis of the network, as JSON: what proofs are checked against.
    pub genesis_file: PathBuf,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// What opens the directory; otherwise it is in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// Where wallets connect.
    pub agent_listen: SocketAddr,
    /// Under which URL wallets and the operator reach `agent_listen`, if it is another one. It is in the code on the post, so
    /// it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_public_url: Option<String>,
    /// What drivers prove.
    #[serde(default)]
    pub mode: Mode,
    /// The correction of its current sensor, as `eroam station calibrate --out` wrote it; none if it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration_file: Option<PathBuf>,
    /// What is behind it.
    pub hardware: HardwareConfig,
    /// For agents that are simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationConfig>,
}

/// What staff can ask a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StationProgramCommand {
    /// How it stands.
    Status,
    /// Take it into service again after a fault that somebody has looked at.
    Repair {
        /// What was done.
        reason: String,
    },
    /// What the program used.
    Usage,
}

/// What whoever started a station wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StationReady {
    /// What its credential says.
    pub claims: StationClaims,
    /// What is on its post, as a URL.
    pub invitation: String,
}

/// A running station.
pub struct StationProgram {
    ready: StationReady,
    station: Arc<Station>,
    control: Option<Control>,
    thread: Option<JoinHandle<()>>,
}

impl StationProgram {
    /// Starts one.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn start(located: &Located<StationConfig>) -> Result<Self, ProgramError> {
        let config = &located.config;
        let reach = reach(config.agent_listen, config.agent_public_url.as_deref())?;
        share_clock(located, config.simulation.as_ref())?;
        let genesis_file = located.path(&config.genesis_file);
        let text = std::fs::read_to_string(&genesis_file);
        let text = text.map_err(ProgramError::io(format!("{} cannot be read", genesis_file.display())))?;
        let trust = Trust::from_genesis(&Genesis::from_json(&text)?)?;
        let passphrase_file = config.passphrase_file.as_deref().map(|file| located.path(file));
        let passphrase = secrets::passphrase(passphrase_file.as_deref())?;
        let directory = located.path(&config.directory);
        let state = AgentState::open(&directory, &passphrase)?;
        known_network(&state, trust.network())?;
        let key = meter_key(&state)?;
        let journal = Box::new(SqliteJournal::open(&directory.join("journal.sqlite"))?);
        let evse = config.evse.clone();
        let calibration = config.calibration_file.as_deref().map(|file| calibration(&located.path(file)));
        let calibration = calibration.transpose()?.unwrap_or(Calibration::NONE);
        let meter_key = key.public().to_string();
        let behind = Behind { evse: evse.clone(), key, journal, state: state.clone(), calibration };
        let post = behind.post(&config.hardware)?;
        clock_at(&config.time_zone, now()).map_err(|error| ProgramError::rule("time_zone", error))?;
        let catalogue = Catalogue::new(&config.resolver_url, trust);
        let operator_did: EroamDid =
            config.operator_did.parse().map_err(|error| ProgramError::rule("operator_did", error))?;
        let operator = operator(&state, &catalogue, operator_did)?;
        let claims = StationClaims {
            operator,
            evse,
            zone: config.zone.clone(),
            place: config.place.clone(),
            power: Watts::new(config.power_w),
            meter_key,
            meter_certified: false,
            time_zone: Some(config.time_zone.clone()),
        };
        let invitation = Invitation::from_url(&config.operator_invitation);
        let invitation = invitation.map_err(|error| ProgramError::rule("operator_invitation", error))?;
        let tails =
            TailsCache::open(directory.join("tails"), TAILS_BYTES_MAX).map_err(ChargingError::from)?;
        let station = Arc::new(Station::start(
            claims,
            &invitation,
            operator_did,
            catalogue,
            Arc::new(tails),
            config.mode,
            post,
            state,
            reach,
        )?);
        let ready = StationReady { claims: station.claims().clone(), invitation: station.url() };
        let serving = Arc::clone(&station);
        let thread = std::thread::Builder::new().name("station".to_owned()).spawn(move || {
            serving.serve(|outcome| match outcome {
                Ok(outcome) => tracing::info!(?outcome, "station.visit"),
                Err(error) => tracing::warn!(error = %chain(&error), "station.visit"),
            });
        });
        let thread = thread.map_err(ProgramError::io("no thread can be started"))?;
        let answering = Arc::clone(&station);
        let control = Control::open(&directory, move |command| handle(&answering, command))?;
        Ok(Self { ready, station, control: Some(control), thread: Some(thread) })
    }

    /// What whoever started it wants to know.
    #[must_use]
    pub const fn ready(&self) -> &StationReady {
        &self.ready
    }
}

impl Drop for StationProgram {
    /// A charge ends with what the meter signed; what the operator has not got is sent at the next start.
    fn drop(&mut self) {
        drop(self.control.take());
        self.station.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The meter's key: made once. A certified meter has its own.
fn meter_key(state: &AgentState) -> Result<MeterKey, ProgramError> {
    let wrong = |error| ProgramError::rule("the meter's key", error);
    if let Some(bytes) = state.get::<[u8; 32]>(METER_KEY, "")? {
        return MeterKey::from_bytes(&bytes).map_err(wrong);
    }
    loop {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        // Nearly every number is a key.
        if let Ok(key) = MeterKey::from_bytes(&bytes) {
            state.write(Changes::new().put(METER_KEY, "", &bytes))?;
            return Ok(key);
        }
    }
}

/// The correction of the current sensor that a file holds.
fn calibration(file: &Path) -> Result<Calibration, ProgramError> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(ProgramError::io(format!("{name} cannot be read")))?;
    Calibration::from_json(&text).map_err(|error| ProgramError::rule(name, error))
}

/// A station's operator as it is kept. What an earlier version kept beside it, the key that the operator had then, is not read.
#[derive(Serialize, Deserialize)]
struct KeptOperator {
    did: String,
    party: PartyId,
}

/// Whom the ledger says that a DID belongs to. It is kept: a station whose charge a power cut interrupted does not wait for
/// the network. With which key that operator signs may change, and is looked up whenever it is needed.
fn operator(state: &AgentState, catalogue: &Catalogue, did: EroamDid) -> Result<PartyId, ProgramError> {
    let name = did.to_string();
    if let Some(kept) = state.get::<KeptOperator>(OPERATOR, "")?.filter(|kept| kept.did == name) {
        return Ok(kept.party);
    }
    let (_, party) = operator_of(catalogue, did)?;
    state.write(Changes::new().put(OPERATOR, "", &KeptOperator { did: name, party }))?;
    Ok(party)
}

fn handle(station: &Station, command: StationProgramCommand) -> Result<Value, String> {
    match command {
        StationProgramCommand::Status => Ok(json!(station.status().map_err(|error| chain(&error))?)),
        StationProgramCommand::Repair { reason } => {
            let repair = station.repair(&reason).map_err(|error| chain(&error))?;
            Ok(json!({ "repaired": repair.fault, "reason": repair.reason }))
        }
        StationProgramCommand::Usage => Ok(json!(Usage::now())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_that_cannot_be_used_is_refused_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("correction.json");
        assert!(calibration(&file).unwrap_err().to_string().contains("correction.json cannot be read"));
        std::fs::write(&file, "{\"gain\": 0, \"offset_a\": 0}").unwrap();
        let refused = calibration(&file).unwrap_err().to_string();
        assert!(refused.contains("correction.json: ") && refused.contains("calibrate again"), "{refused}");
        std::fs::write(&file, Calibration::NONE.to_json().unwrap()).unwrap();
        assert_eq!(calibration(&file).unwrap(), Calibration::NONE);
    }
}
