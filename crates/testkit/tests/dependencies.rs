//! Every dependency is explained in `DEPENDENCIES.md` and may be distributed.

use cargo_metadata::DependencyKind;
use eroam_testkit::licence;
use eroam_testkit::workspace::{direct, members, metadata, root};
use std::collections::BTreeSet;

const EVERY_KIND: [DependencyKind; 3] =
    [DependencyKind::Normal, DependencyKind::Development, DependencyKind::Build];

/// The first column of the page's tables.
fn explained(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name).collect()
}

#[test]
fn each_direct_dependency_has_its_line_and_no_line_is_left_over() {
    let metadata = metadata().unwrap();
    let own: BTreeSet<&str> = members(&metadata).into_iter().map(|p| p.name.as_str()).collect();
    let used: BTreeSet<&str> = members(&metadata)
        .into_iter()
        .flat_map(|p| direct(p, &EVERY_KIND))
        .filter(|d| !own.contains(d))
        .collect();
    let page = std::fs::read_to_string(root().join("DEPENDENCIES.md")).unwrap();
    let lines = explained(&page);
    let distinct: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(lines.len(), distinct.len(), "a dependency has two lines");
    let missing: Vec<&&str> = used.difference(&distinct).collect();
    let left_over: Vec<&&str> = distinct.difference(&used).collect();
    assert!(missing.is_empty(), "DEPENDENCIES.md does not explain {missing:?}");
    assert!(left_over.is_empty(), "DEPENDENCIES.md explains {left_over:?}, which no crate uses");
}

#[test]
fn versions_live_in_the_workspace_and_each_is_used() {
    let metadata = metadata().unwrap();
    let used: BTreeSet<&str> = members(&metadata).into_iter().flat_map(|p| direct(p, &EVERY_KIND)).collect();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, table) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let table = table.split_once("\n[").map_or(table, |(table, _)| table);
    let pinned: BTreeSet<&str> =
        table.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name).collect();
    let unused: Vec<&&str> = pinned.difference(&used).collect();
    assert!(unused.is_empty(), "the workspace names a version of {unused:?}, which no crate uses");
    let elsewhere: Vec<&&str> = used.difference(&pinned).collect();
    assert!(elsewhere.is_empty(), "the version of {elsewhere:?} is not in the workspace's manifest");
}

#[test]
fn every_licence_may_be_distributed_with_ours() {
    let metadata = metadata().unwrap();
    assert!(metadata.packages.len() > 50, "the packages were not found");
    let refused: Vec<String> = metadata
        .packages
        .iter()
        .filter(|p| !p.license.as_deref().is_some_and(licence::is_allowed))
        .map(|p| format!("{} {}: {}", p.name, p.version, p.license.as_deref().unwrap_or("none stated")))
        .collect();
    assert!(refused.is_empty(), "licences that are not allowed:\n{}", refused.join("\n"));
}

#[test]
fn the_licences_are_those_of_the_audit() {
    let config = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, list) = config.split_once("\nallow = [\n").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let listed: Vec<&str> =
        list.lines().map(|l| l.trim().trim_matches([',', '"'])).filter(|l| !l.is_empty()).collect();
    assert_eq!(listed, licence::ALLOWED, "deny.toml and testkit allow different licences");
}
