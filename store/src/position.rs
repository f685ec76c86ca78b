//! Positions: an epoch and a sequence number.

use std::{fmt, str::FromStr};

use common::id::IdError;

/// The highest sequence number: what a JavaScript number holds exactly.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// Identifies one unbroken history. A position of another epoch says nothing about this one.
///
/// Written as 12 hexadecimal digits. It changes when the store is new, was restored from a backup,
/// or returns from a power loss that it was not configured to survive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    const MASK: u64 = (1 << 48) - 1;

    /// A new epoch. Uses the clock if the system has no randomness.
    pub fn fresh() -> Self {
        let random = getrandom::u64().unwrap_or_else(|_| {
            let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_epoch.as_nanos() & u128::from(u64::MAX)).unwrap_or(0)
        });
        Self(random & Self::MASK)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:012x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Epoch {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 12 || !text.bytes().all(lower_hex) {
            return Err(IdError::BadCharacter);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| IdError::BadCharacter)
    }
}

/// A place in the history of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The number of the message; 0 is the place before the first.
    pub seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_survive_a_round_trip_and_differ() {
        let epoch = Epoch::fresh();
        assert_eq!(epoch.to_string().len(), 12);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_ne!(epoch, Epoch::fresh());
        assert!("".parse::<Epoch>().is_err());
        assert!("+0000000000a".parse::<Epoch>().is_err());
    }
}
