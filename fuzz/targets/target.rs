//! What the targets of all crates share.

/// A target: whether it accepts the bytes.
pub(crate) type Target = fn(&[u8]) -> bool;

/// Runs one target.
///
/// # Panics
/// When there is none of that name, and for what a target finds.
pub(crate) fn run(targets: &[(&str, Target)], name: &str, bytes: &[u8]) -> bool {
    let found = targets.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1(bytes)
}
