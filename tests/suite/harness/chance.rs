//! Reproducible random choices, and how much is done. Suites of other crates include this file.

use std::time::{Duration, SystemTime};

/// A small generator of random numbers (xorshift64*). `BRIDGE_SEED` sets where it starts.
pub struct Chance(u64);

impl Chance {
    /// Starts at `BRIDGE_SEED`, else at a random seed, and prints it.
    pub fn from_environment(what: &str) -> Self {
        let given = std::env::var("BRIDGE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("{what}: BRIDGE_SEED={seed}");
        Self::new(seed)
    }

    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("usize has at most 64 bits");
        usize::try_from(self.next() % bound).expect("it is under a usize")
    }

    pub fn duration(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(1000) as f64 / 1000.0)
    }
}

/// `short`, or `long` in a soak run, `BRIDGE_SOAK=1`.
pub fn scaled<T>(short: T, long: T) -> T {
    if std::env::var_os("BRIDGE_SOAK").is_some_and(|value| value != "0" && !value.is_empty()) { long } else { short }
}
