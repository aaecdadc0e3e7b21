//! The fuzz targets, their programs, their corpora and the manifest name the same.

use eroam_testkit::corpus::{BYTES_MAX, fuzz, names, program};
use eroam_testkit::workspace::root;
use std::collections::BTreeSet;

/// The targets by their programs, each of which must be named after its one.
fn targets() -> BTreeSet<String> {
    let run = |file: String| {
        let (_, target) = program(&file).unwrap_or_else(|| panic!("{file} runs no target"));
        assert_eq!(file, format!("{target}.rs"), "it runs another target than it is named after");
        target
    };
    names(&fuzz("fuzz_targets")).into_iter().map(run).collect()
}

#[test]
fn every_program_has_a_corpus_and_its_place_in_the_manifest() {
    let targets = targets();
    assert!(targets.len() > 30, "the programs were not found: {targets:?}");
    assert_eq!(names(&fuzz("corpus")), targets);
    let manifest = std::fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    let (_, programs) = manifest.split_once("[[bin]]").unwrap();
    let named = programs.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), targets);
}

/// Whoever adds a file of targets has the tests of some crate replay it.
#[test]
fn every_file_of_targets_is_replayed_by_the_crate_that_it_is_named_after() {
    let files: BTreeSet<String> =
        names(&fuzz("fuzz_targets")).iter().filter_map(|file| program(file)).map(|(of, _)| of).collect();
    for file in files {
        let tests = root().join("crates").join(&file).join("tests");
        let places = [tests.join("corpus.rs"), tests.join(&file).join("corpus.rs")];
        let replays = format!("replay(\"{file}\"");
        let is_replayed = places
            .iter()
            .any(|place| std::fs::read_to_string(place).is_ok_and(|text| text.contains(&replays)));
        assert!(is_replayed, "no test of {file} replays fuzz/targets/{file}.rs");
    }
}

#[test]
fn the_corpus_is_small() {
    let mut sum = 0;
    for target in names(&fuzz("corpus")) {
        let directory = fuzz("corpus").join(target);
        sum += names(&directory)
            .iter()
            .map(|seed| std::fs::metadata(directory.join(seed)).unwrap().len())
            .sum::<u64>();
    }
    assert!(sum <= BYTES_MAX, "the corpus has {sum} bytes");
}
