//! See `fuzz::login_bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::login_bodies(data));
