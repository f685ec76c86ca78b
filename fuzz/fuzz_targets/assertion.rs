//! See `fuzz::assertion`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::assertion(data));
