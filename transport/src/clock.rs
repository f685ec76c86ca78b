//! Milliseconds since the process first asked: small enough for an atomic.

use std::sync::OnceLock;

/// Called several times for each message. Therefore it uses the coarse clock if there is one, which
/// only reads memory and ticks every few milliseconds.
#[cfg(target_os = "linux")]
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Time since the machine started: neither part is negative.
    now.tv_sec.unsigned_abs().saturating_mul(1000).saturating_add(now.tv_nsec.unsigned_abs() / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn clock() -> u64 {
    static BEGIN: OnceLock<std::time::Instant> = OnceLock::new();
    common::timestamp::millis(BEGIN.get_or_init(std::time::Instant::now).elapsed())
}

static START: OnceLock<u64> = OnceLock::new();

/// Milliseconds since the first call, to within some ten. Never decreases.
pub fn now_ms() -> u64 {
    let now = clock();
    now.saturating_sub(*START.get_or_init(|| now))
}
