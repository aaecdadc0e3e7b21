//! `eroam ledger` and `eroam verify`: what is asked for and how it is printed.

use super::{Bar, SEED, print_line};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, Subcommand};
use eroam::causes::chain;
use eroam::consortium::Seed;
use eroam::ledger::export::{self, Export};
use eroam::ledger::import::{self, Import};
use eroam::ledger::proofs::{self, ProofError};
use eroam::ledger::reader::Reader;
use eroam::ledger::recheck::{self, RecheckError};
use eroam::ledger::{keys, partners, show, status};
use eroam::replay::Progress as _;
use eroam_domain::cdr::CdrId;
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{PartyId, PartyIdError};
use eroam_ledger::genesis::Genesis;
use eroam_ledger::state::StateKey;
use serde::Serialize;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Network, members, validators, height, state, money
    Status(StatusArgs),
    /// Who charged what and how reliably: price, refusals, contests and late records, for each home utility and operator
    Partners(PartnersArgs),
    /// A block: its header, what proves it final, its envelopes
    Block(BlockArgs),
    /// An envelope with its items and what became of them; with --receipt a proof of that
    Tx(TxArgs),
    /// Prove what the latest state has under a key, or that it has nothing
    #[command(after_help = format!("Keys: {}", keys::USAGE))]
    Prove(ProveArgs),
    /// Write all blocks and the state to files that no database knows of
    Export(ExportArgs),
    /// Check everything from the genesis on: links, certificates, every outcome by executing it again, the state, the
    /// money
    Verify(VerifyLedgerArgs),
    /// Begin a new network with the state of an exported one
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// A data directory (as given to `eroam replay --data`), its `ledger`, or the directory of one validator. No
    /// program may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Which of the validators to read, from 0; the first one if not given
    #[arg(long, value_name = "N")]
    validator: Option<usize>,
}

impl Place {
    fn open(&self) -> anyhow::Result<Reader> {
        Ok(Reader::open(&self.data, self.validator)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PartnersArgs {
    #[command(flatten)]
    place: Place,
    /// Only what this member pays or delivers
    #[arg(long, value_name = "PARTY")]
    of: Option<PartyId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A height, or the latest one.
#[derive(Clone, Copy, Debug)]
enum Height {
    Latest,
    At(u64),
}

impl FromStr for Height {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            number => number
                .parse()
                .map(Self::At)
                .map_err(|_| "a height from 0, or `latest`, is expected".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct BlockArgs {
    /// Its height, or `latest`
    #[arg(value_name = "HEIGHT|latest")]
    height: Height,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a transaction is found by.
#[derive(Clone, Debug)]
enum Wanted {
    Digest(Digest),
    Record(PartyId, CdrId),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((operator, id)) = text.split_once('/') else {
            return text.parse().map(Self::Digest).map_err(|error| format!("{error}, or OPERATOR/ID"));
        };
        Ok(Self::Record(operator.parse().map_err(|e: PartyIdError| e.to_string())?, id.parse()?))
    }
}

#[derive(Debug, Args)]
pub(super) struct TxArgs {
    /// The digest of an envelope or the hash of an item (64 hexadecimal digits), or a record as OPERATOR/ID
    #[arg(value_name = "DIGEST|OPERATOR/ID")]
    wanted: Wanted,
    #[command(flatten)]
    place: Place,
    /// Write a receipt to this file, which `eroam verify` checks
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Which of the envelope's items the receipt is for, from 0
    #[arg(long, value_name = "N", requires = "receipt")]
    item: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    /// What to look up, in words
    #[arg(value_name = "KEY", required = true, num_args = 1..)]
    key: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Write the proof to this file, which `eroam verify` checks
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: Place,
    /// Where to write: a new or an empty directory
    #[arg(long, value_name = "EXPORT")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["from", "data"])))]
pub(super) struct VerifyLedgerArgs {
    /// Check this export
    #[arg(long, value_name = "EXPORT")]
    from: Option<PathBuf>,
    /// Check this data directory, ledger directory or directory of one validator, its database included
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which of the validators of --data to read, from 0; the first one if not given
    #[arg(long, value_name = "N", requires = "data")]
    validator: Option<usize>,
    /// The genesis file of the network that it must be; without it the ledger's own is believed
    #[arg(long, value_name = "GENESIS")]
    trust: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The export to begin with; it is checked first, as by `eroam ledger verify`
    #[arg(long, value_name = "EXPORT")]
    from: PathBuf,
    /// The new data directory: new or empty
    #[arg(long, value_name = "NEWDIR")]
    data: PathBuf,
    /// Validators of the new network, shared out among the members in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// The keys of the new validators follow from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// The new network's name; the earlier one's if not given
    #[arg(long, value_name = "TEXT", value_parser = ShortText::<64>::from_str)]
    name: Option<ShortText<64>>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The receipt or the state proof
    file: PathBuf,
    /// The genesis file of the network that it must be of
    #[arg(long, value_name = "GENESIS")]
    trust: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn print(as_json: bool, result: &(impl Serialize + fmt::Display)) -> anyhow::Result<ExitCode> {
    print_line(&if as_json { serde_json::to_string(result)? } else { result.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// What a verification prints for machines when the answer is no; people read the error.
fn print_no(as_json: bool, error: &dyn Error) -> anyhow::Result<()> {
    if as_json {
        print_line(&serde_json::json!({ "verified": false, "reason": chain(error) }).to_string())?;
    }
    Ok(())
}

/// Shows how far long work is.
fn with_bar<T>(stage: &str, work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> T) -> T {
    let mut bar = Bar::new();
    bar.stage(stage);
    let result = work(&mut |done, of| bar.events(done, of));
    bar.bar.finish_and_clear();
    result
}

fn read_genesis(path: &Path) -> anyhow::Result<Genesis> {
    Ok(export::read_genesis(path)?)
}

/// Says what is wrong with an argument that only makes sense as a whole, and ends as for any other.
fn wrong_usage(error: &dyn Error) -> ! {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).exit()
}

pub(super) fn run(command: LedgerCommand) -> anyhow::Result<ExitCode> {
    match command {
        LedgerCommand::Status(args) => print(args.json, &status::of(&args.place.open()?)?),
        LedgerCommand::Partners(args) => print(args.json, &partners::of(&args.place.open()?, args.of)?),
        LedgerCommand::Block(args) => {
            let reader = args.place.open()?;
            let height = match args.height {
                Height::Latest => reader.client().latest().height,
                Height::At(height) => height,
            };
            print(args.json, &show::block(&reader, height)?)
        }
        LedgerCommand::Tx(args) => tx(&args),
        LedgerCommand::Prove(args) => {
            let key: StateKey = keys::parse(&args.key).unwrap_or_else(|error| wrong_usage(&error));
            let reader = args.place.open()?;
            let document = proofs::state(&reader, &key)?;
            print(args.json, &proofs::write(&reader, &document, &args.out)?)
        }
        LedgerCommand::Export(args) => {
            let reader = args.place.open()?;
            let exported = with_bar("exporting", |progress| export::write(&reader, &args.out, progress));
            print(args.json, &exported?)
        }
        LedgerCommand::Verify(args) => verify_ledger(&args),
        LedgerCommand::Import(args) => {
            let import = Import {
                from: &args.from,
                data: &args.data,
                validators: usize::from(args.validators),
                seed: Seed(args.seed),
                name: args.name,
            };
            let imported = with_bar("importing", |progress| import::run(&import, progress));
            print(args.json, &imported?)
        }
    }
}

fn tx(args: &TxArgs) -> anyhow::Result<ExitCode> {
    let reader = args.place.open()?;
    let found = match &args.wanted {
        Wanted::Digest(digest) => show::find(&reader, digest)?,
        Wanted::Record(operator, id) => show::find_record(&reader, *operator, id)?,
    };
    let Some(file) = &args.receipt else { return print(args.json, &show::envelope(&reader, &found)?) };
    let document = proofs::receipt(&reader, &found, args.item)?;
    print(args.json, &proofs::write(&reader, &document, file)?)
}

fn verify_ledger(args: &VerifyLedgerArgs) -> anyhow::Result<ExitCode> {
    let trusted = args.trust.as_deref().map(read_genesis).transpose()?;
    let trusted = trusted.as_ref();
    let checked = match (&args.from, &args.data) {
        (Some(from), _) => {
            let export = Export::open(from)?;
            with_bar("verifying", |progress| recheck::export(&export, trusted, progress))
        }
        (None, Some(data)) => {
            let reader = Reader::open(data, args.validator)?;
            with_bar("verifying", |progress| recheck::directory(&reader, trusted, progress))
        }
        (None, None) => anyhow::bail!("name an export with --from, or a data directory with --data"),
    };
    if let Err(error) = &checked {
        print_no(args.json, error)?;
    }
    print(args.json, &checked.map_err(not_verified)?)
}

fn not_verified(error: RecheckError) -> anyhow::Error {
    anyhow::Error::new(error).context("not verified")
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let proved = proofs::verify(&args.file, &args.trust);
    if let Err(error @ ProofError::Refused { .. }) = &proved {
        print_no(args.json, error)?;
    }
    print(args.json, &proved?)
}
