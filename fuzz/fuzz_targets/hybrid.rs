//! See `fuzz::hybrid`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::hybrid(data));
