//! `eroam provider`: a home utility for drivers with wallets, and what its staff does.

use super::disputed::{self, EvidenceOut};
use super::mandates::{self, MandateArgs};
use super::program::{self, ConfigArgs};
use super::{print_line, staff};
use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use eroam::charging::attached::AttachedContract;
use eroam::charging::customers::{Decision, ListedCustomer};
use eroam::program::config::Located;
use eroam::program::provider::{ProviderCommand, ProviderConfig, ProviderProgram};
use eroam::second_meter::{self, MeterReadings};
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::money::{Money, decimal};
use eroam_domain::time::CivilMonth;
use eroam_gateway::anomalies::{CaseState, RecordName};
use eroam_gateway::gateway::{ContestReason, SecondMeterResult};
use eroam_ssi::protocol::questions::BilledCharge;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum ProviderArgs {
    /// Serve wallets until Ctrl-C or SIGTERM
    Run(ConfigArgs),
    /// Who registered, those that wait for a decision first
    Registrations(ConfigArgs),
    /// Write a contract that was signed elsewhere and came with a registration to a file
    Attached(AttachedArgs),
    /// Accept a registration that waits: the wallet gets its contract when it comes again
    Accept(OfContract),
    /// Reject a registration that waits
    Reject(WithReason),
    /// Contracts whose credential was issued
    Credentials(ConfigArgs),
    /// Revoke a contract: stations refuse it from the next list on, and its vouchers are blocked
    Revoke(WithReason),
    /// Block the vouchers of a wallet that was lost; the contract goes on
    Block(OfContract),
    /// Revoke the key that vouchers are signed with, when somebody else may have it: no voucher of it can be spent any more,
    /// what was reserved before is paid. From now on another key signs, and wallets get others for theirs
    RevokeVoucherKey(KeyWithReason),
    /// What is on a customer's bill of a month so far
    Bill(BillArgs),
    /// How often partners answered when they were asked, every hour, what their stations give: their uptime, as this home
    /// utility sees it. Prices, refusals and disputes are on the ledger: `eroam ledger partners`. Drivers turned away at
    /// stations are unknown to both, and `unknown` says why
    Partners(ConfigArgs),
    /// Records that were found to be impossible or unusual: why, how much, where their contests stand, and what the
    /// operators' evidence is worth
    Contests(ConfigArgs),
    /// Contest a record that we pay, for a reason that no rule finds, while its contest window is open
    Contest(ContestArgs),
    /// The evidence of a contested record that we pay, or are to decide, checked again
    Evidence(EvidenceArgs),
    /// Who may issue contracts in this home utility's name
    #[command(subcommand)]
    Mandate(MandateArgs),
    /// Compare records with what second meters counted: those above are contested
    #[command(subcommand)]
    SecondMeter(SecondMeterArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum SecondMeterArgs {
    /// Read a CSV with the columns operator, record, kind (attested or vehicle) and energy_wh; rows that cannot be used are
    /// listed, the others count
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The CSV
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ContestArgs {
    /// Whose record it is
    operator: PartyId,
    /// The record
    record: CdrId,
    /// Why, without names: the operator and the resolver read it
    #[arg(long)]
    reason: ContestReason,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct EvidenceArgs {
    /// Whose record it is
    operator: PartyId,
    /// The record
    record: CdrId,
    #[command(flatten)]
    out: EvidenceOut,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct AttachedArgs {
    /// The contract, or what it would be
    contract: ContractId,
    /// Where to write it: a file that is not there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct OfContract {
    /// The contract
    contract: ContractId,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct BillArgs {
    /// The contract
    contract: ContractId,
    /// The month, as 2026-11
    #[arg(long, value_name = "YYYY-MM")]
    month: CivilMonth,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct WithReason {
    /// The contract
    contract: ContractId,
    /// Why; whoever registered reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct KeyWithReason {
    /// Why; it is in the log
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ProviderArgs) -> anyhow::Result<ExitCode> {
    match args {
        ProviderArgs::Run(args) => program::run(
            args,
            || Ok(ProviderProgram::start(&Located::read(&args.config)?)?),
            |program| {
                let ready = program.ready().clone();
                let said = format!("{} serves wallets at {}", ready.party, ready.url);
                (ready, said)
            },
            drop,
        ),
        ProviderArgs::Registrations(config) => list(config, ProviderCommand::Registrations),
        ProviderArgs::Credentials(config) => list(config, ProviderCommand::Credentials),
        ProviderArgs::Accept(OfContract { contract, config }) => {
            change(config, ProviderCommand::Accept { contract: *contract })
        }
        ProviderArgs::Block(OfContract { contract, config }) => {
            change(config, ProviderCommand::Block { contract: *contract })
        }
        ProviderArgs::RevokeVoucherKey(KeyWithReason { reason, config }) => {
            change(config, ProviderCommand::RevokeVoucherKey { reason: reason.clone() })
        }
        ProviderArgs::Bill(BillArgs { contract, month, config }) => {
            let command = ProviderCommand::Bill { contract: *contract, month: *month };
            program::print(config.json, &ask(config, &command)?, |charge| {
                let BilledCharge { operator, evse, start, energy, currency, price, .. } =
                    serde_json::from_value(charge.clone())?;
                let price = Money::new(price.incl_vat, currency);
                Ok(format!("{start}  {operator}  {evse}  {energy}  {price}"))
            })
        }
        ProviderArgs::Partners(config) => {
            program::print(config.json, &ask(config, &ProviderCommand::Partners)?, |partner| {
                let text = |name: &str| partner[name].as_str().unwrap_or("unknown").to_owned();
                let uptime = partner["uptime_bps"].as_u64();
                let uptime = uptime.map_or_else(
                    || "unknown".to_owned(),
                    |bps| format!("{} %", decimal(i128::from(bps), 2, 2)),
                );
                let (party, at, points) =
                    (text("operator"), text("answered_at"), &partner["charging_points"]);
                Ok(format!(
                    "{party}: uptime {uptime}; drivers turned away: unknown; {points} charging points listed, last at {at}"
                ))
            })
        }
        ProviderArgs::Contests(config) => {
            program::print(config.json, &ask(config, &ProviderCommand::Contests)?, disputed::found)
        }
        ProviderArgs::Contest(ContestArgs { operator, record, reason, config }) => {
            let name = RecordName { operator: *operator, cdr: record.clone() };
            let command = ProviderCommand::Contest { name, reason: reason.clone() };
            program::print(config.json, &ask(config, &command)?, |answer| {
                let name: RecordName = serde_json::from_value(answer["record"].clone())?;
                let case: CaseState = serde_json::from_value(answer["case"].clone())?;
                Ok(format!("{name}: {}", case_words(&case)))
            })
        }
        ProviderArgs::Evidence(EvidenceArgs { operator, record, out, config }) => {
            let name = RecordName { operator: *operator, cdr: record.clone() };
            let answer = ask(config, &ProviderCommand::Evidence { name })?;
            disputed::evidence(config, out.out.as_deref(), &answer)
        }
        ProviderArgs::Mandate(args) => mandates::run(args, ask),
        ProviderArgs::SecondMeter(SecondMeterArgs::Import(args)) => import(args),
        ProviderArgs::Attached(args) => attached(args),
        ProviderArgs::Reject(WithReason { contract, reason, config }) => {
            change(config, ProviderCommand::Reject { contract: *contract, reason: reason.clone() })
        }
        ProviderArgs::Revoke(WithReason { contract, reason, config }) => {
            change(config, ProviderCommand::Revoke { contract: *contract, reason: reason.clone() })
        }
    }
}

/// Rows that cannot be used, or whose record nobody has seen, make the answer that of a file used in part.
fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let input = File::open(&args.file).with_context(|| format!("{file} cannot be opened"))?;
    let MeterReadings { readings, bad } =
        second_meter::read(input).with_context(|| format!("{file} cannot be used"))?;
    let compared = match readings.is_empty() {
        true => Value::Array(Vec::new()),
        false => ask(&args.config, &ProviderCommand::SecondMeter { readings })?,
    };
    let unknown = compared.as_array().into_iter().flatten();
    let unknown = unknown.filter(|of| of["result"]["result"] == "unknown_record").count();
    let code = if bad.is_empty() && unknown == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) };
    if args.config.json {
        print_line(&serde_json::to_string(&json!({ "compared": compared, "bad_rows": bad }))?)?;
        return Ok(code);
    }
    for row in &bad {
        print_line(&format!("line {}: not used: {}", row.line, row.reason))?;
    }
    program::print(false, &compared, |of| {
        let name: RecordName = serde_json::from_value(of["record"].clone())?;
        let says = match serde_json::from_value(of["result"].clone())? {
            SecondMeterResult::UnknownRecord => "not seen, or more than 60 days ago".to_owned(),
            SecondMeterResult::Agrees => "not above its second meter".to_owned(),
            SecondMeterResult::Above { case } => format!("above its second meter: {}", case_words(&case)),
        };
        Ok(format!("line {}: {name}: {says}", of["line"]))
    })?;
    Ok(code)
}

pub(super) fn case_words(case: &CaseState) -> String {
    match case {
        CaseState::Notice => "noticed".to_owned(),
        CaseState::Waiting => "it is being contested".to_owned(),
        CaseState::Contested => "contested".to_owned(),
        CaseState::Refused { why } => format!("the ledger refuses the contest: {why}"),
    }
}

/// Writes what was attached to a registration, if it is still what was signed.
fn attached(args: &AttachedArgs) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.config, &ProviderCommand::Attached { contract: args.contract })?;
    let attached: AttachedContract = serde_json::from_value(answer)?;
    let (file, out) = (attached.file()?, args.out.display());
    let made = File::create_new(&args.out);
    let mut made =
        made.with_context(|| format!("{out} cannot be made: name a file that is not there yet"))?;
    made.write_all(&file).with_context(|| format!("{out} cannot be written"))?;
    let written = json!({ "contract": args.contract, "sha256": attached.sha256, "file": args.out });
    program::print(args.config.json, &written, |_| Ok(format!("{out}  SHA-256 {}", attached.sha256)))
}

fn ask(config: &ConfigArgs, command: &ProviderCommand) -> anyhow::Result<Value> {
    let located = Located::<ProviderConfig>::read(&config.config)?;
    let directory = located.path(&located.config.organisation.directory);
    staff::command(&directory, command, |command| {
        ProviderProgram::start(&located)?.handle(command).map_err(|reason| anyhow!(reason))
    })
}

fn change(config: &ConfigArgs, command: ProviderCommand) -> anyhow::Result<ExitCode> {
    program::print(config.json, &ask(config, &command)?, program::done)
}

fn list(config: &ConfigArgs, command: ProviderCommand) -> anyhow::Result<ExitCode> {
    program::print(config.json, &ask(config, &command)?, |customer| {
        let customer: ListedCustomer = serde_json::from_value(customer.clone())?;
        let name = customer.fields.get("name").map_or("", String::as_str);
        let stands = match (&customer.revoked, &customer.decision, customer.credential) {
            (Some(reason), _, _) => format!("revoked: {reason}"),
            (None, Decision::Awaited, _) => "waits for a decision".to_owned(),
            (None, Decision::Rejected { reason }, _) => format!("rejected: {reason}"),
            (None, Decision::Accepted, None) => "accepted, has not fetched its credential".to_owned(),
            (None, Decision::Accepted, Some(place)) => format!("credential {place}"),
        };
        let attached = customer.attached.map(|hash| format!("  attached {hash}")).unwrap_or_default();
        Ok(format!("{}  {}  {name}  {stands}{attached}", customer.contract, customer.registered_at))
    })
}
