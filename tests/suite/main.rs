//! The real daemon, as processes, over real sockets: what holds when it is killed, crowded, raced,
//! stalled and stopped.
//!
//! Every test starts its own processes, on its own ports and in its own folder. It waits for what
//! it expects, never for a fixed time. `BRIDGE_SOAK=1` makes the numbers large; docs/testing.md
//! says how to run that.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;
mod harness;
#[path = "../../tls/tests/suite/pebble.rs"]
mod pebble;

mod bench;
mod calls;
mod chain;
mod cli;
mod clocks;
mod crowd;
mod dialects;
mod doors;
mod drain;
mod durable_kills;
mod durable_readers;
mod events;
mod fuzz_bodies;
mod hostile;
mod imports;
mod keys;
mod kill_rounds;
mod logouts;
mod named_tests;
mod overload;
mod past;
mod restarts;
mod returns;
mod secrets;
mod slow_readers;
mod store_faults;
mod takeover;
mod tls;
mod token;
mod widths;
