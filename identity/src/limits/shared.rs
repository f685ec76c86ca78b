//! One table of penalties for all threads of a server.

use std::{net::IpAddr, time::Duration};

use common::{
    config::Limits,
    error::{ClientError, ErrorCode},
    network::{Network, counted},
};
use parking_lot::Mutex;

use super::{Penalties, PenaltySettings};

/// Secrets shorter than this, in bytes, might be guessed.
pub const GUESSABLE: usize = 32;

/// [`Penalties`] behind a lock, with addresses that never wait.
pub struct SharedPenalties {
    table: Mutex<Penalties>,
    exempt: Vec<Network>,
}

impl SharedPenalties {
    /// An empty table with these settings.
    pub fn of(limits: &Limits) -> Self {
        let settings = PenaltySettings {
            free_failures: u32::try_from(limits.free_failures).unwrap_or(u32::MAX),
            first_wait: limits.first_failure_wait,
            longest_wait: limits.longest_failure_wait,
            half_life: limits.failure_half_life,
            ..PenaltySettings::default()
        };
        Self { table: Mutex::new(Penalties::new(settings)), exempt: limits.exempt_networks.clone() }
    }

    /// Whether an address may try.
    ///
    /// # Errors
    /// The time that the address must still wait.
    pub fn check(&self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        self.table.lock().check(address, now)
    }

    /// Checks a presented secret by `look`. A wrong one costs its address a growing wait, during
    /// which short secrets are refused unseen: whoever is guessing learns nothing. A valid secret
    /// that is too long to be guessed is accepted also while its neighbours make the address wait.
    ///
    /// # Errors
    /// `too_many_failures`, and those of `look`. Of these only `unauthorized` counts as a wrong
    /// guess.
    pub fn weigh<T>(
        &self,
        presented: Option<&str>,
        address: IpAddr,
        now: Duration,
        look: impl FnOnce() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let waits = self.check(address, now).map_err(|wait| ClientError::new(ErrorCode::TooManyFailures).after(wait));
        if presented.is_none_or(|secret| secret.len() < GUESSABLE) {
            waits.clone()?;
        }
        match look() {
            Err(error) if error.code == ErrorCode::Unauthorized => {
                waits?;
                let wait = self.on_failure(address, now);
                tracing::info!(%address, wait_ms = wait.as_millis(), "a wrong key or token was presented");
                Err(error)
            }
            Ok(good) => {
                self.on_success(address, now);
                Ok(good)
            }
            // Expired, or for another purpose: neither a guess nor a proof.
            Err(error) => Err(error),
        }
    }

    /// Whether a secret may be checked now. For callers for whom a wrong one costs nothing, because
    /// it is checked again.
    pub fn lets_look(&self, presented: &str, address: IpAddr, now: Duration) -> bool {
        presented.len() >= GUESSABLE || self.check(address, now).is_ok()
    }

    /// An attempt from this address failed. Returns how long it must wait now.
    pub fn on_failure(&self, address: IpAddr, now: Duration) -> Duration {
        counted(address, &self.exempt).map_or(Duration::ZERO, |address| self.table.lock().on_failure(address, now))
    }

    /// Takes all failures back.
    pub fn forgive_all(&self) {
        self.table.lock().forgive_all();
    }

    /// An attempt from this address succeeded.
    pub fn on_success(&self, address: IpAddr, now: Duration) {
        self.table.lock().on_success(address, now);
    }
}

impl std::fmt::Debug for SharedPenalties {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SharedPenalties").field("addresses", &self.table.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn failures_fade_as_fast_as_the_setting_says() {
        let wait_after_a_minute = |failure_half_life| {
            let penalties = SharedPenalties::of(&Limits { failure_half_life, ..Limits::default() });
            for _ in 0..8 {
                penalties.on_failure(ADDRESS, Duration::ZERO);
            }
            penalties.on_failure(ADDRESS, Duration::from_secs(60))
        };
        assert_eq!(wait_after_a_minute(Duration::from_secs(60)), Duration::ZERO, "8 have become 4");
        assert!(wait_after_a_minute(Duration::from_secs(600)) > Duration::from_secs(4), "hardly fewer than 8");
    }
}
