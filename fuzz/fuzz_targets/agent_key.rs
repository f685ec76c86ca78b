//! See `fuzz::agent_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::agent_key(data));
