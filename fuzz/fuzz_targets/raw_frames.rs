//! See `fuzz::raw_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::raw_frames(data));
