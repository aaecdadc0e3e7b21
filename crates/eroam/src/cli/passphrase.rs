//! `eroam passphrase`: another passphrase for what a provider, an operator or a station keeps.

use super::print_line;
use anyhow::Context as _;
use clap::Args;
use eroam::charging::state::AgentState;
use eroam::program::secrets;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// The directory in which the program keeps its state; the program must not run
    directory: PathBuf,
    /// The passphrase until now (or set EROAM_PASSPHRASE)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The one from now on
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PassphraseArgs) -> anyhow::Result<ExitCode> {
    let old = secrets::passphrase(args.passphrase_file.as_deref())?;
    let new = secrets::passphrase(Some(&args.new_passphrase_file)).context("the new passphrase")?;
    AgentState::change_passphrase(&args.directory, &old, &new)?;
    let directory = args.directory.display();
    print_line(&if args.json {
        json!({ "directory": directory.to_string() }).to_string()
    } else {
        format!("{directory} opens with the new passphrase: name its file in the program's configuration")
    })?;
    Ok(ExitCode::SUCCESS)
}
