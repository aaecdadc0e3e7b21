//! Which crate may use which. The table is that of `ARCHITECTURE.md`; a new edge changes both.

use cargo_metadata::{DependencyKind, Metadata, PackageId};
use eroam_testkit::workspace::{direct, members, metadata, root, short_name};
use std::collections::{BTreeMap, BTreeSet};

const EVERY_KIND: [DependencyKind; 3] =
    [DependencyKind::Normal, DependencyKind::Development, DependencyKind::Build];

/// A crate and the crates of this workspace that it may use. `testkit` may use any.
const EDGES: [(&str, &[&str]); 12] = [
    (
        "eroam",
        &[
            "chain", "domain", "forecast", "gateway", "ledger", "light", "ssi", "station", "store", "wallet",
            "wire",
        ],
    ),
    ("chain", &["domain", "ledger", "light"]),
    ("light", &["domain", "ledger"]),
    ("station", &["domain", "light", "ssi", "wire"]),
    ("wallet", &["domain", "ssi"]),
    ("store", &["domain", "gateway"]),
    ("gateway", &["domain", "ledger", "wire"]),
    ("ssi", &["domain"]),
    ("wire", &["domain"]),
    ("forecast", &["domain"]),
    ("ledger", &["domain"]),
    ("domain", &[]),
];

/// What the two crates that every organisation must compute alike may use from outside, tests included. An addition
/// needs a review: it must be deterministic, and keep its bytes.
const REVIEWED: [(&str, &[&str], &[&str]); 2] = [
    ("domain", &["borsh", "serde", "sha2", "thiserror"], &["jiff", "proptest", "serde_json"]),
    ("ledger", &["borsh", "ed25519-dalek", "serde", "serde_json", "sha2", "thiserror"], &["proptest"]),
];

/// Beginnings of the names of crates that must not come in by the back door either: runtimes, engines, databases,
/// sockets, clocks.
const BANNED_BELOW: [&str; 12] = [
    "async-std",
    "chrono",
    "commonware",
    "hyper",
    "jiff",
    "libsqlite3",
    "mio",
    "reqwest",
    "smol",
    "socket2",
    "sqlx",
    "tokio",
];

fn edge_table() -> String {
    let width = EDGES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, used): &(&str, &[&str])| match used {
        [] => format!("{name:width$} ->"),
        used => format!("{name:width$} -> {}", used.join(" ")),
    };
    EDGES.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_crate_uses_another_that_it_may_not() {
    let metadata = metadata().unwrap();
    let table: BTreeMap<&str, &[&str]> = EDGES.into();
    let own: BTreeSet<&str> = members(&metadata).into_iter().map(|p| p.name.as_str()).collect();
    let mut offences = Vec::new();
    for package in members(&metadata) {
        let name = short_name(&package.name);
        if name == "testkit" {
            continue;
        }
        let Some(allowed) = table.get(name) else {
            offences.push(format!("{name} is not in the table: add its row here and in ARCHITECTURE.md"));
            continue;
        };
        for used in direct(package, &EVERY_KIND).into_iter().filter(|used| own.contains(used)) {
            let for_tests = direct(package, &[DependencyKind::Normal, DependencyKind::Build]).contains(used);
            let used = short_name(used);
            let of_testkit = used == "testkit" && !for_tests;
            if !allowed.contains(&used) && !of_testkit {
                offences.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(offences.is_empty(), "edges that ARCHITECTURE.md does not allow:\n{}", offences.join("\n"));
    let rows: BTreeSet<&str> = table.into_keys().collect();
    let crates: BTreeSet<&str> = own.iter().map(|n| short_name(n)).filter(|n| *n != "testkit").collect();
    assert_eq!(rows, crates, "a row of the table names no crate");
}

#[test]
fn the_table_is_the_one_in_the_architecture_page() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        page.contains(&format!("```text\n{}\n```", edge_table())),
        "ARCHITECTURE.md does not show the allowed edges as they are:\n{}",
        edge_table()
    );
}

#[test]
fn domain_and_ledger_use_what_was_reviewed_and_nothing_else() {
    let metadata = metadata().unwrap();
    let own: BTreeSet<&str> = members(&metadata).into_iter().map(|p| p.name.as_str()).collect();
    for (name, for_all, for_tests) in REVIEWED {
        let package = members(&metadata).into_iter().find(|p| short_name(&p.name) == name).unwrap();
        let outside = |kinds: &[DependencyKind]| {
            direct(package, kinds).into_iter().filter(|d| !own.contains(d)).collect::<BTreeSet<_>>()
        };
        let normal = outside(&[DependencyKind::Normal, DependencyKind::Build]);
        assert_eq!(normal, for_all.iter().copied().collect(), "{name} was reviewed with other dependencies");
        let development = outside(&[DependencyKind::Development]);
        assert_eq!(development, for_tests.iter().copied().collect(), "{name}: development dependencies");
    }
}

/// Everything that is compiled into `package`, tests apart.
fn below<'m>(metadata: &'m Metadata, package: &'m PackageId) -> BTreeSet<&'m str> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let (mut reached, mut open) = (BTreeSet::new(), vec![package]);
    while let Some(id) = open.pop() {
        for dep in resolve.nodes.iter().filter(|n| n.id == *id).flat_map(|n| &n.deps) {
            let compiled = dep.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development);
            if compiled && reached.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    metadata.packages.iter().filter(|p| reached.contains(&p.id)).map(|p| p.name.as_str()).collect()
}

#[test]
fn domain_and_ledger_reach_no_runtime_engine_database_or_clock() {
    let metadata = metadata().unwrap();
    for name in ["domain", "ledger"] {
        let package = members(&metadata).into_iter().find(|p| short_name(&p.name) == name).unwrap();
        let below = below(&metadata, &package.id);
        assert!(below.contains("borsh"), "{name}: the walk found only {below:?}");
        let banned: Vec<&&str> =
            below.iter().filter(|d| BANNED_BELOW.iter().any(|banned| d.starts_with(banned))).collect();
        assert!(banned.is_empty(), "{name} reaches {banned:?}");
    }
}

#[test]
fn the_walk_sees_what_the_binary_reaches() {
    let metadata = metadata().unwrap();
    let package = members(&metadata).into_iter().find(|p| p.name.as_str() == "eroam").unwrap();
    assert!(below(&metadata, &package.id).contains("tokio"), "the ban would find nothing");
}

/// What `cargo tree` shows of a crate built on its own. The metadata of the whole workspace would not do: there the
/// engine's features are switched on for everybody.
fn tree_of(package: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn light_clients_and_rules_are_built_without_the_engine() {
    let engine = ["runtime", "consensus", "p2p", "glue", "broadcast", "resolver", "stream", "actor"];
    let engine = engine.map(|part| format!("commonware-{part}"));
    let shown = tree_of("eroam-chain");
    assert!(engine.iter().all(|part| shown.contains(part)), "the names of the engine's parts have changed");
    for package in ["eroam-domain", "eroam-ledger", "eroam-light", "eroam-ssi"] {
        let tree = tree_of(package);
        assert!(tree.contains(package), "{package} is not in its own tree");
        let heavy = |name: &&String| engine.contains(name) || name.starts_with("tokio") || *name == "mio";
        let found: Vec<&String> = tree.iter().filter(heavy).collect();
        assert!(found.is_empty(), "{package} is built with {found:?}");
    }
}
