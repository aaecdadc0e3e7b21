//! A provider, operators, stations and drivers, for one test.

use eroam::charging::ChargingError;
use eroam::charging::station::{Mode, Outcome};
use eroam::charging::wallet::{Receipt, Timings};
use eroam::consortium::Seed;
use eroam::consortium::founders::currency;
use eroam::simulate::Setup;
use eroam::simulate::world::{Driver, World, fields};
use eroam_domain::money::Money;
use eroam_domain::quantity::WattHours;
use eroam_domain::visit::ChargeLimits;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_wallet::consent::Consent;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A charge leaves hours out of the process's clock, in the middle of which no other test can be.
static CLOCK: Mutex<()> = Mutex::new(());

pub(crate) const SEED: Seed = Seed(7);

/// A town with the only clock.
pub(crate) struct Town {
    pub(crate) world: World,
    _turn: MutexGuard<'static, ()>,
}

impl Town {
    /// One provider, two operators; the first, third, .. station is of the first operator.
    pub(crate) fn new(drivers: usize, stations: usize) -> Self {
        Self::of_mode(drivers, stations, Mode::Default)
    }

    /// The same, where drivers prove their contracts in this way.
    pub(crate) fn of_mode(drivers: usize, stations: usize, mode: Mode) -> Self {
        let turn = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let setup = Setup {
            drivers,
            emsps: 1,
            cpos: 2,
            stations,
            events: 0,
            seed: SEED,
            mode,
            issuer_keys: Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract")),
            data: None,
            served: false,
            processes: None,
        };
        Self { world: World::build(&setup, &mut |_| {}).unwrap(), _turn: turn }
    }

    pub(crate) fn invitation(&self, station: usize) -> Invitation {
        self.world.stations()[station].station().invitation().clone()
    }

    /// A driver who agrees to everything charges five kilowatt-hours.
    pub(crate) fn charge(&mut self, driver: usize, station: usize) -> Result<Receipt, ChargingError> {
        let invitation = self.invitation(station);
        charge(&mut self.world.drivers[driver], &invitation)
    }

    pub(crate) fn outcome(&self, station: usize) -> Outcome {
        self.world.stations()[station].outcome().expect("a visit").expect("which the station understood")
    }

    /// A driver with a wallet that has seen nothing that others have, and a contract for some zones.
    pub(crate) fn newcomer(&self, zones: &str) -> Driver {
        let mut fields: BTreeMap<_, _> = fields(90);
        fields.insert("zones".to_owned(), zones.to_owned());
        self.world.newcomer(0, &fields).unwrap()
    }

    /// How many records the operators have booked, and how many charges are on bills.
    pub(crate) fn settled(&mut self) -> (u64, u64) {
        self.world.finish().unwrap()
    }
}

pub(crate) fn euros(amount: i64) -> Money {
    Money::new(amount * 1_000_000, currency())
}

pub(crate) fn five_kwh() -> ChargeLimits {
    ChargeLimits { energy_max: WattHours::from_wh(5_000), ..ChargeLimits::default() }
}

/// A driver who agrees to everything charges five kilowatt-hours for at most 30 EUR.
pub(crate) fn charge(driver: &mut Driver, invitation: &Invitation) -> Result<Receipt, ChargingError> {
    charge_if(driver, invitation, &mut |_| true)
}

pub(crate) fn charge_if(
    driver: &mut Driver,
    invitation: &Invitation,
    agrees: &mut dyn FnMut(&Consent) -> bool,
) -> Result<Receipt, ChargingError> {
    charge_up_to(driver, invitation, five_kwh(), euros(30), agrees)
}

pub(crate) fn charge_up_to(
    Driver { wallet, contract }: &mut Driver,
    invitation: &Invitation,
    limits: ChargeLimits,
    allowed: Money,
    agrees: &mut dyn FnMut(&Consent) -> bool,
) -> Result<Receipt, ChargingError> {
    let mut agrees = |consent: &Consent| agrees(consent);
    wallet.charge(contract, invitation, limits, allowed, &mut agrees, &mut Timings::default())
}

/// A driver agrees to everything and charges five kilowatt-hours: what they were told, and the receipt.
pub(crate) fn consented(town: &mut Town, driver: usize, station: usize) -> (Consent, Receipt) {
    let (invitation, mut seen) = (town.invitation(station), None);
    let mut agrees = |consent: &Consent| {
        seen = Some(consent.clone());
        true
    };
    let receipt = charge_if(&mut town.world.drivers[driver], &invitation, &mut agrees).unwrap();
    (seen.expect("who is asked"), receipt)
}

/// What the driver reads.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ChargingError>) -> String {
    result.unwrap_err().to_string()
}

/// What the station says of a visit that came to nothing.
pub(crate) fn denied(outcome: Outcome) -> String {
    match outcome {
        Outcome::Denied(reason) => reason,
        other => panic!("{other:?}"),
    }
}
