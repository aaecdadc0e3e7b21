//! What is behind a station, as its configuration says.

use super::ProgramError;
use crate::charging::post::{Pace, SimulatedPost};
use crate::charging::state::AgentState;
use crate::charging::station::Post;
use eroam_domain::ids::EvseId;
use eroam_station::calibration::Calibration;
use eroam_station::journal::sqlite::SqliteJournal;
use eroam_wire::ocmf::MeterKey;
use serde::{Deserialize, Serialize};

/// What is behind a station.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum HardwareConfig {
    /// A simulated charging point, with a vehicle that comes for each session.
    Simulated {
        /// How time passes there.
        pace: Pace,
        /// Vehicles and noise follow from it.
        seed: u64,
    },
    /// A plain socket at a Raspberry Pi: a relay, a contact in the socket, and a current transformer behind an ADS1115, of which
    /// the meter is made. It takes a program that was built with the feature `gpio`.
    Gpio(GpioConfig),
}

/// What is wired to which pin, and what that bears.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpioConfig {
    /// The BCM number of the relay's pin, which is high while the relay is closed.
    pub relay_bcm: u8,
    /// The BCM number of the contact's pin, which is low while a plug is in the socket.
    pub contact_bcm: u8,
    /// Amperes of the wire for one ampere of the resistor: 2000 for 100 A : 50 mA.
    pub transformer_ratio: f64,
    /// The resistor behind the transformer.
    pub burden_ohm: f64,
    /// The mains between a phase and the neutral.
    pub mains_v: u64,
    /// How many phases the socket has; the transformer is around one of them, and the others are taken to be alike.
    pub phases: u64,
    /// What the socket and its fuse bear.
    pub current_max_a: u64,
}

/// What a post is made of.
pub(super) struct Behind {
    pub(super) evse: EvseId,
    pub(super) key: MeterKey,
    pub(super) journal: Box<SqliteJournal>,
    pub(super) state: AgentState,
    /// Of the current sensor.
    pub(super) calibration: Calibration,
}

impl Behind {
    /// The post of a configuration.
    pub(super) fn post(self, config: &HardwareConfig) -> Result<Box<dyn Post>, ProgramError> {
        match *config {
            HardwareConfig::Simulated { pace, seed } => {
                let Self { evse, key, journal, state, calibration } = self;
                let post = SimulatedPost::new(evse, key, seed, pace, journal, state)?;
                Ok(Box::new(post.calibrated(calibration)))
            }
            HardwareConfig::Gpio(config) => {
                check(config)?;
                self.gpio(config)
            }
        }
    }

    #[cfg(not(all(feature = "gpio", target_os = "linux")))]
    fn gpio(self, _: GpioConfig) -> Result<Box<dyn Post>, ProgramError> {
        let rule = "this program has no drivers for it: build it on Linux with `--features gpio`";
        Err(ProgramError::rule("[hardware] kind = \"gpio\"", rule))
    }

    #[cfg(all(feature = "gpio", target_os = "linux"))]
    fn gpio(self, config: GpioConfig) -> Result<Box<dyn Post>, ProgramError> {
        gpio::post(self, config)
    }
}

/// What cannot be a socket is refused before a pin is touched.
fn check(config: GpioConfig) -> Result<(), ProgramError> {
    let GpioConfig { relay_bcm, contact_bcm, transformer_ratio, burden_ohm, mains_v, phases, current_max_a } =
        config;
    let is_positive = |number: f64| number.is_finite() && number > 0.0;
    for (item, is_right, rule) in [
        ("relay_bcm", relay_bcm < 28, "the header has the pins 0 to 27"),
        ("contact_bcm", contact_bcm < 28, "the header has the pins 0 to 27"),
        ("contact_bcm", contact_bcm != relay_bcm, "it is another pin than relay_bcm"),
        ("transformer_ratio", is_positive(transformer_ratio), "it is above zero"),
        ("burden_ohm", is_positive(burden_ohm), "it is above zero"),
        ("mains_v", (100..=250).contains(&mains_v), "mains have 100 to 250 V"),
        ("phases", (1..=3).contains(&phases), "there are one to three"),
        ("current_max_a", (6..=63).contains(&current_max_a), "sockets bear 6 to 63 A"),
    ] {
        if !is_right {
            return Err(ProgramError::rule(format!("[hardware] {item}"), rule));
        }
    }
    Ok(())
}

#[cfg(all(feature = "gpio", target_os = "linux"))]
mod gpio {
    //! The drivers, and what is read between two looks at them.

    use super::{Behind, GpioConfig};
    use crate::charging::hardware_post::{HardwarePost, Looks};
    use crate::charging::state::{AgentState, Changes, StateError};
    use crate::charging::station::Post;
    use crate::clock::now;
    use crate::program::ProgramError;
    use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
    use eroam_domain::time::UnixMillis;
    use eroam_station::gpio::contact::PinContact;
    use eroam_station::gpio::current::{Transformer, TransformerSensor};
    use eroam_station::gpio::relay::PinRelay;
    use eroam_station::hardware::integrating::EnergyIntegrator;
    use eroam_station::hardware::metered::MeteredSensor;
    use eroam_station::hardware::{Hardware, HardwareError};
    use eroam_station::journal::{Entry, Journal as _};
    use eroam_station::process::{Event, Settings};
    use eroam_wire::ocmf::{CurrentKind, MeterDescription, RecordWriter};
    use std::time::Duration;

    /// From one look to the next: each is a write that waits for the disk, which a card bears.
    const LOOKS_EVERY: Duration = Duration::from_secs(5);
    /// What flowed in a longer time between two looks, nobody knows, and nothing is counted. Longer than a look and a wallet
    /// that does not answer take together, so that nobody has power without being counted.
    const GAP_MAX: DurationMs = DurationMs::from_millis(30_000);
    /// The record of what the meter had counted when the last session was settled.
    const REGISTER: &str = "meter's register";

    /// The station's clock and its sensor.
    struct PinLooks {
        sensor: MeteredSensor,
        state: AgentState,
    }

    impl Looks for PinLooks {
        fn now(&self) -> UnixMillis {
            now()
        }

        fn next(&mut self) -> UnixMillis {
            std::thread::sleep(LOOKS_EVERY);
            let at = now();
            self.sensor.read(at);
            at
        }

        fn keep(&mut self) -> Result<(), StateError> {
            self.state.write(Changes::new().put(REGISTER, "", &self.sensor.counted()))
        }
    }

    pub(super) fn post(behind: Behind, config: GpioConfig) -> Result<Box<dyn Post>, ProgramError> {
        let GpioConfig {
            relay_bcm,
            contact_bcm,
            transformer_ratio,
            burden_ohm,
            mains_v,
            phases,
            current_max_a,
        } = config;
        let Behind { evse, key, mut journal, state, calibration } = behind;
        // First of all: off.
        let relay = PinRelay::new(relay_bcm).map_err(of("relay_bcm"))?;
        let contact = PinContact::new(contact_bcm).map_err(of("contact_bcm"))?;
        let transformer = Transformer { ratio: transformer_ratio, burden_ohms: burden_ohm };
        let sensor = TransformerSensor::new(transformer, calibration).map_err(of("the ADS1115"))?;

        let kept = state.get::<WattHours>(REGISTER, "")?.unwrap_or(WattHours::ZERO);
        let metered = journal.entries()?.into_iter().rev().find_map(|entry| match entry {
            Entry::Event { event: Event::Metered { register, .. }, .. } => Some(register),
            _ => None,
        });
        let register = metered.map_or(kept, |metered| metered.max(kept));
        let integrator = EnergyIntegrator::new(register, mains_v, phases, GAP_MAX);
        let sensor = MeteredSensor::new(Box::new(sensor), integrator);
        let too_much = || ProgramError::rule("[hardware] current_max_a", "it is less");
        let milliamperes = current_max_a.checked_mul(1_000).ok_or_else(too_much)?;
        // A tenth above the nominal voltage.
        let watts = [current_max_a, mains_v, phases, 11].into_iter().try_fold(1, u64::checked_mul);
        let settings = Settings {
            current_max: MilliAmperes::new(milliamperes),
            power_max: Watts::new(watts.ok_or_else(too_much)?.div_ceil(10)),
            ..Settings::standard()
        };
        let meter = MeterDescription {
            vendor: "eroam".to_owned(),
            model: "current transformer, nominal voltage".to_owned(),
            serial: format!("CT-{}", evse.normalised()),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            certified: false,
            kind: CurrentKind::Ac,
        };
        let writer = RecordWriter::new(key, meter, evse);
        let writer = writer.map_err(|error| ProgramError::rule("the meter", error))?;
        let hardware = Hardware {
            relay: Box::new(relay),
            meter: Box::new(sensor.clone()),
            sensor: Box::new(sensor.clone()),
            vehicle: Box::new(contact),
        };
        let looks = Box::new(PinLooks { sensor, state });
        let post = HardwarePost::open(settings, hardware, writer, journal, looks);
        Ok(Box::new(post.map_err(|error| ProgramError::rule("the charging point", error))?))
    }

    /// Hardware that is not there, or that this user may not use.
    fn of(item: &str) -> impl FnOnce(HardwareError) -> ProgramError {
        let item = format!("[hardware] {item}");
        move |error| {
            let why = crate::causes::chain(&error);
            ProgramError::rule(
                item,
                format!("{why}; is this a Raspberry Pi, and may this user use its pins?"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "kind = \"gpio\"\nrelay_bcm = 17\ncontact_bcm = 27\ntransformer_ratio = 2000\nburden_ohm = 22\n\
                          mains_v = 230\nphases = 1\ncurrent_max_a = 16";

    fn checked(text: &str) -> Result<(), ProgramError> {
        let HardwareConfig::Gpio(config) = toml::from_str(text).unwrap() else {
            panic!("{text} is no socket")
        };
        check(config)
    }

    #[test]
    fn what_cannot_be_a_socket_is_refused_by_name() {
        checked(SOCKET).unwrap();
        for (right, wrong) in [
            ("relay_bcm = 17", "relay_bcm = 28"),
            ("contact_bcm = 27", "contact_bcm = 40"),
            ("contact_bcm = 27", "contact_bcm = 17"),
            ("transformer_ratio = 2000", "transformer_ratio = 0"),
            ("burden_ohm = 22", "burden_ohm = -22"),
            ("mains_v = 230", "mains_v = 400"),
            ("phases = 1", "phases = 0"),
            ("current_max_a = 16", "current_max_a = 160"),
        ] {
            let said = checked(&SOCKET.replace(right, wrong)).unwrap_err().to_string();
            let (name, _) = wrong.split_once(' ').unwrap();
            assert!(said.contains(name), "{wrong}: {said}");
        }
        let unknown = toml::from_str::<HardwareConfig>(&format!("{SOCKET}\npower_w = 1"));
        assert!(unknown.unwrap_err().to_string().contains("power_w"));
    }

    /// On a machine that has no pins, or without the drivers.
    #[test]
    fn a_socket_without_its_computer_is_refused_with_the_remedy() {
        if std::path::Path::new("/dev/gpiomem").exists() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let journal = Box::new(SqliteJournal::open(&directory.path().join("journal")).unwrap());
        let behind = Behind {
            evse: "PT*GLP*E0001".parse().unwrap(),
            key: MeterKey::from_bytes(&[7; 32]).unwrap(),
            journal,
            state: AgentState::in_memory(),
            calibration: Calibration::NONE,
        };
        let Err(refused) = behind.post(&toml::from_str(SOCKET).unwrap()) else { panic!("there are no pins") };
        let said = refused.to_string();
        let remedy = if cfg!(all(feature = "gpio", target_os = "linux")) {
            "is this a Raspberry Pi"
        } else {
            "--features gpio"
        };
        assert!(said.contains("[hardware]") && said.contains(remedy), "{said}");
    }
}
