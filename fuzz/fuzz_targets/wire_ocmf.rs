#![no_main]

#[path = "../targets/wire.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    targets::run("wire_ocmf", bytes);
});
