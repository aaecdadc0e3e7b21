#![no_main]

#[path = "../targets/ledger.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    targets::run("ledger_snapshot", bytes);
});
