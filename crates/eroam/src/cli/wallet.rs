//! `eroam wallet`: a driver's wallet.
//!
//! Its file is locked by whoever has it open. To stop a charge from another terminal, `eroam wallet stop` leaves a file
//! beside it, which the program that charges looks for and takes away.

mod asking;
mod changes;
mod charge;
mod choosing;
mod find;
mod receipts;

use super::print_line;
use super::simulate::ModeArg;
use anyhow::{Context as _, bail};
use asking::{ask_for_missing, ask_whether, chosen, read_passphrase};
use changes::{PassphraseArgs, ProviderArgs, ResolverArgs};
use charge::{ChargeArgs, QuoteArgs};
use clap::{Args, Subcommand};
use eroam::agent::reach::Reach;
use eroam::charging::ChargingError;
use eroam::charging::attached::{ATTACHED_BYTES_MAX, AttachedContract};
use eroam::charging::local_time::clock_at;
use eroam::charging::waiting::Patience;
use eroam::charging::wallet::{Wallet, read_code};
use eroam::charging::wallet_file::{Network, WalletFile};
use eroam::clock::now;
use eroam::ledger::export::read_genesis;
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::ContractId;
use eroam_domain::money::{decimal, parse_decimal};
use eroam_domain::quantity::{WattHours, Watts};
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::StationClaims;
use eroam_ssi::custody::Passphrase;
use find::FindArgs;
use receipts::{BillArgs, ReceiptsArgs};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Where the passphrase can be, for programs.
const PASSPHRASE: &str = "EROAM_WALLET_PASSPHRASE";
/// Bytes of tails files that are kept.
const TAILS_BYTES_MAX: u64 = 64 << 20;
/// What a driver does whose wallet has not heard the end.
const RESUME: &str = "`eroam wallet charge --resume` asks the station";
/// After so long a driver is told for what the program waits.
const TELLS_AFTER: Duration = Duration::from_secs(5);

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
    /// Give up when a provider, a station or a resolver has said nothing for so many seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    wait: u16,
    /// Listen here for what stations and providers answer: by itself on this machine alone, at any port that is free
    #[arg(long, global = true, value_name = "ADDRESS", env = "EROAM_WALLET_LISTEN")]
    listen: Option<SocketAddr>,
    /// The URL under which stations and providers reach that, if it is another one
    #[arg(long, global = true, value_name = "URL", env = "EROAM_WALLET_PUBLIC_URL")]
    public_url: Option<String>,
    /// Say also what is behind a refusal, for whoever looks into it
    #[arg(long, global = true)]
    verbose: bool,
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
    /// The stations that operators list, with their tariffs and what you would pay there
    Find(FindArgs),
    /// Whose station a code leads to, and whether it is genuine
    Scan(ScanArgs),
    /// What a charge would cost you at a station, now and later; no voucher is spent and nothing is proved
    Quote(QuoteArgs),
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
    /// Change the passphrase; backups keep theirs
    Passphrase(PassphraseArgs),
    /// Ask another resolver, which has to prove by the genesis of this wallet
    Resolver(ResolverArgs),
    /// Find a contract's provider at another address, if it is the one that signed the contract
    Provider(ProviderArgs),
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
    /// Attach a contract that was signed elsewhere, of at most 1 MiB: its hash is part of what you sign, and the provider keeps
    /// the file
    #[arg(long, value_name = "FILE")]
    attach: Option<PathBuf>,
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
struct ScanArgs {
    /// What the station's code says: a URL
    invitation: String,
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

/// A file that is attached to a contract. No more of it is read than can be sent.
fn attached(path: &Path) -> anyhow::Result<AttachedContract> {
    let unread = || format!("{} cannot be read", path.display());
    let (mut file, most) = (Vec::new(), u64::try_from(ATTACHED_BYTES_MAX)?);
    File::open(path).with_context(unread)?.take(most + 1).read_to_end(&mut file).with_context(unread)?;
    AttachedContract::of(&file).with_context(|| format!("{} cannot be attached", path.display()))
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
    let done = match &args.command {
        WalletCommand::Init(init) => session.init(init),
        WalletCommand::Enrol(enrol) => session.enrol(enrol),
        WalletCommand::Credentials => session.credentials(),
        WalletCommand::Vouchers(vouchers) => session.vouchers(vouchers),
        WalletCommand::Find(find) => session.find(find),
        WalletCommand::Scan(scan) => session.scan(scan),
        WalletCommand::Quote(quote) => session.quote(quote),
        WalletCommand::Charge(charge) => session.charge(charge),
        WalletCommand::Stop => session.stop(),
        WalletCommand::Receipts(receipts) => session.receipts(receipts),
        WalletCommand::Bill(bill) => session.bill(bill),
        WalletCommand::Backup(backup) => session.backup(backup),
        WalletCommand::Restore(restore) => session.restore(restore),
        WalletCommand::Passphrase(args) => session.change_passphrase(args),
        WalletCommand::Resolver(args) => session.move_resolver(args),
        WalletCommand::Provider(args) => session.move_provider(args),
    };
    done.map_err(|error| if args.verbose { error } else { in_a_sentence(error) })?;
    Ok(ExitCode::SUCCESS)
}

/// Why there is no charge is a sentence for the driver; the causes below it are for whoever asks for them, and in the log.
fn in_a_sentence(error: anyhow::Error) -> anyhow::Error {
    let outermost = error.chain().next().and_then(|said| said.downcast_ref::<ChargingError>());
    match outermost.map(ToString::to_string) {
        Some(sentence) => {
            tracing::info!(error = format!("{error:#}"), "wallet.refused");
            anyhow::anyhow!(sentence)
        }
        None => error,
    }
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

    /// The passphrase; one for a wallet that is made is typed twice.
    fn passphrase(&self, is_new: bool) -> anyhow::Result<Passphrase> {
        let places = (self.args.passphrase_file.as_deref(), PASSPHRASE);
        read_passphrase("passphrase of the wallet: ", places, "--passphrase-file", is_new)
    }

    fn file(&self) -> anyhow::Result<WalletFile> {
        Ok(WalletFile::open(&self.path, &self.passphrase(false)?)?)
    }

    fn wallet(&self) -> anyhow::Result<Wallet> {
        let file = self.file()?;
        let tails = beside(&self.path, ".tails");
        let tails = TailsCache::open(tails, TAILS_BYTES_MAX)?;
        let wallet = Wallet::open(file, Arc::new(tails), self.args.mode.into(), self.patience())?;
        match (self.args.listen, self.args.public_url.as_deref()) {
            (None, None) => Ok(wallet),
            (None, Some(url)) => {
                bail!("--public-url {url} leads to no address that is known here: name it with --listen")
            }
            (Some(listen), public_url) => Ok(wallet.reached(&Reach::new(listen, public_url)?)?),
        }
    }

    /// How long it waits for others; the driver is told when that is not at once.
    fn patience(&self) -> Patience {
        let within = Duration::from_secs(u64::from(self.args.wait));
        Patience::telling(within, TELLS_AFTER.min(within / 2), move |what| {
            eprintln!("waiting for {what}, at most {} s", within.as_secs());
        })
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
        // Before anybody types anything.
        let attached = args.attach.as_deref().map(attached).transpose()?;
        let hash = attached.as_ref().map(|attached| attached.sha256);
        let mut wallet = self.wallet()?;
        let url = args.url.trim_end_matches('/');
        let form = wallet.form(url)?;
        let mut fields: BTreeMap<String, String> = args.fields.iter().cloned().collect();
        ask_for_missing(&form, &mut fields)?;
        if !args.yes {
            eprintln!("{}", form.terms);
            if let (Some(file), Some(hash)) = (&args.attach, hash) {
                eprintln!("attached: {}, SHA-256 {hash}", file.display());
            }
        }
        if !args.yes && !ask_whether("do you agree to this contract?")? {
            bail!("no contract was made");
        }
        let contract = wallet.enrol_with(url, &fields, attached)?;
        self.print(
            &json!({ "contract": contract, "provider": form.provider, "attached": hash }),
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

    fn scan(&self, args: &ScanArgs) -> anyhow::Result<()> {
        let invitation = read_code(&args.invitation)?;
        let station = self.wallet()?.scan(&invitation)?;
        self.print(&json!({ "genuine": true, "station": station }), &described(&station))
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

fn described(station: &StationClaims) -> String {
    let meter = if station.meter_certified { "certified" } else { "not certified" };
    let zone = station.time_zone.as_ref();
    let local_time = zone.map(|zone| format!("\nlocal time {} ({zone})", at_station(station, now())));
    let local_time = local_time.unwrap_or_default();
    format!(
        "genuine: {} vouches for it\n{}  {}\nzone {}, {}, its meter is {meter}{local_time}",
        station.operator,
        station.evse,
        station.place,
        station.zone,
        kw(station.power)
    )
}

/// An instant by the clock at a station, with its offset; in UTC where nobody says which clock that is.
fn at_station(station: &StationClaims, at: UnixMillis) -> String {
    let clock = station.time_zone.as_ref().and_then(|zone| clock_at(zone, at).ok());
    clock.map_or_else(|| at.to_string(), |clock| clock.show(at))
}

/// Kilowatts.
pub(super) fn kw(power: Watts) -> String {
    format!("{} kW", decimal(i128::from(power.get()), 3, 1))
}

/// Kilowatt-hours with what a meter shows.
fn kwh(energy: WattHours) -> String {
    decimal(i128::from(energy.milli_wh()), 6, 3)
}
