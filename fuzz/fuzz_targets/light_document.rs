#![no_main]

#[path = "../targets/light.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    targets::run("light_document", bytes);
});
