//! The seeds of the fuzz targets, replayed without a fuzzer: `fuzz/corpus/<target>/{ok,bad}-*`.
//!
//! The targets of a crate stand in `fuzz/targets/<crate>.rs`, which its programs in `fuzz/fuzz_targets` include, and the
//! crate's own test, too: that test replays the seeds and, told by `EROAM_WRITE_CORPUS=1`, writes the first ones anew. So
//! whoever changes a decoder learns of it without a fuzzer.

use crate::workspace::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The greatest size of the whole corpus in bytes.
pub const BYTES_MAX: u64 = 400 * 1024;

/// `fuzz`, or something in it.
#[must_use]
pub fn fuzz(path: &str) -> PathBuf {
    root().join("fuzz").join(path)
}

/// The names of what is in a directory.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}

/// The name of a program, and the file of targets that it includes and the target that it runs, if it says both.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn program(file: &str) -> Option<(String, String)> {
    let path = fuzz("fuzz_targets").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let between = |before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after).map(|(found, _)| found.to_owned())
    };
    Some((between("#[path = \"../targets/", ".rs\"]")?, between("targets::run(\"", "\", bytes)")?))
}

/// Writes the first seeds of targets: what each must accept, and what none does. Other seeds stay.
///
/// `takes_anything` are targets that accept any text, of which the half is text, too.
///
/// # Panics
/// When they cannot be written.
pub fn write(proper: &[(&str, Vec<u8>)], takes_anything: &[&str]) {
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for (target, bytes) in proper {
        let place = places.entry(target).or_default();
        *place = place.saturating_add(1);
        let directory = fuzz("corpus").join(target);
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let mut seeds = vec![
            (format!("ok-{place}"), bytes.as_slice()),
            ("bad-empty".to_owned(), &[]),
            ("bad-bytes".to_owned(), b"\xff{\"@id\":"),
        ];
        if !takes_anything.contains(target) {
            seeds.extend([("bad-deep".to_owned(), [b'['; 40].as_slice()), ("bad-half".to_owned(), half)]);
        }
        for (name, seed) in seeds {
            let written =
                fs::create_dir_all(&directory).and_then(|()| fs::write(directory.join(&name), seed));
            written.unwrap_or_else(|error| panic!("{target}/{name}: {error}"));
        }
    }
}

/// Whether the seeds are to be written before they are replayed.
#[must_use]
pub fn is_to_be_written() -> bool {
    std::env::var_os("EROAM_WRITE_CORPUS").is_some()
}

/// Replays the seeds of a crate's targets, each of which has some that are accepted and some that are not; and checks
/// that these targets, and no others, have a program that includes `fuzz/targets/<file>.rs`. `accepts` runs one.
///
/// # Panics
/// For whatever is not so, and for what a target finds.
pub fn replay(file: &str, targets: &BTreeSet<&str>, accepts: impl Fn(&str, &[u8]) -> bool) {
    let programs = names(&fuzz("fuzz_targets")).into_iter().filter_map(|name| program(&name));
    let programs: BTreeSet<String> =
        programs.filter(|(of, _)| of == file).map(|(_, target)| target).collect();
    assert_eq!(programs.iter().map(String::as_str).collect::<BTreeSet<_>>(), *targets);
    for target in targets {
        let directory = fuzz("corpus").join(target);
        let seeds = names(&directory);
        for kind in ["ok-", "bad-"] {
            assert!(seeds.iter().any(|seed| seed.starts_with(kind)), "{target} has no seed {kind}*");
        }
        for seed in seeds {
            let bytes = fs::read(directory.join(&seed));
            let bytes = bytes.unwrap_or_else(|error| panic!("{target}/{seed}: {error}"));
            match (accepts(target, &bytes), seed.split('-').next()) {
                (true, Some("ok")) | (false, Some("bad")) => {}
                (accepted, _) => {
                    panic!("{target}/{seed} is {}", if accepted { "accepted" } else { "refused" })
                }
            }
        }
    }
}
