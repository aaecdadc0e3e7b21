//! What the commands that run an agent, or command a running one, have in common.

use super::print_line;
use super::told::Told;
use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a program's configuration is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration: a TOML file
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// End when standard input ends: for programs that start this one
    #[arg(long, hide = true)]
    pub(super) with_parent: bool,
}

/// Runs a program until it is told to stop. Once it serves, `ready` is printed: as JSON in one line, or as `said`.
pub(super) fn run<P, R: Serialize>(
    args: &ConfigArgs,
    start: impl FnOnce() -> anyhow::Result<P>,
    ready: impl FnOnce(&P) -> (R, String),
    stop: impl FnOnce(P),
) -> anyhow::Result<ExitCode> {
    // Before anybody is told where it is: whoever reads that may end this at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _context = runtime.enter();
        Told::new().context("signals cannot be waited for")?
    };
    let program = start()?;
    let (ready, said) = ready(&program);
    let text = if args.json { serde_json::to_string(&ready)? } else { said };
    print_line(&text)?;
    runtime.block_on(async {
        let parent = async {
            if args.with_parent {
                stdin_ended().await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = told.wait() => {}
            () = parent => {}
        }
    });
    stop(program);
    Ok(ExitCode::SUCCESS)
}

/// Waits until whoever has the other end of standard input is gone.
async fn stdin_ended() {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    // Left behind when the program ends in another way.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(end);
    });
    let _ = ended.await;
}

/// Prints an answer: JSON, or a line for each item as `line` writes it.
pub(super) fn print(
    json: bool,
    answer: &Value,
    line: impl Fn(&Value) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    if json {
        print_line(&serde_json::to_string(answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match answer {
        Value::Array(items) if items.is_empty() => print_line("none")?,
        Value::Array(items) => {
            for item in items {
                print_line(&line(item)?)?;
            }
        }
        item => print_line(&line(item)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was done, in words: `revoked PT-E01-C00000001: moved away`.
pub(super) fn done(answer: &Value) -> anyhow::Result<String> {
    let members = answer.as_object().context("an answer of another version")?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let mut words = String::new();
    for (name, value) in members.iter().filter(|(name, _)| *name != "reason") {
        words = format!("{name} {}", text(value));
    }
    if let Some(reason) = members.get("reason") {
        words = format!("{words}: {}", text(reason));
    }
    Ok(words)
}
