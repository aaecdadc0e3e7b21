//! What would make two organisations compute two states: looked for in the text of `ledger` and `domain`.

use std::path::{Path, PathBuf};

/// Words that have no place in code that every organisation must compute alike.
const FORBIDDEN: [&str; 9] =
    ["f32", "f64", "HashMap", "HashSet", "SystemTime", "Instant::now", "rand::", "thread_local!", "env::var"];

/// All Rust files under `dir`, but not what only tests compile.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Where a forbidden word stands as a word of its own, in code.
fn offence(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or("");
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    FORBIDDEN.into_iter().find(|word| {
        code.match_indices(word).any(|(place, _)| {
            let (before, after) = (&code[..place], &code[place + word.len()..]);
            let ends_open = word.ends_with(|c| !is_part(c));
            !before.ends_with(is_part) && (ends_open || !after.starts_with(is_part))
        })
    })
}

#[test]
fn nothing_in_ledger_and_domain_depends_on_floats_hash_order_clocks_or_chance() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for name in ["ledger", "domain"] {
        sources(&crates.join(name).join("src"), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found: {files:?}");
    let mut offences = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // The tests of a file stand at its end.
        for (number, line) in (1..).zip(text.lines().take_while(|line| *line != "#[cfg(test)]")) {
            offences.extend(offence(line).map(|word| format!("{}:{number}: {word}", file.display())));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn the_search_finds_words_and_not_their_parts() {
    assert_eq!(offence("let x: f64 = 1.0;"), Some("f64"));
    assert_eq!(offence("use std::collections::HashMap;"), Some("HashMap"));
    assert_eq!(offence("let now = std::time::Instant::now();"), Some("Instant::now"));
    assert_eq!(offence("let x = rand::random();"), Some("rand::"));
    assert_eq!(offence("let x = 0xf64u64; // f64"), None);
    assert_eq!(offence("use operand::Operand;"), None);
}
