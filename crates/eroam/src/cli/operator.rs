//! `eroam operator`: an operator for its stations, and what its staff does.

use super::disputed::{self, EvidenceOut};
use super::program::{self, ConfigArgs};
use super::staff;
use anyhow::anyhow;
use clap::Subcommand;
use eroam::charging::dispute::Verdict;
use eroam::charging::stations::RegisteredStation;
use eroam::program::config::Located;
use eroam::program::operator::{OperatorCommand, OperatorConfig, OperatorProgram, StationInvitation};
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::{EvseId, PartyId};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorArgs {
    /// Serve stations until Ctrl-C or SIGTERM
    Run(ConfigArgs),
    /// The stations that registered
    Stations(ConfigArgs),
    /// Invite a station to register: what it prints belongs into that station's configuration, and nowhere else
    Invite(InviteArgs),
    /// Revoke a station: wallets refuse it from the next list on
    Revoke(RevokeArgs),
    /// Records that home utilities contest: why, how much, until when, and what our evidence is worth
    Contests(ConfigArgs),
    /// The evidence of a record, checked again: one of ours, or one that we are to decide
    Evidence(EvidenceArgs),
    /// Check the driver's proof, the voucher and every reading of one of our records again
    Recheck(RecheckArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct EvidenceArgs {
    /// The record
    record: CdrId,
    /// Whose record it is, if it is another operator's
    #[arg(long = "of", value_name = "PARTY")]
    operator: Option<PartyId>,
    #[command(flatten)]
    out: EvidenceOut,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RecheckArgs {
    /// The record
    record: CdrId,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct InviteArgs {
    /// The station's EVSE id, as it is entered in the operator's configuration
    evse: EvseId,
    #[command(flatten)]
    config: ConfigArgs,
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
                    "{} serves stations and wallets at {} as {}\nto register a station: eroam operator invite EVSE",
                    ready.party, ready.url, ready.did
                );
                (ready, said)
            },
            drop,
        ),
        OperatorArgs::Stations(config) => {
            program::print(config.json, &ask(config, &OperatorCommand::Stations)?, line)
        }
        OperatorArgs::Invite(InviteArgs { evse, config }) => {
            let command = OperatorCommand::Invite { evse: evse.clone() };
            program::print(config.json, &ask(config, &command)?, invitation)
        }
        OperatorArgs::Revoke(RevokeArgs { evse, reason, config }) => {
            let command = OperatorCommand::Revoke { evse: evse.clone(), reason: reason.clone() };
            program::print(config.json, &ask(config, &command)?, program::done)
        }
        OperatorArgs::Contests(config) => {
            program::print(config.json, &ask(config, &OperatorCommand::Contests)?, disputed::contest)
        }
        OperatorArgs::Evidence(EvidenceArgs { record, operator, out, config }) => {
            let command = OperatorCommand::Evidence { record: record.clone(), operator: *operator };
            disputed::evidence(config, out.out.as_deref(), &ask(config, &command)?)
        }
        OperatorArgs::Recheck(RecheckArgs { record, config }) => {
            let answer = ask(config, &OperatorCommand::Recheck { record: record.clone() })?;
            program::print(config.json, &answer, |verdict| {
                let verdict: Verdict = serde_json::from_value(verdict.clone())?;
                Ok(format!("{record}: {}", verdict.words()))
            })
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

fn invitation(invited: &Value) -> anyhow::Result<String> {
    let StationInvitation { evse, operator_did, operator_invitation, until } =
        serde_json::from_value(invited.clone())?;
    Ok(format!(
        "# for the configuration of station {evse} alone, to register once until {until}\n\
         operator_did = \"{operator_did}\"\noperator_invitation = \"{operator_invitation}\""
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::time::UnixMillis;

    #[test]
    fn an_invitation_is_printed_as_it_stands_in_a_stations_configuration() {
        let invited = StationInvitation {
            evse: "PT*GLP*E0007".parse().unwrap(),
            operator_did: "did:eroam:net:abc".to_owned(),
            operator_invitation: "http://127.0.0.1:1/?oob=e30".to_owned(),
            until: UnixMillis::EPOCH,
        };
        let text = invitation(&serde_json::to_value(&invited).unwrap()).unwrap();
        assert!(text.starts_with("# for the configuration of station PT*GLP*E0007 alone"), "{text}");
        let table: toml::Table = toml::from_str(&text).unwrap();
        let found = |name: &str| table.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        assert_eq!(found("operator_did"), Some(invited.operator_did));
        assert_eq!(found("operator_invitation"), Some(invited.operator_invitation));
        assert_eq!(table.len(), 2);
    }
}
