//! `eroam provider mandate`: who may issue contracts in a home utility's name.

use super::program::{self, ConfigArgs};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use eroam::clock::now;
use eroam::program::mandates::{ListedMandate, Period};
use eroam::program::provider::ProviderCommand;
use eroam_domain::ids::{PartyId, SchemaId};
use eroam_domain::time::{CivilDate, UnixMillis};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum MandateArgs {
    /// Let an issuer issue contracts in this home utility's name; a mandate for the same schema is replaced
    Grant(GrantArgs),
    /// End a mandate at once: no station takes a contract that was issued under it any more
    Revoke(RevokeArgs),
    /// The mandates that were granted here, and whether they hold on the ledger
    List(ConfigArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct GrantArgs {
    /// The issuer: a member with that role
    issuer: PartyId,
    /// The schema of the contracts, which the issuer has published
    #[arg(long, value_name = "ID")]
    schema: SchemaId,
    /// The first day, in UTC; from now on if it is left out
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<CivilDate>,
    /// The last day, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: CivilDate,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The issuer
    issuer: PartyId,
    /// The schema of the contracts
    #[arg(long, value_name = "ID")]
    schema: SchemaId,
    #[command(flatten)]
    config: ConfigArgs,
}

/// `ask` has a command done by the program that runs, or by one that is started for it.
pub(super) fn run(
    args: &MandateArgs,
    ask: impl FnOnce(&ConfigArgs, &ProviderCommand) -> anyhow::Result<Value>,
) -> anyhow::Result<ExitCode> {
    match args {
        MandateArgs::Grant(GrantArgs { issuer, schema, from, until, config }) => {
            let period = period(*from, *until)?;
            let command = ProviderCommand::GrantMandate { issuer: *issuer, schema: schema.clone(), period };
            program::print(config.json, &ask(config, &command)?, program::done)
        }
        MandateArgs::Revoke(RevokeArgs { issuer, schema, config }) => {
            let command = ProviderCommand::RevokeMandate { issuer: *issuer, schema: schema.clone() };
            program::print(config.json, &ask(config, &command)?, program::done)
        }
        MandateArgs::List(config) => {
            program::print(config.json, &ask(config, &ProviderCommand::Mandates)?, listed)
        }
    }
}

/// Whole days, the last one included.
fn period(from: Option<CivilDate>, until: CivilDate) -> anyhow::Result<Period> {
    let from = match from {
        Some(day) => midnight(day)?,
        None => now(),
    };
    let after = until.next_day().context("--until is the last day that there is: give an earlier one")?;
    let period = Period { from, until: midnight(after)? };
    if period.until <= period.from || period.until <= now() {
        bail!("a mandate ends after it begins, and in the future: give a later day after --until");
    }
    Ok(period)
}

fn midnight(day: CivilDate) -> anyhow::Result<UnixMillis> {
    let instant = day.days().checked_mul(86_400_000).and_then(UnixMillis::new);
    instant.with_context(|| format!("{day} is before 1970: give a later day"))
}

fn listed(mandate: &Value) -> anyhow::Result<String> {
    let ListedMandate { issuer, schema, period, in_force } = serde_json::from_value(mandate.clone())?;
    Ok(match period {
        None => format!("{issuer}  {schema}  none on the ledger"),
        Some(Period { from, until }) => {
            let stands = if in_force { "in force" } else { "not in force" };
            format!("{issuer}  {schema}  {stands}, from {from} until {until}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mandate_holds_whole_days_and_its_last_one() {
        let day = |text: &str| text.parse::<CivilDate>().unwrap();
        let far = period(Some(day("2999-01-01")), day("2999-01-01")).unwrap();
        assert_eq!(far.until.since(far.from).unwrap().millis(), 86_400_000);
        for (from, until) in [(Some("2999-01-02"), "2999-01-01"), (None, "1999-01-01")] {
            let refused = period(from.map(day), day(until)).unwrap_err().to_string();
            assert!(refused.contains("give a later day"), "{refused}");
        }
    }
}
