//! See `fuzz::supervisor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::supervisor(data));
