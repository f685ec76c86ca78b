//! See `fuzz::wallet_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::wallet_message(data));
