#![no_main]

#[path = "../targets/ssi.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    targets::run("registry_definition", bytes);
});
