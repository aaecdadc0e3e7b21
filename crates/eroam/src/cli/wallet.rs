//! `eroam wallet`: a driver's wallet.
//!
//! Its file is locked by whoever has it open. To stop a charge from another terminal, `eroam wallet stop` leaves a file
//! beside it, which the program that charges looks for and takes away.

use super::print_line;
use super::simulate::ModeArg;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use console::Term;
use eroam::causes::chain;
use eroam::charging::catalogue::Catalogue;
use eroam::charging::locations::{self, Location};
use eroam::charging::provider::{FieldKind, RegistrationForm};
use eroam::charging::wallet::{Attendant, Timings, Wallet, read_code};
use eroam::charging::wallet_file::{ChargeStage, KeptCharge, Network, WalletFile};
use eroam::clock::{in_time, now};
use eroam::ledger::export::read_genesis;
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::ContractId;
use eroam_domain::money::{Money, decimal, parse_decimal};
use eroam_domain::quantity::{MilliAmperes, WattHours, Watts};
use eroam_domain::time::{CivilMonth, LocalClock};
use eroam_domain::visit::{ChargeLimits, Progress, Started, StationClaims};
use eroam_ledger::state::StateKey;
use eroam_ledger::voucher::VoucherState;
use eroam_ssi::custody::Passphrase;
use eroam_ssi::custody::file::{FileError, VaultFile};
use eroam_wallet::consent::Consent;
use eroam_wallet::price::price_lines;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zeroize::Zeroizing;

/// Where the passphrase can be, for programs.
const PASSPHRASE: &str = "EROAM_WALLET_PASSPHRASE";
/// So many vouchers are withdrawn when there are none.
const WITHDRAWN_AT_ONCE: usize = 16;
/// What a charge may cost if nothing is said, in millionths.
const AMOUNT_USUAL: i64 = 20_000_000;
/// Bytes of tails files that are kept.
const TAILS_BYTES_MAX: u64 = 64 << 20;
/// What a driver does whose wallet has not heard the end.
const RESUME: &str = "`eroam wallet charge --resume` asks the station";
/// So long the program that charges may take to see that it shall stop.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct WalletArgs {
    /// The wallet's file [default: eroam/wallet in the user's data directory]
    #[arg(long, global = true, value_name = "FILE")]
    wallet: Option<PathBuf>,
    /// Read the passphrase from this file instead of from the terminal (or set EROAM_WALLET_PASSPHRASE)
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// What is proved at stations, and by them: as the network's stations have it
    #[arg(long, global = true, value_enum, default_value_t = ModeArg::Default)]
    mode: ModeArg,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Make a new wallet for a network
    Init(InitArgs),
    /// Make a contract with a provider
    Enrol(EnrolArgs),
    /// The contracts, and what their credentials say
    Credentials,
    /// What is left to spend; withdraw more
    Vouchers(VouchersArgs),
    /// The stations that operators list, with the prices that these charge their partners
    Find(FindArgs),
    /// Whose station a code leads to, and whether it is genuine
    Scan(ScanArgs),
    /// Charge at a station
    Charge(ChargeArgs),
    /// Stop the charge that another terminal waits for
    Stop,
    /// The charges, and proofs of what the ledger has of them
    Receipts(ReceiptsArgs),
    /// What is on the bill of a month so far
    Bill(BillArgs),
    /// Write a copy of the wallet, under the same passphrase
    Backup(BackupArgs),
    /// Bring a copy back
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// A registry of the network: anybody's, since it proves what it says
    #[arg(long, value_name = "URL")]
    resolver: String,
    /// The genesis of the network, from somebody you trust: all proofs are checked against it
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
}

#[derive(Debug, Args)]
struct EnrolArgs {
    /// The provider
    url: String,
    /// What you enter, as NAME=VALUE; what is missing is asked for
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// Agree to the provider's terms without being asked
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct VouchersArgs {
    /// Withdraw so many more. At a time that has nothing to do with a charge your provider learns least
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    withdraw: Option<u16>,
    /// For this contract
    #[arg(long)]
    contract: Option<ContractId>,
}

#[derive(Debug, Args)]
struct FindArgs {
    /// The operators
    #[arg(required = true, value_name = "URL")]
    operators: Vec<String>,
}

#[derive(Debug, Args)]
struct ScanArgs {
    /// What the station's code says: a URL
    invitation: String,
}

#[derive(Debug, Args)]
struct ChargeArgs {
    /// What the station's code says: a URL
    #[arg(required_unless_present = "resume")]
    invitation: Option<String>,
    /// Take a charge up again that this wallet did not see end: the newest one, or that of this number
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, conflicts_with_all = ["invitation", "contract", "amount", "energy", "minutes", "current"])]
    resume: Option<Option<u32>>,
    /// With this contract
    #[arg(long)]
    contract: Option<ContractId>,
    /// Stop at so much money, at the operator's price [default: 20, or what a voucher pays]
    #[arg(long, value_name = "AMOUNT", value_parser = |text: &str| positive(text, 6))]
    amount: Option<i64>,
    /// Stop at so many kilowatt-hours
    #[arg(long, value_name = "KWH", value_parser = |text: &str| positive(text, 6))]
    energy: Option<i64>,
    /// Stop after so many minutes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: Option<u32>,
    /// Take at most so many amperes of each phase
    #[arg(long, value_name = "AMPERES", value_parser = clap::value_parser!(u32).range(6..=1_000))]
    current: Option<u32>,
    /// Agree to what is shown without being asked
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct ReceiptsArgs {
    /// This one alone
    number: Option<u32>,
    /// Write the ledger's proof of what became of a receipt's voucher; `eroam verify` checks it without any network
    #[arg(long, num_args = 2, value_names = ["NUMBER", "FILE"])]
    proof: Option<Vec<String>>,
}

#[derive(Debug, Args)]
struct BillArgs {
    /// Which month, as yyyy-mm; this one if nothing is said
    #[arg(long)]
    month: Option<CivilMonth>,
    /// Of this contract
    #[arg(long)]
    contract: Option<ContractId>,
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// A file that is not there yet
    file: PathBuf,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// What `eroam wallet backup` wrote
    file: PathBuf,
    /// Put it in the place of the wallet that is there
    #[arg(long)]
    replace: bool,
}

fn field(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("a field is written NAME=VALUE")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

fn positive(text: &str, scale: u8) -> Result<i64, String> {
    match parse_decimal(text, scale) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) => Err("it must be above zero".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(args: &WalletArgs) -> anyhow::Result<ExitCode> {
    let path = match &args.wallet {
        Some(path) => path.clone(),
        None => usual_place().context("no place for the wallet is known here: name one with --wallet")?,
    };
    let session = Session { args, path };
    match &args.command {
        WalletCommand::Init(init) => session.init(init),
        WalletCommand::Enrol(enrol) => session.enrol(enrol),
        WalletCommand::Credentials => session.credentials(),
        WalletCommand::Vouchers(vouchers) => session.vouchers(vouchers),
        WalletCommand::Find(find) => session.find(find),
        WalletCommand::Scan(scan) => session.scan(scan),
        WalletCommand::Charge(charge) => session.charge(charge),
        WalletCommand::Stop => session.stop(),
        WalletCommand::Receipts(receipts) => session.receipts(receipts),
        WalletCommand::Bill(bill) => session.bill(bill),
        WalletCommand::Backup(backup) => session.backup(backup),
        WalletCommand::Restore(restore) => session.restore(restore),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Where the system wants programs to keep what is the user's.
fn usual_place() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = if cfg!(windows) {
        from("APPDATA")
    } else if cfg!(target_os = "macos") {
        from("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")))
    };
    Some(data?.join("eroam").join("wallet"))
}

/// One command.
struct Session<'a> {
    args: &'a WalletArgs,
    path: PathBuf,
}

impl Session<'_> {
    fn print(&self, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
        print_line(if self.args.json { serde_json::to_string(json)? } else { text.to_owned() }.trim_end())
    }

    /// The passphrase; a new one is typed twice.
    fn passphrase(&self, is_new: bool) -> anyhow::Result<Passphrase> {
        let text = match (&self.args.passphrase_file, std::env::var(PASSPHRASE)) {
            (Some(file), _) => {
                let read = std::fs::read_to_string(file).map(Zeroizing::new);
                let read =
                    read.with_context(|| format!("the passphrase cannot be read from {}", file.display()))?;
                let line = read.strip_suffix('\n').unwrap_or(&read);
                Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
            (None, Ok(text)) => Zeroizing::new(text),
            (None, Err(_)) if std::io::stdin().is_terminal() => {
                let asked = ask_secretly("passphrase of the wallet: ")?;
                if is_new && ask_secretly("the same again: ")? != asked {
                    bail!("these are two different passphrases");
                }
                asked
            }
            (None, Err(_)) => bail!(
                "there is no terminal to ask for the passphrase: name a file with --passphrase-file, or set {PASSPHRASE}"
            ),
        };
        Passphrase::new(text).context("this passphrase cannot be used")
    }

    fn file(&self) -> anyhow::Result<WalletFile> {
        Ok(WalletFile::open(&self.path, &self.passphrase(false)?)?)
    }

    fn wallet(&self) -> anyhow::Result<Wallet> {
        let file = self.file()?;
        let tails = beside(&self.path, ".tails");
        let tails = TailsCache::open(tails, TAILS_BYTES_MAX)?;
        Ok(Wallet::open(file, Arc::new(tails), self.args.mode.into())?)
    }

    fn init(&self, args: &InitArgs) -> anyhow::Result<()> {
        let genesis = read_genesis(&args.genesis)?;
        let network =
            Network { resolver: args.resolver.trim_end_matches('/').to_owned(), genesis: genesis.to_json() };
        // What can be found out comes before anybody types a passphrase.
        network.trust()?;
        make_directory(&self.path)?;
        WalletFile::create(&self.path, &self.passphrase(true)?, &network)?;
        let (path, id) = (self.path.display(), genesis.network());
        self.print(
            &json!({ "wallet": path.to_string(), "network": id }),
            &format!("made {path} for the network {} ({id})\nwithout its passphrase nobody can open it, neither can you", genesis.name),
        )
    }

    fn enrol(&self, args: &EnrolArgs) -> anyhow::Result<()> {
        let mut wallet = self.wallet()?;
        let url = args.url.trim_end_matches('/');
        let form = wallet.form(url)?;
        let mut fields: BTreeMap<String, String> = args.fields.iter().cloned().collect();
        ask_for_missing(&form, &mut fields)?;
        if !args.yes {
            eprintln!("{}", form.terms);
        }
        if !args.yes && !ask_whether("do you agree to this contract?")? {
            bail!("no contract was made");
        }
        let contract = wallet.enrol(url, &fields)?;
        self.print(
            &json!({ "contract": contract, "provider": form.provider }),
            &format!("contract {contract} with {} ({})", form.name, form.provider),
        )
    }

    fn credentials(&self) -> anyhow::Result<()> {
        let file = self.file()?;
        let (mut listed, mut text) = (Vec::new(), String::new());
        for id in file.contracts()? {
            let (kept, (credential, _)) = (file.contract(&id)?, file.credential(&id)?);
            text.push_str(&format!("{id}  with {}\n", kept.emsp));
            let mut values = BTreeMap::new();
            for (name, value) in credential.values() {
                text.push_str(&format!("  {name:<14} {value}\n"));
                values.insert(name.to_owned(), value.to_owned());
            }
            listed.push(json!({
                "contract": id, "provider": kept.emsp, "provider_url": kept.provider_url, "values": values,
            }));
        }
        if listed.is_empty() {
            text.push_str("no contract: make one with `eroam wallet enrol`");
        }
        self.print(&listed, &text)
    }

    fn vouchers(&self, args: &VouchersArgs) -> anyhow::Result<()> {
        let file = match args.withdraw {
            None => self.file()?,
            Some(count) => {
                let mut wallet = self.wallet()?;
                let id = chosen(wallet.contracts.keys().copied().collect(), args.contract)?;
                wallet.withdraw(&id, usize::from(count), now().utc_day())?;
                wallet.into_file().context("the wallet has no file")?
            }
        };
        let (mut listed, mut text) = (Vec::new(), String::new());
        let ids = file.contracts()?.into_iter().filter(|id| args.contract.is_none_or(|wanted| wanted == *id));
        for id in ids {
            let purse = file.purse(&id)?;
            let there: Vec<_> = purse
                .vouchers()
                .map(|signed| {
                    let voucher = signed.voucher;
                    json!({
                        "nullifier": voucher.nullifier(), "cap": voucher.cap,
                        "valid_from": voucher.valid_from, "valid_until": voucher.valid_until,
                    })
                })
                .collect();
            let worth = purse.value_at(now());
            let worth: Vec<String> = worth.iter().map(ToString::to_string).collect();
            let worth = if worth.is_empty() { "nothing".to_owned() } else { worth.join(", ") };
            text.push_str(&format!("{id}  {} vouchers, worth {worth} now\n", there.len()));
            listed.push(json!({ "contract": id, "vouchers": there }));
        }
        if listed.is_empty() {
            text.push_str("no contract: make one with `eroam wallet enrol`");
        }
        self.print(&listed, &text)
    }

    fn find(&self, args: &FindArgs) -> anyhow::Result<()> {
        let mut found: Vec<Location> = Vec::new();
        for operator in &args.operators {
            found.extend(locations::look_up(operator)?);
        }
        // Whoever has no wallet yet may look around, too: then prices are what operators say.
        if self.path.exists() {
            let network = self.file()?.network()?;
            let ledger = Catalogue::new(&network.resolver, network.trust()?);
            found.iter_mut().for_each(|location| prove_prices(location, &ledger));
        }
        let text: String = found.iter().map(location_text).collect();
        self.print(&found, if found.is_empty() { "no station is listed" } else { &text })
    }

    fn scan(&self, args: &ScanArgs) -> anyhow::Result<()> {
        let invitation = read_code(&args.invitation)?;
        let station = self.wallet()?.scan(&invitation)?;
        self.print(&json!({ "genuine": true, "station": station }), &described(&station))
    }

    fn charge(&self, args: &ChargeArgs) -> anyhow::Result<()> {
        let Some(invitation) = &args.invitation else { return self.resume(args.resume.flatten()) };
        let invitation = read_code(invitation)?;
        let mut wallet = self.wallet()?;
        let id = chosen(wallet.contracts.keys().copied().collect(), args.contract)?;
        let largest = |wallet: &Wallet| {
            let vouchers = wallet.contracts.get(&id)?.purse.vouchers();
            let valid = vouchers.map(|signed| signed.voucher).filter(|voucher| voucher.is_valid_at(now()));
            valid.map(|voucher| voucher.cap).max_by_key(|cap| cap.micros)
        };
        if largest(&wallet).is_none() {
            wallet.withdraw(&id, WITHDRAWN_AT_ONCE, now().utc_day())?;
        }
        let cap = largest(&wallet).context("your provider gave no voucher that is valid now")?;
        let amount = args.amount.unwrap_or(AMOUNT_USUAL.min(cap.micros));
        let allowed = Money::new(amount, cap.currency);
        if allowed.micros > cap.micros {
            bail!("your vouchers pay at most {cap} for a charge: allow less than {allowed}");
        }
        wallet.renew(&id, allowed, WITHDRAWN_AT_ONCE)?;
        let limits = ChargeLimits {
            // From millionths of a kilowatt-hour to thousandths of a watt-hour: the same.
            energy_max: args
                .energy
                .and_then(|energy| u64::try_from(energy).ok())
                .map(WattHours::from_milli_wh),
            leaves_at: args.minutes.map(|minutes| in_time(Duration::from_secs(u64::from(minutes) * 60))),
            amount_max: None,
            current_max: args.current.map(|amperes| MilliAmperes::new(u64::from(amperes) * 1_000)),
        };
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

    fn stop(&self) -> anyhow::Result<()> {
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

    fn receipts(&self, args: &ReceiptsArgs) -> anyhow::Result<()> {
        let file = self.file()?;
        let charges = file.charges()?;
        let numbered = |number: u32| {
            let found = charges.iter().find(|charge| charge.number == number);
            found.with_context(|| format!("there is no receipt {number}"))
        };
        if let Some([number, target]) =
            args.proof.as_deref().and_then(|both| <&[String; 2]>::try_from(both).ok())
        {
            let number: u32 =
                number.parse().with_context(|| format!("{number} is no number of a receipt"))?;
            let charge = numbered(number)?;
            let network = file.network()?;
            let catalogue = Catalogue::new(&network.resolver, network.trust()?);
            let nullifier = charge.spent.voucher.voucher.nullifier();
            let (key, item) = (StateKey::Voucher(charge.emsp, nullifier), nullifier.to_string());
            // It is written only if it proves something.
            let _: VoucherState = catalogue.entry(&key, &item)?;
            let proof = catalogue.proof(&key, &item)?;
            std::fs::write(target, proof).with_context(|| format!("{target} cannot be written"))?;
            return self.print(
                &json!({ "receipt": number, "voucher": nullifier, "proof": target }),
                &format!(
                    "{target} proves what the ledger has of the voucher {nullifier} of receipt {number}"
                ),
            );
        }
        if let Some(number) = args.number {
            let charge = numbered(number)?;
            return self.print(charge, &receipt_text(charge));
        }
        let text: Vec<String> = charges.iter().map(receipt_text).collect();
        self.print(
            &charges,
            if text.is_empty() { "no charge yet".to_owned() } else { text.join("\n") }.as_str(),
        )
    }

    fn bill(&self, args: &BillArgs) -> anyhow::Result<()> {
        let mut wallet = self.wallet()?;
        let id = chosen(wallet.contracts.keys().copied().collect(), args.contract)?;
        let month = args.month.unwrap_or_else(|| CivilMonth::of(LocalClock::UTC.at(now()).date));
        let charges = wallet.bill(&id, month)?;
        let mut totals: BTreeMap<_, i64> = BTreeMap::new();
        let mut text = format!("{id}, {month}\n");
        for charge in &charges {
            let price = Money::new(charge.price.incl_vat, charge.currency);
            let total = totals.entry(charge.currency).or_default();
            *total = total.checked_add(price.micros).context("the bill is too large")?;
            text.push_str(&format!(
                "{}  {}  {} ({})  {} kWh  {price}\n",
                charge.start,
                charge.operator,
                charge.place,
                charge.evse,
                kwh(charge.energy)
            ));
        }
        let totals: Vec<Money> =
            totals.into_iter().map(|(currency, micros)| Money::new(micros, currency)).collect();
        let sum: Vec<String> = totals.iter().map(ToString::to_string).collect();
        text.push_str(&if sum.is_empty() {
            "nothing so far".to_owned()
        } else {
            format!("together {}", sum.join(", "))
        });
        self.print(&json!({ "contract": id, "month": month, "charges": charges, "totals": totals }), &text)
    }

    fn backup(&self, args: &BackupArgs) -> anyhow::Result<()> {
        self.file()?.back_up(&args.file)?;
        let path = args.file.display();
        self.print(
            &json!({ "backup": path.to_string() }),
            &format!("{path} opens with the same passphrase; a newer copy has newer vouchers"),
        )
    }

    fn restore(&self, args: &RestoreArgs) -> anyhow::Result<()> {
        make_directory(&self.path)?;
        WalletFile::restore(&args.file, &self.path, &self.passphrase(false)?, args.replace)?;
        let path = self.path.display();
        self.print(
            &json!({ "wallet": path.to_string() }),
            &format!("{path} is back; before it is used, the ledger is asked which of its vouchers were spent since"),
        )
    }
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    let Some(directory) = path.parent().filter(|directory| *directory != Path::new("")) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .recursive(true)
        .create(directory)
        .with_context(|| format!("{} cannot be made", directory.display()))
}

/// The wallet's path with something after its name.
fn beside(path: &Path, after: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(after);
    PathBuf::from(name)
}

fn ask_secretly(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = Term::stderr();
    terminal.write_str(question)?;
    Ok(Zeroizing::new(terminal.read_secure_line()?))
}

fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn ask_whether(question: &str) -> anyhow::Result<bool> {
    let answer = ask(&format!("{question} [y/N] "))?;
    Ok(["y", "yes"].contains(&answer.to_lowercase().as_str()))
}

fn ask_for_missing(form: &RegistrationForm, fields: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    for field in &form.fields {
        if fields.contains_key(&field.name) {
            continue;
        }
        let hint = match field.kind {
            FieldKind::Tier => " (standard, gold, platinum or diamond)",
            FieldKind::Zones => " (grid zones with commas, * for everywhere)",
            FieldKind::Text | FieldKind::Email | FieldKind::Iban => "",
        };
        let may_be_empty = if field.required { "" } else { " [may be empty]" };
        let answer = ask(&format!("{}{hint}{may_be_empty}: ", field.label))?;
        if !answer.is_empty() {
            fields.insert(field.name.clone(), answer);
        }
    }
    Ok(())
}

/// The contract to use: the one that is named, or the only one, or the one that is chosen.
fn chosen(contracts: Vec<ContractId>, named: Option<ContractId>) -> anyhow::Result<ContractId> {
    let listed: Vec<String> = contracts.iter().map(ToString::to_string).collect();
    match (named, contracts.as_slice()) {
        (_, []) => bail!("your wallet has no contract: make one with `eroam wallet enrol`"),
        (Some(named), _) if contracts.contains(&named) => Ok(named),
        (Some(named), _) => bail!("your wallet has no contract {named}, but {}", listed.join(", ")),
        (None, [only]) => Ok(*only),
        (None, _) if std::io::stdin().is_terminal() => {
            for (number, contract) in listed.iter().enumerate() {
                eprintln!("{}  {contract}", number + 1);
            }
            let answer: usize =
                ask("with which contract? ")?.parse().context("that is no number of the list")?;
            let place = answer.checked_sub(1).context("that is no number of the list")?;
            contracts.get(place).copied().context("that is no number of the list")
        }
        (None, _) => {
            bail!("your wallet has several contracts ({}): name one with --contract", listed.join(", "))
        }
    }
}

/// Puts the ledger's prices in the place of an operator's, and says where these differ.
fn prove_prices(location: &mut Location, ledger: &Catalogue) {
    let Some(operator) = location.operator() else { return };
    for evse in &mut location.evses {
        for connector in &mut evse.connectors {
            let id = &evse.evse_id;
            match connector.prove_tariffs(operator, ledger, now()) {
                Ok(true) => {}
                Ok(false) => {
                    eprintln!("{operator} lists another price for {id} than the ledger has, which counts")
                }
                Err(error) => eprintln!("the price of {id} is not proved: {}", chain(&error)),
            }
        }
    }
}

fn location_text(location: &Location) -> String {
    let Location { country_code, party_id, name, evses, .. } = location;
    let mut text = String::new();
    for evse in evses {
        text.push_str(&format!("{}  {name}, {country_code}-{party_id}, zone {}\n", evse.evse_id, evse.zone));
        for connector in &evse.connectors {
            let tariffs: Vec<&str> = connector.tariff_ids.iter().map(|id| id.as_str()).collect();
            let source =
                if connector.tariffs_proved { "by the ledger" } else { "by the operator, not proved" };
            let power = kw(connector.max_electric_power);
            text.push_str(&format!("  {power}, tariff {} {source}\n", tariffs.join(", ")));
            let lines = connector.tariffs.iter().flat_map(|listed| price_lines(&listed.tariff));
            let lines: Vec<String> = lines.collect();
            if lines.is_empty() {
                text.push_str("    no price: nobody can charge here now\n");
            }
            lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
        text.push_str(&format!("  {}\n", evse.invitation));
    }
    text
}

fn described(station: &StationClaims) -> String {
    let meter = if station.meter_certified { "certified" } else { "not certified" };
    format!(
        "genuine: {} vouches for it\n{}  {}\nzone {}, {}, its meter is {meter}",
        station.operator,
        station.evse,
        station.place,
        station.zone,
        kw(station.power)
    )
}

/// Kilowatts.
pub(super) fn kw(power: Watts) -> String {
    format!("{} kW", decimal(i128::from(power.get()), 3, 1))
}

/// Kilowatt-hours with what a meter shows.
fn kwh(energy: WattHours) -> String {
    decimal(i128::from(energy.milli_wh()), 6, 3)
}

fn receipt_text(charge: &KeptCharge) -> String {
    let KeptCharge { number, contract, emsp, station, spent, progress } = charge;
    let limit = Money::new(spent.acceptance.limit, spent.voucher.voucher.cap.currency);
    let place = format!("{} at {} ({})", station.operator, station.place, station.evse);
    let head =
        format!("receipt {number}\n  where     {place}\n  contract  {contract}, {emsp} pays up to {limit}\n");
    head + &match progress {
        ChargeStage::Agreed => {
            format!(
                "  agreed    {}; whether power came, this wallet has not heard: {RESUME}",
                spent.acceptance.accepted_at
            )
        }
        ChargeStage::NotStarted { reason } => format!("  no power  {reason}"),
        ChargeStage::Started { started } => {
            format!("  power     from {}; how it ended, this wallet has not heard: {RESUME}", started.at)
        }
        ChargeStage::Finished { finished, .. } => {
            format!(
                "  power     from {} to {}\n  energy    {} kWh\n  ended     {}",
                finished.start,
                finished.end,
                kwh(finished.energy),
                finished.reason
            )
        }
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

    fn wants_stop(&mut self) -> bool {
        if std::fs::remove_file(&self.marker).is_ok() {
            self.interrupted.store(true, Ordering::Release);
        }
        self.interrupted.load(Ordering::Acquire)
    }
}
