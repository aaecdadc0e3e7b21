//! What `eroam operator` and `eroam provider` print of contested records.

use super::dispute::standing;
use super::print_line;
use super::program::{self, ConfigArgs};
use anyhow::Context as _;
use eroam::charging::contest_desk::ListedContest;
use eroam::charging::dispute::{EvidenceHere, FoundRecord, Verdict};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where evidence is written.
#[derive(Debug, clap::Args)]
pub(super) struct EvidenceOut {
    /// Also write the operator's evidence there, for `eroam dispute check`
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { "the reason has not come".to_owned() } else { reasons.join("; ") }
}

/// A contest of one of the operator's records.
pub(super) fn contest(listed: &Value) -> anyhow::Result<String> {
    let ListedContest { ledger, reasons, verdict, evidence_with, .. } =
        serde_json::from_value(listed.clone())?;
    let with: Vec<String> = evidence_with.iter().map(ToString::to_string).collect();
    let with = if with.is_empty() {
        "nobody has our evidence yet".to_owned()
    } else {
        format!("our evidence is with {}", with.join(", "))
    };
    Ok(format!(
        "{}  {}\n  because {}\n  {}; {with}",
        ledger.record,
        standing(&ledger),
        because(&reasons),
        verdict.words()
    ))
}

/// A record that the home utility's rules found something of.
pub(super) fn found(listed: &Value) -> anyhow::Result<String> {
    let FoundRecord { name, case, reasons, ledger, verdict } = serde_json::from_value(listed.clone())?;
    let stands = ledger.as_ref().map_or_else(|| "the ledger does not have it".to_owned(), standing);
    let case = super::provider::case_words(&case);
    let verdict =
        verdict.map_or_else(|| "the operator's evidence has not come".to_owned(), |v: Verdict| v.words());
    Ok(format!("{name}  {case}  {stands}\n  because {}\n  {verdict}", because(&reasons)))
}

/// Both legs' evidence of one record; the operator's is written to a file if that is asked for.
pub(super) fn evidence(config: &ConfigArgs, out: Option<&Path>, answer: &Value) -> anyhow::Result<ExitCode> {
    let here: EvidenceHere = serde_json::from_value(answer.clone())?;
    if let Some(out) = out {
        let charge = here.charge.as_ref().context("there is no evidence of this record to write")?;
        std::fs::write(out, charge.to_bytes()?)
            .with_context(|| format!("{} cannot be written", out.display()))?;
    }
    if config.json {
        return program::print(true, answer, |_| Ok(String::new()));
    }
    let EvidenceHere { ledger, reasons, verdict, charge } = here;
    print_line(&format!(
        "{}  {}\n  because {}\n  {}",
        ledger.record,
        standing(&ledger),
        because(&reasons),
        verdict.words()
    ))?;
    if let Some(charge) = charge {
        let (quote, spent) = (charge.quote.digest(), &charge.spent);
        print_line(&format!(
            "  quote {quote} agreed to at {} with voucher {}\n  {} signed readings, digest {}",
            spent.acceptance.accepted_at,
            spent.voucher.voucher.nullifier(),
            charge.sent.readings.lines().count(),
            charge.cdr.readings
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
