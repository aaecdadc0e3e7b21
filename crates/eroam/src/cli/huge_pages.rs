//! A process of many agents does without huge pages of memory.
//!
//! The allocator has places of its own for each thread and each size of value. They are good for a ledger that goes through
//! much memory in a few threads, and the system backs them with two mebibytes at a time. Of a thousand agents, each with
//! threads of its own, it is nearly all that they take: of 24 agents after 100 charges, 270 MiB instead of 500, at the same
//! processor time.

/// The allocator's own setting: it is read before anything of ours runs.
#[cfg(target_os = "linux")]
const SETTING: &str = "MIMALLOC_ALLOW_THP";

/// Begins this program again without huge pages, as the same process with the same arguments. It returns there, where
/// somebody has made the setting, and where it cannot be done.
#[cfg(target_os = "linux")]
pub(super) fn do_without() {
    use std::os::unix::process::CommandExt as _;
    if std::env::var_os(SETTING).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let error =
        std::process::Command::new(program).args(std::env::args_os().skip(1)).env(SETTING, "0").exec();
    tracing::warn!(%error, "simulate.huge_pages");
}

/// Other systems have none by themselves.
#[cfg(not(target_os = "linux"))]
pub(super) fn do_without() {}
