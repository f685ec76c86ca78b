//! The damage that was found in the file.
//!
//! Damage in one channel makes that channel refuse new messages; what can be read of it is still
//! served. If the channel is not known, the whole store refuses writes. In both cases the store is
//! not ready. The list is not stored: the next process finds the damage again when it reads it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::Mutex;

use crate::{channel::ChannelName, error::StoreError};

/// The most channels remembered; with more the whole store counts as damaged.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
struct Found {
    channels: BTreeMap<ChannelName, String>,
    whole: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Makes the check free as long as there is no damage.
    is_any: AtomicBool,
    found: Mutex<Found>,
}

impl Damage {
    /// Notes damage in a channel, and returns the error for it.
    pub(super) fn note(&self, channel: &ChannelName, what: &str) -> StoreError {
        let mut found = self.found.lock();
        self.is_any.store(true, Relaxed);
        if !found.channels.contains_key(channel) {
            tracing::error!(%channel, what, "a channel is damaged: nothing more is stored in it");
            if found.channels.len() >= MOST {
                found.whole.get_or_insert_with(|| format!("more than {MOST} channels"));
            } else {
                found.channels.insert(channel.clone(), what.to_owned());
            }
        }
        StoreError::Damaged { channel: channel.clone(), what: what.to_owned() }
    }

    /// Notes damage outside of any known channel.
    pub(super) fn note_whole(&self, what: &str) {
        let mut found = self.found.lock();
        self.is_any.store(true, Relaxed);
        if found.whole.is_none() {
            tracing::error!(what, "the store is damaged: nothing more is stored");
            found.whole = Some(what.to_owned());
        }
    }

    /// Why writes to a channel are refused.
    pub(super) fn of(&self, channel: &ChannelName) -> Option<StoreError> {
        if !self.is_any.load(Relaxed) {
            return None;
        }
        let found = self.found.lock();
        let whole = found.whole.clone().map(StoreError::Corrupt);
        whole.or_else(|| {
            let what = found.channels.get(channel)?;
            Some(StoreError::Damaged { channel: channel.clone(), what: what.clone() })
        })
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// Why all writes are refused.
    pub(super) fn of_all(&self) -> Option<StoreError> {
        if !self.is_any.load(Relaxed) {
            return None;
        }
        self.found.lock().whole.clone().map(StoreError::Corrupt)
    }

    /// Notes the damage that an operation found: in a channel, or outside of any.
    pub(super) fn note_in<T>(&self, channel: Option<&ChannelName>, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.map_err(|error| match (error, channel) {
            (StoreError::Corrupt(what), Some(channel)) => self.note(channel, &what),
            (StoreError::Corrupt(what), None) => {
                self.note_whole(&what);
                StoreError::Corrupt(what)
            }
            (error, _) => error,
        })
    }

    /// The worst damage, and how many channels have any.
    pub(super) fn worst(&self) -> Option<(StoreError, u64)> {
        if !self.is_any.load(Relaxed) {
            return None;
        }
        let found = self.found.lock();
        let whole = found.whole.clone().map(StoreError::Corrupt);
        let first = found.channels.first_key_value();
        let first = first.map(|(channel, what)| StoreError::Damaged { channel: channel.clone(), what: what.clone() });
        whole.or(first).map(|worst| (worst, found.channels.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_refused_alone_until_there_are_too_many() {
        let damage = Damage::default();
        let channel = |number: usize| ChannelName::parse(&format!("agent:a{number}")).expect("a channel");
        assert_eq!(damage.worst(), None);
        let told = damage.note(&channel(0), "a page");
        damage.note(&channel(0), "another page");
        assert_eq!((damage.of(&channel(0)), damage.of(&channel(1)), damage.of_all()), (Some(told.clone()), None, None));
        assert_eq!(damage.worst(), Some((told, 1)));
        (1..=MOST).for_each(|number| drop(damage.note(&channel(number), "a page")));
        assert!(matches!(damage.of(&channel(MOST + 5)), Some(StoreError::Corrupt(_))));
        assert!(damage.of_all().is_some());
    }
}
