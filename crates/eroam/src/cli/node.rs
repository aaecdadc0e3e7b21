//! `eroam node`: the ledger and its registry for the programs of this machine.

use super::print_line;
use super::program::{self, ConfigArgs};
use clap::Subcommand;
use eroam::program::config::Located;
use eroam::program::control;
use eroam::program::node::{NodeCommand, NodeProgram, NodeProgramConfig};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum NodeArgs {
    /// Run the validator of a network that has one, until Ctrl-C or SIGTERM
    Run(ConfigArgs),
    /// How far it is
    Status(ConfigArgs),
}

pub(super) fn run(args: &NodeArgs) -> anyhow::Result<ExitCode> {
    match args {
        NodeArgs::Run(args) => program::run(
            args,
            || Ok(NodeProgram::start(&Located::read(&args.config)?)?),
            |program| {
                let ready = program.ready().clone();
                let said = format!("serving the network {} at {}", ready.network, ready.url);
                (ready, said)
            },
            NodeProgram::stop,
        ),
        NodeArgs::Status(config) => {
            let located = Located::<NodeProgramConfig>::read(&config.config)?;
            let directory = located.path(&located.config.directory);
            let status: Value = control::ask(&directory, &NodeCommand::Status)?;
            print_line(&serde_json::to_string(&status)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
