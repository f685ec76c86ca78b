//! See `fuzz::proxies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::proxies(data));
