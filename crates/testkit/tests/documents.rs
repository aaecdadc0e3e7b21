//! The documents hold together: nothing is left unlinked, and no link leads nowhere.

use eroam_testkit::workspace::{files, root, text};
use std::path::{Path, PathBuf};

/// The targets of a page's inline links, without their anchors; other sites' are left out.
fn links(page: &str) -> Vec<&str> {
    let targets =
        page.match_indices("](").filter_map(|(at, open)| page.get(at + open.len()..)?.split_once(')'));
    targets
        .map(|(target, _)| target.split('#').next().unwrap_or(""))
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn every_decision_is_linked_from_the_architecture_page() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let linked = links(&page);
    let files = files().unwrap();
    let decisions: Vec<&str> =
        files.iter().filter(|f| f.starts_with("docs/decisions")).filter_map(|f| f.to_str()).collect();
    assert!(decisions.len() >= 10, "the decisions were not found: {decisions:?}");
    for decision in decisions {
        assert!(linked.contains(&decision), "ARCHITECTURE.md does not link {decision}");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let mut broken = Vec::new();
    for file in files().unwrap().iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let folder = file.parent().unwrap_or(Path::new(""));
        let page = text(file).unwrap().unwrap_or_default();
        let dead = links(&page).into_iter().filter(|target| !root().join(folder).join(target).exists());
        broken.extend(dead.map(|target| format!("{}: {target}", file.display())));
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// Rust files that a page names in backticks, as `crate/src/file.rs` or from the root.
fn named_sources(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|q| q.ends_with(".rs") && (q.contains("/src/") || q.contains("/tests/"))).collect()
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let (mut named, mut gone) = (0, Vec::new());
    for file in files().unwrap().iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let page = text(file).unwrap().unwrap_or_default();
        for source in named_sources(&page) {
            named += 1;
            let places: [PathBuf; 2] = [root().join(source), root().join("crates").join(source)];
            if !places.iter().any(|place| place.is_file()) {
                gone.push(format!("{}: {source}", file.display()));
            }
        }
    }
    assert!(named > 20, "only {named} names were found");
    assert!(gone.is_empty(), "pages name files that do not exist:\n{}", gone.join("\n"));
}
