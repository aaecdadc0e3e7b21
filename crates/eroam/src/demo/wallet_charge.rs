//! The demonstration's last scene: a driver with a wallet, whom the operator does not know (paper B).
//!
//! Wallet, home utility, operator and station are agents that talk over HTTP on loopback, as in `eroam simulate`, with a
//! ledger of their own; nothing is left out, and the proof is a real one. The key with which the home utility issues
//! contracts was made before, because making one takes up to half a minute: everybody can read it, as all keys of the
//! demonstration follow from a printed seed.

use super::{DemoError, euro, script};
use crate::charging::station::Mode;
use crate::charging::wallet::Timings;
use crate::consortium::{Seed, founders};
use crate::simulate::Setup;
use crate::simulate::world::{Driver, World};
use eroam_domain::money::{Money, decimal};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{CivilMonth, LocalClock};
use eroam_domain::visit::ChargeLimits;
use eroam_ledger::state::StateKey;
use eroam_ledger::voucher::VoucherState;
use eroam_wallet::consent::Consent;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// An issuer's key that was made before, by the names that [`Setup::issuer_keys`] wants.
const ISSUER_KEY: [(&str, &[u8]); 3] = [
    ("definition.json", include_bytes!("../../tests/vectors/contract/definition.json")),
    ("secret.json", include_bytes!("../../tests/vectors/contract/secret.json")),
    ("key_correctness.json", include_bytes!("../../tests/vectors/contract/key_correctness.json")),
];
/// What the driver wants.
const ENERGY_WH: u64 = 12_000;
/// The most that it may cost, in millionths.
const ALLOWED_MICROS: i64 = 20_000_000;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WalletCharge {
    /// The home utility, which is all that the operator learns of whose customer it was.
    pub home: String,
    /// The operator.
    pub operator: String,
    /// Where, as the station's credential says.
    pub evse: String,
    /// What the operator is shown: names and values.
    pub shown: Vec<(String, String)>,
    /// What is proved without being shown.
    pub proved: Vec<String>,
    /// What stays hidden.
    pub hidden: Vec<String>,
    /// The most that the driver has allowed, in millionths.
    pub limit_micros: i64,
    /// Delivered, as the meter signed.
    pub energy: String,
    /// Why it ended.
    pub reason: String,
    /// What the ledger has of the voucher that paid, in millionths.
    pub voucher_spent_micros: i64,
    /// What is on the driver's bill, with VAT, in millionths.
    pub billed_micros: i64,
}

/// Charges by wallet.
///
/// # Errors
/// [`DemoError`].
pub(super) fn charge(seed: Seed) -> Result<WalletCharge, DemoError> {
    let keys = tempfile::tempdir().map_err(script)?;
    write_keys(keys.path()).map_err(script)?;
    let setup = Setup {
        drivers: 1,
        emsps: 1,
        cpos: 1,
        stations: 1,
        events: 1,
        seed,
        mode: Mode::Default,
        issuer_keys: Some(keys.path().to_owned()),
        data: None,
        served: false,
        processes: None,
    };
    let mut world = World::build(&setup, &mut |_| {})?;
    let invitation = world.stations().first().map(|standing| standing.station().invitation().clone());
    let invitation = invitation.ok_or_else(|| script("its station"))?;
    let limits = ChargeLimits { energy_max: WattHours::from_wh(ENERGY_WH), ..ChargeLimits::default() };
    let allowed = Money::new(ALLOWED_MICROS, founders::currency());
    let mut seen: Option<Consent> = None;
    let mut agrees = |consent: &Consent| {
        seen = Some(consent.clone());
        true
    };
    let Driver { wallet, contract } = world.drivers.first_mut().ok_or_else(|| script("its driver"))?;
    let contract = *contract;
    wallet.prepare(&contract)?;
    let mut timings = Timings::default();
    let receipt = wallet.charge(&contract, &invitation, limits, allowed, &mut agrees, &mut timings)?;
    // What the station has told the operator by now is booked and reported.
    let told = world.stations().first().and_then(|standing| standing.outcome());
    told.ok_or_else(|| script("its station"))?.map_err(script)?;
    world.finish()?;

    let consent = seen.ok_or_else(|| script("its consent"))?;
    let nullifier = receipt.spent.voucher.voucher.nullifier();
    let state: VoucherState = world
        .catalogue()?
        .entry(&StateKey::Voucher(receipt.emsp, nullifier), "the voucher")
        .map_err(script)?;
    let VoucherState::Spent { amount, .. } = state else { return Err(script("its voucher")) };
    let month = CivilMonth::of(LocalClock::UTC.at(receipt.finished.start).date);
    let Driver { wallet, .. } = world.drivers.first_mut().ok_or_else(|| script("its driver"))?;
    let billed = wallet.bill(&contract, month)?;
    let [billed] = billed.as_slice() else { return Err(script("its bill")) };
    Ok(WalletCharge {
        home: receipt.emsp.to_string(),
        operator: receipt.station.operator.to_string(),
        evse: receipt.station.evse.to_string(),
        shown: consent.shown,
        proved: consent.proved,
        hidden: consent.hidden,
        limit_micros: receipt.spent.acceptance.limit,
        energy: format!("{} kWh", decimal(i128::from(receipt.finished.energy.milli_wh()), 6, 3)),
        reason: receipt.finished.reason.to_string(),
        voucher_spent_micros: amount,
        billed_micros: billed.price.incl_vat,
    })
}

fn write_keys(directory: &Path) -> std::io::Result<()> {
    ISSUER_KEY.iter().try_for_each(|(name, bytes)| std::fs::write(directory.join(name), bytes))
}

impl fmt::Display for WalletCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { home, operator, evse, shown, proved, hidden, energy, reason, .. } = self;
        let shown: Vec<String> = shown.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "A driver with a wallet, on a network of agents with a ledger of its own")?;
        writeln!(f, "\n  a customer of {home}, unknown to {operator}, at {evse}")?;
        writeln!(f, "  the station proved that {operator} vouches for it")?;
        writeln!(f, "  shown to it: {}", shown.join(", "))?;
        writeln!(f, "  proved to it: {}", proved.join(", "))?;
        writeln!(f, "  hidden from it: {}", hidden.join(", "))?;
        writeln!(
            f,
            "  a voucher of {home} was reserved on the ledger for up to {}",
            euro(self.limit_micros)
        )?;
        writeln!(f, "  delivered {energy}: {reason}")?;
        writeln!(
            f,
            "  the ledger has the voucher as spent: {home} owes {operator} {}",
            euro(self.voucher_spent_micros)
        )?;
        write!(f, "  the driver owes {home} {} with VAT", euro(self.billed_micros))
    }
}
