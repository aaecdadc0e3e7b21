//! Entry point of `eroam-station`: what `eroam station` does, as a program of its own for the small computer in a post.
//!
//! The ledger's engine, replays and studies are not in it, so that less of it has to be in memory; and memory comes from the
//! system, which takes back what opening the directory with the passphrase needed for a moment.

mod calibrate;
mod code;
mod output;
#[cfg(unix)]
mod program;
mod station;
#[cfg(unix)]
mod station_program;
mod told;

use clap::Parser;
use output::print_line;
use std::process::ExitCode;

/// The seed when none is given: printed, so that a run can be repeated.
const SEED: u64 = 1;

/// A charging station, and what whoever sets it up needs.
#[derive(Debug, Parser)]
#[command(name = "eroam-station", version, about)]
struct Cli {
    #[command(subcommand)]
    command: station::StationCommand,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::log("warn");
    output::end(station::run(&cli.command))
}
