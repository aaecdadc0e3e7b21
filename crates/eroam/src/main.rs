//! Entry point of the `eroam` binary. Exit codes are in `eroam --help`.

fn main() -> std::process::ExitCode {
    eroam::cli::main()
}
