//! `eroam station`: what whoever sets up a charging station needs.

use super::calibrate::{self, CalibrateArgs};
use super::code::{self, CodeArgs};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum StationCommand {
    /// Serve drivers until Ctrl-C or SIGTERM
    #[cfg(unix)]
    Run(super::program::ConfigArgs),
    /// How a running station stands
    #[cfg(unix)]
    Status(super::program::ConfigArgs),
    /// Take a station into service again after a fault that somebody has looked at
    #[cfg(unix)]
    Repair(super::station_program::RepairArgs),
    /// Compare a current sensor with a reference, and write the correction that the station uses
    Calibrate(CalibrateArgs),
    /// A station's invitation as a QR code: on the terminal, or as SVG to print
    Code(CodeArgs),
}

pub(super) fn run(command: &StationCommand) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(unix)]
        StationCommand::Run(args) => super::station_program::run(args),
        #[cfg(unix)]
        StationCommand::Status(args) => super::station_program::status(args),
        #[cfg(unix)]
        StationCommand::Repair(args) => super::station_program::repair(args),
        StationCommand::Calibrate(args) => calibrate::run(args),
        StationCommand::Code(args) => code::run(args),
    }
}
