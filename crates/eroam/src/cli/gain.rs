//! `eroam study gain`: what a lying attester gains at most under a price rule, to be looked at before anybody agrees on it.

use super::print_line;
use anyhow::Context as _;
use clap::Args;
use eroam_domain::agreement::DynamicRule;
use eroam_domain::money::decimal;
use eroam_domain::pricing::gain::{self, Gain, LargestGain};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct GainArgs {
    /// The rule as JSON, as an agreement has it under `price_rule.dynamic`
    #[arg(long, value_name = "FILE")]
    rule: PathBuf,
    /// The share of renewable energy in basis points, for a rule with a curve over it
    #[arg(long, value_name = "BPS", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    renewable_share_bps: Option<u16>,
    /// Of the forecasters that make the quorum so many lie
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    liars: u8,
    /// The others' forecasts are within this of the actual load, in basis points
    #[arg(long, value_name = "BPS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    honest_bps: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A side's gain.
#[derive(Debug, Serialize)]
struct Side {
    /// Millionths per kWh, without VAT.
    micros_per_kwh: i64,
    /// Of the honest rate; `null` where that can be zero.
    bps: Option<u64>,
}

impl Side {
    const fn of(gain: Gain) -> Self {
        Self { micros_per_kwh: gain.micros_per_kwh, bps: gain.bps }
    }
}

/// Both sides' gains.
#[derive(Debug, Serialize)]
struct Sides {
    /// By a forecast that makes the rate higher.
    creditor: Side,
    /// By one that makes it lower.
    debtor: Side,
}

impl Sides {
    const fn of(gain: LargestGain) -> Self {
        Self { creditor: Side::of(gain.creditor), debtor: Side::of(gain.debtor) }
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    /// The rule's band, within which nothing is trued up.
    band_bps: u32,
    /// One who decides the forecast alone.
    alone: Sides,
    /// So many who lie among those who make the quorum.
    liars: u8,
    /// How many make the quorum.
    quorum: u8,
    /// Within what the honest ones are.
    honest_bps: u32,
    /// What the liars gain next to the honest ones.
    on_panel: Sides,
}

pub(super) fn run(args: &GainArgs) -> anyhow::Result<ExitCode> {
    let file = args.rule.display();
    let text = std::fs::read_to_string(&args.rule).with_context(|| format!("{file} cannot be read"))?;
    let rule: DynamicRule =
        serde_json::from_str(&text).with_context(|| format!("{file} is no dynamic price rule"))?;
    rule.check().with_context(|| format!("{file} cannot be agreed on"))?;
    let needs = "the rule's gain cannot be found: a rule with a curve over the renewable share needs \
                 --renewable-share-bps";
    let share = args.renewable_share_bps;
    let alone = gain::alone(&rule, share).context(needs)?;
    let on_panel = gain::on_panel(&rule, share, args.liars, args.honest_bps).context(needs)?;
    let report = Report {
        band_bps: rule.band_bps.get(),
        alone: Sides::of(alone),
        liars: args.liars,
        quorum: rule.forecasters.quorum,
        honest_bps: args.honest_bps,
        on_panel: Sides::of(on_panel),
    };
    if args.json {
        print_line(&serde_json::to_string(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let per_cent = |bps: u64| decimal(i128::from(bps), 2, 2);
    let side = |name: &str, side: &Side| {
        let of = side.bps.map_or_else(|| "any part".to_owned(), |bps| format!("{} %", per_cent(bps)));
        let amount = decimal(i128::from(side.micros_per_kwh), 6, 4);
        format!("  {name} at most {amount} per kWh, and at most {of} of the honest rate")
    };
    let sides = |sides: &Sides| {
        format!("{}\n{}", side("who is paid gains", &sides.creditor), side("who pays saves", &sides.debtor))
    };
    print_line(&format!(
        "within the band of {} %, which is never trued up\nwhoever decides the forecast alone:\n{}\n{} of {} who lie, the \
         others within {} % of the load:\n{}",
        per_cent(report.band_bps.into()),
        sides(&report.alone),
        report.liars,
        report.quorum,
        per_cent(report.honest_bps.into()),
        sides(&report.on_panel),
    ))?;
    Ok(ExitCode::SUCCESS)
}
