//! The development data: real files that are read where they lie and never become part of the project.
//!
//! They are in the folder that `EROAM_DATA` names, else in `shared/data` beside the project. Where they are not, the tests that
//! need them are left out and say so; in CI that is a failure, since nobody would read the message.

use std::path::PathBuf;

/// A file or a folder of the development data, by its path below their folder; `None` where it is not and that is no
/// failure.
///
/// # Panics
/// In CI, when it is not there.
#[must_use]
pub fn at(name: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let root = std::env::var_os("EROAM_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{} is absent: set EROAM_DATA to the folder that holds `{name}`", path.display());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("SKIPPED: {missing}");
    None
}
