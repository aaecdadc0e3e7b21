//! `eroam station code`: what is on a station's post, for the terminal and to print.

use super::print_line;
use anyhow::Context as _;
use clap::Args;
use eroam::charging::code::InvitationCode;
use eroam::charging::wallet::read_code;
use serde_json::json;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct CodeArgs {
    /// The station's invitation: a URL, as its operator lists it
    invitation: String,
    /// Write the code here, as SVG, instead of showing it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CodeArgs) -> anyhow::Result<ExitCode> {
    let url = args.invitation.trim();
    // A code that no wallet takes is of no use on a post.
    read_code(url)?;
    let code = InvitationCode::new(url)?;
    if let Some(file) = &args.svg {
        std::fs::write(file, code.svg()).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let svg = args.svg.as_ref().map(|file| file.display().to_string());
    print_line(&match (args.json, &svg) {
        (true, svg) => json!({ "invitation": url, "modules": code.width(), "svg": svg }).to_string(),
        (false, Some(file)) => format!("{file}: {0} x {0} modules and a frame of four", code.width()),
        (false, None) if std::io::stdout().is_terminal() => code.terminal(),
        (false, None) => code.text(),
    })?;
    Ok(ExitCode::SUCCESS)
}
