//! `eroam simulated-driver`: a process of `eroam simulate --processes`. Commands come in and answers go out line by line.

use super::print_line;
use super::program::ConfigArgs;
use eroam::program::config::Located;
use eroam::program::driver::DriverProgram;
use serde_json::json;
use std::process::ExitCode;

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let mut driver = DriverProgram::start(&Located::read(&args.config)?)?;
    print_line("{}")?;
    for line in std::io::stdin().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(command) => driver.handle(command),
            Err(error) => Err(error.to_string()),
        };
        let answer = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(reason) => json!({ "error": reason }),
        };
        print_line(&answer.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
