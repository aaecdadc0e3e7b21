//! `eroam station run`, `status` and `repair`: a charging station as a program.

use super::print_line;
use super::program::{self, ConfigArgs};
use eroam::charging::repair::Repair;
use eroam::charging::station::StationStatus;
use eroam::program::config::Located;
use eroam::program::control;
use eroam::program::station::{StationConfig, StationProgram, StationProgramCommand};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct RepairArgs {
    /// What was done to the station; it is remembered with the fault
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    program::run(
        args,
        || Ok(StationProgram::start(&Located::read(&args.config)?)?),
        |program| {
            let ready = program.ready().clone();
            let said = format!(
                "{} is ready; on its post (eroam station code): {}",
                ready.claims.evse, ready.invitation
            );
            (ready, said)
        },
        drop,
    )
}

pub(super) fn status(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let status: StationStatus = ask(args, &StationProgramCommand::Status)?;
    if args.json {
        print_line(&serde_json::to_string(&status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stands = match (&status.fault, status.is_charging) {
        (Some(fault), _) => format!("nobody can charge: {fault}"),
        (None, true) => "somebody is charging".to_owned(),
        (None, false) => "free".to_owned(),
    };
    print_line(&format!(
        "{}  {stands}; {} accounts wait for the operator",
        status.claims.evse, status.accounts_waiting
    ))?;
    if let Some(Repair { at, fault, reason }) = status.last_repair {
        print_line(&format!("last repaired {at}: {reason} (was: {fault})"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn repair(args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let command = StationProgramCommand::Repair { reason: args.reason.clone() };
    program::print(args.config.json, &ask::<Value>(&args.config, &command)?, program::done)
}

/// Asks the station that runs: nobody else can say what it does at the moment.
fn ask<T: DeserializeOwned>(args: &ConfigArgs, command: &StationProgramCommand) -> anyhow::Result<T> {
    let located = Located::<StationConfig>::read(&args.config)?;
    let directory = located.path(&located.config.directory);
    Ok(control::ask(&directory, command)?)
}
