//! The workspace as it lies on the disk.

use anyhow::{Context as _, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory that holds the workspace's `Cargo.toml`.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

/// The manifests and what they resolve to on this machine's platform. It asks no network: whatever a test needs was
/// fetched to build it.
///
/// # Errors
/// What Cargo says.
pub fn metadata() -> anyhow::Result<Metadata> {
    let version = Command::new("rustc").arg("-vV").output().context("rustc cannot be started")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let options = ["--locked", "--offline", "--filter-platform", host].map(str::to_owned);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options)
        .exec()
        .context("the workspace's metadata cannot be read")
}

/// The workspace's own crates, by name.
#[must_use]
pub fn members(metadata: &Metadata) -> Vec<&Package> {
    let mut members = metadata.workspace_packages();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// A member's short name: the directory it lies in, as documents write it.
#[must_use]
pub fn short_name(name: &str) -> &str {
    name.strip_prefix("eroam-").unwrap_or(name)
}

/// The dependencies that a manifest names, of these kinds.
pub fn direct<'p>(package: &'p Package, kinds: &[DependencyKind]) -> BTreeSet<&'p str> {
    package.dependencies.iter().filter(|d| kinds.contains(&d.kind)).map(|d| d.name.as_str()).collect()
}

/// Every file of the project that a clone would have, or will once it is added, relative to the root: what Git
/// tracks and does not ignore. Without Git, everything outside build directories.
///
/// # Errors
/// A directory cannot be read, or there is nothing.
pub fn files() -> anyhow::Result<Vec<PathBuf>> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let mut files: Vec<PathBuf> = match listed {
        Some(listed) => listed.split_terminator('\0').map(PathBuf::from).collect(),
        None => {
            let mut found = Vec::new();
            walk(&root, Path::new(""), &mut found)?;
            found
        }
    };
    // What was deleted is tracked until the deletion is committed.
    files.retain(|file| root.join(file).is_file());
    files.sort();
    ensure!(files.len() > 50, "only {} files were found in {}", files.len(), root.display());
    Ok(files)
}

fn walk(root: &Path, under: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in root.join(under).read_dir()? {
        let entry = entry?;
        let path = under.join(entry.file_name());
        let skipped = entry.file_name() == "target" || entry.file_name() == ".git";
        if entry.file_type()?.is_dir() {
            if !skipped {
                walk(root, &path, found)?;
            }
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// A file's text, for a path relative to the root; `None` for what is no text.
///
/// # Errors
/// The file cannot be read.
pub fn text(file: &Path) -> anyhow::Result<Option<String>> {
    let path = root().join(file);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8(bytes).ok())
}
