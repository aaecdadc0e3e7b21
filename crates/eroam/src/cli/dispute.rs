//! `eroam dispute`: what a resolver does with a contested record, without a program of its own.

use super::print_line;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use eroam::charging::dispute::{self, BookedRecord, Stands, Verdict};
use eroam::charging::evidence::recheck_sent;
use eroam::clock::now;
use eroam::node::{Node, RemoteNode};
use eroam::resolution;
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::PartyId;
use eroam_domain::money::parse_decimal;
use eroam_gateway::anomalies::RecordName;
use eroam_gateway::charge_evidence::ChargeEvidence;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum DisputeCommand {
    /// Check an operator's evidence of a record with what the ledger has of it: proof, voucher, quote and readings
    Check(CheckArgs),
    /// Decide a contested record, as the member that its agreement names
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The evidence, as `eroam operator evidence --out` or `eroam provider evidence --out` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Anybody's node of the network
    #[arg(long, value_name = "URL")]
    node: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// The operator whose record it is
    operator: PartyId,
    /// The operator's id of the record
    record: CdrId,
    /// So much the operator gives back, in the agreement's currency, such as 1.25
    #[arg(long, value_name = "AMOUNT", value_parser = amount, required_unless_present = "uphold")]
    give_back: Option<i64>,
    /// The record stands as it was booked
    #[arg(long, conflicts_with = "give_back")]
    uphold: bool,
    /// The member that decides
    #[arg(long = "as", value_name = "PARTY")]
    member: PartyId,
    /// The key that the ledger lists for the member: 64 hexadecimal digits in a file of mode 600
    #[arg(long, value_name = "FILE")]
    member_key_file: PathBuf,
    /// The member's node
    #[arg(long, value_name = "URL")]
    node: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// In millionths.
fn amount(text: &str) -> Result<i64, String> {
    match parse_decimal(text, 6) {
        Ok(micros) if micros > 0 => Ok(micros),
        Ok(_) => Err("give back more than nothing, or --uphold".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(command: &DisputeCommand) -> anyhow::Result<ExitCode> {
    match command {
        DisputeCommand::Check(args) => check(args),
        DisputeCommand::Resolve(args) => resolve(args),
    }
}

fn check(CheckArgs { file, node, json }: &CheckArgs) -> anyhow::Result<ExitCode> {
    let name = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("{name} cannot be read"))?;
    let evidence = ChargeEvidence::from_bytes(&bytes).with_context(|| format!("{name} cannot be used"))?;
    let node = Node::from(RemoteNode::connect(node, None)?);
    let record = RecordName { operator: evidence.operator, cdr: evidence.cdr.id.clone() };
    let ledger = dispute::booked(&node, &record, now())?;
    let verdict = Verdict::of(recheck_sent(&node, evidence.operator, &evidence));
    let code = if matches!(verdict, Verdict::Holds { .. }) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if *json {
        print_line(&json!({ "record": record, "ledger": ledger, "verdict": verdict }).to_string())?;
        return Ok(code);
    }
    let stands = ledger.as_ref().map_or_else(|| "the ledger does not have it".to_owned(), standing);
    print_line(&format!("{record}: {stands}\n{}", verdict.words()))?;
    Ok(code)
}

fn resolve(args: &ResolveArgs) -> anyhow::Result<ExitCode> {
    let ResolveArgs { operator, record, give_back, uphold: _, member, member_key_file, node, json } = args;
    let key = eroam::program::secrets::signing_key(member_key_file)?;
    let node = Node::from(RemoteNode::connect(node, None)?);
    let name = RecordName { operator: *operator, cdr: record.clone() };
    resolution::resolve(node.clone(), (*member, &key), &name, give_back.unwrap_or(0), now())?;
    let Some(ledger) = dispute::booked(&node, &name, now())? else {
        bail!("the node {} does not have {name} any more: ask another one", args.node);
    };
    match json {
        true => print_line(&json!({ "record": name, "ledger": ledger }).to_string())?,
        false => print_line(&format!("{name}: {}", standing(&ledger)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a record stands, in words.
pub(super) fn standing(record: &BookedRecord) -> String {
    let BookedRecord { emsp, resolver, booked, stands, .. } = record;
    let stands = match stands {
        Stands::Open { contest_until } => format!("not contested; {emsp} can until {contest_until}"),
        Stands::Contested { resolve_until } => format!("contested; {resolver} decides until {resolve_until}"),
        Stands::GivenBack { amount } => format!("decided: {amount} given back"),
        Stands::Final => "final as it was booked".to_owned(),
    };
    format!("{booked} paid by {emsp}; {stands}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_above_nothing_and_no_finer_than_millionths() {
        assert_eq!(amount("1.25"), Ok(1_250_000));
        for wrong in ["0", "-1", "0.0000001", "one", ""] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }
}
