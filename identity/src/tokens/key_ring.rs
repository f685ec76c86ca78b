//! The published keys of one issuer, kept between uses.
//!
//! Fetched at first use, refetched when they are no longer fresh and when a token names a key that is not among them (the
//! issuer has rotated), but never more often than the least interval allows: tokens with invented key ids cannot make us
//! a flood on the issuer. While the issuer is away the keys last fetched stay good for a bounded time. One fetch at a time;
//! who comes meanwhile waits for it.

use std::{
    fs::File,
    future::{Future, ready},
    io::Read,
    path::PathBuf,
    pin::Pin,
    time::{Duration, SystemTime},
};

use futures_util::lock::Mutex as AsyncMutex;
use parking_lot::RwLock;

use super::{Algorithm, JwksFault, PublishedKeys, TokenError, jwk};

/// Why a key set could not be fetched; for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeySourceFault(pub String);

/// Where a key set comes from: a URL or a file.
///
/// An implementation ends within a time of its own, reads at most 256 KiB, and follows no redirect to another host.
pub trait KeySource: Send + Sync {
    /// Fetches the set as it is published now: the JSON.
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, KeySourceFault>> + '_>>;
}

/// A key set in a file, read again like one behind a URL. Blocks while it reads; files of keys are small.
pub struct FileKeys(pub PathBuf);

impl KeySource for FileKeys {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, KeySourceFault>> + '_>> {
        let mut json = Vec::new();
        // One byte over the bound, so that what is too large is seen to be.
        let bound = u64::try_from(jwk::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(&self.0).and_then(|file| file.take(bound).read_to_end(&mut json));
        Box::pin(ready(
            read.map(|_| json).map_err(|error| KeySourceFault(format!("cannot read the key set {}: {error}", self.0.display()))),
        ))
    }
}

/// How keys are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyRingSettings {
    /// How long a fetched set is used without asking again. Default 10 min.
    pub fresh_for: Duration,
    /// How long after that it is still good while the source does not answer. Default 24 h; zero: not at all.
    pub stale_for: Duration,
    /// The least time between two fetches, whatever asks for them. Default 30 s.
    pub least_interval: Duration,
}

impl Default for KeyRingSettings {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(600),
            stale_for: Duration::from_secs(24 * 3600),
            least_interval: Duration::from_secs(30),
        }
    }
}

/// See the module.
pub struct KeyRing {
    source: Box<dyn KeySource>,
    settings: KeyRingSettings,
    /// Held while fetching.
    fetching: AsyncMutex<()>,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    set: Option<PublishedKeys>,
    fetched_at: Option<SystemTime>,
    tried_at: Option<SystemTime>,
    last_fault: Option<String>,
}

/// What is known about the key of a token before anything is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It is here, and fresh.
    Key,
    /// The keys are fresh, and it is not among them.
    NoKey,
    /// The keys are old but still good.
    Stale,
    /// There are no keys that are still good.
    Nothing,
}

impl Kept {
    fn known(&self, id: Option<&str>, algorithm: Algorithm, now: SystemTime, settings: &KeyRingSettings) -> Known {
        let (Some(set), Some(fetched_at)) = (&self.set, self.fetched_at) else { return Known::Nothing };
        let age = now.duration_since(fetched_at).unwrap_or_default();
        if age > settings.fresh_for.saturating_add(settings.stale_for) {
            Known::Nothing
        } else if age > settings.fresh_for {
            Known::Stale
        } else if set.find(id, algorithm).is_some() {
            Known::Key
        } else {
            Known::NoKey
        }
    }

    fn may_fetch(&self, now: SystemTime, settings: &KeyRingSettings) -> bool {
        // A clock that was set back must not keep us from fetching.
        self.tried_at
            .is_none_or(|tried| now.duration_since(tried).is_ok_and(|since| since >= settings.least_interval) || tried > now)
    }
}

impl KeyRing {
    /// A ring that has fetched nothing yet.
    pub fn new(source: Box<dyn KeySource>, settings: KeyRingSettings) -> Self {
        Self { source, settings, fetching: AsyncMutex::new(()), kept: RwLock::default() }
    }

    /// Judges a signature with the key that the token names.
    ///
    /// # Errors
    /// `token_key_unknown`, `token_keys_unavailable`, `token_signature_wrong`.
    pub(super) async fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
        now: SystemTime,
    ) -> Result<(), TokenError> {
        match self.known(id, algorithm, now) {
            Known::Key => {}
            // Old keys will do while another login already fetches new ones.
            Known::Stale => {
                if let Some(_turn) = self.fetching.try_lock() {
                    self.fetch_if_due(now).await;
                }
            }
            Known::NoKey | Known::Nothing => {
                let _turn = self.fetching.lock().await;
                // Whoever had the turn before may have fetched what is needed.
                if self.known(id, algorithm, now) != Known::Key {
                    self.fetch_if_due(now).await;
                }
            }
        }
        if self.known(id, algorithm, now) == Known::Nothing {
            return Err(TokenError::KeysUnavailable);
        }
        let kept = self.kept.read();
        let key = kept.set.as_ref().and_then(|set| set.find(id, algorithm)).ok_or(TokenError::KeyUnknown)?;
        if key.verifies(algorithm, message, signature) { Ok(()) } else { Err(TokenError::SignatureWrong) }
    }

    /// Fetches the keys unless they were asked for within the least interval: at the start, and from time to time, so that
    /// no login has to wait for it.
    ///
    /// # Errors
    /// What the source or the set is not good for; the keys kept before stay.
    pub async fn refresh(&self, now: SystemTime) -> Result<(), KeySourceFault> {
        let _turn = self.fetching.lock().await;
        self.fetch_if_due(now).await;
        self.kept.read().last_fault.clone().map_or(Ok(()), |fault| Err(KeySourceFault(fault)))
    }

    /// The ids of the keys that are kept, and when they were fetched: for operators.
    pub fn status(&self) -> (Vec<String>, Option<SystemTime>) {
        let kept = self.kept.read();
        let ids = kept.set.iter().flat_map(|set| &set.keys).map(|key| key.id().unwrap_or("-").to_owned());
        (ids.collect(), kept.fetched_at)
    }

    fn known(&self, id: Option<&str>, algorithm: Algorithm, now: SystemTime) -> Known {
        self.kept.read().known(id, algorithm, now, &self.settings)
    }

    /// The caller has the turn.
    async fn fetch_if_due(&self, now: SystemTime) {
        if !self.kept.read().may_fetch(now, &self.settings) {
            return;
        }
        self.kept.write().tried_at = Some(now);
        let fetched = self.source.fetch().await;
        let read =
            fetched.and_then(|json| PublishedKeys::parse(&json).map_err(|fault: JwksFault| KeySourceFault(fault.to_string())));
        let mut kept = self.kept.write();
        match read {
            Ok(set) => *kept = Kept { set: Some(set), fetched_at: Some(now), tried_at: Some(now), last_fault: None },
            Err(KeySourceFault(fault)) => kept.last_fault = Some(fault),
        }
    }
}

#[cfg(test)]
#[path = "key_ring_tests.rs"]
mod tests;
