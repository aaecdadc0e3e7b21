//! Entry point of the `eroam` binary. Exit codes are in `eroam --help`.

mod cli;

/// A consortium in one process makes and frees millions of small values on several threads; the system's allocator
/// took a sixth of a replay's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
