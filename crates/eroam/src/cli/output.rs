//! What a command prints, and how it ends: its result on standard output, its log and its error on standard error.

use anyhow::Context as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Logs to standard error: what EROAM_LOG says, or else `filter`.
pub(super) fn log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EROAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A reader of the log who goes away (`| head`) must not end the program.
        .log_internal_errors(false)
        .init();
}

/// Ends a program with what came of its command.
pub(super) fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            // The whole chain, once, in one line that a person can read.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line, or several; a closed pipe (`| head`) is no failure of ours, but ends the program.
pub(super) fn print_line(line: &str) -> anyhow::Result<()> {
    // In one piece: whoever reads no further than the first line may close the pipe before a second piece comes.
    match std::io::stdout().write_all(format!("{line}\n").as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("standard output cannot be written"),
    }
}
