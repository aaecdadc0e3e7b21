//! What no file of the project may hold.

use eroam_testkit::workspace::{files, root, text};
use std::path::{Path, PathBuf};

/// The greatest size of a file: data and builds do not belong here.
const BYTES_MAX: u64 = 1024 * 1024;

/// Unfinished or skipped work. Each is cut in two, so that this file does not hold it.
const UNFINISHED: [&str; 4] =
    [concat!("to", "do!"), concat!("unimp", "lemented!"), concat!("#[ig", "nore"), concat!("db", "g!(")];

/// Directories of one machine.
const MACHINE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Crates in which a float would make two organisations compute two amounts.
const EXACT: [&str; 4] = ["crates/domain/src", "crates/ledger/src", "crates/wire/src", "crates/gateway/src"];

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "rs")
}

/// Where one of `words` stands, as `file:line: word`.
fn places(files: &[PathBuf], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let Some(text) = text(file).unwrap() else { continue };
        for (line, number) in text.lines().zip(1..) {
            let here = words.iter().filter(|word| line.contains(*word));
            found.extend(here.map(|word| format!("{}:{number}: {word}", file.display())));
        }
    }
    found
}

#[test]
fn nothing_is_left_unfinished_or_skipped() {
    let mut sources = files().unwrap();
    sources.retain(|f| is_rust(f));
    let found = places(&sources, &UNFINISHED);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_names_a_directory_of_one_machine() {
    let mut sources = files().unwrap();
    sources.retain(|f| f != Path::new("Cargo.lock"));
    let found = places(&sources, &MACHINE);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_is_large() {
    let large: Vec<String> = files()
        .unwrap()
        .iter()
        .filter(|f| std::fs::metadata(root().join(f)).is_ok_and(|m| m.len() > BYTES_MAX))
        .map(|f| f.display().to_string())
        .collect();
    assert!(large.is_empty(), "files over 1 MiB: {large:?}");
}

/// Whether only tests compile the file: it is named after them, or lies in a directory that is.
fn is_for_tests(file: &Path) -> bool {
    file.with_extension("").iter().any(|part| part == "tests" || part == "testing")
}

/// Where a float type stands as a word of its own, in code that is not only for tests: line numbers from 1.
fn floats(text: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    // The tests of a file stand at its end.
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").zip(1..);
    let has_float = |line: &str| {
        let code = line.split("//").next().unwrap_or("");
        code.split(|c| !is_part(c)).any(|word| word == "f32" || word == "f64")
    };
    lines.filter(|(line, _)| has_float(line)).map(|(_, number)| number).collect()
}

#[test]
fn money_energy_and_time_are_no_floats() {
    let mut sources = files().unwrap();
    sources.retain(|f| is_rust(f) && !is_for_tests(f) && EXACT.iter().any(|dir| f.starts_with(dir)));
    assert!(sources.len() > 50, "the sources were not found: {sources:?}");
    let mut found = Vec::new();
    for file in sources {
        let text = text(&file).unwrap().unwrap_or_default();
        found.extend(floats(&text).into_iter().map(|number| format!("{}:{number}", file.display())));
    }
    assert!(found.is_empty(), "floats in code that must be exact:\n{}", found.join("\n"));
}

#[test]
fn the_search_finds_floats_and_not_their_names_in_prose_or_tests() {
    assert_eq!(floats("let x: f64 = 1.0;\n// f64\nlet f64_like = 0xf64;\nfn f(x: f32)"), [1, 4]);
    assert_eq!(floats("fn exact() {}\n#[cfg(test)]\nmod tests { fn f(x: f64) {} }"), [0; 0]);
}
