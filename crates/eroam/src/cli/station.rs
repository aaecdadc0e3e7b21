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
        StationCommand::Calibrate(args) => calibrate::run(args),
        StationCommand::Code(args) => code::run(args),
    }
}
