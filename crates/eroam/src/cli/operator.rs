//! `eroam operator`: an operator for its stations, and what its staff does.

use super::program::{self, ConfigArgs};
use super::staff;
use anyhow::anyhow;
use clap::Subcommand;
use eroam::charging::stations::RegisteredStation;
use eroam::program::config::Located;
use eroam::program::operator::{OperatorCommand, OperatorConfig, OperatorProgram};
use eroam_domain::ids::EvseId;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorArgs {
    /// Serve stations until Ctrl-C or SIGTERM
    Run(ConfigArgs),
    /// The stations that registered
    Stations(ConfigArgs),
    /// Revoke a station: wallets refuse it from the next list on
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The station's EVSE id
    evse: EvseId,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &OperatorArgs) -> anyhow::Result<ExitCode> {
    match args {
        OperatorArgs::Run(args) => program::run(
            args,
            || Ok(OperatorProgram::start(&Located::read(&args.config)?)?),
            |program| {
                let ready = program.ready().clone();
                let said = format!(
                    "{} serves stations and wallets at {}\nfor a station's configuration:\noperator_did = \"{}\"\n\
                     operator_invitation = \"{}\"",
                    ready.party, ready.url, ready.did, ready.invitation
                );
                (ready, said)
            },
            drop,
        ),
        OperatorArgs::Stations(config) => {
            program::print(config.json, &ask(config, &OperatorCommand::Stations)?, line)
        }
        OperatorArgs::Revoke(RevokeArgs { evse, reason, config }) => {
            let command = OperatorCommand::Revoke { evse: evse.clone(), reason: reason.clone() };
            program::print(config.json, &ask(config, &command)?, program::done)
        }
    }
}

fn ask(config: &ConfigArgs, command: &OperatorCommand) -> anyhow::Result<Value> {
    let located = Located::<OperatorConfig>::read(&config.config)?;
    let directory = located.path(&located.config.organisation.directory);
    staff::command(&directory, command, |command| {
        OperatorProgram::start(&located)?.handle(command).map_err(|reason| anyhow!(reason))
    })
}

fn line(station: &Value) -> anyhow::Result<String> {
    let station: RegisteredStation = serde_json::from_value(station.clone())?;
    let stands = match (&station.revoked, station.last_page) {
        (Some(reason), _) => format!("revoked: {reason}"),
        (None, None) => "has not charged yet".to_owned(),
        (None, Some(page)) => format!("accounted for up to page {page} of its meter"),
    };
    let failed = match station.failed_checks {
        0 => String::new(),
        failed => format!("  LOOK AT IT: {failed} proofs did not hold"),
    };
    Ok(format!("{}  {}  {stands}{failed}", station.claims.evse, station.claims.place))
}
