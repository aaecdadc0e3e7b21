//! `eroam wallet quote`, `charge` and `stop`: a driver at a station, in front of a terminal.

use super::asking::ask_whether;
use super::receipts::receipt_text;
use super::{RESUME, Session, beside, described, kw, kwh, positive};
use anyhow::{Context as _, bail};
use clap::Args;
use eroam::causes::chain;
use eroam::charging::wallet::{Attendant, Timings, Wallet, read_code};
use eroam::clock::{in_time, now};
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::quantity::{MilliAmperes, WattHours};
use eroam_domain::visit::{ChargeLimits, Progress, Started};
use eroam_ssi::custody::file::{FileError, VaultFile};
use eroam_wallet::consent::Consent;
use serde_json::json;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// So many vouchers are withdrawn when there are none.
const WITHDRAWN_AT_ONCE: usize = 16;
/// What a charge may cost if nothing is said, in millionths.
const AMOUNT_USUAL: i64 = 20_000_000;
/// So long the program that charges may take to see that it shall stop.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct QuoteArgs {
    /// What the station's code says: a URL
    invitation: String,
    /// With this contract
    #[arg(long)]
    contract: Option<ContractId>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Where a charge stops at the latest.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LimitArgs {
    /// Stop when the operator would get so much [default: 20, or what a voucher pays]
    #[arg(long, value_name = "AMOUNT", value_parser = |text: &str| positive(text, 6))]
    pub(super) amount: Option<i64>,
    /// Stop at so many kilowatt-hours
    #[arg(long, value_name = "KWH", value_parser = |text: &str| positive(text, 6))]
    energy: Option<i64>,
    /// Stop after so many minutes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: Option<u32>,
    /// Take at most so many amperes of each phase
    #[arg(long, value_name = "AMPERES", value_parser = clap::value_parser!(u32).range(6..=1_000))]
    current: Option<u32>,
}

impl LimitArgs {
    /// From now on.
    pub(super) fn limits(&self) -> ChargeLimits {
        ChargeLimits {
            // From millionths of a kilowatt-hour to thousandths of a watt-hour: the same.
            energy_max: self
                .energy
                .and_then(|energy| u64::try_from(energy).ok())
                .map(WattHours::from_milli_wh),
            leaves_at: self.minutes.map(|minutes| in_time(Duration::from_secs(u64::from(minutes) * 60))),
            amount_max: None,
            current_max: self.current.map(|amperes| MilliAmperes::new(u64::from(amperes) * 1_000)),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ChargeArgs {
    /// What the station's code says: a URL
    #[arg(required_unless_present = "resume")]
    invitation: Option<String>,
    /// Take a charge up again that this wallet did not see end: the newest one, or that of this number
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, conflicts_with_all = ["invitation", "contract", "amount", "energy", "minutes", "current"])]
    resume: Option<Option<u32>>,
    /// With this contract
    #[arg(long)]
    contract: Option<ContractId>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Agree to what is shown without being asked
    #[arg(long)]
    yes: bool,
}

impl Session<'_> {
    /// What the driver allows the operator to be paid: as said, or the usual, within what a voucher pays. Withdraws
    /// vouchers where there are none.
    pub(super) fn allowed(
        wallet: &mut Wallet,
        id: &ContractId,
        amount: Option<i64>,
    ) -> anyhow::Result<Money> {
        let largest = |wallet: &Wallet| {
            let vouchers = wallet.contracts.get(id)?.purse.vouchers();
            let valid = vouchers.map(|signed| signed.voucher).filter(|voucher| voucher.is_valid_at(now()));
            valid.map(|voucher| voucher.cap).max_by_key(|cap| cap.micros)
        };
        if largest(wallet).is_none() {
            wallet.withdraw(id, WITHDRAWN_AT_ONCE, now().utc_day())?;
        }
        let cap = largest(wallet).context("your provider gave no voucher that is valid now")?;
        let allowed = Money::new(amount.unwrap_or(AMOUNT_USUAL.min(cap.micros)), cap.currency);
        if allowed.micros > cap.micros {
            bail!("your vouchers pay at most {cap} for a charge: allow less than {allowed}");
        }
        Ok(allowed)
    }

    /// Asks the provider for its rules if that was long ago. Without them the price says so.
    pub(super) fn learn_prices(&self, wallet: &mut Wallet, id: &ContractId) {
        if let Err(error) = wallet.learn_prices(id) {
            eprintln!("your provider's rules for prices could not be asked for: {}", chain(&error));
        }
    }

    pub(super) fn quote(&self, args: &QuoteArgs) -> anyhow::Result<()> {
        let invitation = read_code(&args.invitation)?;
        let mut wallet = self.wallet()?;
        let id = self.contract_for(&mut wallet, args.contract, &invitation, &args.limits)?;
        let allowed = Self::allowed(&mut wallet, &id, args.limits.amount)?;
        self.learn_prices(&mut wallet, &id);
        let (station, cost) = wallet.quote(&id, &invitation, args.limits.limits(), allowed)?;
        self.print(
            &json!({ "contract": id, "station": station, "cost": cost }),
            &format!("{}\n{cost}", described(&station)),
        )
    }

    pub(super) fn charge(&self, args: &ChargeArgs) -> anyhow::Result<()> {
        let Some(invitation) = &args.invitation else { return self.resume(args.resume.flatten()) };
        let invitation = read_code(invitation)?;
        let mut wallet = self.wallet()?;
        let id = self.contract_for(&mut wallet, args.contract, &invitation, &args.limits)?;
        let allowed = Self::allowed(&mut wallet, &id, args.limits.amount)?;
        wallet.renew(&id, allowed, WITHDRAWN_AT_ONCE)?;
        self.learn_prices(&mut wallet, &id);
        let limits = args.limits.limits();
        // While the driver parks.
        wallet.prepare(&id)?;
        let mut driver = AtTheStation::new(args.yes, beside(&self.path, ".stop"));
        let mut timings = Timings::default();
        let charged = wallet.charge(&id, &invitation, limits, allowed, &mut driver, &mut timings);
        driver.leave();
        self.print_receipt(wallet, charged?.number)
    }

    fn resume(&self, number: Option<u32>) -> anyhow::Result<()> {
        let mut wallet = self.wallet()?;
        let mut driver = AtTheStation::new(true, beside(&self.path, ".stop"));
        let charged = wallet.resume(number, &mut driver);
        driver.leave();
        self.print_receipt(wallet, charged?.number)
    }

    fn print_receipt(&self, wallet: Wallet, number: u32) -> anyhow::Result<()> {
        let charges = wallet.into_file().map(|file| file.charges()).transpose()?.unwrap_or_default();
        let charge = charges.into_iter().find(|charge| charge.number == number);
        let charge = charge.context("the wallet did not keep the receipt")?;
        self.print(&charge, &receipt_text(&charge))
    }

    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let (none, marker) = ("no charge is running with this wallet", beside(&self.path, ".stop"));
        if !self.path.exists() {
            bail!("{none}");
        }
        match VaultFile::lock(&self.path) {
            Ok(_) => bail!("{none}"),
            Err(FileError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        std::fs::write(&marker, b"").with_context(|| format!("{} cannot be written", marker.display()))?;
        let until = std::time::Instant::now() + STOPS_WITHIN;
        while marker.exists() {
            if std::time::Instant::now() > until {
                let _ = std::fs::remove_file(&marker);
                bail!("the program that uses the wallet is not charging");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.print(
            &json!({ "stopping": true }),
            "the station is told to stop; the receipt is in the other terminal",
        )
    }
}

/// The driver, in front of a terminal.
struct AtTheStation {
    yes: bool,
    marker: PathBuf,
    interrupted: Arc<AtomicBool>,
    is_terminal: bool,
}

impl AtTheStation {
    fn new(yes: bool, marker: PathBuf) -> Self {
        // Of an earlier charge that nobody waited for.
        let _ = std::fs::remove_file(&marker);
        let is_terminal = std::io::stderr().is_terminal();
        Self { yes, marker, interrupted: Arc::default(), is_terminal }
    }

    fn leave(&self) {
        if self.is_terminal {
            eprintln!();
        }
        let _ = std::fs::remove_file(&self.marker);
    }
}

impl Attendant for AtTheStation {
    fn agrees(&mut self, consent: &Consent) -> bool {
        eprint!("{consent}");
        self.yes || ask_whether("shall it be?").unwrap_or(false)
    }

    fn started(&mut self, started: &Started) {
        let energy = kwh(started.energy_max);
        eprintln!("power is on, up to {energy} kWh; Ctrl-C or `eroam wallet stop` ends it");
        let interrupted = Arc::clone(&self.interrupted);
        let listen = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                if interrupted.swap(true, Ordering::AcqRel) {
                    // The station goes on to the limits that were agreed to.
                    std::process::exit(130);
                }
                eprintln!("\nstopping; once more to leave without a receipt");
            }
        };
        // Without it, Ctrl-C ends the program, as anywhere.
        let _ = std::thread::Builder::new().name("interrupts".to_owned()).spawn(listen);
    }

    fn progress(&mut self, progress: &Progress) {
        let line = format!("{}  {} kWh  {}", progress.at, kwh(progress.energy), kw(progress.power));
        if self.is_terminal {
            eprint!("\r{line}   ");
        } else {
            eprintln!("{line}");
        }
    }

    fn hears_nothing(&mut self) {
        eprintln!(
            "\nthe station says nothing any more; the charge goes on to the limits that you agreed to: when you have a network \
             again, end this with Ctrl-C, twice, and {RESUME}"
        );
    }

    fn wants_stop(&mut self) -> bool {
        if std::fs::remove_file(&self.marker).is_ok() {
            self.interrupted.store(true, Ordering::Release);
        }
        self.interrupted.load(Ordering::Acquire)
    }
}
