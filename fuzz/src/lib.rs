//! What is checked of bytes from outside, whatever they are. Each function takes any input and panics if a promise is broken.
//!
//! `fuzz_targets/` hands them to libFuzzer; the integration tests run them on the seeds and on changed seeds.

mod address;
mod envelope;
mod frames;
mod pieces;
mod proxies;
mod raw_frames;

pub use address::address;
pub use envelope::envelope;
pub use frames::frames;
pub use proxies::proxies;
pub use raw_frames::raw_frames;
