//! `eroam station run` and `eroam station status`: a charging station as a program.

use super::print_line;
use super::program::{self, ConfigArgs};
use eroam::charging::station::StationStatus;
use eroam::program::config::Located;
use eroam::program::control;
use eroam::program::station::{StationConfig, StationProgram, StationProgramCommand};
use std::process::ExitCode;

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
    let located = Located::<StationConfig>::read(&args.config)?;
    let directory = located.path(&located.config.directory);
    let status: StationStatus = control::ask(&directory, &StationProgramCommand::Status)?;
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
    Ok(ExitCode::SUCCESS)
}
