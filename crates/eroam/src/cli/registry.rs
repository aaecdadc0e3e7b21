//! `eroam registry`: serves the registry of a ledger until it is told to stop.

use super::told::Told;
use super::{SEED, print_line};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use eroam::consortium::Seed;
use eroam::ledger::reader::locate;
use eroam::ledger::{Ledger, LedgerSetup};
use eroam::registry::{self, Publisher, REGISTRY_LANE, Secret};
use eroam::server::{STOP_WITHIN, Server};
use eroam_chain::directory::Directory;
use eroam_domain::ids::PartyId;
use eroam_ledger::query;
use eroam_ledger::registry::DidDocument;
use eroam_ledger::tx::PublicKey;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Serve the registry of a ledger over HTTP until Ctrl-C
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A data directory (as given to `eroam replay --data`), or its `ledger`. No other program may be using it; tails
    /// files are kept in `tails` beside the ledger
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes any that is free, and the address is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Let whoever knows the secret publish in the name of this member; on the loopback interface alone
    #[arg(long, value_name = "PARTY", requires = "secret_file")]
    publish_as: Option<PartyId>,
    /// The file with the secret: 16 to 512 printable characters
    #[arg(long, value_name = "FILE", requires = "publish_as")]
    secret_file: Option<PathBuf>,
    /// The keys of the validators and of the members follow from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
}

pub(super) fn run(command: RegistryCommand) -> anyhow::Result<ExitCode> {
    match command {
        RegistryCommand::Serve(args) => serve(&args),
    }
}

/// Opens the ledger that `data` means with all its validators, and says where it lies.
pub(super) fn open(data: &Path, seed: Seed) -> anyhow::Result<(Ledger, PathBuf)> {
    if !data.is_dir() {
        bail!("{} is no directory", data.display());
    }
    let validator = locate(data, None)?;
    let directory = validator.parent().context("the ledger's directory has none above it")?.to_owned();
    let genesis = Directory::open_existing(&validator)?.genesis()?;
    let setup = LedgerSetup {
        directory: Some(directory.clone()),
        validators: genesis.consensus.validators.len(),
        epoch_blocks: genesis.consensus.epoch_blocks,
        ..LedgerSetup::default()
    };
    let keys = (0..setup.validators).map(|index| PublicKey::of(&seed.validator_key(index)));
    if !keys.eq(genesis.consensus.validators.iter().map(|validator| validator.key)) {
        bail!(
            "the keys of the ledger's validators do not follow from the seed {}: name theirs with --seed",
            seed.0
        );
    }
    Ok((Ledger::open(seed, &genesis, &setup)?, directory))
}

fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let seed = Seed(args.seed);
    // What costs nothing to find out comes before the ledger is opened.
    let secret = args.secret_file.as_deref().map(Secret::read).transpose()?;
    if args.publish_as.is_some() && !args.listen.ip().is_loopback() {
        bail!(
            "{} is no address of the loopback interface: nobody else may publish, serve them another time without \
             --publish-as",
            args.listen
        );
    }
    let (ledger, directory) = open(&args.data, seed)?;
    let client = ledger.client().clone();
    let mut publishes = None;
    let publishing = match args.publish_as.zip(secret) {
        Some((party, secret)) => {
            let publisher = Publisher::new(client.clone(), party, seed.signing_key(party), REGISTRY_LANE)?;
            let first = seed.did_key(party);
            let did = publisher.did_of(&first);
            let document = DidDocument { keys: vec![PublicKey::of(&first)], services: Vec::new() };
            // A document that was changed since stays as it is.
            if query::did(&client, did)?.is_none() {
                publisher.publish_did(did, document, &first)?;
            }
            publishes = Some(format!("publishing as {party}, {did}"));
            Some((publisher, secret))
        }
        None => None,
    };
    let tails = directory.parent().unwrap_or(&directory).join("tails");
    let router = registry::router(client, &tails, publishing);
    let router = router.with_context(|| format!("{} cannot be made", tails.display()))?;
    // Before anybody is told the address: whoever reads it may end this at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _context = runtime.enter();
        Told::new().context("signals cannot be waited for")?
    };
    let server = Server::start("registry", args.listen, router, STOP_WITHIN)?;
    let mut told_of = format!("serving the registry at http://{}", server.address());
    if let Some(publishes) = publishes {
        told_of = format!("{told_of}\n{publishes}");
    }
    // At once: who reads no further than the address may have closed the other end by then.
    print_line(&told_of)?;
    runtime.block_on(told.wait());
    server.stop();
    drop(ledger);
    Ok(ExitCode::SUCCESS)
}
